-- shape.lua: what the cases of the ops that move elements do not say: errors, dtypes, special
-- values, threads, and the functions split and chunk. Values and derivatives are compared with
-- tests/plain/shape.lua by another test.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local pieces = require "moonwalk.split"
local nan, inf = elements.nan, elements.inf

mw.seed(11)

local function refused(pattern, name, op, ...)
  local args = table.pack(...)
  t.error(function() mw[op](table.unpack(args, 1, args.n)):eval() end, op .. ": .*" .. pattern,
    name)
end

---- squeeze and unsqueeze

local column = mw.tensor {{1}, {2}}
t.is(column:squeeze():totable(), {1, 2}, "squeeze of all axes of size 1")
t.is(column:squeeze(-1).shape, {2}, "... of one, named")
t.is(mw.zeros({1, 3, 1}, "bool"):squeeze {axes = {1, 3}}.shape, {3}, "... of two, of bool")
t.is(mw.tensor {{5}}:squeeze():item(), 5.0, "... down to a scalar")
refused("has the size 2, expected 1: x is f32%[2,1%]", "squeeze of another axis", "squeeze",
  column, 1)
refused("axes: entry 2 names an axis a second time", "... of one axis twice", "squeeze", column,
  {axes = {2, -1}})
refused("axis 3 is out of range for x f32%[2,1%]: expected 1 to 2", "... of no axis", "squeeze",
  column, 3)
t.is(column:unsqueeze(1).shape, {1, 2, 1}, "unsqueeze")
t.is(mw.tensor({1, 2}, "i64"):unsqueeze {axes = {3, 1}}:totable(), {{{1}, {2}}},
  "... of two axes")
refused("axis 4 is out of range for x f32%[2,1%]: expected 1 to 3", "unsqueeze beyond the result",
  "unsqueeze", column, 4)
refused("2 axes more are too many: at most 8", "... of too many", "unsqueeze",
  mw.zeros {1, 1, 1, 1, 1, 1, 1}, {axes = {1, 2}})

---- stack

t.is(mw.stack({mw.tensor {1, 2}, mw.tensor {3, 4}}, {axis = 2}):totable(), {{1, 3}, {2, 4}},
  "stack of a list")
t.is(mw.stack(mw.tensor(1, "u8"), mw.tensor(2, "u8")):totable(), {1, 2}, "stack of scalars of u8")
local same = mw.tensor({2, 3}, "f64")
t.is(mw.grad(mw.stack(same, same):sum(), {same})[1]:totable(), {2, 2},
  "a tensor that is stacked twice gets both gradients")
refused("tensor 2 is f32%[3%], but the first is f32%[2%]: all must be alike", "stack of two shapes",
  "stack", mw.zeros {2}, mw.zeros {3})
refused("tensor 3 is i32%[2%].*use :cast", "stack of two dtypes", "stack", mw.zeros {2},
  mw.zeros {2}, mw.zeros({2}, "i32"))
refused("axis 3 is out of range for x f32%[2%]: expected 1 to 2", "stack along no axis", "stack",
  mw.zeros {2}, {axis = 3})
refused("no room for an axis", "stack of 8 axes", "stack", mw.zeros {1, 1, 1, 1, 1, 1, 1, 1})
local many = {}
for i = 1, 40 do many[i] = mw.tensor {i} end
t.is(mw.stack(many).shape, {40, 1}, "stack of 40 tensors")

---- flip and roll

t.is(mw.tensor({1, 2, 3}, "u8"):flip():totable(), {3, 2, 1}, "flip of u8")
t.is(mw.tensor {{1, 2}, {3, 4}}:flip(1):totable(), {{3, 4}, {1, 2}}, "flip of the first axis")
refused("axes: entry 2 names an axis a second time", "flip of an axis twice", "flip",
  mw.zeros {2, 2}, {axes = {1, -2}})
refused("axis 1 is out of range for x f32%[%]: there are no axes", "flip of an axis of a scalar",
  "flip", mw.zeros {}, {axes = {1}})
