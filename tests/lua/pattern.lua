-- pattern.lua: nn.pattern: what the notation builds, and errors that point into it.
local mw = require "moonwalk"
local t = require "tap"
local nn = mw.nn

-- The layers of a network as text.
local function layers(net)
  local list = {}
  for i, layer in ipairs(net) do list[i] = layer:describe() end
  return table.concat(list, " ")
end

local function build(text, options) return layers(nn.pattern(text, options)) end

-- The tutorial's network, in all three ways in which it writes it: two filters banks of 3 and 5.
local TUTORIAL = "Conv2d {3, kernel = 3} ReLU MaxPool {2} Conv2d {5, kernel = 3} ReLU MaxPool {2} "
  .. "Flatten Dense {20} ReLU Dense {10}"
t.is(build("INPUT -> [[CONV]*N -> POOL?]*M -> [FC]*K",
  {N = 1, M = 2, K = 2, filters = {3, 5}, units = {20, 10}}), TUTORIAL, "the tutorial's pattern")
t.is(build("INPUT -> [[CONV]*1 -> POOL]*2 -> [FC]*2", {filters = {3, 5},
  units = {20, 10}}), TUTORIAL,
  "with numbers")
t.is(build("INPUT -> CONV -> POOL -> CONV -> POOL -> FC -> FC", {filters = {3, 5},
  units = {20, 10}}),
  TUTORIAL, "written out")
t.is(build("INPUT→[ [ CONV ] * N→POOL ? ] * M→[ FC ] * K\n",
  {N = 1, M = 2, K = 2, filters = {3, 5}, units = {20, 10}}), TUTORIAL, "spaces and arrows")

