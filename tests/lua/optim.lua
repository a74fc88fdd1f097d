-- optim.lua: each optimizer against its rule written for plain numbers; states; learning rates.
local mw = require "moonwalk"
local t = require "tap"
local optim = mw.optim

-- Losses of two parameters a and b whose gradients are known by hand:
-- loss = sum((a - 1)^2) / 2 + sum(a b) + sum(b^4) / 4, so da = a - 1 + b and db = a + b^3.
local A, B = {0.5, -2.0, 3.0}, {1.0, 0.25, -0.5}

local function parameters(dtype)
  return mw.param(mw.tensor(A, dtype or "f64"), "a"), mw.param(mw.tensor(B, dtype or "f64"), "b")
end

local function loss_of(a, b)
  return ((a - 1) ^ 2):sum() / 2 + (a * b):sum() + (b ^ 4):sum() / 4
end

-- What `steps` steps of a rule for one number make of both parameters. rule(p, g, state, t) gives
-- the new p; state is a table for each number.
local function by_hand(rule, steps)
  local a, b = {table.unpack(A)}, {table.unpack(B)}
  local states = {a = {{}, {}, {}}, b = {{}, {}, {}}}
  for step = 1, steps do
    for i = 1, #a do
      local da, db = a[i] - 1 + b[i], a[i] + b[i] ^ 3
      a[i], b[i] = rule(a[i], da, states.a[i], step), rule(b[i], db, states.b[i], step)
    end
  end
  return {a, b}
end

local function sgd(o)
  return function(p, g, s)
    g = g + o.weight_decay * p
    s.b = s.b and o.momentum * s.b + g or g
    return p - o.lr * (o.nesterov and g + o.momentum * s.b or s.b)
  end
end

local function adam(o)
  return function(p, g, s, step)
    g = g + o.weight_decay * p
    s.m = o.beta1 * (s.m or 0) + (1 - o.beta1) * g
    s.v = o.beta2 * (s.v or 0) + (1 - o.beta2) * g ^ 2
    local m, v = s.m / (1 - o.beta1 ^ step), s.v / (1 - o.beta2 ^ step)
    return p - o.lr * m / (math.sqrt(v) + o.eps)
  end
end

local function adamw(o)
  local inner = adam {lr = o.lr, beta1 = o.beta1, beta2 = o.beta2, eps = o.eps, weight_decay = 0}
  return function(p, g, s, step) return inner(p * (1 - o.lr * o.weight_decay), g, s, step) end
end

local function rmsprop(o)
  return function(p, g, s)
    g = g + o.weight_decay * p
    s.v = o.alpha * (s.v or 0) + (1 - o.alpha) * g ^ 2
    s.b = o.momentum * (s.b or 0) + g / (math.sqrt(s.v) + o.eps)
    return p - o.lr * s.b
  end
end

local function adagrad(o)
  return function(p, g, s, step)
    g = g + o.weight_decay * p
    s.v = (s.v or 0) + g ^ 2
    return p - o.lr / (1 + (step - 1) * o.lr_decay) * g / (math.sqrt(s.v) + o.eps)
  end
end

local function adadelta(o)
  return function(p, g, s)
    g = g + o.weight_decay * p
    s.v = o.rho * (s.v or 0) + (1 - o.rho) * g ^ 2
    local delta = math.sqrt((s.u or 0) + o.eps) / math.sqrt(s.v + o.eps) * g
    s.u = o.rho * (s.u or 0) + (1 - o.rho) * delta ^ 2
    return p - o.lr * delta
  end
end

local function lion(o)
  return function(p, g, s)
    local m = s.m or 0
    local c = o.beta1 * m + (1 - o.beta1) * g
    s.m = o.beta2 * m + (1 - o.beta2) * g
    return p - o.lr * ((c > 0 and 1 or c < 0 and -1 or 0) + o.weight_decay * p)
  end
end

local DEFAULTS = {
  Adagrad = {lr = 0.01, lr_decay = 0, eps = 1e-10, weight_decay = 0},
  Adadelta = {lr = 1, rho = 0.9, eps = 1e-6, weight_decay = 0},
  Lion = {lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0},
  SGD = {lr = 0.001, momentum = 0, nesterov = false, weight_decay = 0},
  Adam = {lr = 0.001, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0},
  AdamW = {lr = 0.001, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01},
  RMSprop = {lr = 0.01, alpha = 0.99, eps = 1e-8, momentum = 0, weight_decay = 0},
}
local RULES = {
  SGD = sgd, Adam = adam, AdamW = adamw, RMSprop = rmsprop, Adagrad = adagrad, Adadelta = adadelta,
  Lion = lion,
}

