-- hist.lua: hist(), how the elements of a tensor are spread, in the terminal or in a file.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local axes = require "moonwalk.look.axes"
local chart = require "moonwalk.look.chart"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local picture = require "moonwalk.look.picture"
local plot = require "moonwalk.look.plot"
local screen = require "moonwalk.look.screen"

local hist = {}

local OPTIONS = {"bins", "range", "log", "title", "xlabel", "ylabel", "width", "height", "file"}
local MOST_BINS = 1000

---@class moonwalk.HistOptions
---@field bins integer?
---@field range number[]?  the lowest and the highest number that is counted
---@field log boolean?
---@field title string?
---@field xlabel string?
---@field ylabel string?
---@field width integer?  columns, or pixels of a file
---@field height integer?  lines, or pixels of a file
---@field file string?

-- ---- what there is to count -----------------------------------------------------------------

-- The numbers of a list, whatever lists are in it, added to others.
local function flatten(list, numbers, name)
  for i, value in ipairs(list) do
    if core.is_tensor(value) and #value.shape == 0 then value = value:item() end
    local here = ("%s[%d]"):format(name, i)
    if type(value) == "table" and getmetatable(value) == nil then flatten(value, numbers, here)
    elseif type(value) == "number" then numbers[#numbers + 1] = value
    else check.fail("hist", here, value, "a number") end
  end
  return numbers
end

local function tensor_of(value)
  if core.is_tensor(value) then return value end
  if Module.is(value) then
    core.error(("hist: this is a network, of which hist takes one tensor at a time, such as "
      .. "net.%s"):format(value:named_parameters()() or "weight"))
  end
  if type(value) ~= "table" or getmetatable(value) ~= nil then
    check.fail("hist", "the first argument", value, "a tensor, or a list of numbers")
  elseif #value == 0 and next(value) ~= nil then
    core.error "hist: expected a tensor, or a list of numbers, in front of the options"
  end
  local numbers = flatten(value, {}, "the list")
  return #numbers > 0 and core.tensor(numbers, "f64") or core.zeros({0}, "f64")
end

-- What is counted, in words; and what has no bin, or nil.
local function summary(found, below, above)
  local parts, rest = {amounts.count(found.count, "element")}, {}
  local function number(name)
    if found[name] then parts[#parts + 1] = ("%s %.4g"):format(name, found[name]) end
  end
  number "mean"
  number "std"
  number "min"
  number "max"
  local left = {{found.nans, "NaN"}, {found.infinities, "infinite"},
    {below, "below the range"}, {above, "above it"}}
  for _, item in ipairs(left) do
    if item[1] > 0 then rest[#rest + 1] = ("%d %s"):format(item[1], item[2]) end
  end
  return table.concat(parts, ", "), rest[1] and table.concat(rest, ", ") .. " not drawn"
end

-- ---- bins -----------------------------------------------------------------------------------

-- How many bins a text has room for: two to a column in braille.
local function room_for(o)
  if o.file then return 200 end
  local width = plot.size("hist", o)
  return math.max((width - 12) * (screen.utf8() and 2 or 1), 1)
end

-- The bins: how many, and from where to where. Whole numbers have bins of their own if there are
-- not too many.
local function choose_bins(found, o)
  local low, high = found.min + 0.0, found.max + 0.0 -- the difference of integers may overflow
  if o.range then low, high = o.range[1], o.range[2] end
  local room = room_for(o)
  if o.bins and o.bins > room then
    core.error(("hist: bins is %d, but %d fit into the width%s"):format(o.bins, room,
      o.file and "" or '; a file = "x.svg" takes 200'))
  end
  if found.whole and not o.bins and not o.range and high - low < math.min(room, 64) then
    return math.tointeger(high - low + 1), low - 0.5, high + 0.5
  end
  if not o.range then low, high = axes.limits(low, high) end
  -- The square root of the count: few elements make no use of narrow bins.
  local wanted = math.min(math.max(math.ceil(found.count ^ 0.5), 8), o.file and 60 or 72)
  return o.bins or math.min(wanted, room), low, high
end

-- ---- the chart ------------------------------------------------------------------------------

-- Bars of dots, all of the same width, with a gap between them where they are wide enough.
local function draw(c, y, counts)
  local pen = chart.pens(1)[1]
  if pen.mark then pen.mark = "#" end
  local across, down = c:size(pen)
  local width = across // #counts
  local gap = width >= 4 and 1 or 0
  for i, count in ipairs(counts) do
    local place = count > 0 and y:place(count)
    local height = place and math.max(math.floor(place * down + 0.5), 1) or 0
    for x = (i - 1) * width, i * width - 1 - gap do
      for row = 0, height - 1 do c:dot(pen, x, row) end
    end
  end
end

-- The columns of a canvas that is a whole number of dots wide for each bin.
local function columns_for(bins)
  local dots = screen.utf8() and 2 or 1
  return function(room)
    local each = math.max(room * dots // bins, 1)
    return math.min((each * bins + dots - 1) // dots, room)
  end
end

local function paint(d, y, area, counts)
  local width = area.width / #counts
  for i, count in ipairs(counts) do
    local place = count > 0 and y:place(count)
    if place and place > 0 then
      local height = place * area.height
      d:rect(area.left + (i - 1) * width + 0.5, area.top + area.height - height,
        math.max(width - 1, 0.5), height, {fill = chart.colour(1)})
    end
  end
end

local function check_options(options)
  local o = {}
  for name, value in pairs(check.options("hist", options, OPTIONS)) do o[name] = value end
  for _, name in ipairs {"title", "xlabel", "ylabel"} do
    if o[name] ~= nil then check.text("hist", name, o[name]) end
  end
  o.log = check.boolean("hist", "log", o.log, false)
  if o.bins ~= nil then
    o.bins = check.integer("hist", "bins", o.bins, 1)
    if o.bins > MOST_BINS then
      check.fail("hist", "bins", o.bins, ("at most %d"):format(MOST_BINS))
    end
  end
  plot.check_range("hist", o.range)
  picture.check("hist", o.file)
  return o
end

---Draws how the elements of a tensor are spread: how many lie in each of some bins.
---
---    hist(net.conv1.weight)
---    hist(t, {bins = 20, range = {-1, 1}})    -- what is outside is counted
---    hist(t, {log = true})                    -- a logarithmic scale of counts
---    hist(t, {title = "weights", file = "weights.png"})
---
---Above it stand their number, mean, standard deviation (that of a population), minimum and
---maximum, and how many are NaN, infinite or out of the range.
---@param t moonwalk.Tensor|table
---@param options moonwalk.HistOptions?
---@return string? path  of the file
---@return string? message
function hist.hist(t, options)
  if t == nil then core.error "hist: expected a tensor, or a list of numbers: hist(t)" end
  t = tensor_of(t)
  local o = check_options(options)
  local found = core.summary(t)
  if found.count == 0 then core.error "hist: there are no elements to count" end
  if not found.mean then
    core.error("hist: none of the elements is finite: " .. select(2, summary(found, 0, 0)))
  end
  found.std, found.whole = core.deviation(t, found.mean)
  local bins, low, high = choose_bins(found, o)
  local counts, below, above = core.histogram(t, bins, low, high)
  local most, about = math.max(table.unpack(counts)), table.pack(summary(found, below, above))
  if most == 0 then
    core.error(("hist: no element is from %g to %g: %s"):format(low, high, about[1]))
  end
  return plot.show("hist", {
    title = o.title, notes = about, xlabel = o.xlabel, ylabel = o.ylabel,
    x = {low = low, high = high, whole = found.whole and high - low >= 2},
    y = {low = o.log and 0.5 or 0, high = o.log and most * 1.1 or most, log = o.log, whole = true},
    columns = columns_for(bins),
    draw = function(c, _, y) draw(c, y, counts) end,
    paint = function(d, _, y, area) paint(d, y, area, counts) end,
  }, o)
end

return hist
