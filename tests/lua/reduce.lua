-- reduce.lua: reductions, searches and running sums beyond what ops.lua and the plain formulas of
-- tests/plain check: NaN, infinities, ties, zeros, nothing, integers, second derivatives where they
-- are delicate, large tensors, and errors.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local throughout, nan, inf = elements.throughout, elements.nan, elements.inf

mw.seed(6)

local function real(values) return mw.tensor(values, "f64") end

local function grad(fn, x) return mw.grad(fn(x):sum(), {x})[1] end

-- The gradient of the sum of squares of fn's gradient: a second derivative.
local function second(fn, x)
  local g = grad(fn, x)
  return mw.grad((g * g):sum(), {x})[1]
end

---- prod: zeros

local groups = real {{0, 2, 3}, {0, 0, 3}, {0, 0, 0}, {1, 2, 3}}
local function rows(x) return x:prod {axes = {2}} end
t.is(rows(groups):totable(), {0, 0, 0, 6}, "products of rows")
t.is(grad(rows, groups):totable(), {{6, 0, 0}, {0, 0, 0}, {0, 0, 0}, {6, 3, 2}},
  "prod's gradient with no, one, two and three zeros in a row")
-- The sum of squared gradients of x y z is (yz)^2 + (xz)^2 + (xy)^2; in x: 2 x (z^2 + y^2).
t.is(second(rows, groups):totable(), {{0, 36, 24}, {0, 0, 0}, {0, 0, 0}, {26, 40, 30}},
  "... and its second derivative")
local function columns(x) return x:transpose():prod {axes = {1}} end
t.is(grad(columns, groups):totable(), grad(rows, groups):totable(), "... along the first axis")
t.is(second(columns, groups):totable(), second(rows, groups):totable(), "... twice")
-- d^2/dx dy of w x y z is w z: also where both are 0.
local four = real {0, 5, 0, 7}
local g = grad(function(x) return x:prod() end, four)
t.is(mw.grad(g:slice {{1, 1}}:sum(), {four})[1]:totable(), {0, 0, 35, 0},
  "the mixed derivative of a product with two zeros")
t.near(grad(function(x) return x:prod() end, real {inf, 2, 3}):totable(), {6, inf, inf}, 0,
  "prod of an infinite number")
t.near(mw.prod(real {0, inf}):item(), nan, 0, "0 times inf is NaN")
t.near(grad(function(x) return x:prod() end, real {1e-200, 1e-200, 1e300}):totable(),
  {1e100, 1e100, 0}, 1e86, "no quotient: factors may be tiny")

-- Each way through memory: which axes go, of which sizes.
for _, case in ipairs {{{5}, {1}}, {{5, 3}, {1}}, {{5, 3}, {2}}, {{3, 4, 5}, {2}},
  {{3, 4, 5}, {1, 3}}, {{3, 1, 4, 1, 2}, {1, 3}}, {{2, 3, 2, 3, 2}, {2, 4}},
  {{2, 3, 2, 3, 2}, {1, 3, 5}}, {{2, 300}, {1}}, {{300, 2}, {1}}, {{2, 2, 300}, {2}},
  {{1, 1}, {2}}} do
  local x = core.uniform(case[1], 0.5, 1.5, "f64"):eval()
  local function by(axes) return function(v) return v:prod {axes = axes} end end
  local label = ("of %s over %s"):format(elements.text(case[1]), elements.text(case[2]))
  local logs = mw.exp(mw.log(x):sum {axes = case[2]})
  t.near(mw.max(mw.abs(by(case[2])(x) / logs - 1)):item(), 0, 1e-12, "prod " .. label)
  local want = logs:sum() -- the gradient is y / x
  want = mw.grad(want, {x})[1]
  t.near(mw.max(mw.abs(grad(by(case[2]), x) / want - 1)):item(), 0, 1e-12, "its gradient " .. label)
end
t.is(mw.prod(mw.tensor({100, 200, 3}, "u8")):item(), 60000, "bytes are multiplied in i64")
t.is(mw.prod(mw.tensor({{math.maxinteger, 2}}, "i64"), {axes = {2}}):totable(), {-2},
  "i64 wraps around")
t.is(mw.prod(mw.tensor {true, false}):item(), 0, "the product of bool")
t.is(mw.prod(mw.zeros {0, 3}, {axes = {1}}):totable(), {1, 1, 1}, "the product of nothing is 1")
t.is(grad(function(x) return x:prod {axes = {1}} end, mw.zeros {0, 3}).shape, {0, 3},
  "... and its gradient nothing")
