-- dense.lua: Dense, a fully connected layer: y = x W^T + b.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---@class moonwalk.Dense: moonwalk.Module
---@field weight moonwalk.Tensor [out, in]
---@field bias moonwalk.Tensor? [out]
---@overload fun(options: moonwalk.DenseOptions): moonwalk.Dense
local Dense = Module:extend "Dense"

---@class moonwalk.DenseOptions
---@field [1] integer features of the input
---@field [2] integer features of the output
---@field bias boolean? true
---@field init moonwalk.Initialiser? of the weights, nn.init.he(); the bias begins at 0
---@field dtype string? "f32"
local KNOWN = {"bias", "init", "dtype"}

function Dense:init(given)
  local where = "nn.Dense"
  options.table(where, given, 2, KNOWN)
  local inputs = check.integer(where, "the number of inputs, [1],", given[1], 1)
  local outputs = check.integer(where, "the number of outputs, [2],", given[2], 1)
  local dtype = check.choice(where, "dtype", given.dtype, {"f32", "f64"}, "f32")
  self.weight = init.parameter(where, given.init or init.he(), {outputs, inputs}, dtype,
    inputs, outputs)
  if check.boolean(where, "bias", given.bias, true) then
    self.bias = core.param(core.full({outputs}, 0, dtype))
  end
  self.description = options.describe("Dense", given, KNOWN)
end

function Dense:forward(x)
  if not self.bias then return core.call("dense", x, self.weight) end
  return core.call("dense", x, self.weight, self.bias)
end

return Dense
