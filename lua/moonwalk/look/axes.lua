-- axes.lua: scales, linear or logarithmic, with ticks at 1, 2 or 5 times a power of ten.

local axes = {}

---@class moonwalk.Tick
---@field value number
---@field text string
---@field at number  its place on the axis, from 0 to 1

---@class moonwalk.Axis
---@field low number
---@field high number
---@field log boolean?
---@field ticks moonwalk.Tick[]
local Axis = {}
Axis.__index = Axis

local MOST = 8e307 -- the distance of two such numbers is one too
local LEAST = 2.0 ^ -1022 -- half of it and a tenth of it are not 0

---The range of an axis for values from low to high, which has a width even if they are one.
---@param low number
---@param high number
---@param log boolean?
---@return number low
---@return number high
function axes.limits(low, high, log)
  low, high = math.min(math.max(low, -MOST), MOST), math.max(math.min(high, MOST), -MOST)
  if low < high then return low, high end
  if log then return math.max(low, LEAST) / 2, math.max(high, LEAST) * 2 end
  local margin = low == 0 and 1 or math.max(math.abs(low), LEAST) / 10
  return low - margin, high + margin
end

-- Ten to a whole power: exact where it can be.
local function power(n)
  return n >= 0 and tonumber("1e" .. n) or 1 / tonumber("1e" .. -n)
end

-- k times the step mantissa * 10^exponent, as near as a number comes to it.
local function multiple(k, mantissa, exponent)
  if exponent >= 0 then return k * mantissa * power(exponent) end
  return k * mantissa / power(-exponent)
end

---The multiples of the smallest step 1, 2 or 5 times a power of ten of which no more than `most`
---are from low to high.
---@param low number
---@param high number
---@param most integer
---@param whole boolean?  no step is less than 1
---@return number[] values
---@return number step
function axes.steps(low, high, most, whole)
  local exponent = math.floor(math.log(math.max((high - low) / most, 1e-300), 10))
  if whole then exponent = math.max(exponent, 0) end
  while true do
    for _, mantissa in ipairs {1, 2, 5} do
      local step = multiple(1, mantissa, exponent)
      local first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
      if last - first + 1 <= most then
        local values = {}
        for k = first, last do values[#values + 1] = multiple(k, mantissa, exponent) end
        return values, step
      end
    end
    exponent = exponent + 1
  end
end

---Ticks of a logarithmic scale: powers of ten, with 2 and 5 times them where there is room; nil
---where that makes less than two.
---@param low number  positive
---@param high number
---@param most integer
---@return number[]?
function axes.powers(low, high, most)
  local first, last = math.floor(math.log(low, 10)), math.ceil(math.log(high, 10))
  local function within(mantissas, every)
    local values = {}
    for exponent = first - first % every, last, every do
      for _, mantissa in ipairs(mantissas) do
        local value = multiple(1, mantissa, exponent)
        if value >= low * (1 - 1e-9) and value <= high * (1 + 1e-9) then
          values[#values + 1] = value
        end
      end
    end
    return values
  end
  local values = within({1, 2, 5}, 1)
  local every = 1
  while #values > most do
    values = within({1}, every)
    every = every + 1
  end
  return #values > 1 and values or nil
end

local function trimmed(text) -- 2.50 is 2.5
  return text:find("%.") and text:gsub("%.?0+$", "") or text
end

---The texts of ticks that are a step apart: with as many decimals as the step has, or with an
---exponent where they would be long.
---@param values number[]
---@param step number
---@return string[]
function axes.labels(values, step)
  local largest = 0
  for _, value in ipairs(values) do largest = math.max(largest, math.abs(value)) end
  local place = math.floor(math.log(step, 10) + 1e-9) -- of the step's digit
  local top = largest > 0 and math.floor(math.log(largest, 10) + 1e-9) or 0
  local texts = {}
  for i, value in ipairs(values) do
    if value == 0 then
      texts[i] = "0"
    elseif top >= 6 or place < -5 then
      local format = ("%%.%df"):format(math.min(math.max(top - place, 0), 12))
      local mantissa = top < 0 and value * power(-top) or value / power(top)
      texts[i] = ("%se%d"):format(trimmed(format:format(mantissa)), top)
    else
      texts[i] = ("%%.%df"):format(math.max(-place, 0)):format(value)
    end
  end
  return texts
end

local function log_labels(values)
  local texts = {}
  for i, value in ipairs(values) do
    local exponent = math.floor(math.log(value, 10) + 1e-9)
    if exponent < -3 or exponent > 4 then
      local mantissa = exponent < 0 and value * power(-exponent) or value / power(exponent)
      texts[i] = ("%.0fe%d"):format(mantissa, exponent)
    else
      texts[i] = ("%.14g"):format(value)
    end
  end
  return texts
end

---Gives an axis its ticks.
---@param most integer  how many there may be, if that makes two of them
function Axis:divide(most)
  local values, step = self.log and axes.powers(self.low, self.high, most)
  local texts = values and log_labels(values)
  if not values then
    for n = most, 2 * most do -- a few too many are better than one
      values, step = axes.steps(self.low, self.high, n, self.whole)
      if #values > 1 then break end
    end
    texts = axes.labels(values, step)
  end
  if #values < 2 then -- one number tells nothing of a scale: both ends do
    values, texts = {self.low, self.high}, {}
    for i, value in ipairs(values) do texts[i] = ("%.4g"):format(value) end
  end
  self.ticks = {}
  for i, value in ipairs(values) do
    local at = math.min(math.max(self:place(value), 0), 1)
    self.ticks[i] = {value = value, text = texts[i], at = at}
  end
end

local FAR = 1e6 -- farther outside no place is: infinity would be none that a line can lead to

---Where a value is on an axis, 0 at its beginning and 1 at its end, beyond them outside; nil for
---what has no place on it.
---@param value number
---@return number?
function Axis:place(value)
  if value - value ~= 0 then return nil end
  if not self.log then
    local share = (value - self.low) / (self.high - self.low)
    return math.max(math.min(share, FAR), -FAR)
  end
  if value <= 0 then return nil end
  return (math.log(value) - self.from) / self.length
end

---An axis.
---@param low number
---@param high number  more than low; both positive where it is logarithmic
---@param options {most: integer?, log: boolean?, whole: boolean?}?  how many ticks there may be,
---  and whether they are whole numbers
---@return moonwalk.Axis
function axes.new(low, high, options)
  options = options or {}
  local self = setmetatable({
    low = low, high = high, log = options.log, whole = options.whole,
  }, Axis)
  if self.log then
    self.from = math.log(low)
    self.length = math.log(high) - self.from
  end
  self:divide(options.most or 5)
  return self
end

return axes
