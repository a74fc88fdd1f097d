-- kernels.lua: mw.op with forward and backward: kernels that are Lua functions, and their buffers.
local t = require "tap"
local mw = require "moonwalk"

local refused = t.refuses

local function values(tensor)
  local list = tensor:totable()
  return type(list) == "table" and table.concat(list, " ") or tostring(list)
end

-- An op like any other ----------------------------------------------------------------------------

local calls = 0
local leaky = mw.op {
  name = "k_leaky", doc = "x where it is positive, a part of it elsewhere.",
  attrs = {{"slope", default = 0.25, doc = "the part"}},
  example = "mw.k_leaky(mw.randn{2,3})",
  forward = function(x, y, attrs)
    calls = calls + 1
    for i = 1, #x do y[i] = x[i] < 0 and attrs.slope * x[i] or x[i] end
  end,
  backward_needs = {"x"},
  backward = function(x, y, dy, dx, attrs)
    assert(y == nil)
    for i = 1, #dy do dx[i] = x[i] < 0 and attrs.slope * dy[i] or dy[i] end
  end,
}
local x = mw.param(mw.tensor({1, 2, -3}, "f64"))
t.is(values(leaky(x)), "1.0 2.0 -0.75", "the function that mw.op returns")
t.is(values(mw.k_leaky(x, {slope = 0.5})), "1.0 2.0 -1.5", "in mw, with an attribute")
t.is(values(x:k_leaky(0.5)), "1.0 2.0 -1.5", "a method")
t.is(values(mw.grad(x:k_leaky():sum(), {x})[1]), "1.0 1.0 0.25", "its gradient")
t.is(leaky(mw.tensor {-4, 4}).dtype, "f32", "f32")
t.is(values(leaky(mw.tensor {-4, 4})), "-1.0 4.0", "f32: values")
t.is(mw.grad(leaky(mw.zeros {0, 3}):sum(), {mw.zeros {0, 3}})[1].shape, {0, 3}, "no elements")
t.ok(mw.gradcheck(function(v) return v:k_leaky() end, {x}, {second = false}), "mw.gradcheck")
t.is(values(mw.compile(function(v) return v:k_leaky() end)(x)), "1.0 2.0 -0.75", "compiled")
t.ok(mw.help("k_leaky", true):find("x where it is positive", 1, true), "mw.help shows it")
t.is(mw.ops.k_leaky.attrs[1].name, "slope", "mw.ops has its schema")
t.is(values(coroutine.wrap(function() return leaky(x):eval() end)()), "1.0 2.0 -0.75",
  "run in a coroutine")
t.is(values(coroutine.wrap(function() return leaky(x) end)()), "1.0 2.0 -0.75",
  "built in a coroutine, run outside")
local Layer = mw.nn.Module:extend "Layer"
function Layer:init(slope) self.slope = slope end
function Layer:forward(v) return v:k_leaky {slope = self.slope} end
t.is(values(mw.nn.Sequential {mw.nn.ReLU {}, Layer(2)}(x)), "1.0 2.0 0.0", "in a network")
local nn = mw.nn
t.is(values(nn.Sequential {nn.ReLU {}, nn.Lambda "k_leaky"}(x)), "1.0 2.0 0.0", "nn.Lambda: an op")
t.is(values(nn.Lambda {"k_leaky", slope = 2}(x)), "1.0 2.0 -6.0", "with attributes")
t.is(values(nn.Lambda(function(v) return v * v end)(x)), "1.0 4.0 9.0", "or a function")
t.is(nn.Lambda "k_leaky":describe(), 'Lambda "k_leaky"', "as it is shown")
refused("there is no op 'k_leak'", nn.Lambda, "k_leak")
refused("nn.Lambda: its argument is 3", nn.Lambda, 3)
refused("nn.Lambda: slope goes with an op's name", nn.Lambda, {print, slope = 1})
refused("unknown attribute 'm'", nn.Lambda {"k_leaky", m = 1}, x)
refused("k_leaky: it has no second derivative", function()
  return mw.grad(mw.grad((x * x:k_leaky()):sum(), {x})[1]:sum(), {x})
end)

-- Programs: the same structure is the same program; attributes and functions are told apart.
local function scaling(name, factor)
  return mw.op {name = name, forward = function(v, y)
    for i = 1, #v do y[i] = factor * v[i] end
  end}
end
local double, triple = scaling("k_double", 2), scaling("k_triple", 3)
local seen = {}
for i, op in ipairs {double, triple, double} do
  seen[i] = values(op(x)) .. " " .. values(leaky(x, {slope = i}))
