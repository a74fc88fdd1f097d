-- indexing.lua: what the cases of the ops with tensors of indices do not say: errors, dtypes of
-- indices, equal elements and NaN, duplicates, threads, second derivatives.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local nan, inf = elements.nan, elements.inf

mw.seed(12)

local function refused(pattern, name, op, ...)
  local args = table.pack(...)
  t.error(function() mw.eval(mw[op](table.unpack(args, 1, args.n))) end, op .. ": .*" .. pattern,
    name)
end

local function i64(list) return mw.tensor(list, "i64") end
local function f64(list) return mw.tensor(list, "f64") end

---- gather

local grid = f64 {{1, 2}, {3, 4}, {5, 6}}
for _, dtype in ipairs {"i32", "i64"} do
  t.is(mw.gather(grid, mw.tensor({{2, 0}, {2, 1}}, dtype)):totable(), {{5, 2}, {5, 4}},
    "gather along the first axis by " .. dtype)
  t.is(mw.gather(grid, mw.tensor({{1, 1, 0}}, dtype), {axis = 2}):totable(), {{2, 2, 1}},
    "... along the last one, of fewer rows")
end
for _, dtype in ipairs {"f32", "i32", "i64", "u8", "bool"} do
  local zero_one = mw.tensor({0, 1}, "f64"):cast(dtype)
  t.is(mw.gather(zero_one, i64 {1, 1, 0}):cast "i64":totable(), {1, 1, 0}, "gather of " .. dtype)
end
local dx = mw.grad(mw.gather(grid, i64 {{2, 0}, {2, 1}}), {grid}, f64 {{1, 2}, {4, 8}})[1]
t.is(dx:totable(), {{0, 2}, {0, 8}, {5, 0}}, "gather: gradients of one element are added")
t.is(mw.gather(grid, mw.zeros({0, 2}, "i64")).shape, {0, 2}, "gather of nothing")
t.is(mw.gather(mw.zeros {0, 2}, mw.zeros({0, 2}, "i64")).shape, {0, 2}, "... from nothing")
refused("index%[0,1%] is 3, but x has 3 entries along the axis, so that indices are 0 to 2",
  "an index beyond the end", "gather", grid, i64 {{0, 3}})
refused("index%[1,0%] is %-1, but x has 3", "a negative index", "gather", grid,
  mw.tensor({{0, 1}, {-1, 0}}, "i32"))
refused("index%[0%] is 9223372036854775807, but", "the largest index", "gather", mw.zeros {3},
  i64 {math.maxinteger})
refused("index%[0%] is %-9223372036854775808, but", "the least index", "gather", mw.zeros {3},
  i64 {math.mininteger})
refused("index%[0,0%] is 0, but x has no entries", "an index of nothing", "gather", mw.zeros {0, 2},
  i64 {{0, 0}})
refused("index is i64%[2%], expected as many axes as x, .*index_select", "an index for whole rows",
  "gather", grid, i64 {0, 1})
refused("no size of the index may be above x's", "an index that is too wide", "gather", grid,
  i64 {{0, 0, 0}})
refused("index is f32%[1,2%], expected i64 or i32; use :cast", "an index of f32", "gather", grid,
  mw.zeros {1, 2})
refused("index is u8%[1,2%], expected i64 or i32", "an index of u8", "gather", grid,
  mw.zeros({1, 2}, "u8"))
refused("axis 3 is out of range for x f64%[3,2%]", "gather along no axis", "gather", grid,
  i64 {{0, 0}}, {axis = 3})
t.error(function()
  mw.grad(mw.gather(grid, i64 {{7, 0}}):sum(), {grid})[1]:eval()
end, "gather: index%[0,0%] is 7", "the gradient checks the index too, where nothing else runs")

---- scatter_add

t.is(mw.scatter_add(mw.zeros({3}, "f64"), i64 {2, 0, 2}, f64 {1, 2, 4}):totable(), {2, 0, 5},
  "scatter_add adds what meets")
t.is(mw.scatter_add(grid, mw.tensor({{1, 0}}, "i32"), f64 {{10, 20}}):totable(),
  {{1, 22}, {13, 4}, {5, 6}}, "scatter_add onto numbers, by i32")
