-- optimizer.lua: what all optimizers are: an update's rule for one parameter becomes a class whose
-- step computes loss, gradients and update in one program.
--
-- A rule is a table of
--   options              a list of {name, default, low, high};
--   structure(opt)       what decides which ops the update is made of, as a table of booleans,
--                        numbers or strings: {momentum = true}. Other functions get it as `how`;
--   slots(how)           the names of what is kept for each parameter, of its shape, 0 at first;
--   scalars(opt, t)      the numbers of step t by name, always the same names for the same `how`;
--   update(how, p, g, slots, s)
--                        the new value of p; it changes the table of slots. All are tensors, those
--                        in s scalars of p's dtype.
-- update() sees nothing of the optimizer, so that what it builds depends on `how` alone. It is
-- called when a loss of another structure comes, and the step is then found again without it, and
-- without gradients: see mw_update_again() in moonwalk.h. An option that is read in scalars() may
-- thus change at no cost, and one that structure() tells of at that of a compilation.
--
-- What all rules have besides: groups of parameters with options of their own, each of which its
-- group's options are handed to structure() and scalars() for; frozen parameters, which are passed
-- over; gradients that are added up over several steps, and clipped; an average of the parameters;
-- a schedule of the learning rate.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local frozen = require "moonwalk.frozen"
local options = require "moonwalk.optim.options"
local slots = require "moonwalk.optim.slots"
local state = require "moonwalk.optim.state"
local updates = require "moonwalk.updates"

local ADDED, AVERAGE = slots.ADDED, slots.AVERAGE

---@class moonwalk.Optimizer
---@field lr number learning rate
---@field weight_decay number
---@field steps integer how many updates it has made
---@field pending integer steps since the last update, of those that make the next one
---@field parameters moonwalk.Tensor[]
---@field groups table[] the groups' own options: opt.groups[2].lr = 0.1
---@field accumulate integer 1; how many steps' gradients make an update, by their mean
---@field clip_value number math.huge; the largest element of a gradient, either way
---@field clip_norm number math.huge; the largest norm of all gradients together
---@field average number 0; decay of the parameters' moving average, see averaged()
---@field schedule function|false factor of lr: a function of the number of updates made so far
local Optimizer = {}
Optimizer.__index = Optimizer

local n_rules = 0

