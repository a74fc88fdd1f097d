-- debug.lua: looking into programs: t:hook, mw.debug.nan, mw.stats.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core
local nn = mw.nn

mw.seed(4)

-- hooks -------------------------------------------------------------------------------------------

local seen = {}
local function note(name, replace)
  return function(value)
    seen[#seen + 1] = {name, value:totable()}
    return replace and replace(value)
  end
end
local function take()
  local list = seen
  seen = {}
  return list
end

local x = mw.tensor {1, 2, 3}
local y = x:hook(note "value", note "gradient")
t.is({y.shape, y.dtype}, {{3}, "f32"}, "a hooked tensor is like the one that it stands for")
t.is(take(), {}, "nothing is called before it is computed")
local loss = (y * y):sum()
local dx = mw.grad(loss, {x})[1]
mw.eval(loss, dx)
t.is(take(), {{"value", {1, 2, 3}}, {"gradient", {2, 4, 6}}}, "value and gradient are seen")
t.is({loss:item(), dx:totable()}, {14, {2, 4, 6}}, "and nothing is changed")

local function double(value) return value * 2 end
y = x:hook(note("value", double), note("gradient", function(g) return g:clamp_to() end))
t.error(function() return mw.grad(y:sum(), {x})[1]:eval() end,
  "^tests/lua/debug.lua:%d+: hooked: tests/lua/debug.lua:%d+: .*clamp_to",
  "an error in a hook is one of the program, at the user's line")
take()
y = x:hook(double, function(g) return g * 10 end)
t.is(y:totable(), {2, 4, 6}, "a hook may replace the value")
t.is(mw.grad((y * y):sum(), {x})[1]:totable(), {40, 80, 120}, "and the gradient")
t.is(x:totable(), {1, 2, 3}, "what it is the hook of is not touched")
t.is((x * 1):hook(nil, double):totable(), {1, 2, 3}, "one for the gradient alone")
t.is(mw.grad(x:hook(double):sum(), {x})[1]:totable(), {1, 1, 1}, "one for the value alone")
t.is(mw.tensor({true, false}):hook(note "bools"):totable(), {true, false}, "of any dtype")
t.is(mw.zeros({0, 2}):hook(note "none"):totable(), {}, "of nothing")
t.is(take(), {{"bools", {true, false}}, {"none", {}}}, "they are seen as well")
local twice = x:hook(nil, note "gradient")
t.is(mw.hessian(function(v) return (v * v * twice):sum() end, x).shape, {3, 3},
  "there are second derivatives")

-- What hooks compute with tensors is a run inside a run.
local means = {}
local function mean(v) means[#means + 1] = v:mean():item() end
local function with_mean(v) return ((v:hook(mean) * 2):tanh():hook(mean) + v):sum() end
local inner
local outer = x:hook(function(v)
  inner = with_mean(v):item()
  return v + inner
end)
local plain = (x * 2):tanh():sum():item() + 6
t.near(with_mean(outer):item(), (function()
  local moved = x + plain
  return ((moved * 2):tanh() + moved):sum():item()
end)(), 1e-5, "the same program inside itself")
t.near(inner, plain, 1e-6, "with the inner result")
t.near(means[1], 2, 1e-6, "in order")
t.is(#means, 4, "and all hooks are called")

local depth = 0
local function forever(v)
  depth = depth + 1
  return v:hook(forever) + 0
end
t.error(function() return x:hook(forever):eval() end, "32 runs are inside each other",
  "a hook without an end")
t.is(depth, 32, "is stopped")
local compiled
compiled = mw.compile(function(v)
  return v:hook(function() return compiled(x) end) * 2
end)
t.error(function() return compiled(x) end, "the program is running", "nor inside a compiled one")
local recompiled = mw.compile(function(v) return v:hook(note("compiled", double)) + 1 end)
t.is({recompiled(x):totable(), recompiled(x * 2):totable()}, {{3, 5, 7}, {5, 9, 13}},
  "a hook in mw.compile")
t.is(take(), {{"compiled", {1, 2, 3}}, {"compiled", {2, 4, 6}}}, "is called in each run")
t.is(coroutine.wrap(function() return x:hook(double):totable() end)(), {2, 4, 6}, "in a coroutine")
t.error(function()
  return coroutine.wrap(function() return x:hook(coroutine.yield):eval() end)()
end, "hooked: attempt to yield", "out of which it cannot yield")

local before = mw.threads()
t.is(mw.randn({64, 64}):hook(function() mw.threads(before + 1) end):matmul(mw.eye(64)).shape,
  {64, 64}, "a hook that changes the threads")
mw.randn({64, 64}):hook(function() mw.threads(before + 1) end):matmul(mw.eye(64)):eval()
t.is(mw.threads(), before, "does not, for a run that goes on")
local kernels = mw.kernel "matmul"
local name = kernels:match "^%S+"
x:hook(function() mw.kernel("matmul", name); mw.kernel("matmul", false) end):eval()
t.ok(true, "a hook that empties the cache of programs")

-- Closures that are made anew in each step.
local collected = 0
local w = mw.param(mw.tensor {1, 2}, "w")
local function train()
  local witness = setmetatable({}, {__gc = function() collected = collected + 1 end})
  local v = (w * 2):hook(function() return witness and nil end, function(g) return g * 0.5 end)
  local l = (v * v):sum()
  mw.update({w}, {w - 0.01 * mw.grad(l, {w})[1]}, l)
end
train()
collectgarbage()
collectgarbage()
local compiled_before, live = mw.stats().programs_compiled, mw.stats().tensors_live
for _ = 1, 200 do train() end
collectgarbage()
collectgarbage()
t.is(mw.stats().programs_compiled, compiled_before, "make no new program")
t.is(mw.stats().tensors_live, live, "nor leave tensors")
t.is(collected, 201, "nor closures")

local function collect() collectgarbage(); collectgarbage() end
local function kept() -- all that the run needs, while what nobody holds any more is collected
  local v = (w * 3):exp():hook(collect, collect) + (w * w):hook(collect)
  return mw.grad((v * v):sum(), {w})[1]
end
local unhooked = (w * 3):exp() + w * w
t.is(kept():totable(), mw.grad((unhooked * unhooked):sum(), {w})[1]:totable(),
  "a hook that collects garbage")

t.error(function() x:hook() end, "hook: there is no function", "no function")
t.error(function() x:hook(3) end, "hook: the function for the value is 3, expected", "a number")
t.error(function() x:hook(nil, {}) end, "hook: the function for the gradient is a table", "a table")
t.error(function() return x:hook(function() return 3 end):eval() end,
  "hooked: the hook returned 3, expected f32%[3%] or nothing", "a hook that returns a number")
t.error(function() return x:hook(function(v) return v:sum() end):eval() end,
  "hooked: the hook returned f32%[%], expected f32%[3%] or nothing", "or another shape")
t.error(function() return x:hook(function() error {} end):eval() end,
  "hooked: the hook raised an error that is no text", "or raises a table")
t.error(function() return core.call("hooked", x, mw.tensor(7, "i64")):eval() end,
  "hooked: there is no such hook", "a number that is no hook's")
t.error(function() return core.call("hooked", x, x) end, "hooked: hook is f32%[3%], expected",
  "or no number")

-- Checkpoints call what is inside them again.
local inside = mw.checkpoint(function(v) return (v:hook(note "inside") * 3):exp() end)
mw.grad(inside(x):sum(), {x})[1]:eval()
t.is(#take(), 1, "a value that only the backward pass needs is computed once")
loss = inside(x):sum()
mw.eval(loss, mw.grad(loss, {x})[1])
t.is(#take(), 2, "in a checkpoint, twice")

-- mw.debug.nan ------------------------------------------------------------------------------------

t.is(mw.core.watch(), false, "it is off")
t.is(mw.debug.nan(true), false, "turned on")
t.is(mw.core.watch(), true, "it is on")
local data = mw.tensor {-1, 2, 0}
t.error(function() return (data + 0):log():sum():item() end, "^tests/lua/debug.lua:%d+: log: 1 NaN "
  .. "and 1 infinity in its result f32%[3%].*; x f32%[3%] has min %-1, max 2, mean 0.333333, "
  .. "0 NaN, 0 infinite$", "the op, what it made, and the range of what it was given")
t.error(function() return mw.div(1, data - 2):eval() end, "div: 1 infinity in its result.*; "
  .. "a f32%[%] has min 1, max 1.*; b f32%[3%] has min %-3, max 0", "all its inputs")
t.error(function()
  local root = (data - 2):relu():sqrt()
  return mw.grad(root:sum(), {data})[1]:eval()
end, "sqrt.backward: 3 infinities in its gradient f32%[3%].*; the gradient of y f32%[3%] has min 1",
  "in the backward pass")
local poisoned = mw.tensor {0 / 0, 1, 1 / 0}
t.is((poisoned * 2):totable()[2], 2, "what was there before is not of an op's making")
t.is((data + 1):totable(), {0, 3, 1}, "numbers are as always")
local function broken(v) return (v:exp() * 0 + v):log() end
local compiled_log = mw.compile(broken)
t.error(function() return compiled_log(data) end, "log: 1 NaN", "in a compiled function")
t.near(compiled_log(mw.tensor {1, 1, 1}):totable(), {0, 0, 0}, 1e-6, "which goes on afterwards")
t.is(mw.debug.nan(false), true, "turned off")
local values = (data + 0):log():totable()
t.ok(values[1] ~= values[1], "NaN is a number as any other")
t.is({mw.debug.nan(function(...) return mw.core.watch(), ... end, 1, nil, 3)}, {true, 1, nil, 3},
  "while a function runs")
t.error(function() mw.debug.nan(function() return data:log():eval() end) end, "log: 1 NaN",
  "an error in it")
t.is({mw.debug.nan(), mw.core.watch()}, {false, true}, "without an argument it is on from then on")
mw.debug.nan(false)
t.is(mw.core.watch(), false, "off again")
t.error(function() mw.debug.nan(3) end, "debug.nan: the argument is 3, expected true, false", "3")

-- mw.stats ----------------------------------------------------------------------------------------

t.ok(mw.stats().programs_run > 0, "without arguments, counts of programs")
local first = nn.Dense {2, 2}
local net = nn.Sequential {first, nn.ReLU {}, nn.Sequential {nn.Dense {2, 1, bias = false}}}
net:load {
  ["1.weight"] = mw.tensor {{1, 0}, {0, -1}}, ["1.bias"] = mw.tensor {0, 1},
  ["3.1.weight"] = mw.tensor {{2, -3}},
}
-- Of two samples: h = ((3, -1), (-1, 0)), relu(h) = ((3, 0), (0, 0)), y = (6, 0).
local samples = mw.tensor {{3, 2}, {-1, 1}}
local rows = mw.stats(net, samples)
t.is(#rows, 3, "a row for each layer")
t.is({rows[1].name, rows[2].layer, rows[3].name}, {"1", "ReLU", "3.1"}, "by name and description")
t.is({rows[1].shape, rows[3].shape}, {{2, 2}, {2, 1}}, "shapes")
t.near({rows[1].mean, rows[2].mean, rows[3].mean}, {0.25, 0.75, 3}, 1e-12, "means")
t.near({rows[1].spread, rows[2].spread, rows[3].spread},
  {math.sqrt(11 / 4 - 1 / 16), math.sqrt(9 / 4 - 9 / 16), 3}, 1e-12, "standard deviations")
t.is({rows[1].active, rows[2].active, rows[3].active}, {0.75, 0.25, 0.5}, "shares of active units")
t.is(rows[1].gradient, nil, "no gradients without a loss")
t.is(mw.stats(net, samples, nil, {threshold = 2})[1].active, 0.25, "another threshold")
-- L = sum of y^2: dy = (12, 0), d relu(h) = ((24, -36), 0), dh = ((24, 0), 0),
-- dw2 = 12 (3, 0), dw1 = 24 (3, 2) in the first row, db1 = (24, 0).
rows = mw.stats(net, samples, function(out) return (out * out):sum() end)
t.near({rows[1].gradient, rows[2].gradient, rows[3].gradient}, {24, math.sqrt(24 ^ 2 + 36 ^ 2), 12},
  1e-5, "norms of the gradients of outputs")
t.near({rows[1].parameter_gradient, rows[3].parameter_gradient}, {24 * math.sqrt(9 + 4 + 1), 36},
  1e-5, "and of parameters")
t.is(rows[2].parameter_gradient, nil, "where there are any")
t.is(rows[1].parameters[2].name, "bias", "by name")
t.near(rows[1].parameters[2].gradient, 24, 1e-5, "each for itself")
t.near(mw.stats(net, samples, mw.tensor {{5}, {0}})[3].gradient, 1, 1e-6, "a mean squared error")
local wide = nn.Sequential {nn.Dense {2, 3}}
local labels = mw.tensor({2, 0}, "i32")
local logits = wide(samples)
t.near(mw.stats(wide, samples, labels)[1].gradient,
  (mw.grad(logits:cross_entropy(labels), {logits})[1] ^ 2):sum():sqrt():item(), 1e-6,
  "a cross entropy of labels")
t.is(rawget(first, "forward"), nil, "the network is as it was")
t.is(net(samples):totable(), {{6}, {0}}, "and computes what it did")
local shared = nn.Sequential {first, first}
t.is(mw.stats(shared, samples)[2].name, "1 (2)", "a layer that is called again")
local text = tostring(rows)
t.ok(text:find "^layer +output +mean +spread +active +|dL/dy| +|dL/dw|\n1 +Dense", "a table")
t.is(select(2, text:gsub("\n", "")), 3, "a line for each layer")
t.error(function() mw.stats(3, samples) end, "stats: net is 3, expected a module", "no network")
t.error(function() mw.stats(net, samples, 3) end, "stats: the loss is 3, expected a function", "3")
t.error(function() mw.stats(net, mw.ones {2, 5}) end, "layer 1", "an error in the network")
t.is(rawget(first, "forward"), nil, "which is as it was all the same")

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
local pipe = assert(io.popen(("'%s' lua/examples/vanishing.lua"):format(moonwalk)))
local output = pipe:read "a"
t.ok(pipe:close(), "the example runs")
local shares = {}
for share in output:gmatch "first one gets (%S+)" do shares[#shares + 1] = tonumber(share) end
t.ok(#shares == 2 and shares[1] < 1e-3 and shares[2] > 0.1,
  "gradients vanish through sigmoids and not through ReLUs: " .. table.concat(shares, ", "))
t.done()
