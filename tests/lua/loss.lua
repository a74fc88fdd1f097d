-- loss.lua: the losses where the plain formulas do not go: kinks, infinities, labels out of range,
-- what is ignored, errors. gradcheck.lua has the gradients.
local t = require "tap"
local mw = require "moonwalk"

mw.seed(19)

local nan, inf = 0 / 0, math.huge

local function f64(list) return mw.tensor(list, "f64") end

local function slopes(op, x, ...)
  return mw.grad(mw[op](x, ...), {x})[1]:totable()
end

---- Kinks and far values.

local sum = {reduction = "sum"}
t.is(slopes("l1", f64 {-2, 0, 3}, f64 {0, 0, 0}, sum), {-1, 0, 1}, "l1: no slope at the target")
local huber = {reduction = "sum", delta = 2}
t.near(slopes("huber", f64 {-inf, -3, -2, 0.5, 2, inf, nan}, f64 {0, 0, 0, 0, 0, 0, 0}, huber),
  {-2, -2, -2, 0.5, 2, 2, nan}, 0, "huber's slope is kept within delta")
t.near(mw.huber(f64 {-3, 1, inf}, f64 {0, 0, 0}, {reduction = "none", delta = 2}):totable(),
  {4, 0.5, inf}, 0, "huber: straight outside, a square inside")
t.is(slopes("hinge", f64 {1, 0.5, -2}, f64 {1, 1, -1}, sum), {0, -1, 0},
  "hinge: no slope at the margin")
t.near(mw.mse(mw.zeros {0}, mw.zeros {0}):item(), nan, 0, "the mean of no losses is NaN")
t.is(mw.mse(mw.zeros {0}, mw.zeros {0}, sum):item(), 0.0, "... and their sum 0")
t.near(mw.mse(f64 {nan, 1}, f64 {0, 0}, {reduction = "none"}):totable(), {nan, 1}, 0,
  "NaN stays in its place")

local none = {reduction = "none"}
for _, dtype in ipairs {"f32", "f64"} do
  local x = mw.tensor({0, 1, 0, 1, 0.5}, dtype)
  local target = mw.tensor({0, 1, 1, 0, 1}, dtype)
  t.near(mw.bce(x, target, none):totable(), {0, 0, 100, 100, math.log(2)}, 1e-5,
    "bce: a logarithm is at least -100, in " .. dtype)
  t.near(slopes("bce", x, target, sum), {1, -1, 0, 0, -2}, 1e-6,
    "... and has no slope there, in " .. dtype)
  x, target = mw.tensor({1000, -1000, 1000, -1000, 0}, dtype), mw.tensor({1, 0, 0, 1, 0.5}, dtype)
  t.near(mw.bce_with_logits(x, target, none):totable(), {0, 0, 1000, 1000, math.log(2)}, 1e-6,
    "bce_with_logits does not overflow, in " .. dtype)
  t.near(slopes("bce_with_logits", x, target, sum), {0, 0, 1, -1, 0}, 1e-6,
    "... nor does its gradient, in " .. dtype)
end
t.near(mw.bce(f64 {1.5, nan}, f64 {1, 1}, none):totable()[2], nan, 0, "bce: NaN stays")

t.near(mw.kl_div(f64 {-inf, math.log(0.5)}, f64 {0, 0.5}, none):totable(), {0, 0}, 1e-15,
  "kl_div: nothing is lost where the target is 0, whatever x is")
t.near(slopes("kl_div", f64 {-inf, -1}, f64 {0, 0.5}, sum), {0, -0.5}, 0, "... nor has it a slope")
local p, q = f64 {{0.2, 0.8}, {0.5, 0.5}}, f64 {{0.3, 0.7}, {0.9, 0.1}}
local divergence = (0.3 * math.log(0.3 / 0.2) + 0.7 * math.log(0.7 / 0.8)
  + 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)) / 2
t.near(mw.kl_div(p:log(), q, {reduction = "batchmean"}):item(), divergence, 1e-15,
  "batchmean is the divergence of a row")
t.near(mw.kl_div(p:log(), q:log(), {reduction = "batchmean", log_target = true}):item(),
  divergence, 1e-15, "... from the target's logarithms too")

local zero = f64 {{0, 0}, {3, 4}}
t.near(mw.cosine_similarity(zero, f64 {{1, 1}, {6, 8}}):totable(), {0, 1}, 1e-15,
  "cosine_similarity of zeros is 0")
local slope = mw.grad(mw.cosine_similarity(zero, f64 {{1, 1}, {6, 8}}):sum(), {zero})[1]:totable()
t.ok(slope[1][1] == slope[1][1] and slope[1][1] < inf, "... and its gradient is finite")

---- Shapes.

local function refuses(pattern, name, op, ...)
  local arguments = table.pack(...)
  t.error(function() return mw[op](table.unpack(arguments, 1, arguments.n)) end,
    op .. ": " .. pattern, op .. ": " .. name)
end
for _, op in ipairs {"mse", "l1", "huber", "hinge", "bce", "bce_with_logits", "kl_div"} do
  refuses("target is f32%[3,1%], but x is f32%[3%]: the shapes must be the same", "no broadcasting",
    op, mw.zeros {3}, mw.zeros {3, 1})
  refuses("target is f64%[3%], but x is f32%[3%]: the dtypes must agree", "dtypes", op,
    mw.zeros {3}, mw.zeros({3}, "f64"))
  refuses("reduction is \"avg\", expected one of mean|sum|none", "an unknown reduction", op,
    mw.zeros {3}, mw.zeros {3}, {reduction = "avg"})
end
refuses("weight is f32%[2%], which does not broadcast to x, f32%[3%]", "a weight of another shape",
  "bce", mw.zeros {3}, mw.zeros {3}, mw.zeros {2})
