-- ops.lua: values of the ops against plain loops and hand arithmetic; special values, empty
-- tensors, ties, and errors. Gradients in general are in gradcheck.lua.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(3)
local nan, inf = 0 / 0, math.huge

---- Helpers: a tensor as a flat list, and positions in it.

local formats = {f32 = "<f", f64 = "<d", i32 = "<i4", i64 = "<i8", u8 = "B", bool = "B"}

local function flat(tensor)
  local format, bytes, list = formats[tensor.dtype], core.bytes(tensor), {}
  local size = string.packsize(format)
  for i = 1, #bytes // size do list[i] = format:unpack(bytes, (i - 1) * size + 1) end
  return list
end

local function count_of(shape)
  local count = 1
  for _, size in ipairs(shape) do count = count * size end
  return count
end

-- Position k (from 0) in row-major order as indices from 0.
local function indices(shape, k)
  local at = {}
  for axis = #shape, 1, -1 do
    at[axis] = k % shape[axis]
    k = k // shape[axis]
  end
  return at
end

-- Where indices lie in a list of that shape, from 1. Axes are matched from the last, and an axis
-- of size 1 is repeated.
local function place(shape, at)
  local k = 0
  for axis = 1, #shape do
    k = k * shape[axis] + (shape[axis] == 1 and 0 or at[axis + #at - #shape])
  end
  return k + 1
end

local function throughout(name, got, shape, dtype, want, tolerance)
  t.is({got.dtype, got.shape}, {dtype, shape}, name .. ": dtype and shape")
  t.near(flat(got), want, tolerance or 0, name .. ": values")
end

local function text(shape)
  return "{" .. table.concat(shape, ",") .. "}"
end

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

local function result_shape(a, b)
  local shape = {}
  for k = 0, math.max(#a, #b) - 1 do
    local x, y = a[#a - k] or 1, b[#b - k] or 1
    table.insert(shape, 1, x == 1 and y or x)
  end
  return shape
end

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
t.error(function() return x:sum {axes = {3}} end, "sum: axes: entry 1 .* f64%[2,3%]",
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
t.error(function() return mw.argmax(scores, {axis = 3}) end, "argmax: axis .* x is f32%[3,4%]",
  "an axis that x does not have")

---- Matrix products, against loops.

local function matrix_product(a, b, transpose_a, transpose_b)
  local function swapped(tensor, transpose)
    local sizes = tensor.shape
    if transpose and #sizes > 1 then
      sizes[#sizes], sizes[#sizes - 1] = sizes[#sizes - 1], sizes[#sizes]
    end
    return sizes
  end
  local as, bs = swapped(a, transpose_a), swapped(b, transpose_b)
  local row_of, column_of = #as == 1, #bs == 1
  if row_of then as = {1, as[1]} end
  if column_of then bs = {bs[1], 1} end
  local m, n, inner = as[#as - 1], bs[#bs], as[#as]
  local batch = result_shape({table.unpack(as, 1, #as - 2)}, {table.unpack(bs, 1, #bs - 2)})
  local va, vb, list = flat(a), flat(b), {}
  local function at(sizes, transpose, batch_at, i, j)
    local k = 0
    local first = #batch_at - (#sizes - 2)
    for axis = 1, #sizes - 2 do
      k = k * sizes[axis] + (sizes[axis] == 1 and 0 or batch_at[first + axis])
    end
    local rows, columns = sizes[#sizes - 1], sizes[#sizes]
    return k * rows * columns + (transpose and j * rows + i or i * columns + j) + 1
  end
  for k = 0, count_of(batch) - 1 do
    local batch_at = indices(batch, k)
    for i = 0, m - 1 do
      for j = 0, n - 1 do
        local total = 0
        for l = 0, inner - 1 do
          total = total + va[at(as, transpose_a and not row_of, batch_at, i, l)]
            * vb[at(bs, transpose_b and not column_of, batch_at, l, j)]
        end
        list[#list + 1] = total
      end
    end
  end
  if not row_of then batch[#batch + 1] = m end
  if not column_of then batch[#batch + 1] = n end
  return batch, list
end

for _, case in ipairs {
  {{3, 4}, {4, 5}}, {{4, 3}, {4, 5}, true}, {{3, 4}, {5, 4}, false, true},
  {{4, 3}, {5, 4}, true, true}, {{4}, {4}}, {{4}, {4, 5}}, {{3, 4}, {4}},
  {{4}, {5, 4}, false, true}, {{4, 3}, {4}, true}, {{2, 3, 4}, {4, 5}}, {{3, 4}, {2, 4, 5}},
  {{2, 3, 4}, {2, 4, 5}},
  {{2, 1, 3, 4}, {3, 4, 5}}, {{2, 4, 3}, {4, 5}, true}, {{2, 3, 4}, {5, 4}, false, true},
  {{2, 4, 3}, {1, 5, 4}, true, true}, {{4}, {2, 4, 5}}, {{2, 3, 4}, {4}}, {{1, 1}, {1, 1}},
  {{0, 4}, {4, 5}}, {{3, 0}, {0, 5}}, {{2, 3, 0}, {0, 2}}, {{0, 3, 4}, {4, 2}},
  {{20, 2, 3}, {20, 3, 2}},
} do
  local a, b = core.normal(case[1], 0, 1, "f64"), core.normal(case[2], 0, 1, "f64")
  local to, list = matrix_product(a, b, case[3], case[4])
  throughout(("matmul of %s%s and %s%s"):format(text(case[1]), case[3] and "'" or "",
    text(case[2]), case[4] and "'" or ""),
    mw.matmul(a, b, {transpose_a = case[3] or false, transpose_b = case[4] or false}),
    to, "f64", list, 1e-13)
end
t.error(function() return mw.matmul(mw.zeros {2, 3}, mw.zeros {2, 3}) end,
  "matmul: a is f32%[2,3%] and b is f32%[2,3%]: a has 3 columns, but b has 2 rows; .*transpose_b",
  "matrices that do not fit")
t.error(function() return mw.matmul(mw.zeros {2, 2, 3}, mw.zeros {3, 3, 4}) end,
  "matmul: .* do not broadcast", "batches that do not fit")
t.error(function() return mw.matmul(mw.zeros {}, mw.zeros {3}) end, "matmul: a is the scalar",
  "a scalar")
t.error(function() return mw.matmul(mw.zeros {2}, mw.zeros({2}, "f64")) end, "matmul: .*:cast",
  "dtypes that differ")

for _, sizes in ipairs {{3, 4}, {4}, {2, 3, 4}, {0, 4}} do
  local input, w, b = core.normal(sizes, 0, 1, "f64"), core.normal({2, 4}, 0, 1, "f64"),
    core.normal({2}, 0, 1, "f64")
  local to, list = matrix_product(input, w, false, true)
  throughout("dense without bias of " .. text(sizes), mw.dense(input, w), to, "f64", list, 1e-13)
  local biases = flat(b)
  for k = 1, #list do list[k] = list[k] + biases[(k - 1) % 2 + 1] end
  throughout("dense of " .. text(sizes), mw.dense(input, w, b), to, "f64", list, 1e-13)
end
local bias, dy = mw.zeros({150}, "f64"), core.normal({3, 150}, 0, 1, "f64")
local wide_layer = mw.dense(mw.zeros({3, 2}, "f64"), mw.zeros({150, 2}, "f64"), bias)
t.near(core.grad(wide_layer, {bias}, dy)[1]:totable(),
  select(2, reduced("sum", dy, 1, false)), 1e-14, "a bias's gradient sums the rows")
local empty, w = mw.zeros {0, 4}, mw.ones {2, 4}
d = core.grad(mw.dense(empty, w, mw.ones {2}):sum(), {empty, w})
t.is({d[1].shape, d[2]:totable()}, {{0, 4}, {{0, 0, 0, 0}, {0, 0, 0, 0}}},
  "the gradient of dense of no rows")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {2, 5}) end,
  "dense: x is f32%[3,4%], whose last axis has 4 features; w is f32%[2,5%] and takes 5",
  "features that do not fit")
t.error(function() return mw.dense(mw.zeros {3, 4, 5}, mw.zeros {2, 20}) end,
  "dense: .*flatten", "... for want of flatten")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {4, 2}) end,
  "dense: .*transpose", "... for want of a transpose")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {2, 4}, mw.zeros {3}) end,
  "dense: b is f32%[3%], expected %[2%]", "a bias that does not fit")

---- Softmax and its logarithm.

local e = math.exp
local total = e(1) + e(2) + e(3)
t.near(mw.softmax(mw.tensor({1, 2, 3}, "f64")):totable(),
  {e(1) / total, e(2) / total, e(3) / total}, 1e-15, "softmax")
t.near(mw.log_softmax(mw.tensor({1, 2, 3}, "f64")):totable(),
  {1 - math.log(total), 2 - math.log(total), 3 - math.log(total)}, 1e-15, "log_softmax")
t.near(mw.softmax(mw.tensor {1e4, 1e4, -1e4}):totable(), {0.5, 0.5, 0}, 0, "softmax far out")
t.near(mw.log_softmax(mw.tensor {1e4, 0}):totable(), {0, -1e4}, 0, "log_softmax far out")
t.near(mw.softmax(mw.tensor {-inf, 0}):totable(), {0, 1}, 0, "softmax of -inf")
t.near(mw.softmax(mw.tensor {1, nan}):totable(), {nan, nan}, 0, "softmax of NaN")
t.near(mw.softmax(mw.randn({2, 3, 4}, "f64"), {axis = 2}):sum {axes = {2}}:totable(),
  {{1, 1, 1, 1}, {1, 1, 1, 1}}, 1e-15, "softmax along a middle axis")
t.is(mw.softmax(mw.zeros {0, 3}).shape, {0, 3}, "softmax of no rows")
t.is(mw.log_softmax(mw.zeros {3, 0}).shape, {3, 0}, "log_softmax of empty rows")
t.error(function() return mw.softmax(mw.tensor(1.0)) end, "softmax: axis .* f32%[%]", "of a scalar")

---- Cross entropy, against its formula.

-- logits [n, classes] as a table; weights may be nil
local function losses(logits, labels, weights, smoothing, ignored)
  local list, weight_sum = {}, 0
  for i, row_of in ipairs(logits) do
    local largest, sum = math.max(table.unpack(row_of)), 0
    for _, v in ipairs(row_of) do sum = sum + e(v - largest) end
    local log_sum, label, loss = largest + math.log(sum), labels[i], 0
    if label ~= ignored then
      for c, v in ipairs(row_of) do
        local weight = weights and weights[c] or 1
        loss = loss + smoothing / #row_of * weight * (log_sum - v)
        if c - 1 == label then
          loss = loss + (1 - smoothing) * weight * (log_sum - v)
          weight_sum = weight_sum + weight
        end
      end
    end
    list[i] = loss
  end
  return list, weight_sum
end

local logits = core.normal({5, 4}, 0, 3, "f64")
local labels = {3, 0, 2, 2, 1}
for _, dtype in ipairs {"i64", "i32", "u8"} do
  for _, smoothing in ipairs {0, 0.1, 1} do
    for _, weights in ipairs {false, {0.5, 2, 1, 3}} do
      local list, weight_sum = losses(logits:totable(), labels, weights, smoothing, 2)
      local sum = 0
      for _, loss in ipairs(list) do sum = sum + loss end
      for reduction, value in pairs {none = list, sum = sum, mean = sum / weight_sum} do
        local y = mw.cross_entropy(logits, mw.tensor(labels, dtype),
          weights and mw.tensor(weights, "f64") or nil,
          {reduction = reduction, label_smoothing = smoothing, ignore_index = 2})
        t.near(y:totable(), value, 1e-13, ("cross_entropy, %s labels, smoothing %g, %s weights, %s")
          :format(dtype, smoothing, weights and "class" or "no", reduction))
      end
    end
  end
end
local image = core.normal({2, 3, 2, 2}, 0, 1, "f64")
local map = mw.tensor({{{0, 1}, {2, 0}}, {{1, 1}, {0, 2}}}, "i64")
local per_pixel = mw.cross_entropy(image, map, {reduction = "none"})
local rows = image:transpose {perm = {1, 3, 4, 2}}:reshape {shape = {8, 3}}
t.near(per_pixel:reshape {shape = {8}}:totable(), (losses(rows:totable(), flat(map), nil, 0)),
  1e-14, "cross_entropy with an axis of classes between others")
t.near(mw.cross_entropy(mw.tensor {{1e4, 0}, {0, 1e4}}, mw.tensor({1, 1}, "i64"),
  {reduction = "none"}):totable(), {1e4, 0}, 0, "logits of 1e4")
t.near(mw.cross_entropy(mw.zeros {1, 2}, mw.tensor({-100}, "i64")):item(), nan, 0,
  "the mean over ignored elements only is NaN")
local ignored = mw.randn({2, 3}, "f64")
d = core.grad(mw.cross_entropy(ignored, mw.tensor({-100, 1}, "i64")), {ignored})[1]
t.is(d:totable()[1], {0, 0, 0}, "an ignored element has no gradient")
local message = t.error(function()
  return mw.cross_entropy(mw.zeros {3, 10}, mw.tensor({1, 10, 2}, "i64")):item()
end, "cross_entropy: labels%[1%] is 10, but x has 10 classes, so that labels are 0 to 9",
  "a label that is too large")
t.ok(message and message:find("ops.lua:%d+:"), "... at the user's line")
t.error(function()
  return mw.cross_entropy(mw.zeros {1, 3, 2, 2}, mw.tensor({{{0, 1}, {-1, 0}}}, "i32")):item()
end, "cross_entropy: labels%[0,1,0%] is %-1, but x has 3 classes", "a label below 0")
t.error(function() return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros {3}) end,
  "cross_entropy: labels is f32%[3%], expected i64, i32 or u8", "labels that are no integers")
t.error(function() return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros({4}, "i64")) end,
  "cross_entropy: labels is i64%[4%], expected i64%[3%]: x is f32%[3,10%]", "a label for each row")
t.error(function()
  return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros({3}, "i64"), mw.zeros {9})
end, "cross_entropy: class_weight is f32%[9%], expected %[10%]", "a weight for each class")
t.error(function()
  local weight = mw.ones {2}
  local y = mw.cross_entropy(mw.zeros {1, 2}, mw.zeros({1}, "i64"), weight)
  return core.grad(y, {weight})[1]:eval()
end, "cross_entropy: class_weight has no gradient", "class weights have no gradient")
t.error(function()
  return mw.cross_entropy(mw.zeros {1, 2}, mw.zeros({1}, "i64"), {reduction = "avg"})
end, "cross_entropy: reduction is .*mean|sum|none", "an unknown reduction")

t.is(mw.one_hot(mw.tensor({2, 0, 7, -1}, "i64"), {classes = 3}):totable(),
  {{0, 0, 1}, {1, 0, 0}, {0, 0, 0}, {0, 0, 0}}, "one_hot")
t.is(mw.one_hot(mw.tensor({{2, 0}}, "u8"), {classes = 3, axis = 2, dtype = "i32"}):totable(),
  {{{0, 1}, {0, 0}, {1, 0}}}, "one_hot along a middle axis")

---- Moving elements: against loops over positions.

t.is(mw.arange(6):reshape {shape = {2, -1}}.shape, {2, 3}, "reshape infers a size")
t.is(mw.arange(6):reshape {shape = {3, 2}}:totable(), {{0, 1}, {2, 3}, {4, 5}}, "reshape")
t.is(mw.tensor {{7}}:reshape {shape = {}}:item(), 7.0, "reshape to a scalar")
t.is(mw.zeros {0, 3}:reshape {shape = {3, 0, 2}}.shape, {3, 0, 2}, "reshape of nothing")
t.is(mw.zeros {0, 3}:reshape {shape = {-1, 3}}.shape, {0, 3}, "... with an inferred size")
t.error(function() return mw.zeros {2, 3}:reshape {shape = {4, 2}} end,
  "reshape: x is f32%[2,3%] with 6 elements, which cannot be reshaped to f32%[4,2%]",
  "reshape to another number of elements")
t.error(function() return mw.zeros {2, 3}:reshape {shape = {4, -1}} end,
  "reshape: x is f32%[2,3%] with 6 elements, which the other sizes %(4%) do not divide",
  "reshape to sizes that do not divide")
t.error(function() return mw.zeros {0}:reshape {shape = {0, -1}} end, "reshape: .* any size",
  "reshape by a division of 0")
t.error(function() return mw.zeros {4}:reshape {shape = {-1, -1}} end, "reshape: .* twice",
  "two sizes to infer")
t.error(function() return mw.zeros {4}:reshape {shape = {-2, 2}} end, "reshape: .*size %-2",
  "a negative size")
t.error(function() return mw.zeros {0}:reshape {shape = {1 << 40, 1 << 40, 0}} end, "reshape: ",
  "sizes that overflow")
t.error(function() return mw.zeros {1}:reshape {shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}} end,
  "reshape: .*at most 8", "too many axes")
t.is(mw.zeros {2, 3, 4}:flatten().shape, {2, 12}, "flatten")
t.is(mw.zeros {2, 3, 4}:flatten {axis = 1}.shape, {24}, "flatten from the first axis")
t.is(mw.zeros {2, 3, 4}:flatten {axis = -1}.shape, {2, 3, 4}, "flatten from the last axis")
t.error(function() return mw.zeros {3}:flatten() end, "flatten: axis .* f32%[3%]",
  "flatten from an axis that x does not have")

local function permuted(tensor, perm)
  local sizes, list, values = {}, {}, flat(tensor)
  for k, axis in ipairs(perm) do sizes[k] = tensor.shape[axis] end
  for k = 0, count_of(sizes) - 1 do
    local at, from = indices(sizes, k), {}
    for i, axis in ipairs(perm) do from[axis] = at[i] end
    list[k + 1] = values[place(tensor.shape, from)]
  end
  return sizes, list
end

for _, case in ipairs {
  {{3, 4}, {2, 1}}, {{35, 50}, {2, 1}}, {{2, 3, 4}, {3, 1, 2}}, {{2, 3, 4}, {2, 3, 1}},
  {{2, 3, 4}, {1, 3, 2}}, {{2, 3, 4}, {1, 2, 3}}, {{2, 3, 4, 5}, {3, 4, 1, 2}},
  {{2, 3, 4, 5}, {4, 2, 3, 1}}, {{2, 1, 3, 1, 2, 1, 2, 1}, {8, 7, 6, 5, 4, 3, 2, 1}},
  {{1, 20, 1, 17}, {4, 1, 2, 3}}, {{2, 0, 3}, {3, 2, 1}}, {{}, {}}, {{1, 1}, {2, 1}},
} do
  for _, dtype in ipairs {"f64", "f32", "u8"} do
    local tensor = core.uniform(case[1], 0, 250, "f64"):cast(dtype)
    local to, list = permuted(tensor, case[2])
    throughout(("transpose of %s by %s in %s"):format(text(case[1]), text(case[2]), dtype),
      tensor:transpose {perm = case[2]}, to, dtype, list)
  end
end
t.is(mw.zeros {2, 3, 4}:transpose().shape, {4, 3, 2}, "transpose reverses the axes")
t.is(mw.zeros {2, 3, 4}:transpose {perm = {-1, 1, 2}}.shape, {4, 2, 3}, "axes from the end")
t.error(function() return mw.zeros {2, 3}:transpose {perm = {1}} end,
  "transpose: perm names 1 axes, x is f32%[2,3%]", "transpose by too few axes")
t.error(function() return mw.zeros {2, 3}:transpose {perm = {1, 1}} end, "transpose: .*second time",
  "transpose with an axis twice")

t.is(mw.kron(mw.tensor {{1, 2}, {3, 4}}, mw.tensor {{0, 5}, {6, 7}}):totable(),
  {{0, 5, 0, 10}, {6, 7, 12, 14}, {0, 15, 0, 20}, {18, 21, 24, 28}}, "kron of two matrices")
t.is(mw.kron(mw.tensor {1, 10}, mw.tensor {1, 2, 3}):totable(), {1, 2, 3, 10, 20, 30},
  "kron of two vectors")
t.is(mw.kron(mw.tensor {1, 10}, mw.tensor {{1}, {2}}):totable(), {{1, 10}, {2, 20}},
  "kron of a vector and a matrix")
for _, case in ipairs {
  {{2, 3, 2}, {3, 2, 4}}, {{3, 1, 2, 3}, {2, 3, 1, 2}}, {{2, 3}, {2, 1, 3, 2}},
} do
  local a, b = core.normal(case[1], 0, 1, "f64"), core.normal(case[2], 0, 1, "f64")
  local va, vb, to, list, rank = flat(a), flat(b), {}, {}, math.max(#case[1], #case[2])
  for k = rank - 1, 0, -1 do
    to[rank - k] = (case[1][#case[1] - k] or 1) * (case[2][#case[2] - k] or 1)
  end
  for k = 0, count_of(to) - 1 do
    local from_a, from_b = {}, {}
    for axis, at in ipairs(indices(to, k)) do
      local size = case[2][axis + #case[2] - rank] or 1
      from_a[axis], from_b[axis] = at // size, at % size
    end
    list[k + 1] = va[place(case[1], from_a)] * vb[place(case[2], from_b)]
  end
  throughout(("kron of %s and %s"):format(text(case[1]), text(case[2])), mw.kron(a, b), to, "f64",
    list)
end
t.is(mw.kron(mw.zeros {2, 0}, mw.zeros {3, 2}).shape, {6, 0}, "kron with nothing")
t.error(function() return mw.kron(mw.zeros {1, 1, 1, 1, 1}, mw.zeros {1}) end,
  "kron: a is .*at most 4", "kron of too many axes")

local grid = mw.arange(20):reshape {shape = {4, 5}}
local function sliced(attributes) return core.call("slice", grid, attributes):totable() end
t.is(sliced {start = {2, 1}, count = {2, 3}}, {{5, 6, 7}, {10, 11, 12}}, "slice")
t.is(sliced {start = {-1, 5}, count = {2, 3}, step = {-2, -2}}, {{19, 17, 15}, {9, 7, 5}},
  "slice backward")
t.is(sliced {start = {3}, count = {1}}, {{10, 11, 12, 13, 14}}, "axes without an entry are whole")
t.is(sliced {start = {1, 2}, count = {4, 1}}, {{1}, {6}, {11}, {16}}, "a column")
t.is(sliced {start = {2, 1}, count = {1, 2}, step = {math.mininteger, 1}}, {{5, 6}},
  "the step between one and no other may be any")
t.is(core.call("slice", grid, {start = {1, 1}, count = {0, 2}}).shape, {0, 2}, "none at all")
t.is(core.call("slice", grid:cast "u8", {start = {2, 1}, count = {1, 3}, step = {1, 2}}):totable(),
  {{5, 7, 9}}, "slice of u8")
t.error(function() return sliced {start = {4}, count = {2}} end,
  "slice: entry 1: start 3 .*count 2 .* axis of size 4", "slice beyond the end")
t.error(function() return sliced {start = {1}, count = {1}, step = {0}} end,
  "slice: entry 1: .*step is 0", "a step of 0")
t.error(function() return sliced {start = {1, 1}, count = {1}} end,
  "slice: start, count and step have 2, 1", "lists of different lengths")
t.error(function() return sliced {start = {1}, count = {3}, step = {math.maxinteger}} end,
  "slice: entry 1", "a step that overflows")
t.is(mw.place(mw.tensor {{1, 2}}, {shape = {2, 5}, start = {2, 5}, step = {1, -2}}):totable(),
  {{0, 0, 0, 0, 0}, {0, 0, 2, 0, 1}}, "place is slice reversed")
t.error(function() return mw.place(mw.ones {2}, {shape = {2}, start = {2}}) end, "place: entry 1",
  "place beyond the end")

t.is(mw.expand(mw.tensor {{1}, {2}}, {shape = {2, 2, 3}}):totable(),
  {{{1, 1, 1}, {2, 2, 2}}, {{1, 1, 1}, {2, 2, 2}}}, "expand")
t.is(mw.expand(mw.tensor({1, 2}, "u8"), {shape = {2, 2}}):totable(), {{1, 2}, {1, 2}}, "expand u8")
t.is(mw.expand(mw.tensor(3.0), {shape = {0, 2}}).shape, {0, 2}, "expand to nothing")
t.error(function() return mw.expand(mw.zeros {2, 3}, {shape = {3, 3}}) end,
  "expand: x is f32%[2,3%], which does not broadcast to f32%[3,3%]", "expand to what does not fit")

t.is(mw.concat(mw.tensor {{1, 2}}, mw.tensor {{3, 4}, {5, 6}}):totable(), {{1, 2}, {3, 4}, {5, 6}},
  "concat")
t.is(mw.concat(mw.tensor {{1}, {2}}, mw.zeros {2, 0}, mw.tensor {{3, 4}, {5, 6}}, {axis = 2})
  :totable(), {{1, 3, 4}, {2, 5, 6}}, "concat along the last axis")
local many = {}
for i = 1, 40 do many[i] = mw.tensor({i}, "i64") end
t.is(mw.sum(mw.concat(table.unpack(many))):item(), 820, "concat of 40 tensors")
t.error(function() return mw.concat(mw.zeros {2, 3}, mw.zeros {2, 3}, mw.zeros {3, 4}) end,
  "concat: tensor 3 is f32%[3,4%], but the first is f32%[2,3%]", "concat of what does not fit")
t.error(function() return mw.concat(mw.zeros {2}, mw.zeros({2}, "f64")) end,
  "concat: tensor 2 .*:cast", "concat of other dtypes")

t.near(mw.accumulate(mw.tensor {1, 2}, mw.tensor {3, 4}, mw.tensor {5, 6}):totable(), {9, 12}, 0,
  "accumulate")
t.is(mw.accumulate(mw.tensor {1, 2}):totable(), {1, 2}, "accumulate of one")
t.error(function() return mw.accumulate(mw.zeros {2}, mw.zeros {3}) end,
  "accumulate: tensor 2 is f32%[3%]", "accumulate of other shapes")

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
