-- autodiff.lua: mw.vjp, jvp, jacobian, hessian, hvp; mw.checkpoint; mw.gradcheck. What is expected
-- was differentiated by hand.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(3)

local function f64(value) return mw.tensor(value, "f64") end

-- products with Jacobians, Jacobians, Hessians ----------------------------------------------------

-- y = (x1^2 x2, 5 x1 + sin x2): J = ((2 x1 x2, x1^2), (5, cos x2))
local function pair(x)
  local x1, x2 = x[1], x[2]
  return mw.concat((x1 * x1 * x2):reshape {1}, (5 * x1 + x2:sin()):reshape {1})
end
local c = math.cos(2)
for _, dtype in ipairs {"f64", "f32"} do
  local near = dtype == "f64" and 1e-14 or 1e-6
  local x = mw.tensor({3, 2}, dtype)
  t.near(mw.jacobian(pair, x):totable(), {{12, 9}, {5, c}}, near, dtype .. ": a Jacobian")
  local dx, y = mw.vjp(pair, x, mw.tensor({1, 10}, dtype))
  t.near(dx:totable(), {62, 9 + 10 * c}, 1e1 * near, dtype .. ": vjp is J' dy")
  t.near(y:totable(), {18, 15 + math.sin(2)}, 1e1 * near, dtype .. ": with the function's value")
  local dy, again = mw.jvp(pair, x, mw.tensor({1, 10}, dtype))
  t.near(dy:totable(), {102, 5 + 10 * c}, 1e1 * near, dtype .. ": jvp is J dx")
  t.is(again:totable(), y:totable(), dtype .. ": with the function's value too")
  t.is(dy.dtype, dtype, dtype .. ": and dtype")
end

-- f = x1^2 x2 + x2^3: H = ((2 x2, 2 x1), (2 x1, 6 x2))
local function cubic(x) return x[1] * x[1] * x[2] + x[2] ^ 3 end
local x = f64 {3, 2}
local h, y = mw.hessian(cubic, x)
t.near(h:totable(), {{4, 6}, {6, 12}}, 1e-13, "a Hessian")
t.near(y:item(), 26, 1e-13, "with the function's value")
t.near(mw.hvp(cubic, x, f64 {1, -2}):totable(), {-8, -18}, 1e-13, "hvp is H v")
t.near(mw.jvp(function(p) return mw.vjp(cubic, p) end, x, f64 {1, -2}):totable(), {-8, -18}, 1e-13,
  "and so is the jvp of the gradient")

-- f = sum of x^3: its third derivative is 6 on the diagonal, and 0 elsewhere
local third = mw.jacobian(function(p)
  return (mw.hessian(function(q) return (q * q * q):sum() end, p))
end, f64 {1, 2})
t.near(third:totable(), {{{6, 0}, {0, 0}}, {{0, 0}, {0, 6}}}, 1e-13, "the Jacobian of a Hessian")

-- f = <a, b^2>: H has the blocks ((0, 2 diag b), (2 diag b, 2 diag a))
local a, b = f64 {1, 2}, f64 {3, 4}
local function product(p, q) return (p * q * q):sum() end
local blocks = mw.hessian(product, {a, b})
t.near(blocks[1][1]:totable(), {{0, 0}, {0, 0}}, 0, "of two tensors: what is linear in one")
t.near(blocks[1][2]:totable(), {{6, 0}, {0, 8}}, 1e-14, "the mixed block")
t.near(blocks[2][1]:totable(), {{6, 0}, {0, 8}}, 1e-14, "is symmetric")
t.near(blocks[2][2]:totable(), {{2, 0}, {0, 4}}, 1e-14, "and the other one")
local hv = mw.hvp(product, {a, b}, {f64 {1, 1}, f64 {1, 0}})
t.near({hv[1]:totable(), hv[2]:totable()}, {{6, 0}, {8, 8}}, 1e-14, "hvp of two tensors")
-- A vector that was computed from x is a vector all the same: H g, and not the gradient of g'g.
local slope = mw.vjp(cubic, x)
t.near(mw.hvp(cubic, x, slope):totable(), {4 * 12 + 6 * 21, 6 * 12 + 12 * 21}, 1e-12,
  "hvp of the gradient itself")