local six = mw.tensor({{0, 1, 2}, {3, 4, 5}}, "i32")
t.is(six:roll(1):totable(), {{5, 0, 1}, {2, 3, 4}}, "roll of all elements")
t.is(six:roll {shift = -1, axes = 2}:totable(), {{1, 2, 0}, {4, 5, 3}}, "roll back along an axis")
t.is(six:roll {shift = math.maxinteger, axes = {2}}:totable(), {{2, 0, 1}, {5, 3, 4}},
  "roll by 2^63 - 1, which is 1 more than a multiple of 3")
t.is(six:roll {shift = math.mininteger, axes = {2}}:totable(), {{2, 0, 1}, {5, 3, 4}},
  "roll by -2^63, which is 1 more than a multiple of 3")
t.is(six:roll {shift = 6}:totable(), six:totable(), "roll by the number of elements")
refused("shift has 2 entries and axes none", "roll by two, along no axes", "roll", six, {1, 2})
refused("shift has 2 entries and axes 3", "roll by two, along three", "roll", mw.zeros {1, 1, 1},
  {shift = {1, 2}, axes = {1, 2, 3}})
refused("axis 3 is out of range for x i32%[2,3%]: expected 1 to 2", "roll along no axis", "roll",
  six, {shift = 1, axes = 3})

---- tile and repeat_interleave

t.is(mw.tile(mw.tensor({true, false}), {repeats = {2, 2}}):totable(),
  {{true, false, true, false}, {true, false, true, false}}, "tile of bool")
t.is(mw.repeat_interleave(mw.tensor({1, 2}, "i64"), {repeats = 3}):totable(), {1, 1, 1, 2, 2, 2},
  "repeat_interleave of i64")
t.is(mw.tile(mw.zeros {1, 2, 1, 2, 1, 2}, {repeats = {2, 1, 3, 1, 1, 2}}).shape, {2, 2, 3, 2, 1, 4},
  "tile of six axes")
refused("entry 2 of repeats is %-1, expected 0 or more", "tile less than never", "tile",
  mw.zeros {2, 2}, {repeats = {2, -1}})
t.is(mw.tile(mw.zeros {2}, {repeats = {0, 1 << 40}}):eval().shape, {0, 1 << 41},
  "tile of none takes no memory on the way")
refused("sizes are too large", "a 0 hides no size beyond 2^63", "tile", mw.zeros {4},
  {repeats = {0, 2, math.maxinteger - 1, 4}})
refused("sizes are too large", "tile beyond 2^63", "tile", mw.zeros {2, 2},
  {repeats = {1 << 62, 1 << 61}})
refused("repeats is %-1, expected between 0", "repeat less than never", "repeat_interleave",
  mw.zeros {2}, {repeats = -1})
refused("axis 2 is out of range for x f32%[2%]: expected 1, or %-1", "repeat along no axis",
  "repeat_interleave", mw.zeros {2}, {repeats = 2, axis = 2})

---- pad

local row = mw.tensor({1, 2, 3}, "f64")
for mode, want in pairs {
  constant = {0, 0, 1, 2, 3, 0, 0}, reflect = {3, 2, 1, 2, 3, 2, 1}, edge = {1, 1, 1, 2, 3, 3, 3},
  wrap = {2, 3, 1, 2, 3, 1, 2},
} do
  t.is(row:pad {pads = {2, 2}, mode = mode}:totable(), want, "pad: " .. mode)
end
t.is(row:pad {pads = {7, 4}, mode = "wrap"}:totable(), {3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1},
  "pad: wrap may be longer than the axis")
t.is(row:pad {pads = {-1, 1}, value = 9}:totable(), {2, 3, 9}, "pad takes away and puts there")
t.is(row:pad {pads = {-1, 1}, mode = "wrap"}:totable(), {2, 3, 2}, "... in this order")
t.is(row:pad {pads = {-3, 0}}.shape, {0}, "pad that takes all away")
t.is(row:pad {pads = {-3, 2}, value = 4}:totable(), {4, 4}, "... and puts something there")
t.near(mw.pad(mw.tensor {nan, inf}, {1, 1, value = -inf}):totable(), {-inf, nan, inf, -inf}, 0,
  "pad with -inf beside inf and NaN")
