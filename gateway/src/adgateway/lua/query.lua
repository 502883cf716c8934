-- Refuses ambiguous and duplicate parameters: a field that is repeated, or that the path or the body has too. The
-- transcoder uses the last value, and applies the query after the path: `DELETE /campaigns/{one}?campaignId={two}`
-- would delete two.

-- A parameter's JSON path and field, and the description of its fault, if any.
local function resolve_parameter(binding, name)
  local message, path_fields, path, field = binding.request, binding.path_fields, "", nil
  for step in (percent_decode(name) .. "."):gmatch("([^.]*)%.") do
    local fields = fields_of[message]
    if field and not fields then
      return path, field, "has no fields of its own"
    end
    local outer = field
    field = fields[step]
    if not field then
      return name, nil, "there is no such field"
    end
    path = path == "" and field.json or path .. "." .. field.json
    if not outer and field == binding.body_field then
      return path, field, "stands in the body; leave it out of the query"
    end
    path_fields = path_fields and path_fields[field.json]
    if path_fields == true then
      return path, field, "stands in the path already; leave it out of the query"
    end
    message = not field.repeated and not field.map and field.of or ""
  end
  return path, field
end

-- The query's fault, as a field and a description; nil for a valid query.
local function query_fault(binding, query)
  local seen = {}
  for parameter in query:gmatch("[^&]+") do
    local name, value = parameter:match("^([^=]*)=(.*)$")
    if not has_valid_escapes(parameter) then
      return name or "query", "has a broken percent-escape; write the sign % as %25"
    end
    local path, field, fault = resolve_parameter(binding, name or parameter)
    if binding.body == "*" and not (fault and field) then
      return path, "belongs in the body; this call takes nothing in its query"
    elseif fault then
      return path, fault
    elseif not value then
      return path, "has no value; write it as " .. path .. "=value"
    elseif seen[path] and not field.repeated then
      return path, "is given twice; give it once"
    end
    seen[path] = true
    local choice = field.oneof and path:gsub("[^.]*$", "") .. "|" .. field.oneof
    if choice and seen[choice] and seen[choice] ~= path then
      return path, string.format("cannot be given beside %s; give one of them", seen[choice])
    elseif choice then
      seen[choice] = path
    end
  end
end
