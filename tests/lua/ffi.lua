-- ffi.lua: mw.ffi: C functions that exist already as ops.
local t = require "tap"
local mw = require "moonwalk"

local LIBRARY = os.getenv "MOONWALK_BUILD" .. "/foreign/functions.so"

local refused = t.refuses

local function values(tensor)
  local list = tensor:reshape(-1):totable()
  for i, value in ipairs(list) do list[i] = ("%.6g"):format(value) end
  return table.concat(list, " ")
end

local function op(name, signature, more)
  local description = {name = "c_" .. name, library = LIBRARY, symbol = name, signature = signature}
  for key, value in pairs(more or {}) do description[key] = value end
  return mw.ffi.op(description)
end

-- Functions of numbers --------------------------------------------------------------------------

local x = mw.param(mw.tensor({-1, 0, 2.5}, "f64"))
local twice = op("twice", "f64(f64)", {gradient = function(_, _, dy) return dy * 2 end})
t.is(values(twice(x)), "-2 0 5", "one number")
t.is(values(x:cast("f32"):c_twice()), "-2 0 5", "a method; f32 is converted there and back")
t.is(twice(x:cast "f32").dtype, "f32", "the result has the input's dtype")
t.is(values(mw.grad(twice(x):sum(), {x})[1]), "2 2 2", "its gradient is a Lua function")
t.is(values(mw.grad(mw.grad((twice(x) ^ 2):sum(), {x})[1]:sum(), {x})[1]), "8 8 8", "and again")
t.is(values(twice(mw.zeros {0, 3})), "", "no elements")
local large = mw.arange(0, 99999, 1, "f64")
t.is(twice(large):sum():item(), 9999900000, "many elements, over several threads")

local add = op("add_f32", "f32(f32 a, f32 b)",
  {gradient = function(_, _, _, dy) return dy, dy end, serial = true})
local a, b = mw.param {{1}, {2}}, mw.param {10, 20, 30}
t.is(values(add(a, b)), "11 21 31 12 22 32", "two numbers broadcast")
local da, db = table.unpack(mw.grad(add(a, b):sum(), {a, b}))
t.is(values(da) .. ", " .. values(db), "3 3, 2 2 2", "what was broadcast gets the sum")
t.is(values(add(a, 1)), "2 3", "a number")

t.is(values(op("add_i32", "i32(i32, i32)")(mw.tensor({2147483647, -5}, "i32"), 0)),
  "2.14748e+09 -5", "integers")
local long = mw.tensor({4611686018427387, -5}, "i64")
t.is(mw.ffi.op {name = "c_add_i64", library = LIBRARY, symbol = "add_i64",
  signature = "i64(i64, i64)"}(long, 1):totable()[1], 4611686018427388, "64 bits")
t.is(values(op("invert", "u8(u8)")(mw.tensor({0, 255, 7}, "u8"))), "255 0 248", "bytes")
t.is(values(op("mixed", "f64(f64 x, i32 n, f32 f)")(x, mw.tensor({3.9, -2, 1e30}, "f64"), 0.5)),
  ("%.6g %.6g %.6g"):format(-2.5, 0.5, 2.5 * 2147483647 + 0.5),
  "each number becomes what the function takes: whole ones are cut, and kept in range")

-- Broadcasting, dtypes and blocks -------------------------------------------------------------

local mixed, worst = mw.c_mixed, 0
for _, shapes in ipairs {
  {{3, 1, 70}, {1, 5, 1}, {1}}, {{7, 1}, {300}, {7, 300}}, {{1}, {2, 513}, {}},
} do
  for _, dtype in ipairs {"f64", "f32"} do
    local parts = {}
    for i, shape in ipairs(shapes) do
      parts[i] = (mw.randn(shape, dtype) * 10):eval()
      if i > 1 then parts[i] = parts[i]:floor():eval() end
    end
    local want = parts[1] * parts[2] + parts[3]
    local got = mixed(table.unpack(parts))
    t.is(table.concat(got.shape, ","), table.concat(want.shape, ","), "the shape of the broadcast")
    worst = math.max(worst, (got - want):abs():max():item() / (dtype == "f64" and 1e-12 or 1e-4))
  end
