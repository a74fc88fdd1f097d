-- pool.lua: plain formulas of pooling.
local nd = require "plain.nd"

local pool = {}

-- An entry of a list in which one number stands for all.
local function entry(list, k) return list[#list == 1 and 1 or k] end

-- The windows of one axis as lists of cells, counted from 1, and what is beyond the image too.
-- PyTorch's rules: a last window that hangs over counts with ceil_mode, unless it starts in the
-- padding.
local function windows_of(size, attrs, k)
  local kernel = entry(attrs.kernel, k)
  local stride = #attrs.stride > 0 and entry(attrs.stride, k) or kernel
  local padding = entry(attrs.padding, k)
  local dilation = attrs.dilation and entry(attrs.dilation, k) or 1
  local windows, start = {}, 1 - padding
  while true do
    local cells = {padded = 0}
    for p = 0, kernel - 1 do
      cells[p + 1] = start + p * dilation
      if cells[p + 1] <= size + padding then cells.padded = cells.padded + 1 end
    end
    local hangs = cells[kernel] > size + padding
    if hangs and (not attrs.ceil_mode or start > size or cells[1] > size + padding) then break end
    windows[#windows + 1] = cells
    start = start + stride
    if hangs then break end
  end
  return windows
end

-- Inside the image, the indices of the cells that the windows at `index` have in common.
local function cells_of(windows, x, index)
  local cells = {{index[1], index[2]}}
  for k, of_axis in ipairs(windows) do
    local longer = {}
    for _, cell in ipairs(cells) do
      for _, at in ipairs(of_axis[index[k + 2]]) do
        if at >= 1 and at <= x.shape[k + 2] then
          local new = table.move(cell, 1, #cell, 1, {})
          new[#new + 1] = at
          longer[#longer + 1] = new
        end
      end
    end
    cells = longer
  end
  return cells
end

-- The index of the largest element among cells: of equals the first, and NaN before all.
local function largest(x, cells)
  local best
  for _, cell in ipairs(cells) do
    local v, b = nd.get(x, cell), best and nd.get(x, best)
    if not best or (b == b and (v > b or v ~= v)) then best = cell end
  end
  return best
end

-- f(cells, padded cells) for each window of each channel.
local function pooled(x, windows, f)
  local shape = {x.shape[1], x.shape[2]}
  for k, of_axis in ipairs(windows) do shape[k + 2] = #of_axis end
  return nd.build(shape, function(index)
    local padded = 1
    for k, of_axis in ipairs(windows) do padded = padded * (of_axis[index[k + 2]].padded or 1) end
    return f(cells_of(windows, x, index), padded, index)
  end)
end

local function all_windows(x, attrs)
  local windows = {}
  for k = 1, #x.shape - 2 do windows[k] = windows_of(x.shape[k + 2], attrs, k) end
  return windows
end

local function max_of(x)
  return function(cells)
    local best = largest(x, cells)
    return best and nd.get(x, best) or -math.huge
  end
end

local function mean_of(x, count_include_pad)
  return function(cells, padded)
    local sum = 0
    for _, cell in ipairs(cells) do sum = sum + nd.get(x, cell) end
    return sum / (count_include_pad and padded or #cells)
  end
end

function pool.maxpool(args, attrs)
  return pooled(args[1], all_windows(args[1], attrs), max_of(args[1]))
end

function pool.meanpool(args, attrs)
  return pooled(args[1], all_windows(args[1], attrs), mean_of(args[1], attrs.count_include_pad))
end

pool.maxpool1d = pool.maxpool
pool.meanpool1d = pool.meanpool

local function take(x, v, windows)
  return pooled(x, windows, function(cells)
    local best = largest(x, cells)
    return best and nd.get(v, best) or 0
  end)
end

local function place(x, v, windows)
  local y = nd.full(x.shape)
  pooled(x, windows, function(cells, _, index)
    local best = largest(x, cells)
    if best then nd.set(y, best, nd.get(y, best) + nd.get(v, index)) end
    return 0
  end)
  return y
end

function pool.maxpool_take(args, attrs)
  return take(args[1], args[2], all_windows(args[1], attrs))
end

function pool.maxpool_place(args, attrs)
  return place(args[1], args[2], all_windows(args[1], attrs))
end

local function adaptive_windows(x, attrs)
  local windows = {}
  for k = 1, #x.shape - 2 do
    local size, side = entry(attrs.size, k), x.shape[k + 2]
    windows[k] = {}
    for i = 0, size - 1 do
      local cells = {}
      for at = math.floor(i * side / size), math.ceil((i + 1) * side / size) - 1 do
        cells[#cells + 1] = at + 1
      end
      windows[k][i + 1] = cells
    end
  end
  return windows
end

function pool.adaptive_maxpool(args, attrs)
  return pooled(args[1], adaptive_windows(args[1], attrs), max_of(args[1]))
end

function pool.adaptive_meanpool(args, attrs)
  return pooled(args[1], adaptive_windows(args[1], attrs), mean_of(args[1], false))
end

function pool.adaptive_maxpool_take(args, attrs)
  return take(args[1], args[2], adaptive_windows(args[1], attrs))
end

function pool.adaptive_maxpool_place(args, attrs)
  return place(args[1], args[2], adaptive_windows(args[1], attrs))
end

local function over_all(f)
  return function(args, attrs)
    local set = {}
    for k = 3, #args[1].shape do set[k] = true end
    return nd.reduce(args[1], set, attrs.keepdims, f)
  end
end

pool.global_maxpool = over_all(function(list) return math.max(table.unpack(list)) end)
pool.global_meanpool = over_all(function(list)
  local sum = 0
  for _, v in ipairs(list) do sum = sum + v end
  return sum / #list
end)

return pool