---An optimizer's class, by its rule.
---@param name string
---@param spec table
---@return fun(parameters: table, options: table?): moonwalk.Optimizer
local function optimizer(name, spec)
  n_rules = n_rules + 1 -- two rules may have one name
  local class = {}
  local shared = setmetatable({class = name, spec = spec, id = name .. "#" .. n_rules}, Optimizer)
  local own, known, is_own = {}, {}, {}
  for i, each in ipairs(spec.options) do
    own[i], known[i], is_own[each.name] = each.name, each.name, true
  end
  for _, each in ipairs(options.COMMON) do known[#known + 1] = each.name end
  local where = "optim." .. name
  class.__names = function(methods)
    if not methods then return {"parameters", "steps", "groups", table.unpack(known)} end
    local names = {}
    for method in pairs(Optimizer) do names[#names + 1] = method end
    return names
  end
  class.__index = function(_, key)
    local value = shared[key]
    if value == nil then
      local names = class.__names(false)
      for method in pairs(Optimizer) do names[#names + 1] = method end
      if key == "zero_grad" then
        core.error(where .. ": there is nothing to set to zero: opt:step(loss) takes the gradients "
          .. "of that loss alone, and they are kept nowhere")
      end
      check.misspelt(where, key, names)
    end
    return value
  end
  class.__newindex = function(_, key)
    local near = check.option_near(tostring(key), known)
    core.error(("%s: there is no option %q%s"):format(where, tostring(key),
      near and (", did you mean %q?"):format(near) or "; it has " .. table.concat(known, ", ")))
  end
  class.__tostring = function(opt)
    local parts = {}
    for _, each in ipairs(spec.options) do
      parts[#parts + 1] = ("%s = %s"):format(each.name, tostring(opt[each.name]))
    end
    for _, each in ipairs(options.COMMON) do
      local value = opt[each.name]
      if value ~= each.default then
        parts[#parts + 1] = ("%s = %s"):format(each.name, tostring(value))
      end
    end
    return ("%s {%s}"):format(name, table.concat(parts, ", "))
  end

  return core.entry(function(given, values)
    local parameters, group_of, groups = options.parameters(where, given, spec.options, own)
    check.options(where, values, known)
    -- slots has for each parameter a table of tensors by name, once a rule needs them.
    local opt = {parameters = parameters, group_of = group_of, groups = groups, steps = 0,
      pending = 0, slots = {}, plans = {}, checked = {}}
    for _, list in ipairs {spec.options, options.COMMON} do
      for _, each in ipairs(list) do
        opt[each.name] = options.check(where, each, values and values[each.name])
      end
    end
    local meta = options.group_class(opt, where, is_own)
    for _, group in ipairs(groups) do setmetatable(group, meta) end
    return setmetatable(opt, class)
  end)
end

local function same_fields(a, b)
  for key, value in pairs(a) do
    if b[key] ~= value then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- Where a step is among those that make an update together.
local function phase_of(opt)
  if opt.accumulate <= 1 then return "whole" end
  if opt.pending + 1 >= opt.accumulate then return opt.pending > 0 and "last" or "whole" end
  return opt.pending == 0 and "first" or "more"
end

-- What decides which ops a step is made of, besides its rule: its phase, what is clipped, and
-- whether there is an average.
local function common_structure(opt, phase)
  return {phase = phase, clip_value = opt.clip_value < math.huge,
    clip_norm = opt.clip_norm < math.huge, average = opt.average > 0}
end

-- The names of the slots that a step of a structure has, of a parameter whose rule has some.
local function slot_names(common, names)
  if common.phase == "first" or common.phase == "more" then return {ADDED} end
  local all = {table.unpack(names)}
  if common.phase == "last" then all[#all + 1] = ADDED end
  if common.average then all[#all + 1] = AVERAGE end
  return all
end

-- A structure as a text: " momentum=true nesterov=false".
local function fields_text(how)
  local parts = {}
  for key, value in pairs(how) do
    parts[#parts + 1] = (type(value) == "string" and " %s=%q" or " %s=%s"):format(key, value)
  end
  table.sort(parts)
  return table.concat(parts)
end

local function unknown_scalar(_, name)
  core.error(("the rule's scalars() gives no %q"):format(tostring(name)))
end

-- The factor of the learning rate that the schedule gives for the update to come.
local function rate_factor(opt)
  if not opt.schedule then return 1 end
  local factor = opt.schedule(opt.steps)
  if type(factor) ~= "number" or factor ~= factor then
    check.fail("step", "what the schedule gives", factor, "a number")
  end
  return factor
end

-- The numbers of this step for a group: those of the rule, and those of what all have.
local function numbers_of(opt, group, factor, common)
  local view = factor == 1 and group or setmetatable({lr = group.lr * factor}, {__index = group})
  local numbers = opt.spec.scalars(view, opt.steps + 1)
  if common.clip_value then numbers.clip_value = opt.clip_value end
  if common.clip_norm then numbers.clip_norm = opt.clip_norm end
  if common.average then
    numbers.average, numbers.rest_average = opt.average, 1 - opt.average
  end
  if common.phase == "last" then numbers.share = 1 / (opt.pending + 1) end
  return numbers
end

-- For each group, and each dtype of its parameters, a leaf for each of the rule's scalars, which a
-- step gives its value. plan.groups has the number of the group that each leaf belongs to.
local function add_leaves(plan, opt)
  plan.scalars, plan.leaves, plan.names, plan.groups, plan.numbers = {}, {}, {}, {}, {}
  for _, i in ipairs(plan.active) do
    local group, dtype = opt.group_of[i], opt.parameters[i].dtype
    local of_group = plan.scalars[group] or {}
    plan.scalars[group] = of_group
    if not of_group[dtype] then
      local s, names = {}, {}
      for name in pairs(numbers_of(opt, opt.groups[group], 1, plan.common)) do
        names[#names + 1] = name
      end
      table.sort(names)
      for _, name in ipairs(names) do
        s[name] = core.input({}, dtype, name)
        local k = #plan.leaves + 1
        plan.leaves[k], plan.names[k], plan.groups[k] = s[name], name, group
      end
      of_group[dtype] = setmetatable(s, {__index = unknown_scalar})
    end
  end
end

-- What steps of one structure share: the tensors that an update is made of besides the gradients.
local function new_plan(opt, hows, common)
  local plan = {hows = hows, common = common, active = {}, frozen = {}, trained = {}, slots = {},
    frozen_at = frozen.changes()}
  local parts = {opt.id, fields_text(common)}
  for i, p in ipairs(opt.parameters) do
    plan.frozen[i] = frozen.is(p)
    if not plan.frozen[i] then
      plan.active[#plan.active + 1] = i
      plan.trained[#plan.trained + 1] = p
    end
  end
  for k, how in ipairs(hows) do
    parts[#parts + 1] = fields_text(how)
    plan.slots[k] = slot_names(common, opt.spec.slots(how))
  end
  if #hows > 1 then
    for _, i in ipairs(plan.active) do parts[#parts + 1] = tostring(opt.group_of[i]) end
  end
  plan.rule = table.concat(parts, ",")
  add_leaves(plan, opt)
  plan.operands, plan.is_target = {table.unpack(plan.trained)}, {}
  for _, i in ipairs(plan.active) do
    local names = plan.slots[opt.group_of[i]]
    local own = slots.of(opt, i, names)
    for _, name in ipairs(names) do plan.operands[#plan.operands + 1] = own[name] end
  end
  for _, target in ipairs(plan.operands) do plan.is_target[target] = true end
  table.move(plan.leaves, 1, #plan.leaves, #plan.operands + 1, plan.operands)
  return plan
end

-- Whether a plan is for these structures, and for what is frozen now.
local function is_usable(plan, opt, hows)
  local common = plan.common
  if common.clip_value ~= (opt.clip_value < math.huge) or common.average ~= (opt.average > 0)
    or common.clip_norm ~= (opt.clip_norm < math.huge) then
    return false
  end
  for k, how in ipairs(hows) do
    if not same_fields(plan.hows[k], how) then return false end
  end
  local parameters, active, trained = opt.parameters, plan.active, plan.trained
  for k = 1, #active do
    if parameters[active[k]] ~= trained[k] then return false end
  end
  if plan.frozen_at == frozen.changes() then return true end
  for i, p in ipairs(parameters) do
    if plan.frozen[i] ~= frozen.is(p) then return false end
  end
  plan.frozen_at = frozen.changes()
  return true
end

-- The plan for the options of now, and this step's numbers in its leaves.
local function plan_of(opt)
  local hows, phase = {}, phase_of(opt)
  for k, group in ipairs(opt.groups) do hows[k] = opt.spec.structure(group) end
  -- One for each phase, as a loop that accumulates goes through all of them again and again.
  local plan = opt.plans[phase]
  if not plan or not is_usable(plan, opt, hows) then
    plan = new_plan(opt, hows, common_structure(opt, phase))
    opt.plans[phase] = plan
  end
  if #plan.active == 0 then core.error("step: all parameters of this optimizer are frozen") end
  local of_group, factor = {}, rate_factor(opt)
  for k, group in ipairs(opt.groups) do of_group[k] = numbers_of(opt, group, factor,
    plan.common) end
  local numbers, names, groups = plan.numbers, plan.names, plan.groups
  for i = 1, #names do numbers[i] = of_group[groups[i]][names[i]] end
  core.set_scalars(plan.leaves, numbers)
  return plan
end

-- The gradients clipped: elements to [-clip_value, clip_value], then all of them together to a norm
-- of clip_norm, by the factor clip_norm / norm where the norm is larger (Pascanu, Mikolov and
-- Bengio, "On the difficulty of training recurrent neural networks", 2013).
local function clipped(plan, opt, gradients)
  local list, total = {}, nil
  for k, i in ipairs(plan.active) do
    local p, g = opt.parameters[i], gradients[k]
    local s = plan.scalars[opt.group_of[i]][p.dtype]
    if plan.common.clip_value then
      g = core.call("minimum", core.call("maximum", g, -s.clip_value), s.clip_value)
    end
    list[k] = g
    if plan.common.clip_norm then
      local square = core.call("cast", core.call("sum", core.call("square", g)), {dtype = "f64"})
      total = total and total + square or square
    end
  end
  if not total then return list end
  local norm = total:sqrt()
  for k, i in ipairs(plan.active) do
    local p = opt.parameters[i]
    local s = plan.scalars[opt.group_of[i]][p.dtype]
    local most = core.call("cast", s.clip_norm, {dtype = "f64"})
    local factor = core.call("where", norm:gt(most), most / norm, core.full({}, 1, "f64"))
    list[k] = list[k] * core.call("cast", factor, {dtype = p.dtype})
  end
  return list
end

-- Adds this step's gradients to those of the steps before; with the last of them, their means.
local function accumulated(plan, opt, gradients)
  local phase, list = plan.common.phase, {}
  if phase == "whole" then return gradients end
  for k, i in ipairs(plan.active) do
    local s = plan.scalars[opt.group_of[i]][opt.parameters[i].dtype]
    list[k] = phase == "first" and gradients[k] or opt.slots[i][ADDED] + gradients[k]
    if phase == "last" then list[k] = list[k] * s.share end
  end
  return list
end

-- Targets and their new values.
local function build(opt, plan, gradients)
  local targets, values, common = {}, {}, plan.common
  local function set(target, value)
    targets[#targets + 1], values[#values + 1] = target, value
  end
  gradients = accumulated(plan, opt, gradients)
  local only_adds = common.phase == "first" or common.phase == "more"
  if not only_adds and (common.clip_value or common.clip_norm) then
    gradients = clipped(plan, opt, gradients)
  end
  for k, i in ipairs(plan.active) do
    local p, own, group = opt.parameters[i], opt.slots[i], opt.group_of[i]
    if only_adds then
      set(own[ADDED], gradients[k])
    else
      local new, s = setmetatable({}, {__index = own}), plan.scalars[group][p.dtype]
      local value = opt.spec.update(plan.hows[group], p, gradients[k], new, s)
      set(p, value)
      if common.average then
        new[AVERAGE] = own[AVERAGE] * s.average + value * s.rest_average
      end
      for _, name in ipairs(plan.slots[group]) do set(own[name], new[name]) end
    end
  end
  return targets, values
end

local function append(list, ...)
  for i = 1, select("#", ...) do
    local more = select(i, ...)
    table.move(more, 1, #more, #list + 1, list)
  end
  return list
end

-- Computes `asked` and updates the parameters and waiting buffers by given gradients, or by the
-- first tensor's own.
local function run_step(opt, asked, gradients)
  local plan = plan_of(opt)
  if gradients then
    local trained = {}
    for k, i in ipairs(plan.active) do trained[k] = gradients[i] end
    gradients = trained
  end
  local buffers, latest, undo = updates.take(plan.is_target)
  local rule, operands = plan.rule, plan.operands
  if #buffers > 0 or gradients then
    rule = ("%s, %d buffers%s"):format(rule, #buffers, gradients and ", gradients" or "")
    operands = append({}, operands, buffers, latest, gradients or {})
  end
  local differentiated = gradients and 0 or 1
  if core.update_again(rule, asked, differentiated, operands) then return end
  undo() -- building may fail
  local targets, values = build(opt, plan, gradients or core.grad(asked[1], plan.trained))
  updates.take(plan.is_target)
  core.update_derived(rule, asked, differentiated, operands, append(targets, buffers),
    append(values, latest))
end

-- A loss of another network has gradients, too: zeros.
local function check_reaches(opt, loss)
  local trained = {}
  for _, p in ipairs(opt.parameters) do
    if not frozen.is(p) then trained[#trained + 1] = p end
  end
  if #trained == 0 or core.reaches(loss, trained) then return end
  local name = core.name(trained[1])
  core.error(("step: the loss depends on none of the %d %sparameters of this optimizer, such as "
    .. "%s%s; its gradients would all be 0"):format(#trained,
    #trained < #opt.parameters and "trained " or "", core.spec(trained[1]),
    name ~= "" and " '" .. name .. "'" or ""))
end

---Makes one step: computes the loss and its gradients and updates the parameters, all in one
---program. The buffers (running statistics) whose new values wait are updated with them. Other
---gradients than the loss's own may be given, in the order of the parameters (clipped ones, for
---example). Further tensors, parts of the loss that are to be printed perhaps, are computed in the
---same program and returned too; after the update they would be stale. Frozen parameters are passed
---over; gradients that are given have an entry for each of them all the same.
---
---With accumulate = n, each n steps make one update, by the mean of their gradients; the others
---only add them up. Gradients are added, then clipped, then handed to the rule.
---@param loss moonwalk.Tensor a scalar
---@param gradients moonwalk.Tensor[]?
---@param ... moonwalk.Tensor
---@return moonwalk.Tensor loss with its value from before the update
---@return moonwalk.Tensor ...
function Optimizer:step(loss, gradients, ...)
  local parameters = self.parameters
  if not core.is_tensor(loss) then check.fail("step", "the loss", loss, "a scalar tensor") end
  if gradients == nil then
    if #loss.shape > 0 then
      check.fail("step", "the loss", loss, "a scalar; take its :mean() or :sum()")
    end
    if self.steps == 0 then check_reaches(self, loss) end
  elseif type(gradients) ~= "table" or #gradients ~= #parameters then
    core.error(("step: the gradients are %s, expected a list of %d tensors"):format(
      type(gradients) == "table" and "a list of " .. #gradients or check.show(gradients),
      #parameters))
  end
  for i, g in ipairs(gradients or {}) do
    if not core.is_tensor(g) then check.fail("step", "gradient " .. i, g, "a tensor") end
  end
  options.check_all(self)
  local asked = {loss, ...}
  for i = 2, select("#", ...) + 1 do
    if not core.is_tensor(asked[i]) then
      check.fail("step", ("argument %d"):format(i + 1), asked[i], "a tensor to compute, too")
    end
  end
  run_step(self, asked, gradients)
  self.pending = self.pending + 1
  if self.pending >= self.accumulate then
    self.steps, self.pending = self.steps + 1, 0
  end
  updates.stepped()
  return loss, ...
end
Optimizer.step = core.entry(Optimizer.step)

---The learning rate of the update to come: lr times what the schedule gives.
---@param group integer? 1
---@return number
function Optimizer:rate(group)
  return self.groups[group or 1].lr * rate_factor(self)
end
Optimizer.rate = core.entry(Optimizer.rate)

---Calls fn(...) while the parameters have the values of their moving average, e <- average e +
---(1 - average) p after each update (Polyak and Juditsky, 1992), and gives them their own back,
---whatever happens. For that the option `average` must be on: optim.SGD(parameters, {average =
---0.999}).
---@param fn function
---@param ... any
---@return any ... what fn returns
function Optimizer:averaged(fn, ...)
  local targets, values, own = {}, {}, {}
  for i, p in ipairs(self.parameters) do
    local average = self.slots[i] and self.slots[i][AVERAGE]
    if average then
      targets[#targets + 1], values[#values + 1], own[#own + 1] = p, average, core.tensor(p)
    end
  end
  if #targets == 0 then
    core.error("averaged: there is no average; it takes the option average = 0.999, and a step")
  end
  updates.flush()
  core.run({}, targets, values)
  local results = table.pack(pcall(fn, ...))
  core.run({}, targets, own)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end
Optimizer.averaged = core.entry(Optimizer.averaged)

---See state.lua.
---@return table<string, moonwalk.Tensor>
function Optimizer:state() return state.of(self) end

---Goes on from what state() gave; see state.lua.
---@param given table<string, moonwalk.Tensor>
---@param message string?
---@return moonwalk.Optimizer self
function Optimizer:load_state(given, message) return state.load(self, given, message) end
Optimizer.load_state = core.entry(Optimizer.load_state)

return {optimizer = optimizer, option = options.option}