local function with_defaults(name, options)
  local all = {}
  for key, value in pairs(DEFAULTS[name]) do all[key] = value end
  for key, value in pairs(options) do all[key] = value end
  return all
end

for _, case in ipairs {
  {"SGD", {}},
  {"SGD", {lr = 0.05}},
  {"SGD", {lr = 0.05, weight_decay = 0.1}},
  {"SGD", {lr = 0.05, momentum = 0.9}},
  {"SGD", {lr = 0.05, momentum = 0.9, nesterov = true}},
  {"SGD", {lr = 0.05, momentum = 0.5, nesterov = true, weight_decay = 0.01}},
  {"Adam", {}},
  {"Adam", {lr = 0.1, beta1 = 0.8, beta2 = 0.95, eps = 1e-3}},
  {"Adam", {lr = 0.1, weight_decay = 0.1}},
  {"AdamW", {}},
  {"AdamW", {lr = 0.1, weight_decay = 0.1}},
  {"AdamW", {lr = 0.1, weight_decay = 0}},
  {"RMSprop", {}},
  {"RMSprop", {lr = 0.02, alpha = 0.9, momentum = 0.9}},
  {"RMSprop", {lr = 0.02, eps = 0.1, weight_decay = 0.1}},
  {"Adagrad", {}},
  {"Adagrad", {lr = 0.1, lr_decay = 0.1, eps = 0.01, weight_decay = 0.1}},
  {"Adadelta", {}},
  {"Adadelta", {lr = 0.5, rho = 0.7, eps = 0.01, weight_decay = 0.1}},
  {"Lion", {}},
  {"Lion", {lr = 0.05, beta1 = 0.5, beta2 = 0.7, weight_decay = 0.1}},
} do
  local name, options = case[1], case[2]
  local a, b = parameters()
  local opt = optim[name]({a, b}, options)
  for _ = 1, 8 do opt:step(loss_of(a, b)) end
  t.near({a:totable(), b:totable()}, by_hand(RULES[name](with_defaults(name, options)), 8), 1e-12,
    "8 steps of " .. tostring(opt))
  local a32, b32 = parameters "f32"
  local opt32 = optim[name]({a32, b32}, options)
  for _ = 1, 8 do opt32:step(loss_of(a32, b32)) end
  t.near({a32:totable(), b32:totable()}, {a:totable(), b:totable()}, 2e-5, "in float32 too")
end

-- step -------------------------------------------------------------------------------------------

do
  local a, b = parameters()
  local opt = optim.SGD({a, b}, {lr = 0.1})
  local loss = opt:step(loss_of(a, b))
  -- (0.25 + 9 + 4) / 2 + (0.5 - 0.5 - 1.5) + (1 + 0.25^4 + 0.5^4) / 4
  t.near(loss:item(), 6.625 - 1.5 + (1 + 0.25 ^ 4 + 0.5 ^ 4) / 4, 1e-14,
    "step returns the loss from before the update")
  t.is(opt.steps, 1, "steps are counted")
  opt:step(loss_of(a, b))
  local compiled = mw.stats().programs_compiled
  local run = mw.stats().programs_run
  for i = 1, 20 do
    opt.lr = 0.1 / i
    opt:step(loss_of(a, b))
  end
  t.is(mw.stats().programs_compiled, compiled, "a changing learning rate compiles nothing")
  t.is(mw.stats().programs_run, run + 20, "loss, gradients and update are one program")

  local c = mw.param(mw.tensor({1.0, 2.0}, "f64"))
  opt = optim.SGD({c}, {lr = 1})
  opt:step((c * c):sum(), {mw.tensor({0.25, 0.5}, "f64")})
  t.is(c:totable(), {0.75, 1.5}, "gradients may be given")
  opt.lr = 0
  opt:step((c * c):sum())
  t.is(c:totable(), {0.75, 1.5}, "a learning rate of 0 changes nothing")
  local unused = mw.param(mw.tensor(3.0))
  opt = optim.SGD({unused, c}, {lr = 0.5})
  opt:step((c * c):sum())
  t.is({unused:item(), c:totable()}, {3, {0, 0}}, "a parameter without a part in the loss stays")
  local mixed = mw.param(mw.tensor({1.0}, "f32"))
  opt = optim.SGD({c, mixed}, {lr = 0.5, momentum = 0.5})
  opt:step((c * c):sum() + (mixed:cast "f64"):sum())
  t.is(mixed:totable(), {0.5}, "parameters of both float types in one optimizer")