end
t.ok(worst <= 1, "broadcast over several blocks and rows, as arithmetic does it")
t.is(mw.ffi.op {name = "c_max_i64", library = LIBRARY, symbol = "add_i64",
  signature = "i64(i64, i64)"}(mw.tensor({9007199254740993}, "i64"), mw.tensor({2}, "i64"))
  :totable()[1], 9007199254740995, "an i64 is not rounded to f64 on the way")
t.is(values(op("half", "f32(f32 x)")(mw.tensor({1, 3}, "f64"))), "0.5 1.5", "f64 through f32")
do
  local threads = mw.threads()
  local big = mw.randn({3, 5000}, "f64"):eval()
  mw.threads(1)
  local one = twice(big):eval()
  mw.threads(4)
  t.is((twice(big) - one):abs():max():item(), 0, "the same with several threads")
  mw.threads(threads)
end

-- Functions of buffers --------------------------------------------------------------------------

local sums = op("running_sum", "void(const f64* x, f64* y, i64 n)", {
  infer = function(s) return {y = s.shape, n = s.count} end,
  gradient = function(_, _, dy)
    local back = {{-1, 1, -1}}
    return dy:slice(back):c_running_sum():slice(back)
  end,
})
t.is(values(sums(x)), "-1 -1 1.5", "a buffer in, a buffer out")
t.is(values(mw.grad(sums(x):sum(), {x})[1]), "3 2 1", "with a gradient")
local outer = op("outer_product",
  "i32(const f32* p, const f32* q, f32* y, i32 n, i32 m, f32 scale)", {
    infer = function(p, q)
      return {y = {p.count, q.count}, n = p.count, m = q.count, scale = 0.5}
    end})
local product = outer(mw.tensor {2, 4}, mw.tensor {1, 2, 3})
t.is(table.concat(product.shape, ","), "2,3", "the shape comes from infer")
local scale = 0.5
local scaled = op("outer_product",
  "i32(const f32* p, const f32* q, f32* y, i32 n, i32 m, f32 scale)", {name = "c_scaled",
    infer = function(p, q)
      return {y = {p.count, q.count}, n = p.count, m = q.count, scale = scale}
    end})
local three = mw.tensor {3}
t.is(scaled(three, three):item(), 4.5, "a number that infer gives")
scale = 2
t.is(scaled(three, three):item(), 18, "infer is asked again by the next call, like the last one")
t.is(values(product), "1 2 3 2 4 6", "numbers too, one of them no integer")
t.is(values(outer(mw.tensor {2}, mw.tensor {1, 2, 3})), "1 2 3", "they belong to each call")
refused("c_outer_product: the function returned -7, expected 0", function()
  return outer(mw.zeros {101}, mw.zeros {1}):eval()
end)
local checked = op("running_sum", "void(const f64* x[n], f64* y[n], i64 n)", {
  name = "c_checked", infer = function(s) return {y = {2}, n = s.count} end})
t.is(values(checked(x:slice {{1, 2}})), "-1 -1", "lengths that are declared are checked")
refused("y is f64[2], but the function uses 3 elements of it", checked, x)
refused("c_negative: the length of x is negative", op("running_sum",
  "void(const f64* x[n], f64* y[n], i64 n)",
  {name = "c_negative", infer = function() return {y = {2}, n = -1} end}), x)
refused("infer gives n as 2.5, expected a whole number that i64 holds", op("running_sum",
  "void(const f64* x, f64* y, i64 n)",
  {name = "c_not_whole", infer = function() return {y = {2}, n = 2.5} end}), x)
refused("infer gives nil as p, expected a buffer or a pointer", op("running_sum",
  "void(const f64* x, f64* y, void* p)",
  {name = "c_pointer", infer = function() return {y = {2}} end}), x)
refused("NUL character", mw.ffi.op, {name = "c_x", symbol = "tw\0ice", signature = "f64(f64)"})
refused("c_running_sum: x is f32[3], but the function takes f64; use :cast", sums, mw.zeros {3})

