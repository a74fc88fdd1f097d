-- schedule.lua: schedules of the learning rate: functions of the number of updates so far, from 0,
-- that give the factor of the optimizer's lr.
--
--   local schedule = optim.schedule
--   local opt = optim.SGD(net:parameters(), {lr = 0.1,
--     schedule = schedule.warmup(100, schedule.cosine(2000))})
--
-- Any function will do: schedule = function(t) return 0.999 ^ t end. A schedule in epochs is one in
-- updates: step(30 * updates_in_an_epoch). All but plateau() keep nothing, so that the optimizer's
-- count of updates is all that there is to save.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.schedules
local schedule = {}

local function number(where, name, value, low, high, fallback)
  return check.number("optim.schedule." .. where, name, value, low, high, fallback)
end

local function count(where, name, value, low)
  return check.integer("optim.schedule." .. where, name, value, low)
end

---gamma^k after k times `every` updates.
---@param every integer
---@param gamma number? 0.1
---@return fun(t: integer): number
function schedule.step(every, gamma)
  count("step", "every", every, 1)
  gamma = number("step", "gamma", gamma, 0, math.huge, 0.1)
  return function(t) return gamma ^ (t // every) end
end

---gamma^k after k of the places in a list.
---@param places integer[] in rising order
---@param gamma number? 0.1
---@return fun(t: integer): number
function schedule.multistep(places, gamma)
  if type(places) ~= "table" then
    check.fail("optim.schedule.multistep", "the places", places, "a list such as {3000, 6000}")
  end
  local list = {}
  for i, place in ipairs(places) do
    list[i] = count("multistep", ("place %d"):format(i), place, list[i - 1] or 0)
  end
  gamma = number("multistep", "gamma", gamma, 0, math.huge, 0.1)
  return function(t)
    local passed = 0
    for _, place in ipairs(list) do
      if t >= place then passed = passed + 1 end
    end
    return gamma ^ passed
  end
end

---gamma^t
---@param gamma number
---@return fun(t: integer): number
function schedule.exponential(gamma)
  number("exponential", "gamma", gamma, 0, math.huge)
  return function(t) return gamma ^ t end
end

---From `first` to `last` in a straight line over `n` updates; then `last`.
---@param n integer
---@param first number? 1
---@param last number? 0
---@return fun(t: integer): number
function schedule.linear(n, first, last)
  count("linear", "n", n, 1)
  first = number("linear", "first", first, 0, math.huge, 1)
  last = number("linear", "last", last, 0, math.huge, 0)
  return function(t) return first + (last - first) * math.min(t / n, 1) end
end

---From 1 to `last` along half a cosine over `n` updates; then `last` (Loshchilov and Hutter,
---"SGDR", 2017, without restarts).
---@param n integer
---@param last number? 0
---@return fun(t: integer): number
function schedule.cosine(n, last)
  count("cosine", "n", n, 1)
  last = number("cosine", "last", last, 0, math.huge, 0)
  return function(t)
    return last + (1 - last) * (1 + math.cos(math.pi * math.min(t / n, 1))) / 2
  end
end

---From `first` up to 1 over a share `rise` of `n` updates, and down to `last` over the rest, both
---along half a cosine; lr is the highest rate (Smith and Topin, "Super-convergence", 2018).
---@param n integer
---@param options? {rise: number?, first: number?, last: number?} 0.3, 1/25 and 1e-5
---@return fun(t: integer): number
function schedule.one_cycle(n, options)
  count("one_cycle", "n", n, 1)
  options = check.options("optim.schedule.one_cycle", options, {"rise", "first", "last"})
  local rise = number("one_cycle", "rise", options.rise, 0, 1, 0.3) * n
  local first = number("one_cycle", "first", options.first, 0, 1, 1 / 25)
  local last = number("one_cycle", "last", options.last, 0, 1, 1e-5)
  local function between(a, b, share)
    return b + (a - b) * (1 + math.cos(math.pi * math.min(share, 1))) / 2
  end
  return function(t)
    if t < rise then return between(first, 1, t / rise) end
    return between(1, last, rise < n and (t - rise) / (n - rise) or 1)
  end
end

---From `first` up to 1 over `n` updates in a straight line, and from there on as another schedule,
---for which this is the beginning: the first update has (1 - first) / n more than `first`.
---@param n integer
---@param inner (fun(t: integer): number)? 1 when left out
---@param first number? 0
---@return any schedule
function schedule.warmup(n, inner, first)
  count("warmup", "n", n, 1)
  first = number("warmup", "first", first, 0, 1, 0)
  local meta = getmetatable(inner)
  if inner ~= nil and type(inner) ~= "function" and not (meta and meta.__call) then
    check.fail("optim.schedule.warmup", "the schedule behind it", inner,
      "one of optim.schedule, or a function")
  end
  local function factor(t)
    local after = inner and inner(math.max(t - n, 0)) or 1
    return t < n and (first + (1 - first) * (t + 1) / n) * after or after
  end
  if type(inner) ~= "table" then return factor end
  -- What keeps something goes on doing so.
  return setmetatable({}, {__index = inner, __call = function(_, t) return factor(t) end})
end

---@class moonwalk.Plateau
---@operator call(integer): number
local Plateau = {}
Plateau.__index = Plateau
Plateau.__call = function(plateau) return plateau.values.factor end

---Falls by `factor` when what is reported has not become better for more than `patience` reports:
---
---    local plateau = optim.schedule.plateau {patience = 3}
---    local opt = optim.SGD(net:parameters(), {lr = 0.1, schedule = plateau})
---    plateau:report(validation_loss)        -- after each epoch, say
---
---Better is less by a share `threshold` of the best so far, or more with mode = "max".
---@param options? table factor = 0.1, patience = 10, threshold = 1e-4, cooldown = 0 (reports that
---  do not count after a fall), least = 0 (of the factor), mode = "min"
---@return moonwalk.Plateau
function schedule.plateau(options)
  local where = "optim.schedule.plateau"
  options = check.options(where, options,
    {"factor", "patience", "threshold", "cooldown", "least", "mode"})
  local best = check.choice(where, "mode", options.mode, {"min", "max"}, "min") == "min"
    and math.huge or -math.huge
  return setmetatable({
    factor = number("plateau", "factor", options.factor, 0, 1, 0.1),
    patience = check.integer(where, "patience", options.patience, 0, 10),
    threshold = number("plateau", "threshold", options.threshold, 0, 1, 1e-4),
    cooldown = check.integer(where, "cooldown", options.cooldown, 0, 0),
    least = number("plateau", "least", options.least, 0, 1, 0),
    sign = best > 0 and 1 or -1,
    values = {factor = 1, best = best, bad = 0, resting = 0},
  }, Plateau)
end

---Tells it a value by which training is judged.
---@param value number
---@return boolean fallen whether the factor has just fallen
function Plateau:report(value)
  if type(value) ~= "number" then check.fail("report", "the value", value, "a number") end
  local now = self.values
  local margin = self.threshold * math.abs(now.best)
  if now.best == math.huge * self.sign
    or self.sign * value < self.sign * now.best - margin then -- false for NaN
    if value == value then now.best, now.bad = value, 0 else now.bad = now.bad + 1 end
  else
    now.bad = now.bad + 1
  end
  if now.resting > 0 then now.resting, now.bad = now.resting - 1, 0 end
  if now.bad <= self.patience then return false end
  now.factor = math.max(now.factor * self.factor, self.least)
  now.bad, now.resting = 0, self.cooldown
  return true
end
Plateau.report = core.entry(Plateau.report)

---What it keeps, as numbers by name. An optimizer has them in its own state.
---@return table<string, number>
function Plateau:state()
  local copy = {}
  for name, value in pairs(self.values) do copy[name] = value end
  return copy
end

---@param state table<string, number>
---@return moonwalk.Plateau self
function Plateau:load_state(state)
  for name in pairs(self.values) do
    if type(state[name]) ~= "number" then
      check.fail("load_state", ("the schedule's %q"):format(name), state[name], "a number")
    end
  end
  for name in pairs(self.values) do self.values[name] = state[name] end
  return self
end

return setmetatable(schedule, {
  __index = function(_, name)
    local names = {}
    for known in pairs(schedule) do names[#names + 1] = known end
    table.sort(names)
    local near = check.near(tostring(name), names)
    core.error(("optim.schedule: there is no %q%s"):format(tostring(name), near
      and (", did you mean optim.schedule.%s?"):format(near) or "; it has "
      .. table.concat(names, ", ")))
  end,
})
