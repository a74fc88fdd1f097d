-- activation.lua: activations, elementwise but for the softmaxes.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local apply = require "moonwalk.nn.apply"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

-- To add a layer, add its class and the op that it applies; its options are the op's attributes.
local OPS = {
  ELU = "elu",
  GELU = "gelu",
  HardSigmoid = "hardsigmoid",
  HardSwish = "hardswish",
  HardTanh = "hardtanh",
  Identity = "identity",
  LeakyReLU = "leaky_relu",
  LogSoftmax = "log_softmax",
  Mish = "mish",
  ReLU = "relu",
  SELU = "selu",
  Sigmoid = "sigmoid",
  SiLU = "silu",
  Softmax = "softmax",
  Softplus = "softplus",
  Softsign = "softsign",
  Tanh = "tanh",
}

---@type table<string, fun(options: table): moonwalk.Module>
local classes = {}
for class, op in pairs(OPS) do classes[class] = apply(class, op) end

---relu with a trained slope below 0, one for all or one for each channel, axis 2 of x:
---y = relu(x) - weight relu(-x) (He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015).
---@class moonwalk.PReLU: moonwalk.Module
---@field weight moonwalk.Tensor [1] or [channels], 0.25 at first
local PReLU = Module:extend "PReLU"

function PReLU:init(given)
  local where, known = "nn.PReLU", {"init", "dtype"}
  options.table(where, given, 1, known)
  local channels = check.integer(where, "the number of channels, [1],", given[1], 1, 1)
  options.dtype(where, given)
  self.weight = init.parameter(where, init.check(where, given.init, init.constant(0.25)),
    {channels}, given.dtype or "f32", 1, 1)
  self.description = options.describe("PReLU", given, known)
end

function PReLU:forward(x)
  local weight, rank = self.weight, core.is_tensor(x) and x.rank or 0
  local shape = weight.shape
  if shape[1] > 1 then
    for _ = 3, rank do shape[#shape + 1] = 1 end
    weight = core.call("reshape", weight, {shape = shape})
  end
  return core.call("relu", x) - weight * core.call("relu", -x)
end

classes.PReLU = PReLU
return classes
