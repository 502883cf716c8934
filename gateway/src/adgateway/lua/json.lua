-- A strict reading of JSON. The transcoder's parser also takes single quotes, trailing commas and names without
-- quotes, and where a field is given twice it keeps the last value. This one refuses all of that, so that a body has
-- one meaning.
--
-- One pass, in time linear in the body's length. Envoy's CPU time for 1 MiB, transcoding included: 30 ms as one text,
-- 0.17 s as short keys, 0.3 s at most (empty objects, keys with escapes).

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

-- As deep as protobuf's own parsers go.
local MAX_DEPTH = 100
local ANYTHING = "google.protobuf.Value"
local TOO_DEEP = "the request is nested too deeply"

-- Of the scan under way. Envoy runs one script at a time in a worker thread, and a scan does not yield.
local text, depth, steps

local function fail(description)
  error({message = description})
end

local function not_json(description)
  fail("the request is not JSON: " .. description)
end

-- A fault of the field whose name or place in a list is the last step.
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

-- The place of the next token, and its first byte.
local function next_token(at)
  local first = byte(text, at)
  if first and first > 32 then
    return at, first
  end
  at = match(text, "^[ \t\n\r]*()", at)
  return at, byte(text, at)
end

-- The place behind the escape whose backslash is at `at`.
local function behind_escape(at)
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

-- The place behind the string whose opening quote is at `at`.
local function behind_string(at)
  at = at + 1
  while true do
    -- A match at one place runs three times as fast as a find, which begins again at each.
    at = match(text, '^[^"\\%c]*()', at)
    local stop = byte(text, at)
    if stop == 34 then
      return at + 1
    elseif stop == 92 then
      at = behind_escape(at)
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

local function utf8_of(code)
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

-- The text of a string's inside, whose escapes are known to be right: "\u0069d" is the key "id" as well.
local function unescaped(inside)
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
      return utf8_of(0x10000 + (high - 0xD800) * 1024 + unit - 0xDC00)
    end
    return utf8_of(unit)
  end))
end

local function behind_number(at, first)
  local behind = match(text, "^%-?[1-9]%d*()", at) or match(text, "^%-?0()", at)
  if not behind then
    unexpected(first)
  end
  local stop = byte(text, behind)
  if stop ~= 46 and stop ~= 69 and stop ~= 101 then
    return behind
  end
  behind = match(text, "^%.%d+()", behind) or behind
  return match(text, "^[eE][+-]?%d+()", behind) or behind
end

local LITERALS = {[110] = "^null()", [116] = "^true()", [102] = "^false()"}

local behind_value

-- Refuses a field that was given before, in this spelling or in the other one, and one beside another of its oneof.
local function note_field(seen, field, key, is_null)
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

-- One member of an object of the contract's message; answers the place behind its value.
local function behind_field(at, first, key, fields, seen, in_path)
  local field = fields[key]
  if not field then
    fail_field("there is no such field")
  end
  steps[depth] = field.json
  local inside = in_path and in_path[field.json]
  if inside == true then
    fail_field("stands in the path already; leave it out of the body")
  end
  note_field(seen, field, key, first == 110)
  return behind_value(at, first, field, inside or nil)
end

-- Behind the object at `at`: of a message where there are `fields`, of a map or without a message where there are none.
local function behind_object(at, fields, values, in_path)
  local seen, first = {}, nil
  at, first = next_token(at + 1)
  if first == 125 then
    return at + 1
  end
  while true do
    if first ~= 34 then
      unexpected(first)
    end
    local behind = behind_string(at)
    local key = unescaped(sub(text, at + 1, behind - 2))
    steps[depth] = key
    at, first = next_token(behind)
    if first ~= 58 then
      unexpected(first)
    end
    at, first = next_token(at + 1)
    if fields then
      at = behind_field(at, first, key, fields, seen, in_path)
    else
      if seen[key] then
        fail_field("is given twice; give it once")
      end
      seen[key] = true
      if first == 110 and values and values.of ~= ANYTHING then
        fail_field("must not be null; leave it out")
      end
      at = behind_value(at, first, values)
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

-- Behind the list at `at`; its elements are of `field` where they are a field's.
local function behind_list(at, field)
  local first
  at, first = next_token(at + 1)
  if first == 93 then
    return at + 1
  end
  local of, number = field and {of = field.of}, 0
  local takes_null = not field or field.of == ANYTHING
  while true do
    steps[depth] = number
    if not takes_null and (first == 110 or first == 91) then
      fail_field(first == 110 and "must not be null; leave it out of the list" or "must not be a list inside of a list")
    end
    at, first = next_token(behind_value(at, first, of))
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

-- Behind the value at `at`, whose first byte is `first`; of `field` where the contract has it.
function behind_value(at, first, field, in_path)
  if first == 34 then
    return behind_string(at)
  elseif first == 123 or first == 91 then
    depth = depth + 1
    if depth > MAX_DEPTH then
      fail(TOO_DEEP)
    end
    if first == 91 then
      at = behind_list(at, field and field.repeated and field)
    elseif field and field.map then
      at = behind_object(at, nil, {of = field.of})
    else
      at = behind_object(at, field and fields_of[field.of], nil, in_path)
    end
    depth = depth - 1
    return at
  elseif LITERALS[first] then
    return match(text, LITERALS[first], at) or unexpected(first)
  end
  return behind_number(at, first)
end

local function scan(field, in_path)
  local at, first = next_token(1)
  at, first = next_token(behind_value(at, first, field, in_path))
  if first then
    not_json("parsing terminated before end of input")
  end
end

-- What is wrong with the body that fills `field`: {field, description} or {message}; nil where nothing is.
local function fault_of_body(body, field, in_path)
  text, depth, steps = body, 0, {}
  local is_right, fault = pcall(scan, field, in_path)
  text, steps = nil, nil
  if is_right then
    return nil
  elseif type(fault) ~= "table" then
    error(fault)
  elseif fault.message and not is_utf8(body) then
    return {message = "the request is not JSON: encountered non UTF-8 code points"}
  end
  return fault
end