local large = mw.tensor({3, 2147483647}, "i32")
t.is(mw.scatter_add(mw.tensor({1, 2}, "i32"), i64 {1, 1}, large):totable(), {1, -2147483644},
  "integers wrap around")
t.is(mw.scatter_add(mw.zeros({2}, "i64"), i64 {0, 0, 0, 1}, mw.ones({4}, "i64")):totable(), {3, 1},
  "a histogram in i64")
t.near(mw.scatter_add(mw.tensor {nan, inf, 0}, i64 {1, 2}, mw.tensor {-inf, 1}):totable(),
  {nan, nan, 1}, 0, "NaN and infinity are added as ever")
local x, source, where = mw.zeros({3, 2}, "f64"), f64 {{1, 2}, {3, 4}}, i64 {{2, 2}, {2, 0}}
local d = mw.grad(mw.scatter_add(x, where, source), {x, source}, f64 {{1, 2}, {4, 8}, {16, 32}})
t.is({d[1]:totable(), d[2]:totable()}, {{{1, 2}, {4, 8}, {16, 32}}, {{16, 32}, {16, 2}}},
  "scatter_add: x gets dy, source what is gathered from it")
t.is(mw.scatter_add(grid, mw.zeros({0, 2}, "i64"), mw.zeros({0, 2}, "f64")):totable(),
  grid:totable(), "scatter_add of nothing")
refused("index%[1%] is 2, but x has 2 entries", "scatter_add beyond the end", "scatter_add",
  mw.zeros {2}, i64 {0, 2}, mw.ones {2})
refused("index%[0%] is 0, but x has no entries", "scatter_add into nothing", "scatter_add",
  mw.zeros {0}, i64 {0}, mw.ones {1})
refused("source is f32%[3%], expected the shape of the index, which is i64%[2%]",
  "a source of another shape", "scatter_add", mw.zeros {2}, i64 {0, 1}, mw.ones {3})
refused("source is f32%[1%], but x is f64%[1%]", "a source of another dtype", "scatter_add",
  mw.zeros({1}, "f64"), i64 {0}, mw.ones {1})
refused("x is bool%[1%], expected numbers", "scatter_add of bool", "scatter_add", mw.tensor {true},
  i64 {0}, mw.tensor {true})

---- index_select and embedding

t.is(mw.index_select(grid, i64 {2, 2, 0}):totable(), {{5, 6}, {5, 6}, {1, 2}}, "index_select")
t.is(mw.index_select(grid, mw.tensor({1}, "i32"), {axis = -1}):totable(), {{2}, {4}, {6}},
  "... of a column, by i32")
t.is(mw.index_select(mw.tensor({true, false}), i64 {1, 0, 1}):totable(), {false, true, false},
  "... of bool")
t.is(mw.grad(mw.index_select(grid, i64 {2, 2, 0}), {grid}, f64 {{1, 2}, {4, 8}, {16, 32}})[1]
  :totable(), {{16, 32}, {0, 0}, {5, 10}}, "... gradients of a row are added")
refused("index%[2%] is 3, but x has 3 entries", "index_select beyond the end", "index_select", grid,
  i64 {0, 1, 3})
refused("index is i64%[1,1%], expected one axis; gather", "index_select by a matrix",
  "index_select", grid, i64 {{0}})
refused("axis 3 is out of range for x f64%[3,2%]", "index_select along no axis", "index_select",
  grid, i64 {0}, {axis = 3})
t.is(mw.embedding(grid, i64 {{0, 2}}):totable(), {{{1, 2}, {5, 6}}}, "embedding")
t.is(mw.embedding(grid, mw.tensor(1, "i32")):totable(), {3, 4}, "embedding of one index")
t.is(mw.grad(mw.embedding(grid, i64 {1, 1}), {grid}, f64 {{1, 2}, {4, 8}})[1]:totable(),
  {{0, 0}, {5, 10}, {0, 0}}, "embedding: rows that are not taken get zeros")
refused("indices%[1,0%] is 3, but weight has 3 entries", "embedding beyond the end", "embedding",
  grid, i64 {{0, 1}, {3, 1}})
