-- Four things that the transcoder has no setting for.
--
-- It refuses what the transcoder would drop in silence or pass on broken: fields that the contract does not have, and
-- text that is no UTF-8. `messages` stands before this text: message -> JSON or contract name -> the field's message,
-- or false. "*" is every key of a map. A message that is not in it is not looked into.
--
-- It gives errors without a reason the shape of all others: those that a gRPC server makes by itself, not its service.
--
-- It puts the transcoder's own errors in words for clients, without what they sent and without the names of types.
--
-- It says in a header, too, when a service wants to be asked again.

-- A fault of a field, as the services tell it.
local function fault_of_field(field, description, reason)
  return string.format(
    '{"code":3,"message":"%s: %s","details":['
      .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"adplatform","metadata":{}},'
      .. '{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":['
      .. '{"field":"%s","description":"%s"}]}]}',
    field, description, reason or "INVALID_FIELD", field, description
  )
end

local function refuse(handle, field, description)
  local shown = field:sub(1, 100):gsub("[^%w_.%[%]*$-]", "?")
  handle:respond({[":status"] = "400", ["content-type"] = "application/json"}, fault_of_field(shown, description))
end

local function is_utf8(text)
  local at = 1
  while true do
    at = text:find("[\128-\255]", at)
    if not at then
      return true
    end
    local a, b, c, d = text:byte(at, at + 3)
    local function continues(byte, low, high)
      return byte ~= nil and byte >= (low or 128) and byte <= (high or 191)
    end
    if a >= 194 and a <= 223 and continues(b) then
      at = at + 2
    elseif a >= 224 and a <= 239 and continues(b, a == 224 and 160, a == 237 and 159) and continues(c) then
      at = at + 3
    elseif a >= 240 and a <= 244 and continues(b, a == 240 and 144, a == 244 and 143) and continues(c) and continues(d) then
      at = at + 4
    else
      return false
    end
  end
end

local function is_text(path)
  local plain = path:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end)
  return not plain:find("%z") and is_utf8(plain)
end

-- Answers the place behind the string whose opening quote is at `at`.
local function behind_string(body, at)
  local place = at + 1
  while true do
    place = body:find('["\\]', place)
    if not place then
      error("no end of string")
    elseif body:byte(place) == 34 then
      return place + 1
    end
    place = place + 2
  end
end

local behind_value

local function behind_object(body, at, message, path)
  local fields = messages[message]
  at = body:match("^%s*()", at + 1)
  while body:sub(at, at) == '"' do
    local behind = behind_string(body, at)
    local key = body:sub(at + 1, behind - 2)
    local of = nil
    if fields then
      of = fields[key]
      if of == nil then
        of = fields["*"]
      end
      if of == nil then
        error({field = path .. key})
      end
    end
    at = body:match("^%s*:%s*()", behind)
    at = body:match("^%s*,?%s*()", behind_value(body, at, of, path .. key .. "."))
  end
  return body:match("^}()", at)
end

local function behind_array(body, at, message, path)
  at = body:match("^%s*()", at + 1)
  while at <= #body and body:sub(at, at) ~= "]" do
    at = body:match("^%s*,?%s*()", behind_value(body, at, message, path))
  end
  return at + 1
end

function behind_value(body, at, message, path)
  local first = body:sub(at, at)
  if first == "{" then
    return behind_object(body, at, message, path)
  elseif first == "[" then
    return behind_array(body, at, message, path)
  elseif first == '"' then
    return behind_string(body, at)
  end
  return body:match("^[%w.+-]+()", at)
end

function envoy_on_request(handle)
  if not is_text(handle:headers():get(":path")) then
    return refuse(handle, "path", "is not UTF-8 text")
  end
  local message = handle:metadata():get("message")
  local buffer = message and handle:body()
  if not buffer or buffer:length() == 0 then
    return
  end
  local body = buffer:getBytes(0, buffer:length())
  -- Broken JSON ends in an error without a field: the transcoder says better what is wrong with it.
  local _, fault = pcall(behind_value, body, body:match("^%s*()"), message, "")
  if type(fault) == "table" then
    refuse(handle, fault.field, "there is no such field")
  end
end

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
  body:setBytes(string.format(
    '{"code":%d,"message":"%s","details":['
      .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"adplatform","metadata":{}}]}',
    error[1], error[3], error[2]
  ))
  if UNEXPLAINED[status] then
    handle:headers():replace("retry-after", "1")
  else
    handle:headers():replace(":status", "500")
  end
end
