-- A strict JSON validator. The transcoder's parser is lenient: it allows single quotes, trailing commas and unquoted
-- names, and uses the last value of a repeated field. This validator refuses all of them, so a body is unambiguous.
--
-- It makes one pass, in time linear in the body's length. Envoy's CPU time for 1 MiB, with transcoding: 30 ms for one
-- string, 0.17 s for short keys, 0.3 s in the worst case (empty objects, keys with escapes).

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

-- The limit of protobuf's own parsers.
local MAX_DEPTH = 100
local ANYTHING = "google.protobuf.Value"
local TOO_DEEP = "the request is nested too deeply"

-- The state of the current scan. A worker thread of Envoy runs one script at a time, and a scan does not yield.
local text, depth, steps

local function fail(description)
  error({message = description})
end

local function not_json(description)
  fail("the request is not JSON: " .. description)
end

-- Raises a fault of the field at the current path; the path's steps are names, and indexes of list elements.
local function fail_field(description)
  local path = ""
  for place = 1, depth do
    local step = steps[place]
    if type(step) == "number" then
      path = path .. "[" .. step .. "]"
    else
      path = path .. (path == "" and "" or ".") .. step
    end
  end
  error({field = path, description = description})
end

local function unexpected(first)
  if not first then
    not_json("unexpected end of string")
  elseif first == 39 then
    not_json("strings stand in double quotes, not in single ones")
  end
  not_json("unexpected token")
end

-- The position of the next token, and its first byte.
--
-- The skip_* functions below take the position of a value and return the position after it.
local function next_token(at)
  local first = byte(text, at)
  if first and first > 32 then
    return at, first
  end
  at = match(text, "^[ \t\n\r]*()", at)
  return at, byte(text, at)
end

-- The escape whose backslash is at `at`.
local function skip_escape(at)
  if find(text, '^["\\/bfnrt]', at + 1) then
    return at + 2
  end
  local code = match(text, "^u(%x%x%x%x)", at + 1)
  if not code then
    not_json("invalid escape sequence")
  end
  local unit = tonumber(code, 16)
  if unit < 0xD800 or unit > 0xDFFF then
    return at + 6
  elseif unit > 0xDBFF or not find(text, "^\\u[dD][c-fC-F]%x%x", at + 6) then
    not_json(unit > 0xDBFF and "missing high surrogate" or "missing low surrogate")
  end
  return at + 12
end

-- The string whose opening quote is at `at`.
local function skip_string(at)
  at = at + 1
  while true do
    -- An anchored match is three times as fast as a find, which retries at each position.
    at = match(text, '^[^"\\%c]*()', at)
    local stop = byte(text, at)
    if stop == 34 then
      return at + 1
    elseif stop == 92 then
      at = skip_escape(at)
    elseif stop == 127 then
      at = at + 1
    elseif stop then
      not_json("a control character in a string must be escaped")
    else
      not_json("closing quote expected in string")
    end
  end
end

local ESCAPED = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function utf8_encode(code)
  if code < 0x80 then
    return string.char(code)
  elseif code < 0x800 then
    return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(
    0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64, 0x80 + math.floor(code / 64) % 64,
    0x80 + code % 64
  )
end

-- Decodes a string's valid escapes: "\u0069d" is the key "id" too.
local function decode_escapes(inside)
  if not find(inside, "\\", 1, true) then
    return inside
  end
  local high
  return (inside:gsub("\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind ~= "u" then
      return (ESCAPED[kind] or kind) .. digits
    end
    local unit = tonumber(digits, 16)
    if unit >= 0xD800 and unit <= 0xDBFF then
      high = unit
      return ""
    elseif unit >= 0xDC00 and unit <= 0xDFFF then
      return utf8_encode(0x10000 + (high - 0xD800) * 1024 + unit - 0xDC00)
    end
    return utf8_encode(unit)
  end))
end

local function skip_number(at, first)
  local after = match(text, "^%-?[1-9]%d*()", at) or match(text, "^%-?0()", at)
  if not after then
    unexpected(first)
  end
  local stop = byte(text, after)
  if stop ~= 46 and stop ~= 69 and stop ~= 101 then
    return after
  end
  after = match(text, "^%.%d+()", after) or after
  return match(text, "^[eE][+-]?%d+()", after) or after
end

local LITERALS = {[110] = "^null()", [116] = "^true()", [102] = "^false()"}

local skip_value

