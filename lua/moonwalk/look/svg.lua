-- svg.lua: drawings as SVG, element by element.
--
--   local d = svg.new(200, 100)
--   d:line(0, 50, 200, 50, {stroke = "#222"})
--   d:text(100, 40, "a < b", {["text-anchor"] = "middle"})
--   io.write(d:finish())

local svg = {}

---@class moonwalk.Svg
---@field parts string[]
local Svg = {}
Svg.__index = Svg

-- What XML cannot have is left out.
local function escaped(text)
  text = text:gsub("[&<>\"]", {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;"})
  text = text:gsub("[\0-\8\11\12\14-\31]", "")
  return utf8.len(text) and text or (text:gsub("[\x80-\xff]", "?"))
end

-- A number in hundredths of a pixel.
local function number(x)
  local text = ("%.2f"):format(x):gsub("%.?0+$", "")
  return text == "-0" and "0" or text
end

---@alias moonwalk.SvgAttributes table<string, string|number>

-- The attributes as text, in order of their names.
local function attributes(list)
  local parts = {}
  for name, value in pairs(list or {}) do
    parts[#parts + 1] = (' %s="%s"'):format(name,
      type(value) == "number" and number(value) or escaped(value))
  end
  table.sort(parts)
  return table.concat(parts)
end

---A drawing on white.
---@param width number pixels
---@param height number
---@return moonwalk.Svg
function svg.new(width, height)
  local w, h = number(width), number(height)
  return setmetatable({parts = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %s %s" '
      .. 'font-family="sans-serif" font-size="12" fill="#222">'):format(w, h, w, h),
    ('<rect width="%s" height="%s" fill="#fff"/>'):format(w, h),
  }}, Svg)
end

---@param x1 number
---@param y1 number
---@param x2 number
---@param y2 number
---@param more moonwalk.SvgAttributes?
function Svg:line(x1, y1, x2, y2, more)
  self.parts[#self.parts + 1] = ('<line x1="%s" y1="%s" x2="%s" y2="%s"%s/>'):format(number(x1),
    number(y1), number(x2), number(y2), attributes(more))
end

---@param points number[] x and y by turns
---@param more moonwalk.SvgAttributes?
function Svg:polyline(points, more)
  local parts = {}
  for i = 1, #points, 2 do
    parts[#parts + 1] = ("%s,%s"):format(number(points[i]), number(points[i + 1]))
  end
  self.parts[#self.parts + 1] = ('<polyline points="%s" fill="none"%s/>'):format(
    table.concat(parts, " "), attributes(more))
end

---@param x number
---@param y number
---@param width number
---@param height number
---@param more moonwalk.SvgAttributes?
function Svg:rect(x, y, width, height, more)
  self.parts[#self.parts + 1] = ('<rect x="%s" y="%s" width="%s" height="%s"%s/>'):format(number(x),
    number(y), number(width), number(height), attributes(more))
end

---@param x number
---@param y number
---@param radius number
---@param more moonwalk.SvgAttributes?
function Svg:circle(x, y, radius, more)
  self.parts[#self.parts + 1] = ('<circle cx="%s" cy="%s" r="%s"%s/>'):format(number(x), number(y),
    number(radius), attributes(more))
end

---@param x number
---@param y number
---@param text string
---@param more moonwalk.SvgAttributes?
function Svg:text(x, y, text, more)
  self.parts[#self.parts + 1] = ('<text x="%s" y="%s"%s>%s</text>'):format(number(x), number(y),
    attributes(more), escaped(text))
end

---Makes a rectangle that others may be cut off at: by {["clip-path"] = "url(#NAME)"}.
---@param name string
---@param x number
---@param y number
---@param width number
---@param height number
function Svg:clip(name, x, y, width, height)
  self.parts[#self.parts + 1] = ('<clipPath id="%s"><rect x="%s" y="%s" width="%s" height="%s"/>'
    .. "</clipPath>"):format(escaped(name), number(x), number(y), number(width), number(height))
end

---The drawing's text.
---@return string
function Svg:finish() return table.concat(self.parts, "\n") .. "\n</svg>\n" end

return svg
