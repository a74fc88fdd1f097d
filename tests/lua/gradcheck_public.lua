-- gradcheck_public.lua: mw.gradcheck, as users have it, agrees about every op: over the cases that
-- the op declares, first derivatives, and second ones where the op claims them.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"

local LARGEST = 60 -- elements of a case: more take long and show no more
local pretends = {stop_gradient = true}

local function problem_of(info, text)
  local case = cases.read(info.name, text, "f64")
  local positions, xs, elements = cases.floats(case), {}, 0
  for i, position in ipairs(positions) do
    xs[i] = case.inputs[position]
    elements = elements + #cases.array(xs[i])
  end
  if elements == 0 or elements > LARGEST then return nil, 0 end
  local function call(...)
    local given = {}
    for i, x in ipairs {...} do given[positions[i]] = x end
    local floats = {}
    for _, y in ipairs(cases.call(case, cases.with(case, given))) do
      if y.dtype == "f64" then floats[#floats + 1] = y end -- a cast to f32 rounds
    end
    return table.unpack(floats)
  end
  if select("#", call(table.unpack(xs))) == 0 then return nil, 0 end
  local _, report = mw.gradcheck(call, xs, {second = info.twice, raise = false})
  return not report.passed and report.message or nil, report.checked
end

mw.seed(3)
for _, name in ipairs(cases.names()) do
  local info, problems, checked = cases.info(name), {}, 0
  for _, text in ipairs(info.differentiable and not pretends[name] and info.cases or {}) do
    local succeeded, problem, n = pcall(problem_of, info, text)
    if problem then problems[#problems + 1] = text .. "\n  " .. tostring(problem) end
    checked = checked + (succeeded and n or 0)
  end
  if checked > 0 or #problems > 0 then
    t.is(table.concat(problems, "\n"), "", ("%s: %d derivatives"):format(name, checked))
  end
end
t.done()
