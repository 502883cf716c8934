-- Refuses what the transcoder would drop without an error, pass on broken, or overwrite by a second value.
--
-- A request without a query and a body is searched once for "?" and "%" in its path: 1 us in all.

local function refuse(handle, body, status)
  handle:respond({[":status"] = status or "400", ["content-type"] = "application/json"}, body)
end

local function refuse_field(handle, field, description)
  local shown = field:sub(1, 100):gsub("[^%w_.%[%]*$%%-]", "?")
  refuse(handle, fault_of_field(shown, description))
end

-- What is wrong with the path and its query, as the field and a description.
local function fault_of_path(binding, path)
  if not path:find("[?%%\128-\255]") then
    return nil
  end
  local plain, query = path:match("^([^?]*)%??(.*)$")
  if not is_escaped_well(plain) then
    return "path", "has a broken percent-escape; write the sign % as %25"
  end
  local field, description
  if query ~= "" then
    field, description = fault_of_query(binding, query)
  end
  if field then
    return field, description
  end
  local text = percent_decoded(path)
  if text:find("%z") or not is_utf8(text) then
    return "path", "is not UTF-8 text"
  end
end

-- What is wrong with how the body is sent, as the field and a description.
local function fault_of_sending(handle, binding, buffer)
  if binding.takes then
    local headers = handle:headers()
    local encoding = headers:get("content-encoding")
    if encoding and (encoding:lower() ~= "identity" or headers:getNumValues("content-encoding") > 1) then
      return "content-encoding", "is not taken here; send the body as plain JSON"
    end
  elseif buffer:length() > 1024 or buffer:getBytes(0, buffer:length()):find("[^%s{}]") then
    return "body", "is not taken here; the path and the query say all of this call"
  end
end

-- What is wrong with the headers, as the field and a description.
local function fault_of_headers(headers)
  for _, name in ipairs(SINGLE_HEADERS) do
    local value = headers:get(name)
    if value and (headers:getNumValues(name) > 1 or value:find(",", 1, true)) then
      return name, ONE_VALUE
    end
  end
end

local function check(handle)
  local binding = bindings[handle:metadata():get("binding")]
  local headers = handle:headers()
  local field, description = fault_of_headers(headers)
  if not field then
    field, description = fault_of_path(binding, headers:get(":path"))
  end
  if field then
    return refuse_field(handle, field, description)
  end
  local buffer = not binding.is_raw and handle:body()
  if not buffer or buffer:length() == 0 then
    return
  end
  field, description = fault_of_sending(handle, binding, buffer)
  if field then
    return refuse_field(handle, field, description)
  elseif not binding.takes then
    return
  end
  local fault = fault_of_body(buffer:getBytes(0, buffer:length()), binding.takes, binding.in_body)
  if fault and fault.field then
    refuse_field(handle, fault.field, fault.description)
  elseif fault then
    refuse(handle, error_without_field(3, "INVALID_FIELD", fault.message))
  end
end

-- Envoy passes a request on when its script fails, so a fault of this script has to be an answer of its own.
function envoy_on_request(handle)
  local is_checked, fault = pcall(check, handle)
  if not is_checked then
    handle:logErr("a request could not be checked: " .. tostring(fault))
    refuse(handle, error_without_field(13, "INTERNAL", "the gateway cannot answer this; quote the request id"), "500")
  end
end
