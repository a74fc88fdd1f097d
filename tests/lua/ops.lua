-- ops.lua: elementwise ops, reductions and casts against plain loops and hand arithmetic; special
-- values, empty tensors, ties, and errors. products.lua and moving.lua have the other ops;
-- gradients in general are in gradcheck.lua.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local flat, count_of, indices = elements.flat, elements.count_of, elements.indices
local place, throughout, text = elements.place, elements.throughout, elements.text
local result_shape = elements.result_shape
local nan, inf = elements.nan, elements.inf

mw.seed(3)

---- One tensor, element by element.

local special = {0.5, -2, 0, -0.0, inf, -inf, nan}
local unary = {
  neg = function(x) return -x end,
  abs = math.abs,
  square = function(x) return x * x end,
  sign = function(x) return x > 0 and 1 or x < 0 and -1 or x end,
  relu = function(x) return x < 0 and 0 or x end,
  identity = function(x) return x end,
  sigmoid = function(x) return 1 / (1 + math.exp(-x)) end,
  tanh = function(x)
    if math.abs(x) > 20 then return x > 0 and 1 or -1 end
    return (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))
  end,
  exp = math.exp,
  log = math.log,
  sqrt = function(x) return x < 0 and nan or x ^ 0.5 end,
}
for name, fn in pairs(unary) do
  local want = {}
  for i, x in ipairs(special) do want[i] = fn(x) end
  throughout(name, mw[name](mw.tensor(special, "f64")), {7}, "f64", want, 1e-15)
  throughout(name .. " in f32", mw[name](mw.tensor(special)), {7}, "f32", want, 3e-7)
  t.is(mw[name](mw.zeros {2, 0}).shape, {2, 0}, name .. " of nothing is nothing")
end
t.is(1 / mw.neg(mw.tensor(0.0)):item(), -inf, "neg makes -0 of 0")
t.is(1 / mw.abs(mw.tensor(-0.0)):item(), inf, "abs makes 0 of -0")
t.is(mw.neg(mw.tensor({1, -5, math.mininteger}, "i64")):totable(), {-1, 5, math.mininteger},
  "integers wrap around in neg")
t.is(mw.square(mw.tensor({3, -4}, "i32")):totable(), {9, 16}, "square of i32")
t.is(mw.sign(mw.tensor({3, 0, -4}, "i32")):totable(), {1, 0, -1}, "sign of i32")
t.is(mw.abs(mw.tensor({3, 0, -4}, "i32")):totable(), {3, 0, 4}, "abs of i32")
t.near(mw.sigmoid(mw.tensor({1000, -1000, 40}, "f64")):totable(), {1, 0, 1}, 1e-15,
  "sigmoid far out")

local function slopes(op, values)
  local x = mw.tensor(values, "f64")
  return core.grad(mw[op](x):sum(), {x})[1]:totable()
end
t.is(slopes("relu", {-1, -0.0, 0, 1e-300, 5, -inf, inf}), {0, 0, 0, 1, 1, 0, 1},
  "relu's derivative is 0 or 1, and 0 at 0")
local steepest = 0
for _, slope in ipairs(slopes("sigmoid", mw.linspace(-8, 8, 1001):totable())) do
  steepest = math.max(steepest, slope)
end
t.near(steepest, 0.25, 1e-12, "sigmoid's derivative is at most 1/4")
t.near(slopes("sigmoid", {0})[1], 0.25, 1e-15, "... which it is at 0")
t.is(slopes("abs", {-2, 0, 3}), {-1, 0, 1}, "abs has the derivative 0 at 0")
t.error(function() return mw.exp(mw.tensor({1, 2}, "i64")) end,
  "ops.lua:%d+: exp: x is i64%[2%].*f32, f64.*:cast", "exp of integers is refused")

---- Two tensors, element by element, against loops.

