-- moving.lua: ops that move elements against loops over positions.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local core = mw.core
local flat, count_of, indices = elements.flat, elements.count_of, elements.indices
local place, throughout, text = elements.place, elements.throughout, elements.text

mw.seed(3)

---- Moving elements: against loops over positions.

t.is(mw.arange(6):reshape {shape = {2, -1}}.shape, {2, 3}, "reshape infers a size")
t.is(mw.arange(6):reshape {shape = {3, 2}}:totable(), {{0, 1}, {2, 3}, {4, 5}}, "reshape")
t.is(mw.tensor {{7}}:reshape {shape = {}}:item(), 7.0, "reshape to a scalar")
t.is(mw.zeros {0, 3}:reshape {shape = {3, 0, 2}}.shape, {3, 0, 2}, "reshape of nothing")
t.is(mw.zeros {0, 3}:reshape {shape = {-1, 3}}.shape, {0, 3}, "... with an inferred size")
t.error(function() return mw.zeros {2, 3}:reshape {shape = {4, 2}} end,
  "reshape: x is f32%[2,3%] with 6 elements, which cannot be reshaped to f32%[4,2%]",
  "reshape to another number of elements")
t.error(function() return mw.zeros {2, 3}:reshape {shape = {4, -1}} end,
  "reshape: x is f32%[2,3%] with 6 elements, which the other sizes %(4%) do not divide",
  "reshape to sizes that do not divide")
t.error(function() return mw.zeros {0}:reshape {shape = {0, -1}} end, "reshape: .* any size",
  "reshape by a division of 0")
t.error(function() return mw.zeros {4}:reshape {shape = {-1, -1}} end, "reshape: .* twice",
  "two sizes to infer")
t.error(function() return mw.zeros {4}:reshape {shape = {-2, 2}} end, "reshape: .*size %-2",
  "a negative size")
t.error(function() return mw.zeros {0}:reshape {shape = {1 << 40, 1 << 40, 0}} end, "reshape: ",
  "sizes that overflow")
t.error(function() return mw.zeros {1}:reshape {shape = {1, 1, 1, 1, 1, 1, 1, 1, 1}} end,
  "reshape: .*at most 8", "too many axes")
t.is(mw.zeros {2, 3, 4}:flatten().shape, {2, 12}, "flatten")
t.is(mw.zeros {2, 3, 4}:flatten {axis = 1}.shape, {24}, "flatten from the first axis")
t.is(mw.zeros {2, 3, 4}:flatten {axis = -1}.shape, {2, 3, 4}, "flatten from the last axis")
t.error(function() return mw.zeros {3}:flatten() end, "flatten: axis .* f32%[3%]",
  "flatten from an axis that x does not have")

local function permuted(tensor, perm)
  local sizes, list, values = {}, {}, flat(tensor)
  for k, axis in ipairs(perm) do sizes[k] = tensor.shape[axis] end
  for k = 0, count_of(sizes) - 1 do
    local at, from = indices(sizes, k), {}
    for i, axis in ipairs(perm) do from[axis] = at[i] end
    list[k + 1] = values[place(tensor.shape, from)]
  end
  return sizes, list
end

for _, case in ipairs {
  {{3, 4}, {2, 1}}, {{35, 50}, {2, 1}}, {{2, 3, 4}, {3, 1, 2}}, {{2, 3, 4}, {2, 3, 1}},
  {{2, 3, 4}, {1, 3, 2}}, {{2, 3, 4}, {1, 2, 3}}, {{2, 3, 4, 5}, {3, 4, 1, 2}},
  {{2, 3, 4, 5}, {4, 2, 3, 1}}, {{2, 1, 3, 1, 2, 1, 2, 1}, {8, 7, 6, 5, 4, 3, 2, 1}},
  {{1, 20, 1, 17}, {4, 1, 2, 3}}, {{2, 0, 3}, {3, 2, 1}}, {{}, {}}, {{1, 1}, {2, 1}},
} do
  for _, dtype in ipairs {"f64", "f32", "u8"} do
    local tensor = core.uniform(case[1], 0, 250, "f64"):cast(dtype)
    local to, list = permuted(tensor, case[2])
    throughout(("transpose of %s by %s in %s"):format(text(case[1]), text(case[2]), dtype),
      tensor:transpose {perm = case[2]}, to, dtype, list)
  end
