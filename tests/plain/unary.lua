-- unary.lua: plain formulas of the functions of one number, from their definitions.
local nd = require "plain.nd"

local exp, log, abs, huge = math.exp, math.log, math.abs, math.huge
local nan = 0 / 0

---- What the definitions need

-- Kahan's: the rounding error of 1 + x and of its logarithm cancel.
local function log1p(x)
  local u = 1 + x
  if u == 1 or u == huge then return u == 1 and x or u end
  return log(u) * x / (u - 1)
end

local function expm1(x)
  local u = exp(x)
  if u == 1 then return x end
  if u - 1 == -1 or u == huge then return u - 1 end
  return (u - 1) * x / log(u)
end

-- erf by its power series within 3, and by the continued fraction of erfc beyond.
local function erf(x)
  if x ~= x then return x end
  if abs(x) > 6 then return x > 0 and 1.0 or -1.0 end
  if abs(x) < 3 then
    local term, sum, n = x, x, 0
    while abs(term) > 1e-18 do
      n = n + 1
      term = -term * x * x / n
      sum = sum + term / (2 * n + 1)
      if n > 200 then break end
    end
    return sum * 2 / math.pi ^ 0.5
  end
  local z, tail = abs(x), 0.0
  for k = 60, 1, -1 do tail = k / 2 / (z + tail) end
  local erfc = exp(-z * z) / (z + tail) / math.pi ^ 0.5
  return x > 0 and 1 - erfc or erfc - 1
end

local function sigmoid(x) return 1 / (1 + exp(-x)) end
local function softplus(x) return x > 0 and x + log1p(exp(-x)) or log1p(exp(x)) end
local function sinh(x) return (expm1(x) - expm1(-x)) / 2 end
local function cosh(x) return (exp(x) + exp(-x)) / 2 end
local function tanh(x)
  if abs(x) > 20 then return x > 0 and 1.0 or -1.0 end
  return expm1(2 * x) / (expm1(2 * x) + 2)
end

-- Half a number away from two whole ones is rounded to the even one.
local function round(x)
  if x ~= x or abs(x) >= 2 ^ 52 then return x end
  local below = x - x % 1
  local rest = x - below
  if rest == 0.5 then return below % 2 == 0 and below or below + 1 end
  return rest < 0.5 and below or below + 1
end

local function within(x, least, most) return x < least and least or x > most and most or x end

local function gelu_tanh(x)
  return x / 2 * (1 + tanh((2 / math.pi) ^ 0.5 * (x + 0.044715 * x * x * x)))
end
local function gelu_erf(x) return x / 2 * (1 + erf(x / 2 ^ 0.5)) end
local function hardsigmoid(x) return within((x + 3) / 6, 0, 1) end

---- The functions; those of the second table read attributes

local functions = {
  neg = function(x) return -x end,
  abs = function(x) return x < 0 and -x or x end,
  square = function(x) return x * x end,
  sign = function(x) return x > 0 and 1 or x < 0 and -1 or x end,
  floor = function(x) return x - x % 1 end,
  ceil = function(x) return x + -x % 1 end,
  round = round,
  exp = exp,
  exp2 = function(x) return 2 ^ x end,
  expm1 = expm1,
  log = function(x) return log(x) end,
  log2 = function(x) return log(x) / log(2) end,
  log10 = function(x) return log(x) / log(10) end,
  log1p = log1p,
  sqrt = function(x) return x < 0 and nan or x ^ 0.5 end,
  rsqrt = function(x) return x < 0 and nan or x ^ -0.5 end,
  reciprocal = function(x) return 1 / x end,
  sin = math.sin,
  cos = math.cos,
  tan = function(x) return math.sin(x) / math.cos(x) end,
  asin = function(x) return math.atan(x / (1 - x * x) ^ 0.5) end,
  acos = function(x) return math.pi / 2 - math.atan(x / (1 - x * x) ^ 0.5) end,
  atan = function(x) return math.asin(x / (1 + x * x) ^ 0.5) end,
  sinh = sinh,
  cosh = cosh,
  tanh = tanh,
  asinh = function(x)
    local size = log1p(abs(x) + x * x / (1 + (1 + x * x) ^ 0.5))
    return x < 0 and -size or size
  end,
  acosh = function(x) return log(x + ((x - 1) * (x + 1)) ^ 0.5) end,
  atanh = function(x) return (log1p(x) - log1p(-x)) / 2 end,
  erf = erf,
  sigmoid = sigmoid,
  relu = function(x) return x < 0 and 0 or x end,
  selu = function(x)
    return 1.0507009873554805 * (x > 0 and x or 1.6732632423543772 * expm1(x))
  end,
  gelu_erf = gelu_erf,
  gelu_tanh = gelu_tanh,
  silu = function(x) return x * sigmoid(x) end,
  softplus = softplus,
  softsign = function(x) return x / (1 + math.abs(x)) end,
  mish = function(x) return x * tanh(softplus(x)) end,
  hardsigmoid = hardsigmoid,
  hardswish = function(x) return x * hardsigmoid(x) end,
  logical_not = function(x) return not x end,
  isnan = function(x) return x ~= x end,
  isinf = function(x) return abs(x) == huge end,
  isfinite = function(x) return x == x and abs(x) < huge end,
}

local with_attributes = {
  leaky_relu = function(x, a) return x < 0 and a.negative_slope * x or x end,
  elu = function(x, a) return x > 0 and x or a.alpha * expm1(x) end,
  clip = function(x, a) return within(x, a.min, a.max) end,
  hardtanh = function(x, a) return within(x, a.min, a.max) end,
  gelu = function(x, a) return (a.approximate == "tanh" and gelu_tanh or gelu_erf)(x) end,
}

local plain = {}
for name, fn in pairs(functions) do
  plain[name] = function(args)
    return nd.map(args[1], function(x) return fn(x) end)
  end
end
for name, fn in pairs(with_attributes) do
  plain[name] = function(args, attrs)
    return nd.map(args[1], function(x) return fn(x, attrs) end)
  end
end
return plain