local arithmetic = {
  add = function(a, b) return a + b end, sub = function(a, b) return a - b end,
  mul = function(a, b) return a * b end, maximum = math.max, minimum = math.min,
  div = function(a, b) return a / b end, pow = function(a, b) return math.abs(a) ^ b end,
}
local comparisons = {
  eq = function(a, b) return a == b end, ne = function(a, b) return a ~= b end,
  lt = function(a, b) return a < b end, le = function(a, b) return a <= b end,
  gt = function(a, b) return a > b end, ge = function(a, b) return a >= b end,
}
local pairs_of_shapes = {
  {{}, {}}, {{5}, {5}}, {{2, 3, 4}, {2, 3, 4}}, {{}, {3, 4}}, {{3, 4}, {}}, {{1}, {7}},
  {{3, 4}, {4}}, {{4}, {3, 4}}, {{3, 4}, {3, 1}}, {{3, 1}, {3, 4}}, {{3, 1}, {1, 4}},
  {{2, 3, 4, 5}, {3, 1, 1}}, {{2, 1, 4, 1}, {3, 1, 5}}, {{2, 3, 1, 5}, {2, 1, 4, 1}},
  {{2, 1, 1, 2, 1, 1, 2, 1}, {2, 1, 2, 1, 1, 2}}, {{0}, {1}}, {{2, 0, 3}, {3}}, {{4, 1}, {1, 0}},
}

local function zip(fn, a, b)
  local shape, list, x, y = result_shape(a.shape, b.shape), {}, flat(a), flat(b)
  for k = 0, count_of(shape) - 1 do
    local at = indices(shape, k)
    list[k + 1] = fn(x[place(a.shape, at)], y[place(b.shape, at)])
  end
  return shape, list
end

local function small_integers(shape, dtype)
  return core.uniform(shape, 0, 5, "f64"):cast(dtype)
end

for _, shapes in ipairs(pairs_of_shapes) do
  local label = (" of %s and %s"):format(text(shapes[1]), text(shapes[2]))
  for name, fn in pairs(arithmetic) do
    local a, b = core.normal(shapes[1], 0, 1, "f64"), core.normal(shapes[2], 0, 1, "f64")
    if name == "pow" then a = mw.abs(a) end
    local shape, want = zip(fn, a, b)
    throughout(name .. label, mw[name](a, b), shape, "f64", want, 1e-13)
    if name ~= "div" and name ~= "pow" then
      a, b = small_integers(shapes[1], "i32"), small_integers(shapes[2], "i32")
      shape, want = zip(fn, a, b)
      throughout(name .. label .. " in i32", mw[name](a, b), shape, "i32", want)
    end
  end
  for name, fn in pairs(comparisons) do
    for _, dtype in ipairs {"f32", "i64", "u8"} do
      local a, b = small_integers(shapes[1], dtype), small_integers(shapes[2], dtype)
      local shape, want = zip(function(x, y) return fn(x, y) and 1 or 0 end, a, b)
      throughout(name .. label .. " in " .. dtype, mw[name](a, b), shape, "bool", want)
    end
  end
end

-- More than one chunk of work, and a run that ends within a row.
local wide, row = core.normal({41, 1031}, 0, 1, "f64"), core.normal({1031}, 0, 1, "f64")
local shape, want = zip(arithmetic.sub, wide, row)
throughout("sub of a large matrix and a row", wide - row, shape, "f64", want, 1e-14)
local column = core.normal({41, 1}, 0, 1, "f64")
shape, want = zip(arithmetic.mul, column, wide)
throughout("mul of a column and a large matrix", column * wide, shape, "f64", want, 1e-14)

