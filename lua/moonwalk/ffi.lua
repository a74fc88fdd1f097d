-- ffi.lua: mw.ffi, C functions that exist already as ops.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local ffi = {}

local fields = {"name", "doc", "example", "library", "symbol", "signature", "gradient", "infer",
  "serial"}

local function function_or_nil(where, name, value)
  if value ~= nil and type(value) ~= "function" then
    check.fail(where, name, value, "a function")
  end
  return value
end

---Makes an op of a C function in a shared library.
---
---    mw.ffi.op {name = "lgamma", library = "libm.so.6", signature = "f64(f64)"}
---
---A function of numbers works on each element of its inputs, which broadcast. A function of buffers
---works on whole tensors: const pointers are inputs, other pointers outputs; `infer` gets a table
---{shape, dtype, count} for each input and returns the outputs' shapes and the numbers by name:
---
---    mw.ffi.op {name = "dscale", library = "libx.so", symbol = "x_scale",
---               signature = "void(const f64* x, f64* y, i64 n)",
---               infer = function(x) return {y = x.shape, n = x.count} end}
---
---`gradient(inputs ..., outputs ..., gradients of the outputs ...)` returns the gradients of the
---inputs, built out of ops. Types are f32, f64, i32, i64 and u8. That the function is what the
---signature says cannot be checked: a wrong one reads and writes memory that is not its own.
---@param description table  name, library, symbol (else name), signature, gradient, infer, serial
---@return function  mw.NAME
function ffi.op(description)
  if type(description) ~= "table" then
    check.fail("ffi.op", "the argument", description, "a table")
  end
  check.options("ffi.op", description, fields)
  local name = check.text("ffi.op", "name", description.name)
  local where = "ffi.op " .. name
  local op = {
    name = name,
    doc = description.doc and check.text(where, "doc", description.doc),
    example = description.example and check.text(where, "example", description.example),
    library = description.library and check.text(where, "library", description.library),
    symbol = check.text(where, "symbol", description.symbol, name),
    signature = check.text(where, "signature", description.signature),
    gradient = function_or_nil(where, "gradient", description.gradient),
    infer = function_or_nil(where, "infer", description.infer),
    serial = check.boolean(where, "serial", description.serial, false) or nil,
  }
  core.foreign(op, description.library or "the program")
  return core.op(name)
end

return ffi
