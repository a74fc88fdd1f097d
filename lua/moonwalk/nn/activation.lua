-- activation.lua: layers without parameters that apply one op to each element.

local core = require "moonwalk.core"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

local function activation(class, op)
  local Activation = Module:extend(class)

  function Activation.init(_, given)
    options.table("nn." .. class, given, 0, {})
  end

  function Activation.forward(_, x)
    return core.call(op, x)
  end

  return Activation
end

return {
  ---@type fun(options: {}): moonwalk.Module
  Identity = activation("Identity", "identity"),
  ---@type fun(options: {}): moonwalk.Module
  ReLU = activation("ReLU", "relu"),
  ---@type fun(options: {}): moonwalk.Module
  Sigmoid = activation("Sigmoid", "sigmoid"),
  ---@type fun(options: {}): moonwalk.Module
  Tanh = activation("Tanh", "tanh"),
}