end
t.is(mw.zeros {2, 3, 4}:transpose().shape, {4, 3, 2}, "transpose reverses the axes")
t.is(mw.zeros {2, 3, 4}:transpose {perm = {-1, 1, 2}}.shape, {4, 2, 3}, "axes from the end")
t.error(function() return mw.zeros {2, 3}:transpose {perm = {1}} end,
  "transpose: perm names 1 axes, x is f32%[2,3%]", "transpose by too few axes")
t.error(function() return mw.zeros {2, 3}:transpose {perm = {1, 1}} end, "transpose: .*second time",
  "transpose with an axis twice")

t.is(mw.kron(mw.tensor {{1, 2}, {3, 4}}, mw.tensor {{0, 5}, {6, 7}}):totable(),
  {{0, 5, 0, 10}, {6, 7, 12, 14}, {0, 15, 0, 20}, {18, 21, 24, 28}}, "kron of two matrices")
t.is(mw.kron(mw.tensor {1, 10}, mw.tensor {1, 2, 3}):totable(), {1, 2, 3, 10, 20, 30},
  "kron of two vectors")
t.is(mw.kron(mw.tensor {1, 10}, mw.tensor {{1}, {2}}):totable(), {{1, 10}, {2, 20}},
  "kron of a vector and a matrix")
