-- optim_common.lua: what all optimizers have: groups, frozen parameters, clipping, accumulation,
-- averages, schedules, states of it all; and LBFGS.
local mw = require "moonwalk"
local t = require "tap"
local nn, optim = mw.nn, mw.optim
local schedule = optim.schedule

local function param(list, name) return mw.param(mw.tensor(list, "f64"), name) end

-- Groups -----------------------------------------------------------------------------------------

do
  local a, b = param({1, 2}, "a"), param({3}, "b")
  local opt = optim.SGD({{{a}, lr = 0.1, weight_decay = 0.5}, {{b}, momentum = 0.5}}, {lr = 0.01})
  local function loss() return (a * a):sum() + (2 * b):sum() end
  -- by hand: a <- a - 0.1 (2 a + 0.5 a); m <- 0.5 m + 2, b <- b - 0.01 m
  local want_a, want_b, m = {1, 2}, 3, 0
  for _ = 1, 3 do
    opt:step(loss())
    for i = 1, 2 do want_a[i] = want_a[i] - 0.1 * 2.5 * want_a[i] end
    m = 0.5 * m + 2
    want_b = want_b - 0.01 * m
  end
  t.near({a:totable(), b:item()}, {want_a, want_b}, 1e-14, "groups have options of their own")
  t.is({opt.groups[1].lr, opt.groups[2].lr, opt.groups[1].momentum}, {0.1, 0.01, 0},
    "or the optimizer's")
  local compiled = mw.stats().programs_compiled
  opt.groups[2].lr, opt.lr = 1, 0
  local before = b:item()
  opt:step(loss())
  m = 0.5 * m + 2
  t.near(b:item(), before - m, 1e-14, "which may change")
  t.is(mw.stats().programs_compiled, compiled, "at no cost")
  local state = opt:state()
  t.is(state["option.2.lr"]:item(), 1, "a group's options are in the state")
  local c, d = param({1, 2}, "a"), param({3}, "b")
  local again = optim.SGD({{{c}}, {{d}, momentum = 0.5}}):load_state(state)
  t.is({again.groups[1].lr, again.groups[2].lr, again.lr}, {0.1, 1, 0}, "and back")
end

-- Frozen parameters ------------------------------------------------------------------------------

do
  mw.seed(1)
  local net = nn.Sequential {nn.Dense {3, 3}, nn.Tanh {}, nn.Dense {3, 1}}
  local x = mw.randn {5, 3}
  local opt = optim.Adam(net:parameters(), {lr = 0.1})
  local function loss() return net(x):square():mean() end
  net[1]:freeze()
  local first, last = net[1].weight:totable(), net[3].weight:totable()
  for _ = 1, 3 do opt:step(loss()) end
  t.is(net[1].weight:totable(), first, "a frozen parameter stays")
  t.ok(net[3].weight:totable()[1][1] ~= last[1][1], "the others are trained")
  local frozen_nodes = mw.stats().nodes_last
  net[1]:unfreeze()
  opt:step(loss())
  t.ok(net[1].weight:totable()[1][1] ~= first[1][1], "unfrozen it is trained")
  t.ok(mw.stats().nodes_last == nil or mw.stats().nodes_last > frozen_nodes,
    "and its gradients are computed only then")
  net[1]:freeze()
  t.refuses("depends on none of the 2 trained parameters of this optimizer, such as f32[1,3]",
    function() optim.SGD(net:parameters()):step(net[1](x):sum()) end)
  net:freeze()
  t.refuses("step: all parameters of this optimizer are frozen", function() opt:step(loss()) end)
  net:unfreeze()
  net[1]:freeze "weight"
  local gradients = {}
  for i, p in ipairs(net:parameters()) do gradients[i] = mw.ones(p.shape) end
  local kept = net[1].weight:totable()
  opt:step(loss(), gradients)
  t.is(net[1].weight:totable(), kept, "given gradients have places for frozen ones, and are left")
  local state = opt:state()
  local other = nn.Sequential {nn.Dense {3, 3}, nn.Tanh {}, nn.Dense {3, 1}}
  other[1]:freeze "weight"
  t.is(optim.Adam(other:parameters()):load_state(state).steps, 5, "a state with frozen parameters")
end

-- Clipping ---------------------------------------------------------------------------------------

