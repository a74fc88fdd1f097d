-- norm.lua: the normalisations, softmax and attention where the plain formulas do not go: running
-- statistics, precision, NaN and infinity, empty tensors, threads, errors. gradcheck.lua has the
-- gradients.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(17)

local nan, inf = 0 / 0, math.huge

---- batch_norm: the running statistics, by PyTorch's rule.

local x = mw.tensor({{1, 10}, {2, 10}, {3, 40}}, "f64")
local zeros, ones = mw.zeros({2}, "f64"), mw.ones({2}, "f64")
local y, mean, var = mw.batch_norm(x, nil, nil, zeros, ones, {training = true, eps = 0})
local a, b = math.sqrt(1.5), math.sqrt(0.5)
t.near(y:totable(), {{-a, -b}, {0, -b}, {a, 2 * b}}, 1e-14, "training takes the batch's mean")
t.near(mean:totable(), {0.2, 2}, 1e-14, "the running mean moves by momentum")
t.near(var:totable(), {1, 30.9}, 1e-14, "... and the running variance, with the unbiased one")
y, mean, var = mw.batch_norm(x, nil, nil, mean, var, {eps = 0})
t.near(y:totable(), {{0.8, 8 / 30.9 ^ 0.5}, {1.8, 8 / 30.9 ^ 0.5}, {2.8, 38 / 30.9 ^ 0.5}}, 1e-14,
  "inference takes the running ones")
t.near({mean:totable(), var:totable()}, {{0.2, 2}, {1, 30.9}}, 1e-14, "... which stay")
mean, var = select(2, mw.batch_norm(x, nil, nil, nil, nil, {training = true}))
t.near({mean:totable(), var:totable()}, {{2, 20}, {1, 300}}, 1e-13,
  "without running statistics the batch's come out")
mean, var = select(2, mw.batch_norm(x, nil, nil, zeros * nan, ones * nan,
  {training = true, momentum = 1}))
t.ok(mean:totable()[1] ~= mean:totable()[1] and var:totable()[1] ~= var:totable()[1],
  "running statistics that are NaN stay NaN, whatever the momentum")

local scale, bias = mw.ones {3}, mw.ones {3}
local none = mw.zeros {0, 3, 2, 2}
y, mean, var = mw.batch_norm(none, scale, bias, mw.full({3}, 5), mw.full({3}, 7),
  {training = true})
t.is({y.shape, mean:totable(), var:totable()}, {{0, 3, 2, 2}, {5.0, 5.0, 5.0}, {7.0, 7.0, 7.0}},
  "a batch of none leaves the running statistics as they were")
t.is(mw.grad(y, {scale, bias}, y)[1]:totable(), {0.0, 0.0, 0.0}, "... and has no gradient")

local function fails(pattern, name, ...)
  local arguments = table.pack(...)
  t.error(function() return mw.batch_norm(table.unpack(arguments, 1, arguments.n)) end,
    "batch_norm: " .. pattern, "batch_norm: " .. name)
end
local image = mw.zeros {2, 3, 4, 4}
fails("x is f32%[5%], expected %[batch, channels, ..%]", "a vector", mw.zeros {5})
fails("running_mean and running_var are missing; training = true", "no running statistics", image)
fails("running_mean is there without running_var", "half of them", image, nil, nil, mw.zeros {3},
  {training = true})
fails("scale is f32%[4%], expected %[3%], one for each channel", "a scale too long", image,
  mw.zeros {4})
fails("bias is f64%[3%], but x is f32%[2,3,4,4%]: the dtypes", "a bias of another dtype", image,
  nil, mw.zeros({3}, "f64"))
fails("x is f32%[1,3,1%]: one number for each channel has no variance", "a batch of one number",
  mw.zeros {1, 3, 1}, {training = true})
fails("momentum is 2, expected between 0 and 1", "a momentum above 1", image, {momentum = 2})

---- normalize

