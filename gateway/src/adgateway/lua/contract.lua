-- Requests of the contract. Two generated tables precede this source:
--
--   messages: message name -> its fields, each with its `json` name, its contract `name`, `of` (the type of a message
--   field, or of the values of a map), `repeated`, `map` and `oneof`.
--
--   bindings: "VERB /template" -> the `request` message, the field that the `body` maps to ("*": all fields that the
--   path does not have; "": no body) and the fields in the `path`.

-- A field's two names map to the same table, so a field that is given by both names is detected as repeated.
local fields_of = {}
for name, fields in pairs(messages) do
  local by_name = {}
  for _, field in ipairs(fields) do
    by_name[field.json] = field
    by_name[field.name] = field
  end
  fields_of[name] = by_name
end

-- Adds a field path to a tree of JSON names with `true` as leaves: bid.price_micros is {bid = {priceMicros = true}}.
local function add_path(tree, request, path)
  local message, at = request, tree
  for step, dot in path:gmatch("([^.]+)(%.?)") do
    local field = fields_of[message][step]
    at[field.json] = dot == "" or at[field.json] or {}
    message, at = field.of, at[field.json]
  end
end

for _, binding in pairs(bindings) do
  binding.path_fields = {}
  for _, path in ipairs(binding.path) do
    add_path(binding.path_fields, binding.request, path)
  end
  local filled = fields_of[binding.request][binding.body]
  if binding.body == "*" then
    binding.body_target = {of = binding.request}
    binding.path_fields_in_body = binding.path_fields
  elseif filled and filled.of ~= "google.api.HttpBody" then
    binding.body_target = filled
    binding.path_fields_in_body = binding.path_fields[filled.json]
  end
  -- An HttpBody has the unparsed body: the signatures of webhooks cover its bytes.
  binding.is_raw = filled ~= nil and not binding.body_target
  binding.body_field = filled
end
