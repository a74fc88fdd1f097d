-- unary.lua: functions of one number where the plain formulas of tests/plain do not reach: special
-- values, kinks and poles, what is not a float, second derivatives, and questions answered by bool.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local throughout, nan, inf = elements.throughout, elements.nan, elements.inf

mw.seed(4)

local function values(op, xs, attrs)
  return core.call(op, mw.tensor(xs, "f64"), attrs):totable()
end

local function slopes(op, xs, attrs)
  local x = mw.tensor(xs, "f64")
  return mw.grad(core.call(op, x, attrs):sum(), {x})[1]:totable()
end

local function curvatures(op, xs, attrs)
  local x = mw.tensor(xs, "f64")
  return mw.grad(mw.grad(core.call(op, x, attrs):sum(), {x})[1]:sum(), {x})[1]:totable()
end

---- At -inf, -0, 0, inf and NaN, from the limits of the definitions

local e, half_pi = math.exp(1), math.pi / 2
local at_special = {
  abs = {inf, 0, 0, inf}, square = {inf, 0, 0, inf}, sign = {-1, 0, 0, 1}, neg = {inf, 0, 0, -inf},
  floor = {-inf, 0, 0, inf}, ceil = {-inf, 0, 0, inf}, round = {-inf, 0, 0, inf},
  exp = {0, 1, 1, inf}, exp2 = {0, 1, 1, inf}, expm1 = {-1, 0, 0, inf},
  log = {nan, -inf, -inf, inf}, log2 = {nan, -inf, -inf, inf}, log10 = {nan, -inf, -inf, inf},
  log1p = {nan, 0, 0, inf}, sqrt = {nan, 0, 0, inf}, rsqrt = {nan, -inf, inf, 0},
  reciprocal = {0, -inf, inf, 0},
  sin = {nan, 0, 0, nan}, cos = {nan, 1, 1, nan}, tan = {nan, 0, 0, nan},
  asin = {nan, 0, 0, nan}, acos = {nan, half_pi, half_pi, nan},
  atan = {-half_pi, 0, 0, half_pi},
  sinh = {-inf, 0, 0, inf}, cosh = {inf, 1, 1, inf}, tanh = {-1, 0, 0, 1},
  asinh = {-inf, 0, 0, inf}, acosh = {nan, nan, nan, inf}, atanh = {nan, 0, 0, nan},
  erf = {-1, 0, 0, 1}, sigmoid = {0, 0.5, 0.5, 1}, softplus = {0, math.log(2), math.log(2), inf},
  relu = {0, 0, 0, inf}, leaky_relu = {-inf, 0, 0, inf}, elu = {-1, 0, 0, inf},
  hardsigmoid = {0, 0.5, 0.5, 1}, hardswish = {0, 0, 0, inf},
  clip = {-inf, 0, 0, inf}, hardtanh = {-1, 0, 0, 1},
}
for op, want in pairs(at_special) do
  t.near(values(op, {-inf, -0.0, 0.0, inf, nan}), {want[1], want[2], want[3], want[4], nan}, 1e-15,
    op .. " at -inf, -0, 0, inf and NaN")
  t.is(core.call(op, mw.zeros {2, 0}).shape, {2, 0}, op .. " of nothing is nothing")
end
for _, op in ipairs {"silu", "mish", "gelu", "selu"} do
  t.near(values(op, {0.0, -0.0, inf, nan}), {0, 0, inf, nan}, 0,
    op .. " at 0, inf and NaN")
end

-- A zero keeps its sign.
for _, op in ipairs {"sqrt", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf",
  "expm1", "log1p", "round", "floor", "ceil", "relu"} do
  t.is(1 / values(op, {-0.0})[1], -inf, op .. " of -0 is -0")
end

---- Where a plain formula loses digits, by values worked out in 40 digits

t.near(values("expm1", {1e-10})[1] * 1e10, 1.00000000005, 1e-15, "expm1 close to 0")
t.near(values("log1p", {1e-10})[1] * 1e10, 0.99999999995, 1e-15, "log1p close to 0")
t.near(values("sinh", {1e-8})[1] * 1e8, 1, 1e-15, "sinh close to 0")
t.near(values("asinh", {-1e-8})[1] * 1e8, -1, 1e-15, "asinh close to 0")
t.near(values("asinh", {1e300})[1], 691.4686750787736, 1e-12, "asinh far out")
t.near(values("atanh", {1e-9})[1] * 1e9, 1, 1e-15, "atanh close to 0")
t.near(values("erf", {0.5, 1, 2, -3})
  , {0.5204998778130465, 0.8427007929497149, 0.9953222650189527, -0.9999779095030014}, 1e-15, "erf")
t.near(values("softplus", {-800, -40, 40, 800}), {0, 4.248354255291589e-18, 40, 800}, 1e-14,
  "softplus far out")
