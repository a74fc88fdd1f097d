-- products.lua: matrix products, softmax and cross entropy against loops and formulas.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local flat, count_of, indices = elements.flat, elements.count_of, elements.indices
local throughout, text, result_shape = elements.throughout, elements.text, elements.result_shape
local nan, inf = elements.nan, elements.inf

mw.seed(3)

---- Matrix products, against loops.

local function matrix_product(a, b, transpose_a, transpose_b)
  local function swapped(tensor, transpose)
    local sizes = tensor.shape
    if transpose and #sizes > 1 then
      sizes[#sizes], sizes[#sizes - 1] = sizes[#sizes - 1], sizes[#sizes]
    end
    return sizes
  end
  local as, bs = swapped(a, transpose_a), swapped(b, transpose_b)
  local row_of, column_of = #as == 1, #bs == 1
  if row_of then as = {1, as[1]} end
  if column_of then bs = {bs[1], 1} end
  local m, n, inner = as[#as - 1], bs[#bs], as[#as]
  local batch = result_shape({table.unpack(as, 1, #as - 2)}, {table.unpack(bs, 1, #bs - 2)})
  local va, vb, list = flat(a), flat(b), {}
  local function at(sizes, transpose, batch_at, i, j)
    local k = 0
    local first = #batch_at - (#sizes - 2)
    for axis = 1, #sizes - 2 do
      k = k * sizes[axis] + (sizes[axis] == 1 and 0 or batch_at[first + axis])
    end
    local rows, columns = sizes[#sizes - 1], sizes[#sizes]
    return k * rows * columns + (transpose and j * rows + i or i * columns + j) + 1
  end
  for k = 0, count_of(batch) - 1 do
    local batch_at = indices(batch, k)
    for i = 0, m - 1 do
      for j = 0, n - 1 do
        local total = 0
        for l = 0, inner - 1 do
          total = total + va[at(as, transpose_a and not row_of, batch_at, i, l)]
            * vb[at(bs, transpose_b and not column_of, batch_at, l, j)]
        end
        list[#list + 1] = total
      end
    end
  end
  if not row_of then batch[#batch + 1] = m end
  if not column_of then batch[#batch + 1] = n end
  return batch, list
end

for _, case in ipairs {
  {{3, 4}, {4, 5}}, {{4, 3}, {4, 5}, true}, {{3, 4}, {5, 4}, false, true},
  {{4, 3}, {5, 4}, true, true}, {{4}, {4}}, {{4}, {4, 5}}, {{3, 4}, {4}},
  {{4}, {5, 4}, false, true}, {{4, 3}, {4}, true}, {{2, 3, 4}, {4, 5}}, {{3, 4}, {2, 4, 5}},
  {{2, 3, 4}, {2, 4, 5}},
  {{2, 1, 3, 4}, {3, 4, 5}}, {{2, 4, 3}, {4, 5}, true}, {{2, 3, 4}, {5, 4}, false, true},
  {{2, 4, 3}, {1, 5, 4}, true, true}, {{4}, {2, 4, 5}}, {{2, 3, 4}, {4}}, {{1, 1}, {1, 1}},
  {{0, 4}, {4, 5}}, {{3, 0}, {0, 5}}, {{2, 3, 0}, {0, 2}}, {{0, 3, 4}, {4, 2}},
  {{20, 2, 3}, {20, 3, 2}},
} do
  local a, b = core.normal(case[1], 0, 1, "f64"), core.normal(case[2], 0, 1, "f64")
  local to, list = matrix_product(a, b, case[3], case[4])
  throughout(("matmul of %s%s and %s%s"):format(text(case[1]), case[3] and "'" or "",
    text(case[2]), case[4] and "'" or ""),
    mw.matmul(a, b, {transpose_a = case[3] or false, transpose_b = case[4] or false}),
    to, "f64", list, 1e-13)
end
t.error(function() return mw.matmul(mw.zeros {2, 3}, mw.zeros {2, 3}) end,
  "matmul: a is f32%[2,3%] and b is f32%[2,3%]: a has 3 columns, but b has 2 rows; .*transpose_b",
  "matrices that do not fit")
t.error(function() return mw.matmul(mw.zeros {2, 2, 3}, mw.zeros {3, 3, 4}) end,
  "matmul: .* do not broadcast", "batches that do not fit")
t.error(function() return mw.matmul(mw.zeros {}, mw.zeros {3}) end, "matmul: a is the scalar",
  "a scalar")
t.error(function() return mw.matmul(mw.zeros {2}, mw.zeros({2}, "f64")) end, "matmul: .*:cast",
  "dtypes that differ")

for _, sizes in ipairs {{3, 4}, {4}, {2, 3, 4}, {0, 4}} do
  local input, w, b = core.normal(sizes, 0, 1, "f64"), core.normal({2, 4}, 0, 1, "f64"),
    core.normal({2}, 0, 1, "f64")
  local to, list = matrix_product(input, w, false, true)
  throughout("dense without bias of " .. text(sizes), mw.dense(input, w), to, "f64", list, 1e-13)
  local biases = flat(b)
  for k = 1, #list do list[k] = list[k] + biases[(k - 1) % 2 + 1] end
  throughout("dense of " .. text(sizes), mw.dense(input, w, b), to, "f64", list, 1e-13)
end
local bias, dy = mw.zeros({150}, "f64"), core.normal({3, 150}, 0, 1, "f64")
local wide_layer = mw.dense(mw.zeros({3, 2}, "f64"), mw.zeros({150, 2}, "f64"), bias)
local grads, sums = dy:totable(), {}
for k = 1, 150 do sums[k] = grads[1][k] + grads[2][k] + grads[3][k] end
t.near(core.grad(wide_layer, {bias}, dy)[1]:totable(), sums, 1e-14,
  "a bias's gradient sums the rows")
local empty, w = mw.zeros {0, 4}, mw.ones {2, 4}
local d = core.grad(mw.dense(empty, w, mw.ones {2}):sum(), {empty, w})
t.is({d[1].shape, d[2]:totable()}, {{0, 4}, {{0, 0, 0, 0}, {0, 0, 0, 0}}},
  "the gradient of dense of no rows")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {2, 5}) end,
  "dense: x has 4 columns, weight expects 5 %(x f32%[3,4%]%)",
  "features that do not fit")
t.error(function() return mw.dense(mw.zeros {3, 4, 5}, mw.zeros {2, 20}) end,
  "dense: .*flatten", "... for want of flatten")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {4, 2}) end,
  "dense: .*transpose", "... for want of a transpose")
t.error(function() return mw.dense(mw.zeros {3, 4}, mw.zeros {2, 4}, mw.zeros {3}) end,
  "dense: b is f32%[3%], expected %[2%]", "a bias that does not fit")

---- Softmax and its logarithm.

local e = math.exp
local total = e(1) + e(2) + e(3)
t.near(mw.softmax(mw.tensor({1, 2, 3}, "f64")):totable(),
  {e(1) / total, e(2) / total, e(3) / total}, 1e-15, "softmax")
t.near(mw.log_softmax(mw.tensor({1, 2, 3}, "f64")):totable(),
  {1 - math.log(total), 2 - math.log(total), 3 - math.log(total)}, 1e-15, "log_softmax")
t.near(mw.softmax(mw.tensor {1e4, 1e4, -1e4}):totable(), {0.5, 0.5, 0}, 0, "softmax far out")
t.near(mw.log_softmax(mw.tensor {1e4, 0}):totable(), {0, -1e4}, 0, "log_softmax far out")
t.near(mw.softmax(mw.tensor {-inf, 0}):totable(), {0, 1}, 0, "softmax of -inf")
t.near(mw.softmax(mw.tensor {1, nan}):totable(), {nan, nan}, 0, "softmax of NaN")
t.near(mw.softmax(mw.randn({2, 3, 4}, "f64"), {axis = 2}):sum {axes = {2}}:totable(),
  {{1, 1, 1, 1}, {1, 1, 1, 1}}, 1e-15, "softmax along a middle axis")
t.is(mw.softmax(mw.zeros {0, 3}).shape, {0, 3}, "softmax of no rows")
t.is(mw.log_softmax(mw.zeros {3, 0}).shape, {3, 0}, "log_softmax of empty rows")
t.error(function() return mw.softmax(mw.tensor(1.0)) end, "softmax: axis .* f32%[%]", "of a scalar")

---- Cross entropy, against its formula.

-- logits [n, classes] as a table; weights may be nil
local function losses(logits, labels, weights, smoothing, ignored)
  local list, weight_sum = {}, 0
  for i, row_of in ipairs(logits) do
    local largest, sum = math.max(table.unpack(row_of)), 0
    for _, v in ipairs(row_of) do sum = sum + e(v - largest) end
    local log_sum, label, loss = largest + math.log(sum), labels[i], 0
    if label ~= ignored then
      for c, v in ipairs(row_of) do
        local weight = weights and weights[c] or 1
        loss = loss + smoothing / #row_of * weight * (log_sum - v)
        if c - 1 == label then
          loss = loss + (1 - smoothing) * weight * (log_sum - v)
          weight_sum = weight_sum + weight
        end
      end
    end
    list[i] = loss
  end
  return list, weight_sum
end

local logits = core.normal({5, 4}, 0, 3, "f64")
local labels = {3, 0, 2, 2, 1}
for _, dtype in ipairs {"i64", "i32", "u8"} do
  for _, smoothing in ipairs {0, 0.1, 1} do
    for _, weights in ipairs {false, {0.5, 2, 1, 3}} do
      local list, weight_sum = losses(logits:totable(), labels, weights, smoothing, 2)
      local sum = 0
      for _, loss in ipairs(list) do sum = sum + loss end
      for reduction, value in pairs {none = list, sum = sum, mean = sum / weight_sum} do
        local y = mw.cross_entropy(logits, mw.tensor(labels, dtype),
          weights and mw.tensor(weights, "f64") or nil,
          {reduction = reduction, label_smoothing = smoothing, ignore_index = 2})
        t.near(y:totable(), value, 1e-13, ("cross_entropy, %s labels, smoothing %g, %s weights, %s")
          :format(dtype, smoothing, weights and "class" or "no", reduction))
      end
    end
  end
end
local image = core.normal({2, 3, 2, 2}, 0, 1, "f64")
local map = mw.tensor({{{0, 1}, {2, 0}}, {{1, 1}, {0, 2}}}, "i64")
local per_pixel = mw.cross_entropy(image, map, {reduction = "none"})
local rows = image:transpose {perm = {1, 3, 4, 2}}:reshape {shape = {8, 3}}
t.near(per_pixel:reshape {shape = {8}}:totable(), (losses(rows:totable(), flat(map), nil, 0)),
  1e-14, "cross_entropy with an axis of classes between others")
t.near(mw.cross_entropy(mw.tensor {{1e4, 0}, {0, 1e4}}, mw.tensor({1, 1}, "i64"),
  {reduction = "none"}):totable(), {1e4, 0}, 0, "logits of 1e4")
t.near(mw.cross_entropy(mw.zeros {1, 2}, mw.tensor({-100}, "i64")):item(), nan, 0,
  "the mean over ignored elements only is NaN")
local ignored = mw.randn({2, 3}, "f64")
d = core.grad(mw.cross_entropy(ignored, mw.tensor({-100, 1}, "i64")), {ignored})[1]
t.is(d:totable()[1], {0, 0, 0}, "an ignored element has no gradient")
local message = t.error(function()
  return mw.cross_entropy(mw.zeros {3, 10}, mw.tensor({1, 10, 2}, "i64")):item()
end, "cross_entropy: labels%[1%] is 10, but x has 10 classes, so that labels are 0 to 9",
  "a label that is too large")
t.ok(message and message:find("products%.lua:%d+:"), "... at the user's line")
t.error(function()
  return mw.cross_entropy(mw.zeros {1, 3, 2, 2}, mw.tensor({{{0, 1}, {-1, 0}}}, "i32")):item()
end, "cross_entropy: labels%[0,1,0%] is %-1, but x has 3 classes", "a label below 0")
t.error(function() return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros {3}) end,
  "cross_entropy: labels is f32%[3%], expected i64, i32 or u8", "labels that are no integers")
t.error(function() return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros({4}, "i64")) end,
  "cross_entropy: labels is i64%[4%], expected i64%[3%]: x is f32%[3,10%]", "a label for each row")
t.error(function()
  return mw.cross_entropy(mw.zeros {3, 10}, mw.zeros({3}, "i64"), mw.zeros {9})
end, "cross_entropy: class_weight is f32%[9%], expected %[10%]", "a weight for each class")
do
  local weight = mw.ones {2}
  local y = mw.cross_entropy(mw.zeros {1, 2}, mw.zeros({1}, "i64"), weight, {reduction = "sum"})
  t.near(core.grad(y, {weight})[1]:totable(), {math.log(2), 0}, 1e-6,
    "the gradient in the class weights: the loss of each class")
end
t.error(function()
  return mw.cross_entropy(mw.zeros {1, 2}, mw.zeros({1}, "i64"), {reduction = "avg"})
end, "cross_entropy: reduction is .*mean|sum|none", "an unknown reduction")

t.is(mw.one_hot(mw.tensor({2, 0, 7, -1}, "i64"), {classes = 3}):totable(),
  {{0, 0, 1}, {1, 0, 0}, {0, 0, 0}, {0, 0, 0}}, "one_hot")
t.is(mw.one_hot(mw.tensor({{2, 0}}, "u8"), {classes = 3, axis = 2, dtype = "i32"}):totable(),
  {{{0, 1}, {0, 0}, {1, 0}}}, "one_hot along a middle axis")

-- A float that has grown large loses what is added to it.
local many, offset = 300000, mw.zeros {1}
local shifted = mw.dense(mw.zeros {many, 1}, mw.zeros {1, 1}, offset)
t.near(mw.grad((shifted * 0.1):sum(), {offset})[1]:item() / (many * 0.1), 1, 3e-5,
  "dense's gradient in b, of many rows")

t.done()
