-- What the contract says of requests. Two generated tables stand before this text:
--
--   messages: name of a message -> its fields, each with its `json` and contract `name`, `of` (the message that its
--   value is, if any), `repeated`, `map` (`of` is the message of the values then) and `oneof`.
--
--   bindings: "VERB /template" -> the `request` message, the field that the `body` fills ("*": every field that the
--   path does not fill; "": there is no body) and the fields that the `path` fills.

-- Both spellings of a field lead to the same table, which is how one field in two spellings is noticed.
local fields_of = {}
for name, fields in pairs(messages) do
  local by_name = {}
  for _, field in ipairs(fields) do
    by_name[field.json] = field
    by_name[field.name] = field
  end
  fields_of[name] = by_name
end

-- A path as a tree of JSON names with `true` at its leaves: bid.price_micros is {bid = {priceMicros = true}}.
local function add_path(tree, request, path)
  local message, at = request, tree
  for step, dot in path:gmatch("([^.]+)(%.?)") do
    local field = fields_of[message][step]
    at[field.json] = dot == "" or at[field.json] or {}
    message, at = field.of, at[field.json]
  end
end

for _, binding in pairs(bindings) do
  binding.in_path = {}
  for _, path in ipairs(binding.path) do
    add_path(binding.in_path, binding.request, path)
  end
  local filled = fields_of[binding.request][binding.body]
  if binding.body == "*" then
    binding.takes = {of = binding.request}
    binding.in_body = binding.in_path
  elseif filled and filled.of ~= "google.api.HttpBody" then
    binding.takes = filled
    binding.in_body = binding.in_path[filled.json]
  end
  -- An HttpBody takes the body as it comes: webhooks are signed byte for byte.
  binding.is_raw = filled ~= nil and not binding.takes
  binding.body_field = filled
end