refused("indices is %-4, but weight has 3 entries", "one negative index", "embedding", grid,
  i64(-4))
refused("weight is f32%[3%], expected rank 2", "a table of another rank", "embedding", mw.zeros {3},
  i64 {0})
refused("indices is f32%[1%], expected i64 or i32", "embedding by floats", "embedding", grid,
  mw.zeros {1})

---- Second derivatives, through what is not linear in the picked elements.

local index = i64 {{2, 0}, {2, 1}, {0, 0}, {2, 1}}
for name, pick in pairs {
  gather = function(a) return mw.gather(a, index) end,
  ["gather along the last axis"] = function(a)
    return mw.gather(a, i64 {{1, 1, 0}, {0, 1, 1}}, {axis = 2})
  end,
  index_select = function(a) return mw.index_select(a, i64 {2, 2, 1}) end,
  embedding = function(a) return mw.embedding(a, i64 {{0, 0}, {1, 2}}) end,
  scatter_add = function(a) return mw.scatter_add(a, index, mw.gather(a, index) ^ 2) end,
  sort = function(a) return (mw.sort(a, {axis = 1})) end,
  topk = function(a) return (mw.topk(a, {k = 2, axis = 1})) end,
} do
  local dy, r = mw.randn(pick(grid).shape, "f64"), mw.randn({3, 2}, "f64")
  t.ok(mw.gradcheck(function(a, b)
    return (mw.grad(pick(a) ^ 3, {a}, b)[1] * r):sum()
  end, {grid / 3, dy}, {eps = 1e-5}) < 1e-6, name .. ": second derivative")
end

---- The same bits whatever the number of threads: sums of f32 in another order would differ.

