-- gate/bench.lua: how long the calls of an op take. In a process of its own, as the checks.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local cases = require "moonwalk.gate.cases"
local measure = require "moonwalk.measure"

local LENGTHS, LEAST_SECONDS = {1000, 10000, 100000, 1000000}, 0.05

-- Seconds of a run, the median.
local function median_time(tensors)
  local program = core.program(tensors)
  return measure.median(measure.times(function() core.program_run(program) end, LEAST_SECONDS))
end

local function column(seconds, elements)
  if not seconds then return ("%12s %10s"):format("-", "-") end
  return ("%9.1f us %7.2f ns"):format(1e6 * seconds, 1e9 * seconds / math.max(1, elements))
end

local function bench_case(say, case)
  local ys = cases.outputs(case)
  local elements = 0
  for _, y in ipairs(ys) do elements = math.max(elements, amounts.elements(y)) end
  for _, x in ipairs(case.tensors) do elements = math.max(elements, amounts.elements(x)) end
  local gradients = {}
  for _, result in ipairs(case.op.differentiable and cases.parts(case)[1].results or {}) do
    if result.name:find "^the gradient" then gradients[#gradients + 1] = result.tensor end
  end
  local both = #gradients > 0 and median_time(gradients) or nil
  say(("  %-4s %9d  %s  %s"):format(case.variant, elements,
    column(median_time(ys), elements), column(both, elements)))
end

local function bench_op(say, name)
  local op = core.op_info(name)
  local subject = {op = op, dtypes = cases.served(name)}
  cases.read_all(subject)
  say(("%s: %s"):format(name, op.example))
  say(("  %-4s %9s  %12s %10s  %12s %10s"):format("", "elements", "forward", "each", "gradient",
    "each"))
  for _, variant in ipairs(subject.variants) do
    local first
    for _, case in ipairs(subject.list) do
      if case.variant == variant then first = first or case end
    end
    for _, length in ipairs(LENGTHS) do
      local larger = cases.grown(first, length)
      if larger then bench_case(say, larger) end
    end
  end
end

---Measures the ops of those names: says a line for each size.
---@param names string[]
---@param say fun(line: string)
local function bench(names, say)
  say(("%d thread%s; medians; \"gradient\" is the program of all gradients, with what it needs of "
    .. "forward"):format(core.threads(), core.threads() == 1 and "" or "s"))
  for _, name in ipairs(names) do
    core.gate_note("the measurement of " .. name)
    bench_op(say, name)
  end
end

return bench
