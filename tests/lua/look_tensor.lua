-- look_tensor.lua: values as the prompt shows them: tensors, tables, strings; and what lines took.
local mw = require "moonwalk"
local t = require "tap"
local core, nn = mw.core, mw.nn
local look = require "moonwalk.look.tensor"
local value = require "moonwalk.look.value"
local measure = require "moonwalk.prompt.measure"

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

-- The longest line's columns, and how many lines there are.
local function extent(text)
  local lines, widest = lines_of(text), 0
  for _, line in ipairs(lines) do widest = math.max(widest, core.width(line)) end
  return widest, #lines
end

-- One pass over the values ------------------------------------------------------------------------

do
  local facts = core.summary(mw.tensor {1, -2.5, 4, 0 / 0, 1 / 0, -1 / 0, 0 / 0})
  t.is(facts, {count = 7, nans = 2, infinities = 2, min = -2.5, max = 4, mean = 2.5 / 3},
    "what is finite is counted, and what is not")
  facts = core.summary(mw.tensor({1 << 62, (1 << 62) + 1, -5}, "i64"))
  t.is({facts.min, facts.max}, {-5, (1 << 62) + 1}, "integers keep all digits")
  t.is(core.summary(mw.tensor({true, false, true, true}, "bool")).mean, 0.75, "true counts as 1")
  t.is(core.summary(mw.zeros {0, 3}), {count = 0, nans = 0, infinities = 0}, "nothing")
  t.is(core.summary(mw.tensor {0 / 0}), {count = 1, nans = 1, infinities = 0}, "nothing finite")
  local part = core.summary(mw.arange(1, 10), 2, 3) -- 3, 4, 5
  t.is({part.count, part.min, part.max, part.mean}, {3, 3, 5, 4}, "a part of the elements")
  t.refuses("summary: 3 elements from 8 on of 10", core.summary, mw.arange(1, 10), 8, 3)
  t.refuses("summary: from element", core.summary, mw.arange(1, 10), math.mininteger)

  -- Against a plain loop over as many values as several of its blocks.
  for _, dtype in ipairs {"f32", "f64", "i32", "u8"} do
    local x = (mw.uniform({5000}, 0, 200)):floor():cast(dtype)
    local sum, least, largest = 0, math.huge, -math.huge
    for _, v in ipairs(x:totable()) do
      sum, least, largest = sum + v, math.min(least, v), math.max(largest, v)
    end
    facts = core.summary(x)
    t.is({facts.min, facts.max, facts.mean}, {least, largest, sum / 5000}, "5000 values, " .. dtype)
  end
end

-- Elements ----------------------------------------------------------------------------------------