t.near(values("softplus", {-40})[1] * 1e18, 4.248354255291589, 1e-14, "... where it is small")
t.near(values("mish", {1, -1}), {0.8650983882673103, -0.303401461374109}, 1e-15, "mish")
t.near(values("mish", {-800, 800, -30}), {0, 800, -30 * math.exp(-30)}, 1e-16, "mish far out")
t.near(slopes("mish", {-800, 800, 0}), {0, 1, 0.6}, 1e-15, "mish's slope")
t.near(values("gelu", {1, -1}), {0.8413447460685429, -0.15865525393145707}, 1e-15, "gelu")
t.near(values("gelu", {1, -1}, {approximate = "tanh"}), {0.8411919906082768, -0.15880800939172324},
  1e-15, "gelu by tanh")
t.near(values("selu", {1, -1}), {1.0507009873554805, -1.1113307378125625}, 1e-15, "selu")
t.near(values("hardswish", {-4, -3, -1, 0, 2, 3, 5}), {0, 0, -1 / 3, 0, 5 / 3, 3, 5}, 1e-15,
  "hardswish")
t.near(values("round", {0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994}), {0, 2, 2, 0, -2, 0}, 0,
  "round takes halves to the even number")
t.near(values("exp2", {10, -1}), {1024, 0.5}, 0, "exp2")
t.near(values("log2", {1024, 0.5}), {10, -1}, 0, "log2")
t.near(values("log10", {1000, 0.1}), {3, -1}, 1e-15, "log10")
t.near(values("elu", {1, -1}, {alpha = 2}), {1, 2 * (1 / e - 1)}, 1e-15, "elu")
t.near(values("clip", {-2, 0.5, 3}, {min = -1, max = 2}), {-1, 0.5, 2}, 0, "clip")

---- Kinks: the derivative there is what the docs say

t.near(slopes("relu", {-1, 0, 1, nan}), {0, 0, 1, 1}, 0, "relu has the slope 0 at 0")
t.near(slopes("abs", {-1, 0, -0.0, 1, nan}), {-1, 0, 0, 1, nan}, 0, "abs has the slope 0 at 0")
t.near(slopes("leaky_relu", {-1, 0, 1}, {negative_slope = 0.25}), {0.25, 0.25, 1}, 0, "leaky_relu")
t.near(slopes("elu", {0, -0.0}, {alpha = 3}), {3, 3}, 0, "elu at 0 has the slope of its left")
t.near(slopes("clip", {-1, -0.5, 0, 0.5, 1}, {min = -0.5, max = 0.5}), {0, 1, 1, 1, 0}, 0,
  "clip passes gradients at the bounds")
t.near(slopes("hardtanh", {-1.5, -1, 0, 1, 1.5}), {0, 0, 1, 0, 0}, 0, "hardtanh does not")
t.near(slopes("hardsigmoid", {-4, -3, 0, 3, 4}), {0, 0, 1 / 6, 0, 0}, 1e-16, "hardsigmoid")
t.near(slopes("hardswish", {-4, -3, 0, 3, 4}), {0, 0, 0.5, 1, 1}, 1e-16, "hardswish")
for _, op in ipairs {"floor", "ceil", "round", "sign"} do
  t.near(slopes(op, {-1.5, 0, 2}), {0, 0, 0}, 0, op .. " has the slope 0")
end
for _, op in ipairs {"relu", "abs", "leaky_relu", "hardtanh", "clip", "floor", "sign"} do
  t.near(curvatures(op, {-2, 0, 2}), {0, 0, 0}, 0, op .. " has no second derivative, also at 0")
end
t.near(curvatures("square", {-2, 0, 2}), {2, 2, 2}, 0, "the second derivative of square")
t.near(curvatures("hardswish", {-4, 0, 4}), {0, 1 / 3, 0}, 1e-16, "... of hardswish")
t.near(curvatures("softplus", {0, 800, -800}), {0.25, 0, 0}, 1e-16, "... of softplus, far out too")
t.near(curvatures("tanh", {0, 400, -400}), {0, 0, 0}, 0, "... of tanh")
t.near(curvatures("sqrt", {4}), {-1 / 32}, 1e-17, "... of sqrt")

---- Poles and edges: infinite slopes, and no NaN where the limit is known

t.near(slopes("sqrt", {0}), {inf}, 0, "sqrt is steep at 0")
t.near(slopes("log", {0}), {inf}, 0, "log is steep at 0")
t.near(slopes("asin", {1, -1}), {inf, inf}, 0, "asin is steep at the ends")
t.near(slopes("acosh", {1}), {inf}, 0, "acosh is steep at 1")
for _, op in ipairs {"sigmoid", "tanh", "erf", "atan", "softplus"} do
  t.near(slopes(op, {-inf, inf}), {0, op == "softplus" and 1 or 0}, 0, op .. " is flat far out")
end