local edge, other = mw.tensor {1, nan, nan, inf, -inf}, mw.tensor {nan, 1, nan, -inf, 0}
t.near(mw.maximum(edge, other):totable(), {nan, nan, nan, inf, 0}, 0, "maximum: NaN wins")
t.near(mw.minimum(edge, other):totable(), {nan, nan, nan, -inf, -inf}, 0, "minimum: NaN wins")
t.is(mw.eq(edge, edge):totable(), {true, false, false, true, true}, "NaN equals nothing")
t.is(mw.ne(edge, edge):totable(), {false, true, true, false, false}, "NaN differs from itself")
t.is(mw.le(edge, other):totable(), {false, false, false, false, true}, "NaN is not ordered")
t.is(mw.eq(mw.tensor {true, false}, mw.tensor {true, true}):totable(), {true, false},
  "bool is compared")
t.near(mw.div(mw.tensor {1, -1, 0}, mw.tensor {0, 0, 0}):totable(), {inf, -inf, nan}, 0,
  "division by 0")
t.is(mw.add(mw.tensor({math.maxinteger}, "i64"), mw.tensor({1}, "i64")):totable(),
  {math.mininteger}, "integers wrap around in add")
t.is(mw.mul(mw.tensor({65536, 255}, "i32"), mw.tensor({65536, 255}, "i32")):totable(),
  {0, 65025}, "... and in mul")
t.is(mw.sub(mw.tensor({3}, "u8"), mw.tensor({5}, "u8")):totable(), {254}, "... and in u8")

local base = mw.tensor({-3, 0, 2}, "f64")
local powers = {[0] = {1, 1, 1}, {-3, 0, 2}, {9, 0, 4}, {-27, 0, 8}}
for power = 0, 3 do t.near((base ^ power):totable(), powers[power], 0, "x^" .. power) end
t.near(core.grad((base ^ 2):sum(), {base})[1]:totable(), {-6, 0, 4}, 0, "the gradient of x^2")
t.near(core.grad((base ^ 1):sum(), {base})[1]:totable(), {1, 1, 1}, 0, "... of x^1")
t.near(core.grad((base ^ 0):sum(), {base})[1]:totable(), {0, 0, 0}, 0, "... of x^0")
local exponent = mw.tensor({2, 2, 2}, "f64")
local zero = mw.tensor({0, 1, 2}, "f64")
t.near(core.grad(mw.pow(zero, exponent):sum(), {exponent})[1]:totable(),
  {0, 0, 4 * math.log(2)}, 1e-15, "a^b has the gradient 0 in b where a is 0")
local ties = {mw.tensor({1, 2, 3}, "f64"), mw.tensor({1, 3, 2}, "f64")}
local d = core.grad(mw.maximum(ties[1], ties[2]):sum(), ties)
t.is({d[1]:totable(), d[2]:totable()}, {{1, 0, 1}, {0, 1, 0}}, "maximum: a gets a tie's gradient")

t.error(function() return mw.add(mw.zeros {2, 3}, mw.zeros {4}) end,
  "add: a is f32%[2,3%] and b is f32%[4%], which do not broadcast: axes are matched",
  "shapes that do not broadcast")
t.error(function() return mw.mul(mw.zeros {2, 3, 4}, mw.zeros {3}) end,
  "mul: .* reshape b to f32%[3,1%]", "... with the repair for a vector")
t.error(function() return mw.mul(mw.zeros {2}, mw.zeros {2, 3}) end,
  "mul: .* reshape a to f32%[2,1%]", "... on either side")
t.error(function() return mw.add(mw.zeros {2}, mw.zeros({2}, "f64")) end,
  "add: b is f64%[2%], but a is f32%[2%].*:cast", "dtypes that differ")
t.error(function() return mw.add(mw.tensor {true}, mw.tensor {true}) end,
  "add: a is bool%[1%], expected numbers", "bool is not added")
t.error(function() return mw.div(mw.tensor({1}, "i32"), mw.tensor({1}, "i32")) end,
  "div: a is i32%[1%].*f32, f64.*:cast", "integers are not divided")
t.error(function() return mw.pow(mw.tensor({1}, "i32"), mw.tensor({1}, "i32")) end,
  "pow: a is i32%[1%].*f32, f64.*:cast", "... nor raised to a power")

