-- lbfgs.lua: LBFGS, for functions without noise: all data in each step, as in logistic regression.
--
--   local opt = optim.LBFGS(net:parameters())
--   for _ = 1, 20 do
--     local loss = opt:step(function() return net(x):cross_entropy(y) end)
--     if opt.converged then break end
--   end
--
-- Unlike the other optimizers it calls the function as often as its line search wants, and each
-- time runs a program that computes the loss and its gradients.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local frozen = require "moonwalk.frozen"
local updates = require "moonwalk.updates"

---@class moonwalk.LBFGS
---@field parameters moonwalk.Tensor[]
---@field history integer 10; how many steps the curvature is known from
---@field tolerance number 1e-7; of the largest element of the gradients: below it is converged
---@field lr number 1; the first length that the line search tries
---@field steps integer
---@field evaluations integer calls of the function so far
---@field converged boolean
local LBFGS = {}
LBFGS.__index = LBFGS
LBFGS.__tostring = function(opt)
  return ("LBFGS {lr = %g, history = %d, tolerance = %g}"):format(opt.lr, opt.history,
    opt.tolerance)
end

local KNOWN = {"lr", "history", "tolerance"}

-- The inner product of two lists of tensors, in float64.
local function dot(a, b)
  local sum
  for i, x in ipairs(a) do
    local part = core.call("sum", x:cast "f64" * b[i]:cast "f64")
    sum = sum and sum + part or part
  end
  return sum:item()
end

-- a + factor b, as values without a graph.
local function plus(a, factor, b)
  local list = {}
  for i, x in ipairs(a) do list[i] = x + b[i] * factor end
  core.eval(table.unpack(list))
  for i, x in ipairs(list) do list[i] = core.tensor(x) end
  return list
end

-- Puts parameters somewhere, and gives loss and gradients there.
local function evaluate(opt, fn, place)
  core.run({}, opt.trained, place)
  local loss = fn()
  if not core.is_tensor(loss) or #loss.shape > 0 then
    check.fail("step", "what the function gives", loss, "a scalar tensor, the loss")
  end
  local gradients = core.grad(loss, opt.trained)
  core.eval(loss, table.unpack(gradients))
  updates.flush() -- running statistics wait for values that the next place makes stale
  for i, g in ipairs(gradients) do gradients[i] = core.tensor(g) end
  opt.evaluations = opt.evaluations + 1
  return loss:item(), gradients
end

