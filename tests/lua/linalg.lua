-- linalg.lua: what the cases of products and of ops on matrices do not say: errors, dtypes, special
-- values, second derivatives of einsum.
local t = require "tap"
local mw = require "moonwalk"
local elements = require "elements"
local nan, inf = elements.nan, elements.inf

mw.seed(13)

local function refused(pattern, name, op, ...)
  local args = table.pack(...)
  t.error(function() mw[op](table.unpack(args, 1, args.n)):eval() end, op .. ": .*" .. pattern,
    name)
end

local function f64(list) return mw.tensor(list, "f64") end

---- einsum

local a, b = f64 {{1, 2}, {3, 4}, {5, 6}}, f64 {{1, 0, 2}, {0, 1, 1}}
t.is(mw.einsum("ij,jk->ik", a, b):totable(), {{1, 2, 4}, {3, 4, 10}, {5, 6, 16}},
  "the equation may stand in front")
t.is(mw.einsum(a, b, "ij,jk->ik"):totable(), {{1, 2, 4}, {3, 4, 10}, {5, 6, 16}},
  "a matrix product")
t.is(mw.einsum(a, b, "ij,jk"):totable(), mw.matmul(a, b):totable(), "... without an arrow")
t.is(mw.einsum({a, b}, {equation = " i j , j k -> k i "}):totable(),
  {{1, 3, 5}, {2, 4, 6}, {4, 10, 16}}, "a list of operands, spaces, a transposed result")
t.is(mw.einsum(a, "ji"):totable(), {{1, 3, 5}, {2, 4, 6}}, "ji without an arrow is a transpose")
t.is(mw.einsum(f64 {{1, 2}, {3, 4}}, "ii"):item(), 5.0, "ii is a trace")
t.is(mw.einsum(f64 {{1, 2}, {3, 4}}, "ii->i"):totable(), {1, 4}, "ii->i is a diagonal")
t.is(mw.einsum(a, "ij->"):item(), 21.0, "nothing after the arrow sums all")
t.is(mw.einsum(a, "...j->..."):totable(), {3, 7, 11}, "... stands for what is not named")
t.is(mw.einsum(a, "i...->...i"):totable(), {{1, 3, 5}, {2, 4, 6}}, "... anywhere")
t.is(mw.einsum(f64(2), f64(3), ","):item(), 6.0, "scalars have no letters")
t.is(mw.einsum(f64 {2, 3}, f64 {5, 7}, "B,a"):totable(), {{10, 14}, {15, 21}},
  "capitals come first in the alphabet")
t.is(mw.einsum(mw.zeros {2, 0}, mw.zeros {0, 3}, "ij,jk"):totable(), {{0, 0, 0}, {0, 0, 0}},
  "a sum of nothing is 0")
t.near(mw.einsum(f64 {nan, 1}, f64 {0, inf}, "i,i->i"):totable(), {nan, inf}, 0, "NaN stays")
local eight = {}
for i = 1, 8 do eight[i] = mw.randn({2, 2}, "f64") end
local product = eight[1]
for i = 2, 8 do product = mw.matmul(product, eight[i]) end
t.near(mw.einsum(eight, {equation = "ab,bc,cd,de,ef,fg,gh,hi->ai"}):totable(), product:totable(),
  1e-12, "eight operands, from left to right")
local q, k, v = mw.randn({2, 3, 4, 5}, "f64"), mw.randn({2, 3, 6, 5}, "f64"),
  mw.randn({2, 3, 6, 2}, "f64")
t.near(mw.einsum(mw.einsum(q, k, "bhqd,bhkd->bhqk"), v, "bhqk,bhkd->bhqd"):totable(),
  mw.matmul(mw.matmul(q, k, {transpose_b = true}), v):totable(), 1e-12, "attention")

