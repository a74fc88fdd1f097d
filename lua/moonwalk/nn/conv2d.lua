-- conv2d.lua: Conv2d, a convolution with trained filters.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---@class moonwalk.Conv2d: moonwalk.Module
---@field weight moonwalk.Tensor [out, in/groups, kernel height, kernel width]
---@field bias moonwalk.Tensor? [out]
---@overload fun(options: moonwalk.Conv2dOptions): moonwalk.Conv2d
local Conv2d = Module:extend "Conv2d"

---@class moonwalk.Conv2dOptions
---@field [1] integer channels of the input
---@field [2] integer channels of the output: the number of filters
---@field kernel integer|integer[] size of a filter, a number or {height, width}
---@field stride integer|integer[]? 1
---@field padding integer|integer[]? 0; a number, {height, width} or {top, left, bottom, right}
---@field dilation integer|integer[]? 1
---@field groups integer? 1
---@field bias boolean? true
---@field init moonwalk.Initialiser? of the filters, nn.init.he(); the bias begins at 0
---@field dtype string? "f32"
local KNOWN = {"kernel", "stride", "padding", "dilation", "groups", "bias", "init", "dtype"}
local ATTRIBUTES = {"stride", "padding", "dilation", "groups"}

function Conv2d:init(given)
  local where = "nn.Conv2d"
  options.table(where, given, 2, KNOWN)
  local channels = check.integer(where, "the number of input channels, [1],", given[1], 1)
  local filters = check.integer(where, "the number of filters, [2],", given[2], 1)
  local kernel = options.sizes(where, "kernel", given.kernel, 1, options.PAIR)
  options.sizes(where, "stride", given.stride, 1, options.PAIR, 1)
  options.sizes(where, "padding", given.padding, 0, options.EDGES, 0)
  options.sizes(where, "dilation", given.dilation, 1, options.PAIR, 1)
  local groups = check.integer(where, "groups", given.groups, 1, 1)
  if channels % groups ~= 0 or filters % groups ~= 0 then
    core.error(("%s: groups is %d, expected a divisor of both %d channels and %d filters")
      :format(where, groups, channels, filters))
  end
  local dtype = check.choice(where, "dtype", given.dtype, {"f32", "f64"}, "f32")
  local height, width = options.pair(kernel)
  local area = height * width
  self.weight = init.parameter(where, given.init or init.he(),
    {filters, channels // groups, height, width}, dtype,
    channels // groups * area, filters // groups * area)
  if check.boolean(where, "bias", given.bias, true) then
    self.bias = core.param(core.full({filters}, 0, dtype))
  end
  self.attributes = options.pick(given, ATTRIBUTES)
  self.description = options.describe("Conv2d", given, KNOWN)
end

function Conv2d:forward(x)
  if not self.bias then return core.call("conv2d", x, self.weight, self.attributes) end
  return core.call("conv2d", x, self.weight, self.bias, self.attributes)
end

return Conv2d