-- The direction -H g, by the two loops of Nocedal ("Updating quasi-Newton matrices with limited
-- storage", 1980).
local function direction(opt, g)
  local pairs_of, alphas = opt.pairs, {}
  local q = g
  for k = #pairs_of, 1, -1 do
    local pair = pairs_of[k]
    alphas[k] = dot(pair.s, q) / pair.sy
    q = plus(q, -alphas[k], pair.y)
  end
  local last = pairs_of[#pairs_of]
  local scale = last and last.sy / dot(last.y, last.y) or 1
  q = plus(q, scale - 1, q)
  for k, pair in ipairs(pairs_of) do
    q = plus(q, alphas[k] - dot(pair.y, q) / pair.sy, pair.s)
  end
  return plus(q, -2, q)
end

local C1, C2, MOST = 1e-4, 0.9, 25

-- A length along d where the loss has fallen enough and its slope has flattened (the strong Wolfe
-- conditions with c1 = 1e-4 and c2 = 0.9), by doubling and halving: Nocedal and Wright, "Numerical
-- optimization", 2006, algorithm 3.5, with bisection in place of interpolation. Returns the best
-- that was found: length, loss, gradients.
local function search(opt, fn, place, d, loss, slope, length)
  local low, high, best = 0, nil, nil
  for _ = 1, MOST do
    local value, g = evaluate(opt, fn, plus(place, length, d))
    local here = dot(g, d)
    if value ~= value or value > loss + C1 * length * slope then
      high = length
    else
      if not best or value < best.loss then best = {length = length, loss = value,
        gradients = g} end
      if math.abs(here) <= -C2 * slope then return best end
      if here > 0 then high = length else low = length end
    end
    length = high and (low + high) / 2 or 2 * length
  end
  return best
end

---One step: a direction by the curvature of the steps before, and a line search along it.
---@param fn fun(): moonwalk.Tensor  gives the loss
---@return number loss after the step
function LBFGS:step(fn)
  if type(fn) ~= "function" then
    check.fail("step", "the argument", fn, "a function that gives the loss")
  end
  self.trained = {}
  local place = {}
  for _, p in ipairs(self.parameters) do
    if not frozen.is(p) then
      self.trained[#self.trained + 1], place[#place + 1] = p, core.tensor(p)
    end
  end
  if #place == 0 then core.error("step: all parameters of this optimizer are frozen") end
  local loss, g = evaluate(self, fn, place)
  local largest = 0
  for _, x in ipairs(g) do
    local most = x:abs():max():item()
    largest = most ~= most and math.huge or math.max(largest, most)
  end
  if largest == math.huge then
    core.error(("step: the gradients are not finite, the loss is %g"):format(loss))
  end
  if largest <= self.tolerance then
    self.converged = true
    return loss
  end
  local d = direction(self, g)
  local slope = dot(g, d)
  if slope >= 0 then -- the curvature known is none of this place
    self.pairs = {}
    d = plus(g, -2, g)
    slope = -dot(g, g)
  end
  local first = #self.pairs == 0 and math.min(1, 1 / math.sqrt(-slope)) or 1
  local found = search(self, fn, place, d, loss, slope, first * self.lr)
  if not found then -- no lower place: this is as near as the numbers' precision allows
    core.run({}, self.trained, place)
    self.converged = #self.pairs == 0
    self.pairs = {}
    return loss
  end
  core.run({}, self.trained, plus(place, found.length, d))
  local s, y = plus(d, found.length - 1, d), plus(found.gradients, -1, g)
  local sy = dot(s, y)
  if sy > 1e-10 * dot(y, y) then
    self.pairs[#self.pairs + 1] = {s = s, y = y, sy = sy}
    if #self.pairs > self.history then table.remove(self.pairs, 1) end
  end
  self.steps = self.steps + 1
  return found.loss
end
LBFGS.step = core.entry(LBFGS.step)

---What it keeps between steps, by name, as mw.save takes it.
---@return table<string, moonwalk.Tensor>
function LBFGS:state()
  local state = {
    steps = core.tensor(self.steps, "i64"), evaluations = core.tensor(self.evaluations, "i64"),
    pairs = core.tensor(#self.pairs, "i64"),
  }
  for k, pair in ipairs(self.pairs) do
    state[("%d.sy"):format(k)] = core.tensor(pair.sy, "f64")
    for i in ipairs(pair.s) do
      state[("%d.s.%d"):format(k, i)], state[("%d.y.%d"):format(k, i)] = pair.s[i], pair.y[i]
    end
  end
  return state
end

---Goes on from what state() gave.
---@param state table<string, moonwalk.Tensor>
---@param message string? of a mw.load that failed
---@return moonwalk.LBFGS self
function LBFGS:load_state(state, message)
  if state == nil and message then core.error(message) end
  if type(state) ~= "table" then
    check.fail("load_state", "the state", state, "a table of tensors")
  end
  local function take(name)
    if not core.is_tensor(state[name]) then
      check.fail("load_state", ("%q"):format(name), state[name], "a tensor")
    end
    return state[name]
  end
  local list = {}
  for k = 1, take("pairs"):item() do
    local pair = {s = {}, y = {}, sy = take(("%d.sy"):format(k)):item()}
    for i = 1, #self.parameters do
      if i > 1 and state[("%d.s.%d"):format(k, i)] == nil then break end -- some were frozen
      pair.s[i], pair.y[i] = take(("%d.s.%d"):format(k, i)), take(("%d.y.%d"):format(k, i))
    end
    list[k] = pair
  end
  self.steps, self.evaluations = take("steps"):item(), take("evaluations"):item()
  self.pairs = list
  return self
end
LBFGS.load_state = core.entry(LBFGS.load_state)

---@param parameters moonwalk.Tensor[]
---@param options? {lr: number?, history: integer?, tolerance: number?}
---@return moonwalk.LBFGS
local function new(parameters, options)
  local where = "optim.LBFGS"
  if type(parameters) ~= "table" or #parameters == 0 then
    check.fail(where, "the first argument", parameters, "a list of parameters: net:parameters()")
  end
  for i, p in ipairs(parameters) do
    if not (core.is_tensor(p) and core.is_param(p)) then
      check.fail(where, "parameter " .. i, p, "a parameter, made by mw.param")
    end
  end
  options = check.options(where, options, KNOWN)
  return setmetatable({
    parameters = {table.unpack(parameters)}, pairs = {}, steps = 0, evaluations = 0,
    converged = false,
    lr = check.number(where, "lr", options.lr, 0, math.huge, 1),
    history = check.integer(where, "history", options.history, 1, 10),
    tolerance = check.number(where, "tolerance", options.tolerance, 0, math.huge, 1e-7),
  }, LBFGS)
end

return core.entry(new)
