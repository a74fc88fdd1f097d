-- plot.lua: plot(), lines through numbers, in the terminal or in a file.

local core = require "moonwalk.core"
local axes = require "moonwalk.look.axes"
local chart = require "moonwalk.look.chart"
local check = require "moonwalk.check"
local picture = require "moonwalk.look.picture"
local screen = require "moonwalk.look.screen"
local series = require "moonwalk.look.series"

local plot = {}

-- ---- what there is to draw ------------------------------------------------------------------

local function is_finite(x) return x - x == 0 end

-- Counts what has no place in a plot, and finds the range of what has.
local function survey(list, log)
  local found = {nan = 0, inf = 0, low = math.huge, high = -math.huge, points = 0, negative = 0,
    left = math.huge, right = -math.huge, whole = true}
  for _, one in ipairs(list) do
    for i, y in ipairs(one.ys) do
      local x = one.xs and one.xs[i] or i
      if x ~= x or y ~= y then found.nan = found.nan + 1
      elseif not (is_finite(x) and is_finite(y)) then found.inf = found.inf + 1
      elseif log and y <= 0 then found.negative = found.negative + 1
      else
        found.points = found.points + 1
        found.low, found.high = math.min(found.low, y), math.max(found.high, y)
        found.left, found.right = math.min(found.left, x), math.max(found.right, x)
        if x % 1 ~= 0 then found.whole = false end
      end
    end
  end
  return found
end