for _, case in ipairs {
  {{2, 3, 2}, {3, 2, 4}}, {{3, 1, 2, 3}, {2, 3, 1, 2}}, {{2, 3}, {2, 1, 3, 2}},
} do
  local a, b = core.normal(case[1], 0, 1, "f64"), core.normal(case[2], 0, 1, "f64")
  local va, vb, to, list, rank = flat(a), flat(b), {}, {}, math.max(#case[1], #case[2])
  for k = rank - 1, 0, -1 do
    to[rank - k] = (case[1][#case[1] - k] or 1) * (case[2][#case[2] - k] or 1)
  end
  for k = 0, count_of(to) - 1 do
    local from_a, from_b = {}, {}
    for axis, at in ipairs(indices(to, k)) do
      local size = case[2][axis + #case[2] - rank] or 1
      from_a[axis], from_b[axis] = at // size, at % size
    end
    list[k + 1] = va[place(case[1], from_a)] * vb[place(case[2], from_b)]
  end
  throughout(("kron of %s and %s"):format(text(case[1]), text(case[2])), mw.kron(a, b), to, "f64",
    list)
end
t.is(mw.kron(mw.zeros {2, 0}, mw.zeros {3, 2}).shape, {6, 0}, "kron with nothing")
t.error(function() return mw.kron(mw.zeros {1, 1, 1, 1, 1}, mw.zeros {1}) end,
  "kron: a is .*at most 4", "kron of too many axes")

local grid = mw.arange(20):reshape {shape = {4, 5}}
local function sliced(attributes) return core.call("slice", grid, attributes):totable() end
t.is(sliced {start = {2, 1}, count = {2, 3}}, {{5, 6, 7}, {10, 11, 12}}, "slice")
t.is(sliced {start = {-1, 5}, count = {2, 3}, step = {-2, -2}}, {{19, 17, 15}, {9, 7, 5}},
  "slice backward")
t.is(sliced {start = {3}, count = {1}}, {{10, 11, 12, 13, 14}}, "axes without an entry are whole")
t.is(sliced {start = {1, 2}, count = {4, 1}}, {{1}, {6}, {11}, {16}}, "a column")
t.is(sliced {start = {2, 1}, count = {1, 2}, step = {math.mininteger, 1}}, {{5, 6}},
  "the step between one and no other may be any")
t.is(core.call("slice", grid, {start = {1, 1}, count = {0, 2}}).shape, {0, 2}, "none at all")
t.is(core.call("slice", grid:cast "u8", {start = {2, 1}, count = {1, 3}, step = {1, 2}}):totable(),
  {{5, 7, 9}}, "slice of u8")
t.error(function() return sliced {start = {4}, count = {2}} end,
  "slice: entry 1: start 3 .*count 2 .* axis of size 4", "slice beyond the end")
t.error(function() return sliced {start = {1}, count = {1}, step = {0}} end,
  "slice: entry 1: .*step is 0", "a step of 0")
t.error(function() return sliced {start = {1, 1}, count = {1}} end,
  "slice: start, count and step have 2, 1", "lists of different lengths")
t.error(function() return sliced {start = {1}, count = {3}, step = {math.maxinteger}} end,
  "slice: entry 1", "a step that overflows")
t.is(mw.place(mw.tensor {{1, 2}}, {shape = {2, 5}, start = {2, 5}, step = {1, -2}}):totable(),
  {{0, 0, 0, 0, 0}, {0, 0, 2, 0, 1}}, "place is slice reversed")
t.error(function() return mw.place(mw.ones {2}, {shape = {2}, start = {2}}) end, "place: entry 1",
  "place beyond the end")

t.is(mw.expand(mw.tensor {{1}, {2}}, {shape = {2, 2, 3}}):totable(),
  {{{1, 1, 1}, {2, 2, 2}}, {{1, 1, 1}, {2, 2, 2}}}, "expand")
t.is(mw.expand(mw.tensor({1, 2}, "u8"), {shape = {2, 2}}):totable(), {{1, 2}, {1, 2}}, "expand u8")
t.is(mw.expand(mw.tensor(3.0), {shape = {0, 2}}).shape, {0, 2}, "expand to nothing")
t.error(function() return mw.expand(mw.zeros {2, 3}, {shape = {3, 3}}) end,
  "expand: x is f32%[2,3%], which does not broadcast to f32%[3,3%]", "expand to what does not fit")

t.is(mw.concat(mw.tensor {{1, 2}}, mw.tensor {{3, 4}, {5, 6}}):totable(), {{1, 2}, {3, 4}, {5, 6}},
  "concat")
t.is(mw.concat(mw.tensor {{1}, {2}}, mw.zeros {2, 0}, mw.tensor {{3, 4}, {5, 6}}, {axis = 2})
  :totable(), {{1, 3, 4}, {2, 5, 6}}, "concat along the last axis")
local many = {}
for i = 1, 40 do many[i] = mw.tensor({i}, "i64") end
t.is(mw.sum(mw.concat(table.unpack(many))):item(), 820, "concat of 40 tensors")
t.error(function() return mw.concat(mw.zeros {2, 3}, mw.zeros {2, 3}, mw.zeros {3, 4}) end,
  "concat: tensor 3 is f32%[3,4%], but the first is f32%[2,3%]", "concat of what does not fit")
t.error(function() return mw.concat(mw.zeros {2}, mw.zeros({2}, "f64")) end,
  "concat: tensor 2 .*:cast", "concat of other dtypes")

t.near(mw.accumulate(mw.tensor {1, 2}, mw.tensor {3, 4}, mw.tensor {5, 6}):totable(), {9, 12}, 0,
  "accumulate")
t.is(mw.accumulate(mw.tensor {1, 2}):totable(), {1, 2}, "accumulate of one")
t.error(function() return mw.accumulate(mw.zeros {2}, mw.zeros {3}) end,
  "accumulate: tensor 2 is f32%[3%]", "accumulate of other shapes")

t.done()
