-- chart.lua: two axes around what is drawn between them, as text or as SVG. What is drawn is up to
-- whoever wants a chart: see plot.lua and hist.lua.

local axes = require "moonwalk.look.axes"
local canvas = require "moonwalk.look.canvas"
local screen = require "moonwalk.look.screen"
local svg = require "moonwalk.look.svg"

local chart = {}

---@class moonwalk.Range
---@field low number
---@field high number
---@field log boolean?
---@field whole boolean?  its ticks are whole numbers

---@class moonwalk.Chart
---@field x moonwalk.Range
---@field y moonwalk.Range
---@field draw fun(c: moonwalk.Canvas, x: moonwalk.Axis, y: moonwalk.Axis)
---@field paint fun(d: moonwalk.Svg, x: moonwalk.Axis, y: moonwalk.Axis, area: moonwalk.Area)
---@field title string?
---@field notes string[]?  lines below the title, which may be broken at their commas
---@field xlabel string?
---@field ylabel string?
---@field legend {[1]: string, [2]: moonwalk.Pen, [3]: string}[]?  texts, pens, and colours in SVG
---@field columns (fun(room: integer): integer)?  how many of these columns the canvas takes

-- ---- as text --------------------------------------------------------------------------------

local BOX = {side = "│", tick = "┤", corner = "└", floor = "─", foot = "┬"}
local PLAIN = {side = "|", tick = "+", corner = "+", floor = "-", foot = "+"}

-- The column, from 0, or the row, from the lower one, that has the dot of a tick.
local function cell_of(at, cells, dots)
  return math.floor(at * (cells * dots - 1) + 0.5) // dots
end