local slopes = {mw.vjp(product, {a, b})}
local hg = mw.hvp(product, {a, b}, slopes[1])
t.near(hg[1]:totable(), {2 * 3 * 6, 2 * 4 * 16}, 1e-12, "and of two")
-- H v = d/dx (3 x^2 v) = 6 x v for f = sum x^3, whose derivative in v is 6 x
local cube_v = f64 {5, 7}
local cube_hv = mw.hvp(function(p) return (p * p * p):sum() end, f64 {1, 2}, cube_v)
t.near(mw.grad(cube_hv:sum(), {cube_v})[1]:totable(), {6, 12}, 1e-13, "hvp differentiated in v")
-- What a function finds free counts as well, as parameters of a network do.
local free = mw.param(f64 {1, 2})
t.near(mw.hvp(function() return (free ^ 3):sum() end, free, cube_v):totable(), {30, 84}, 1e-12,
  "hvp in a parameter that the function does not take as an argument")
t.near(mw.hvp(product, {f64 {1, 2}, mw.tensor {3, 4}:cast "f64"}, {f64 {1, 1}, f64 {1, 0}})[2]
  :totable(), {8, 8}, 1e-12, "hvp of tensors that are not computed yet")
local da, db = table.unpack((mw.vjp(product, {a, b})))
t.near({da:totable(), db:totable()}, {{9, 16}, {6, 16}}, 1e-14, "vjp of two tensors, y a scalar")
t.near(mw.jvp(product, {a, b}, {f64 {1, 0}, f64 {0, 1}}):item(), 9 + 16, 1e-13, "jvp of two")

-- Y = A X for X [2,3]: dY[i,j] / dX[k,l] = A[i,k] if j = l
local m = f64 {{1, 2}, {3, 4}}
local j = mw.jacobian(function(p) return m:matmul(p) end, mw.zeros({2, 3}, "f64"))
t.is(j.shape, {2, 3, 2, 3}, "a Jacobian has y's axes and then x's")
t.is({j[2][3][1][3]:item(), j[2][3][1][2]:item(), j[1][1][2][1]:item()}, {3, 0, 2}, "in that order")
t.is(mw.jacobian(function(p) return p:sum() end, f64 {1, 2}):totable(), {1, 1}, "of a scalar")
t.is(mw.jacobian(function(p) return p:exp() end, mw.zeros({0, 2}, "f64")).shape, {0, 2, 0, 2},
  "of nothing")
t.is(mw.jvp(function() return f64 {1, 2} end, x, x):totable(), {0, 0}, "jvp of a constant")
local w = mw.param {{1, 2}, {3, 4}}
local traced = mw.compile(function(p)
  return (mw.jacobian(function(q) return q:matmul(w) end, p))
end)
t.is(traced(mw.tensor {5, 6}):totable(), {{1, 3}, {2, 4}}, "inside mw.compile")

t.error(function() mw.jvp(3, x, x) end, "jvp: fn is 3, expected a function", "no function")
t.error(function() mw.vjp(cubic, 3) end, "vjp: x is 3, expected a tensor or a list", "no tensor")
t.error(function() mw.vjp(cubic, mw.tensor({1}, "i32")) end,
  "vjp: x is a tensor i32%[1%], expected a tensor of f32 or f64", "integers")
t.error(function() mw.vjp(pair, x) end,
  "vjp: the function's result is a tensor f64%[2%], expected a scalar", "vjp without dy")
t.error(function() mw.vjp(pair, x, f64 {1, 2, 3}) end,
  "vjp: dy is f64%[3%], expected f64%[2%] as the result", "vjp with another dy")