for _, case in ipairs {
  {"ij,jk->ik", {2, 3}, {3, 2}}, {"iji,j->i", {2, 3, 2}, {3}},
  {"...i,...i->...", {2, 1, 3}, {2, 3}},
  {"i,j,i->ij", {2}, {3}, {2}}, {"bij,bkj->bki", {2, 3, 2}, {2, 2, 2}},
} do
  local operands, r = {}, {}
  for i = 2, #case do
    operands[i - 1] = mw.randn(case[i], "f64")
    r[i - 1] = mw.randn(case[i], "f64")
  end
  local y = mw.einsum(operands, {equation = case[1]})
  local n, all = #operands, {table.unpack(operands)}
  all[n + 1] = mw.randn(y.shape, "f64")
  t.ok(mw.gradcheck(function(...)
    local xs = {...}
    local dy = table.remove(xs)
    local total
    for i, d in ipairs(mw.grad(mw.einsum(xs, {equation = case[1]}) ^ 2, xs, dy)) do
      local term = (d * r[i]):sum()
      total = total and total + term or term
    end
    return total
  end, all, {eps = 1e-5}) < 1e-6, "einsum: second derivative of " .. case[1])
end

refused("j is 2 in operand 1 and 3 in operand 2", "sizes that differ", "einsum", a, a, "ij,jk->ik")
refused("i is 3 in operand 1 and 2 in operand 1", "a diagonal of no square", "einsum", a, "ii")
refused("3 operands, but 2 tensors", "an equation for more operands", "einsum", a, b, "ij,jk,kl")
refused("1 operands, but 2 tensors", "... for fewer", "einsum", a, b, "ij")
refused('operand 1 is f64%[3,2%], but "ijk" names 3 axes', "too many letters", "einsum", a, "ijk")
refused('operand 2 is f64%[2,3%], but "i" names 1 axis', "too few letters", "einsum", a, b, "ij,i")
refused("k is after %->, but no operand has it", "a letter from nowhere", "einsum", a, "ij->k")
refused("i is after %-> twice", "a letter twice in the result", "einsum", a, "ij->ii")
refused("has '1' in \"i1\"", "a digit", "einsum", a, "i1")
refused("has '%-' after %->", "a second arrow", "einsum", a, "ij->i->j")
refused('has a dot in "i%.%." that is not one of', "two dots", "einsum", a, "i..")
refused("has %.%.%. twice", "... twice", "einsum", a, "......")
refused("no %.%.%. after %->, but it stands for 1 axes", "... that the result lacks", "einsum", a,
  "i...->i")
refused("axes of %.%.%. do not broadcast: one is 3 in operand 1, and 2 in 2", "... that differ",
  "einsum", a, b, "...,...")
refused("one is 3 in operand 2, and 4 in 3", "... of three", "einsum", mw.zeros {1}, mw.zeros {3},
  mw.zeros {4}, "...,...,...")
refused("operand 1 is i32%[2%], expected f32 or f64", "integers", "einsum", mw.zeros({2}, "i32"),
  "i")
refused("operand 2 is f32%[2%], but the first is f64%[3,2%]", "two dtypes", "einsum", a,
  mw.zeros {2}, "ij,j")
refused("result has too many axes, at most 8", "nine axes", "einsum", mw.zeros {1, 1, 1, 1, 1},
  mw.zeros {1, 1, 1, 1}, "abcde,fghi")
refused("a product on the way has 9 axes", "... on the way", "einsum", mw.zeros {1, 1, 1, 1, 1},
  mw.zeros {1, 1, 1, 1}, mw.zeros {1, 1, 1, 1}, mw.zeros {1, 1, 1, 1, 1}, "abcde,fghi,abcd,efghi")
refused("'equation' is missing", "no equation", "einsum", a)
local seventeen = {}
for i = 1, 17 do seventeen[i] = mw.tensor(1) end
refused("got 17 tensors, at most 16", "too many operands", "einsum", seventeen,
  {equation = (","):rep(16)})

---- outer, triangles, diagonals