-- What is refused -------------------------------------------------------------------------------

local signatures = {
  ["f64(f64"] = "expected a comma or )",
  ["f64 f64"] = "expected ( after the result",
  ["f64(double)"] = "did you mean f64?",
  ["(f64)"] = "the type of the result",
  ["void(f64)"] = "a function of numbers has a result",
  ["f64()"] = "it takes no tensor",
  ["f64*(f64)"] = "no pointer can be returned",
  ["f64 *f(f64)"] = "expected ( after the result",
  ["f64(f64) x"] = "there is more after )",
  ["f64(const)"] = "expected a type after const",
  ["double(f64)"] = "did you mean f64?",
  ["f64(i16)"] = "the types are f32, f64, i32, i64 and u8",
  ["str(f64)"] = "the result is void, f32",
  ["f64(f64, f64 x, f64 x)"] = "two parameters have the same name",
  ["f64(f64 1x)"] = "a name begins with a letter",
  ["f64(f64 x[2])"] = "only a pointer has a length",
  ["void(const f64* x[m], f64* y)"] = "no parameter has the name 'm'",
  ["void(const f64* x[y], f64* y)"] = "the value of a parameter that is a whole number",
  ["void(const f64** x, f64* y)"] = "a pointer to a pointer",
  ["f64(void)"] = "no parameter's type",
  ["f64(f64,f64,f64,f64,f64,f64,f64,f64,f64)"] = "more than 8 parameters of a kind",
  ["void(const f64* x)"] = "no parameter is an output",
  ["void(f64* y)"] = "it takes no tensor",
  ["void(const f64*, f64* y)"] = "need names",
  ["f64(const f64* x, f64* y)"] = "returns void, or i32",
  ["void(const f64* x, f64* y)"] = "needs a rule",
}
for signature, message in pairs(signatures) do
  refused(message, op, "twice_again", signature)
end
refused("has no function no_such", op, "no_such", "f64(f64)")
refused("the library cannot be opened", mw.ffi.op,
  {name = "c_x", library = "no_such.so", signature = "f64(f64)"})
refused("op add exists already, from shipped", mw.ffi.op,
  {name = "add", library = "libm.so.6", symbol = "erf", signature = "f64(f64)"})
refused('did you mean "signature"', mw.ffi.op, {name = "c_x", signatur = "f64(f64)"})
refused("gradient is 3, expected a function", mw.ffi.op,
  {name = "c_x", signature = "f64(f64)", gradient = 3})
refused("a is i32[1], expected f32 or f64; use :cast", add, mw.zeros({1}, "i32"),
  mw.zeros({1}, "i32"))
refused("which does not broadcast", add, mw.zeros {2}, mw.zeros {3})
refused("c_invert: it has no derivative", function()
  local p = mw.param {1}
  return mw.grad(mw.c_invert(p:cast "f32"):sum(), {p})
end)

local function buffers(name, infer)
  return mw.ffi.op {name = name, library = LIBRARY, symbol = "running_sum", infer = infer,
    signature = "void(const f64* x, f64* y, i64 n)"}
end
refused("infer returns nil, expected a table", buffers("c_bad_1", function() end), x)
refused("infer gives nil as y, expected a shape",
  buffers("c_bad_2", function() return {n = 1} end), x)
refused("infer gives nil as n, expected a number",
  buffers("c_bad_3", function(s) return {y = s.shape} end), x)
refused("infer gives y the size -1", buffers("c_bad_4", function() return {y = {-1}, n = 1} end), x)
refused("c_bad_5: no luck", buffers("c_bad_5", function() error("no luck", 0) end), x)
op("twice", "f64(f64)", {name = "c_bad_6", gradient = function() return 3 end})
refused("gradient returns 3 for x, expected a tensor or nil", function()
  return mw.grad(mw.c_bad_6(x):sum(), {x})
end)
op("twice", "f64(f64)", {name = "c_bad_7", gradient = function() error("no luck", 0) end})
refused("c_bad_7: no luck", function() return mw.grad(mw.c_bad_7(x):sum(), {x}) end)
t.done()
