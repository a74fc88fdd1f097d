-- optim.lua: optimizers: rules that change parameters so that a loss falls.
--
--   local opt = optim.SGD(net:parameters(), {lr = 0.05, momentum = 0.9})
--   opt:step(loss)       -- the loss, its gradients and the update, as one program
--   opt.lr = 0.01        -- any option may change between steps
--
-- The rules are PyTorch's (torch.optim, version 1.13), and so are the options' names and
-- defaults. Below, g is the gradient, p the parameter, t the number of the step, from 1.
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

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local updates = require "moonwalk.updates"
local Module = require "moonwalk.nn.module"

---@class moonwalk.Optimizer
---@field lr number learning rate
---@field weight_decay number
---@field steps integer how many steps it has made
local Optimizer = {}
Optimizer.__index = Optimizer

local function check_option(where, option, value)
  if type(option.default) == "boolean" then
    return check.boolean(where, option.name, value, option.default)
  end
  return check.number(where, option.name, value, option.low, option.high, option.default)
end

local n_rules = 0

-- An optimizer's class, by its rule.
local function optimizer(name, spec)
  n_rules = n_rules + 1 -- two rules may have one name
  local class = {}
  local shared = setmetatable({class = name, spec = spec, id = name .. "#" .. n_rules}, Optimizer)
  local known = {}
  for i, option in ipairs(spec.options) do known[i] = option.name end
  local where = "optim." .. name
  class.__index = function(_, key)
    local value = shared[key]
    if value == nil then
      local names = {"parameters", "steps", table.unpack(known)}
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
    local near = check.near(tostring(key), known)
    core.error(("%s: there is no option %q%s"):format(where, tostring(key),
      near and (", did you mean %q?"):format(near) or "; it has " .. table.concat(known, ", ")))
  end
  class.__tostring = function(opt)
    local parts = {}
    for i, option in ipairs(spec.options) do
      parts[i] = ("%s = %s"):format(option.name, tostring(opt[option.name]))
    end
    return ("%s {%s}"):format(name, table.concat(parts, ", "))
  end

  return core.entry(function(parameters, options)
    if type(parameters) ~= "table" then
      check.fail(where, "the first argument", parameters, "a list of parameters: net:parameters()")
    elseif Module.is(parameters) then
      core.error(("%s: the first argument is the module %s, expected a list of parameters: "
        .. "net:parameters()"):format(where, parameters.class))
    elseif #parameters == 0 then
      core.error(where .. ": the list of parameters is empty; write net:parameters()")
    end
    for i, p in ipairs(parameters) do
      if not (core.is_tensor(p) and core.is_param(p)) then
        check.fail(where, "parameter " .. i, p, "a parameter, made by mw.param")
      end
    end
    check.options(where, options, known)
    -- slots has for each parameter a table of tensors by name, once a rule needs them.
    local opt = {parameters = {table.unpack(parameters)}, steps = 0, slots = {}, plan = false}
    for _, option in ipairs(spec.options) do
      opt[option.name] = check_option(where, option, options and options[option.name])
    end
    return setmetatable(opt, class)
  end)
end

-- What parameter i is called in the state: by its name, or its place where that tells nothing. Of
-- two networks that are trained together, both may have a "1.weight".
local function state_name(opt, i)
  local own = core.name(opt.parameters[i])
  if own == "" then return tostring(i) end
  for k, other in ipairs(opt.parameters) do
    if k ~= i and core.name(other) == own then return ("%s#%d"):format(own, i) end
  end
  return own
end

local function slot_name(opt, i, name)
  return ("%s.%s"):format(state_name(opt, i), name)
end

-- The slots of parameter i that the rule needs now: zeros at first.
local function slots_of(opt, i, names)
  local slots, p = opt.slots[i] or {}, opt.parameters[i]
  opt.slots[i] = slots
  for _, name in ipairs(names) do
    slots[name] = slots[name]
      or core.param(core.full(p.shape, 0, p.dtype), slot_name(opt, i, name))
  end
  return slots
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