end
t.is(table.concat(seen, ", "), "2.0 4.0 -6.0 1.0 2.0 -3.0, 3.0 6.0 -9.0 1.0 2.0 -6.0, "
  .. "2.0 4.0 -6.0 1.0 2.0 -9.0", "two ops of one closure; three values of an attribute")
local compiled = mw.stats().programs_compiled
calls = 0
for _ = 1, 3 do leaky(x, {slope = 1}):eval() end
t.is(mw.stats().programs_compiled, compiled, "a program is found again")
t.is(calls, 3, "and runs each time")
calls = 0
local twice = leaky(x, {slope = 8}) + leaky(x, {slope = 8})
t.is(values(twice), "2.0 4.0 -48.0", "twice in one program")
t.is(calls, 1, "is computed once")
local draws = 0
mw.op {name = "k_impure", impure = true, forward = function(_, y)
  draws = draws + 1
  y[1] = draws
end}
local one = mw.tensor({5}, "f64")
t.is(values(mw.k_impure(one) + mw.k_impure(one)), "3.0", "an impure one each time")

-- Shapes, several outputs, several inputs ---------------------------------------------------------

local both = mw.op {
  name = "k_extremes", inputs = {"x"}, outputs = {"low", "high", "at"},
  infer = function(v)
    local row = {shape = {v.shape[1]}}
    return row, {shape = row.shape}, {shape = row.shape, dtype = "i64"}
  end,
  forward = function(v, low, high, at)
    for i = 1, v.shape[1] do
      low[i], high[i] = math.huge, -math.huge
      for j = 1, v.shape[2] do
        local value = v[{i, j}]
        if value < low[i] then low[i] = value end
        if value > high[i] then high[i], at[i] = value, j - 1 end
      end
    end
  end,
  backward = function(v, low, _, at, dlow, dhigh, dat, dv)
    assert(dat == nil)
    for i = 1, v.shape[1] do
      for j = 1, v.shape[2] do
        local sum = 0
        if dlow and v:get(i, j) == low[i] then sum = sum + dlow[i] end
        if dhigh and at[i] == j - 1 then sum = sum + dhigh[i] end
        dv:set(i, j, sum)
      end
    end
  end,
}
local m = mw.param(mw.tensor({{3, 1, 2}, {5, 6, 4}}, "f64"))
local low, high, at = both(m)
t.is(values(low) .. ", " .. values(high) .. ", " .. values(at), "1.0 4.0, 3.0 6.0, 0 1",
  "three outputs of another shape, one of another dtype")
t.is(mw.grad((2 * low):sum() + high:sum(), {m})[1]:totable(), {{1, 2, 0}, {0, 1, 2}},
  "gradients arrive from two")
t.is(mw.grad(high:sum(), {m})[1]:totable(), {{1, 0, 0}, {0, 1, 0}}, "or from one")
mw.op {name = "k_listed", outputs = {"a", "b"}, forward = function(v, a, b) a:copy(v) b:fill(7) end,
  infer = function(v) return {{dtype = v.dtype}, {shape = {}}} end}
local a, b = mw.k_listed(x)
t.is(values(a) .. " " .. values(b), "1.0 2.0 -3.0 7.0", "infer may return one list; y:copy, y:fill")

local wanted
local weigh = mw.op {
  name = "k_weigh", inputs = {"x", {"w", optional = true}},
  forward = function(v, w, y) for i = 1, #v do y[i] = v[i] * (w and w[i] or 10) end end,
  backward = function(v, w, _, dy, dv, dw)
    wanted = {dv ~= nil, dw ~= nil}
    for i = 1, #dy do
      if dv then dv[i] = dy[i] * (w and w[i] or 10) end
      if dw then dw[i] = dy[i] * v[i] end
    end
  end,
}
local w = mw.param(mw.tensor({2, 4, 6}, "f64"))
t.is(values(weigh(x)), "10.0 20.0 -30.0", "an optional input that is absent is nil")
t.is(values(weigh(x, w)), "2.0 8.0 -18.0", "and there")
t.is(values(mw.grad(weigh(x, w):sum(), {w})[1]), "1.0 2.0 -3.0", "the gradient in one input")
t.is(wanted, {false, true}, "is all that is asked for")
t.is(values(mw.grad(weigh(x):sum(), {x})[1]), "10.0 10.0 10.0", "the gradient without the other")

