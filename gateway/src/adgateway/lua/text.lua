-- UTF-8 and percent-encoding of requests, and the bodies of errors.

local function is_continuation(byte, low, high)
  return byte ~= nil and byte >= (low or 128) and byte <= (high or 191)
end

local function is_utf8(text)
  local at = text:find("[\128-\255]")
  while at do
    local a, b, c, d = text:byte(at, at + 3)
    if a >= 194 and a <= 223 and is_continuation(b) then
      at = at + 2
    elseif a >= 224 and a <= 239 and is_continuation(b, a == 224 and 160, a == 237 and 159) and is_continuation(c) then
      at = at + 3
    elseif a >= 240 and a <= 244 and is_continuation(b, a == 240 and 144, a == 244 and 143) and is_continuation(c)
      and is_continuation(d) then
      at = at + 4
    else
      return false
    end
    at = text:find("[\128-\255]", at)
  end
  return true
end

-- Whether every % starts a complete percent-escape.
local function has_valid_escapes(text)
  return not text:gsub("%%%x%x", ""):find("%", 1, true)
end

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

-- The JSON body of an error that names a field, in the shape of the services' errors.
local function field_error_body(field, description, reason)
  return string.format(
    '{"code":3,"message":"%s: %s","details":['
      .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"adplatform","metadata":{}},'
      .. '{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":['
      .. '{"field":"%s","description":"%s"}]}]}',
    field, description, reason or "INVALID_FIELD", field, description
  )
end

-- The JSON body of an error that names no field.
local function error_body(code, reason, message)
  return string.format(
    '{"code":%d,"message":"%s","details":['
      .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"adplatform","metadata":{}}]}',
    code, message, reason
  )
end