do
  local a, b = param {3, -0.5}, mw.param(mw.tensor({4}, "f32"))
  local function loss() return (a * mw.tensor({3, -0.5},
    "f64")):sum() + (b:cast "f64" * 4):sum() end
  optim.SGD({a, b}, {lr = 1, clip_value = 2}):step(loss())
  t.near({a:totable(), b:item()}, {{3 - 2, -0.5 + 0.5}, 4 - 2}, 1e-7,
    "clip_value, element by element")
  a, b = param {0, 0}, mw.param(mw.tensor({0}, "f32"))
  local opt = optim.SGD({a, b}, {lr = 1, clip_norm = 1})
  opt:step(loss())
  local norm = math.sqrt(9 + 0.25 + 16)
  t.near({a:totable(), b:item()}, {{-3 / norm, 0.5 / norm}, -4 / norm}, 1e-7,
    "clip_norm, all gradients together, of both float types")
  opt.clip_norm = 100
  local before = b:item()
  opt:step(loss())
  t.near(b:item(), before - 4, 1e-6, "which leaves smaller ones")
  a, b = param {0, 0}, mw.param(mw.tensor({0}, "f32"))
  optim.SGD({a, b}, {lr = 1, clip_value = 1, clip_norm = 1}):step(loss())
  t.near(a:totable(), {-1 / 1.5, 0.5 / 1.5}, 1e-14, "elements first, then the norm") -- |1, 1/2, 1|
end

-- Accumulation -----------------------------------------------------------------------------------

do
  local data = {{1, 2}, {-3, 0.5}, {2, 2}, {0, 1}, {4, -1}, {1, 1}}
  local function slope(p, row) return (p * mw.tensor(row, "f64")):sum() + (p ^ 2):sum() / 2 end
  for _, rule in ipairs {"SGD", "Adam", "RMSprop"} do
    local small, whole = param {1, -1}, param {1, -1}
    local opt = optim[rule]({small}, {lr = 0.1, accumulate = 3, clip_norm = 2})
    local other = optim[rule]({whole}, {lr = 0.1, clip_norm = 2})
    for k = 0, 1 do
      local sum
      for i = 1, 3 do
        local term = slope(whole, data[3 * k + i])
        sum = sum and sum + term or term
      end
      other:step(sum / 3)
      for i = 1, 3 do opt:step(slope(small, data[3 * k + i])) end
    end
    t.near(small:totable(), whole:totable(), 1e-14, rule .. ": three steps make one update")
    t.is({opt.steps, opt.pending}, {2, 0}, "which is what is counted")
  end
  local p = param {1}
  local opt = optim.SGD({p}, {accumulate = 2})
  opt:step((p * 2):sum())
  t.is(p:totable(), {1}, "before the last of them nothing changes")
  opt:step((p * 2):sum())
  local compiled = mw.stats().programs_compiled
  for _ = 1, 6 do opt:step((p * 2):sum()) end
  t.is(mw.stats().programs_compiled, compiled, "and each kind of step is compiled once")
end

-- Averages ---------------------------------------------------------------------------------------

do
  local p = param {1, 2}
  local opt = optim.SGD({p}, {lr = 0.1, average = 0.9})
  local now, mean = {1, 2}, {1, 2}
  for _ = 1, 4 do
    opt:step((p * p):sum())
    for i = 1, 2 do
      now[i] = now[i] - 0.2 * now[i]
      mean[i] = 0.9 * mean[i] + 0.1 * now[i]
    end
  end
  local seen = opt:averaged(function() return p:totable() end)
  t.near(seen, mean, 1e-14, "averaged() puts the moving average in the parameters' place")
  t.near(p:totable(), now, 1e-14, "and puts them back")
  t.refuses("inside", function() opt:averaged(function() error "inside" end) end)
  t.near(p:totable(), now, 1e-14, "after an error, too")
end

-- Schedules --------------------------------------------------------------------------------------

local function factors(s, n)
  local list = {}
  for i = 1, n do list[i] = s(i - 1) end
  return list
end