---- What is not a float

t.is(mw.abs(mw.tensor({-3, math.mininteger}, "i64")):totable(), {3, math.mininteger},
  "abs of the least integer wraps around")
t.is(mw.sign(mw.tensor({-3, 0, 9}, "i64")):totable(), {-1, 0, 1}, "sign of i64")
for _, op in ipairs {"floor", "exp2", "mish", "sigmoid"} do
  t.error(function() return core.call(op, mw.tensor({1}, "i32")) end,
    op .. ": x is i32%[1%].*f32, f64.*:cast", op .. " of integers is refused")
end
t.error(function() return mw.neg(mw.tensor {true}) end, "neg: x is bool%[1%].*:cast",
  "neg of bool is refused")
t.error(function() return mw.clip(mw.randn {2}, {minimum = 1}) end, "clip.*min.*max",
  "an attribute that clip does not have")

---- Questions: isnan, isinf, isfinite, logical_not

local odd = {1, -0.0, inf, -inf, nan}
for _, dtype in ipairs {"f32", "f64"} do
  local x = mw.tensor(odd, dtype)
  throughout("isnan of " .. dtype, mw.isnan(x), {5}, "bool", {0, 0, 0, 0, 1})
  throughout("isinf of " .. dtype, mw.isinf(x), {5}, "bool", {0, 0, 1, 1, 0})
  throughout("isfinite of " .. dtype, mw.isfinite(x), {5}, "bool", {1, 1, 0, 0, 0})
end
for _, dtype in ipairs {"i32", "i64", "u8"} do
  local x = mw.tensor({{0, 200}}, dtype)
  throughout("isnan of " .. dtype, mw.isnan(x), {1, 2}, "bool", {0, 0})
  throughout("isinf of " .. dtype, mw.isinf(x), {1, 2}, "bool", {0, 0})
  throughout("isfinite of " .. dtype, mw.isfinite(x), {1, 2}, "bool", {1, 1})
end
t.is(mw.isfinite(mw.tensor({math.mininteger, math.maxinteger}, "i64")):totable(), {true, true},
  "the largest integers are finite")
throughout("logical_not", mw.logical_not(mw.tensor {true, false}), {2}, "bool", {0, 1})
t.is(mw.logical_not(mw.gt(mw.zeros {0, 3}, 0)).shape, {0, 3}, "logical_not of nothing")
t.error(function() return mw.logical_not(mw.tensor {1}) end,
  "logical_not: x is f32%[1%], expected bool, which comparisons give", "logical_not of numbers")
t.error(function() return mw.isnan(mw.tensor {true}) end, "isnan: x is bool%[1%], expected numbers",
  "isnan of bool")

---- In f32 some functions are Moonwalk's own: within 3 units in the last place of C's in f64.

local bits = {}
for i = 0, 40000 do -- all sizes and both signs
  local pattern = (i * 107377) & 0xFFFFFFFF
  local value = ("<f"):unpack(("<I4"):pack(pattern))
  bits[#bits + 1] = value == value and value or 0
end
local flushing = mw.flush_denormals(false) -- some are among them and among the results
local single = mw.tensor(bits)
local double = single:cast "f64"
for _, name in ipairs {"exp", "expm1", "log", "log1p", "tanh", "erf", "sigmoid", "softplus"} do
  local got, want = mw[name](single):totable(), mw[name](double):totable()
  local worst, at = 0, 0
  for i, y in ipairs(want) do
    local size = math.abs(y)
    local unit = size < 2^-126 and 2^-149 or 2.0^(math.floor(math.log(size, 2)) - 23)
    local gap = math.abs(got[i] - y) / unit
    if y ~= y then gap = got[i] ~= got[i] and 0 or math.huge end
    if size > 3.4028235e38 then gap = got[i] == (y > 0 and math.huge or -math.huge) and 0 or gap end
    if gap > worst or gap ~= gap then worst, at = gap, bits[i] end
  end
  t.ok(worst < 3, ("%s in f32 (%.2f units at %g)"):format(name, worst, at))
end
mw.flush_denormals(flushing)

---- Slopes far out, where a factor overflows while another is 0

for _, op in ipairs {"mish", "gelu_tanh", "gelu_erf", "silu", "softplus", "elu", "selu"} do
  for _, size in ipairs {50, 1000, 1e15} do
    local far = mw.tensor({-size, size}, "f32")
    local left = op == "selu" and 1.05070098735548 or 1
    t.near(mw.grad(core.call(op, far):sum(), {far})[1]:totable(), {0, left}, 1e-7,
      ("the slopes of %s at -%g and %g"):format(op, size, size))
  end
end
local far = mw.tensor({-3e38, 3e38}, "f32")
t.near(mw.grad(mw.mish(far):sum(), {far})[1]:totable(), {0, 1}, 0, "the slopes of mish at the end")

t.done()
