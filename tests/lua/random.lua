-- random.lua: random ops and constructors, and dropout: distributions, keys, threads, compiling.
-- Seeds are fixed, so that a test that passes passes always; bounds are 5 standard errors or wider.
local mw = require "moonwalk"
local t = require "tap"

local N = 40000

-- Mean and variance of all elements.
local function moments(x)
  x = x:cast "f64"
  local mean = x:mean():item()
  return mean, ((x - mean) ^ 2):mean():item()
end

local function key(seed, position) return mw.tensor({seed, position}, "i64") end

-- Distributions ----------------------------------------------------------------------------------

for _, dtype in ipairs {"f32", "f64"} do
  local x = mw.random_uniform(key(3, 0), {shape = {N}, low = -1, high = 3, dtype = dtype})
  t.is(x.dtype, dtype, "random_uniform gives " .. dtype)
  local mean, variance = moments(x)
  t.near(mean, 1, 0.03, "its mean is the middle")
  t.near(variance, 16 / 12, 0.03, "its variance is (high - low)^2 / 12")
  t.ok(x:min():item() >= -1 and x:max():item() < 3, "within [low, high)")
  t.ok(x:min():item() < -0.99 and x:max():item() > 2.99, "all of it")

  local y = mw.random_normal(key(3, 0), {shape = {N}, mean = 5, deviation = 2, dtype = dtype})
  mean, variance = moments(y)
  t.near(mean, 5, 0.05, "random_normal has its mean, " .. dtype)
  t.near(variance, 4, 0.15, "and its variance")
  local z = (y - mean) / math.sqrt(variance)
  t.near((z ^ 3):mean():item(), 0, 0.07, "is symmetric")
  t.near((z ^ 4):mean():item(), 3, 0.25, "and has the fourth moment 3")
  t.near((z:slice {{1, -2}} * z:slice {{2, -1}}):mean():item(), 0, 0.025,
    "neighbours do not depend on each other")
end

do
  local x = mw.random_bernoulli(nil, key(3, 0), {p = 0.3, shape = {N}})
  t.near(x:mean():item(), 0.3, 0.012, "random_bernoulli has the mean p")
  t.is((x * (1 - x)):abs():max():item(), 0, "and is 0 or 1")
  for p = 0, 1 do
    t.is(mw.random_bernoulli(nil, key(3, 0), {p = p, shape = {100}}):mean():item(), p,
      "p = " .. p .. " is certain")
  end
  local p = mw.linspace(0, 1, 5):reshape {5, 1}:expand {5, N}
  local means = mw.random_bernoulli(p, key(4, 0)):mean {2}
  t.near(means:totable(), {0, 0.25, 0.5, 0.75, 1}, 0.0125, "each element by its own probability")
  local q = mw.uniform {3}
  t.is(mw.grad(mw.random_bernoulli(q):sum(), {q})[1]:totable(), {0, 0, 0}, "its gradient is 0")
end

do
  local n, runs, at = 4, 6000, {}
  for i = 1, n do at[i] = {0, 0, 0, 0} end
  for run = 1, runs do
    local order = mw.random_permutation(key(11, 4 * run), {n = n}):totable()
    for i = 1, n do at[i][order[i] + 1] = at[i][order[i] + 1] + 1 end
  end
  local even = true
  for i = 1, n do
    for j = 1, n do even = even and math.abs(at[i][j] - runs / n) < 5 * math.sqrt(runs * 3 / 16) end
  end
  t.ok(even, "random_permutation: each number comes to each place equally often")
  local order = mw.random_permutation {n = 1000}
  local sorted = order:totable()
  table.sort(sorted)
  t.is(sorted, mw.arange(1000):totable(), "each number once")
end

-- Keys -------------------------------------------------------------------------------------------

do
  mw.seed(5)
  local a, b = mw.random_uniform {shape = {3}}, mw.random_uniform {shape = {3}}
  t.ok(a:totable()[1] ~= b:totable()[1], "two calls give two numbers")
  t.is({mw.random_state()}, {5, 6}, "the generator has moved on by the elements")
  mw.seed(5)
  local c = mw.random_uniform {shape = {6}}
  t.is(c:totable(), mw.concat(a, b):totable(), "the same seed gives the same numbers")
  t.is(mw.random_uniform(key(5, 0), {shape = {6}}):totable(), c:totable(), "and so does its key")
  t.is(mw.random_uniform(key(5, 2), {shape = {4}}):totable(), c:slice {{3, 6}}:totable(),
    "element i depends on the position + i alone")
  t.is({mw.random_state()}, {5, 6}, "a key that is given leaves the generator alone")
end

