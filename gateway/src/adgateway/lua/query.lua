-- A query gives each field once, and none that the path or the body gives. The transcoder would keep the last value,
-- and count a query's after the path's: `DELETE /campaigns/{one}?campaignId={two}` would delete two.

-- The JSON path and the field of a parameter, and a description where the parameter is wrong.
local function field_of_parameter(binding, name)
  local message, in_path, path, field = binding.request, binding.in_path, "", nil
  for step in (percent_decoded(name) .. "."):gmatch("([^.]*)%.") do
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
    in_path = in_path and in_path[field.json]
    if in_path == true then
      return path, field, "stands in the path already; leave it out of the query"
    end
    message = not field.repeated and not field.map and field.of or ""
  end
  return path, field
end

-- What is wrong with the query, as the field and a description; nil where nothing is.
local function fault_of_query(binding, query)
  local seen = {}
  for parameter in query:gmatch("[^&]+") do
    local name, value = parameter:match("^([^=]*)=(.*)$")
    if not is_escaped_well(parameter) then
      return name or "query", "has a broken percent-escape; write the sign % as %25"
    end
    local path, field, fault = field_of_parameter(binding, name or parameter)
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
