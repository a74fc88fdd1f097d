-- conv.lua: Conv1d to Conv3d, ConvTranspose1d and 2d: convolutions with trained filters.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---@class moonwalk.Conv: moonwalk.Module
---@field weight moonwalk.Tensor [out, in/groups, ...]; of ConvTranspose [in, out/groups, ...]
---@field bias moonwalk.Tensor? [out]

-- With one number without a name the channels of the input are those of the first one.
-- Sizes may be one number or, for images, {height, width}; for volumes {depth, height, width}.
---@class moonwalk.ConvOptions
---@field [1] integer channels of the input; may be left out
---@field [2] integer channels of the output: the number of filters
---@field kernel integer|integer[] size of a filter
---@field stride integer|integer[]? 1
---@field padding integer|integer[]? 0; also for each edge: {top, left, bottom, right}
---@field output_padding integer|integer[]? 0; ConvTranspose only
---@field dilation integer|integer[]? 1
---@field groups integer? 1
---@field bias boolean? true
---@field init moonwalk.Initialiser|string? of the filters, nn.init.he(); the bias begins at 0
---@field dtype string? "f32"; of the first input where its channels are left out

-- A class of layers that apply an op to images of `rank` axes. further lists attributes besides the
-- usual ones; transposed filters are [in, out/groups, ...].
local function convolution(class, op, rank, further, transposed)
  local Conv = Module:extend(class)
  local where = "nn." .. class
  local attributes = {"stride", "padding", "dilation", "groups"}
  table.move(further, 1, #further, #attributes + 1, attributes)
  local known = {"kernel"}
  table.move(attributes, 1, #attributes, 2, known)
  table.move({"bias", "init", "dtype"}, 1, 3, #known + 1, known)
  local sizes, edges = options.SIZES[rank], options.EDGES[rank]

  function Conv:init(given)
    options.table(where, given, 2, known)
    options.open(where, given, 2, "the number of input channels", "the number of filters")
    options.sizes(where, "kernel", given.kernel, 1, sizes)
    options.sizes(where, "stride", given.stride, 1, sizes, 1)
    options.sizes(where, "padding", given.padding, 0, edges, 0)
    options.sizes(where, "dilation", given.dilation, 1, sizes, 1)
    options.sizes(where, "output_padding", given.output_padding, 0, sizes, 0)
    check.integer(where, "groups", given.groups, 1, 1)
    check.boolean(where, "bias", given.bias, true)
    options.dtype(where, given)
    self.options = options.copy(given)
    self.initialiser = init.check(where, given.init, init.he())
    self.applied = core.prepare(op, options.pick(given, attributes))
    self.description = options.describe(class, given, known)
    if not given[2] then return self:lazy() end
    self:make(given[1], given.dtype or "f32")
  end

  function Conv:build(x)
    self:make(options.size_of(where, x, 2, 2), options.dtype_of(self.options, x))
  end

  -- Makes the parameters.
  function Conv:make(channels, dtype)
    local given = self.options
    local filters, groups = given[2] or given[1], given.groups or 1
    if channels % groups ~= 0 or filters % groups ~= 0 then
      core.error(("%s: groups is %d, expected a divisor of both %d channels and %d filters")
        :format(where, groups, channels, filters))
    end
    local shape = {filters, channels // groups,
      table.unpack(options.spread(given.kernel, rank))}
    if transposed then shape[1], shape[2] = channels, filters // groups end
    local area = 1
    for axis = 3, #shape do area = area * shape[axis] end
    self.weight = init.parameter(where, self.initialiser, shape, dtype,
      channels // groups * area, filters // groups * area)
    if given.bias ~= false then self.bias = core.param(core.full({filters}, 0, dtype)) end
  end

  Conv.forward = Module.applying("weight", "bias")

  return Conv
end

return {
  ---Signals: x is [n, channels, length].
  ---@type fun(options: moonwalk.ConvOptions): moonwalk.Conv
  Conv1d = convolution("Conv1d", "conv1d", 1, {}),
  ---Images: x is [n, channels, height, width].
  ---@type fun(options: moonwalk.ConvOptions): moonwalk.Conv
  Conv2d = convolution("Conv2d", "conv2d", 2, {}),
  ---Volumes: x is [n, channels, depth, height, width].
  ---@type fun(options: moonwalk.ConvOptions): moonwalk.Conv
  Conv3d = convolution("Conv3d", "conv3d", 3, {}),
  ---The gradient of Conv1d as a layer, which makes signals longer.
  ---@type fun(options: moonwalk.ConvOptions): moonwalk.Conv
  ConvTranspose1d = convolution("ConvTranspose1d", "conv_transpose1d", 1, {"output_padding"}, true),
  ---The gradient of Conv2d as a layer, which makes images larger.
  ---@type fun(options: moonwalk.ConvOptions): moonwalk.Conv
  ConvTranspose2d = convolution("ConvTranspose2d", "conv_transpose2d", 2, {"output_padding"}, true),
}
