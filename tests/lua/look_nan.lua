-- The first NaN or infinity of a value, and of a loss's gradients: which op made it, of which
-- elements; and walking a graph backward by commands from standard input.

local t = require "tap"
local mw = require "moonwalk"
local nan = require "moonwalk.look.nan"
local nan_text = require "moonwalk.look.nan_text"
local nn = mw.nn

-- What is found of a value: kind, op, place, the elements of the operands there.
local function found(value)
  local odd = nan.find(value)
  if not odd then return nil end
  local elements = {}
  for i, it in ipairs(odd.operands) do elements[i] = it.element or it.label end
  return {odd.kind, odd.op, odd.place, elements}
end

local function text_of(value) return nan_text.of((nan.find(value))) end

do -- values
  local x = mw.tensor({{1, 2}, {3, 0.5}, {2, -0.25}}, "f64")
  t.is(found((x * 2):log():exp():sum()), {"op", "log", {3, 2}, {-0.5}}, "log of -0.5 at {3,2}")
  t.ok(text_of((x * 2):log():sum()):find("log of -0.5 at {3,2}", 1, true), "in these words")
  t.is(found((x - 1) / (x:slice {{1, 1}} - 1)), {"op", "div", {1, 1}, {0, 0}},
    "0 / 0, of what is broadcast")
  t.is(found(x / (x:slice {{1, 1}} - 1)), {"op", "div", {1, 1}, {1, 0}}, "1 / 0 is infinite")
  t.is(found((x * 1000):exp():log()), {"op", "exp", {1, 1}, {1000}}, "exp of 1000")
  t.is(found(mw.tensor({{-8, 4}}, "f64") ^ 0.5), {"op", "pow", {1, 1}, {-8, 0.5}}, "-8 ^ 0.5")
  t.is(found(mw.full({2, 4}, 1e38):sum {axes = {2}}), {"op", "sum", {1}, {"x"}},
    "a sum beyond the largest f32")
  t.ok(text_of(mw.full({2, 4}, 1e38):sum()):find("beyond the largest f32", 1, true), "as is said")
  local given = mw.tensor {{1, 2}, {0 / 0, 4}}
  t.is(found((given * 2 + 1):mean()), {"leaf", "constant", {2, 1}, {}}, "a NaN that was given")
  t.is(found(x:sum()), nil, "none")
  t.is(select(2, nan.find(x:sum())), false, "of what has no parameters there are no gradients")
  t.is(found(mw.tensor {1, 2} % 2), nil, "none in a small graph of floats")
  t.is(found(mw.tensor({1, 2}, "i32")), nil, "whole numbers have none")
end

do -- what came before does not matter when it has no part in it
  local scores, mask = mw.tensor {{1, 2, 3}}, mw.tensor {{0, 0, -math.huge}}
  t.is(found((scores + mask):softmax {axis = 2}), nil, "a mask of infinities is none")
  local y = (scores + mask):softmax {axis = 2}
  t.is(found((y - 0.5):log()), {"op", "log", {1, 1}, {(y - 0.5)[1][1]:item()}},
    "and is not blamed for another op's NaN")
  local h = (scores - 2):log()
  h:eval()
  t.is(found(h * 3), {"op", "log", {1, 1}, {-1}}, "what is computed already is looked at")
end

do -- gradients
  local p = mw.param({4, 0, 1}, "p")
  local odd, with_gradients = nan.find(p:sqrt():sum())
  t.is({odd.kind, odd.op, odd.place}, {"gradient", "sqrt", {2}}, "the backward pass of sqrt, at 0")
  t.is(odd.operands[1].element, 0.0, "of x = 0")
  t.is(with_gradients, true, "it was looked at")
  t.ok(nan_text.of(odd):find("the slope of sqrt at 0 is infinite", 1, true), "the cause is said")
  t.is({nan.find((p * p):sum())}, {nil, true}, "none in the gradients either")
end

do -- a network after an update that spoiled it
  local net = nn.Sequential {nn.Dense {2, 2}, nn.Tanh {}, nn.Dense {2, 1}}
  mw.update({net[1].weight}, {net[1].weight * (0 / 0)})
  local kind = found(net(mw.ones {3, 2}):mean())
  t.is({kind[1], kind[2]}, {"leaf", "parameter"}, "a parameter that is NaN itself")
end

-- ---- walking --------------------------------------------------------------------------------

-- What a script prints that walks with these commands.
local function walk(script, input)
  local path, commands = os.tmpname(), os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local mw = require 'moonwalk'; ", script)
  file:close()
  file = assert(io.open(commands, "w"))
  file:write(input)
  file:close()
  local pipe = assert(io.popen(("%s/moonwalk %s < %s 2>&1"):format(
    os.getenv "MOONWALK_BUILD" or "build", path, commands)))
  local text = pipe:read "a"
  pipe:close()
  os.remove(path)
  os.remove(commands)
  return text
end

do
  local script = [[
local w = mw.param({1, 2}, "w")
local picked = mw.walk((w * 3):relu():sum())
print("picked", picked and picked:totable()[2])
]]
  local text = walk(script, "\n\n1\n7\nb\nv 1\n")
  t.ok(text:find("1 of 4  sum", 1, true), "it begins at the loss")
  t.ok(text:find("in: dL/dy  ", 1, true) and text:find("f32[]  ", 1, true), "with its gradient")
  t.ok(text:find("2 of 4  relu", 1, true), "Enter goes to the node before")
  t.ok(text:find("x (mul)", 1, true), "whose input is called by its op")
  t.ok(text:find("norm 1.41", 1, true), "the gradient's norm: sqrt(2) through a relu")
  t.ok(text:find("3 of 4  mul", 1, true), "and on")
  t.ok(text:find("out: dL/da  f32[2]  norm 4.24", 1, true), "times 3 it is sqrt(18)")
  t.ok(text:find("4 of 4  w = parameter", 1, true), "a number enters an input")
  t.ok(text:find("it has no inputs; b goes back", 1, true), "a leaf has none")
  t.is(select(2, text:gsub("3 of 4  mul", "")), 2, "b goes back")
  t.ok(text:find("picked\t2", 1, true), "v 1 leaves with the first input")

  text = walk(script, "x\ns\n?\n")
  t.ok(text:find('"x" is no command', 1, true), "what is no command is said")
  t.ok(text:find("f32[]  9", 1, true), "s shows the output")
  t.ok(text:find("Enter, n  the node before", 1, true), "? explains")
  t.ok(text:find("picked\tnil", 1, true), "at the end of input it is left, with nothing")

  text = walk("mw.walk(mw.param({1, 2}, 'w') * 2)", "q\n")
  t.ok(text:find("there are no gradients: it is no scalar", 1, true), "of no scalar: no gradients")
  t.refuses("walk: the loss is 3, expected a tensor", mw.walk, 3)
end

t.done()
