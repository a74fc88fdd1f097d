-- binary.lua: functions of two numbers, and where, beyond what ops.lua and the plain formulas of
-- tests/plain check: special values, integers, gradients at ties, zeros and infinities, gradients
-- of what was broadcast, second derivatives, and errors.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local throughout, nan, inf = elements.throughout, elements.nan, elements.inf

mw.seed(5)

local function real(values) return mw.tensor(values, "f64") end

local function values(op, a, b) return core.call(op, real(a), real(b)):totable() end

-- The gradients of the sum of op(a, b), weighed by dy, in a and in b.
local function slopes(op, a, b, dy)
  a, b = real(a), real(b)
  local y = core.call(op, a, b)
  local d = mw.grad(y, {a, b}, dy and real(dy) or mw.ones(y.shape, "f64"))
  return {d[1]:totable(), d[2]:totable()}
end

---- mod

t.near(values("mod", {5.5, -5.5, 5.5, -5.5, 6, -6}, {3, 3, -3, -3, 3, 3}),
  {2.5, 0.5, -0.5, -2.5, 0, 0}, 0, "mod has the sign of b")
t.near(values("mod", {1, -1, 1, -1, 0}, {inf, inf, -inf, -inf, inf}), {1, inf, -inf, -1, 0}, 0,
  "mod of an infinite b: a, or b where the signs differ")
t.near(values("mod", {1, 0, inf, -inf, nan, 1}, {0, 0, 2, 2, 2, nan}),
  {nan, nan, nan, nan, nan, nan}, 0, "mod by 0, of inf and of NaN is NaN")
t.is(1 / values("mod", {-6}, {3})[1], inf, "a remainder of 0 has the sign of b")
t.is(1 / values("mod", {6}, {-3})[1], -inf, "... also where that is negative")
for k = 1, 20 do
  local a, b = math.sin(k) * 100, math.cos(3 * k) * 7
  t.near(values("mod", {a}, {b})[1], a % b, 0, ("mod of %g and %g is Lua's"):format(a, b))
end
for _, dtype in ipairs {"i32", "i64"} do
  local a = mw.tensor({7, -7, 7, -7, 6, -6, 0}, dtype)
  local b = mw.tensor({3, 3, -3, -3, 3, -3, 5}, dtype)
  throughout("mod of " .. dtype, mw.mod(a, b), {7}, dtype, {1, 2, -2, -1, 0, 0, 0})
  t.error(function() return mw.mod(a, mw.tensor({1, 2, 0, 4, 5, 0, 7}, dtype)):totable() end,
    "mod: b has a 0, at element 2 counted from 0", "mod of " .. dtype .. " by 0 is an error")
end
t.is(mw.mod(mw.tensor({math.mininteger, math.maxinteger}, "i64"), mw.tensor({-1}, "i64")):totable(),
  {0, 0}, "the least integer modulo -1 is 0")
t.is(mw.mod(mw.tensor({-2 ^ 31 | 0}, "i32"), mw.tensor({-1}, "i32")):totable(), {0},
  "... of i32 too")
t.is(mw.mod(mw.tensor({200, 7}, "u8"), mw.tensor({255, 4}, "u8")):totable(), {200, 3}, "mod of u8")
t.is(mw.mod(mw.zeros({0, 3}, "i32"), mw.zeros({3}, "i32")).shape, {0, 3}, "mod of nothing by 0")
t.is(mw.mod(mw.zeros({0, 3}, "i32"), mw.zeros({3}, "i32")):totable(), {}, "... is nothing")
t.near(slopes("mod", {5.5, -5.5, 7}, {3, 3, -2}), {{1, 1, 1}, {-1, 2, 4}}, 0,
  "mod has the slopes 1 and -floor(a / b)")

---- atan2

t.near(values("atan2", {0, 1, 0, -1, 1, -1, -0.0}, {1, 0, -1, 0, -1, -1, -1}),
  {0, math.pi / 2, math.pi, -math.pi / 2, 3 * math.pi / 4, -3 * math.pi / 4, -math.pi}, 1e-15,
  "atan2 in each quadrant")
t.near(values("atan2", {inf, 1, nan}, {inf, -inf, 1}), {math.pi / 4, math.pi, nan}, 1e-15,
  "atan2 of infinities and NaN")
t.near(slopes("atan2", {3, 0}, {4, -2}), {{4 / 25, -0.5}, {-3 / 25, 0}}, 1e-16, "atan2's slopes")
t.near(slopes("atan2", {0}, {0}), {{nan}, {nan}}, 0, "... of which there are none at the origin")

---- pow: zeros, ones, signs

t.near(values("pow", {0, 0, 0, nan, 1, -8, -8, inf}, {0, 2, -1, 0, nan, 3, 0.5, -1}),
  {1, 0, inf, 1, 1, -512, nan, 0}, 0, "pow at special values")
