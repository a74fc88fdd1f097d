-- activation.lua: layers without parameters that apply one op.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
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
  Tanh = "tanh",
}

-- An option as the op's schema describes it.
local function check_option(where, attr, value)
  if value == nil then return end
  if attr.type == "choice" then
    check.choice(where, attr.name, value, attr.choices)
  elseif attr.type == "bool" then
    check.boolean(where, attr.name, value, false)
  elseif type(value) ~= "number" then
    check.fail(where, attr.name, value, "a number")
  end
end

local function activation(class, op)
  local Activation = Module:extend(class)
  local where = "nn." .. class

  function Activation:init(given)
    local known, schema = {}, (core.op_info(op) or {}).attrs or {}
    for i, attr in ipairs(schema) do known[i] = attr.name end
    options.table(where, given, #schema == 1 and 1 or 0, known)
    self.attributes = options.pick(given, known)
    if #schema == 1 then -- LeakyReLU {0.2}
      self.attributes[known[1]] = options.first(where, given, known[1])
    end
    for _, attr in ipairs(schema) do check_option(where, attr, self.attributes[attr.name]) end
    self.description = next(given) and options.describe(class, given, known)
  end

  function Activation:forward(x)
    if next(self.attributes) == nil then return core.call(op, x) end
    return core.call(op, x, self.attributes)
  end

  return Activation
end

---@type table<string, fun(options: table): moonwalk.Module>
local classes = {}
for class, op in pairs(OPS) do classes[class] = activation(class, op) end
return classes