-- A rule and its structure as a text: "SGD#1 momentum=true nesterov=false".
local function rule_text(opt, how)
  local parts = {}
  for key, value in pairs(how) do
    parts[#parts + 1] = (type(value) == "string" and " %s=%q" or " %s=%s"):format(key, value)
  end
  table.sort(parts)
  return opt.id .. table.concat(parts)
end

local function unknown_scalar(_, name)
  core.error(("the rule's scalars() gives no %q"):format(tostring(name)))
end

-- For each dtype of the parameters a leaf for each of the rule's scalars, which a step gives its
-- value.
local function add_leaves(plan, opt)
  local names = {}
  for name in pairs(opt.spec.scalars(opt, opt.steps + 1)) do names[#names + 1] = name end
  table.sort(names)
  plan.scalars, plan.leaves, plan.names, plan.numbers = {}, {}, {}, {}
  for _, p in ipairs(opt.parameters) do
    local dtype = p.dtype
    if not plan.scalars[dtype] then
      local s = {}
      for _, name in ipairs(names) do
        s[name] = core.input({}, dtype, name)
        plan.leaves[#plan.leaves + 1], plan.names[#plan.names + 1] = s[name], name
      end
      plan.scalars[dtype] = setmetatable(s, {__index = unknown_scalar})
    end
  end
end

-- What steps of one structure share: the tensors that an update is made of besides the gradients.
local function new_plan(opt, how)
  local plan = {how = how, rule = rule_text(opt, how), slots = opt.spec.slots(how)}
  add_leaves(plan, opt)
  plan.operands, plan.is_target = {table.unpack(opt.parameters)}, {}
  for i in ipairs(opt.parameters) do
    local slots = slots_of(opt, i, plan.slots)
    for _, name in ipairs(plan.slots) do plan.operands[#plan.operands + 1] = slots[name] end
  end
  for _, target in ipairs(plan.operands) do plan.is_target[target] = true end
  table.move(plan.leaves, 1, #plan.leaves, #plan.operands + 1, plan.operands)
  return plan
end

-- The plan for the options of now, and this step's numbers in its leaves.
local function plan_of(opt)
  local plan, how, parameters = opt.plan, opt.spec.structure(opt), opt.parameters
  local usable = plan and same_fields(plan.how, how)
  for i = 1, usable and #parameters or 0 do
    usable = usable and plan.operands[i] == parameters[i]
  end
  if not usable then
    plan = new_plan(opt, how)
    opt.plan = plan
  end
  local numbers = opt.spec.scalars(opt, opt.steps + 1)
  for i, name in ipairs(plan.names) do plan.numbers[i] = numbers[name] end
  core.set_scalars(plan.leaves, plan.numbers)
  return plan
end

-- Targets and their new values.
local function build(opt, plan, gradients)
  local targets, values = {}, {}
  for i, p in ipairs(opt.parameters) do
    local slots = opt.slots[i]
    local new = setmetatable({}, {__index = slots})
    targets[#targets + 1] = p
    values[#values + 1] = opt.spec.update(plan.how, p, gradients[i], new, plan.scalars[p.dtype])
    for _, name in ipairs(plan.slots) do
      targets[#targets + 1], values[#values + 1] = slots[name], new[name]
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
  local buffers, latest, undo = updates.take(plan.is_target)
  local rule, operands = plan.rule, plan.operands
  if #buffers > 0 or gradients then
    rule = ("%s, %d buffers%s"):format(rule, #buffers, gradients and ", gradients" or "")
    operands = append({}, operands, buffers, latest, gradients or {})
  end
  local differentiated = gradients and 0 or 1
  if core.update_again(rule, asked, differentiated, operands) then return end
  undo() -- building may fail
  local targets, values = build(opt, plan, gradients or core.grad(asked[1], opt.parameters))
  updates.take(plan.is_target)
  core.update_derived(rule, asked, differentiated, operands, append(targets, buffers),
    append(values, latest))
end

---Makes one step: computes the loss and its gradients and updates the parameters, all in one
---program. The buffers (running statistics) whose new values wait are updated with them. Other
---gradients than the loss's own may be given, in the order of the parameters (clipped ones, for
---example). Further tensors, parts of the loss that are to be printed perhaps, are computed in the
---same program and returned too; after the update they would be stale.
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
    if self.steps == 0 and not core.reaches(loss, parameters) then
      core.error(("step: the loss depends on none of the %d parameters of this optimizer, such as "
        .. "%s%s; its gradients would all be 0"):format(#parameters, core.spec(parameters[1]),
        core.name(parameters[1]) ~= "" and " '" .. core.name(parameters[1]) .. "'" or ""))
    end
  elseif type(gradients) ~= "table" or #gradients ~= #parameters then
    core.error(("step: the gradients are %s, expected a list of %d tensors"):format(
      type(gradients) == "table" and "a list of " .. #gradients or check.show(gradients),
      #parameters))
  end
  for i, g in ipairs(gradients or {}) do
    if not core.is_tensor(g) then check.fail("step", "gradient " .. i, g, "a tensor") end
  end
  for _, option in ipairs(self.spec.options) do check_option("step", option, self[option.name]) end
  local asked = {loss, ...}
  for i = 2, select("#", ...) + 1 do
    if not core.is_tensor(asked[i]) then
      check.fail("step", ("argument %d"):format(i + 1), asked[i], "a tensor to compute, too")
    end
  end
  run_step(self, asked, gradients)
  self.steps = self.steps + 1
  updates.stepped()
  return loss, ...
end
Optimizer.step = core.entry(Optimizer.step)

---What the optimizer keeps between steps, by name ("1.weight.momentum"), as mw.save takes it.
---@return table<string, moonwalk.Tensor>
function Optimizer:state()
  local state = {steps = core.tensor(self.steps, "i64")}
  for i, slots in pairs(self.slots) do
    for name, value in pairs(slots) do state[slot_name(self, i, name)] = value end
  end
  return state
end

---Goes on from what state() gave, for the same parameters and kind of optimizer.
---@param state table<string, moonwalk.Tensor>
---@param message string? of a mw.load that failed: opt:load_state(mw.load(path)) raises it
---@return moonwalk.Optimizer self
function Optimizer:load_state(state, message)
  if state == nil and message then core.error(message) end
  if type(state) ~= "table" then
    check.fail("load_state", "the state", state, "a table of tensors")
  end
  local steps = state.steps
  if not core.is_tensor(steps) or #steps.shape > 0 then
    check.fail("load_state", "\"steps\"", steps, "a scalar")
  end
  local targets, values, known = {}, {}, {steps = true}
  local slots = self.spec.slots(self.spec.structure(self))
  for i, p in ipairs(self.parameters) do
    for name, target in pairs(slots_of(self, i, slots)) do
      local key = slot_name(self, i, name)
      local value = state[key]
      if value == nil and steps:item() == 0 then -- taken before the first step
        value = core.full(p.shape, 0, p.dtype)
      end
      if check.show(value) ~= check.show(target) then
        check.fail("load_state", ("%q"):format(key), value, check.show(target))
      end
      known[key] = true
      targets[#targets + 1], values[#values + 1] = target, value
    end
  end
  for name in pairs(state) do
    if not known[name] then
      core.error(("load_state: %q does not belong to this %s"):format(name, tostring(self)))
    end
  end
  if #targets > 0 then core.run({}, targets, values) end
  self.steps = math.tointeger(steps:item())
  return self
end
Optimizer.load_state = core.entry(Optimizer.load_state)

local function option(name, default, low, high)
  return {name = name, default = default, low = low or 0, high = high or math.huge}
end

-- g + weight_decay p
local function decayed(how, p, g, s)
  return how.decay and g + p * s.weight_decay or g
end

---@class moonwalk.optim
local optim = {}

---Stochastic gradient descent, with momentum and Nesterov's variant of it.
---     g <- g + weight_decay p
---     b <- momentum b + g
---     p <- p - lr b           or, with nesterov, p - lr (g + momentum b)
---Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum
---in deep learning", 2013, with the learning rate outside of b as in torch.optim.SGD.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.SGD = optimizer("SGD", {
  options = {
    option("lr", 0.001), option("momentum", 0), option("nesterov", false),
    option("weight_decay", 0),
  },
  structure = function(opt)
    return {decay = opt.weight_decay ~= 0, momentum = opt.momentum ~= 0, nesterov = opt.nesterov}
  end,
  slots = function(how) return how.momentum and {"momentum"} or {} end,
  scalars = function(opt)
    return {lr = opt.lr, momentum = opt.momentum, weight_decay = opt.weight_decay}
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    if not how.momentum then return p - g * s.lr end
    slots.momentum = slots.momentum * s.momentum + g
    local direction = slots.momentum
    if how.nesterov then direction = g + direction * s.momentum end
    return p - direction * s.lr
  end,
})

local function adam_structure(opt) return {decay = opt.weight_decay ~= 0} end

local function adam_slots() return {"mean", "square"} end

-- Both numbers of a decaying mean, and the corrections for its beginning.
local function adam_scalars(opt, t)
  return {
    beta1 = opt.beta1, rest1 = 1 - opt.beta1, beta2 = opt.beta2, rest2 = 1 - opt.beta2,
    rate = opt.lr / (1 - opt.beta1 ^ t), scale = 1 / math.sqrt(1 - opt.beta2 ^ t),
    eps = opt.eps, weight_decay = opt.weight_decay, kept = 1 - opt.lr * opt.weight_decay,
  }
end

-- Adam's step without weight decay: m / (1 - beta1^t) over sqrt(v / (1 - beta2^t)) + eps.
local function adam(p, g, slots, s)
  local m = slots.mean * s.beta1 + g * s.rest1
  local v = slots.square * s.beta2 + g * g * s.rest2
  slots.mean, slots.square = m, v
  return p - m * s.rate / (v:sqrt() * s.scale + s.eps)
end

---Adam.
---     g <- g + weight_decay p
---     m <- beta1 m + (1 - beta1) g
---     v <- beta2 v + (1 - beta2) g^2
---     p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
---Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.Adam = optimizer("Adam", {
  options = {
    option("lr", 0.001), option("beta1", 0.9, 0, 1 - 2^-53), option("beta2", 0.999, 0, 1 - 2^-53),
    option("eps", 1e-8), option("weight_decay", 0),
  },
  structure = adam_structure, slots = adam_slots, scalars = adam_scalars,
  update = function(how, p, g, slots, s)
    return adam(p, decayed(how, p, g, s), slots, s)
  end,
})

---Adam with the weight decay beside the gradient instead of in it: p <- (1 - lr weight_decay) p,
---then Adam's step.
---Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.AdamW = optimizer("AdamW", {
  options = {
    option("lr", 0.001), option("beta1", 0.9, 0, 1 - 2^-53), option("beta2", 0.999, 0, 1 - 2^-53),
    option("eps", 1e-8), option("weight_decay", 0.01),
  },
  structure = adam_structure, slots = adam_slots, scalars = adam_scalars,
  update = function(how, p, g, slots, s)
    return adam(how.decay and p * s.kept or p, g, slots, s)
  end,
})

---RMSprop.
---     g <- g + weight_decay p
---     v <- alpha v + (1 - alpha) g^2
---     b <- momentum b + g / (sqrt(v) + eps)
---     p <- p - lr b
---Source: Hinton, lecture 6e of "Neural networks for machine learning", 2012, with the momentum
---of torch.optim.RMSprop.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.RMSprop = optimizer("RMSprop", {
  options = {
    option("lr", 0.01), option("alpha", 0.99, 0, 1), option("eps", 1e-8), option("momentum", 0),
    option("weight_decay", 0),
  },
  structure = function(opt)
    return {decay = opt.weight_decay ~= 0, momentum = opt.momentum ~= 0}
  end,
  slots = function(how) return how.momentum and {"square", "momentum"} or {"square"} end,
  scalars = function(opt)
    return {
      lr = opt.lr, alpha = opt.alpha, rest = 1 - opt.alpha, eps = opt.eps,
      momentum = opt.momentum, weight_decay = opt.weight_decay,
    }
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    local v = slots.square * s.alpha + g * g * s.rest
    slots.square = v
    local direction = g / (v:sqrt() + s.eps)
    if how.momentum then
      direction = slots.momentum * s.momentum + direction
      slots.momentum = direction
    end
    return p - direction * s.lr
  end,
})

return setmetatable(optim, {
  __index = function(_, name)
    local names = {}
    for known in pairs(optim) do names[#names + 1] = known end
    table.sort(names)
    local near = check.near(tostring(name), names)
    core.error(("optim: there is no %q%s"):format(tostring(name), near
      and (", did you mean optim.%s?"):format(near) or "; it has " .. table.concat(names, ", ")))
  end,
})
