-- grid.lua: the pictures that a tensor holds, and how they are laid out side by side.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local grid = {}

local SMALL = 16 -- pixels up to which pictures are enlarged of themselves
local THIN = 8 -- pixels that a side keeps, however long the other one is

-- ---- pictures ---------------------------------------------------------------------------------

---@class moonwalk.Pictures
---@field tensor moonwalk.Tensor
---@field count integer
---@field height integer
---@field width integer
---@field channels 1|3
---@field across integer?  pictures that belong in a row: the channels of a sample or a filter
---@field margin integer  pixels that are left out on all sides

local EXPECTED = "pictures: a tensor [h,w], [1,h,w], [3,h,w], [n,h,w] or [n,c,h,w]"

-- What to do with something that is no tensor of pictures.
local function repair(t)
  if not core.is_tensor(t) then
    if require("moonwalk.nn.module").is(t) then
      return "; of a network, its weights can be shown, such as net.conv1.weight or net[1].weight"
    elseif type(t) == "table" and core.is_tensor(t.x) then
      return "; the tensor x of it may be some"
    end
    return type(t) == "table" and "; mw.tensor(t) makes a tensor of numbers" or ""
  elseif t.rank > 4 then
    return "; an index takes one of the first axis: t[1]"
  elseif t.rank == 1 then
    local side = math.tointeger((#t) ^ 0.5)
    if side and side > 3 then
      return ("; t:reshape {%d, %d} makes one of it, plot(t) draws a curve"):format(side, side)
    end
    return "; plot(t) draws a curve"
  end
  return ""
end

---The pictures of a tensor.
---@param where string  the function that the user called
---@param t moonwalk.Tensor
---@param margin integer?
---@return moonwalk.Pictures
function grid.pictures(where, t, margin)
  local rank = core.is_tensor(t) and t.rank
  if not rank or rank < 2 or rank > 4 then check.fail(where, "t", t, EXPECTED .. repair(t)) end
  local shape = t.shape
  for _, length in ipairs(shape) do
    if length == 0 then core.error(("%s: %s has no pixels"):format(where, core.spec(t))) end
  end
  local height, width = shape[rank - 1], shape[rank]
  local n, c = rank == 4 and shape[1] or 1, rank > 2 and shape[rank - 2] or 1
  local channels = c == 3 and 3 or 1
  margin = margin or 0
  return {
    tensor = t, count = n * c // channels, margin = margin, channels = channels,
    height = height - 2 * margin, width = width - 2 * margin,
    across = rank == 4 and c // channels > 1 and c or nil,
  }
end

-- Where a picture lies in the tensor, as core.picture takes it.
local function place_of(pictures, i)
  local stride = pictures.width + 2 * pictures.margin
  local plane = stride * (pictures.height + 2 * pictures.margin)
  return {
    first = (i - 1) * pictures.channels * plane + pictures.margin * (stride + 1), plane = plane,
    stride = stride, height = pictures.height, width = pictures.width,
    channels = pictures.channels,
  }
end

-- What is black and what is white in a picture; range as show() takes it.
local function bounds(pictures, range, place)
  local t = pictures.tensor
  if type(range) == "table" then return range[1], range[2] end
  if not range and t.dtype == "u8" then return 0, 255 end
  if not range and t.dtype == "bool" then return 0, 1 end
  local first, count = place.first, pictures.channels * place.plane
  if range == "all" then first, count = 0, nil
  elseif pictures.margin > 0 then first = first - pictures.margin * (place.stride + 1) end
  local facts = core.summary(t, first, count)
  return facts.min or 0, facts.max or 0
end

---@class moonwalk.Picture
---@field width integer
---@field height integer
---@field rgb string  three bytes a pixel
---@field marks string?  a byte a pixel, 1 where it is no number

---A picture of a tensor in a size, in its colours: between two numbers, or from its least to its
---largest value, or the tensor's with "all".
---@param pictures moonwalk.Pictures
---@param i integer
---@param width integer
---@param height integer
---@param range number[]|"all"|nil
---@return moonwalk.Picture
function grid.picture(pictures, i, width, height, range)
  local place = place_of(pictures, i)
  local low, high = bounds(pictures, range, place)
  local rgb, marks = core.picture(pictures.tensor, place, height, width, low, high)
  return {width = width, height = height, rgb = rgb, marks = marks}
end

-- ---- where they go ----------------------------------------------------------------------------

---@class moonwalk.Area
---@field columns integer  dots, side by side
---@field rows integer  lines, each of two dots
---@field gap integer  columns between pictures; there is a line between rows of them
---@field halves boolean  a line shows its two dots; else their mean
---@field captions boolean  a line below each picture
---@field least integer  dots to which pictures are reduced for more of them to fit
---@field scale integer?  by which they are enlarged, and not reduced for more to fit
---@field across integer?  pictures in a row

---@class moonwalk.Arrangement
---@field width integer  dots of a picture
---@field height integer
---@field across integer  pictures in a row
---@field down integer  rows
---@field shown integer  pictures
---@field at fun(row: integer, column: integer): integer?  which picture stands there

-- The size of a picture whose longer side has so many dots.
local function size_of(pictures, longer)
  local share = longer / math.max(pictures.width, pictures.height)
  local function side(length)
    return math.max(math.floor(length * share + 0.5), math.min(length, THIN), 1)
  end
  return side(pictures.width), side(pictures.height)
end

local function lines_of(area, height)
  return (height + 1) // 2 + (area.captions and 1 or 0)
end

-- How many rows of how many pictures of a size are needed and fit.
local function fit(pictures, area, width, height)
  local room = (area.columns + area.gap) // (width + area.gap)
  local rows = (area.rows + 1) // (lines_of(area, height) + 1)
  local across = area.across or pictures.across or math.min(math.max(room, 1), pictures.count)
  local down = math.ceil(pictures.count / across)
  if not area.across and not pictures.across then across = math.ceil(pictures.count / down) end
  return across, down, room, rows
end

-- All pictures, or as many as fit where these are the smallest.
local function settle(pictures, area, width, height)
  local all, down, room, rows = fit(pictures, area, width, height)
  local across = math.max(math.min(all, room), 1)
  local is_list = not pictures.across or area.across
  if is_list then down = math.ceil(pictures.count / across) end
  down = math.max(math.min(down, rows), 1)
  local function at(row, column)
    local i = (row - 1) * (is_list and across or all) + column
    return i <= pictures.count and i or nil
  end
  local shown = 0
  for row = 1, down do
    for column = 1, across do shown = shown + (at(row, column) and 1 or 0) end
  end
  return {width = width, height = height, across = across, down = down, shown = shown, at = at}
end

-- The longer sides to try, the largest first.
local function sides(pictures, area)
  local longer, list = math.max(pictures.width, pictures.height), {}
  if area.scale then
    list[1] = longer * area.scale
  else
    for scale = SMALL // longer, 2, -1 do
      if area.halves or scale % 2 == 0 then list[#list + 1] = longer * scale end
    end
    list[#list + 1] = longer
  end
  for side = math.min(list[#list] - 1, math.max(area.columns, 2 * area.rows)), 1, -1 do
    list[#list + 1] = side
  end
  return list
end

---Lays pictures out: as large as all of them fit. Where they would become too small, some are left
---out.
---@param pictures moonwalk.Pictures
---@param area moonwalk.Area
---@return moonwalk.Arrangement
function grid.arrange(pictures, area)
  local least = math.min(area.least, math.max(pictures.width, pictures.height))
  local width, height
  for _, side in ipairs(sides(pictures, area)) do
    width, height = size_of(pictures, side)
    local across, down, room, rows = fit(pictures, area, width, height)
    if across <= room and down <= rows then break end
    local alone = room >= (area.across or 1) and rows >= 1
    if alone and (area.scale or side <= least) then break end
  end
  return settle(pictures, area, width, height)
end

return grid