t.error(function() mw.jvp(pair, x, {x}) end, "jvp: dx is a table, expected a tensor, as x", "list")
t.error(function() mw.jvp(product, {a, b}, {a, f64(1)}) end,
  "jvp: dx%[2%] is f64%[%], expected f64%[2%] as x%[2%]", "another shape in a list")
t.error(function() mw.hessian(pair, x) end,
  "hessian: the function's result is a tensor f64%[2%], expected a scalar", "no scalar")
t.error(function() mw.jacobian(function() return 1 end, x) end,
  "jacobian: the function's result is 1, expected a tensor", "a result that is no tensor")
t.error(function() mw.jacobian(function(p) return p * 1 end, mw.zeros {1, 1, 1, 1, 1}) end,
  "would have 10 axes, at most 8", "too many axes")

-- checkpoints -------------------------------------------------------------------------------------

local function bytes_of(list)
  local all = {}
  core.eval(table.unpack(list))
  for i, item in ipairs(list) do all[i] = core.bytes(item) end
  return all
end

-- A chain of layers h = tanh(h W') in segments, each of which is a checkpoint unless it is all.
local LAYERS, WIDTH = 32, 64
local weights = {}
for i = 1, LAYERS do weights[i] = mw.param(mw.randn {WIDTH, WIDTH} * 0.125, "w" .. i) end
local input = mw.randn {WIDTH, WIDTH}
local function chain(segment, wrap)
  local value = input
  for first = 1, LAYERS, segment do
    value = wrap(function(v)
      for i = first, first + segment - 1 do v = v:dense(weights[i]):tanh() end
      return v
    end)(value)
  end
  return (value * value):mean()
end
local function plain(fn) return fn end
local function trained(segment, wrap)
  local loss = chain(segment, wrap)
  local list = {loss, table.unpack(mw.grad(loss, weights))}
  return bytes_of(list), mw.stats().arena_last / (4 * WIDTH * WIDTH), mw.stats().nodes_last
end
local want, kept_plain, steps_plain = trained(LAYERS, plain)
-- tanh needs its output and dense its input, so that without checkpoints one value of each layer is
-- kept. With segments of n layers it is what enters each later one, n of the one at work, and what
-- is on the way: a few.
t.ok(kept_plain >= LAYERS and kept_plain < LAYERS + 4, "without checkpoints all layers are kept")
for _, segment in ipairs {4, 8} do
  local got, kept, steps = trained(segment, mw.checkpoint)
  t.is(got, want, ("segments of %d: the same bits"):format(segment))
  local most = LAYERS // segment - 1 + segment + 4
  t.ok(kept <= most, ("segments of %d: %g values are kept at once, %d at most"):format(segment,
    kept, most))
  t.ok(steps > steps_plain and steps <= steps_plain + 2 * LAYERS,
    ("segments of %d: one more forward pass"):format(segment))
end

-- Inside others: what an outer one computes again has checkpoints of its own.
local function nested(fn)
  return mw.checkpoint(function(v) return mw.checkpoint(fn)(v) end)
end
t.is(trained(8, nested), want, "one inside another: the same bits")
local step = mw.compile(function()
  local loss = chain(8, mw.checkpoint)
  return loss, table.unpack(mw.grad(loss, weights))
end)
t.is(bytes_of {step()}, want, "inside mw.compile: the same bits")

-- What a function may be: several arguments and results, captured tensors, random ops, labels.
local p, q = mw.param(f64 {1, 2, 3}), mw.param(f64 {2, 0.5, 1})
local labels = mw.tensor({1, 0, 2}, "i32")
local function busy(u, v, n)
  local made = (u * p):exp() * v + n
  return made, made:reshape {1, 3}:log_softmax(), "text", labels
end
local function both(fn)
  local outer = p * q -- not a leaf, and made outside
  local first, second, text, same = fn(outer, q:tanh(), 2)
  local loss = (first * first):sum() + (second * f64 {1, 2, 3}):sum()
  return loss, text, same
end
local one, two = {both(busy)}, {both(mw.checkpoint(busy))}
t.is(two[2], "text", "results that are no tensors are passed on")
t.ok(rawequal(two[3], labels) or two[3]:totable()[3] == 2, "and integers")
local g1, g2 = mw.grad(one[1], {p, q}), mw.grad(two[1], {p, q})
for i = 1, 2 do t.near(g2[i]:totable(), g1[i]:totable(), 1e-12 * math.abs(g1[i]:max():item()),
  "captured tensors get their gradient: " .. i) end
local h1, h2 = mw.hvp(function() return (both(busy)) end, p, q),
  mw.hvp(function() return (both(mw.checkpoint(busy))) end, p, q)
t.near(h2:totable(), h1:totable(), 1e-12 * h1:abs():max():item(), "second derivatives")

-- f(x) = sum of x^4 as checkpoint of a function that differentiates: f'(x^4) x = 4 x^4
local function inner(v)
  return mw.grad((v * v * v * v):sum(), {v})[1] * v
end
local z = f64 {1, 2}
t.near(mw.grad(mw.checkpoint(inner)(z):sum(), {z})[1]:totable(), {16, 128}, 1e-12,
  "a gradient is taken inside")
local outside = z:tanh()
local function halfway(v) return mw.grad((outside * v):sum(), {z})[1] end
t.near(mw.grad(mw.checkpoint(halfway)(z):sum(), {z})[1]:totable(),
  mw.grad(halfway(z):sum(), {z})[1]:totable(), 1e-14, "through what was made outside")

-- Two results of one call, of which a tanh, an exp and two products are made again.
local function results(v)
  local u = v:tanh()
  return u * v, u:exp() * v
end
local function ends(fn)
  local u, v = fn(input)
  local total = (u * v):sum()
  local grads = mw.grad(total, {input})
  return bytes_of {total, grads[1]}, mw.stats().nodes_last
end
local plain_ends, few = ends(results)
local again_ends, more = ends(mw.checkpoint(results))
t.is(again_ends, plain_ends, "two results of one function: the same bits")
t.ok(more - few <= 4, "which are computed again together")

-- What enters is used several times inside, and beside: the order of the sums is kept.
local gate = mw.param(mw.randn {WIDTH, WIDTH} * 0.125, "gate")
local function residual(wrap)
  local v = input * gate
  for i = 1, 4 do
    local entered = v
    v = v + wrap(function(u)
      local left, right = wrap(function(s)
        return s:dense(weights[i]):tanh(), s:dense(gate):sigmoid() * s
      end)(u)
      return left * right + entered * u
    end)(v) + v:tanh()
  end
  local total = (v * v):mean()
  return bytes_of {total, table.unpack(mw.grad(total, {gate, weights[1], weights[4]}))}
end
t.is(residual(mw.checkpoint), residual(plain), "residual blocks, nested: the same bits")

t.is(mw.checkpoint(function(v) return v end)(z), z, "a function that does nothing")
t.is(mw.checkpoint(mw.nn.Dense {2, 3})(mw.ones {4, 2}).shape, {4, 3}, "of a module")
local lazy
local lazily = mw.checkpoint(function(v)
  lazy = mw.param(f64 {3, 4})
  return v * lazy
end)(z)
t.is(mw.grad(lazily:sum(), {lazy})[1]:totable(), {1, 2}, "a parameter that is made inside")
local hidden
local result = mw.checkpoint(function(v)
  hidden = v:exp()
  return hidden * 2
end)(z)
t.error(function() mw.grad(result:sum(), {hidden, z}) end,
  "grad: x%[1%], the result of exp, was made inside a checkpointed function", "a tensor inside")
t.error(function() mw.checkpoint(1) end, "checkpoint: fn is 1, expected a function", "no function")
local stale = mw.param(f64 {1})
local old = mw.checkpoint(function(v) return (v * stale):exp() end)(f64 {1})
mw.update({stale}, {stale * 2})
t.error(function() mw.grad(old:sum(), {stale}) end, "stale value", "a parameter updated meanwhile")

-- gradcheck ---------------------------------------------------------------------------------------

local function report(fn, inputs, options)
  options = options or {}
  options.raise = false
  local worst, r = mw.gradcheck(fn, inputs, options)
  t.is(worst, r.worst, "gradcheck gives the error and the report")
  return r
end
local r = report(function(u, v) return u:matmul(v), u:exp() end, {mw.randn {2, 3}, mw.randn {3, 2}})
t.ok(r.passed and r.checked == 12 and r.moved == 0 and #r.skipped == 0, "all outputs, all inputs")
r = report(function(u, v) return u:matmul(v), u:exp() end, {mw.randn {2, 3}, mw.randn {3, 2}},
  {second = true})
t.ok(r.passed and r.checked == 12 + 12 + 4 + 6, "and second derivatives, in dy too")
r = report(mw.relu, {mw.tensor {0, 1, -1, 1e-6}})
t.ok(r.passed and r.checked == 4 and r.moved == 1, "an element at a kink is moved")
r = report(function(u) return u:max() end, {mw.zeros {2, 2}})
t.ok(r.passed and r.moved == 4, "and so are those that tie")
r = report(function(u) return u:log(), (u / 0.001):sigmoid() end, {mw.tensor {1e-5, 3e-4}})
t.ok(r.passed and r.moved == 0, "steps become small where a function is steep")
r = report(function(u) return (u * 1e4):floor() + u end, {mw.tensor {0.25}})
t.ok(r.passed and r.moved == 1, "steps in a function")
-- abs of a wave so fast that there is a kink wherever one looks
r = report(function(u) return (u * 1e9):sin():abs() end, {f64 {0.3, 0.5}})
t.ok(not r.passed and #r.skipped == 2, "where no step is small enough nothing passes")
t.ok(r.message:find "nothing could be compared: input 1, element %[1%]: kinks", "and it says so")
local names = {names = {"x", "w"}, outputs = {"y", "z"}}
-- Wrong on purpose: half the gradient of w^2, in the second result.
r = report(function(u, v) return u * 2, v * v:stop_gradient() end,
  {f64 {1, 2}, f64 {{0, 0, 0}, {0, 3, 0}}}, names)
t.ok(not r.passed, "a wrong gradient")
t.ok(r.where:find "^input 2 %(w%), element %[2,2%]: the gradient is %S+, differences give %S+; "
  and r.where:find "output z$", "is named: " .. r.where)
local got, differences = r.where:match "gradient is (%S+), differences give (%S+);"
t.near(tonumber(differences) / tonumber(got), 2, 1e-6, "with both numbers")
-- Wrong on purpose in the second derivative alone: the slope of x^2 as a constant.
r = report(function(u)
  return (u * u):stop_gradient() + (u - u:stop_gradient()) * (2 * u):stop_gradient()
end, {f64 {2}}, {second = true})
t.ok(not r.passed and r.where:find "^second order, input 1, element %[1%]: the gradient is 0"
  and r.where:find "output gradient of input 1$", "a wrong second derivative: " .. r.where)
t.error(function() mw.gradcheck(function(u) return u * u:stop_gradient() end, {f64 {2}}) end,
  "gradcheck: input 1, element %[1%]: the gradient is .*; the error .* is above 1e%-06",
  "it raises unless told not to")
t.ok(mw.gradcheck(function(u, i, n) return u:pow(n), i end, {f64 {2}, labels, 3}) < 1e-8,
  "what is no float tensor is passed on")
t.is(report(function(u) return u:exp() end, {mw.zeros {0, 3}}, {second = true}).passed, true,
  "nothing to compare")
local state = {core.random_state()}
report(function(u) return u * mw.randn({2}, "f64") end, {mw.ones {2}})
t.is({core.random_state()}, state, "the generator is as before")
t.done()