refuses("pos_weight is f32%[4,3%], which does not broadcast to x", "a weight that is larger",
  "bce_with_logits", mw.zeros {3}, mw.zeros {3}, nil, mw.zeros {4, 3})
refuses("b is f32%[3,1%], but a is f32%[3%]", "no broadcasting", "cosine_similarity", mw.zeros {3},
  mw.zeros {3, 1})
refuses("axis 2 is out of range for a f32%[3%]: expected 1", "no such axis", "cosine_similarity",
  mw.zeros {3}, mw.zeros {3}, {axis = 2})
refuses("delta is 0, expected", "no delta", "huber", mw.zeros {3}, mw.zeros {3}, {delta = 0})

---- Labels.

local logits = mw.randn({4, 3, 2}, "f64")
local labels = mw.tensor({{0, 2}, {-100, 1}, {1, 1}, {2, -100}}, "i64")
local weight = mw.uniform({3}, 0.5, 2, "f64")
for _, reduction in ipairs {"mean", "sum", "none"} do
  local how = {reduction = reduction}
  local whole = mw.cross_entropy(logits, labels, weight, how)
  local parts = mw.nll(logits:log_softmax {axis = 2}, labels, weight, how)
  t.near(parts:totable(), whole:totable(), 1e-14,
    "nll of log_softmax is cross_entropy: " .. reduction)
  local dy = mw.randn(whole.shape, "f64")
  local a, b = mw.grad(whole, {logits, weight}, dy), mw.grad(parts, {logits, weight}, dy)
  t.near(b[1]:totable(), a[1]:totable(), 1e-14, "... and its gradient: " .. reduction)
  t.near(b[2]:totable(), a[2]:totable(), 1e-13, "... and that of the weights: " .. reduction)
end
for _, op in ipairs {"nll", "cross_entropy"} do
  local ignored = mw.full({4}, 7, "i64")
  local x = mw.randn {4, 3}
  t.near(mw[op](x, ignored, {ignore_index = 7}):item(), nan, 0, op .. ": the mean of none is NaN")
  t.is(mw[op](x, ignored, {ignore_index = 7, reduction = "sum"}):item(), 0.0,
    op .. ": ... and the sum 0")
  t.is(mw.grad(mw[op](x, ignored, {ignore_index = 7, reduction = "sum"}), {x})[1]:totable(),
    (x * 0):totable(), op .. ": ... without a gradient")
end
t.error(function() return mw.nll(mw.zeros {2, 3}, mw.tensor({0, 3}, "u8")):item() end,
  "nll: labels%[1%] is 3, but x has 3 classes, so that labels are 0 to 2", "a label too large")
t.error(function() return mw.nll(mw.zeros {2, 3}, mw.tensor({0, -1}, "i32")):item() end,
  "nll: labels%[1%] is %-1", "a label below 0")
local certain = mw.tensor({{0, -inf}}, "f32")
t.is(mw.nll(certain, mw.tensor({0}, "i64")):item(), 0.0, "nll does not look at other classes")
t.is(slopes("nll", certain, mw.tensor({0}, "i64")), {{-1.0, 0.0}}, "... nor does its gradient")

-- ln(1 + e^-x) is e^-x to the last digit, for x above 37 in f64 and above 17 in f32.
for _, case in ipairs {{"f64", 40}, {"f32", 20}} do
  local dtype, far = table.unpack(case)
  local x, y = mw.tensor({-far, far}, dtype), mw.tensor({0, 1}, dtype)
  local small = math.exp(-far)
  local loss = mw.bce_with_logits(x, y, {reduction = "none"}) / small
  t.near(loss:totable(), {1, 1}, 1e-6, "the small losses of right answers in " .. dtype)
  t.near((mw.grad(mw.bce_with_logits(x, y, sum), {x})[1] / small):totable(), {1, -1}, 1e-6,
    "... and their slopes")
end
local certain_logits = f64 {-1000, 1000, -inf, inf}
t.near(mw.bce_with_logits(certain_logits, f64 {1, 0, 1, 0}, {reduction = "none"}):totable(),
  {1000, 1000, inf, inf}, 0, "what is certain and wrong costs its logit")

for _, size in ipairs {1e30, 1e-3} do
  local a = mw.tensor({{3 * size, 4 * size}}, "f32")
  t.near(mw.cosine_similarity(a, mw.tensor {{4, 3}}):item(), 0.96, 1e-6,
    ("the angle of a vector of size %g"):format(size))
end
t.near(slopes("cosine_similarity", f64 {{0, 0}}, f64 {{3, 4}}, {eps = 1e-4}), {{6000, 8000}}, 1e-8,
  "the slope at no vector is that of a length of eps")

-- Where no label counts the mean is NaN, but no gradient is, of any order.
for _, op in ipairs {"cross_entropy", "nll"} do
  local x, ignored = f64 {{1, 2}, {3, 5}}, mw.tensor({0, 0}, "i64")
  local g = mw.grad(mw[op](x, ignored, {ignore_index = 0}), {x})[1]
  t.is(g:totable(), {{0.0, 0.0}, {0.0, 0.0}}, op .. " of nothing has no gradient")
  t.is(mw.grad((g * g):sum() + x:sum(), {x})[1]:totable(), {{1.0, 1.0}, {1.0, 1.0}},
    "... and that has none")
end

-- A gradient asked for by itself looks at the labels too: forward is not run.
for _, name in ipairs {"nll", "cross_entropy"} do
  local x = mw.param(mw.randn {2, 3})
  t.error(function()
    return mw.grad(mw[name](x, mw.tensor({0, 7}, "i64")), {x})[1]:eval()
  end, "labels%[1%] is 7, but x has 3 classes", name .. ": a label out of range, in its gradient")
end
t.done()
