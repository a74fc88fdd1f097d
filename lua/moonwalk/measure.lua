-- measure.lua: times and rates: how they are taken, summed up and written. For everything that
-- measures: `moonwalk bench`, `moonwalk plugin bench`, `make bench`, mw.profile.

local core = require "moonwalk.core"

local measure = {}

---Quantile of a list of numbers, between neighbours in proportion.
---@param list number[]
---@param share number 0 to 1
---@return number
function measure.quantile(list, share)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local at = 1 + share * (#sorted - 1)
  local low = math.floor(at)
  local high = math.min(low + 1, #sorted)
  return sorted[low] + (at - low) * (sorted[high] - sorted[low])
end

function measure.median(list) return measure.quantile(list, 0.5) end

---Half the distance between the quartiles, as a share of the median.
---@param list number[]
---@return number
function measure.spread(list)
  local median = measure.median(list)
  if median == 0 then return 0 end
  return (measure.quantile(list, 0.75) - measure.quantile(list, 0.25)) / 2 / median
end

---Calls a function again and again: one time for each call, in seconds. The first call, which
---compiles and touches memory, does not count. There are at least five, unless they are slow.
---@param run function
---@param least_seconds number
---@return number[] seconds
function measure.times(run, least_seconds)
  run()
  local times, start = {}, core.clock()
  local spent
  repeat
    local before = core.clock()
    run()
    times[#times + 1] = core.clock() - before
    spent = core.clock() - start
  until spent >= least_seconds and (#times >= 5 or spent >= 10 * least_seconds)
  return times
end

local peaks = {}

---Float32 operations in a second that so many threads could do at best, measured once in a process.
---@param threads integer
---@return number
function measure.peak(threads)
  peaks[threads] = peaks[threads] or core.peak(threads)
  return peaks[threads]
end

---The processor, by what matters here: "2 cores, AVX2, FMA peak 95 GFLOP/s a core".
---@return string
function measure.machine()
  local _, vectors, cores = core.peak(1)
  return ("%d core%s, %s, FMA peak %.0f GFLOP/s a core"):format(cores, cores == 1 and "" or "s",
    vectors, measure.peak(1) / 1e9)
end

local UNITS = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}, {1e-9, "ns"}}

---A time with three digits: "1.23 ms".
---@param seconds number
---@return string
function measure.time_text(seconds)
  local unit = UNITS[#UNITS]
  for i = #UNITS, 1, -1 do
    if seconds >= UNITS[i][1] then unit = UNITS[i] end
  end
  return measure.digits(seconds / unit[1]) .. " " .. unit[2]
end

---A number with three digits that count: "0.0123", "1.23", "123", "12300".
---@param x number
---@return string
function measure.digits(x)
  if x == 0 or x ~= x or x == math.huge or x == -math.huge then return ("%g"):format(x) end
  local digits = 2 - math.floor(math.log(math.abs(x), 10))
  return digits > 0 and ("%%.%df"):format(math.min(digits, 9)):format(x)
    or ("%d"):format(math.floor(x + 0.5))
end

---Rows of text as a table.
---@param rows string[][]  the first one is the heading
---@param left? integer[]  the columns that go to the left, {1}; the others go to the right
---@return string
function measure.table_text(rows, left)
  local widths, lines, to_left = {}, {}, {}
  for _, i in ipairs(left or {1}) do to_left[i] = true end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = (" "):rep(widths[i] - (utf8.len(cell) or #cell))
      cells[i] = to_left[i] and cell .. space or space .. cell
    end
    lines[n] = table.concat(cells, "  "):gsub(" +$", "")
  end
  return table.concat(lines, "\n")
end

return measure
