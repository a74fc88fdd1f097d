-- plot.lua: draws the results of `make bench` as SVG: how many times faster than the other program
-- each workload is, on a logarithmic scale, with what the rounds were between and what is aimed at.
--
--   moonwalk tests/bench/plot.lua build/bench/results.json build/bench/results.svg

package.path = (arg[0]:match "^(.*/)" or "./") .. "?.lua;" .. package.path

local report = require "report"
local measure = require "moonwalk.measure"
local svg = require "moonwalk.look.svg"

local plot = {}

local ROW, TOP, LABELS, BARS, RIGHT = 26, 64, 420, 420, 150 -- pixels
local COLOURS = {aim = "#2a7f62", required = "#4a90c4", missed = "#c8553d", none = "#8a8a8a"}
local OTHERS = {torch = "PyTorch", onednn = "oneDNN", openblas = "OpenBLAS"}

-- What there is a ratio of, and from which power of ten to which the scale goes.
local function chosen(results)
  local list, low, high = {}, 0, 1
  for _, result in ipairs(results.results) do
    if result.ratio then
      list[#list + 1] = result
      local goals = {result.ratio.least, result.ratio.most, not result.limit and result.aim or nil}
      for _, value in ipairs(goals) do
        low = math.min(low, math.floor(math.log(value, 10)))
        high = math.max(high, math.ceil(math.log(value, 10)))
      end
    end
  end
  return list, low, high
end

---@param results table  what the JSON has
---@return string svg
function plot.svg(results)
  local list, low, high = chosen(results)
  local height, width = TOP + ROW * #list + 44, LABELS + BARS + RIGHT
  local function place(ratio)
    return LABELS + (math.log(ratio, 10) - low) / (high - low) * BARS
  end
  local d = svg.new(width, height)
  d:text(12, 22, "Moonwalk's speed as a multiple of the other program's",
    {["font-size"] = 15, ["font-weight"] = "bold"})
  d:text(12, 42, results.machine, {fill = "#666"})
  local bottom = TOP + ROW * #list
  for power = low, high do
    for digit = 1, power < high and 9 or 1 do
      local x = place(digit * 10.0 ^ power)
      d:line(x, TOP - 6, x, bottom, {stroke = digit == 1 and "#c4c4c4" or "#efefef"})
      if digit == 1 or digit == 2 or digit == 5 then
        d:text(x, bottom + 16, ("%gx"):format(digit * 10.0 ^ power),
          {["text-anchor"] = "middle", fill = "#666"})
      end
    end
  end
  for i, result in ipairs(list) do
    local y, ratio = TOP + ROW * (i - 1), result.ratio
    local middle, from, to = y + ROW / 2 - 2, place(1), place(ratio.median)
    d:text(LABELS - 10, middle + 4, result.title, {["text-anchor"] = "end"})
    d:rect(math.min(from, to), middle - 6, math.max(math.abs(to - from), 1), 12,
      {fill = COLOURS[result.verdict or "none"]})
    d:line(place(ratio.least), middle, place(ratio.most), middle,
      {stroke = "#222", ["stroke-width"] = 1.5})
    for _, goal in ipairs {result.required or false, result.aim or false} do
      if goal and not result.limit then
        d:line(place(goal), middle - 9, place(goal), middle + 9,
          {stroke = "#222", ["stroke-dasharray"] = "3 2"})
      end
    end
    d:text(LABELS + BARS + 12, middle + 4, ("%sx %s"):format(measure.digits(ratio.median),
      OTHERS[result.against] or ""))
  end
  d:line(place(1), TOP - 6, place(1), bottom, {stroke = "#222"})
  d:text(12, height - 8, "Thin lines: the rounds. Dashed: what is required, and what is aimed at. "
    .. "Green reaches the aim, blue what is required, red neither.",
    {["font-size"] = 11, fill = "#666"})
  return d:finish()
end

if arg[0]:find "plot%.lua$" then
  local from, to = arg[1], arg[2]
  if not to then
    io.stderr:write "usage: moonwalk plot.lua RESULTS.json DRAWING.svg\n"
    os.exit(2, true)
  end
  local file = assert(io.open(to, "w"))
  file:write(plot.svg(report.read(from)))
  file:close()
  print(to)
end

return plot
