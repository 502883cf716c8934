-- Rewrites responses in three ways that neither the transcoder nor Envoy can be configured for:
--
-- - An error without an ErrorInfo, which a gRPC library raised and not the service, gets one.
-- - An error of the transcoder gets a message without the client's input and without type names.
-- - The delay in a service's RetryInfo is copied to the header retry-after.

local DEFAULT_ERRORS = {
  ["429"] = {8, "RATE_LIMITED", "too many requests; slow down"},
  ["503"] = {14, "UNAVAILABLE", "the service does not answer; try again"},
  ["504"] = {4, "DEADLINE_EXCEEDED", "the service did not answer in time; try again"},
}

-- The JSON name of a field path, as protobuf derives it.
local function json_name(path)
  return (path:gsub("_+(%w)", string.upper))
end

local TYPE_FAULTS = {
  TYPE_STRING = "must be a string",
  ["type.googleapis.com/google.protobuf.Timestamp"] = "must be a time such as 2026-01-31T09:30:00Z",
}

-- A value that is long or has escapes is left out: truncation could split an escape.
local function invalid(value)
  if #value > 100 or value:find('\\[^"]') then
    return "invalid value"
  end
  return "invalid value " .. value
end

-- The fault of an amount beyond int64, in the words in which services refuse large and negative amounts.
local function amount_fault(field, value, kind)
  local number = kind == "TYPE_INT64" and field:find("Micros$") and value:match('^\\?"?([+-]?%d[%d.eE+-]*)\\?"?$')
  number = number and tonumber(number)
  if number and number >= 2^63 then
    return "is more than any amount can be", "AMOUNT_TOO_LARGE"
  elseif number and number <= -2^63 then
    return "must be more than zero", "AMOUNT_NOT_POSITIVE"
  end
end

-- Parses the transcoder's message into a field, a description and optionally a reason. The message is JSON-escaped. The
-- description repeats at most one enum or number of the request, because clients log errors.
local function parse_fault(message)
  local inside, name = message:match("^([%w_.%[%]]*): invalid value Starting an object .* for type ([%w_]+)$")
  if inside then
    local is_whole = inside == "" or inside == name
    return json_name(is_whole and name or inside .. "." .. name), "must not be an object"
  end
  local path, value, kind = message:match("^([%w_.%[%]]+): invalid value (.*) for type ([%w_./]+)$")
  if path then
    local field = json_name(path)
    local description, reason = amount_fault(field, value, kind)
    return field, description or TYPE_FAULTS[kind] or invalid(value), reason
  end
  path = message:match('^Could not find field \\"(.-)\\" in the type')
  if path then
    return path, "there is no such field"
  end
  path = message:match('^Encountered a non%-leaf field \\"([%w_]+)\\"')
  if path then
    return json_name(path), "has no fields of its own"
  end
end

-- The message for an error of the transcoder that names no field.
local function plain_message(message)
  if message:find("^[%w_.%[%]]*: Proto field is not repeating") then
    return "the request has a list where there can be none"
  elseif message:find("^: Root element must be a message") then
    return "the request must be a JSON object"
  elseif message:find("^Message too deep") then
    return "the request is nested too deeply"
  end
  -- The JSON parser's message: a sentence, then the position in the body on lines of its own.
  local fault = message:match("^(%u[^\\.]*)[^\\]*\\")
  return fault and "the request is not JSON: " .. fault:sub(1, 1):lower() .. fault:sub(2) or "the request is malformed"
end

-- The retry delay in an error's details, in whole seconds.
local function retry_after_s(text)
  local delay = text:match('"retryDelay":"([%d.]+)s"')
  return delay and string.format("%d", math.ceil(tonumber(delay)))
end

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  if status == "400" and handle:headers():get("content-type") == "application/json" then
    local body = handle:body(true)
    -- The transcoder's errors have sorted keys; a service's start with code and message.
    local head, message, tail = body:getBytes(0, body:length()):match('^({"code":3,"details":.-,"message":")(.*)("}%s*)$')
    if head then
      local field, description, reason = parse_fault(message)
      body:setBytes(field and field_error_body(field, description, reason) or head .. plain_message(message) .. tail)
    end
    return
  end
  -- Services word all other 4xx themselves.
  if not (DEFAULT_ERRORS[status] or status >= "500") or handle:headers():get("content-type") ~= "application/json" then
    return
  end
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  if text:find("google.rpc.ErrorInfo", 1, true) then
    local wait = retry_after_s(text)
    if wait then
      handle:headers():replace("retry-after", wait)
    end
    return
  end
  local error = DEFAULT_ERRORS[status] or {13, "INTERNAL", "the service cannot answer this; quote the request id"}
  body:setBytes(error_body(error[1], error[2], error[3]))
  if DEFAULT_ERRORS[status] then
    handle:headers():replace("retry-after", "1")
  else
    handle:headers():replace(":status", "500")
  end
end
