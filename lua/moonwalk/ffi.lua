-- ffi.lua: mw.ffi, C functions that exist already: as ops, to be called, and to be given callbacks.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local ffi = {}

local op_fields = {"name", "doc", "example", "library", "symbol", "signature", "gradient", "infer",
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
---
---A pointer that is declared with its length, `const f64* x[n*m]`, is checked to have that many
---elements. `void* p` is an address, for which infer gives a buffer or a pointer.
---@param description table  name, library, symbol (else name), signature, gradient, infer, serial
---@return function  mw.NAME
function ffi.op(description)
  if type(description) ~= "table" then
    check.fail("ffi.op", "the argument", description, "a table")
  end
  check.options("ffi.op", description, op_fields)
  local name = check.text("ffi.op", "name", description.name)
  local where = "ffi.op " .. name
  local op = {
    name = name,
    doc = description.doc and check.text(where, "doc", description.doc),
    example = description.example and check.text(where, "example", description.example),
    library = description.library and check.path(where, "library", description.library),
    symbol = check.path(where, "symbol", description.symbol or name),
    signature = check.path(where, "signature", description.signature),
    gradient = function_or_nil(where, "gradient", description.gradient),
    infer = function_or_nil(where, "infer", description.infer),
    serial = check.boolean(where, "serial", description.serial, false) or nil,
  }
  core.foreign(op, description.library or "the program")
  return core.op(name)
end

---A C function in a shared library, to be called from Lua.
---
---    local hypot = mw.ffi.fn {library = "libm.so.6", symbol = "hypot",
---                             signature = "f64(f64 x, f64 y)"}
---    print(hypot(3, 4))   -- 5.0
---
---Numbers are f32, f64, i8 to i64 and u8 to u64; `str` is a C string; a pointer such as `f64* x`
---takes a buffer of that type, and when it is const a tensor too, whose value is copied; `void*`
---takes any buffer, or what a function gave; `fn` takes a callback. nil is NULL. A pointer with a
---length, `f64* x[n]`, is checked to have so many elements. That the function is what the
---signature says cannot be checked: a wrong one reads and writes memory that is not its own.
---@param description table  library (else the program itself), symbol, signature
---@return function
function ffi.fn(description)
  if type(description) ~= "table" then
    check.fail("ffi.fn", "the argument", description, "a table")
  end
  check.options("ffi.fn", description, {"library", "symbol", "signature"})
  local library = description.library
  return core.ffi_function(library and check.path("ffi.fn", "library", library),
    check.path("ffi.fn", "symbol", description.symbol),
    check.path("ffi.fn", "signature", description.signature))
end

---A Lua function as the address of a C function, for parameters of the type `fn`.
---
---    local function order(a, b) return a[1] < b[1] and -1 or 1 end
---    local compare = mw.ffi.callback(order, "i32(const f64* a[1], const f64* b[1])")
---
---Pointers come as views: v[i] counts from 1 and is checked when the signature declares the length;
---they end with the call. An error in the function is raised when the C function that called has
---returned; until then the callback returns `on_error` (0) and the function is not called again.
---It is called in the thread that runs Lua, while a function of ffi.fn runs. Keep the callback as
---long as C has its address.
---@param fn function
---@param signature string
---@param options? {on_error: number}
---@return userdata
function ffi.callback(fn, signature, options)
  if type(fn) ~= "function" then check.fail("ffi.callback", "fn", fn, "a function") end
  check.path("ffi.callback", "signature", signature)
  options = check.options("ffi.callback", options, {"on_error"})
  return core.ffi_callback(fn, signature, options.on_error)
end

---Memory for C to read and write: zeros, or a copy of a tensor or of a list of numbers.
---
---    local x = mw.ffi.buffer("f64", 3)       x[1] = 2.5; print(#x, x[1], x.type)
---    local y = mw.ffi.buffer("f64", {1, 2})  y:totable()
---    local z = mw.ffi.buffer(tensor)         z:tensor {2, 3}
---
---It is aligned to 64 bytes and lives as long as Lua knows it. Methods: copy(from), tensor(shape?),
---totable(), string(), view(n, type?, first?).
---@param what string|mw.tensor  a type (f32, f64, i8 to i64, u8 to u64), or a tensor
---@param n? integer|table|mw.tensor  how many elements, or which
---@return userdata
function ffi.buffer(what, n)
  if core.is_tensor(what) then what, n = what.dtype, what end
  check.path("ffi.buffer", "the type", what)
  local count = n
  if core.is_tensor(n) then
    count = 1
    for _, size in ipairs(n.shape) do count = count * size end
  elseif type(n) == "table" then
    count = #n
  end
  local buffer = core.ffi_buffer(what, check.integer("ffi.buffer", "n", count, 0))
  return count == n and buffer or buffer:copy(n)
end

-- One field of a structure, "f64 x", or several, "u8 name[16]"; returns its size and its alignment.
local function read_field(types, text)
  local kind, name, count = text:match "^%s*(%w+)%s+([%a_][%w_]*)%s*$"
  if not kind then
    kind, name, count = text:match "^%s*(%w+)%s+([%a_][%w_]*)%s*%[%s*(%d+)%s*%]%s*$"
  end
  local known = types[kind] or text:match "^%s*void%*" and types.u64
  if not kind then kind, name = text:match "^%s*(void)%*%s*([%a_][%w_]*)%s*$" end
  if not name or not known then
    core.error(("ffi.struct: %q is no field, expected one such as \"f64 x\""):format(text))
  end
  return name, known[1] * math.tointeger(count or 1), known[1],
    not count and kind ~= "void" and known[2]
end

---A C structure, laid out as C does it.
---
---    local point = mw.ffi.struct "i32 id, f64 x, f64 y"
---    local p = point {x = 1.5}   -- the other fields are 0
---    p.y = 2; print(p.x, #p)     -- 1.5  24
---
---A structure is a buffer of bytes: it is passed where `void*` is taken. Fields are numbers; room
---is left for `u8 name[16]` and `void* p`, which have no name in Lua.
---@param fields string
---@return fun(values?: table): userdata
function ffi.struct(fields)
  check.path("ffi.struct", "fields", fields)
  local types, places, size, widest = core.ffi_types(), {}, 0, 1
  for text in fields:gmatch "[^,;]+" do
    local name, bytes, align, code = read_field(types, text)
    if places[name] ~= nil then
      core.error(("ffi.struct: there are two fields %q"):format(name))
    end
    size = (size + align - 1) // align * align
    places[name] = code and size * 16 + code or false
    size, widest = size + bytes, math.max(widest, align)
  end
  if size == 0 then check.fail("ffi.struct", "fields", fields, 'fields such as "i32 n, f64 x"') end
  size = (size + widest - 1) // widest * widest
  return function(values)
    local structure = core.ffi_buffer("u8", size, places)
    for name, value in pairs(values or {}) do structure[name] = value end
    return structure
  end
end

for _, name in ipairs {"op", "fn", "callback", "buffer", "struct"} do
  ffi[name] = core.entry(ffi[name])
end

return ffi