do
  local x = mw.arange(1, 12):reshape {3, 4}
  t.is(core.body(x), "{{ 1,  2,  3,  4},\n { 5,  6,  7,  8},\n { 9, 10, 11, 12}}", "all of them")
  t.is(core.body(x, {2, 3}), "{{ 1,  2, ...,  4},\n ...,\n { 9, 10, ..., 12}}",
    "some, more of them at the beginning")
  t.is(core.body(x, {1, 1}), "{{1, ...},\n ...}", "the first one")
  t.is(core.element_width(x, {1, 2}), 1, "the width of those that are shown")
  t.is(core.element_width(x), 2, "the width of all")
  t.is(core.body(mw.arange(1, 6), nil, 7), "{1, 2,\n 3, 4,\n 5, 6}", "lines are wrapped at a width")
  local pieces = {}
  core.body(mw.arange(1, 5000), nil, 80, function(piece) pieces[#pieces + 1] = piece end)
  t.ok(#pieces > 1 and table.concat(pieces) == core.body(mw.arange(1, 5000), nil, 80),
    ("a sink is given the same text in pieces: %d"):format(#pieces))
  local calls = 0
  t.error(function()
    core.body(mw.zeros {1000, 1000}, nil, 80, function()
      calls = calls + 1
      error "that is enough"
    end)
  end, "that is enough", "a sink may end it")
  t.is(calls, 1, "at once")
end

-- A tensor at the prompt --------------------------------------------------------------------------

do
  t.is(look.text(mw.tensor {{1.5, -2}, {0.25, 0}}, 80, 12),
    "f32[2,2]  min -2  mean -0.0625  max 1.5\n{{ 1.50, -2.00},\n { 0.25,     0}}",
    "what it is, how its values lie, the values")
  t.is(look.text(mw.tensor(2.5), 80, 12), "f32[]  2.5", "a scalar is its number")
  t.is(look.text(mw.tensor(3, "i64"), 80, 12), "i64[]  3", "also of integers")
  t.is(look.text(mw.zeros {0, 3}, 80, 12), "f32[0,3]  no elements", "no elements")
  t.is(look.head(mw.tensor {1, 0 / 0, 1 / 0}),
    "f32[3]  min 1  mean 1  max 1  1 NaN  1 infinity", "what is no finite number is counted")
  t.is(look.head(mw.tensor {0 / 0, 0 / 0}), "f32[2]  2 NaN", "nothing else")
  t.is(look.head(mw.tensor {-1 / 0, 1 / 0}), "f32[2]  2 infinities", "nothing but infinities")
  t.is(look.head(mw.tensor({true, false, true}, "bool")), "bool[3]  2 true, 1 false", "booleans")
  t.is(look.head(mw.tensor({1, 2, 4}, "i32")), "i32[3]  min 1  mean 2.333  max 4", "integers")
  local long = lines_of(look.head(mw.param({1}, ("w"):rep(90)), 40))
  t.ok(#long == 2 and core.width(long[1]) == 40 and long[2] == "  min 1  mean 1  max 1",
    "a long name: " .. long[1])
  t.is(look.head(mw.param({1}, "w")), "f32[1] parameter 'w'  min 1  mean 1  max 1", "a parameter")
  local net = nn.Sequential {nn.BatchNorm {2}}
  net:freeze()
  t.is(look.head(net:parameters()[1]):match "parameter.-  ", "parameter '1.weight', frozen  ",
    "a parameter that is not trained")
  local buffers = {}
  for name, tensor in pairs(net:state()) do
    if name:find "running_mean" then buffers[1] = tensor end
  end
  t.ok(buffers[1] and look.head(buffers[1]):find "buffer '1.running_mean'", "a buffer: " ..
    look.head(buffers[1] or mw.zeros {1}))
  local lazy = mw.ones {2} * 3
  t.ok(not core.computed(lazy), "a tensor that is not computed yet")
  t.is(look.text(lazy, 80, 12), "f32[2]  min 3  mean 3  max 3\n{3, 3}", "is computed to be shown")
  t.ok(core.computed(lazy), "and then has its value")
  for _, case in ipairs {{1234567.5, "1234568"}, {1.5e9, "1.5e+09"}, {0.00123456, "0.001235"},
    {1e-7, "1e-07"}, {12345.6, "12346"}, {3.0, "3"}, {7, "7"}, {-0.5, "-0.5"}} do
    t.is(look.number(case[1]), case[2], "a number in a few characters: " .. case[2])
  end
end

-- It fits, whatever its shape and the screen.
do
  mw.seed(1)
  local shapes = {{64, 6, 28, 28}, {1000000}, {1000, 1000}, {3}, {50}, {7, 1}, {1, 7}, {100, 2, 2},
    {2, 2, 2, 2, 2, 2, 2, 2}, {1}, {1, 1, 1}, {13, 14}}
  for _, screen in ipairs {{80, 12}, {120, 20}, {40, 6}, {80, 1000}} do
    local columns, rows = table.unpack(screen)
    local worst_width, worst_height = 0, 0
    for _, shape in ipairs(shapes) do
      for _, scale in ipairs {1, 1e10} do
        local width, height = extent(look.text(mw.randn(shape) * scale, columns, rows))
        worst_width, worst_height = math.max(worst_width, width), math.max(worst_height, height)
      end
    end
    -- Each axis of eight needs a line for what it leaves out, and the head may need two.
    t.ok(worst_width <= columns and worst_height <= math.max(rows, 10),
      ("at most %d columns and %d lines where there are %d and %d"):format(worst_width,
        worst_height, columns, rows))
  end
  local text = look.text(mw.arange(1, 200), 80, 6)
  t.is(lines_of(text)[2]:sub(1, 20), "{  1,   2,   3,   4,", "a vector begins at its beginning")
  t.ok(text:find "%.%.%." and text:find "200}$", "and ends with its end")
  t.is(lines_of(look.text(mw.arange(1, 60):reshape {60, 1}, 80, 7)), {
    "f32[60,1]  min 1  mean 30.5  max 60", "{{ 1},", " { 2},", " { 3},", " ...,", " {59},",
    " {60}}"}, "rows are left out in the middle")
  t.is(#lines_of(look.text(mw.ones {5, 2}, 80, 6)), 6, "none is left out where all fit")
  local clock = core.clock()
  look.text(mw.zeros {1000, 1000}, 80, 12)
  t.ok(core.clock() - clock < 2, "a million elements are shown soon")
end

-- Tables ------------------------------------------------------------------------------------------

do
  local function is(v, want, name, columns, rows)
    t.is(value.text(v, columns or 80, rows or 12), want, name)
  end
  is({loss = 0.3, {1, 2}}, "{{1, 2}, loss = 0.3}", "a table as Lua would write it")
  is({}, "{}", "an empty table")
  is({["a b"] = 1, ["end"] = 2, [10] = 3, [1.5] = 4, [true] = 5},
    '{[1.5] = 4, [10] = 3, ["a b"] = 1, ["end"] = 2, [true] = 5}', "keys that are no names")
  is({1, nil, 3}, "{1, nil, 3}", "a list with a hole")
  is({1 / 3, 2.0, 1e300, 12345678.0, 0 / 0, -1 / 0},
    ("{0.333333, 2.0, 1e+300, 12345678.0, %s, -inf}"):format(0 / 0),
    "numbers in tables have six digits")
  is({"a\n\"b\"\t\1", "ü"}, core.speaks_utf8() and '{"a\\n\\"b\\"\\t\\001", "ü"}'
    or '{"a\\n\\"b\\"\\t\\001", "\\195\\188"}', "strings are quoted")
  is({mw.zeros {2, 3}, mw.tensor(2.5), mw.param {1}, net = nn.Dense {3, 4}},
    "{f32[2,3], f32[] 2.5, f32[1] parameter, net = Dense {3, 4}}", "tensors and layers are named")
  local lazy = mw.ones {} * 3
  is({lazy}, "{f32[]}", "what is not computed")
  t.ok(not core.computed(lazy), "stays so")
  local loop = {name = "x"}
  loop.me, loop.list = loop, {loop}
  is(loop, '{list = {<itself>}, me = <itself>, name = "x"}', "a table that holds itself")
  local deep = {}
  for _ = 1, 100 do deep = {deep} end
  is(deep, "{{{{{{{...}}}}}}}", "tables in tables end")
  is({setmetatable({}, {__tostring = function() return "mine\nand more" end})}, "{mine}",
    "a table that has a text of its own")
  is({setmetatable({}, {__tostring = function() error "no" end})}, "{{}}", "or fails to have one")
  is({print}, ("{%s}"):format(print), "a function")

  local history = {}
  for i = 1, 40 do history[i] = {epoch = i, loss = 1 / i} end
  is(history, [[
{
  {epoch = 1, loss = 1.0},
  {epoch = 2, loss = 0.5},
  ... 36 more ...
  {epoch = 39, loss = 0.025641},
  {epoch = 40, loss = 0.025}
}]], "the middle of a long list is left out", 80, 7)
  local list = {}
  for i = 1, 1000 do list[i] = i end
  t.ok(value.text(list, 21, 7):find("^{\n  1, 2, 3, 4, 5, 6,\n  7, 8, 9, 10, 11,\n  %.%.%.,\n" ..
    "[%d, ]+,\n[%d, ]+ 1000\n}$"), "numbers stand side by side")
  is({x = {list}, y = 1}, [[
{
  x = {{1, 2, 3, 4, 5, ...}},
  y = 1
}]], "what does not fit in its line", 30, 4)
  for columns = 20, 120, 25 do
    local width, height = extent(value.text({history, list, x = {y = {z = history}},
      name = ("long "):rep(100)}, columns, 12))
    t.ok(width <= columns and height <= 12, ("%d columns of %d, %d lines"):format(width, columns,
      height))
  end
  for i = 1, 1000000 do list[i] = i end
  local clock = core.clock()
  t.ok(value.text(list):find "1000000" and core.clock() - clock < 5, "a million numbers")
  local map = {}
  for i = 1, 20000 do map["k" .. i] = i end
  t.ok(value.text(map, 80, 12):find "... 19991 more ...", "twenty thousand names")
end

-- Other values ------------------------------------------------------------------------------------

do
  t.is({value.text(nil), value.text(1 / 3), value.text(true), value.text(print)},
    {"nil", tostring(1 / 3), "true", tostring(print)}, "as Lua has them")
  t.is(value.text 'a "b"', '"a \\"b\\""', "a string is quoted")
  t.is(value.text "a\nb", "a\nb", "a text of several lines is shown as it is")
  t.is(value.text(mw.tensor {1}), look.text(mw.tensor {1}), "a tensor as above")
  local net = nn.Sequential {nn.Dense {3, 4}, nn.ReLU {}}
  t.is(value.text(net), tostring(net), "a network is its table")
  t.ok(value.text(nn.Sequential {nn.Dense {4}}):find "%?", "also one whose sizes are open")
  t.refuses("look.tensor: t is 3, expected a tensor", look.text, 3)
end

-- What a line took --------------------------------------------------------------------------------

do
  collectgarbage()
  local begun = measure.begin()
  local kept = {(mw.ones {1000, 250} * 2):eval()}
  local text = measure.text(begun)
  t.ok(text:find "^[%d.]+ [mun]?s, ", "seconds: " .. text)
  t.ok(text:find "2.00 MB kept, peak 2.00 MB" and text:find "1 program compiled$",
    "two tensors of a million bytes, and a program")
  begun = measure.begin()
  t.is(#kept, 1, "which is held")
  kept = nil -- luacheck: ignore
  collectgarbage()
  text = measure.text(begun)
  t.ok(text:find "[12].00 MB freed", "what is freed: " .. text)
  t.ok(measure.text(measure.begin()):find "^[%d.]+ [mun]?s$", "nothing but time")
end

t.done()
