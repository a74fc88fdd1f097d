-- measure.lua: what a line at the prompt took: seconds, memory, programs. `:time on` shows it.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local times = require "moonwalk.measure"

local measure = {}

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
    parts[#parts + 1] = ("%s %s"):format(amounts.bytes_text(kept), kept > 0 and "kept" or "freed")
  end
  if peak > 0 then parts[#parts + 1] = "peak " .. amounts.bytes_text(peak) end
  if programs > 0 then
    parts[#parts + 1] = amounts.count(programs, "program") .. " compiled"
  end
  return table.concat(parts, ", ")
end

return measure