do -- threads
  local threads = mw.threads()
  local function all()
    local k = key(8, 1000)
    local x = mw.ones {300, 201}
    return {
      mw.random_uniform(k, {shape = {300, 201}}), mw.random_normal(k, {shape = {300, 201}}),
      mw.random_bernoulli(nil, k, {shape = {300, 201}}), x:dropout(k, {p = 0.3}),
    }
  end
  local want = {}
  mw.threads(1)
  for i, x in ipairs(all()) do want[i] = mw.core.bytes(x) end
  for _, n in ipairs {2, 3, 7} do
    mw.threads(n)
    local same = true
    for i, x in ipairs(all()) do same = same and mw.core.bytes(x) == want[i] end
    t.ok(same, "the same bits with " .. n .. " threads")
  end
  mw.threads(threads)
end

-- Constructors -----------------------------------------------------------------------------------

do
  local bernoulli, permutation = mw.bernoulli, mw.permutation
  mw.seed(1)
  t.near(bernoulli({N}, 0.2):mean():item(), 0.2, 0.01, "bernoulli(shape, p)")
  t.is(bernoulli({2, 3}, 1, "f64").dtype, "f64", "bernoulli(shape, p, dtype)")
  t.is(bernoulli(mw.tensor {0, 1, 1}):totable(), {0, 1, 1}, "bernoulli(probabilities)")
  t.near(bernoulli(N):mean():item(), 0.5, 0.0125, "bernoulli(shape): p is 0.5")
  t.error(function() bernoulli({2}, 1.5) end, "bernoulli: p is 1.5, expected 0 to 1", "p too large")
  t.error(function() bernoulli({2}, 0.5, "i32") end, "bernoulli: dtype is 'i32', expected 'f32' or",
    "a dtype that is no float")
  t.error(function() bernoulli(mw.zeros {2}, 0.5) end, "p is 0.5 beside a tensor of probabilities",
    "p twice")
  mw.seed(1)
  local order = permutation(5):totable()
  mw.seed(1)
  t.is(permutation(5):totable(), order, "permutation(n)")
end

-- Compiled functions -----------------------------------------------------------------------------