-- These are exact in f32, and so are their distances.
local far = mw.tensor {1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3}
local near = mw.tensor {0, 1, 2, 3}
t.is(core.bytes(mw.normalize(far)), core.bytes(mw.normalize(near)),
  "numbers far from 0 are normalised as exactly as others")
y, mean, var = mw.normalize(mw.full({3, 4}, 2.5, "f64"), {axes = {2}})
t.near({y:totable(), mean:totable(), var:totable()},
  {{{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}, {{2.5}, {2.5}, {2.5}}, {{0}, {0}, {0}}}, 0,
  "equal numbers have no variance and become 0")
local odd = mw.tensor {{1, 2}, {nan, 2}, {inf, 2}}
t.near(mw.normalize(odd, {axes = {2}}):totable(),
  {{-0.99998, 0.99998}, {nan, nan}, {nan, nan}}, 1e-5, "NaN and infinity spoil their group alone")
t.near(mw.normalize(mw.full({2}, 3), {eps = 0}):totable(), {nan, nan}, 0,
  "no variance and no eps: NaN")
y, mean = mw.normalize(mw.zeros {2, 0}, {axes = {2}})
t.is(y.shape, {2, 0}, "groups of none")
t.near(mean:totable(), {{nan}, {nan}}, 0, "... have no mean")
x = mw.randn({3, 4}, "f64")
mean, var = select(2, mw.normalize(x, {axes = {1}}))
t.near(mw.grad(mean:sum(), {x})[1]:totable(), mw.full({3, 4}, 1 / 3, "f64"):totable(), 1e-15,
  "a gradient may come through the mean alone")
t.near(mw.grad(var:sum(), {x})[1]:totable(),
  ((x - mean) * (2 / 3)):totable(), 1e-14, "... and through the variance alone")
t.near((mw.normalize(near + 1) + 0):totable(), mw.normalize(near):totable(), 1e-6,
  "the result may lie where x was")
t.error(function() return mw.normalize(x, {axes = {3}}) end,
  "normalize: axis 3 is out of range for x f64%[3,4%]", "no such axis")
t.error(function() return mw.normalize(x, {axes = {1, -2}}) end,
  "normalize: axes: entry 2 .*second", "an axis named twice")
t.error(function() return mw.normalize(mw.zeros({3}, "i64")) end, "normalize: x is i64%[3%].*:cast",
  "integers")

for _, case in ipairs {
  {{8, 6, 20, 31}, {1, 3, 4}}, {{500, 70}, {1}}, {{500, 70}, {2}}, {{40, 30, 7, 5}, {2, 4}},
  {{9, 40, 11, 13}, {2}}, {{30000}, {1}},
} do
  local input, dy = mw.randn(case[1]), mw.randn(case[1])
  core.eval(input, dy)
  local function bits(threads)
    core.threads(threads)
    local out = mw.normalize(input, {axes = case[2]})
    local all = core.bytes(out) .. core.bytes(mw.grad(out, {input}, dy)[1])
    core.threads(1)
    return all
  end
  local label = table.concat(case[1], ",") .. " over " .. table.concat(case[2], ",")
  t.ok(bits(1) == bits(2), label .. ": one and two threads give the same bits")
  -- Against sums that reduce.c takes.
  local wide, settings = input:cast "f64", {axes = case[2], keepdims = true}
  local d = wide - wide:mean(settings)
  local want = d * mw.rsqrt(mw.square(d):mean(settings) + 1e-5)
  local gap = (mw.normalize(wide, {axes = case[2]}) - want):abs():max():item()
  t.ok(gap < 1e-12, label .. ": as by mean and variance")
end

---- layer_norm and the others

t.error(function() return mw.layer_norm(mw.zeros {2, 3}, mw.zeros {2}) end,
  "layer_norm: scale is f32%[2%], expected f32%[3%], the sizes of x's normalised axes; x is "
  .. "f32%[2,3%]", "layer_norm: a scale of another size")
t.error(function() return mw.layer_norm(mw.zeros {2, 3}, {axes = {3}}) end,
  "layer_norm: axis 3 is out of range for x f32%[2,3%]", "layer_norm: no such axis")
t.error(function() return mw.rms_norm(mw.zeros {2, 3}, nil, {axes = {}}) end, "axes is empty",
  "rms_norm: no axis")
t.error(function() return mw.group_norm(mw.zeros {2, 3, 4}, {groups = 2}) end,
  "group_norm: groups is 2, which does not divide the 3 channels of x, f32%[2,3,4%]",
  "group_norm: groups that do not divide")
t.error(function() return mw.instance_norm(mw.zeros {2, 3}) end,
  "instance_norm: x is f32%[2,3%], expected %[batch, channels, length%]",
  "instance_norm: nothing to normalise over")
t.is(mw.group_norm(mw.zeros {2, 4, 3}, {groups = 4}).shape, {2, 4, 3},
  "group_norm takes no scale and bias")
t.near(mw.rms_norm(mw.tensor {3, 4}, {eps = 0}):totable(), {3 / 12.5 ^ 0.5, 4 / 12.5 ^ 0.5}, 1e-6,
  "rms_norm takes no mean off")

---- softmax along lines of all lengths, near each other and far apart

-- [outer][n][inner] of softmax and of its logarithm, and their gradients times dy.
local function softmax_by_hand(logits, dy)
  local p, log_p, dx, log_dx = {}, {}, {}, {}
  for o = 1, #logits do
    p[o], log_p[o], dx[o], log_dx[o] = {}, {}, {}, {}
    for i = 1, #logits[o] do p[o][i], log_p[o][i], dx[o][i], log_dx[o][i] = {}, {}, {}, {} end
    for k = 1, #logits[o][1] do
      local largest, sum, dot, sum_dy = -math.huge, 0, 0, 0
      for i = 1, #logits[o] do largest = math.max(largest, logits[o][i][k]) end
      for i = 1, #logits[o] do sum = sum + math.exp(logits[o][i][k] - largest) end
      for i = 1, #logits[o] do
        p[o][i][k] = math.exp(logits[o][i][k] - largest) / sum
        log_p[o][i][k] = logits[o][i][k] - largest - math.log(sum)
        dot, sum_dy = dot + p[o][i][k] * dy[o][i][k], sum_dy + dy[o][i][k]
      end
      for i = 1, #logits[o] do
        dx[o][i][k] = p[o][i][k] * (dy[o][i][k] - dot)
        log_dx[o][i][k] = dy[o][i][k] - p[o][i][k] * sum_dy
      end
    end
  end
  return p, log_p, dx, log_dx
end

for _, shape in ipairs {{3, 1, 1}, {5, 7, 1}, {2, 16, 1}, {3, 33, 1}, {2, 100, 1}, {2, 3, 5},
  {2, 17, 64}, {1, 5, 131}, {3, 40, 70}} do
  for _, dtype in ipairs {"f32", "f64"} do
    local logits = (mw.randn(shape, dtype) * 3):eval()
    local dy = mw.randn(shape, dtype):eval()
    local p, log_p, dx, log_dx = softmax_by_hand(logits:totable(), dy:totable())
    local name = ("%s [%s]: "):format(dtype, table.concat(shape, ","))
    local within = dtype == "f32" and 2e-5 or 1e-13
    local own = mw.softmax(logits, {axis = 2})
    t.near(own:totable(), p, within, "softmax " .. name .. "values")
    t.near(mw.grad(own, {logits}, dy)[1]:totable(), dx, within, "softmax " .. name .. "gradient")
    own = mw.log_softmax(logits, {axis = 2})
    t.near(own:totable(), log_p, within, "log_softmax " .. name .. "values")
    t.near(mw.grad(own, {logits}, dy)[1]:totable(), log_dx, within,
      "log_softmax " .. name .. "gradient")
    local function bits(threads)
      mw.threads(threads)
      local result = mw.core.bytes(mw.softmax(logits, {axis = 2}))
      mw.threads(1)
      return result
    end
    t.ok(bits(1) == bits(2) and bits(1) == bits(3), "softmax " .. name .. "1, 2 and 3 threads")
  end
end

---- softmax far out

t.near(mw.softmax(mw.tensor {{-inf, 0, 0}, {-inf, -inf, -inf}, {nan, 0, 0}, {0, 0, inf}}):totable(),
  {{0, 0.5, 0.5}, {nan, nan, nan}, {nan, nan, nan}, {nan, nan, nan}}, 1e-7,
  "softmax: -inf is 0 beside others, and NaN alone")
t.near(mw.log_softmax(mw.tensor {{-inf, 0, 0}, {-inf, -inf, -inf}}):totable(),
  {{-inf, -math.log(2), -math.log(2)}, {nan, nan, nan}}, 1e-6, "log_softmax likewise")
t.near(mw.softmax(mw.tensor {1000, 1000, -1000}):totable(), {0.5, 0.5, 0}, 1e-7,
  "softmax does not overflow")

---- attention

local q, k, v = mw.randn({3, 2}, "f64"), mw.randn({4, 2}, "f64"), mw.randn({4, 5}, "f64")
local open = mw.tensor {{true, true, false, true}, {false, false, false, false},
  {false, true, false, false}}
local added = mw.where(open, mw.zeros({}, "f64"), mw.full({}, -inf, "f64"))
local by_bool = mw.scaled_dot_product_attention(q, k, v, open)
t.near(by_bool:totable()[2], {0, 0, 0, 0, 0}, 0, "a query without keys gives zeros")
t.near(by_bool:totable()[3], v:totable()[2], 1e-15, "... and one with a single key its value")
t.near(mw.scaled_dot_product_attention(q, k, v, added):totable(), by_bool:totable(), 0,
  "-inf in a mask that is added keeps out like false in one of bool")
for i, gradient in ipairs(mw.grad((by_bool * by_bool):sum(), {q, k, v})) do
  local sum = gradient:sum():item()
  t.ok(sum == sum, ("... and lets no NaN into gradient %d"):format(i))
end
local causal = mw.scaled_dot_product_attention(q, k, v, {causal = true})
t.near(causal:totable()[1], v:totable()[1], 1e-15, "the first query takes the first key alone")
t.near(mw.scaled_dot_product_attention(q, k, v, mw.causal_mask({rows = 3, columns = 4})):totable(),
  causal:totable(), 0, "causal is a mask")
local function refuses(pattern, name, ...)
  local arguments = table.pack(...)
  t.error(function()
    return mw.scaled_dot_product_attention(table.unpack(arguments, 1, arguments.n))
  end, "scaled_dot_product_attention: " .. pattern, "attention: " .. name)
end
refuses("k is f64%[4,3%], but q is f64%[3,2%]: their widths", "widths", q,
  mw.zeros({4, 3}, "f64"), v)
refuses("v is f64%[3,5%], but k is f64%[4,2%]: there must be a value for every key", "values", q, k,
  mw.zeros({3, 5}, "f64"))
refuses("q is f64%[2%], expected %[.., positions, width%]", "a vector", mw.zeros({2}, "f64"), k, v)
refuses("mask is bool%[2,4%], expected %[.., 3, 4%]", "a mask of another shape", q, k, v,
  mw.zeros({2, 4}, "bool"))
refuses("mask is i64%[3,4%], expected bool .*or q's dtype", "a mask of integers", q, k, v,
  mw.zeros({3, 4}, "i64"))
refuses("k is f64%[2,4,2%], but q is f64%[3,3,2%]: the axes before", "batches",
  mw.zeros({3, 3, 2}, "f64"), mw.zeros({2, 4, 2}, "f64"), v)

t.done()
