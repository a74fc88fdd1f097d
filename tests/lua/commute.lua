-- commute.lua: relu and maxpool change places in programs. What is compared with is a program in
-- which they cannot, because relu's result is asked for too.
local mw = require "moonwalk"
local t = require "tap"

-- The shapes of each op that a run has, in the order of their texts: nodes come by their times.
local function steps_of(fn, ...)
  local nodes, steps = mw.profile(fn, ...).nodes, {}
  table.sort(nodes, function(a, b) return a.shapes < b.shapes end)
  for _, node in ipairs(nodes) do
    steps[node.op] = (steps[node.op] and steps[node.op] .. "; " or "") .. node.shapes
  end
  return steps
end

local HUGE, NAN = math.huge, 0 / 0

local function images(dtype, values)
  return mw.tensor(values, dtype):reshape {1, 1, 4, #values // 4}:eval()
end

local cases = {
  ["all signs"] = {3, -1, -2, -5, 0.5, 0.25, -1, -3, 1, 1, 0, 0, 2, 2, 0, -4},
  ["nothing above 0"] = {-3, -1, -2, -5, -8, -0.25, -1, -3, 0, -1, -6, -6, -2, -2, -7, -4},
  ["infinities"] = {HUGE, -1, -HUGE, -5, 0.5, 0.25, -HUGE, -HUGE, HUGE, HUGE, 0, 0, 2, 2, 0, -HUGE},
  ["NaN"] = {NAN, -1, -2, NAN, 0.5, 0.25, -1, -3, 1, HUGE, 0, 0, 2, NAN, NAN, -4},
}

-- A tensor's elements as a text, in which NaN equals NaN, and -0 is 0.
local function text_of(x)
  local words = {}
  for i, value in ipairs((x + 0):reshape {-1}:totable()) do
    words[i] = value ~= value and "nan" or ("%.9g"):format(value)
  end
  return table.concat(words, " ")
end

-- p and dp/dx as texts; `both`: relu's result is wanted besides, so that nothing is moved.
local function results(values, dtype, settings, both)
  local x = images(dtype, values)
  local r = x:relu()
  local p = r:maxpool(settings)
  local weight = mw.arange(1, p.shape[3] * p.shape[4]):cast(dtype):reshape(p.shape)
  local d = mw.grad((p * weight):sum(), {x})[1]
  mw.eval(p, d, both and r or p)
  return text_of(p) .. " | " .. text_of(d)
end

for name, values in pairs(cases) do
  for _, dtype in ipairs {"f32", "f64"} do
    for text, settings in pairs {["2x2"] = {kernel = 2}, ["3x3, overlapping, padded"] =
      {kernel = 3, stride = 2, padding = 1}} do
      t.is(results(values, dtype, settings), results(values, dtype, settings, true),
        ("%s, %s, %s"):format(name, text, dtype))
    end
  end
end

-- By hand: windows of 2 x 2, the first of equal maxima, no gradient where nothing is above 0.
t.is(results({3, -1, -2, -5, 0.5, 0.25, -1, -3, 1, 1, 0, 0, 2, 2, 0, -4}, "f32", {kernel = 2}),
  "3 0 2 0 | 1 0 0 0 0 0 0 0 0 0 0 0 3 0 0 0", "by hand")

-- Which programs it is done in ------------------------------------------------------------------

mw.seed(3)
local x = mw.randn {2, 3, 8, 8}:eval()

local function gradient(f)
  return function()
    local p = f(x)
    return mw.eval(mw.grad((p * p):sum(), {x})[1], p)
  end
end

do
  local steps = steps_of(function() return x:relu():maxpool {kernel = 2}:eval() end)
  t.is(steps.maxpool, "f32[2,3,8,8] -> f32[2,3,4,4]", "maxpool has all elements")
  t.is(steps.relu, "f32[2,3,4,4] -> f32[2,3,4,4]", "relu has those that were picked")
end

do
  local steps = steps_of(gradient(function(a) return a:relu():maxpool {kernel = 2} end))
  t.is(steps.relu, "f32[2,3,4,4] -> f32[2,3,4,4]", "with a gradient, too")
  t.ok(steps["relu.backward"]:find("-> f32[2,3,4,4]", 1, true), "whose relu has as few")
  t.ok(steps["maxpool.backward"]:find("-> f32[2,3,8,8]", 1, true), "and maxpool's comes last")
end

local kept = {
  ["relu's result is used elsewhere"] = function(a)
    local r = a:relu()
    return r:maxpool {kernel = 2} + r:meanpool {kernel = 2}
  end,
  ["a view of it is"] = function(a)
    local r = a:relu()
    return r:maxpool {kernel = 2}:sum() + r:reshape {384}:slice {{1, 5}}:sum()
  end,
  ["maxpool does not make it less"] = function(a)
    return a:relu():maxpool {kernel = 3, stride = 1, padding = 1}
  end,
  ["relu comes after"] = function(a) return a:maxpool {kernel = 1}:relu() end,
}
for why, f in pairs(kept) do
  local steps = steps_of(gradient(f))
  t.is(steps.relu, "f32[2,3,8,8] -> f32[2,3,8,8]", "not where " .. why)
end
t.is(steps_of(gradient(function(a) return a:relu():meanpool {kernel = 2} end)).relu,
  "f32[2,3,8,8] -> f32[2,3,8,8]", "not with a mean")
t.is(steps_of(gradient(function(a) return a:tanh():maxpool {kernel = 2} end)).tanh,
  "f32[2,3,8,8] -> f32[2,3,8,8]", "not with an op that does not say that it rises so")

-- Higher derivatives, chains, and several pairs ---------------------------------------------------

do
  local a = mw.randn({1, 2, 6, 6}, "f64"):eval()
  t.ok(mw.gradcheck(function(v) return v:relu():maxpool {kernel = 2} end, {a}), "gradcheck")
  local two = steps_of(function()
    local p = a:relu():maxpool {kernel = 2}
    return p:relu():maxpool {kernel = 3}:eval()
  end)
  t.is(two.relu, "f64[1,2,1,1] -> f64[1,2,1,1]; f64[1,2,3,3] -> f64[1,2,3,3]",
    "two pairs, one after the other")
  local r = a:relu()
  local p = r:maxpool {kernel = 2}
  local q = p:relu():maxpool {kernel = 3}
  mw.eval(r, p, q)
  t.is(a:relu():maxpool {kernel = 2}:relu():maxpool {kernel = 3}:totable(), q:totable(),
    "and come to the same")
end

-- Watched runs have programs of their own ---------------------------------------------------------

do
  local a = images("f32", cases["nothing above 0"])
  local function run() return a:log():relu():maxpool {kernel = 2}:eval() end
  run()
  local before = mw.stats().programs_compiled
  mw.debug.nan(true)
  local passed, message = pcall(run)
  mw.debug.nan(false)
  t.ok(not passed and tostring(message):find("log", 1, true), "a watched run names the first op")
  t.is(mw.stats().programs_compiled, before + 1, "it has a program of its own")
  run()
  t.is(mw.stats().programs_compiled, before + 1, "and later runs have the one that was there")
end

t.done()
