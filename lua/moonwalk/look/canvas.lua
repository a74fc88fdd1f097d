-- canvas.lua: dots and lines on a grid of characters. A pen without a mark draws in braille, eight
-- dots to a character; one with a mark puts that into each character that it touches.
--
--   local c = canvas.new(40, 10)
--   c:line({style = "cyan"}, 0, 0, 1, 1)      -- from the lower left corner to the upper right one
--   print(table.concat(c:lines(), "\n"))
--
-- Positions are shares of the width and the height, from 0 to 1. With dots W wide, a share u is in
-- dot floor(u (W - 1) + 1/2), from 0: the first and the last dot are the ends of a scale.

local screen = require "moonwalk.look.screen"

---@class moonwalk.Pen
---@field mark string?  one character
---@field style string?  as screen.paint takes it

---@class moonwalk.Canvas
---@field columns integer
---@field rows integer
local Canvas = {}
Canvas.__index = Canvas

local canvas = {}

---An empty canvas.
---@param columns integer
---@param rows integer
---@return moonwalk.Canvas
function canvas.new(columns, rows)
  return setmetatable({
    columns = columns, rows = rows,
    dots = {}, marks = {}, styles = {}, -- by character, from the upper left one, from 0
  }, Canvas)
end

---How many dots a pen has.
---@param pen moonwalk.Pen
---@return integer across
---@return integer down
function Canvas:size(pen)
  if pen.mark then return self.columns, self.rows end
  return 2 * self.columns, 4 * self.rows
end

-- The bits of a character's dots in the code points from U+2800 on, by row and column.
local BITS = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

---Sets a dot, counted from 0 and from the lower left corner. Outside there is nothing to set.
---@param pen moonwalk.Pen
---@param x integer
---@param y integer
function Canvas:dot(pen, x, y)
  local across, down = self:size(pen)
  if x < 0 or x >= across or y < 0 or y >= down then return end
  y = down - 1 - y
  if pen.mark then
    local cell = y * self.columns + x
    self.marks[cell], self.styles[cell] = pen.mark, pen.style
    return
  end
  local cell = (y // 4) * self.columns + x // 2
  self.dots[cell] = (self.dots[cell] or 0) | BITS[y % 4 + 1][x % 2 + 1]
  if not self.marks[cell] then self.styles[cell] = pen.style end
end

local function nearest(share, dots) return math.floor(share * (dots - 1) + 0.5) end

---Sets the dot at a place.
---@param pen moonwalk.Pen
---@param u number  share of the width, from the left
---@param v number  share of the height, from below
function Canvas:point(pen, u, v)
  local across, down = self:size(pen)
  self:dot(pen, nearest(u, across), nearest(v, down))
end

-- The part of a line that is within the canvas, by Liang and Barsky; nil when there is none.
local function clip(u0, v0, u1, v1)
  local du, dv, from, to = u1 - u0, v1 - v0, 0, 1
  for _, edge in ipairs {{-du, u0}, {du, 1 - u0}, {-dv, v0}, {dv, 1 - v0}} do
    local slope, room = edge[1], edge[2]
    if slope == 0 then
      if room < 0 then return nil end
    elseif slope < 0 then from = math.max(from, room / slope)
    else to = math.min(to, room / slope) end
  end
  if from > to then return nil end
  if from > 0 or to < 1 then
    return u0 + from * du, v0 + from * dv, u0 + to * du, v0 + to * dv
  end
  return u0, v0, u1, v1
end

---Draws a line between two places: a dot in each column of dots, or in each row if it is steep.
---What is outside is left out.
---@param pen moonwalk.Pen
---@param u0 number
---@param v0 number
---@param u1 number
---@param v1 number
function Canvas:line(pen, u0, v0, u1, v1)
  u0, v0, u1, v1 = clip(u0, v0, u1, v1)
  if not u0 then return end
  local across, down = self:size(pen)
  local x0, y0, x1, y1 = nearest(u0, across), nearest(v0, down), nearest(u1, across),
    nearest(v1, down)
  local dx, dy = x1 - x0, y1 - y0
  local n = math.max(math.abs(dx), math.abs(dy))
  self:dot(pen, x0, y0)
  for i = 1, n do
    self:dot(pen, x0 + (2 * dx * i + n) // (2 * n), y0 + (2 * dy * i + n) // (2 * n))
  end
end

---The rows, from the upper one, without blanks at their ends.
---@return string[]
function Canvas:lines()
  local lines = {}
  for row = 0, self.rows - 1 do
    local parts, run, style = {}, {}, nil
    local function flush()
      if #run == 0 then return end
      local text = table.concat(run)
      parts[#parts + 1] = style and screen.paint(text, style) or text
      run = {}
    end
    local last = -1
    for column = 0, self.columns - 1 do
      local cell = row * self.columns + column
      local bits = self.dots[cell]
      local text = self.marks[cell] or bits and utf8.char(0x2800 + bits)
      if text then
        if column > last + 1 then
          flush()
          parts[#parts + 1] = (" "):rep(column - last - 1)
        end
        if self.styles[cell] ~= style then flush() end
        style, last = self.styles[cell], column
        run[#run + 1] = text
      end
    end
    flush()
    lines[row + 1] = table.concat(parts)
  end
  return lines
end

return canvas
