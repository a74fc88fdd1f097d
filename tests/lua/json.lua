-- json.lua: JSON in and out.
local t = require "tap"
local mw = require "moonwalk"

local decode, encode, null = mw.json.decode, mw.json.encode, mw.json.null

-- Decoding
t.is(decode '{"a": [1, 2.5, "x", true, false], "b": {}}', {a = {1, 2.5, "x", true, false}, b = {}},
  "objects and arrays")
t.is(math.type(decode "3"), "integer", "a number without a fraction is an integer")
t.is(math.type(decode "3.5"), "float", "another one is a float")
t.is(decode "9007199254740992", 1 << 53, "integers up to 2^53")
t.is(decode "-9007199254740991", -(1 << 53) + 1, "negative ones")
t.is(decode "1e3", 1000, "an exponent")
t.ok(decode "null" == null and null ~= nil, "null")
t.is(decode "[null, 1]"[2], 1, "null in an array keeps the others' places")
t.is(decode '"\\u00e9\\n\\"\\\\"', "é\n\"\\", "escapes")
t.is(decode '"\\ud83c\\udf19"', "🌙", "surrogate pairs")
t.is(decode '"\\\\u0000"', "\\u0000", "a backslash before u0000")
t.is(decode '  [1] \n', {1}, "white space around")

local function refused(text, pattern, name)
  local value, message = decode(text)
  t.ok(value == nil and type(message) == "string" and message:find(pattern), name)
end
refused("", "no valid value at byte 1", "nothing")
refused("{", "no valid value", "an unfinished object")
refused('{"a": 1,}', "no valid value", "a comma too many")
refused("[1, 2] x", "no valid value at byte 8", "text after the value")
refused("{a: 1}", "no valid value", "a name without quotes")
refused("'a'", "no valid value", "single quotes")
refused("nul", "no valid value", "an unknown word")
refused('{"a": 1, "b": 2, "a": 3}', "the name 'a' is there twice", "a name twice")
refused('{"x": {"a": 1, "a": 1}}', "the name 'a' is there twice", "a name twice, further in")
refused('"a\\u0000b"', "NUL", "an escaped NUL")
refused('"a\0b"', "NUL", "a raw NUL")
refused("[1]\0", "NUL", "a NUL at the end")
refused("1e999", "a number is too large", "a number that is infinite")
refused(("["):rep(100000), "no valid value", "many brackets")
refused(("["):rep(300) .. ("]"):rep(300), "nested deeper than 200", "deep nesting")
refused('"\\ud83c"', "no valid value", "half a surrogate pair")
refused('"open', "no valid value", "an unfinished string")
t.error(function() decode(5) end, "^tests/lua/json.lua:%d+: json_decode: the text is 5",
  "a number for a text")

-- Encoding
t.is(encode {1, 2, 3}, "[1,2,3]", "an array")
t.is(encode {b = 1, a = "x", c = {true, null}}, '{"a":"x","b":1,"c":[true,null]}',
  "an object, in the order of its names")
t.is(encode {}, "{}", "an empty table is an object")
t.is(encode(math.maxinteger), "9223372036854775807", "integers keep all their digits")
t.is(decode(encode(0.1)), 0.1, "floats keep all their bits")
t.is(decode(encode(1 / 3)), 1 / 3, "floats with many digits too")
t.is(encode "é\n\"\1", '"é\\n\\"\\u0001"', "strings are escaped")
local nested = {name = "net", sizes = {1, 28, 28}, options = {{lr = 0.5}, {lr = 0.25}}}
t.is(decode(encode(nested)), nested, "there and back")
t.error(function() encode {1, 2, a = 3} end, "json_encode: a list has the key 'a'",
  "a list with a name")
t.error(function() encode {1, 2, nil, 4} end, "json_encode: ", "a list with a gap")
t.error(function() encode {["a\0b"] = 1} end, "json_encode: a string has a NUL", "a NUL in a name")
t.error(function() encode {[2.5] = 1} end, "^tests/lua/json.lua:%d+: json_encode: .* key 2.5",
  "a key that is no name")
t.error(function() encode {print} end, "json_encode: JSON has nothing for a function", "a function")
t.error(function() encode(mw.zeros {1}) end, "json_encode: JSON has nothing for f32%[1%]",
  "a tensor")
t.error(function() encode(0 / 0) end, "json_encode: JSON has no number for %-?nan", "NaN")
t.error(function() encode "a\0b" end, "json_encode: a string has a NUL", "a NUL")
local loop = {}
loop[1] = loop
t.error(function() encode(loop) end, "json_encode: tables are nested deeper than 200", "a loop")

t.done()
