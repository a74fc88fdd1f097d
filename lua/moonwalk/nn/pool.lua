-- pool.lua: MaxPool and MeanPool: the largest value, or the mean, of each window.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

-- A class of layers that apply a pooling op; known lists what it takes besides its window.
local function pooling(class, op, known)
  local Pool = Module:extend(class)
  local where = "nn." .. class

  function Pool:init(given)
    options.table(where, given, 1, known)
    if given[1] ~= nil and given.kernel ~= nil then
      core.error(where .. ": the window is given twice, as [1] and as kernel")
    end
    local kernel = given[1]
    if kernel == nil then kernel = given.kernel end
    options.sizes(where, "the window, [1],", kernel, 1, options.PAIR)
    options.sizes(where, "stride", given.stride, 1, options.PAIR, 1)
    options.sizes(where, "padding", given.padding, 0, options.EDGES, 0)
    options.sizes(where, "dilation", given.dilation, 1, options.PAIR, 1)
    check.boolean(where, "ceil_mode", given.ceil_mode, false)
    check.boolean(where, "count_include_pad", given.count_include_pad, true)
    self.attributes = options.pick(given, known)
    self.attributes.kernel = kernel
    self.description = options.describe(class, given, known)
  end

  function Pool:forward(x)
    return core.call(op, x, self.attributes)
  end

  return Pool
end

---@class moonwalk.PoolOptions
---@field [1] integer|integer[] the window, a number or {height, width}
---@field stride integer|integer[]? the window's size
---@field padding integer|integer[]? 0
---@field dilation integer|integer[]? 1; MaxPool only
---@field ceil_mode boolean? false; whether a window that the edge cuts counts
---@field count_include_pad boolean? true; MeanPool only: whether padding counts in the mean

return {
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MaxPool = pooling("MaxPool", "maxpool", {"kernel", "stride", "padding", "dilation", "ceil_mode"}),
  ---@type fun(options: moonwalk.PoolOptions): moonwalk.Module
  MeanPool = pooling("MeanPool", "meanpool",
    {"kernel", "stride", "padding", "ceil_mode", "count_include_pad"}),
}