-- What was left out, as a text, or nil.
local function left_out(found)
  local parts = {}
  local function add(count, what)
    if count > 0 then parts[#parts + 1] = ("%d %s"):format(count, what) end
  end
  add(found.nan, "NaN")
  add(found.inf, "infinite")
  add(found.negative, "not above 0")
  return #parts > 0 and table.concat(parts, ", ") .. " left out" or nil
end

local function check_some(where, list, found)
  if found.points > 0 then return end
  local count = 0
  for _, one in ipairs(list) do count = count + #one.ys end
  if count == 0 then core.error(where .. ": there are no numbers to plot") end
  core.error(("%s: none of the %d numbers can be drawn: %s"):format(where, count, left_out(found)))
end

-- A series as places in a chart, in pieces without gaps. Of many points that have the same column
-- of dots four are enough for the same picture: the first, the lowest, the highest, the last.
local function pieces(one, x, y, across)
  local list, piece = {}, nil
  local column, first, low, high, last
  local function flush()
    if not column then return end
    local kept = {first}
    for _, point in ipairs(low.i < high.i and {low, high, last} or {high, low, last}) do
      if point.i > kept[#kept].i then kept[#kept + 1] = point end
    end
    for _, point in ipairs(kept) do piece[#piece + 1], piece[#piece + 2] = point.u, point.v end
    column = nil
  end
  local function finish()
    flush()
    piece = nil
  end
  for i, value in ipairs(one.ys) do
    local u, v = x:place(one.xs and one.xs[i] or i), y:place(value)
    if not (u and v) then
      finish()
    else
      if not piece then
        piece = {}
        list[#list + 1] = piece
      end
      local point, here = {i = i, u = u, v = v}, math.floor(u * (across - 1) + 0.5)
      if here ~= column then
        flush()
        column, first, low, high = here, point, point, point
      end
      last = point
      if v < low.v then low = point end
      if v > high.v then high = point end
    end
  end
  finish()
  return list
end

---Draws a series on a canvas.
---@param c moonwalk.Canvas
---@param pen moonwalk.Pen
---@param one moonwalk.Series
---@param x moonwalk.Axis
---@param y moonwalk.Axis
function plot.draw(c, pen, one, x, y)
  for _, piece in ipairs(pieces(one, x, y, (c:size(pen)))) do
    if #piece == 2 then c:line(pen, piece[1], piece[2], piece[1], piece[2]) end
    for i = 1, #piece - 3, 2 do
      c:line(pen, piece[i], piece[i + 1], piece[i + 2], piece[i + 3])
    end
  end
end

local MARKED = 40 -- a series of no more points shows each of them in SVG

-- Draws a series in SVG. What is outside of the area is cut off.
local function paint(d, one, i, x, y, area)
  local colour = chart.colour(i)
  for _, piece in ipairs(pieces(one, x, y, 2 * math.floor(area.width))) do
    local points = {}
    for k = 1, #piece, 2 do
      points[k] = area.left + piece[k] * area.width
      points[k + 1] = area.top + (1 - piece[k + 1]) * area.height
    end
    if #points > 2 then
      d:polyline(points, {stroke = colour, ["stroke-width"] = 1.6, ["stroke-linejoin"] = "round",
        ["clip-path"] = "url(#area)"})
    end
    if #points == 2 or #one.ys <= MARKED then
      for k = 1, #points, 2 do
        if piece[k + 1] >= 0 and piece[k + 1] <= 1 then
          d:circle(points[k], points[k + 1], 2.5, {fill = colour})
        end
      end
    end
  end
end

-- ---- the chart ------------------------------------------------------------------------------

---Raises unless a range is two numbers, the lower one first, or nil.
---@param where string
---@param range any
function plot.check_range(where, range)
  if range == nil then return end
  if type(range) ~= "table" or type(range[1]) ~= "number" or type(range[2]) ~= "number"
    or not (is_finite(range[1]) and range[1] < range[2] and is_finite(range[2])) then
    check.fail(where, "range", range, "two numbers, the lower one first: {0, 1}")
  end
end

local function check_options(where, options)
  local o = {}
  for name, value in pairs(check.options(where, options, series.options)) do o[name] = value end
  for _, name in ipairs {"title", "xlabel", "ylabel"} do
    if o[name] ~= nil then check.text(where, name, o[name]) end
  end
  o.log = check.boolean(where, "log", o.log, false)
  picture.check(where, o.file)
  plot.check_range(where, o.range)
  if o.log and o.range and o.range[1] <= 0 then
    check.fail(where, "range[1]", o.range[1], "a number above 0 on a logarithmic scale")
  end
  return o
end

---The width and height that options give, or that the terminal has room for.
---@param where string
---@param options table  width and height: columns and lines, or pixels of a file
---@return integer width
---@return integer height
function plot.size(where, options)
  if options.file then
    return check.integer(where, "width", options.width, 100, 720),
      check.integer(where, "height", options.height, 80, 432)
  end
  local columns, rows = screen.size()
  local width = check.integer(where, "width", options.width, 12, math.max(columns, 12))
  local height = check.integer(where, "height", options.height, 4,
    math.max(math.min(rows * 3 // 4, rows - 3), 4))
  return math.min(width, columns), height
end

local function titled(title, note)
  if not note then return title end
  return title and ("%s  (%s)"):format(title, note) or note
end

-- The chart of some series.
local function chart_of(list, o, found)
  local low, high = axes.limits(found.low, found.high, o.log)
  local left, right = axes.limits(found.left, found.right)
  if found.whole and found.left == found.right then left, right = found.left - 1, found.left + 1 end
  if o.range then low, high = o.range[1], o.range[2] end
  local pens, legend, title = chart.pens(#list), {}, o.title
  for i, one in ipairs(list) do
    if #list > 1 then legend[i] = {one.name, pens[i], chart.colour(i)} else
      title = title or one.name
    end
  end
  return {
    title = titled(title, left_out(found)), xlabel = o.xlabel, ylabel = o.ylabel, legend = legend,
    x = {low = left, high = right, whole = found.whole},
    y = {low = low, high = high, log = o.log},
    draw = function(c, x, y)
      for i, one in ipairs(list) do plot.draw(c, pens[i], one, x, y) end
    end,
    paint = function(d, x, y, area)
      d:clip("area", area.left, area.top - 1, area.width, area.height + 2)
      for i, one in ipairs(list) do paint(d, one, i, x, y, area) end
    end,
  }
end

---Prints a chart, or writes it to a file: the path then, or nil and a message.
---@param where string
---@param c moonwalk.Chart
---@param options table  file, width, height
function plot.show(where, c, options)
  local width, height = plot.size(where, options)
  if options.file then return picture.write(options.file, chart.svg(c, width, height)) end
  io.write(table.concat(chart.text(c, width, height), "\n"), "\n")
end

---Draws numbers as lines: in the terminal, as large as it is, or in a file.
---
---    plot(ys)                               -- a list or a tensor; of rank 2: a series in each row
---    plot(xs, ys, {log = true})             -- a logarithmic scale
---    plot {train = ys, valid = zs}          -- series with names
---    plot(mw.fit(net, train, {valid = valid}))
---    plot(ys, {title = "loss", xlabel = "step", range = {0, 1}, file = "loss.svg"})
---
---What is NaN or infinite leaves a gap and is counted in the title. A `file` ends in .svg, or in
---.png, which takes rsvg-convert or ImageMagick.
---@param ... any
---@return string? path  of the file
---@return string? message
function plot.plot(...)
  local list, options, is_history = series.read("plot", ...)
  local o = check_options("plot", options)
  if is_history then o.xlabel = o.xlabel or "epoch" end
  local found = survey(list, o.log)
  check_some("plot", list, found)
  return plot.show("plot", chart_of(list, o, found), o)
end

return plot
