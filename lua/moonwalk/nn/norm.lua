-- norm.lua: layers that bring values to mean 0 and variance 1, over the batch or within a sample.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"
local updates = require "moonwalk.updates"

---@class moonwalk.Norm: moonwalk.Module
---@field weight moonwalk.Tensor? what the normalised values are multiplied by, 1 at first
---@field bias moonwalk.Tensor? what is added to them, 0 at first

---@class moonwalk.NormOptions
---@field eps number? 1e-5; added to the variance
---@field affine boolean? whether there are weight and bias; true, but false of InstanceNorm
---@field dtype string? "f32"

-- The options that all have.
local function begin(module, where, given, affine)
  options.dtype(where, given)
  module.options = options.copy(given)
  module.affine = check.boolean(where, "affine", given.affine, affine)
  module.attributes = {eps = check.number(where, "eps", given.eps, 0, math.huge, 1e-5)}
end

-- The parameters.
local function make(module, where, shape, dtype, biased)
  if not module.affine then return end
  module.weight = init.parameter(where, init.constant(1), shape, dtype)
  if biased then module.bias = init.parameter(where, init.zeros(), shape, dtype) end
end

-- Where the number of channels, or the normalised shape, is left out, nn.BatchNorm {}, it is that
-- of the first input: its axis 2, or its last axis.

---Batch normalisation of x [n, channels, ...], of any rank from 2: over all axes but the second.
---In training mode by the batch's own mean and variance, of which running_mean and running_var
---take over a part, `momentum`, with the next step of an optimizer; in evaluation mode by these.
---Source: Ioffe and Szegedy, "Batch normalization", 2015; running_var is unbiased, as in PyTorch.
---@class moonwalk.BatchNorm: moonwalk.Norm
---@field running_mean moonwalk.Tensor
---@field running_var moonwalk.Tensor
---@overload fun(options: moonwalk.NormOptions): moonwalk.BatchNorm
local BatchNorm = Module:extend "BatchNorm"

function BatchNorm:init(given)
  local where, known = "nn.BatchNorm", {"eps", "momentum", "affine", "dtype"}
  options.table(where, given, 1, known)
  options.open(where, given, 1, "the number of channels")
  begin(self, where, given, true)
  self.attributes.momentum = check.number(where, "momentum", given.momentum, 0, 1, 0.1)
  self.description = options.describe("BatchNorm", given, known)
  if not given[1] then return self:lazy() end
  self:make(given[1], given.dtype or "f32")
end

function BatchNorm:build(x)
  self:make(options.size_of("nn.BatchNorm", x, 2, 2), options.dtype_of(self.options, x))
end

-- Makes parameters and buffers.
function BatchNorm:make(channels, dtype)
  make(self, "nn.BatchNorm", {channels}, dtype, true)
  self.running_mean = updates.buffer(core.full({channels}, 0, dtype))
  self.running_var = updates.buffer(core.full({channels}, 1, dtype))
end

function BatchNorm:forward(x)
  local mean, var = self.running_mean, self.running_var
  local attributes = options.pick(self.attributes, {"eps", "momentum"})
  attributes.training = self.training
  if not self.training then
    updates.flush()
    return (core.call("batch_norm", x, self.weight, self.bias, mean, var, attributes))
  end
  local y, new_mean, new_var = core.call("batch_norm", x, self.weight, self.bias,
    updates.latest(mean), updates.latest(var), attributes)
  updates.put(mean, new_mean)
  updates.put(var, new_var)
  return y
end

-- The shape of what is normalised, {features} or {{height, width}}, and its axes from the end.
local function normalised(where, value)
  local shape = options.sizes(where, "the normalised shape, [1],", value, 1, {
    [1] = true, [2] = true, [3] = true, [4] = true, text = " or a list of them",
  })
  shape = type(shape) == "table" and shape or {shape}
  local axes = {}
  for i = 1, #shape do axes[i] = i - 1 - #shape end
  return shape, axes
end

-- Normalisation of each sample over its last axes.
local function over_last_axes(class, op, biased)
  local Norm = Module:extend(class)
  local where, known = "nn." .. class, {"eps", "affine", "dtype"}

  function Norm:init(given)
    options.table(where, given, 1, known)
    if given[1] ~= nil then normalised(where, given[1]) end
    begin(self, where, given, true)
    self.description = options.describe(class, given, known)
    if not given[1] then return self:lazy() end
    self:make(given[1], given.dtype or "f32")
  end

  function Norm:build(x)
    self:make(options.size_of(where, x, -1, 1), options.dtype_of(self.options, x))
  end

  -- Makes the parameters.
  function Norm:make(sizes, dtype)
    local shape, axes = normalised(where, sizes)
    self.attributes.axes = axes
    make(self, where, shape, dtype, biased)
  end

  function Norm:forward(x)
    if not biased then return core.call(op, x, self.weight, self.attributes) end
    return core.call(op, x, self.weight, self.bias, self.attributes)
  end

  return Norm
end

-- Normalisation of each sample over channels; GroupNorm {groups, channels} has groups of them.
local function over_channels(class, op, grouped)
  local Norm = Module:extend(class)
  local where, known = "nn." .. class, {"eps", "affine", "dtype"}

  function Norm:init(given)
    options.table(where, given, grouped and 2 or 1, known)
    if grouped then check.integer(where, "the number of groups, [1],", given[1], 1) end
    local channels = given[grouped and 2 or 1]
    if channels ~= nil then
      check.integer(where, ("the number of channels, [%d],"):format(grouped and 2 or 1),
        channels, 1)
    end
    begin(self, where, given, grouped)
    self.attributes.groups = grouped and given[1] or nil
    self.description = options.describe(class, given, known)
    if not channels then return self:lazy() end
    self:make(channels, given.dtype or "f32")
  end

  function Norm:build(x)
    self:make(options.size_of(where, x, 2, 2), options.dtype_of(self.options, x))
  end

  -- Makes the parameters.
  function Norm:make(channels, dtype)
    local groups = self.attributes.groups
    if groups and channels % groups ~= 0 then
      core.error(("%s: there are %d groups, expected a divisor of %d channels"):format(where,
        groups, channels))
    end
    make(self, where, {channels}, dtype, true)
  end

  function Norm:forward(x)
    return core.call(op, x, self.weight, self.bias, self.attributes)
  end

  return Norm
end

return {
  BatchNorm = BatchNorm,
  ---Over the last axes: LayerNorm {features} or {{height, width}} (Ba, Kiros and Hinton, 2016).
  ---@type fun(options: moonwalk.NormOptions): moonwalk.Norm
  LayerNorm = over_last_axes("LayerNorm", "layer_norm", true),
  ---The same without subtracting the mean, and without bias (Zhang and Sennrich, 2019).
  ---@type fun(options: moonwalk.NormOptions): moonwalk.Norm
  RMSNorm = over_last_axes("RMSNorm", "rms_norm", false),
  ---Over groups of channels of each sample: GroupNorm {groups, channels} (Wu and He, 2018).
  ---@type fun(options: moonwalk.NormOptions): moonwalk.Norm
  GroupNorm = over_channels("GroupNorm", "group_norm", true),
  ---Over each channel of each sample: InstanceNorm {channels} (Ulyanov et al., 2016).
  ---@type fun(options: moonwalk.NormOptions): moonwalk.Norm
  InstanceNorm = over_channels("InstanceNorm", "instance_norm", false),
}
