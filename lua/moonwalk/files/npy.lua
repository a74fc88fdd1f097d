-- npy.lua: reads and writes NumPy's .npy format, one array a file.
--
-- A file is "\x93NUMPY", a version, the length of a header, the header, and the data. The header
-- is a Python dict such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
-- (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Elements of types that
-- tensors have not are read as the type that holds them all: <i2 and <u2 as i32, <u4 as i64, <f2
-- as f32.

local core = require "moonwalk.core"

local npy = {}

local DESCRIPTIONS = {
  f32 = "<f4", f64 = "<f8", i32 = "<i4", i64 = "<i8", u8 = "|u1", bool = "|b1",
}
-- By what stands behind the order of bytes.
local DTYPES = {
  f2 = "f32", f4 = "f32", f8 = "f64", i1 = "i32", i2 = "i32", i4 = "i32", i8 = "i64", u1 = "u8",
  u2 = "i32", u4 = "i64", b1 = "bool",
}
local MOST_HEADER = 1 << 16 -- bytes; what NumPy writes for these elements is far shorter
local MOST_BYTES = 1 << 46 -- of any tensor; no shape of an empty one may be larger either

-- The sizes in "(2, 3)", "(5,)" or "()"; nil when it is none of these.
local function parse_shape(text)
  local inner = text:match("^%((.*)%)$")
  if not inner then return nil end
  local shape = {}
  for size in (inner:gsub(",%s*$", "") .. ","):gmatch("([^,]*),") do
    if size:match("^%s*%d+%s*$") and #size <= 18 then
      shape[#shape + 1] = math.tointeger(tonumber(size))
    elseif inner ~= "" then
      return nil
    end
  end
  return shape
end

-- The type, shape and order of a header, or nil and why.
local function parse_header(text)
  local description = text:match("'descr'%s*:%s*'([^']*)'")
  local order = text:match("'fortran_order'%s*:%s*(%a+)")
  local shape = parse_shape(text:match("'shape'%s*:%s*(%b())") or "")
  if not (description and shape and (order == "True" or order == "False")) then
    return nil, "its header cannot be read"
  end
  local ends, kind = description:match "^([<>|=])(%a%d)$"
  if not DTYPES[kind] then
    return nil, ("its elements are %q; Moonwalk reads f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 b1"):format(
      description)
  end
  if #shape > 8 then return nil, ("it has rank %d, at most 8 is possible"):format(#shape) end
  return {kind = kind, big = ends == ">", fortran = order == "True"}, shape
end

-- The tensor of bytes as the file has them.
local function to_tensor(data, form, shape)
  local kind, size = form.kind:sub(1, 1), tonumber(form.kind:sub(2))
  local dtype = DTYPES[form.kind]
  if form.big and size > 1 or kind ~= "b" and DESCRIPTIONS[dtype]:sub(2) ~= form.kind then
    data = core.widen(data, kind, size, form.big)
  end
  if not form.fortran or #shape < 2 then return core.from_bytes(data, dtype, shape) end
  local reversed, axes = {}, {}
  for i = 1, #shape do reversed[i], axes[i] = shape[#shape + 1 - i], #shape + 1 - i end
  local tensor = core.call("transpose", core.from_bytes(data, dtype, reversed), {perm = axes})
  core.eval(tensor)
  return tensor
end

---Reads an open file of a known size.
---@param file file*
---@param size integer
---@return moonwalk.Tensor?
---@return string?
function npy.read(file, size)
  local magic = file:read(8)
  if not magic or #magic < 8 or magic:sub(1, 6) ~= "\x93NUMPY" then
    return nil, "not an .npy file"
  end
  local major = magic:byte(7)
  if major < 1 or major > 3 then return nil, ("its version %d is unknown"):format(major) end
  local wide = major > 1
  local length = file:read(wide and 4 or 2)
  if not length or #length < (wide and 4 or 2) then return nil, "truncated" end
  local header_size = string.unpack(wide and "<I4" or "<I2", length)
  if header_size > MOST_HEADER then
    return nil, ("its header would have %d bytes, more than %d"):format(header_size, MOST_HEADER)
  end
  local left = size - 8 - #length - header_size
  local text = left >= 0 and (header_size == 0 and "" or file:read(header_size))
  if not text then return nil, "truncated" end
  local form, shape = parse_header(text)
  if not form then return nil, shape end
  local bytes, empty = tonumber(form.kind:sub(2)), false
  for _, n in ipairs(shape) do
    empty = empty or n == 0
    if n > MOST_BYTES // bytes then return nil, "its shape is too large" end
    bytes = bytes * math.max(n, 1)
  end
  if empty then bytes = 0 end
  if bytes ~= left then
    return nil, ("%s [%s] takes %d bytes, its data has %d"):format(form.kind,
      table.concat(shape, ","), bytes, left)
  end
  local data = bytes > 0 and file:read(bytes) or ""
  if #data ~= bytes then return nil, "truncated" end
  if form.kind == "b1" and data:find "[^\0\1]" then return nil, "a bool is neither 0 nor 1" end
  return to_tensor(data, form, shape)
end

---Writes a tensor to an open file, in version 1.0 of the format.
---@param file file*
---@param tensor moonwalk.Tensor
---@return true?
---@return string?
function npy.write(file, tensor)
  local shape = table.concat(tensor.shape, ", ")
  if #tensor.shape == 1 then shape = shape .. "," end
  local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(
    DESCRIPTIONS[tensor.dtype], shape)
  header = header .. (" "):rep(-(#header + 11) % 64) .. "\n" -- the data begins at a multiple of 64
  local done, why = file:write("\x93NUMPY\1\0", string.pack("<s2", header), core.bytes(tensor))
  return done and true, why
end

return npy