-- Refuses a repeated field, also by its other name, and a second member of a oneof.
local function check_repeated(seen, field, key, is_null)
  local before = seen[field]
  if before == key then
    fail_field("is given twice; give it once")
  elseif before then
    fail_field(string.format("is given twice, as %s and as %s; give it once", before, key))
  end
  seen[field] = key
  if field.oneof and not is_null then
    local other = seen[field.oneof]
    if other then
      fail_field(string.format("cannot be given beside %s; give one of them", other))
    end
    seen[field.oneof] = key
  end
end

-- The value of a member of a contract's message, whose first byte is `first`.
local function skip_field(at, first, key, fields, seen, path_fields)
  local field = fields[key]
  if not field then
    fail_field("there is no such field")
  end
  steps[depth] = field.json
  local inside = path_fields and path_fields[field.json]
  if inside == true then
    fail_field("stands in the path already; leave it out of the body")
  end
  check_repeated(seen, field, key, first == 110)
  return skip_value(at, first, field, inside or nil)
end

-- The object at `at`: a message if it has `fields`; otherwise a map with `values`, or an object of any JSON.
local function skip_object(at, fields, values, path_fields)
  local seen, first = {}, nil
  at, first = next_token(at + 1)
  if first == 125 then
    return at + 1
  end
  while true do
    if first ~= 34 then
      unexpected(first)
    end
    local after = skip_string(at)
    local key = decode_escapes(sub(text, at + 1, after - 2))
    steps[depth] = key
    at, first = next_token(after)
    if first ~= 58 then
      unexpected(first)
    end
    at, first = next_token(at + 1)
    if fields then
      at = skip_field(at, first, key, fields, seen, path_fields)
    else
      if seen[key] then
        fail_field("is given twice; give it once")
      end
      seen[key] = true
      if first == 110 and values and values.of ~= ANYTHING then
        fail_field("must not be null; leave it out")
      end
      at = skip_value(at, first, values)
    end
    at, first = next_token(at)
    if first == 125 then
      return at + 1
    elseif first ~= 44 then
      unexpected(first)
    end
    at, first = next_token(at + 1)
    if first == 125 then
      not_json("a comma without a value behind it")
    end
  end
end

-- The list at `at`; `field` is its repeated field, if the contract has one.
local function skip_list(at, field)
  local first
  at, first = next_token(at + 1)
  if first == 93 then
    return at + 1
  end
  local of, number = field and {of = field.of}, 0
  local allows_null = not field or field.of == ANYTHING
  while true do
    steps[depth] = number
    if not allows_null and (first == 110 or first == 91) then
      fail_field(first == 110 and "must not be null; leave it out of the list" or "must not be a list inside of a list")
    end
    at, first = next_token(skip_value(at, first, of))
    if first == 93 then
      return at + 1
    elseif first ~= 44 then
      unexpected(first)
    end
    at, first = next_token(at + 1)
    number = number + 1
    if first == 93 then
      not_json("a comma without a value behind it")
    end
  end
end

-- The value at `at`, whose first byte is `first`; `field` is its field, if the contract has one.
function skip_value(at, first, field, path_fields)
  if first == 34 then
    return skip_string(at)
  elseif first == 123 or first == 91 then
    depth = depth + 1
    if depth > MAX_DEPTH then
      fail(TOO_DEEP)
    end
    if first == 91 then
      at = skip_list(at, field and field.repeated and field)
    elseif field and field.map then
      at = skip_object(at, nil, {of = field.of})
    else
      at = skip_object(at, field and fields_of[field.of], nil, path_fields)
    end
    depth = depth - 1
    return at
  elseif LITERALS[first] then
    return match(text, LITERALS[first], at) or unexpected(first)
  end
  return skip_number(at, first)
end

local function scan(field, path_fields)
  local at, first = next_token(1)
  at, first = next_token(skip_value(at, first, field, path_fields))
  if first then
    not_json("parsing terminated before end of input")
  end
end

-- The fault of a body that maps to `field`, as {field, description} or {message}; nil for a valid body.
local function body_fault(body, field, path_fields)
  text, depth, steps = body, 0, {}
  local is_valid, fault = pcall(scan, field, path_fields)
  text, steps = nil, nil
  if is_valid then
    return nil
  elseif type(fault) ~= "table" then
    error(fault)
  elseif fault.message and not is_utf8(body) then
    return {message = "the request is not JSON: encountered non UTF-8 code points"}
  end
  return fault
end
