-- bench.lua: `:bench` runs an expression again and again, and says how long it takes.

local chunk = require "moonwalk.prompt.chunk"
local core = require "moonwalk.core"
local measure = require "moonwalk.measure"
local tell = require "moonwalk.prompt.tell"

local SECONDS, LEAST_RUNS, MOST_RUNS = 1, 3, 1000

-- Computes the tensors among the results of a run: the expression itself only builds them.
local function compute(...)
  local results = table.pack(...)
  for i = 1, results.n do
    local result = results[i]
    if core.is_tensor(result) then
      result:eval()
    elseif type(result) == "table" and not getmetatable(result) then
      for _, item in pairs(result) do
        if core.is_tensor(item) then item:eval() end
      end
    end
  end
  return core.is_tensor(results[1])
end

-- Adds the seconds of each run to a list, until there are enough.
local function repeat_runs(fn, times)
  local begun = core.clock()
  repeat
    local before = core.clock()
    compute(fn())
    local now = core.clock()
    times[#times + 1] = now - before
  until #times >= MOST_RUNS or #times >= LEAST_RUNS and now - begun >= SECONDS
end

---Times as a line: "1.23 ms, the median of 812 runs; half of them took 1.2 ms to 1.31 ms".
---@param times number[]
---@return string
local function report(times)
  local text = measure.time_text
  if #times < LEAST_RUNS then return ("%s, of %d run"):format(text(times[1]), #times) end
  return ("%s, the median of %d runs; half of them took %s to %s"):format(
    text(measure.median(times)), #times, text(measure.quantile(times, 0.25)),
    text(measure.quantile(times, 0.75)))
end

return {
  usage = ":bench expression",
  doc = "Computes it for a second, again and again, and says what a run takes.",
  takes_lua = true,
  run = function(session, argument)
    if argument == "" then
      core.error ":bench is followed by what is to be measured, such as :bench net(x)"
    end
    local compiled, message = chunk.compile(argument, "=bench", session.env, session.locals)
    if not compiled then error(message, 0) end
    local gives_tensor = compute(compiled.fn()) -- which compiles programs, and does not count
    local times, programs = {}, core.stats().programs_run
    local whole, why = pcall(repeat_runs, compiled.fn, times)
    if not whole and (#times == 0 or not tostring(why):find "interrupted") then error(why, 0) end
    tell(session, report(times) .. (whole and "" or " before Ctrl-C"))
    if gives_tensor and core.stats().programs_run == programs then
      tell(session, "no program ran: this value was there already. Name what builds it: "
        .. ":bench net(x)")
    end
  end,
}