do
  local function half(share) return (1 + math.cos(math.pi * share)) / 2 end
  t.near(factors(schedule.step(2, 0.5), 5), {1, 1, 0.5, 0.5, 0.25}, 1e-15, "step")
  t.near(factors(schedule.multistep({1, 3}), 5), {1, 0.1, 0.1, 0.01, 0.01}, 1e-15, "multistep")
  t.near(factors(schedule.exponential(0.5), 3), {1, 0.5, 0.25}, 1e-15, "exponential")
  t.near(factors(schedule.linear(4, 1, 0.2), 6), {1, 0.8, 0.6, 0.4, 0.2, 0.2}, 1e-15, "linear")
  t.near(factors(schedule.cosine(4, 0.1), 6), {1, 0.1 + 0.9 * half(0.25), 0.55,
    0.1 + 0.9 * half(0.75), 0.1, 0.1}, 1e-15, "cosine")
  t.near(factors(schedule.one_cycle(10, {rise = 0.2, first = 0.1, last = 0.01}), 12),
    {0.1, 1 + (0.1 - 1) * half(0.5), 1, 0.01 + 0.99 * half(1 / 8), 0.01 + 0.99 * half(2 / 8),
      0.01 + 0.99 * half(3 / 8), 0.505, 0.01 + 0.99 * half(5 / 8), 0.01 + 0.99 * half(6 / 8),
      0.01 + 0.99 * half(7 / 8), 0.01, 0.01}, 1e-14, "one_cycle")
  t.near(factors(schedule.warmup(4), 6), {0.25, 0.5, 0.75, 1, 1, 1}, 1e-15, "warmup")
  t.near(factors(schedule.warmup(2, schedule.exponential(0.5), 0.5), 5), {0.75, 1, 1, 0.5, 0.25},
    1e-15, "before another schedule")

  local plateau = schedule.plateau {factor = 0.5, patience = 1, threshold = 0, least = 0.2}
  local seen = {}
  for i, value in ipairs {3, 2, 2, 2, 1, 1, 1, 1, 1, 0 / 0, 0 / 0} do
    plateau:report(value)
    seen[i] = plateau(0)
  end
  t.is(seen, {1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2}, "plateau")
  local rising = schedule.plateau {mode = "max", patience = 0, cooldown = 1}
  local fallen = {}
  for i, value in ipairs {1, 2, 2, 2, 2} do fallen[i] = rising:report(value) end
  t.is(fallen, {false, false, true, false, true}, "for more, with a rest")

  local p = param {0}
  local opt = optim.SGD({p}, {lr = 0.5, schedule = schedule.exponential(0.5)})
  for _ = 1, 3 do opt:step(p:sum()) end
  t.near(p:item(), -0.5 * (1 + 0.5 + 0.25), 1e-15, "an optimizer follows its schedule")
  t.near({opt:rate(), opt.lr}, {0.0625, 0.5}, 1e-15, "rate() tells where it is")
  opt.schedule = function(step) return step == 3 and 2 or 0 end
  local compiled = mw.stats().programs_compiled
  opt:step(p:sum())
  t.near(p:item(), -0.875 - 1, 1e-15, "any function will do")
  t.is(mw.stats().programs_compiled, compiled, "all in the same program")
  opt.schedule = function() end
  t.refuses("what the schedule gives is nil, expected a number", function() opt:step(p:sum()) end)
  for text, fn in pairs {
    ['did you mean optim.schedule.cosine'] = function() return schedule.cosin end,
    ["optim.schedule.step: every is 0"] = function() schedule.step(0) end,
    ["place 2 is 3, expected a whole number of at least 5"] =
      function() schedule.multistep {5, 3} end,
    ["the schedule behind it is 3"] = function() schedule.warmup(3, 3) end,
    ['did you mean "patience"'] = function() schedule.plateau {pacience = 3} end,
    ['mode is "less", expected min or max'] = function() schedule.plateau {mode = "less"} end,
  } do
    local message = t.refuses(text, fn)
    t.ok(message and message:find "^tests/lua/optim_common.lua:%d+: ", "at the user's line")
  end
end

-- A state goes on to the bit, with everything on -------------------------------------------------

