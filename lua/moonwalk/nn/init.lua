-- init.lua: initialisers: functions that give a new parameter its first value.
--
--   nn.Conv2d {3, 2, kernel = 3, init = nn.init.uniform(-1e-4, 1e-4)}
--
-- An initialiser is a function of a shape, a dtype, and the fans: how many inputs each output
-- sums over (fan_in), and how many outputs each input reaches (fan_out).

local core = require "moonwalk.core"
local check = require "moonwalk.check"

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

---Normal with variance 2 / fan_in, for relu (He, Zhang, Ren and Sun, "Delving deep into
---rectifiers", 2015).
---@return moonwalk.Initialiser
function init.he()
  return function(shape, dtype, fan_in)
    return core.normal(shape, 0, math.sqrt(2 / fan_in), dtype)
  end
end

---A parameter with an initialiser's value, for the layers.
---@param where string the layer's name for errors
---@param initialiser moonwalk.Initialiser
---@param shape integer[]
---@param dtype string
---@param fan_in number
---@param fan_out number
---@return moonwalk.Tensor
function init.parameter(where, initialiser, shape, dtype, fan_in, fan_out)
  if type(initialiser) ~= "function" then
    check.fail(where, "init", initialiser, "an initialiser such as nn.init.he()")
  end
  local value = initialiser(shape, dtype, fan_in, fan_out)
  local expected = ("a tensor %s[%s]"):format(dtype, table.concat(shape, ","))
  if check.show(value) ~= expected then
    check.fail(where, "what init gives", value, expected
      .. (type(value) == "function" and "; call it, as in nn.init.he()" or ""))
  end
  return core.param(value)
end

return init