do
  local lenet = nn.pattern("INPUT -> [[CONV]*N -> POOL?]*M -> [FC]*K", {
    N = 1, M = 2, K = 3, filters = {6, 16}, kernel = 5, padding = {2, 0}, units = {120, 84, 10},
    input = {1, 28, 28},
  })
  t.is(#lenet(mw.zeros {2, 1, 28, 28}):totable()[1], 10, "LeNet-5 can be called")
  t.ok(tostring(lenet):find("total +61,706"), "and has its parameters")
  local opt = mw.optim.SGD(lenet:parameters(), {lr = 0.1})
  local x, labels = mw.randn {4, 1, 28, 28}, mw.tensor({0, 1, 2, 3}, "i64")
  local first = opt:step(lenet(x):cross_entropy(labels)):item()
  for _ = 1, 5 do opt:step(lenet(x):cross_entropy(labels)) end
  t.ok(lenet(x):cross_entropy(labels):item() < first, "and is trained")
end

t.is(build("INPUT -> [[CONV]*2 -> POOL?]*2 -> FC", {filters = {8, 16}, padding = "same", units = 10,
  pool = {2, false}}),
  ("Conv2d {8, kernel = 3, padding = 1} ReLU "):rep(2) .. "MaxPool {2} "
  .. ("Conv2d {16, kernel = 3, padding = 1} ReLU "):rep(2) .. "Flatten Dense {10}",
  "a value for each group, and a pooling layer that is left out")
t.is(build("INPUT -> CONV -> POOL? -> FC", {filters = 2, units = 3, pool = false}),
  "Conv2d {2, kernel = 3} ReLU Flatten Dense {3}", "POOL? without pool")
t.is(build("INPUT -> CONV -> POOL -> FC", {filters = 2, units = 3, pool = {{2, 3}},
  pooling = "mean",
  kernel = {{1, 5}}, stride = 2}),
  "Conv2d {2, kernel = {1, 5}, stride = 2} ReLU MeanPool {{2, 3}} Flatten Dense {3}",
  "sizes that are pairs, and mean pooling")
t.is(build("INPUT -> [CONV -> NORM? -> RELU -> DROPOUT]*2 -> FC -> TANH -> FC",
  {filters = 2, units = {4, 3}, dropout = 0.1, kernel = 4, padding = "same"}),
  ("Conv2d {2, kernel = 4, padding = {1, 1, 2, 2}} BatchNorm {} ReLU Dropout {0.1} "):rep(2)
  .. "Flatten Dense {4} Tanh Dense {3}", "activations where the pattern has them, and nowhere else")
t.is(build("INPUT -> FC -> FC", {units = {4, 3}, activation = "Tanh"}),
  "Flatten Dense {4} Tanh Dense {3}", "another activation")
t.is(build("INPUT -> FC -> FC", {units = {4, 3}, activation = false}),
  "Flatten Dense {4} Dense {3}",
  "or none")
t.is(build("INPUT -> FC -> FC",
  {units = {4, 3}, activation = function() return nn.LeakyReLU {0.2} end}),
  "Flatten Dense {4} LeakyReLU {0.2} Dense {3}", "or a layer of one's own making")
t.is(build("INPUT -> [CONV]*N -> FC", {N = 0, units = 3}), "Flatten Dense {3}", "a count may be 0")
t.is(build("INPUT -> [[[CONV]*0]*99999]*99999 -> FC", {units = 3}), "Flatten Dense {3}",
  "also of what is there very often")
t.is(build("INPUT -> [CONV]*depth", {depth = 2, filters = 3}),
  "Conv2d {3, kernel = 3} ReLU Conv2d {3, kernel = 3} ReLU", "a letter may be a name")
t.is(build "INPUT", "", "nothing but input")
t.is(nn.pattern("INPUT -> FC", {units = 2, dtype = "f64", init = "zeros", input = {3}})[2].weight
  :totable(), {{0, 0, 0}, {0, 0, 0}}, "first values and dtype")

-- Errors: the message, and the column under which its mark stands, counted from 1.
local O = {filters = 3, units = 2}
for _, case in ipairs {
  {"INPUT -> [[CONV]*N -> POOL?*M", {N = 1, M = 2, filters = 1}, "a count follows a group", 28},
  {"INPUT -> [[CONV]*N -> POOL?", {N = 1, filters = 1}, "this group is not closed", 10},
  {"INPUT -> [CONV]*N", {filters = 3},
    "N is nil, expected a whole number of at least 0: {N = 2}", 17},
  {"INPUT -> [CONV]*N", {N = 1.5}, "N is 1.5, expected a whole number", 17},
  {"INPUT -> [CONV]*", O, "the pattern ends where a count is expected", 17},
  {"INPUT -> [CONV]*]", O, 'there is "]" where a count is expected', 17},
  {"INPUT -> CNV", O, 'there is no layer "CNV", did you mean CONV?', 10},
  {"INPUT -> conv", O, 'there is no layer "conv", did you mean CONV?', 10},
  {"INPUT -> XYZ", O, "there are CONV, POOL, FC, NORM, DROPOUT, and activations", 10},
  {"INPUT -> FC -> INPUT", O, "INPUT stands at the beginning alone", 16},
  {"CONV -> FC", O, 'there is "CONV" where INPUT is expected', 1},
  {"", O, "the pattern ends where INPUT is expected", 1},
  {"INPUT CONV", O, 'there is "CONV" where -> is expected', 7},
  {"INPUT -> CONV FC", O, 'there is "FC" where -> is expected', 15},
  {"INPUT -> CONV ->", O, "the pattern ends where a layer or a group is expected", 17},
  {"INPUT -> []", O, 'there is "]" where a layer or a group is expected', 11},
  {"INPUT -> [CONV]]", O, "there is no [ that this ] would close", 16},
  {"INPUT -> [CONV FC]", O, 'there is "FC" where -> or ] is expected', 16},
  {"INPUT -> [CONV]?", O, "? follows a layer", 16},
  {"INPUT -> CONV?", O, "CONV? has no option that would leave it out", 10},
  {"INPUT -> CONV ! FC", O, '"!" is no part of the notation', 15},
  {"INPUT → CONV → é", O, '"é" is no part of the notation', 16},
  {"INPUT -> FC -> CONV", O, "a CONV cannot follow an FC", 16},
  {"INPUT -> CONV", {}, "this CONV needs filters: {filters = {6, 16}}", 10},
  {"INPUT -> FC", {}, "this FC needs units: {units = {120, 84, 10}}", 10},
  {"INPUT -> [FC]*99999999", O, "these are more than 10000 layers", 11},
  {"INPUT -> [[CONV]*99999999]*99999999", O, "these are more than 10000 layers", 12},
} do
  local message = t.refuses(case[3], function() nn.pattern(case[1], case[2]) end)
  local text, mark = (message or ""):match "\n  ([^\n]*)\n  ( *)%^$"
  t.is({text, mark and #mark + 1}, {case[1], case[4]}, "and points at it")
  t.ok(message and message:find "^tests/lua/pattern.lua:%d+: nn.pattern: ", "at the user's line")
end
for _, case in ipairs {
  {"INPUT -> [FC]*2", {K = 2, units = 3}, "K is 2, but there is no *K in INPUT -> [FC]*2"},
  {"INPUT -> FC", {unit = 3}, 'there is no option "unit", did you mean "units"?'},
  {"INPUT -> [FC]*2", {units = {1, 2, 3}}, "units has 3 values, expected one for each of the 2 FC"},
  {"INPUT -> [[CONV]*2 -> POOL]*3", {filters = {1, 2}},
    "filters has 2 values, expected one for each of the 6 CONV, or for each of the 3 groups"},
  {"INPUT -> FC", {units = 3, activation = "relu"}, 'activation is "relu", expected'},
  {"INPUT -> FC", {units = 3, activation = 3}, 'activation is 3, expected a name such as "Tanh"'},
  {"INPUT -> FC", 3, "the table of options is 3"},
  {3, {}, "the pattern is 3, expected a string"},
  {"INPUT -> CONV", {filters = "a"}, "the number of filters, [1], is \"a\""},
  {"INPUT -> FC", {units = 2, input = {0}}, "the first input is a tensor f32[1,0]"},
} do
  local message = t.refuses(case[3], function() nn.pattern(case[1], case[2]) end)
  t.ok(message and message:find "^tests/lua/pattern.lua:%d+: ", "at the user's line")
end

t.done()
