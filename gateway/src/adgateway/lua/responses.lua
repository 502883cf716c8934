-- Three things of answers that neither the transcoder nor Envoy has a setting for.
--
-- It gives errors without a reason the shape of all others: those that a gRPC server makes by itself, not its service.
--
-- It puts the transcoder's own errors in words for clients, without what they sent and without the names of types.
--
-- It says in a header, too, when a service wants to be asked again.

local UNEXPLAINED = {
  ["429"] = {8, "RATE_LIMITED", "too many requests; slow down"},
  ["503"] = {14, "UNAVAILABLE", "the service does not answer; try again"},
  ["504"] = {4, "DEADLINE_EXCEEDED", "the service did not answer in time; try again"},
}

-- protobuf's JSON name of a field path.
local function json_name(path)
  return (path:gsub("_+(%w)", string.upper))
end

local MUST_BE = {
  TYPE_STRING = "must be a string",
  ["type.googleapis.com/google.protobuf.Timestamp"] = "must be a time such as 2026-01-31T09:30:00Z",
}

-- A value with escapes, or a long one, says little to people, and a piece of it could end inside of an escape.
local function invalid(value)
  if #value > 100 or value:find('\\[^"]') then
    return "invalid value"
  end
  return "invalid value " .. value
end

-- An amount that no int64 holds: what a service says of the amounts that are too large or too small for it.
local function of_amount(field, value, kind)
  local number = kind == "TYPE_INT64" and field:find("Micros$") and value:match('^\\?"?([+-]?%d[%d.eE+-]*)\\?"?$')
  number = number and tonumber(number)
  if number and number >= 2^63 then
    return "is more than any amount can be", "AMOUNT_TOO_LARGE"
  elseif number and number <= -2^63 then
    return "must be more than zero", "AMOUNT_NOT_POSITIVE"
  end
end

-- The field that the transcoder's words name, what is wrong with it, and the reason if it has one of its own. The words
-- are escaped as they stand in JSON; ours have one enum or number of the request's text at most, because clients log
-- what they are told.
local function fault_named(message)
  local inside, name = message:match("^([%w_.%[%]]*): invalid value Starting an object .* for type ([%w_]+)$")
  if inside then
    local is_whole = inside == "" or inside == name
    return json_name(is_whole and name or inside .. "." .. name), "must not be an object"
  end
  local path, value, kind = message:match("^([%w_.%[%]]+): invalid value (.*) for type ([%w_./]+)$")
  if path then
    local field = json_name(path)
    local description, reason = of_amount(field, value, kind)
    return field, description or MUST_BE[kind] or invalid(value), reason
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

-- The transcoder's words where they name no field, in ours.
local function reworded(message)
  if message:find("^[%w_.%[%]]*: Proto field is not repeating") then
    return "the request has a list where there can be none"
  elseif message:find("^: Root element must be a message") then
    return "the request must be a JSON object"
  elseif message:find("^Message too deep") then
    return "the request is nested too deeply"
  end
  -- The parser's: a sentence, and in lines of their own the place in the body.
  local fault = message:match("^(%u[^\\.]*)[^\\]*\\")
  return fault and "the request is not JSON: " .. fault:sub(1, 1):lower() .. fault:sub(2) or "the request is malformed"
end

-- Whole seconds until a service wants to be asked again, as it says in its error's details.
local function seconds_to_wait(text)
  local delay = text:match('"retryDelay":"([%d.]+)s"')
  return delay and string.format("%d", math.ceil(tonumber(delay)))
end

function envoy_on_response(handle)
  local status = handle:headers():get(":status")
  if status == "400" and handle:headers():get("content-type") == "application/json" then
    local body = handle:body(true)
    -- The gateway's own errors have their keys sorted; a service's begin with code and message.
    local head, message, tail = body:getBytes(0, body:length()):match('^({"code":3,"details":.-,"message":")(.*)("}%s*)$')
    if head then
      local field, description, reason = fault_named(message)
      body:setBytes(field and fault_of_field(field, description, reason) or head .. reworded(message) .. tail)
    end
    return
  end
  -- Other 4xx are of a service's own wording in any case.
  if not (UNEXPLAINED[status] or status >= "500") or handle:headers():get("content-type") ~= "application/json" then
    return
  end
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  if text:find("google.rpc.ErrorInfo", 1, true) then
    local wait = seconds_to_wait(text)
    if wait then
      handle:headers():replace("retry-after", wait)
    end
    return
  end
  local error = UNEXPLAINED[status] or {13, "INTERNAL", "the service cannot answer this; quote the request id"}
  body:setBytes(error_without_field(error[1], error[2], error[3]))
  if UNEXPLAINED[status] then
    handle:headers():replace("retry-after", "1")
  else
    handle:headers():replace(":status", "500")
  end
end