t.is(second(function(x) return x:prod {axes = {1}} end, mw.zeros {0, 3}).shape, {0, 3}, "... twice")
t.error(function() return mw.prod(groups, {axes = {3}}) end,
  "prod: axis 3 is out of range for x f64%[4,3%]", "an axis that x does not have")
t.error(function() return mw.prod(groups, {axes = {1, -2}}) end,
  "prod: axes: entry 2 .* second time", "an axis named twice")

---- logsumexp: infinities

local hard = real {{-inf, -inf}, {inf, 1}, {1000, 1000}, {-inf, 2}, {nan, inf}, {-1000, -1001}}
local function lse(x) return mw.logsumexp(x, {axes = {2}}) end
t.near(lse(hard):totable(),
  {-inf, inf, 1000 + math.log(2), 2, nan, -1000 + math.log(1 + math.exp(-1))}, 1e-12, "logsumexp")
local share = 1 / (1 + math.exp(-1))
t.near(grad(lse, hard):totable(),
  {{0, 0}, {0, 0}, {0.5, 0.5}, {0, 1}, {nan, nan}, {share, 1 - share}}, 1e-12,
  "its gradient is softmax")
local finite = mw.randn({4, 3}):cast "f64":eval()
t.near(grad(function(x) return mw.logsumexp(x, {axes = {2}}) end, finite):totable(),
  mw.softmax(finite, {axis = 2}):totable(), 1e-15, "... of random numbers too")
t.ok(mw.gradcheck(function(x) return grad(lse, x) end, {finite}), "... as is its second derivative")
t.near(mw.logsumexp(mw.zeros {0, 3}, {axes = {1}}):totable(), {-inf, -inf, -inf}, 0,
  "logsumexp of nothing is -inf")
t.is(mw.logsumexp(mw.zeros {3, 0}, {axes = {1}}).shape, {0}, "... and nothing of no columns")
t.error(function() return mw.logsumexp(mw.tensor({1}, "i32")) end,
  "logsumexp: x is i32%[1%], expected f32 or f64; use :cast", "logsumexp of integers")

---- var and std

local sample = real {2, 4, 4, 4, 5, 5, 7, 9}
t.near(mw.var(sample, {correction = 0}):item(), 4, 1e-15, "the variance of all there is")
t.near(mw.var(sample):item(), 32 / 7, 1e-15, "... estimated from a sample")
t.near(mw.std(sample, {correction = 0}):item(), 2, 1e-15, "the standard deviation")
t.near(mw.var(real {3}):item(), nan, 0, "one number has no variance")
t.near(mw.var(real {3, 4}, {correction = 3}):item(), inf, 0, "a divisor below 0 counts as 0")
t.near(mw.var(real {3}, {correction = 0}):item(), 0, 0, "... but is all there is")
t.near(mw.var(mw.zeros {0}):item(), nan, 0, "nor has nothing")
t.near(mw.var(real {1e8, 1e8 + 1, 1e8 + 2}):item(), 1, 0, "the mean is taken off first")
t.near(mw.std(real {1, nan}):item(), nan, 0, "NaN stays")
local equal = real {2, 2, 2}
t.is(grad(function(x) return mw.std(x) end, equal):totable(), {0, 0, 0},
  "the gradient of a standard deviation of 0 is 0")
t.is(second(function(x) return mw.std(x) end, equal):totable(), {0, 0, 0}, "... and the second too")
t.near(grad(function(x) return mw.var(x, {axes = {1}}) end, real {1, 2, 6}):totable(), {-2, -1, 3},
  1e-15, "the gradient of the variance")
t.error(function() return mw.var(mw.tensor({1}, "i64")) end,
  "var: x is i64%[1%], expected f32 or f64", "the variance of integers")
t.error(function() return mw.std(sample, {axes = {2}}) end,
  "std: axis 2 is out of range for x f64%[8%]", "an axis that x does not have")

---- norm

t.near(mw.norm(real {3, -4}):item(), 5, 0, "norm is Euclid's")
t.near(mw.norm(real {3, -4}, {p = 1}):item(), 7, 0, "p = 1")
t.near(mw.norm(real {3, -4}, {p = inf}):item(), 4, 0, "p = inf")
t.near(mw.norm(real {3, -4}, {p = 3}):item(), 91 ^ (1 / 3), 1e-15, "p = 3")
t.near(mw.norm(real {4, -9}, {p = 0.5}):item(), 25, 1e-14, "p = 1/2")
t.near(mw.norm(real {1, nan}):item(), nan, 0, "norm of NaN")
t.near(mw.norm(real {1, -inf}, {p = 3}):item(), inf, 0, "norm of inf")
t.is(mw.norm(mw.zeros {0, 2}, {axes = {1}}):totable(), {0, 0}, "the norm of nothing is 0")
for _, p in ipairs {0.5, 1, 1.5, 2, 3, inf} do
  local function length(x) return mw.norm(x, {p = p, axes = {2}}) end
  local zeros = mw.zeros({2, 3}, "f64")
  t.is(length(zeros):totable(), {0, 0}, ("norm of 0 for p = %g"):format(p))
  t.is(grad(length, zeros):totable(), zeros:totable(), "... its gradient is 0")
  t.is(second(length, zeros):totable(), zeros:totable(), "... and the second derivative too")
  local partly = grad(length, real {{0, 2, 0}, {3, 0, 0}})
  t.near(partly:totable(), {{0, 1, 0}, {1, 0, 0}}, 1e-15, "... and in the numbers that are 0")