local add = mw.op {
  name = "k_add", inputs = {"x", {"ys", variadic = true}}, outputs = {"z"}, linear = true,
  backward_needs = {},
  forward = function(v, ys, z)
    for i = 1, #v do
      z[i] = v[i]
      for k, y in ipairs(ys) do z[i] = z[i] + k * y[i] end
    end
  end,
  backward = function(v, ys, z, dz, dv, dys)
    assert(not v and #ys == 0 and not z)
    if dv then dv:copy(dz) end
    for k = 1, 3 do
      if dys[k] then for i = 1, #dz do dys[k][i] = k * dz[i] end end
    end
  end,
}
t.is(values(add(x, w, x, w)), "11.0 22.0 15.0", "a variadic input is a list")
t.is(values(mw.grad(add(x, w, x, w):sum(), {w})[1]), "4.0 4.0 4.0", "and so are its gradients")
t.ok(mw.gradcheck(function(u, v) return add(u * u, v, u * v) end, {x, w}),
  "a linear op has derivatives of every order")

local cube = mw.op {
  name = "k_cube", attrs = {{"factor", default = 1}},
  forward = function(v, y, attrs) for i = 1, #v do y[i] = attrs.factor * v[i] ^ 3 end end,
  gradient = function(v, _, dy, attrs) return 3 * attrs.factor * dy * v * v end,
}
t.ok(mw.gradcheck(function(v) return cube(v, {factor = 2}) end, {x}), "a gradient made of ops")
local flag = mw.op {
  name = "k_flip", forward = function(v, y) for i = 1, #v do y[i] = not v[i] end end,
}
t.is(flag(mw.tensor({true, false}, "bool")):totable(), {false, true}, "booleans")

-- Buffers -----------------------------------------------------------------------------------------

local kept, probe
mw.op {name = "k_probe", forward = function(v, y, attrs)
  kept = {v, y}
  return probe(v, y, attrs)
end}
local function probing(fn, tensor)
  probe = fn
  return mw.k_probe(tensor or m, {}):eval()
end
t.is(probing(function() end):totable(), {{0, 0, 0}, {0, 0, 0}}, "outputs are zeros at first")
probing(function(v, y)
  t.is(v.shape, {2, 3}, "x.shape")
  t.is(v.dtype .. " " .. #v, "f64 6", "x.dtype and #x")
  t.is(tostring(v) .. ", " .. tostring(y), "buffer x f64[2,3], buffer y f64[2,3]", "tostring")
  t.is({v[1], v[6], v[{2, 1}], v:get(2, 2), v[2.0]}, {3.0, 4.0, 5.0, 6.0, 1.0}, "reading")
  y[1], y[{2, 3}] = 7, 8
  y:set(1, 2, 9)
  t.is({y[1], y[2], y[6]}, {7.0, 9.0, 8.0}, "writing")
  refused("kernels.lua:", function() return v[0] end)
  refused("x[0] is out of range: x is f64[2,3], with 6 elements", function() return v[0] end)
  refused("x[7] is out of range", function() return v[7] end)
  refused("x[1.5] is out of range", function() return v[1.5] end)
  refused("x[nil] is out of range", function() return v[nil] end)
  refused("x has 1 indices, but it is f64[2,3]", function() return v[{1}] end)
  refused("x has 3 indices", v.get, v, 1, 2, 3)
  refused("index 4 of axis 2 is out of range: x is f64[2,3]", function() return v[{2, 4}] end)
  refused("index 0 of axis 1 is out of range", v.get, v, 0, 1)
  refused("index x of axis 1 is out of range", v.get, v, "x", 1)
  refused("x is read only", function() v[1] = 2 end)
  refused("x is read only", v.set, v, 1, 1, 2)
  refused("x is read only", v.fill, v, 2)
  refused("y[7] is out of range", function() y[7] = 2 end)
  refused("y[1] is set to nil, expected a number for f64[2,3]", function() y[1] = nil end)
  refused("y[1] is set to 'a', expected a number", function() y[1] = "a" end)
  refused("y:set is given no value", y.set, y)
  refused("x is a buffer, which has no 'sum'", function() return v:sum() end)
  refused("y:copy is given f32[2], expected f64[2,3]", y.copy, y, mw.zeros {2})
  refused("y:copy is given 3, expected f64[2,3]", y.copy, y, 3)
  refused("moonwalk.view", v.get, 3)
  t.is(getmetatable(v), "moonwalk.view", "the metatable is out of reach")
end)
local function dead(fn, ...) return refused("used after its kernel has returned", fn, ...) end
dead(function() return kept[1][1] end)
dead(function() kept[2][1] = 3 end)
dead(function() return #kept[1] end)
dead(function() return kept[1].shape end)
t.is(tostring(kept[1]), "buffer of a kernel that has returned", "tostring of a dead one")
local copy = kept
probing(function(v, y)
  dead(function() y:copy(copy[1]) end)
  copy = v:tensor()
end)
t.is(copy:totable(), m:totable(), "x:tensor() stays")
probing(function(v, y)
  refused("y[1] is set to 300, expected an integer from 0 to 255 for u8[1]",
    function() y[1] = 300 end)
  t.is(v[1], 9, "u8")
end, mw.tensor({9}, "u8"))
pcall(probing, function() error "stop" end)
dead(function() return kept[1][1] end)
probing(function(v) t.is(v:get(), 5.0, "a scalar has no index") end, mw.tensor(5, "f64"))

-- What goes wrong inside --------------------------------------------------------------------------

local line = debug.getinfo(1, "l").currentline + 1
local function unlucky() error "no luck" end
refused(("k_probe: tests/lua/kernels.lua:%d: no luck"):format(line), probing, unlucky)
refused("k_probe: it raised an error that is no text but a table", probing, function() error {} end)
refused("it raised an error that is no text but a nil", probing, function() error() end)
refused("attempt to yield", probing, function() coroutine.yield() end)
refused("attempt to yield", function()
  return coroutine.wrap(function() return probing(function() coroutine.yield() end) end)()
end)
t.is(values(leaky(x)), "1.0 2.0 -0.75", "and the next run is well")
local innermost
local function again()
  local done, problem = pcall(function() return mw.k_probe(m + 1):eval() end)
  innermost = innermost or not done and problem
end
probing(again)
t.ok(innermost:find("runs are inside each other", 1, true), "a kernel that runs itself for ever")
refused("k_specs: infer returns 0 values, expected 1", mw.op {name = "k_specs",
  forward = print, infer = function() end}, x)
local given
local any = mw.op {name = "k_given", forward = print, infer = function() return given end}
for message, value in pairs {
  ["infer returns 3 for y, expected a table"] = 3,
  ["infer gives y the shape 3, expected a table"] = {shape = 3},
  ["infer gives y the size -1, expected a whole number"] = {shape = {-1}},
  ["infer gives y the size 'a', expected a whole number"] = {shape = {"a"}},
  ["infer gives y the size 1.5, expected a whole number"] = {shape = {1.5}},
  ["infer gives y 9 axes, at most 8"] = {shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}},
  ["infer gives y the dtype 'f16', expected f32"] = {dtype = "f16"},
} do
  given = value
  refused("k_given: " .. message, any, x)
end
given = {shape = {1 << 40, 1 << 40}}
refused("k_given: ", any, x)
refused("k_wrong: gradient returns 3 for x, expected a tensor or nil", function()
  local wrong = mw.op {name = "k_wrong", forward = print, gradient = function() return 3 end}
  return mw.grad(wrong(x):sum(), {x})
end)
refused("k_none: it has no derivative", function()
  return mw.grad(mw.op {name = "k_none", forward = print}(x):sum(), {x})
end)
refused("op a: it has both define", mw.op, {name = "a", define = print, forward = print})
refused("op a: backward is 3, expected a function", mw.op,
  {name = "a", forward = print, backward = 3})
refused("op a: it is linear, but has no backward", mw.op,
  {name = "a", forward = print, linear = true})
refused("op a: backward_needs[1] is \"w\"", mw.op,
  {name = "a", forward = print, backward = print, backward_needs = {"w"}})
refused("op a: backward_needs is \"x\", expected a list", mw.op,
  {name = "a", forward = print, backward = print, backward_needs = "x"})
refused("op a: impure is 3", mw.op, {name = "a", forward = print, impure = 3})

-- Runs inside of a kernel -------------------------------------------------------------------------

local before = mw.threads()
local y = probing(function(v, result)
  collectgarbage()
  mw.threads(before + 1)
  result:copy(mw.matmul(v:tensor(), mw.ones({3, 3}, "f64")) + leaky(v:tensor()))
end)
t.is(y:totable(), {{9, 7, 8}, {20, 21, 19}}, "a kernel may compute tensors itself")
t.is(mw.threads(), before, "the run keeps its threads")
local deep = 0
t.is(values(leaky(x * 2) + mw.op {name = "k_deep", forward = function(v, result)
  deep = deep + 1
  result:copy(deep < 5 and mw.k_deep(v:tensor() + 1) or v:tensor())
end}(x)), "7.0 10.0 -0.5", "also itself")
local trained = mw.param(mw.tensor({4}, "f64"))
local sgd = mw.optim.SGD({trained}, {lr = 0.125})
for _ = 1, 3 do sgd:step(leaky(trained * trained):sum()) end
t.near(trained:item(), 4 * 0.75 ^ 3, 1e-12, "in training")
t.done()