-- The line of labels below an axis, and the columns of their ticks; nil where they do not fit.
local function try_labels(axis, columns, utf8)
  local line, ticks, used = {}, {}, -2
  for _, tick in ipairs(axis.ticks) do
    local column, width = cell_of(tick.at, columns, utf8 and 2 or 1), #tick.text
    local start = math.max(math.min(column - (width - 1) // 2, columns - width), 0)
    if start < used + 2 then return nil end
    line[#line + 1] = (" "):rep(start - math.max(used, 0)) .. tick.text
    used = start + width
    ticks[column] = true
  end
  return table.concat(line), ticks
end

-- The axis below the canvas with as many labels as there is room for.
local function lower_axis(range, columns, utf8)
  for most = math.max(columns // 8, 2), 2, -1 do
    local axis = axes.new(range.low, range.high,
      {most = most, log = range.log, whole = range.whole})
    local line, ticks = try_labels(axis, columns, utf8)
    if line then return axis, line, ticks end
  end
  return axes.new(range.low, range.high, {most = 2, log = range.log}), "", {}
end

local function centred(text, width, indent)
  text = screen.cut(text, math.max(width, 1))
  return (" "):rep(indent + (width - screen.width(text)) // 2) .. text
end

-- Texts with commas, broken into lines behind them.
local function wrapped(texts, width)
  local lines = {}
  for _, text in ipairs(texts or {}) do
    local line
    for part in (text .. ", "):gmatch "(.-), " do
      local longer = line and line .. ", " .. part or part
      if line and screen.width(longer) > width then
        lines[#lines + 1] = line .. ","
        longer = part
      end
      line = longer
    end
    lines[#lines + 1] = line
  end
  return lines
end

-- Names behind the marks of their pens, as many as fit into a line.
local function legend_line(legend, width, utf8)
  local parts, used = {}, 0
  for _, item in ipairs(legend) do
    local name, pen = item[1], item[2]
    local sample = pen.mark or (utf8 and "⠤⠤" or "-")
    local room = width - used - screen.width(sample) - 1
    if room < 2 then break end
    name = screen.cut(name, room)
    parts[#parts + 1] = screen.paint(sample, pen.style or "") .. " " .. name
    used = used + screen.width(sample) + 1 + screen.width(name) + 3
  end
  return table.concat(parts, "   ")
end

-- The rows of the canvas behind the labels and the line of the axis at their left.
local function framed(rows, y, width, box, dots)
  local labels, lines = {}, {}
  for _, tick in ipairs(y.ticks) do labels[#rows - cell_of(tick.at, #rows, dots)] = tick.text end
  for i, row in ipairs(rows) do
    local label = labels[i]
    local edge = ("%" .. width .. "s "):format(label or "") .. (label and box.tick or box.side)
    lines[i] = screen.paint(edge, "dim") .. row
  end
  return lines
end

---A chart as lines of text.
---@param c moonwalk.Chart
---@param width integer  columns that it may take
---@param height integer  lines that it may take
---@return string[]
function chart.text(c, width, height)
  local utf8 = screen.utf8()
  local box, legend = utf8 and BOX or PLAIN, c.legend and #c.legend > 0
  local notes = wrapped(c.notes, width - 8)
  local rows = math.max(height - 2 - (c.title and 1 or 0) - #notes - (c.ylabel and 1 or 0)
    - (c.xlabel and 1 or 0) - (legend and 1 or 0), 1)
  local y = axes.new(c.y.low, c.y.high,
    {most = math.max(math.min(rows // 2, 7), 2), log = c.y.log, whole = c.y.whole})
  local label_width = 1
  for _, tick in ipairs(y.ticks) do label_width = math.max(label_width, #tick.text) end
  local columns = math.max(width - label_width - 2, 1)
  if c.columns then columns = c.columns(columns) end
  local x, labels, ticks = lower_axis(c.x, columns, utf8)
  local area = canvas.new(columns, rows)
  c.draw(area, x, y)

  local lines, indent = {}, label_width + 2
  if c.title then
    lines[1] = screen.paint(centred(c.title, columns, indent), "bold")
  end
  for _, note in ipairs(notes) do lines[#lines + 1] = centred(note, columns, indent) end
  if c.ylabel then lines[#lines + 1] = screen.cut(c.ylabel, width) end
  table.move(framed(area:lines(), y, label_width, box, utf8 and 4 or 1), 1, rows, #lines + 1, lines)
  local floor = {}
  for column = 0, columns - 1 do
    floor[column + 1] = ticks[column] and box.foot or box.floor
  end
  lines[#lines + 1] = screen.paint((" "):rep(label_width + 1) .. box.corner .. table.concat(floor),
    "dim")
  lines[#lines + 1] = screen.paint((" "):rep(indent) .. labels, "dim")
  if c.xlabel then lines[#lines + 1] = centred(c.xlabel, columns, indent) end
  if legend then
    lines[#lines + 1] = (" "):rep(indent) .. legend_line(c.legend, columns, utf8)
  end
  return lines
end

---The pens of several series: of different colours, or of different marks where there are none.
---@param count integer
---@return moonwalk.Pen[]
function chart.pens(count)
  local STYLES = {"cyan", "yellow", "magenta", "green", "red", "blue"}
  local MARKS = {"*", "o", "+", "x", "#", "@", "%", "="}
  local pens, plain = {}, screen.colours() == 0
  for i = 1, count do
    local mark
    if not screen.utf8() then mark = MARKS[(i - 1) % #MARKS + 1]
    elseif plain and i > 1 or i > #STYLES then mark = MARKS[i % #MARKS + 1] end
    pens[i] = {mark = mark, style = STYLES[(i - 1) % #STYLES + 1]}
  end
  return pens
end

-- ---- as SVG ---------------------------------------------------------------------------------

---@class moonwalk.Area
---@field left number
---@field top number
---@field width number
---@field height number

local COLOURS = {
  "#1f6fb4", "#d1495b", "#2a7f62", "#b5651d", "#7b4ea3", "#00838f", "#8a8a8a", "#222222",
}
local LETTER = 7 -- pixels of a digit, at most, as of a letter on the average

---The colour of a series in SVG.
---@param i integer
---@return string
function chart.colour(i) return COLOURS[(i - 1) % #COLOURS + 1] end

local function draw_axes(d, c, x, y, area)
  local bottom, right = area.top + area.height, area.left + area.width
  for _, tick in ipairs(y.ticks) do
    local at = bottom - tick.at * area.height
    d:line(area.left, at, right, at, {stroke = "#e4e4e4"})
    d:text(area.left - 7, at + 4, tick.text, {["text-anchor"] = "end", fill = "#555"})
  end
  for _, tick in ipairs(x.ticks) do
    local at = area.left + tick.at * area.width
    d:line(at, area.top, at, bottom, {stroke = "#e4e4e4"})
    d:text(at, bottom + 17, tick.text, {["text-anchor"] = "middle", fill = "#555"})
  end
  d:rect(area.left, area.top, area.width, area.height, {fill = "none", stroke = "#888"})
  local middle = area.left + area.width / 2
  if c.title then
    d:text(middle, 22, c.title, {["text-anchor"] = "middle", ["font-size"] = 15,
      ["font-weight"] = "bold"})
  end
  for i, note in ipairs(c.notes or {}) do
    d:text(middle, (c.title and 24 or 6) + 16 * i, note, {["text-anchor"] = "middle"})
  end
  if c.xlabel then d:text(middle, bottom + 36, c.xlabel, {["text-anchor"] = "middle"}) end
  if c.ylabel then
    local at = area.top + area.height / 2
    d:text(15, at, c.ylabel, {["text-anchor"] = "middle",
      transform = ("rotate(-90 15 %.1f)"):format(at)})
  end
end

-- The legend in the upper right corner, where training curves leave room.
local function draw_legend(d, legend, area)
  local longest = 0
  for _, item in ipairs(legend) do longest = math.max(longest, screen.width(item[1])) end
  local width, x, y = longest * LETTER + 44, area.left + area.width - 10, area.top + 10
  d:rect(x - width, y, width, #legend * 18 + 8, {fill = "#fff", ["fill-opacity"] = 0.85,
    stroke = "#ccc"})
  for i, item in ipairs(legend) do
    local at = y + 18 * i - 5
    d:line(x - width + 8, at, x - width + 30, at, {stroke = item[3], ["stroke-width"] = 2})
    d:text(x - width + 36, at + 4, item[1])
  end
end

---A chart as SVG.
---@param c moonwalk.Chart
---@param width number  pixels
---@param height number
---@return string
function chart.svg(c, width, height)
  local top = (c.title and 34 or 16) + (c.notes and 16 * #c.notes or 0)
  local bottom = c.xlabel and 48 or 30
  local area = {top = top, height = math.max(height - top - bottom, 20)}
  local y = axes.new(c.y.low, c.y.high, {most = math.max(math.floor(area.height / 40), 2),
    log = c.y.log, whole = c.y.whole})
  local longest = 1
  for _, tick in ipairs(y.ticks) do longest = math.max(longest, #tick.text) end
  area.left = longest * LETTER + 16 + (c.ylabel and 20 or 0)
  area.width = math.max(width - area.left - 20, 20)
  local x = axes.new(c.x.low, c.x.high, {most = math.max(math.floor(area.width / 70), 2),
    log = c.x.log, whole = c.x.whole})
  local d = svg.new(width, height)
  draw_axes(d, c, x, y, area)
  c.paint(d, x, y, area)
  if c.legend and #c.legend > 0 then draw_legend(d, c.legend, area) end
  return d:finish()
end

return chart