do
  local f = mw.compile(function(x)
    local uniform, normal, a = mw.uniform({3}, 1, 2), mw.normal({3}, 0, 2), mw.randn({3}, "f64")
    local b, order = mw.bernoulli({64}, 0.5), mw.permutation(9)
    return x + uniform, normal, a, b, order, x:dropout()
  end)
  local function numbers()
    local list = {f(mw.zeros {3})}
    for i, x in ipairs(list) do list[i] = x:totable() end
    return list
  end
  mw.seed(6)
  local first = numbers()
  local second = numbers()
  for i = 1, 4 do
    t.ok(table.concat(first[i], " ") ~= table.concat(second[i], " "),
      "result " .. i .. " of a compiled function is new at each run")
  end
  t.ok(table.concat(first[5], " ") ~= table.concat(second[5], " "), "its permutation as well")
  t.ok(first[1][1] >= 1 and first[1][1] < 2, "the constructor's bounds hold there")
  t.is(#first[3], 3, "and its dtype and shape")
  mw.seed(6)
  t.is({numbers(), numbers()}, {first, second}, "a seed decides them, also of the first run")
  local before = {mw.random_state()}
  numbers()
  local _, position = mw.random_state()
  mw.random_restore(before[1], before[2])
  t.is(position - before[2], 3 + 3 + 3 + 64 + 9 + 3, "a run moves the generator by its numbers")
  local again = numbers()
  mw.random_restore(before[1], before[2])
  t.is(numbers(), again, "a restored generator gives the same numbers")
end

do -- a random tensor of outside is drawn at each run, and is what it was outside
  mw.seed(7)
  local mask = mw.ones({64}):dropout()
  local f = mw.compile(function(v) return v * mask end)
  local before = (mask * 1):totable()
  local first, second = f(mw.ones {64}), f(mw.ones {64})
  t.is((mask * 1):totable(), before, "a compiled function's runs change no random tensor outside")
  t.ok((first - second):abs():max():item() > 0, "which is drawn anew inside")
end

do
  t.error(function() mw.compile(function() error("stopped", 0) end)() end, "^stopped$",
    "an error while a function is traced")
  mw.seed(3)
  local x = mw.randn {2}:totable()
  mw.seed(3)
  t.is(mw.randn {2}:totable(), x, "is followed by constructors that fill at once again")
  t.is(mw.core.tracing(), false, "and by no tracing")
  local y = mw.compile(function(v) return v * mw.randn({2}):eval() end)
  t.is(y(mw.ones {2}):totable(), y(mw.ones {2}):totable(),
    "a random value that is asked for while tracing is a constant")
end

-- Dropout ----------------------------------------------------------------------------------------

do
  mw.seed(12)
  local x = mw.uniform({N}, 1, 2)
  local y = x:dropout {p = 0.25}
  local mask = mw.gt(y, 0):cast "f32"
  t.near(mask:mean():item(), 0.75, 0.011, "dropout keeps 1 - p")
  t.near(y:mean():item(), x:mean():item(), 0.025, "and the expectation")
  t.near((y - x * mask / 0.75):abs():max():item(), 0, 1e-6, "what it keeps is divided by 1 - p")
  local dx = mw.grad(y:sum(), {x})[1]
  t.near((dx - mask / 0.75):abs():max():item(), 0, 1e-7, "the gradient has the same mask")
  local z = x:dropout {p = 0.25}
  t.ok((mw.gt(z, 0):cast "f32" - mask):abs():max():item() == 1, "another call has another mask")
  mw.seed(13)
  local named = x:dropout({p = 0.1}):totable()
  mw.seed(13)
  t.is(x:dropout(0.1):totable(), named, "a number is p, and no key")
  t.is(x:dropout({p = 0}):totable(), x:totable(), "p = 0 is the identity")
  t.is(x:dropout({training = false}):totable(), x:totable(), "and so is training = false")
  t.is(x:dropout({p = 1}):abs():max():item(), 0, "p = 1 gives zeros")
  t.is(mw.grad(x:dropout({p = 1}):sum(), {x})[1]:abs():max():item(), 0, "and no gradient")
  t.is(mw.grad(x:dropout({training = false}):sum(), {x})[1]:totable()[1], 1,
    "the gradient of the identity")
end

do -- derivatives of every order: y is linear in x
  local x = mw.randn({3, 4}, "f64")
  local k = key(2, 9)
  local function cubed(v) return (v:dropout(k, {p = 0.4}) ^ 3):sum() end
  local y = mw.ones({3, 4}, "f64"):dropout(k, {p = 0.4})
  local first = mw.grad(cubed(x), {x})[1]
  local second = mw.grad(first:sum(), {x})[1]
  local third = mw.grad(second:sum(), {x})[1]
  t.near(third:totable(), (y ^ 3 * 6):totable(), 1e-12, "the third derivative of y^3")
  local n = 0
  local gap = mw.gradcheck(function(v)
    n = n + 1
    return v:dropout {p = 0.4}
  end, {x})
  t.ok(n > 24 and gap < 1e-8, "gradcheck draws the same mask in each call")
  local f = mw.compile(function(v)
    local d = v:dropout {p = 0.5}
    return d, mw.grad(d:sum(), {v})[1]
  end)
  for _ = 1, 3 do
    local d, dv = f(x)
    t.near(d:totable(), (x * dv):totable(), 1e-15,
      "in a compiled function too the gradient has the mask of its run")
  end
end

do -- what arithmetic gives
  local y = mw.tensor({0 / 0, 1 / 0, -1 / 0}, "f64"):dropout({p = 1}):totable()
  t.ok(y[1] ~= y[1] and y[2] ~= y[2] and y[3] ~= y[3], "NaN and infinity times 0 are NaN")
end

-- Errors -----------------------------------------------------------------------------------------

for _, case in ipairs {
  {function() mw.dropout(mw.zeros {2}, mw.zeros {2}) end,
    "dropout: key is f32%[2%], expected i64%[2%], a seed and a position; attributes go into a "
    .. "table: {p = ..}"},
  {function() mw.dropout(mw.zeros {2}, {p = 1.5}) end, "dropout: p is 1.5, expected"},
  {function() mw.random_uniform {shape = {2}, low = 2, high = 1} end,
    "random_uniform: low is 2 and high is 1, expected finite numbers, low not above high"},
  {function() mw.random_uniform {shape = {2}, low = -math.huge} end, "low is %-inf and high is 1"},
  {function() mw.random_normal {shape = {2}, deviation = -1} end, "deviation is %-1, expected"},
  {function() mw.random_uniform {shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}} end,
    "shape has 9 axes, at most 8 are possible"},
  {function() mw.random_normal(key(1, 2):cast "i32", {shape = {2}}) end, "key is i32%[2%]"},
  {function() mw.random_bernoulli(mw.zeros {2}, {shape = {2}}) end,
    "shape is given beside probabilities, whose shape the result has: f32%[2%]"},
  {function() mw.random_bernoulli(mw.zeros({2}, "i32")) end, "probabilities is i32%[2%], expected"},
  {function() mw.random_bernoulli(mw.tensor {0.5, 1.5}):eval() end,
    "random_bernoulli: probabilities has the element 1.5, expected 0 to 1"},
  {function() mw.random_bernoulli(mw.tensor {0 / 0}):eval() end, "the element %-?nan"},
  {function() mw.random_permutation {n = -1} end, "random_permutation: n is %-1, expected"},
} do
  local message = t.error(case[1], case[2], "error: " .. case[2])
  t.ok(message and message:find "^tests/lua/random.lua:%d+: ", "at the user's line")
end

t.done()
