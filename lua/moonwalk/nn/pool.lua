-- pool.lua: layers that make images smaller or larger: pooling, and upsampling.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

-- A class of layers that apply a pooling op to images of `rank` axes; known lists what it takes
-- besides its window.
local function pooling(class, op, rank, known)
  local Pool = Module:extend(class)
  local where = "nn." .. class
  local sizes, edges = options.SIZES[rank], options.EDGES[rank]

  function Pool:init(given)
    options.table(where, given, 1, known)
    local kernel = options.first(where, given, "kernel")
    options.sizes(where, "the window, [1],", kernel, 1, sizes)
    options.sizes(where, "stride", given.stride, 1, sizes, 1)
    options.sizes(where, "padding", given.padding, 0, edges, 0)
    options.sizes(where, "dilation", given.dilation, 1, sizes, 1)
    check.boolean(where, "ceil_mode", given.ceil_mode, false)
    check.boolean(where, "count_include_pad", given.count_include_pad, true)
    local attributes = options.pick(given, known)
    attributes.kernel = kernel
    self.applied = core.prepare(op, attributes)
    self.description = options.describe(class, given, known)
  end

  Pool.forward = Module.applying()

  return Pool
end

-- A class of layers that make one number of each channel's whole image.
local function global_pooling(class, op)
  local Pool = Module:extend(class)

  function Pool:init(given)
    options.table("nn." .. class, given, 0, {})
    self.applied = core.prepare(op)
  end

  Pool.forward = Module.applying()

  return Pool
end

-- A class of layers that make images of one size, by as many windows.
local function adaptive_pooling(class, op)
  local Pool = Module:extend(class)
  local where, known = "nn." .. class, {"size"}

  function Pool:init(given)
    options.table(where, given, 1, known)
    local size = options.first(where, given, "size")
    options.sizes(where, "size", size, 1, options.SIZES[2])
    self.applied = core.prepare(op, {size = size})
    self.description = options.describe(class, given, known)
  end

  Pool.forward = Module.applying()

  return Pool
end

local Upsample = Module:extend "Upsample"

function Upsample:init(given)
  local where, known = "nn.Upsample", {"scale", "size", "mode", "align_corners"}
  options.table(where, given, 0, known)
  if (given.scale == nil) == (given.size == nil) then
    core.error(("%s: %s; it takes either, such as {scale = 2}"):format(where,
      given.scale and "both scale and size are given" or "neither scale nor size is given"))
  end
  for _, name in ipairs {"scale", "size"} do
    options.sizes(where, name, given[name], 1, options.SIZES[2], 1)
  end
  check.choice(where, "mode", given.mode, {"nearest", "bilinear"}, "nearest")
  check.boolean(where, "align_corners", given.align_corners, false)
  self.applied = core.prepare("upsample", options.pick(given, known))
  self.description = options.describe("Upsample", given, known)
end

Upsample.forward = Module.applying()

---@class moonwalk.PoolOptions
---@field [1] integer|integer[] the window, a number or {height, width}
---@field stride integer|integer[]? the window's size
---@field padding integer|integer[]? 0
---@field dilation integer|integer[]? 1; MaxPool only
---@field ceil_mode boolean? false; whether a window that the edge cuts counts
---@field count_include_pad boolean? true; MeanPool only: whether padding counts in the mean
local MAX = {"kernel", "stride", "padding", "dilation", "ceil_mode"}
local MEAN = {"kernel", "stride", "padding", "ceil_mode", "count_include_pad"}

return {
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MaxPool = pooling("MaxPool", "maxpool", 2, MAX),
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MeanPool = pooling("MeanPool", "meanpool", 2, MEAN),
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MaxPool1d = pooling("MaxPool1d", "maxpool1d", 1, MAX),
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MeanPool1d = pooling("MeanPool1d", "meanpool1d", 1, MEAN),
  ---The mean of each channel's whole image.
  ---@type fun(options: {}): moonwalk.Module
  GlobalMeanPool = global_pooling("GlobalMeanPool", "global_meanpool"),
  ---@type fun(options: {}): moonwalk.Module
  GlobalMaxPool = global_pooling("GlobalMaxPool", "global_maxpool"),
  ---The means of as many windows as make images of a size: AdaptiveMeanPool {7} or {{7, 5}}.
  ---@type fun(options: {size: integer|integer[]}): moonwalk.Module
  AdaptiveMeanPool = adaptive_pooling("AdaptiveMeanPool", "adaptive_meanpool"),
  ---@type fun(options: {size: integer|integer[]}): moonwalk.Module
  AdaptiveMaxPool = adaptive_pooling("AdaptiveMaxPool", "adaptive_maxpool"),
  ---Larger images, by a factor or to a size: Upsample {scale = 2, mode = "nearest"}.
  ---@type fun(options: table): moonwalk.Module
  Upsample = Upsample,
}
