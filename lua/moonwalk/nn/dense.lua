-- dense.lua: Dense, a fully connected layer: y = x W^T + b.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---With one number, nn.Dense {120}, the features of the input are those of the first one.
---@class moonwalk.Dense: moonwalk.Module
---@field weight moonwalk.Tensor [out, in]
---@field bias moonwalk.Tensor? [out]
---@overload fun(options: moonwalk.DenseOptions): moonwalk.Dense
local Dense = Module:extend "Dense"

---@class moonwalk.DenseOptions
---@field [1] integer features of the input; may be left out
---@field [2] integer features of the output
---@field bias boolean? true
---@field init moonwalk.Initialiser|string? of the weights, nn.init.he(); the bias begins at 0
---@field dtype string? "f32"; of the first input where its features are left out
local KNOWN = {"bias", "init", "dtype"}

function Dense:init(given)
  local where = "nn.Dense"
  options.table(where, given, 2, KNOWN)
  options.open(where, given, 2, "the number of inputs", "the number of outputs")
  check.boolean(where, "bias", given.bias, true)
  options.dtype(where, given)
  self.options = options.copy(given)
  self.initialiser = init.check(where, given.init, init.he())
  self.description = options.describe("Dense", given, KNOWN)
  self.applied = core.prepare "dense"
  if not given[2] then return self:lazy() end
  self:make(given[1], given.dtype or "f32")
end

function Dense:build(x)
  self:make(options.size_of("nn.Dense", x, -1, 1), options.dtype_of(self.options, x))
end

-- Makes the parameters.
function Dense:make(inputs, dtype)
  local outputs = self.options[2] or self.options[1]
  self.weight = init.parameter("nn.Dense", self.initialiser, {outputs, inputs}, dtype, inputs,
    outputs)
  if self.options.bias ~= false then self.bias = core.param(core.full({outputs}, 0, dtype)) end
end

Dense.forward = Module.applying("weight", "bias")

return Dense