local before = mw.threads()
local table_, rows = mw.randn {300, 40}, mw.uniform({5000}, 0, 299.99):cast "i64"
local dy, upstream = mw.randn {5000, 40}, mw.randn {60, 5000}
local spread = mw.expand(rows:reshape {5000, 1}, {shape = {5000, 40}})
local tall = mw.randn {60, 500}
local cells = mw.uniform({50, 500}, 0, 499.99):cast "i32"
local added = mw.randn {50, 500}
local bytes = {}
for _, threads in ipairs {1, 3} do
  mw.threads(threads)
  local list = {
    mw.grad(mw.embedding(table_, rows), {table_}, dy)[1],
    mw.grad(mw.index_select(tall, rows, {axis = 2}), {tall}, upstream)[1],
    mw.scatter_add(table_, spread, dy),
    mw.grad(mw.gather(table_, spread), {table_}, dy)[1],
    mw.scatter_add(tall, cells, added, {axis = 2}),
    mw.gather(tall, cells, {axis = 2}),
    (mw.sort(table_, {axis = 1})),
  }
  mw.eval(table.unpack(list))
  bytes[#bytes + 1] = {}
  for i, y in ipairs(list) do bytes[#bytes][i] = mw.core.bytes(y) end
end
mw.threads(before)
for i, name in ipairs {
  "embedding's gradient", "index_select's gradient", "scatter_add", "gather's gradient",
  "scatter_add along the last axis", "gather", "sort",
} do
  t.ok(bytes[1][i] == bytes[2][i], name .. " has the same bits on several threads")
end
-- In which order: 1e8 and then -1e8 take a 1 between them away in f32.
t.is(mw.scatter_add(mw.zeros {1}, i64 {0, 0, 0, 0}, mw.tensor {1, 1e8, -1e8, 1}):totable(), {1},
  "scatter_add adds in the order of the index")
local row = mw.zeros {1, 1}
t.is(mw.grad(mw.embedding(row, i64 {0, 0, 0, 0}), {row}, mw.tensor {{1}, {1e8}, {-1e8}, {1}})[1]
  :totable(), {{1}}, "... and so does embedding's gradient")

---- sort, argsort, topk

local function sorted(list, dtype, attributes)
  local values, indices = mw.sort(mw.tensor(list, dtype), attributes)
  return {values:totable(), indices:totable()}
end
t.is(sorted({3, 1, 2}, "f64"), {{1, 2, 3}, {1, 2, 0}}, "sort")
t.is(sorted({3, 1, 2}, "f64", {descending = true}), {{3, 2, 1}, {0, 2, 1}}, "sort, descending")
t.is(sorted({2, 1, 2, 1, 2}, "f64"), {{1, 1, 2, 2, 2}, {1, 3, 0, 2, 4}}, "equals keep their order")
t.is(sorted({2, 1, 2, 1, 2}, "f64", {descending = true}), {{2, 2, 2, 1, 1}, {0, 2, 4, 1, 3}},
  "... descending too")
t.is(sorted({0, -0.0, 0}, "f64")[2], {0, 1, 2}, "-0 equals 0")
for _, descending in ipairs {false, true} do
  local values, indices = mw.sort(f64 {nan, 1, -inf, nan, inf}, {descending = descending})
  t.near(values:totable(), descending and {inf, 1, -inf, nan, nan} or {-inf, 1, inf, nan, nan}, 0,
    "NaN comes last" .. (descending and ", descending" or ""))
  t.is(indices:totable(), descending and {4, 1, 2, 0, 3} or {2, 1, 4, 0, 3},
    "... in its order")
end
t.is(sorted({math.maxinteger, math.mininteger, 0}, "i64"),
  {{math.mininteger, 0, math.maxinteger}, {1, 2, 0}}, "sort of i64")
t.is(sorted({200, 3, 100}, "u8"), {{3, 100, 200}, {1, 2, 0}}, "sort of u8")
t.is(sorted({true, false, true}, "bool"), {{false, true, true}, {1, 0, 2}}, "sort of bool")
local _, order = mw.sort(mw.zeros {3})
t.is(order.dtype, "i64", "indices are i64")
-- Few different numbers, of sizes around the runs and their merges.
for _, n in ipairs {1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 100, 1000} do
  local numbers = (mw.uniform({n}, 0, 1) * 10):cast "i32"
  local list, want = numbers:totable(), {}
  for i = 1, n do want[i] = i - 1 end
  table.sort(want, function(i, j)
    if list[i + 1] ~= list[j + 1] then return list[i + 1] < list[j + 1] end
    return i < j
  end)
  t.is(numbers:argsort():totable(), want, ("the order of %d numbers"):format(n))
end
t.is(mw.argsort(f64 {{3, 1}, {1, 2}, {2, 0}}, {axis = 1}):totable(), {{1, 2}, {2, 0}, {0, 1}},
  "argsort along the first axis")
local ties = f64 {1, 1, 1}
t.is(mw.grad((mw.sort(ties)), {ties}, f64 {1, 2, 4})[1]:totable(), {1, 2, 4},
  "the gradient of equals goes to the places that they had")
local values, indices = mw.topk(f64 {3, nan, 5, 5, 1}, {k = 3})
t.is({values:totable(), indices:totable()}, {{5, 5, 3}, {2, 3, 0}}, "topk passes NaN over")
values = mw.topk(f64 {nan, 2}, {k = 2})
t.near(values:totable(), {2, nan}, 0, "... until nothing else is left")
values, indices = mw.topk(f64 {3, 2, 2, 1}, {k = 2, largest = false})
t.is({values:totable(), indices:totable()}, {{1, 2}, {3, 1}}, "the smallest two")
local five = f64 {3, 9, 1, 7, 5}
t.is(mw.grad((mw.topk(five, {k = 2})), {five}, f64 {1, 2})[1]:totable(), {0, 1, 0, 2, 0},
  "topk: only what is taken has a gradient")
t.is(mw.topk(mw.zeros {2, 0}, {k = 0}).shape, {2, 0}, "topk of none of nothing")
refused("k is 4, but the axis of x, which is f32%[3%], has 3 entries", "topk of too many", "topk",
  mw.zeros {3}, {k = 4})
refused("k is %-1, expected between 0", "topk of less than none", "topk", mw.zeros {3}, {k = -1})
refused("axis %-1 is out of range for x f32%[%]: there are no axes", "sort of a scalar", "sort",
  mw.zeros {})
refused("axis 2 is out of range for x f32%[3%]: expected 1, or %-1", "argsort along no axis",
  "argsort", mw.zeros {3}, {axis = 2})

t.done()