end
t.near(grad(function(x) return mw.norm(x) end, real {3, -4}):totable(), {0.6, -0.8}, 1e-15,
  "norm's gradient has the length 1")
t.is(grad(function(x) return mw.norm(x, {p = inf}) end, real {3, -5, 5}):totable(), {0, -1, 0},
  "p = inf: the first of equals gets the gradient")
for _, p in ipairs {0, -1, nan} do
  t.error(function() return mw.norm(real {1}, {p = p}) end,
    "norm: p is .*expected a number above 0", "p has to be above 0")
end
t.error(function() return mw.norm(mw.zeros {0}, {p = inf}) end, "norm: .*no extremum",
  "nothing has no largest number")

---- max and min

local tied = real {{1, 3, 3}, {2, 2, 2}}
t.is(second(function(x) return x:max {axes = {2}} end, tied):totable(), {{0, 0, 0}, {0, 0, 0}},
  "max has no second derivative, also at ties")
local x = real {1, 3, 2}
local w = real {5}
local through = mw.grad((x:max {axes = {1}, keepdims = true} * w):sum(), {x})[1]
t.is(mw.grad((through * real {inf, 1, inf}):sum(), {w}, nil)[1]:totable(), {1},
  "an infinite weight on what is not largest stays out of the second derivative")
t.is(mw.max(mw.tensor {true, false}):item(), true, "max of bool")
t.near(mw.min(real {nan, 1, -inf}):item(), nan, 0, "min: NaN wins over -inf")

---- argmin

local scores = mw.tensor {{1, 0, 0, 2}, {9, 8, 7, 7}, {nan, 1, nan, 0}}
t.is(scores:argmin():totable(), {1, 2, 0}, "argmin counts from 0; the first of equals; NaN")
t.is(scores:argmin {axis = 1, keepdims = true}:totable(), {{2, 0, 2, 2}}, "along the first axis")
t.is(mw.argmin(mw.tensor({{5, 200}, {6, 6}}, "u8")):totable(), {0, 0}, "of u8")
t.is(mw.argmin(mw.tensor({-5, -9, 3}, "i64")):item(), 1, "of i64")
t.is(mw.argmin(mw.zeros {0, 3}).shape, {0}, "of no rows")
t.error(function() return mw.argmin(mw.zeros {3, 0}) end, "argmin: x is f32%[3,0%]", "of nothing")

---- cumsum

local steps = real {{1, 2, 3}, {4, 5, 6}}
t.is(mw.cumsum(steps):totable(), {{1, 3, 6}, {4, 9, 15}}, "cumsum")
t.is(mw.cumsum(steps, {axis = 1}):totable(), {{1, 2, 3}, {5, 7, 9}}, "along the first axis")
t.is(mw.cumsum(steps, {reverse = true}):totable(), {{6, 5, 3}, {15, 11, 6}}, "from the end")
t.is(mw.cumsum(steps, {exclusive = true}):totable(), {{0, 1, 3}, {0, 4, 9}}, "without the place")
t.is(mw.cumsum(steps, {reverse = true, exclusive = true}):totable(), {{5, 3, 0}, {11, 6, 0}},
  "both")
t.is(mw.cumsum(mw.tensor({200, 100}, "u8")):totable(), {200, 300}, "bytes are added up in i64")
t.is(mw.cumsum(mw.tensor {true, true, false}):totable(), {1, 2, 2}, "... and bool")
t.is(mw.cumsum(mw.tensor({math.maxinteger, 1}, "i64")):totable(),
  {math.maxinteger, math.mininteger}, "i64 wraps around")
t.near(mw.cumsum(real {1, nan, 3}):totable(), {1, nan, nan}, 0, "NaN stays from its place on")
t.near(mw.cumsum(real {1, inf, -inf}, {exclusive = true}):totable(), {0, 1, inf}, 0,
  "a number that is left out does no harm")
