-- optim_again.lua: a step that is found again by the structure of its loss does what a step does
-- that is built: the same bits, and the same errors.
--
-- A watched run (mw.debug.nan) builds every step: each case below is run so, too.
local mw = require "moonwalk"
local t = require "tap"
local nn, optim = mw.nn, mw.optim
local core = package.loaded["moonwalk.core"]

-- How often gradients were built.
local built, grad = 0, core.grad
function core.grad(...)
  built = built + 1
  return grad(...)
end

local function bits(list)
  local parts = {}
  for i, p in ipairs(list) do parts[i] = mw.is_tensor(p) and p:totable() or p end
  return parts
end

-- fn(note) trains, and gives what it wants compared to note(). `expected` is how many times a step
-- has to be built.
local function case(name, expected, fn)
  local function run(watched)
    mw.seed(7)
    mw.debug.nan(watched)
    mw.threads(2)
    mw.threads(1) -- forgets what was built before
    built = 0
    local noted = {}
    local good, message = pcall(fn, function(...) noted[#noted + 1] = bits {...} end)
    mw.debug.nan(false)
    if not good then t.ok(false, name .. ": " .. tostring(message)) end
    return noted, built
  end
  local again, times = run(false)
  t.is(again, run(true), name .. ": the same bits")
  t.ok(#again > 0, name .. ": something was compared")
  t.is(times, expected, name .. ": built so often")
end

local function mlp(dtype)
  return nn.Sequential {nn.Dense {3, 5, dtype = dtype}, nn.Tanh {}, nn.Dense {5, 2, dtype = dtype}}
end

local function batch(n)
  return mw.randn {n, 3}, mw.tensor(mw.uniform({n}, 0, 2):floor():totable(), "i64")
end

local function train(net, opt, steps, note, n)
  for _ = 1, steps do
    local x, y = batch(n or 4)
    local loss = opt:step(net(x):cross_entropy(y))
    note(loss, table.unpack(net:parameters()))
  end
end

for _, name in ipairs {"SGD", "Adam", "AdamW", "RMSprop"} do
  case(name, 1, function(note)
    local net = mlp()
    local opt = optim[name](net:parameters(), {lr = 0.1})
    train(net, opt, 5, note)
  end)
end

case("options that are numbers change", 1, function(note)
  local net = mlp()
  local opt = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9, weight_decay = 0.01})
  for i = 1, 5 do
    opt.lr, opt.momentum, opt.weight_decay = 0.1 / i, 0.5 + i / 20, 0.02 * i
    train(net, opt, 1, note)
  end
  opt.lr, opt.momentum, opt.weight_decay = 0.25, 0.25, 0.25 -- one value in several places
  train(net, opt, 1, note)
end)

-- None of these structures was there in between, so each is built once.
case("options that change the rule, and back", 4, function(note)
  local net = mlp()
  local opt = optim.SGD(net:parameters(), {lr = 0.1})
  for _ = 1, 2 do
    for _, how in ipairs {{0, false, 0}, {0.9, false, 0}, {0.9, true, 0}, {0.9, true, 0.1}} do
      opt.momentum, opt.nesterov, opt.weight_decay = table.unpack(how)
      train(net, opt, 2, note)
    end
  end
end)

case("shapes change", 3, function(note)
  local net = mlp()
  local opt = optim.Adam(net:parameters(), {lr = 0.01})
  for _, n in ipairs {4, 2, 4, 4, 1, 2} do train(net, opt, 1, note, n) end
end)

case("two optimizers on one network", 2, function(note)
  local net = mlp()
  local a = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  local b = optim.Adam(net:parameters(), {lr = 0.01})
  for _ = 1, 4 do
    train(net, a, 1, note)
    train(net, b, 1, note)
  end
end)

-- They share what was built: the slots of each are its own all the same.
case("two networks of one structure", 1, function(note)
  local nets, opts = {mlp(), mlp()}, {}
  for i, net in ipairs(nets) do
    opts[i] = optim.SGD(net:parameters(), {lr = 0.1 * i, momentum = 0.3 * i})
  end
  for _ = 1, 4 do
    for i, net in ipairs(nets) do train(net, opts[i], 1, note) end
  end
  note(opts[1].slots[1].momentum, opts[2].slots[1].momentum)
end)

case("one rule under two orders of the parameters", 2, function(note)
  local a, b = mw.param {1, 2}, mw.param {3, 4}
  local one, two = optim.SGD({a, b}, {lr = 0.5}), optim.SGD({b, a}, {lr = 0.25})
  for _ = 1, 3 do
    one:step((a * a * b):sum())
    two:step((a * a * b):sum())
    note(a, b)
  end
end)

case("dropout and batch normalisation", 2, function(note)
  local net = nn.Sequential {
    nn.Dense {3, 5}, nn.BatchNorm {5}, nn.ReLU {}, nn.Dropout {0.5}, nn.Dense {5, 2},
  }
  local opt = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  for i = 1, 6 do
    if i % 3 == 0 then net(batch(4)) end -- a second pass before the step: its statistics count too
    train(net, opt, 1, note)
    note(table.unpack(net:buffers()))
  end
  note(net:eval()(mw.ones {1, 3}))
end)

case("parameters are frozen, and thawed", 2, function(note)
  local net = mlp()
  local whole = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  local last = optim.SGD({net[3].weight, net[3].bias}, {lr = 0.1, momentum = 0.9})
  for _ = 1, 2 do
    train(net, whole, 2, note)
    train(net, last, 2, note)
  end
end)

case("a parameter comes and goes", 3, function(note)
  local a, b = mw.param({1, 2}, "a"), mw.param({3, 4}, "b")
  local opt = optim.Adam({a, b}, {lr = 0.1})
  for _ = 1, 2 do
    opt:step((a * a):sum())
    opt:step((a * b):sum())
    opt:step((b * b):sum())
    note(a, b)
  end
end)

case("tied weights, and equal ones that are not", 2, function(note)
  local a, b = mw.param {{1, 2}, {3, 4}}, mw.param {{1, 2}, {3, 4}}
  local x = mw.tensor {{1, -1}}
  local opt = optim.SGD({a, b}, {lr = 0.01, momentum = 0.5})
  for _ = 1, 3 do
    opt:step(x:matmul(a):tanh():matmul(a):sum())
    opt:step(x:matmul(a):tanh():matmul(b):sum())
    note(a, b)
  end
end)

case("gradients are given", 3, function(note)
  local net = mlp()
  local opt = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  for _ = 1, 3 do
    local loss = net(mw.randn {4, 3}):square():mean()
    local gradients = core.grad(loss, net:parameters()) -- once in each of the steps
    for k, g in ipairs(gradients) do gradients[k] = g:clip {min = -0.01, max = 0.01} end
    note(opt:step(loss, gradients), table.unpack(net:parameters()))
  end
end)

case("further results", 1, function(note)
  local w = mw.param {1, 2}
  local opt = optim.SGD({w}, {lr = 0.1})
  for i = 1, 4 do
    local fit, size = (w - i):square():sum(), w:square():sum()
    local loss, a, b, c = opt:step(fit + size, nil, fit, w * 2, size)
    note(loss, a, b, c, w)
  end
end)

case("a state is loaded", 1, function(note)
  local net = mlp()
  local opt = optim.Adam(net:parameters(), {lr = 0.1})
  train(net, opt, 2, note)
  local state, weights = {}, {}
  for name, value in pairs(opt:state()) do state[name] = mw.tensor(value:totable(), value.dtype) end
  for name, value in pairs(net:state()) do weights[name] = mw.tensor(value:totable()) end
  train(net, opt, 2, note)
  net:load(weights)
  opt:load_state(state)
  train(net, opt, 2, note)
end)

case("two dtypes in one optimizer", 1, function(note)
  local a, b = mw.param(mw.tensor({1, 2}, "f64")), mw.param(mw.tensor({3, 4}, "f32"))
  local opt = optim.Adam({a, b}, {lr = 0.1, weight_decay = 0.1})
  for _ = 1, 4 do
    opt:step((a * b:cast "f64"):sum())
    note(a, b)
  end
end)

case("values that are there already", 4, function(note)
  local w = mw.param {1, 2}
  local opt = optim.SGD({w}, {lr = 0.1})
  for _ = 1, 3 do
    local h = w * 3
    local loss = h:square():sum()
    opt:step(loss) -- nothing has a value
    h = w * 3
    loss = h:square():sum()
    h:totable() -- a value in the middle, which the gradient goes through all the same
    opt:step(loss)
    loss = (w * 3):square():sum()
    loss:eval()
    opt:step(loss)
    note(w, loss)
    h = (w * 3):eval()
    opt:step((h:stop_gradient() * w):sum())
    note(w)
  end
end)

-- What lies below a value counts: h is the same to the program, and not to the gradient.
case("what a value was made of", 2, function(note)
  local w = mw.param {1, 2}
  local opt = optim.SGD({w}, {lr = 0.1})
  for _ = 1, 2 do
    local h = (w * 3):eval()
    opt:step(h:square():sum())
    h = (w:square()):eval()
    opt:step(h:square():sum())
    note(w)
  end
end)

case("second derivatives in the loss", 3 + 1, function(note)
  local w = mw.param(mw.tensor({0.5, 2}, "f64"))
  local opt = optim.SGD({w}, {lr = 0.1})
  for _ = 1, 3 do
    local g = core.grad((w ^ 3):sum(), {w})[1]
    opt:step((g * g):sum() + w:sum())
    note(w)
  end
end)

case("hooks", 2, function(note)
  local w = mw.param {1, 2}
  local opt = optim.SGD({w}, {lr = 0.1})
  local inner = mw.param {3}
  local inner_opt = optim.SGD({inner}, {lr = 0.5})
  for i = 1, 3 do
    local function double(g)
      if i < 3 then inner_opt:step(inner:square():sum()) end -- a step inside a step
      return g * 2
    end
    opt:step(w:hook(nil, double):square():sum())
    note(w, inner)
  end
end)

case("checkpoints are built each time", 3, function(note)
  local net = mlp()
  local opt = optim.SGD(net:parameters(), {lr = 0.1})
  local block = mw.checkpoint(net)
  for _ = 1, 3 do
    opt:step(block(mw.randn {4, 3}):square():mean())
    note(table.unpack(net:parameters()))
  end
end)

do -- a gradient in Lua may be another one each time
  local factor = 1
  mw.op {
    name = "again_scaled", doc = "x", inputs = {"x"}, outputs = {"y"},
    infer = function(x) return x end,
    forward = function(x, y) for i = 1, #x do y[i] = x[i] end end,
    gradient = function(_, _, dy) return dy * factor end,
    example = "mw.again_scaled(mw.randn {2})",
  }
  case("an op whose gradient is a Lua function", 3, function(note)
    local w = mw.param(mw.tensor({1, 2}, "f64"))
    local opt = optim.SGD({w}, {lr = 0.1})
    for i = 1, 3 do
      factor = i
      opt:step(mw.again_scaled(w):square():sum())
      note(w)
    end
  end)
end

-- Steps that are not done ------------------------------------------------------------------------

do
  local net = mlp()
  local opt = optim.Adam(net:parameters(), {lr = 0.1})
  local function loss_of(label)
    return net(mw.ones {1, 3}):cross_entropy(mw.tensor({label}, "i64"))
  end
  opt:step(loss_of(0))
  opt:step(loss_of(1))
  local before, steps = bits(net:parameters()), opt.steps
  local mean = opt.slots[1].mean:totable()
  built = 0
  local message = t.error(function() opt:step(loss_of(2)) end, "cross_entropy: .*label",
    "an error of a kernel in a step that is found")
  t.ok(message and message:find "^tests/lua/optim_again.lua:%d+: ", "at the user's line")
  t.is({bits(net:parameters()), opt.slots[1].mean:totable(), opt.steps, built},
    {before, mean, steps, 0}, "leaves all as it was")
  opt:step(loss_of(1))
  t.ok(opt.steps == steps + 1 and net[1].weight:totable()[1][1] ~= before[1][1][1],
    "and the next step is one")

  local late = loss_of(1)
  opt:step(loss_of(0))
  t.error(function() opt:step(late) end, "stale value: .*built from parameter",
    "a loss from before an update is refused")
  local h = net(mw.ones {1, 3}):eval()
  local old = h:sum()
  opt:step(loss_of(0))
  t.error(function() opt:step(old) end, "stale value", "also where a value hides the parameter")
  t.error(function() opt:step(net(mw.ones {1, 3})) end, "the loss is a tensor f32%[1,2%], expected",
    "a loss that is no scalar")
  opt.lr = -1
  t.error(function() opt:step(loss_of(0)) end, "lr is %-1, expected a number of at least 0",
    "an option that is out of its bounds")
  opt.lr = 0.1
  t.error(function() opt:step(loss_of(0), {1, 2, 3, 4}) end,
    "step: gradient 1 is 1, expected a tensor", "gradients that are no tensors")

  mw.debug.nan(true)
  local origin = t.error(function()
    opt:step(loss_of(0) * (mw.zeros {} / mw.zeros {})) end, "NaN.*built at tests/lua/optim_again",
    "a watched run says where")
  mw.debug.nan(false)
  t.ok(origin, "at the user's line")
end

do -- an error in the middle of a network with statistics that wait
  local net = nn.Sequential {nn.Dense {3, 4}, nn.BatchNorm {4}, nn.Dense {4, 2}}
  local opt = optim.SGD(net:parameters(), {lr = 0.1})
  mw.op {
    name = "again_fixed", doc = "x", inputs = {"x"}, outputs = {"y"},
    infer = function(x) return x end,
    forward = function(x, y) for i = 1, #x do y[i] = x[i] end end,
    example = "mw.again_fixed(mw.randn {2})",
  }
  local w = mw.param(mw.tensor({1}, "f64"))
  net(mw.randn {4, 3})
  t.error(function() optim.SGD({w}):step(mw.again_fixed(w):sum()) end, "no derivative",
    "a step whose gradients cannot be built")
  local mean = net[2].running_mean
  opt:step(net(mw.randn {4, 3}):square():mean())
  t.ok(mean:totable()[1] ~= 0, "does not lose the statistics")
end

-- What is kept -----------------------------------------------------------------------------------

do
  local net = mlp()
  local opt = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  local function steps(n)
    for _ = 1, n do opt:step(net(mw.randn {4, 3}):square():mean()) end
    collectgarbage()
    collectgarbage()
    return mw.stats()
  end
  local early, late = steps(20), steps(300)
  t.is({late.tensors_live, late.bytes_live, late.programs_compiled, late.programs_cached},
    {early.tensors_live, early.bytes_live, early.programs_compiled, early.programs_cached},
    "steps that are found leave nothing")
  for n = 1, 200 do
    opt:step(net(mw.randn {n, 3}):square():mean())
  end
  t.ok(mw.stats().programs_cached <= 128, "a bounded number of steps is remembered")
  net, opt = nil, nil -- luacheck: no unused
  collectgarbage()
  collectgarbage()
  t.ok(mw.stats().tensors_live < early.tensors_live + 2 * 200 + 100,
    "programs keep no more than a constant or two")

  -- The gradient of a large parameter that has no part in the loss is zeros, which are not kept.
  local large, small = mw.param(mw.zeros {1 << 19}), mw.param {1}
  local wide = optim.SGD({large, small}, {lr = 0.1})
  wide:step(small:square():sum())
  wide:step(small:square():sum())
  collectgarbage()
  collectgarbage()
  local before = mw.stats().bytes_live
  wide, large = nil, nil -- luacheck: no unused
  collectgarbage()
  collectgarbage()
  t.ok(before - mw.stats().bytes_live >= 2 << 20, "large constants are let go of")
end

t.done()