t.near(slopes("pow", {0, 0, 0, 0}, {0, 1, 2, 0.5}), {{0, 1, 0, inf}, {0, 0, 0, 0}}, 0,
  "pow's slopes at a = 0")
t.near(slopes("pow", {2, -2, 3}, {0, 2, 1}), {{0, -4, 1}, {math.log(2), nan, 3 * math.log(3)}},
  1e-15, "pow's slopes where b is 0, and where a is negative")
for power = 0, 4 do -- d^n/dx^n x^power at 0 is power! for n = power, otherwise 0
  local x, want = real {0}, 1
  local y = x ^ power
  for order = 1, 5 do
    y = mw.grad(y:sum(), {x})[1]
    want = want * order
    t.near(y:totable(), {order == power and want or 0}, 0,
      ("the derivative of order %d of x^%d at 0"):format(order, power))
  end
end
-- d^2/da db a^b = a^(b-1) (1 + b ln a), also where b is 0
local a, b = real {0.5, 2, 3}, real {0, 0, 2}
local mixed = mw.grad(mw.grad(mw.pow(a, b):sum(), {a})[1]:sum(), {b})[1]
t.near(mixed:totable(), {2, 0.5, 3 * (1 + 2 * math.log(3))}, 1e-14, "pow's mixed derivative")
mixed = mw.grad(mw.grad(mw.pow(a, b):sum(), {b})[1]:sum(), {a})[1]
t.near(mixed:totable(), {2, 0.5, 3 * (1 + 2 * math.log(3))}, 1e-14, "... in the other order")
t.near(values("pow_slope", {0, 0, 3, -2}, {0, 1, 2, 3}), {0, 1, 6, 12}, 0, "pow_slope")

---- maximum, minimum and where choose gradients, they do not multiply

t.near(slopes("maximum", {1, 5, 2}, {3, 4, 2}, {inf, inf, -inf}), {{0, inf, -inf}, {inf, 0, 0}}, 0,
  "maximum: an infinite gradient leaves the other side 0; a gets it where both are equal")
t.near(slopes("minimum", {1, 5, 2}, {3, 4, 2}, {nan, inf, 7}), {{nan, 0, 7}, {0, inf, 0}}, 0,
  "minimum likewise, of NaN")
t.near(slopes("maximum", {nan, 1, nan}, {1, nan, nan}), {{1, 1, 1}, {0, 0, 0}}, 0,
  "where one is NaN, a gets the gradient")
t.near(values("maximum", {-0.0, inf, -inf}, {0, 1, -inf}), {0, inf, -inf}, 0,
  "maximum of infinities")
t.is(mw.maximum(mw.tensor({200, 3}, "u8"), mw.tensor({100, 7}, "u8")):totable(), {200, 7},
  "maximum of u8")
local x = real {1, 2, 3}
local y = mw.maximum(x, real {2, 2, 2})
local d = mw.grad((y * y * y):sum(), {x})[1]
t.near(mw.grad(d:sum(), {x})[1]:totable(), {0, 12, 18}, 1e-14,
  "a second derivative through maximum")

local condition = mw.tensor {true, false, true}
local p, q = real {1, inf, 3}, real {nan, 5, inf}
t.near(mw.where(condition, p, q):totable(), {1, 5, 3}, 0, "where takes nothing of the other side")
d = mw.grad(mw.where(condition, p, q), {p, q}, real {inf, nan, 2})
t.near({d[1]:totable(), d[2]:totable()}, {{inf, 0, 2}, {0, nan, 0}}, 0, "... nor of its gradient")
-- Each way in which a side or the condition is repeated, against the plain choice.
local rows = {{{5}, {5}, {5}}, {{5}, {}, {5}}, {{5}, {5}, {}}, {{5}, {}, {}}, {{}, {5}, {5}},
  {{}, {}, {5}}, {{}, {5}, {}}, {{3, 1}, {5}, {3, 5}}, {{3, 5}, {3, 1}, {5}}, {{}, {}, {}}}
for _, shapes in ipairs(rows) do
  for _, dtype in ipairs {"f32", "f64", "i32", "i64", "u8", "bool"} do
    local c = mw.gt(mw.randn(shapes[1]), 0):eval()
    local yes = core.uniform(shapes[2], 0, 2, "f64"):cast(dtype)
    local no = core.uniform(shapes[3], 0, 2, "f64"):cast(dtype)
    local shape = elements.result_shape(elements.result_shape(shapes[1], shapes[2]), shapes[3])
    local want, of_c, of_yes, of_no = {}, elements.flat(c), elements.flat(yes), elements.flat(no)
    for k = 0, elements.count_of(shape) - 1 do
      local at = elements.indices(shape, k)
      local taken, from = of_yes, shapes[2]
      if of_c[elements.place(shapes[1], at)] == 0 then taken, from = of_no, shapes[3] end
      want[k + 1] = taken[elements.place(from, at)]
    end
    local label = ("where of %s %s %s in %s"):format(elements.text(shapes[1]),
      elements.text(shapes[2]), elements.text(shapes[3]), dtype)
    throughout(label, mw.where(c, yes, no), shape, dtype, want)
  end
