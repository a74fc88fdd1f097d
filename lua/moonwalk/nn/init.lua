-- init.lua: initialisers: functions that give a new parameter its first value.
--
--   nn.Conv2d {3, 2, kernel = 3, init = nn.init.uniform(-1e-4, 1e-4)}
--
-- An initialiser is a function of a shape, a dtype, and the fans: how many inputs each output
-- sums over (fan_in), and how many outputs each input reaches (fan_out). Those that need no
-- arguments may be given by name, init = "orthogonal", and net:initialise takes either.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.initialisers
local init = {}

---@alias moonwalk.Initialiser
---| fun(shape: integer[], dtype: string, fan_in: number, fan_out: number): moonwalk.Tensor

---Uniform in [low, high).
---@param low number
---@param high number
---@return moonwalk.Initialiser
function init.uniform(low, high)
  check.number("nn.init.uniform", "low", low, -math.huge, math.huge)
  check.number("nn.init.uniform", "high", high, low, math.huge)
  return function(shape, dtype) return core.uniform(shape, low, high, dtype) end
end

---Normal with a mean and a standard deviation.
---@param mean number
---@param deviation number
---@return moonwalk.Initialiser
function init.normal(mean, deviation)
  check.number("nn.init.normal", "mean", mean, -math.huge, math.huge)
  check.number("nn.init.normal", "deviation", deviation, 0, math.huge)
  return function(shape, dtype) return core.normal(shape, mean, deviation, dtype) end
end

---The same value everywhere.
---@param value number
---@return moonwalk.Initialiser
function init.constant(value)
  check.number("nn.init.constant", "value", value, -math.huge, math.huge)
  return function(shape, dtype) return core.full(shape, value, dtype) end
end

---Zeros.
---@return moonwalk.Initialiser
function init.zeros()
  return init.constant(0)
end

---Uniform in [-1e-4, 1e-4): so small that the values differ, and hardly more.
---@return moonwalk.Initialiser
function init.small()
  return init.uniform(-1e-4, 1e-4)
end

---Uniform with variance gain^2 * 2 / (fan_in + fan_out), for sigmoid and tanh (Glorot and
---Bengio, "Understanding the difficulty of training deep feedforward networks", 2010).
---@param gain number? 1 when left out
---@return moonwalk.Initialiser
function init.xavier(gain)
  gain = check.number("nn.init.xavier", "gain", gain, 0, math.huge, 1)
  return function(shape, dtype, fan_in, fan_out)
    local most = gain * math.sqrt(6 / (fan_in + fan_out))
    return core.uniform(shape, -most, most, dtype)
  end
end

---Normal with variance 2 / fan_in, for relu; for a leaky relu 2 / (1 + slope^2) / fan_in (He,
---Zhang, Ren and Sun, "Delving deep into rectifiers", 2015).
---@param slope number? of the leaky relu below 0; 0 when left out
---@return moonwalk.Initialiser
function init.he(slope)
  slope = check.number("nn.init.he", "slope", slope, -math.huge, math.huge, 0)
  return function(shape, dtype, fan_in)
    return core.normal(shape, 0, math.sqrt(2 / (1 + slope * slope) / fan_in), dtype)
  end
end