t.near(mw.pad(mw.tensor {1}, {1, 0, value = nan}):totable(), {nan, 1}, 0, "pad with NaN")
t.is(mw.pad(mw.tensor({1, 2}, "i64"), {1, 0, value = -3}):totable(), {-3, 1, 2}, "pad of i64")
t.is(mw.pad(mw.tensor {true}, {1, 1}):totable(), {false, true, false}, "pad of bool")
t.is(mw.pad(mw.tensor({7}, "u8"), {1, 0, value = 255}):totable(), {255, 7}, "pad of u8")
t.is(mw.pad(mw.zeros {2, 3, 4}, {1, 1, 0, 2}).shape, {2, 5, 6},
  "fewer pads are for the last axes, in the order of the axes")
local dx = mw.grad(row:pad {pads = {2, 2}, mode = "reflect"}, {row},
  mw.tensor({1, 10, 100, 1000, 10000, 100000, 1000000}, "f64"))[1]
t.is(dx:totable(), {1000100, 101010, 10001}, "the gradient of reflected entries")
dx = mw.grad(row:pad {pads = {2, 1}, mode = "edge"}, {row}, mw.tensor({1, 2, 4, 8, 16, 32}, "f64"))
t.is(dx[1]:totable(), {7, 8, 48}, "... of the edge")
dx = mw.grad(row:pad {pads = {-1, -1}, value = 5}, {row}, mw.tensor({6}, "f64"))
t.is(dx[1]:totable(), {0, 6, 0}, "... of what is taken away is 0")
for _, mode in ipairs {"constant", "reflect", "edge", "wrap"} do
  local x = mw.randn({3, 4}, "f64")
  local r, dy = mw.randn({3, 4}, "f64"), mw.randn({6, 6}, "f64")
  t.ok(mw.gradcheck(function(x_, dy_)
    local squares = x_:pad {pads = {1, 2, 2, 0}, mode = mode, value = 2} ^ 2
    return (mw.grad(squares, {x_}, dy_)[1] * r):sum()
  end, {x, dy}, {eps = 1e-5}) < 1e-6, "pad: second derivative, " .. mode)
end
refused("pads has 3 for axis %-1, but reflect takes at most 2", "reflect beyond the axis", "pad",
  row, {pads = {3, 0}, mode = "reflect"})
refused("reflect takes at most 0 there.*crop it", "reflect of what is left", "pad", row,
  {pads = {-2, 1}, mode = "reflect"})
refused("axis %-1 is empty, so that only the mode constant", "the edge of nothing", "pad",
  mw.zeros {2, 0}, {pads = {1, 1}, mode = "edge"})
refused("reflect takes at most 0", "nothing mirrored", "pad", mw.zeros {0},
  {pads = {1, 1}, mode = "reflect"})
refused("take away more than the 3 entries of axis %-1", "taking away too much", "pad", row,
  {-2, -2})
refused("pads has 3 entries, expected two for each axis", "pads that are no pairs", "pad",
  mw.zeros {2, 2}, {1, 2, 3})
refused("pads has 4 entries, .*at most 2: x is f64%[3%]", "pads for too many axes", "pad", row,
  {1, 1, 1, 1})
refused("expected at most 2%^28", "pads that are too large", "pad", row, {1 << 40, 0})
refused("mode is \"mirror\", expected one of constant|reflect|edge|wrap", "another mode", "pad",
  row, {1, 1, mode = "mirror"})
refused("value is 0.5, expected an integer .* x is i32%[2%]", "a value that is not of the dtype",
  "pad", mw.zeros({2}, "i32"), {1, 1, value = 0.5})
refused("value is 256, expected an integer from 0 to 255", "... of u8", "pad", mw.zeros({2}, "u8"),
  {1, 1, value = 256})
refused("value is nan", "... NaN", "pad", mw.zeros({2}, "i64"), {1, 1, value = math.abs(nan)})

-- More than one chunk, on one thread and on several.
local before = mw.threads()
local image = mw.randn {40, 50, 60}
local function everywhere(mode)
  local y = mw.pad(image, {pads = {0, 0, 3, 4, 5, 2}, mode = mode})
  return y, mw.grad(y, {image}, mw.sin(y))[1]
