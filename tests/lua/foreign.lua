-- foreign.lua: mw.ffi: C functions called from Lua, buffers, structures, and callbacks.
local t = require "tap"
local mw = require "moonwalk"
local ffi = mw.ffi

local LIBRARY = os.getenv "MOONWALK_BUILD" .. "/foreign/functions.so"
local function fn(symbol, signature)
  return ffi.fn {library = LIBRARY, symbol = symbol, signature = signature}
end

local refused = t.refuses

-- Numbers, strings, pointers --------------------------------------------------------------------

t.is(fn("sum_small", "i64(i8 a, u8 b, i16 c, u16 d, i32 e, u32 f)")(-128, 255, -32768, 65535,
  -2147483648, 4294967295), -128 + 255 - 32768 + 65535 - 2147483648 + 4294967295, "small integers")
t.is(fn("as_i8", "i8(i64)")(200), -56, "a small result with its sign")
t.is(fn("as_u16", "u16(i64)")(-1), 65535, "and without")
t.is(fn("as_u32", "u32(i64)")(-1), 4294967295, "32 bits without a sign")
t.is(fn("half", "f32(f32)")(3), 1.5, "a float")
t.is(ffi.fn {symbol = "abs", signature = "i32(i32)"}(-3), 3, "a function of the program itself")
t.is(ffi.fn {library = "libm.so.6", symbol = "hypot", signature = "f64(f64, f64)"}(3, 4), 5.0,
  "a function of libm")
local joined = fn("joined", "str(str a, str b)")
t.is(joined("one", "two"), "one-two", "strings")
t.is(joined("one", nil), nil, "nil is NULL, and NULL is nil")
t.is(fn("nothing", "void*()")(), nil, "no pointer")

local total = fn("total", "f64(const f64* x[n], i32 n)")
t.is(total(ffi.buffer("f64", {1, 2, 3.5}), 3), 6.5, "a buffer")
t.is(total(mw.tensor({1, 2, 3.5}, "f64") * 2, 3), 13.0, "a tensor's value")
t.is(total(nil, 0), 0.0, "NULL of no elements")
local fill = fn("fill", "void(f64* x[rows*columns], i32 rows, i32 columns, f64 value)")
local six = ffi.buffer("f64", 6)
fill(six, 2, 3, 7)
t.is(six:totable(), {7.0, 7.0, 7.0, 7.0, 7.0, 7.0}, "C writes to a buffer")
refused("argument 1 x has 24 bytes, but the function uses 4 elements of f64", total,
  ffi.buffer("f64", 3), 4)
refused("argument 1 x has 48 bytes, but the function uses 9 elements", fill, six, 3, 3, 0)
refused("argument 1 x has 0 bytes", total, nil, 1)
refused("the length of x is negative or too large", total, six, -1)
refused("the length of x is negative or too large",
  fn("fill", "void(f64* x[rows*columns*rows*columns], i64 rows, i64 columns, f64 value)"), six,
  1 << 31, 1 << 31, 0)
refused("expected a buffer: C may write there", fill,
  mw.zeros({6}, "f64"), 2, 3, 0)
refused("argument 1 x is f32[3]", total, ffi.buffer("f32", 3), 3)
refused("expected a buffer of f64", total, mw.zeros {3}, 3)
refused("expected a buffer of f64", total, "a string", 3)
refused("expected a buffer of f64", total, {1, 2}, 2)
refused("argument 2 n is 2.5, expected an integer of 32 bits", total, six, 2.5)
refused("argument 2 n is '3', expected a number", total, six, "3")
refused("argument 2 n is 4294967296, expected an integer of 32 bits", total, six, 1 << 32)
refused("there are 1 arguments, expected 2", total, six)
refused("there are 3 arguments, expected 2", total, six, 1, 2)
refused("argument 1 a is 3, expected a string or nil", joined, 3, nil)
refused("NUL character", joined, "a\0b", "c")
local message = refused("foreign.lua:", function() return (total(six, 1, 2)) end)
t.ok(message:find "total: there are 3", "errors name the function")