end

---- Gradients of what was broadcast are sums

local wide, row, column = mw.ones({2, 3}, "f64"), real {1, 2, 4}, real {{3}, {5}}
d = mw.grad((wide * row * column):sum(), {wide, row, column})
t.is({d[1]:totable(), d[2]:totable(), d[3]:totable()},
  {{{3, 6, 12}, {5, 10, 20}}, {8, 8, 8}, {{7}, {7}}}, "mul: each operand's gradient has its shape")
d = mw.grad((row - wide):sum(), {row, wide})
t.is({d[1]:totable(), d[2]:totable()}, {{2, 2, 2}, {{-1, -1, -1}, {-1, -1, -1}}}, "sub")
d = mw.grad((wide / column):sum(), {column})[1]
t.near(d:totable(), {{-3 / 9}, {-3 / 25}}, 1e-16, "div")
d = mw.grad(mw.maximum(wide * 2, row):sum(), {row})[1]
t.is(d:totable(), {0, 0, 2}, "maximum")
d = mw.grad(mw.mod(wide * 7, row):sum(), {row})[1]
t.is(d:totable(), {-14, -6, -2}, "mod")
local scalar = mw.tensor(3.0, "f64")
t.is(mw.grad((wide ^ scalar):sum(), {scalar})[1]:item(), 0.0, "pow: a scalar exponent")
local nothing = mw.grad((mw.zeros({0, 3}, "f64") + row):sum(), {row})[1]
t.is(nothing:totable(), {0, 0, 0}, "no elements: the gradient is 0")
t.is(mw.grad((x * x):sum(), {x})[1]:totable(), {2, 4, 6}, "one tensor on both sides")

---- Logic

local yes, no = true, false
local left, right = mw.tensor {yes, yes, no, no}, mw.tensor {yes, no, yes, no}
throughout("logical_and", mw.logical_and(left, right), {4}, "bool", {1, 0, 0, 0})
throughout("logical_or", mw.logical_or(left, right), {4}, "bool", {1, 1, 1, 0})
throughout("logical_xor", mw.logical_xor(left, right), {4}, "bool", {0, 1, 1, 0})
t.is(mw.logical_or(left:reshape {4, 1}, right).shape, {4, 4}, "logical ops broadcast")
t.is(mw.logical_and(mw.zeros({0, 4}, "bool"), right).shape, {0, 4}, "... and take nothing")
t.error(function() return mw.logical_and(mw.tensor {1, 2}, left) end,
  "logical_and: a is f32%[2%].*bool", "logical_and of numbers")
t.error(function() return mw.logical_or(left, mw.tensor({1}, "u8")) end,
  "logical_or: b is u8%[1%], expected bool, which comparisons give", "logical_or of bytes")
t.error(function() return mw.logical_xor(left, mw.tensor {yes, no, yes}) end,
  "logical_xor: a is bool%[4%] and b is bool%[3%], which do not broadcast",
  "shapes that do not fit")

---- What else is refused

for _, op in ipairs {"div", "pow", "atan2"} do
  t.error(function() return core.call(op, mw.tensor({1}, "i64"), mw.tensor({1}, "i64")) end,
    op .. ": a is i64%[1%].*f32, f64.*:cast", op .. " of integers")
end
t.error(function() return mw.mod(mw.tensor {true}, mw.tensor {true}) end,
  "mod: a is bool%[1%], expected numbers", "mod of bool")
t.error(function() return mw.atan2(mw.zeros {2}, mw.zeros({2}, "f64")) end,
  "atan2: b is f64%[2%], but a is f32%[2%].*:cast", "dtypes that differ")
t.error(function() return mw.where(mw.zeros {2}, mw.zeros {2}, mw.zeros {2}) end,
  "where: condition is f32%[2%], expected a bool tensor", "a condition of numbers")
t.error(function() return mw.where(left, mw.zeros {3}, mw.zeros {4}) end,
  "where: condition bool%[4%], a f32%[3%] and b f32%[4%] do not broadcast", "sides that do not fit")

---- The same bits whatever the number of threads

local big, side = mw.randn({300, 257}):eval(), mw.randn({257}):eval()
local results = {}
local threads = core.threads()
for n = 1, 3, 2 do
  core.threads(n)
  results[n] = {}
  for i, op in ipairs {"mod", "atan2", "pow_slope", "sub"} do
    results[n][i] = core.bytes(core.call(op, big, side))
  end
end
core.threads(threads)
t.is(results[1], results[3], "1 and 3 threads give the same bits")

t.near(slopes("pow", {0, -0.0, 0}, {-1, -2, -0.5})[2], {0, 0, 0}, 0,
  "pow's slope in a negative b is 0 where a is 0, too")

t.done()