t.is(mw.cumsum(mw.zeros {0, 3}, {axis = 1}).shape, {0, 3}, "cumsum of nothing")
t.near(mw.cumsum(mw.full({100000}, 0.1)):max():item(), 10000, 1e-3, "a long sum in f32 stays exact")
local many = mw.randn({3, 5, 700}):cast "f64":eval()
local by_axis = mw.cumsum(many, {axis = 2}):slice {nil, {5, 5}}
t.near(mw.max(mw.abs(by_axis:sum {axes = {2}} - many:sum {axes = {2}})):item(), 0, 1e-12,
  "the last running sum is the sum, over many columns too")
t.error(function() return mw.cumsum(mw.tensor(1.0)) end,
  "cumsum: axis %-1 is out of range for x f32%[%]: there are no axes", "a scalar has no axis")

---- all and any

local truth = mw.tensor {{true, false}, {true, true}, {false, false}}
throughout("all", mw.all(truth, {axes = {2}}), {3}, "bool", {0, 1, 0})
throughout("any", mw.any(truth, {axes = {2}}), {3}, "bool", {1, 1, 0})
throughout("all along the first axis", mw.all(truth, {axes = {1}, keepdims = true}), {1, 2}, "bool",
  {0, 0})
t.is({mw.all(truth):item(), mw.any(truth):item()}, {false, true}, "of everything")
local nothing = mw.gt(mw.zeros {0, 2}, 0)
t.is({mw.all(nothing):item(), mw.any(nothing):item()}, {true, false}, "of nothing")
t.error(function() return mw.all(mw.tensor {1}) end,
  "all: x is f32%[1%], expected bool, which comparisons give", "all of numbers")
t.error(function() return mw.any(mw.tensor({1}, "u8")) end, "any: x is u8%[1%], expected bool",
  "any of bytes")

---- accumulate

t.error(function() return mw.accumulate(mw.zeros {2}, mw.zeros {3}) end,
  "accumulate: tensor 2 is f32%[3%], but the first is f32%[2%]", "tensors that differ")

---- The same bits whatever the number of threads

local big = mw.randn({260, 517}):eval()
local results, threads = {}, core.threads()
for n = 1, 3, 2 do
  core.threads(n)
  local slope = grad(function(v) return v:prod {axes = {1}} end, big)
  results[n] = {}
  for i, y in ipairs {big:prod(), big:prod {axes = {1}}, slope, mw.cumsum(big),
    mw.cumsum(big, {axis = 1}), mw.var(big, {axes = {2}}), mw.logsumexp(big),
    mw.norm(big, {p = 3})} do
    results[n][i] = core.bytes(y)
  end
end
core.threads(threads)
t.is(results[1], results[3], "1 and 3 threads give the same bits")

---- Norms beyond the squares' range, and derivatives of nothing

local function along(op, attrs) return function(v) return core.call(op, v, attrs) end end
for _, case in ipairs {{"f32", 1e30}, {"f32", 1e-30}, {"f64", 1e300}, {"f64", 1e-300}} do
  local dtype, size = table.unpack(case)
  local label = ("of %s numbers of size %g"):format(dtype, size)
  local sides = mw.tensor({3 * size, -4 * size}, dtype)
  local near = dtype == "f32" and 1e-6 or 1e-14
  t.near(sides:norm():item() / size, 5, near, "a norm " .. label)
  t.near(grad(along("norm"), sides):totable(), {0.6, -0.8}, near, "... its gradient")
  t.near(sides:norm({p = 3}):item() / size, 91 ^ (1 / 3), near, "the 3-norm " .. label)
  t.near(grad(along("norm", {p = 3}), sides):totable(),
    {9 / 91 ^ (2 / 3), -16 / 91 ^ (2 / 3)}, near, "... its gradient")
end
t.near(mw.tensor({1e5, 1e5}, "f32"):norm({p = 10}):item(), 2 ^ 0.1 * 1e5, 0.02,
  "a 10-norm whose powers are out of range")
t.near(real({{inf, 1}, {nan, 1}, {0, 0}}):norm({axes = {2}}):totable(), {inf, nan, 0}, 0,
  "norms of inf, NaN and zeros")
t.is(real({{2, 3, 6}, {1, 2, 2}, {0, -7, 0}}):norm({axes = {2}}):totable(), {7, 3, 7},
  "whole norms are exact")
-- Of the gradients, which are empty, in the vector that they are a product with: 0.
for _, op in ipairs {"mean", "logsumexp", "sum", "norm", "prod"} do
  local none, v = mw.zeros({0}, "f64"), mw.ones({}, "f64")
  local slope = mw.grad(core.call(op, none), {none}, v)[1]
  t.is(mw.grad(slope:sum(), {v})[1]:item(), 0.0, "the derivative of the gradient of no " .. op)
end

t.done()