end
for _, mode in ipairs {"constant", "reflect", "edge", "wrap"} do
  local bytes = {}
  for _, threads in ipairs {1, 4} do
    mw.threads(threads)
    local y, d = everywhere(mode)
    bytes[#bytes + 1] = mw.core.bytes(y) .. mw.core.bytes(d)
  end
  t.ok(bytes[1] == bytes[2], "pad gives the same bits on several threads: " .. mode)
end
mw.threads(before)

---- split and chunk

local wide = mw.arange(10):reshape {2, 5}
local function shapes(parts)
  local list = {}
  for i, part in ipairs(parts) do list[i] = table.concat(part.shape, "x") end
  return table.concat(list, " ")
end
t.is(shapes(pieces.split(wide, 2, {axis = -1})), "2x2 2x2 2x1", "split into parts of 2")
t.is(shapes(pieces.split(wide, {3, 0, 2}, {axis = 2})), "2x3 2x0 2x2", "split into sizes")
t.is(pieces.split(wide, {1, 1})[2]:totable(), {{5, 6, 7, 8, 9}}, "split along the first axis")
t.is(shapes(pieces.split(wide, 100)), "2x5", "split into parts that are larger than all")
t.is(shapes(pieces.split(wide, math.maxinteger)), "2x5", "... by far")
t.is(shapes(pieces.split(mw.zeros {0, 3}, 2)), "0x3", "split of nothing is one part")
t.is(shapes(pieces.chunk(wide, 2, {axis = 2})), "2x3 2x2", "chunk")
t.is(shapes(pieces.chunk(wide, 4, {axis = 2})), "2x2 2x2 2x1", "chunk into fewer than asked for")
t.is(shapes(pieces.chunk(mw.zeros {0, 3}, 4)), "0x3", "chunk of nothing")
t.is(mw.concat(pieces.split(wide, 2, {axis = 2}), {axis = 2}):totable(), wide:totable(),
  "concat puts a split together again")
local x = mw.randn({5, 3}, "f64")
local parts = pieces.split(x, {2, 3})
t.is(mw.grad((parts[2] * 3):sum(), {x})[1]:totable(),
  {{0, 0, 0}, {0, 0, 0}, {3, 3, 3}, {3, 3, 3}, {3, 3, 3}}, "the gradient goes through a part")

local function failed(pattern, name, fn, ...)
  local args = table.pack(...)
  t.error(function() fn(table.unpack(args, 1, args.n)) end, pattern, name)
end
failed("shape.lua:%d+: split: the sizes come to 4, but axis 2 of the tensor, .*f32%[2,5%], has 5",
  "split into sizes that do not add up", pieces.split, wide, {1, 3}, {axis = 2})
failed("split: sizes%[2%] is %-1", "... of less than nothing", pieces.split, wide, {3, -1})
failed("split: the size of the parts is 0, expected a whole number of at least 1", "... of nothing",
  pieces.split, wide, 0)
failed("split: the size of the parts is \"2\"", "... of a string", pieces.split, wide, "2")
failed("split: the size of the parts is nil", "... of nothing said", pieces.split, wide)
failed("split: the sizes have the key \"axis\"; options", "the axis among the sizes", pieces.split,
  wide, {1, 1, axis = 1})
failed("split: axis is 3, but the tensor is f32%[2,5%]", "split along no axis", pieces.split,
  wide, 1, {axis = 3})
failed("split: axis is 0", "... along axis 0", pieces.split, wide, 1, {axis = 0})
failed("split: axis is 1, but the tensor is f32%[%]", "split of a scalar", pieces.split,
  mw.tensor(1.0), 1)
failed("split: there is no option \"axes\", did you mean \"axis\"", "a misspelt option",
  pieces.split, wide, 1, {axes = 1})
failed("split: the first argument is 3, expected a tensor", "split of a number", pieces.split, 3, 1)
failed("chunk: the number of parts is 0", "chunk into nothing", pieces.chunk, wide, 0)
failed("chunk: the number of parts is 1.5", "chunk into one and a half", pieces.chunk, wide, 1.5)

t.done()
