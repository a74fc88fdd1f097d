-- measure.lua: what a line at the prompt took: seconds, memory, programs. `:time on` shows it.

local core = require "moonwalk.core"
local times = require "moonwalk.measure"

local measure = {}

---A number of bytes with three digits: "8.12 MB".
---@param bytes integer
---@return string
function measure.bytes_text(bytes)
  local size, unit = math.abs(bytes), "bytes"
  for _, larger in ipairs {"kB", "MB", "GB", "TB"} do
    if size < 1000 then break end
    size, unit = size / 1000, larger
  end
  return unit == "bytes" and ("%d bytes"):format(size) or ("%s %s"):format(times.digits(size), unit)
end

---@class moonwalk.Measured
---@field clock number
---@field live integer  bytes that tensors held when it began
---@field programs integer  compiled before

---Begins to measure.
---@return moonwalk.Measured
function measure.begin()
  core.peak_bytes()
  local stats = core.stats()
  return {clock = core.clock(), live = stats.bytes_live, programs = stats.programs_compiled}
end

---What it took since then: "12.3 ms, 1.2 MB kept, peak 8 MB, 1 program compiled". What tensors
---hold is kept or freed; the peak is the most that they and the intermediates of a program took
---beyond what was held at the beginning.
---@param begun moonwalk.Measured
---@return string
function measure.text(begun)
  local seconds, stats = core.clock() - begun.clock, core.stats()
  local kept, peak = stats.bytes_live - begun.live, core.peak_bytes() - begun.live
  local programs = stats.programs_compiled - begun.programs
  local parts = {times.time_text(seconds)}
  if kept ~= 0 then
    parts[#parts + 1] = ("%s %s"):format(measure.bytes_text(kept), kept > 0 and "kept" or "freed")
  end
  if peak > 0 then parts[#parts + 1] = "peak " .. measure.bytes_text(peak) end
  if programs > 0 then
    parts[#parts + 1] = ("%d program%s compiled"):format(programs, programs == 1 and "" or "s")
  end
  return table.concat(parts, ", ")
end

return measure