---- Reductions, over every set of axes, against loops.

local folds = {
  sum = {0, function(a, b) return a + b end},
  mean = {0, function(a, b) return a + b end},
  max = {-inf, math.max},
  min = {inf, math.min},
}

-- bit k-1 of `set` says that axis k goes
local function reduced(name, tensor, set, keepdims)
  local kept, full, list, counts = {}, {}, {}, {}
  for axis, size in ipairs(tensor.shape) do
    local goes = set >> (axis - 1) & 1 == 1
    full[axis] = goes and 1 or size
    if keepdims or not goes then kept[#kept + 1] = full[axis] end
  end
  for k = 1, count_of(full) do list[k], counts[k] = folds[name][1], 0 end
  for k, value in ipairs(flat(tensor)) do
    local to = place(full, indices(tensor.shape, k - 1))
    list[to], counts[to] = folds[name][2](list[to], value), counts[to] + 1
  end
  if name == "mean" then
    for k = 1, #list do list[k] = list[k] / counts[k] end
  end
  return kept, list
end

for _, sizes in ipairs {{2, 3, 4, 5}, {3, 1, 4, 2}, {70, 3}, {3, 70}, {1, 5}, {}} do
  local x = core.normal(sizes, 0, 1, "f64")
  for set = 1, (1 << #sizes) - 1 do
    local axes = {}
    for axis = 1, #sizes do
      if set >> (axis - 1) & 1 == 1 then axes[#axes + 1] = axis end
    end
    for name in pairs(folds) do
      local keepdims = set % 2 == 0
      local to, list = reduced(name, x, set, keepdims)
      throughout(("%s of %s over %s"):format(name, text(sizes), text(axes)),
        mw[name](x, {axes = axes, keepdims = keepdims}), to, "f64", list, 1e-13)
    end
  end
end
-- Axes that go and axes that stay by turns.
local deep = core.normal({2, 3, 2, 3, 2, 2, 3}, 0, 1, "f64")
for axes_text, axes in pairs {odd = {1, 3, 5, 7}, even = {2, 4, 6}, outer = {1, 4, 7}} do
  local set = 0
  for _, axis in ipairs(axes) do set = set | 1 << (axis - 1) end
  for name in pairs(folds) do
    local to, list = reduced(name, deep, set, false)
    throughout(("%s of 7 axes over %s ones"):format(name, axes_text), mw[name](deep, {axes = axes}),
      to, "f64", list, 1e-13)
  end
end

local x = mw.tensor({{1, 2, 3}, {4, 5, 6}}, "f64")
t.is(x:sum():item(), 21.0, "no axes: all of them")
t.is(x:sum {axes = {-1}}:totable(), {6.0, 15.0}, "axes count from the end too")
t.is(x:mean {axes = {2, 1}, keepdims = true}:totable(), {{3.5}}, "in any order")
t.is(mw.sum(mw.tensor({200, 100}, "u8")).dtype, "i64", "integers are added up in i64")
t.is(mw.sum(mw.tensor({200, 100}, "u8")):item(), 300, "... so that u8 does not overflow")
t.is(mw.sum(mw.tensor {true, false, true}):item(), 2, "the sum of bool counts")
t.is(mw.max(mw.tensor({-3, -7}, "i32")):item(), -3, "max of i32")
t.is(mw.min(mw.tensor({3, 7}, "u8")):item(), 3, "min of u8")
t.is(mw.sum(mw.zeros {0, 3}):item(), 0.0, "the sum of nothing is 0")
t.is(mw.sum(mw.zeros {0, 3}, {axes = {1}}):totable(), {0.0, 0.0, 0.0}, "... of each column too")
t.near(mw.mean(mw.zeros {0, 3}):item(), nan, 0, "the mean of nothing is NaN")
t.is(mw.max(mw.zeros {0, 3}, {axes = {2}}).shape, {0}, "no largest values of nothing")
t.error(function() return mw.max(mw.zeros {0, 3}) end, "max: x is f32%[0,3%]: .*no extremum",
  "nothing has no largest value")
for _, name in ipairs {"max", "min", "sum", "mean"} do
  local lost = {}
  for position = 1, 70 do -- in each lane of a long row, and in the rest of it
    local values = {}
    for i = 1, 70 do values[i] = i == position and nan or i end
    local y = mw[name](mw.tensor(values)):item()
    if y == y then lost[#lost + 1] = position end
  end
  t.is(lost, {}, name .. " loses no NaN, wherever it is")
end
t.near(mw.max(mw.tensor {{1, nan}, {3, 2}}, {axes = {1}}):totable(), {3, nan}, 0, "max: NaN wins")
t.near(mw.max(mw.tensor {-inf, -inf}):item(), -inf, 0, "max of -inf")
t.near(mw.sum(mw.full({1000000}, 0.1)):item() / 100000, 1, 1e-6,
  "a million numbers of f32 are added up to its precision")

local tie = mw.tensor({{1, 3, 3}, {3, 0, 0}}, "f64")
t.is(core.grad(tie:max(), {tie})[1]:totable(), {{0, 1, 0}, {0, 0, 0}},
  "max: the first of equals gets the gradient")
for what, many in pairs {
  ["a long first axis"] = mw.full({300000, 3}, 0.1):mean {axes = {1}},
  ["many short rows"] = mw.full({150000, 3, 2}, 0.1):mean {axes = {1, 3}},
} do
  t.near(many:totable(), {0.1, 0.1, 0.1}, 1e-6, "the f32 sum over " .. what .. " stays exact")
end
t.is(mw.full({3000, 2}, math.maxinteger, "i64"):sum {axes = {1}}:totable(), {-3000, -3000},
  "a sum of integers wraps around over a long axis too")

t.is(core.grad(tie:max {axes = {1}}:sum(), {tie})[1]:totable(), {{0, 1, 1}, {1, 0, 0}},
  "... along the first axis")
d = core.grad((tie:max {axes = {2}} * mw.tensor({inf, 1}, "f64")):sum(), {tie})[1]
t.is(d:totable(), {{0, inf, 0}, {1, 0, 0}},
  "an infinite gradient of the maximum leaves the others 0")
t.is(core.grad(tie:min():sum(), {tie})[1]:totable(), {{0, 0, 0}, {0, 1, 0}}, "min likewise")
t.is(core.grad(tie:min {axes = {2}}:sum(), {tie})[1]:totable(), {{1, 0, 0}, {0, 1, 0}},
  "... along the last axis")
local with_nan = mw.tensor({1, nan, 5, nan}, "f64")
t.is(mw.max_mask(with_nan):totable(), {0, 1, 0, 0}, "of NaN the first one is largest")
t.error(function() return x:sum {axes = {3}} end, "sum: axis 3 is out of range for x f64%[2,3%]",
  "an axis that x does not have")
t.error(function() return x:sum {axes = {1, -2}} end, "sum: axes: entry 2 .* second time",
  "an axis named twice")
t.error(function() return mw.mean(mw.tensor({1}, "i64")) end, "mean: x is i64%[1%].*:cast",
  "the mean of integers")
t.is(mw.sum_to(mw.ones {2, 3, 4}, {shape = {3, 1}}):totable(), {{8.0}, {8.0}, {8.0}}, "sum_to")
t.error(function() return mw.sum_to(mw.ones {2, 3}, {shape = {2}}) end,
  "sum_to: x is f32%[2,3%], which cannot be summed to f32%[2%]", "sum_to a shape that does not fit")

---- argmax

local scores = mw.tensor {{1, 3, 3, 2}, {9, 8, 9, 7}, {nan, 1, nan, 9}}
t.is(scores:argmax():totable(), {1, 0, 0}, "argmax counts from 0; the first of equals; NaN")
t.is(scores:argmax().dtype, "i64", "... and gives i64")
t.is(scores:argmax {axis = 1}:totable(), {2, 1, 2, 2}, "along the first axis")
t.is(scores:argmax {axis = 2, keepdims = true}.shape, {3, 1}, "keepdims")
t.is(mw.tensor {2, nan, 5}:argmax():item(), 1, "NaN counts as largest")
t.is(mw.argmax(mw.tensor({{5, 200}, {6, 7}}, "u8")):totable(), {1, 1}, "of u8")
t.is(mw.argmax(mw.tensor({-5, -2, -9}, "i64")):item(), 1, "of i64")
t.is(mw.argmax(mw.zeros {0, 3}).shape, {0}, "of no rows")
t.error(function() return mw.argmax(mw.zeros {3, 0}) end, "argmax: x is f32%[3,0%]", "of nothing")
t.error(function() return mw.argmax(scores, {axis = 3}) end,
  "argmax: axis 3 is out of range for x f32%[3,4%]", "an axis that x does not have")

---- cast

local awkward = {1.9, -1.9, 300, -300, 2 ^ 31, -2 ^ 31, 2 ^ 63, -2 ^ 63, inf, -inf, nan, 0}
for _, from in ipairs {"f32", "f64"} do
  local function cast(dtype) return mw.tensor(awkward, from):cast(dtype):totable() end
  local least, most = math.mininteger, math.maxinteger
  t.is(cast "i64", {1, -1, 300, -300, 1 << 31, -1 << 31, most, least, most, least, 0, 0},
    from .. " to i64")
  least, most = -2 ^ 31 | 0, 2 ^ 31 - 1 | 0
  t.is(cast "i32", {1, -1, 300, -300, most, least, most, least, most, least, 0, 0},
    from .. " to i32")
  t.is(cast "u8", {1, 0, 255, 0, 255, 0, 255, 0, 255, 0, 0, 0}, from .. " to u8")
  t.is(cast "bool", {true, true, true, true, true, true, true, true, true, true, true, false},
    from .. " to bool")
end
t.near(mw.tensor({0.1}, "f64"):cast "f32":item(), 0.1, 1e-8, "f64 to f32")
t.is(mw.tensor({3, -2}, "i32"):cast "f32":totable(), {3.0, -2.0}, "i32 to f32")
t.is(mw.tensor({300, -1}, "i64"):cast "u8":totable(), {44, 255}, "integers wrap around")
t.is(mw.tensor {true, false}:cast "f32":totable(), {1.0, 0.0}, "bool to f32")
t.is(mw.tensor({0, 7}, "u8"):cast "bool":totable(), {false, true}, "u8 to bool")
local single = mw.randn {3}
t.is(core.grad(single:cast "f64":sum(), {single})[1].dtype, "f32", "the gradient has x's dtype")
t.is(core.grad(single:cast "i32":cast "f32":sum(), {single})[1]:totable(), {0, 0, 0},
  "no gradient passes an integer")
t.error(function() return single:cast "f16" end, "cast: dtype is .*f32|f64|i32|i64|u8|bool",
  "an unknown dtype")

---- The same bits whatever the number of threads.

local function bits()
  mw.seed(9)
  local a, b = mw.randn {300, 257}, mw.randn {257}
  local results = {a * b, mw.exp(a), a:sum(), a:sum {axes = {1}}, a:max {axes = {2}}, mw.softmax(a),
    a:transpose(), mw.matmul(a, a:transpose()), a:cast "i32", mw.expand(b, {shape = {300, 257}}),
    mw.cross_entropy(a, mw.zeros({300}, "i64")), mw.argmax(a, {axis = 1}), mw.accumulate(a, a, a)}
  for i, y in ipairs(results) do results[i] = core.bytes(y) end
  return results
end
local threads = core.threads()
core.threads(1)
local one = bits()
core.threads(3)
t.is(bits(), one, "1 and 3 threads give the same bits")
core.threads(threads)

t.done()