for _, rule in ipairs {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Lion"} do
  local plateau
  local function make()
    mw.seed(9)
    local net = nn.Sequential {nn.Dense {4, 6}, nn.BatchNorm {6}, nn.Tanh {}, nn.Dense {6, 2}}
    plateau = schedule.plateau {patience = 0, factor = 0.5}
    local momentum = (rule == "SGD" or rule == "RMSprop") and 0.9 or nil
    return net, optim[rule]({{net[1]:parameters(), lr = 0.02}, {net[2]:parameters()},
      {net[4]:parameters()}}, {lr = 0.01, momentum = momentum, weight_decay = 0.1, accumulate = 2,
      clip_norm = 0.5, average = 0.9, schedule = schedule.warmup(3, plateau)})
  end
  local function train(net, opt, first, last)
    for step = first, last do
      mw.seed(100 + step)
      opt:step(net(mw.randn {8, 4}):square():mean())
      if step % 3 == 0 then plateau:report(1) end
      if step == 4 then opt.groups[2].lr = 0.5 end
    end
    local values = {}
    for name, value in pairs(net:state()) do values[name] = value:totable() end
    values.average = opt:averaged(function() return net[4].weight:totable() end)
    return values
  end
  local net, opt = make()
  local whole = train(net, opt, 1, 11)
  net, opt = make()
  train(net, opt, 1, 5) -- in the middle of an accumulation
  local saved = {}
  for name, value in pairs(net:state()) do saved[name] = mw.tensor(value) end
  local state = opt:state()
  for name, value in pairs(state) do state[name] = mw.tensor(value) end
  local again, opt_again = make()
  again:load(saved)
  opt_again:load_state(state)
  t.is(train(again, opt_again, 6, 11), whole, rule .. ": goes on to the bit, with everything on")
end

do
  local p = param({1}, "p")
  local opt = optim.SGD({p}, {lr = 0.5, momentum = 0.5})
  local state = opt:state()
  state["option.lr"], state.extra = mw.tensor(0.25, "f64"), mw.tensor(1)
  t.refuses('"extra" does not belong', function() opt:load_state(state) end)
  t.is(opt.lr, 0.5, "a state that is refused changes no option")
  state.extra = nil
  state["option.lr"] = mw.tensor(-1, "f64")
  t.refuses("lr is -1", function() opt:load_state(state) end)
  state["option.lr"] = mw.tensor(0.25, "f64")
  state["schedule.factor"] = mw.tensor(1, "f64")
  t.refuses("this optimizer has none that keeps one", function() opt:load_state(state) end)
end

do -- a momentum that was on for a while
  local p = param({1}, "p")
  local opt = optim.SGD({p}, {lr = 0.5, momentum = 0.5})
  opt:step(p:sum())
  opt.momentum = 0
  opt:step(p:sum())
  local q = param({7}, "p")
  local again = optim.SGD({q}):load_state(opt:state())
  again.momentum = 0.5
  again:step(q:sum())
  t.near(q:item(), 7 - 0.5 * 1.5, 1e-15, "a state has what is not used for now")
end

-- LBFGS ------------------------------------------------------------------------------------------

do
  local p = param {-1.2, 1}
  local function rosenbrock()
    local x, y = p[1], p[2]
    return (1 - x) ^ 2 + 100 * (y - x ^ 2) ^ 2
  end
  local opt = optim.LBFGS({p}, {tolerance = 1e-9})
  for _ = 1, 60 do
    opt:step(rosenbrock)
    if opt.converged then break end
  end
  t.ok(opt.converged, ("LBFGS converges: %d steps, %d evaluations"):format(opt.steps,
    opt.evaluations))
  t.near(p:totable(), {1, 1}, 1e-7, "to the minimum of Rosenbrock's function")

  -- Logistic regression: at the minimum x'(sigmoid(x w) - y) + w = 0.
  mw.seed(2)
  local x = mw.randn({60, 3}, "f64")
  local y = x:matmul(mw.tensor({1, -2, 0.5}, "f64")):gt(0):cast "f64"
  local w = param {0, 0, 0}
  local fit = optim.LBFGS {w}
  local function loss()
    return x:matmul(w):bce_with_logits(y, {reduction = "sum"}) + w:square():sum() / 2
  end
  local before = {}
  for i = 1, 30 do
    before[i] = fit:step(loss)
    if fit.converged then break end
  end
  local slope = x:transpose():matmul(x:matmul(w):sigmoid() - y) + w
  t.near(slope:abs():max():item(), 0, 1e-6, "logistic regression ends where its gradient is 0")
  local falling = true
  for i = 2, #before do falling = falling and before[i] <= before[i - 1] end
  t.ok(falling, "and each step lowers the loss")

  local function run(q, o, n)
    for _ = 1, n do
      o:step(function()
        return (1 - q[1]) ^ 2 + 100 * (q[2] - q[1] ^ 2) ^ 2
      end)
    end
    return q:totable()
  end
  local a, b = param {-1.2, 1}, param {-1.2, 1}
  local want = run(a, optim.LBFGS {a}, 12)
  local half = optim.LBFGS {b}
  local middle = param(run(b, half, 5))
  t.is(run(middle, optim.LBFGS({middle}):load_state(half:state()), 7), want,
    "a state goes on to the bit")
  t.refuses("the argument is nil, expected a function", function() half:step() end)
  t.refuses("what the function gives is 3", function() half:step(function() return 3 end) end)
  t.refuses("optim.LBFGS: the first argument is nil", function() optim.LBFGS() end)
  t.refuses('did you mean "history"', function() optim.LBFGS({b}, {histroy = 1}) end)
end

t.done()