local found = fn("numbers", "f64*()")()
refused("nobody knows how long this memory is; p:view(n) says it", function() return found[1] end)
refused("nobody knows how long", function() return #found end)
t.is(found:view(3):totable(), {1.0, 2.0, 3.0}, "a pointer that C gives, once its length is known")
t.is(found:view(2, "f64", 2)[2], 3.0, "from another element on")
t.is(total(found, 2), 3.0, "it is passed on")
local opaque = fn("numbers", "void*()")()
refused('of what type? p:view(n, "f64")', opaque.view, opaque, 3)
t.is(opaque:view(3, "f64")[3], 3.0, "a pointer to nobody knows what")
local constant = fn("numbers", "const f64*()")():view(3)
refused("this memory is const", function() constant[1] = 2 end)
refused("expected one that may be written to: it is const", fill, constant, 1, 1, 0)

-- What is refused when the function is made -----------------------------------------------------

for signature, problem in pairs {
  ["f64(f64"] = "expected a comma or )", ["int(f64)"] = "did you mean i32?",
  ["fn(f64)"] = "no function is returned",
  ["f64(f64 x, f64 x)"] = "the same name", ["f64(fn* f)"] = "pointers already",
  ["f64(f64* x[])"] = "expected a number or a parameter's name", ["f64(f64* x[n)"] = "expected ]",
  ["f64(f64* x[n])"] = "no parameter has the name 'n'", ["f64(char x)"] = "did you mean str?",
  ["f64(f64* x[f], f64 f)"] = "that is a whole number",
  ["f64(f64* x[1*2*3*4*5])"] = "at most 4 factors", [""] = "expected the type of the result",
  ["f64(" .. ("f64,"):rep(24) .. "f64)"] = "too many parameters",
  ["f64(f64 " .. ("x"):rep(40) .. ")"] = "", ["f64(f64 x)\0"] = "NUL",
} do
  refused(problem, fn, "half", signature)
end
refused("has no function no_such", fn, "no_such", "f64(f64)")
refused("the library cannot be opened", ffi.fn,
  {library = "no_such.so", symbol = "x", signature = "f64(f64)"})
refused("symbol is nil, expected a string", ffi.fn, {signature = "f64(f64)"})
refused('did you mean "symbol"', ffi.fn, {symbl = "x", signature = "f64(f64)"})
refused("expected a table", ffi.fn, "x")

-- Buffers ---------------------------------------------------------------------------------------

for _, kind in ipairs {"f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"} do
  local b = ffi.buffer(kind, 3)
  b[2] = 100
  t.is({b[1] + 0, b[2] + 0, #b, b.type}, {0, 100, 3, kind}, "a buffer of " .. kind)
end
local low = ffi.buffer("i8", 1)
refused("element 1 is -129, expected an integer of 8 bits for i8", function() low[1] = -129 end)
refused("is 1.5, expected an integer of 8 bits", function() low[1] = 1.5 end)
refused("is nil, expected a number", function() low[1] = nil end)
refused("index 0 is out of range: the memory has 1 elements, counted from 1",
  function() return low[0] end)
refused("index 2 is out of range", function() low[2] = 1 end)
refused("index 1.5 is no integer", function() return low[1.5] end)
refused("it has copy,", function() return low.size end)
t.is(ffi.buffer("f64", 0):totable(), {}, "no elements")
t.is(ffi.buffer(mw.tensor {{1, 2}, {3, 4}}):tensor({2, 2}):totable(), {{1, 2}, {3, 4}},
  "from a tensor and back")
t.is(ffi.buffer("i64", mw.tensor({5, 6}, "i64")):totable(), {5, 6}, "a type and a tensor")
t.is(six:copy {1, 2, 3, 4, 5, 6}:totable(), {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, "copied from a list")
t.is(ffi.buffer("u8", {72, 105}):string(), "Hi", "bytes as a string")
refused("the table has 2 elements, expected 6", six.copy, six, {1, 2})
refused("the argument is f32[6], expected 6 elements of f64", six.copy, six, mw.zeros {6})
refused("the argument is f64[1]", six.copy, six, ffi.buffer("f64", 1))
refused("element 1 is 'x', expected a number", six.copy, six, {"x", 2, 3, 4, 5, 6})
refused("the argument is 3, expected a table", six.copy, six, 3)
refused("the memory has 6 elements, expected those of f64[4]", six.tensor, six, {4})
refused("there are no tensors of i8", low.tensor, low)
refused("n is nil", ffi.buffer, "f64")
refused("n is -1", ffi.buffer, "f64", -1)
refused("the type is 'f65'", ffi.buffer, "f65", 1)
refused("elements are too many", ffi.buffer, "f64", 1 << 60)
refused("argument 1 is 3, expected a buffer", six.copy, 3, 3)
local view = six:view(2, "f64", 3)
view[1] = 30
t.is(six[3], 30.0, "a view is the same memory")
t.is(six:view(12, "i32")[1], 0, "a view of another type")
refused("elements 6 to 7 of f64[6]", six.view, six, 2, "f64", 6)
refused("are not all in it", six.view, six, 13, "i32")
refused("are not all in it", six.view, six, -1)
refused("are not all in it", six.view, six, 1 << 62, "f64", 1 << 62)
refused("are not all in it", six.view, six, 1, "f64", 0)
local last = ffi.buffer("f64", {1, 2, 3}):view(2, "f64", 2):view(1, "f64", 2)
for _ = 1, 3 do collectgarbage() end
t.is(last[1], 3.0, "a view of a view keeps the buffer")

-- Structures ------------------------------------------------------------------------------------

local mixture = ffi.struct
  "i8 small, f64 wide, i16 middle, u8 name[5], void* link, f32 last"
local one = mixture {small = -3, wide = 2.5, middle = 300}
t.is(#one, 40, "its size is C's")
t.is(fn("use_mixture", "f64(void* m)")(one), 300.5, "its fields are where C has them")
t.is({one.last, one.wide, one.small}, {7.5, 2.5, -3}, "and so they are read")
one.middle = 7
t.is(one.middle, 7, "and written")
refused("the structure has no field 'left'", function() one.left = 3 end)
refused("element small is 200, expected an integer of 8 bits", function() one.small = 200 end)
refused("the structure has no field 'x'", mixture, {x = 1})
refused('"f65 x" is no field', ffi.struct, "f65 x")
refused('is no field', ffi.struct, "f64 x y")
refused('two fields "x"', ffi.struct, "f64 x, i32 x")
refused("expected fields such as", ffi.struct, "")

-- Callbacks -------------------------------------------------------------------------------------

local call_twice = fn("call_twice", "f64(fn f, f64 x)")
t.is(call_twice(ffi.callback(function(x) return 3 * x end, "f64(f64)"), 2), 18.0, "a callback")
t.is(call_twice(ffi.fn {library = "libm.so.6", symbol = "sqrt", signature = "f64(f64)"}, 16), 2.0,
  "a C function as a callback")
t.is(fn("call_small", "i32(fn f)")(ffi.callback(function(a, b) return a + b - 65500 end,
  "u8(i8, u16)")), 32, "small integers")
local told
fn("call_tell", "void(fn f, void* data)")(ffi.callback(function(text, data)
  told = text .. #data:view(6, "f64")
end, "void(str text, void* data)"), six)
t.is(told, "hello6", "a string and a pointer that was passed on")

local kept_view
local call_reduce = fn("call_reduce", "i64(fn f, i32 n)")
local function reduce(run, on_error)
  return ffi.callback(run, "i64(const f64* x[n], f64* y[n], i32 n)", {on_error = on_error})
end
t.is(call_reduce(reduce(function(x, y, n)
  y[1] = 40
  kept_view = y
  return #x + n + math.tointeger(x:tensor():sum():item())
end), 3), 52, "buffers whose length is another parameter's value")
refused("was handed to a callback, and may be used only while that runs",
  function() return kept_view[1] end)
refused("may be used only while that runs", total, kept_view, 1)
refused("may be used only while that runs", function() return kept_view:view(1) end)
refused("index 4 is out of range: the memory has 3", call_reduce,
  reduce(function(x) return x[4] end), 3)
refused("this memory is const", call_reduce, reduce(function(x) x[1] = 2 end), 3)
refused("the length of x is negative", call_reduce, reduce(function() return 0 end), -1)
t.is(pcall(call_reduce, reduce(function(x) return x and 1 or 2 end), 0), true, "NULL is nil")

-- What goes wrong in a callback
local calls = 0
local function fails(x)
  calls = calls + 1
  if calls > 1 then return x end
  error({code = 7})
end
local done, problem = pcall(call_twice, ffi.callback(fails, "f64(f64)"), 2)
t.is({done, problem.code, calls}, {false, 7, 1},
  "an error is raised as it is after C has returned; Lua is not called again")
refused("it returns nil, expected a number for f64", call_twice,
  ffi.callback(function() end, "f64(f64)"), 2)
refused("it returns 2.5, expected an integer", call_reduce, reduce(function() return 2.5 end), 3)
refused("attempt to yield across a C-call boundary", coroutine.wrap(function()
  return call_twice(ffi.callback(coroutine.yield, "f64(f64)"), 2)
end))
t.is(coroutine.wrap(function()
  return call_twice(ffi.callback(function(x)
    return coroutine.wrap(function() return x + 1 end)()
  end, "f64(f64)"), 2)
end)(), 4.0, "coroutines around and inside of a callback")
local deep
deep = ffi.callback(function(x) return call_twice(deep, x) end, "f64(f64)")
refused("stack overflow", call_twice, deep, 1)
t.is(call_twice(ffi.callback(function(x)
  return call_twice(ffi.callback(function(z) return z + 1 end, "f64(f64)"), x)
end, "f64(f64)"), 0), 4.0, "a callback that calls a function with a callback")
t.is(call_twice(ffi.callback(function(x)
  pcall(call_twice, ffi.callback(error, "f64(f64)"), x)
  return x + 1
end, "f64(f64)"), 0), 2.0, "an error inside that is caught inside")

local seen
local told_error = ffi.callback(function() error "no luck" end, "f64(f64)", {on_error = -1})
local outside = fn("call_in_thread", "f64(fn f, f64 x)")
t.is(select(2, pcall(function()
  return call_twice(ffi.callback(function(x)
    seen = x
    return x
  end, "f64(f64)"), 5)
end)), 5.0, "no error is left behind")
refused("no luck", call_twice, told_error, 1)
refused("a callback was called by another thread", outside, told_error, 1)
t.is(seen, 5.0, "and Lua was not run there")

local keep, call_kept = fn("keep", "void(fn f)"), fn("call_kept", "f64(f64 x)")
local kept = ffi.callback(function(x) return -x end, "f64(f64)")
keep(kept)
t.is(call_kept(3), -3.0, "a callback that C keeps")
kept = nil
for _ = 1, 3 do collectgarbage() end
t.ok(not kept)
refused("after it was collected", call_kept, 3)
t.is(call_twice(ffi.callback(function(x)
  collectgarbage()
  return x
end, "f64(f64)"), 2), 2.0, "garbage is collected inside")
for _ = 1, 2000 do ffi.callback(function(x) return x end, "f64(f64)") end
collectgarbage()
t.is(call_twice(ffi.callback(function(x) return x end, "f64(f64)"), 2), 2.0, "2000 callbacks")

refused("fn is 3, expected a function", ffi.callback, 3, "f64(f64)")
refused("it cannot return str", ffi.callback, print, "str(f64)")
refused("on_error is 'x', expected a number", ffi.callback, print, "f64(f64)", {on_error = "x"})
refused("on_error is 300, expected an integer from 0 to 255", ffi.callback, print, "u8(f64)",
  {on_error = 300})
refused("on_error is 1, expected nil", ffi.callback, print, "void(f64)", {on_error = 1})
refused('no option "on_eror"', ffi.callback, print, "f64(f64)", {on_eror = 1})
refused("expected a comma", ffi.callback, print, "f64(f64")
refused("expected an ffi.callback, an ffi.fn or nil", call_twice, print, 1)

-- In the middle of a program: gradients inside of a callback.
local w = mw.param(mw.tensor({2}, "f64"))
t.is(call_twice(ffi.callback(function(x)
  return mw.grad((w * w * x):sum(), {w})[1]:item()
end, "f64(f64)"), 1), 16.0, "a callback computes a gradient")
t.done()