end

do
  local a = mw.param(mw.tensor({1.0}, "f64"))
  local opt = optim.SGD({a}, {lr = 0.5})
  opt:step((a * a):sum())
  opt.momentum = 0.5
  opt:step((a * 3):sum())
  t.is(a:totable(), {-1.5}, "momentum may be turned on between steps")
end

-- state ------------------------------------------------------------------------------------------

for _, name in ipairs {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Lion"} do
  local options = {lr = 0.05, momentum = (name == "SGD" or name == "RMSprop") and 0.9 or nil}
  local function run(a, b, opt, steps)
    for _ = 1, steps do opt:step(loss_of(a, b)) end
    return {a:totable(), b:totable()}
  end
  local a, b = parameters()
  local whole = run(a, b, optim[name]({a, b}, options), 7)
  a, b = parameters()
  local first = optim[name]({a, b}, options)
  run(a, b, first, 3)
  local state = first:state()
  local second = optim[name]({a, b}, options)
  second:load_state(state)
  t.is(second.steps, 3, name .. ": the number of steps is in the state")
  t.is(run(a, b, second, 4), whole, name .. ": a state goes on where it was taken")
end

do
  local a, b = parameters()
  local opt = optim.SGD({a, b}, {lr = 0.1, momentum = 0.9})
  opt:step(loss_of(a, b))
  local keys = {}
  for key in pairs(opt:state()) do keys[#keys + 1] = key end
  table.sort(keys)
  t.is(keys, {"a.momentum", "b.momentum", "option.accumulate", "option.average",
    "option.clip_norm", "option.clip_value", "option.lr", "option.momentum", "option.nesterov",
    "option.weight_decay", "steps"}, "the state's names")
  t.near(opt:state()["b.momentum"]:totable(),
    {0.5 + 1, -2 + 0.25 ^ 3, 3 - 0.5 ^ 3}, 1e-14, "the first momentum is the gradient")
  local state = opt:state()
  state["b.momentum"] = mw.zeros({2}, "f64")
  t.error(function() opt:load_state(state) end,
    '"b.momentum" is a tensor f64%[2%], expected a tensor f64%[3%]', "a state of another shape")
  state["b.momentum"] = nil
  t.error(function() opt:load_state(state) end, '"b.momentum" is nil', "a state with a hole")
  state = opt:state()
  state.other = mw.tensor(1)
  t.error(function() opt:load_state(state) end, '"other" does not belong', "a state with extras")
  t.error(function() opt:load_state {} end, '"steps" is nil, expected a scalar', "an empty state")
  t.error(function() opt:load_state(mw.load "/nowhere/at/all.safetensors") end, "nowhere",
    "load_state(mw.load(path)) says why the file could not be read")
  local fresh = optim.SGD({parameters()}, {momentum = 0.9})
  local begun = optim.SGD({parameters()}, {momentum = 0.9})
  begun:load_state(fresh:state())
  t.is(begun.steps, 0, "a state from before the first step")
end

do -- two networks under one optimizer
  local function both()
    return {mw.param({1, 2}, "weight"), mw.param({3, 4}, "weight"), mw.param {5}}
  end
  local first = optim.SGD(both(), {momentum = 0.9})
  local f, g, h = table.unpack(first.parameters)
  first:step((f + 2 * g + 3 * h):sum())
  local state = first:state()
  t.is({state["weight#1.momentum"]:totable(), state["weight#2.momentum"]:totable(),
    state["3.momentum"]:totable()}, {{1, 1}, {2, 2}, {6}}, "the state of parameters of one name")
  t.is(optim.SGD(both(), {momentum = 0.9}):load_state(state).slots[2].momentum:totable(), {2, 2},
    "and back")
end

-- Errors -----------------------------------------------------------------------------------------

local p, q = parameters()
for _, case in ipairs {
  {function() return optim.sgd end, 'optim: there is no "sgd", did you mean optim.SGD%?'},
  {function() return optim.Rprop end, 'no "Rprop", did you mean optim.RMSprop'},
  {function() return optim.Ftrl end, 'no "Ftrl"; it has Adadelta, Adagrad, Adam, AdamW, LBFGS, Li'},
  {function() optim.SGD {p, q, p} end, "parameter 3 stands there twice, the first"},
  {function() optim.SGD {{p}} end, "group 1 is a table, expected a table such as"},
  {function() optim.SGD({{{p}, lr = "a"}}) end, 'lr is "a", expected a number'},
  {function() optim.SGD({{{p}, Lr = 1}}) end, 'no option "Lr", did you mean "lr"'},
  {function() optim.SGD({{{p}, clip_norm = 1}}) end, 'group 1: there is no option "clip'},
  {function() optim.SGD({{{}}}) end, "the groups have no parameters"},
  {function() optim.SGD({p}).groups[1].rate = 1 end, 'a group has no option "rate"'},
  {function() optim.SGD({p}, {accumulate = 0}) end, "accumulate is 0, expected a whole number of"},
  {function() optim.SGD({p}, {schedule = 3}) end, "schedule is 3, expected a function of the step"},
  {function() optim.SGD({p}, {average = 2}) end, "average is 2, expected a number from 0 to 1"},
  {function() optim.SGD({p}):averaged(print) end, "averaged: there is no average"},
  {function() optim.SGD({p}, {momentun = 0.9}) end, 'optim.SGD: .*"momentun", did you mean "mome'},
  {function() optim.SGD({p}, {beta1 = 0.9}) end, 'no option "beta1"'},
  {function() optim.SGD({p}, {lr = "0.1"}) end, 'lr is "0.1", expected a number of at least 0'},
  {function() optim.SGD({p}, {lr = -1}) end, "lr is %-1, expected a number of at least 0"},
  {function() optim.SGD({p}, {lr = 0 / 0}) end, "lr is .*nan, expected a number"},
  {function() optim.SGD({p}, {nesterov = 1}) end, "nesterov is 1, expected true or false"},
  {function() optim.SGD({p}, 0.1) end, "the table of options is 0.1, expected a table"},
  {function() optim.Adam({p}, {beta1 = 1}) end, "beta1 is 1, expected a number from 0 to"},
  {function() optim.SGD({}) end, "the list of parameters is empty"},
  {function() optim.SGD(p) end, "the first argument is a tensor f64%[3%], expected a list"},
  {function() optim.SGD {p, mw.zeros {2}} end, "parameter 2 is a tensor f32%[2%], expected a par"},
  {function() optim.SGD({p}).learning_rate = 1 end, 'no option "learning_rate"'},
  {function() optim.SGD({p}).Lr = 1 end, 'did you mean "lr"'},
  {function() optim.SGD({p}):step(p * 2) end, "the loss is a tensor f64%[3%], expected a scalar"},
  {function() optim.SGD({p}):step(3) end, "the loss is 3, expected a scalar tensor"},
  {function() optim.SGD({p}):step(q:sum()) end, "depends on none of the 1 parameters"},
  {function() optim.SGD({p, q}):step(p:sum(), {p}) end, "a list of 1, expected a list of 2"},
  {function()
    local opt = optim.SGD({p}, {lr = 0.1})
    opt.lr = "fast"
    opt:step(p:sum())
  end, 'lr is "fast", expected a number'},
} do
  local message = t.error(case[1], case[2], "error: " .. case[2])
  t.ok(message and message:find("^tests/lua/optim.lua:%d+: "), "at the user's line")
end

-- Further tensors are computed in the step, from the values of before it.
do
  local w = mw.param(mw.tensor({1, 2}, "f64"))
  local fit, size = (w - 3):square():sum(), w:square():sum()
  local loss, a, b = optim.SGD({w}, {lr = 0.25}):step(fit + size, nil, fit, size)
  t.is({loss:item(), a:item(), b:item()}, {10, 5, 5}, "parts of the loss are given back")
  t.ok(rawequal(a, fit), "and are the tensors that were handed in")
  t.is(w:totable(), {1.5, 1.5}, "the step is the same")
end

t.done()
