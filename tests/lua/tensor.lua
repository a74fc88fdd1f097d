-- tensor.lua: tensors from Lua: constructors, operators, methods, indexing, printing, garbage.
local t = require "tap"
local mw = require "moonwalk"

local core = mw.core

-- Constructors --------------------------------------------------------------------------------

local a = mw.tensor {{1, 2, 3}, {4, 5, 6}}
t.is(a.shape, {2, 3}, "the shape of nested tables")
t.is(a.dtype, "f32", "numbers are f32 by default")
t.is(a.rank, 2, "rank")
t.is(#a, 2, "# is the first size")
t.is(a:totable(), {{1, 2, 3}, {4, 5, 6}}, "totable gives the tables back")
t.is(mw.tensor({{1, 2}, {3, 4}}, "i64"):totable(), {{1, 2}, {3, 4}}, "i64")
t.is(math.type(mw.tensor({7}, "i32"):totable()[1]), "integer", "integers stay integers")
t.is(math.type(a:totable()[1][1]), "float", "floats are floats")
t.is(mw.tensor {true, false}.dtype, "bool", "booleans are bool")
t.is(mw.tensor {true, false}:totable(), {true, false}, "booleans come back")
t.is(mw.tensor(5).shape, {}, "a number is a scalar")
t.is(mw.tensor(5):totable(), 5.0, "totable of a scalar is its number")
t.is(mw.tensor {}.shape, {0}, "an empty table has no elements")
t.is(mw.tensor {{}, {}}.shape, {2, 0}, "empty rows")
t.is(mw.tensor({math.maxinteger, math.mininteger}, "i64"):totable(),
  {math.maxinteger, math.mininteger}, "i64 keeps all its bits")
t.is(mw.tensor(a, "f64").dtype, "f64", "a tensor of a tensor, in another dtype")
t.is(mw.tensor(a):totable(), a:totable(), "a tensor of a tensor")
t.is(mw.tensor({0, 255}, "u8"):totable(), {0, 255}, "u8")
t.is(mw.tensor({0.1}, "f64"):totable()[1], 0.1, "f64 keeps all its bits")

t.is(mw.zeros {2, 2}:totable(), {{0, 0}, {0, 0}}, "zeros")
t.is(mw.zeros(3, "i32"):totable(), {0, 0, 0}, "zeros of a vector")
t.is(mw.ones({2}, "u8"):totable(), {1, 1}, "ones")
t.is(mw.full({2}, 2.5):totable(), {2.5, 2.5}, "full")
t.is(mw.full({2}, true).dtype, "bool", "full of a boolean")
t.is(mw.full({}, 3, "i64"):item(), 3, "full of rank 0")
t.is(mw.eye(2):totable(), {{1, 0}, {0, 1}}, "eye")
t.is(mw.eye(2, 3, "i32"):totable(), {{1, 0, 0}, {0, 1, 0}}, "eye with columns")
t.is(mw.eye(2, "f64").dtype, "f64", "eye with a dtype alone")
t.is(mw.arange(4):totable(), {0, 1, 2, 3}, "arange(n)")
t.is(mw.arange(0):totable(), {}, "arange(0)")
t.is(mw.arange(2, 5):totable(), {2, 3, 4, 5}, "arange is inclusive")
t.is(mw.arange(1, 8, 3):totable(), {1, 4, 7}, "arange with a step")
t.is(mw.arange(3, 1, -1):totable(), {3, 2, 1}, "arange backwards")
t.is(mw.arange(3, 1):totable(), {}, "arange of nothing")
t.is(mw.arange(3, "i64"):totable(), {0, 1, 2}, "arange(n, dtype)")
t.is(mw.arange(1, 3, "i64").dtype, "i64", "arange(first, last, dtype)")
t.is(mw.arange(1, 3, nil, "i64").dtype, "i64", "arange(first, last, nil, dtype)")
t.is(mw.arange(1, 2, 0.5, "f64"):totable(), {1, 1.5, 2}, "arange of floats")
t.is(mw.linspace(0, 1, 5):totable(), {0, 0.25, 0.5, 0.75, 1}, "linspace")
t.is(mw.linspace(0, 0.7, 8, "f64"):totable()[8], 0.7, "linspace ends exactly")
t.is(mw.linspace(2, 3, 1):totable(), {2}, "linspace of one")

mw.seed(7)
local first = mw.randn {1000}
mw.seed(7)
t.is(mw.randn {1000}:totable(), first:totable(), "the same seed gives the same numbers")
t.ok(mw.randn {1000}:totable()[1] ~= first:totable()[1], "and goes on with others")
local seed, place = core.random_state()
local next_one = mw.uniform {3}
core.random_restore(seed, place)
t.is(mw.uniform {3}:totable(), next_one:totable(), "the random state is saved and restored")
do
  local sum, squares, n = 0, 0, 20000
  for _, x in ipairs(mw.normal({n}, 3, 2, "f64"):totable()) do
    sum, squares = sum + x, squares + x * x
  end
  t.near(sum / n, 3, 0.06, "normal's mean") -- four standard errors
  t.near(math.sqrt(squares / n - (sum / n) ^ 2), 2, 0.05, "normal's deviation")
  local low, high = math.huge, -math.huge
  for _, x in ipairs(mw.uniform({n}, -2, 5):totable()) do
    low, high = math.min(low, x), math.max(high, x)
  end
  t.ok(low >= -2 and low < -1.99 and high < 5 and high > 4.99, "uniform fills its interval")
end

-- Operators -----------------------------------------------------------------------------------

local x, y = mw.tensor {1, 2, 4}, mw.tensor {8, 2, 5}
t.is((x + y):totable(), {9, 4, 9}, "+")
t.is((x - y):totable(), {-7, 0, -1}, "-")
t.is((x * y):totable(), {8, 4, 20}, "*")
t.is((y / x):totable(), {8, 1, 1.25}, "/")
t.near((x ^ mw.tensor {3, 2, 0.5}):totable(), {1, 4, 2}, 1e-6, "^")
t.is((-x):totable(), {-1, -2, -4}, "unary -")
t.is((x + 1):totable(), {2, 3, 5}, "tensor + number")
t.is((1 - x):totable(), {0, -1, -3}, "number - tensor")
t.is((2 * mw.tensor({1, 2}, "i64")).dtype, "i64", "a number takes the tensor's dtype")
t.is((x + mw.tensor {{10}, {20}}):totable(), {{11, 12, 14}, {21, 22, 24}}, "broadcasting")
local same = x
t.ok(x == same and x ~= mw.tensor {1, 2, 4}, "== is identity")

-- Methods and the ways to write attributes ------------------------------------------------------

t.is(a:sum():item(), 21, "sum of all")
t.is(a:sum(1):totable(), {5, 7, 9}, "an axis by position, counted from 1")
t.is(a:sum {2}:totable(), {6, 15}, "axes as a list")
t.is(a:sum {axes = -1}:totable(), {6, 15}, "an axis from the end")
t.is(a:sum {2, keepdims = true}:totable(), {{6}, {15}}, "a list with attributes beside it")
t.is(a:sum({1, 2}, {keepdims = true}) and a:sum({axes = {1, 2}}):item(), 21, "axes by name")
t.is(mw.sum(a, {axes = 2}):totable(), {6, 15}, "the function is the method")
t.is(a:reshape(3, -1).shape, {3, 2}, "reshape by numbers")
t.is(a:reshape {3, 2}.shape, {3, 2}, "reshape by a list")
t.is(a:reshape {shape = {6}}.shape, {6}, "reshape by name")
t.is(mw.tensor {5}:reshape {}.shape, {}, "reshape to a scalar")
t.is(a:transpose().shape, {3, 2}, "transpose of all axes")
t.is(a:transpose {2, 1}:totable(), {{1, 4}, {2, 5}, {3, 6}}, "transpose by a list, from 1")
t.is(a:cast "i32":totable(), {{1, 2, 3}, {4, 5, 6}}, "cast")
t.is(a:cast "f64".dtype, "f64", "cast's dtype")
t.is(mw.cast(a, {dtype = "f64"}).dtype, "f64", "cast by name")
t.is(mw.concat({a, a}, {axis = 1}).shape, {4, 3}, "a variadic op of a list")
t.is(mw.concat(a, a, {axis = 2}).shape, {2, 6}, "a variadic op of arguments")
t.is(a:eval() == a, true, "eval returns the tensor")
t.is(select("#", mw.eval(a + 1, a + 2)), 2, "mw.eval takes several")

-- Indexing ------------------------------------------------------------------------------------

t.is(a[1]:totable(), {1, 2, 3}, "t[1]")
t.is(a[-1]:totable(), {4, 5, 6}, "t[-1]")
t.is(a[2][3]:item(), 6, "t[2][3]")
t.is(a:slice {{1, 2}, 2}:totable(), {2, 5}, "slice with a picked axis")
t.is(a:slice {false, {2, 3}}:totable(), {{2, 3}, {5, 6}}, "slice of a range, ends included")
t.is(a:slice {{}, {1, 3, 2}}:totable(), {{1, 3}, {4, 6}}, "slice with a step")
t.is(a:slice {{-1, 1, -1}}:totable(), {{4, 5, 6}, {1, 2, 3}}, "slice backwards")
t.is(a:slice {-1, -1}:item(), 6, "slice of one element")
t.is(a:slice {false, {2}}.shape, {2, 2}, "slice from an entry on")
t.is(a:slice {{1, 0}}.shape, {0, 3}, "slice of nothing")
t.is(mw.slice(a, {{2, 2}}):totable(), {{4, 5, 6}}, "mw.slice")
t.is(mw.grad(a:slice {2, {1, 2}}:sum(), {a})[1]:totable(), {{0, 0, 0}, {1, 1, 0}},
  "the gradient of a slice")

-- Values --------------------------------------------------------------------------------------

t.is(mw.tensor({{3}}, "i64"):item(), 3, "item of a tensor of one element")
t.is(mw.tensor(true):item(), true, "item of a bool")
t.is(core.bytes(mw.tensor({1, 256}, "i32")), "\1\0\0\0\0\1\0\0", "bytes are little-endian")
t.is(core.from_bytes("\1\0\0\0\0\1\0\0", "i32", {2}):totable(), {1, 256}, "from_bytes")
t.is(core.bytes(mw.zeros {0, 4}), "", "bytes of an empty tensor")

-- Parameters and gradients ----------------------------------------------------------------------

local w = mw.param(mw.tensor {1, 2}, "weight")
t.is(core.name(w), "weight", "a parameter's name")
t.ok(mw.is_param(w) and not mw.is_param(a) and not mw.is_param(1), "is_param")
t.ok(mw.is_tensor(w) and not mw.is_tensor {} and not mw.is_tensor(nil), "is_tensor")
t.is(mw.param {1, 2}:totable(), {1, 2}, "a parameter of a table")
local g = mw.grad((w * w * 3):sum(), {w, a})
t.is(g[1]:totable(), {6, 12}, "grad")
t.is(g[2]:totable(), {{0, 0, 0}, {0, 0, 0}}, "the gradient of what is not used is zeros")
t.is(mw.grad(w * 2, {w}, mw.tensor {1, 10})[1]:totable(), {2, 20}, "grad with dy")
local old = w * 5
core.run({}, {w}, {w - 1})
t.is(w:totable(), {0, 1}, "run replaces a parameter's value")
t.error(function() return old:item() end, "item: the tensor is f32%[2%]", "item of two elements")
t.error(function() return old:totable() end, "stale value.*weight", "a stale value is an error")

-- Printing ------------------------------------------------------------------------------------

t.is(tostring(a), "f32[2,3]\n{{1, 2, 3},\n {4, 5, 6}}", "whole numbers print as such")
t.is(tostring(mw.tensor {{0.125, 2, -1}, {12.5, 0, 0 / 0}}),
  "f32[2,3]\n{{ 0.125,  2.000, -1.000},\n {12.500,      0,    nan}}", "columns are aligned")
t.is(tostring(mw.tensor(0.1)), "f32[] 0.1", "a scalar prints the shortest text that is exact")
t.is(tostring(mw.tensor(0.1, "f64") * 3), "f64[] 0.30000000000000004", "in f64 too")
t.is(tostring(mw.tensor({3, 20}, "i64")), "i64[2] { 3, 20}", "a vector is on one line")
t.is(tostring(mw.tensor {true, false}), "bool[2] { true, false}", "booleans")
t.is(tostring(mw.tensor {1e-5, 2}), "f32[2] {0.0000, 2.0000}", "what is not whole shows decimals")
t.is(tostring(mw.tensor {3e-7, 0}), "f32[2] {3.0000e-07,          0}", "small numbers")
t.is(tostring(mw.zeros {2, 0}), "f32[2,0]\n{}", "an empty tensor")
t.is(tostring(w), "f32[2] parameter 'weight' {0, 1}", "a parameter says its name")
t.is(tostring(mw.arange(2000)), "f32[2000] {   0,    1,    2, ..., 1997, 1998, 1999}",
  "the middle of a large tensor is left out")
t.is(tostring(mw.zeros {40, 40}):gsub("0", ""),
  "f32[4,4]\n{{, , , ..., , , },\n {, , , ..., , , },\n {, , , ..., , , },\n ...,\n "
    .. "{, , , ..., , , },\n {, , , ..., , , },\n {, , , ..., , , }}", "in each axis")
for line in tostring(mw.uniform({1, 300}, 1, 2)):gmatch "[^\n]+" do
  if #line > 80 then t.ok(false, "lines are at most 80 wide: " .. line) end
end

-- update -----------------------------------------------------------------------------------------

do
  local p, q = mw.param({1, 2}, "p"), mw.param {3, 4}
  local sum = (p * q):sum()
  local before = mw.update({p, q}, {q, p - q}, sum)
  t.is({p:totable(), q:totable()}, {{3, 4}, {-2, -2}}, "parameters get new values all at once")
  t.is(before:item(), 11, "a tensor that is computed along has its value from before")
  t.is(table.pack(mw.update({p}, {p * 0})).n, 0, "nothing else is returned")
  t.error(function() mw.update({p}, {mw.ones {3}}) end,
    "tests/lua/tensor.lua:%d+: update: parameter 'p' is f32%[2%], its new value is f32%[3%]",
    "an update of another shape")
  t.error(function() mw.update({p}, {p, q}) end, "update: there are 1 parameters and 2 values",
    "an update by too many values")
  t.error(function() mw.update(p, p) end,
    "tests/lua/tensor.lua:%d+: update: parameters is a tensor f32%[2%], expected a list such as",
    "an update of what is no list")
  t.error(function() mw.update({p}, {0}) end, "update: values%[1%] is 0, expected a tensor",
    "an update by a number")
  t.is(p:totable(), {0, 0}, "an update that fails changes nothing")
end

-- What a script can reach, it can misuse ---------------------------------------------------------

do
  local pair = mw.tensor {1, 2}
  t.is(getmetatable(pair), "moonwalk.tensor", "the metatable is out of reach")
  local meta = debug.getmetatable(pair)
  for _, value in ipairs {5, "x", io.stdout, {}, print} do
    for _, event in pairs(meta) do
      if type(event) == "function" then pcall(event, value, value) end
    end
    if meta.__gc then meta.__gc(value) end
  end
  if meta.__gc then meta.__gc() end
  t.is(pair:totable(), {1, 2}, "metamethods of what is no tensor")
  if meta.__gc then
    meta.__gc(pair)
    t.error(function() return pair:item() end, "index: argument 1 is a tensor that was collected",
      "a tensor that was collected by hand")
  else
    t.skip("a tensor that was collected by hand", "tensors have no finalizer in the command")
  end
  local plain = debug.setmetatable(mw.tensor {1, 2}, nil)
  local bare = mw.neg(plain)
  debug.setmetatable(plain, meta)
  t.is(debug.getmetatable(bare), nil, "what is made of a tensor without its metatable has none")
  t.is(debug.setmetatable(bare, meta):totable(), {-1, -2}, "but is one")
  local program = debug.getmetatable(mw.core.program {mw.ones {2} * 2})
  program.__gc(5)
  program.__gc(io.stdout)
  t.is(program.__metatable, "moonwalk.program", "a program's metatable is out of reach")

  t.is({mw.core.rows(mw.ones {3, 2}, nil, 1, 0).shape, mw.core.permutation(0).shape,
    mw.core.digits(0, 1).shape}, {{0, 2}, {0}, {0, 28, 28}}, "no rows are an empty tensor")

  -- A finalizer runs in the middle of a call and takes the tensors out of the caller's list.
  local list, kept = {}, true
  local one = mw.ones {}
  for i = 1, 3000 do list[i] = one * i end
  local function clear()
    setmetatable({}, {__gc = function()
      for i = 1, #list do list[i] = nil end
      if kept then clear() end
    end})
  end
  clear()
  local mode = collectgarbage("incremental", 10, 1000)
  for _ = 1, 20 do
    for i = 1, 3000 do list[i] = one * i end
    pcall(mw.grad, one, list)
    for i = 1, 3000 do list[i] = one * i end
    pcall(mw.concat, list)
  end
  kept = false
  collectgarbage(mode, 200, 100)
  t.ok(true, "lists that change while they are read")

  -- One makes tensors while a call makes one of a number.
  local ran, wrong = 0, 0
  kept = true
  local function add()
    setmetatable({}, {__gc = function()
      ran = ran + (one + 1):item()
      if kept then add() end
    end})
  end
  add()
  mode = collectgarbage("incremental", 10, 1000)
  for i = 1, 3000 do
    local sum = one + i + 1
    if sum:item() ~= i + 2 then wrong = wrong + 1 end
  end
  kept = false
  collectgarbage(mode, 200, 100)
  t.ok(ran > 100 and wrong == 0, "tensors of a finalizer in the midst of a call")

  -- Userdata of the size of a tensor's, and tensors, take the place of tensors that were freed.
  local function live()
    collectgarbage()
    collectgarbage()
    return mw.stats().tensors_live
  end
  list = nil
  local before = live()
  for round = 1, 20 do
    local some = {}
    for i = 1, 500 do some[i] = i % 2 == 0 and one * i or mw.core.prepare "add" end
    if round % 5 == 0 then
      t.is(live() - before, #some, "250 products and the numbers in them are there")
    end
  end
  t.is(live(), before, "what Lua has freed is released, once")

  -- In the command a tensor is not finalized, and so is whole as long as anybody can reach it.
  if not debug.getmetatable(one).__gc then
    local seen
    do
      local dying = one * 5
      setmetatable({}, {__gc = function() seen = dying end})
    end
    collectgarbage()
    collectgarbage()
    t.is(seen:item(), 5, "a finalizer that keeps a tensor which was to die with it")
  else
    t.skip("a finalizer that keeps a tensor", "it may have been finalized before")
  end
end

-- compile, gradcheck, help, ops -------------------------------------------------------------------

local traced = 0
local scale = mw.param(mw.tensor(2))
local compiled = mw.compile(function(u, v)
  traced = traced + 1
  return u * scale + v, u:sum()
end)
local r1, r2 = compiled(mw.tensor {1, 2}, mw.tensor {10, 20})
t.is(r1:totable(), {12, 24}, "a compiled function")
t.is(r2:item(), 3, "its second result")
core.run({}, {scale}, {scale * 10})
t.is(compiled(mw.tensor {1, 3}, mw.tensor {0, 1}):totable(), {20, 61},
  "fed with other values, it reads parameters anew")
t.is(r1:totable(), {12, 24}, "earlier results stay")
t.is(traced, 1, "it was traced once")
compiled(mw.tensor {1}, mw.tensor {1})
t.is(traced, 2, "and again for another shape")

t.ok(mw.gradcheck(function(p, q) return p:matmul(q), (p * p):exp() end,
  {mw.randn {2, 3}, mw.randn {3, 2}}) < 1e-6, "gradcheck of right gradients")
-- stop_gradient leaves a part of the gradient out: d(x * stop(x)) is half of d(x^2).
local message = t.error(function()
  mw.gradcheck(function(p) return p * p:stop_gradient() end, {mw.tensor {2}})
end, "gradcheck: input 1, element %[1%]: the gradient is", "gradcheck of wrong gradients")
local analytic, numeric = (message or ""):match "gradient is (%S+), differences give (%S+);"
t.near((tonumber(numeric) or 0) / (tonumber(analytic) or 1), 2, 1e-6, "it names both numbers")

t.ok(mw.ops.conv2d.doc and mw.ops.conv2d.inputs[2].name == "w", "mw.ops has the schema")
t.is(mw.ops.nonsense, nil, "and nil for others")
local count = 0
for name, op in pairs(mw.ops) do
  count = count + 1
  if name ~= op.name then t.ok(false, "mw.ops names " .. name) end
end
t.ok(count > 30, "mw.ops can be listed")
t.ok(mw.help("conv2d", true):find("stride", 1, true), "help shows attributes")
t.ok(not mw.help("relu", true):find "\n\n\n", "help of an op without any has no hole")
t.ok(mw.help(nil, true):find("conv2d", 1, true), "help lists ops")
t.ok(mw.kernel "conv2d":find("plain", 1, true), "kernels are listed")

-- Garbage -------------------------------------------------------------------------------------

local function resident()
  local file = io.open "/proc/self/statm"
  if not file then return 0 end
  local _, pages = file:read("n", "n")
  file:close()
  return tonumber(pages) * 4096
end

do -- 10,000 steps of a small training loop
  local v = mw.param(mw.randn {64, 64})
  local function step()
    local loss = (mw.randn {32, 64}:matmul(v) ^ 2):mean()
    core.run({loss}, {v}, {v - mw.grad(loss, {v})[1] * 1e-3})
  end
  for _ = 1, 500 do step() end
  local before, most, least_memory = mw.stats().programs_compiled, 0, resident()
  for i = 1, 10000 do
    step()
    if i % 100 == 0 then most = math.max(most, mw.stats().bytes_live) end
  end
  t.is(mw.stats().programs_compiled, before, "a training loop compiles nothing twice")
  t.ok(most < 40 << 20, "10,000 steps keep fewer than 40 MiB of tensors: " .. most)
  if (os.getenv "SANITIZE" or "") ~= "" then
    t.skip("and the process does not grow", "a sanitizer keeps freed memory")
  else
    t.ok(resident() < least_memory + (32 << 20), "and the process does not grow")
  end
end

do -- many nodes that hold no bytes
  local s, most = mw.tensor(1), 0
  for i = 1, 200000 do
    local _ = s + 1
    if i % 1000 == 0 then most = math.max(most, mw.stats().tensors_live) end
  end
  t.ok(most < 20000, "nodes that were never computed are collected: " .. most)
end

-- A tensor ends as a table does.
local rows = {}
for i, row in ipairs(mw.tensor {{1, 2}, {3, 4}}) do rows[i] = row:totable() end
t.is(rows, {{1, 2}, {3, 4}}, "ipairs goes over the rows")
for _ in ipairs(mw.zeros {0, 2}) do rows = nil end
t.ok(rows, "over none of an empty tensor")
t.done()