-- The orthogonal matrix that is nearest to x [rows, columns], rows <= columns: what Newton's
-- iteration x <- (3 x - x x' x) / 2 goes to (Higham, "Functions of matrices", 2008, section 8.3),
-- from a norm below sqrt(3). Its distribution is uniform when x has independent normal elements.
local function nearest_orthogonal(x)
  local rows = x.shape[1]
  x = x / x:square():sum():sqrt()
  for _ = 1, 100 do
    local gram = x:matmul(x, {transpose_b = true})
    local next_x = core.tensor(1.5 * x - 0.5 * gram:matmul(x)) -- the value: no graph of all steps
    local gap = (gram - core.eye(rows, rows, "f64")):abs():max():item()
    x = next_x
    if gap < 1e-9 then break end -- the step squares it
  end
  return x
end

---Orthogonal rows, or columns where there are fewer of them, of length `gain`, uniform among all
---such matrices. A tensor of more axes than two counts as one row for each index of the first axis
---(Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
---linear neural networks", 2014).
---@param gain number? 1 when left out
---@return moonwalk.Initialiser
function init.orthogonal(gain)
  gain = check.number("nn.init.orthogonal", "gain", gain, 0, math.huge, 1)
  return function(shape, dtype)
    if #shape < 2 then
      core.error(("nn.init.orthogonal: the shape is {%s}, expected at least 2 axes"):format(
        table.concat(shape, ", ")))
    end
    local rows, columns = shape[1], 1
    for axis = 2, #shape do columns = columns * shape[axis] end
    local wide = core.randn({math.min(rows, columns), math.max(rows, columns)}, "f64")
    local q = nearest_orthogonal(wide)
    if rows > columns then q = q:transpose() end
    return core.tensor((q * gain):reshape {shape = shape}:cast(dtype))
  end
end

-- What may be given by its name alone.
local NAMED = {"he", "orthogonal", "small", "xavier", "zeros"}

---An initialiser as it is given, or by its name.
---@param where string the function that it is given to
---@param given moonwalk.Initialiser|string?
---@param fallback moonwalk.Initialiser?
---@return moonwalk.Initialiser
function init.check(where, given, fallback)
  if given == nil and fallback then return fallback end
  if type(given) == "string" then return init[check.choice(where, "init", given, NAMED)]() end
  if type(given) ~= "function" then
    check.fail(where, "init", given, "an initialiser such as nn.init.he(), or its name")
  end
  for name, maker in pairs(init) do
    if given == maker then
      core.error(("%s: init is the function nn.init.%s, which makes an initialiser; call it, as in "
        .. "nn.init.%s()"):format(where, name, name))
    end
  end
  return given
end

-- The fans of parameters, {fan_in, fan_out}, for those that get other first values later; false for
-- one whose first value is no matter of chance, such as a norm's.
local fans = setmetatable({}, {__mode = "k"})

local function value_of(where, initialiser, shape, dtype, fan_in, fan_out)
  local value = initialiser(shape, dtype, fan_in, fan_out)
  local expected = ("a tensor %s[%s]"):format(dtype, table.concat(shape, ","))
  if check.show(value) ~= expected then
    check.fail(where, "what init gives", value, expected)
  end
  return value
end

---A parameter with an initialiser's value, for the layers. Without fans it is one that
---net:initialise leaves alone unless it is named.
---@param where string the layer's name for errors
---@param initialiser moonwalk.Initialiser
---@param shape integer[]
---@param dtype string
---@param fan_in number?
---@param fan_out number?
---@return moonwalk.Tensor
function init.parameter(where, initialiser, shape, dtype, fan_in, fan_out)
  local value = value_of(where, initialiser, shape, dtype, fan_in, fan_out)
  local parameter = core.param(value)
  fans[parameter] = fan_in and {fan_in, fan_out} or false
  return parameter
end

---Has a copy of a parameter know what the original's fans are.
---@param copy moonwalk.Tensor
---@param original moonwalk.Tensor
function init.like(copy, original)
  fans[copy] = fans[original]
end

-- The fans of a parameter [out, in, ...], or what was noted.
local function fans_of(parameter)
  if fans[parameter] then return table.unpack(fans[parameter]) end
  local shape, area = parameter.shape, 1
  for axis = 3, #shape do area = area * shape[axis] end
  return (shape[2] or shape[1] or 1) * area, (shape[1] or 1) * area
end

---Gives the parameters of a network new first values: those whose names match a pattern; without
---one, those of at least two axes that are no norm's, which are weights.
---@param module moonwalk.Module
---@param initialiser moonwalk.Initialiser|string
---@param pattern string?
---@return moonwalk.Module module
function init.all(module, initialiser, pattern)
  local where, targets, values = "initialise", {}, {}
  initialiser = init.check(where, initialiser)
  if pattern ~= nil then check.text(where, "the pattern of names", pattern) end
  for name, parameter in module:named_parameters() do
    local is_weight = #parameter.shape >= 2 and fans[parameter] ~= false
    if pattern and name:find(pattern) or not pattern and is_weight then
      targets[#targets + 1] = parameter
      values[#values + 1] = value_of(("%s: %s"):format(where, name), initialiser, parameter.shape,
        parameter.dtype, fans_of(parameter))
    end
  end
  if #targets == 0 then
    core.error(("%s: no parameter %s"):format(where,
      pattern and ("matches %q"):format(pattern) or "has two axes"))
  end
  core.run({}, targets, values)
  return module
end

return init