t.is(mw.outer(f64 {1, 2}, f64 {3, 4, 5}):totable(), {{3, 4, 5}, {6, 8, 10}}, "outer")
t.is(mw.outer(mw.tensor({1, 2}, "i32"), mw.tensor({3, 4}, "i32")):totable(), {{3, 4}, {6, 8}},
  "outer of i32")
refused("a is f32%[%], expected a vector", "outer of a scalar", "outer", mw.zeros {}, mw.zeros {2})
refused("b is f64%[2%], but a is f32%[2%]", "outer of two dtypes", "outer", mw.zeros {2},
  mw.zeros({2}, "f64"))
refused("do not broadcast", "outer of batches that differ", "outer", mw.zeros {2, 3},
  mw.zeros {3, 3})

local square = mw.tensor({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, "i64")
t.is(square:tril():totable(), {{1, 0, 0}, {4, 5, 0}, {7, 8, 9}}, "tril")
t.is(square:tril(-1):totable(), {{0, 0, 0}, {4, 0, 0}, {7, 8, 0}}, "tril below the diagonal")
t.is(square:triu():totable(), {{1, 2, 3}, {0, 5, 6}, {0, 0, 9}}, "triu")
t.is(square:triu(1):totable(), {{0, 2, 3}, {0, 0, 6}, {0, 0, 0}}, "triu above the diagonal")
t.is(mw.tril(mw.ones({2, 2}, "bool")):totable(), {{true, false}, {true, true}}, "a mask of bool")
t.near(mw.triu(f64 {{nan, 1}, {nan, inf}}):totable(), {{nan, 1}, {0, inf}}, 0,
  "NaN outside the triangle is gone")
t.is(mw.tril(mw.ones {2, 3, 3}):sum {axes = {2, 3}}:totable(), {6, 6}, "tril of a batch")
refused("x is f32%[3%], expected a matrix", "tril of a vector", "tril", mw.zeros {3})
refused("x is f32%[3%], expected a matrix", "triu of a vector", "triu", mw.zeros {3})

t.is(square:diag():totable(), {1, 5, 9}, "diag of a matrix")
t.is(square:diag(1):totable(), {2, 6}, "... to the right")
t.is(square:diag(-2):totable(), {7}, "... below")
t.is(square:diag(3):totable(), {}, "... beside it")
t.is(mw.diag(mw.tensor({1, 2}, "u8")):totable(), {{1, 0}, {0, 2}}, "diag of a vector")
t.is(mw.diag(f64 {1, 2}, {k = -1}):totable(), {{0, 0, 0}, {1, 0, 0}, {0, 2, 0}}, "... below")
t.is(mw.diag(mw.tensor {true}):totable(), {{true}}, "... of bool")
t.is(mw.diagonal(mw.diag_embed(f64 {{1, 2}, {3, 4}})):totable(), {{1, 2}, {3, 4}},
  "diagonal takes out what diag_embed put in")
refused("x is f32%[1,1,1%], expected a vector or a matrix; diagonal", "diag of a batch", "diag",
  mw.zeros {1, 1, 1})
refused("x is f32%[%], expected a vector", "diag_embed of a scalar", "diag_embed", mw.zeros {})
refused("x is f32%[2%], expected a matrix", "diagonal of a vector", "diagonal", mw.zeros {2})
refused("the result would have 268435458 rows", "diag_embed of too many", "diag_embed",
  mw.zeros {2}, {k = 1 << 28})
t.is(square:trace():item(), 15, "trace of i64")
t.is(mw.trace(f64 {{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}, {k = 1}):totable(), {2, 6},
  "trace of a batch")
refused("x is f32%[2%], expected a matrix", "trace of a vector", "trace", mw.zeros {2})
local x = f64 {{1, 2}, {3, 4}}
t.is(mw.grad(mw.trace(x), {x})[1]:totable(), {{1, 0}, {0, 1}}, "the gradient of trace is eye")
t.is(mw.grad(mw.tril(x):sum(), {x})[1]:totable(), {{1, 0}, {1, 1}}, "... of tril is a triangle")

t.done()
