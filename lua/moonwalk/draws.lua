-- draws.lua: random numbers of code that runs as a trial: they are given back, but for those that a
-- trial may draw for good.

local core = require "moonwalk.core"

local draws = {}

-- Where the generator goes back to when the outermost trial ends, {seed, position}; nil outside.
local before

---Calls fn(...), and has the random numbers go on as if it had not been.
---@param fn function
---@param ... any
---@return any ... what fn returns
function draws.trial(fn, ...)
  local outer, here = before, {core.random_state()}
  before = before or here
  local results = table.pack(pcall(fn, ...))
  core.random_restore(table.unpack(outer and here or before))
  before = outer
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

---Calls fn(...), whose random numbers count, and are numbers, whatever trial or trace is under way:
---the first values of parameters that a network makes when it is first called.
---@param fn function
---@param ... any
function draws.for_good(fn, ...)
  local tracing, here = core.tracing(false), {core.random_state()}
  if before then core.random_restore(table.unpack(before)) end
  local succeeded, message = pcall(fn, ...)
  if before then
    before = {core.random_state()}
    core.random_restore(table.unpack(here))
  end
  core.tracing(tracing)
  if not succeeded then error(message, 0) end
end

return draws
