-- elements.lua: tensors as flat lists, and positions in them, for tests that compare with loops.
local mw = require "moonwalk"
local t = require "tap"
local core = mw.core

local formats = {f32 = "<f", f64 = "<d", i32 = "<i4", i64 = "<i8", u8 = "B", bool = "B"}

local function flat(tensor)
  local format, bytes, list = formats[tensor.dtype], core.bytes(tensor), {}
  local size = string.packsize(format)
  for i = 1, #bytes // size do list[i] = format:unpack(bytes, (i - 1) * size + 1) end
  return list
end

local function count_of(shape)
  local count = 1
  for _, size in ipairs(shape) do count = count * size end
  return count
end

-- Position k (from 0) in row-major order as indices from 0.
local function indices(shape, k)
  local at = {}
  for axis = #shape, 1, -1 do
    at[axis] = k % shape[axis]
    k = k // shape[axis]
  end
  return at
end

-- Where indices lie in a list of that shape, from 1. Axes are matched from the last, and an axis
-- of size 1 is repeated.
local function place(shape, at)
  local k = 0
  for axis = 1, #shape do
    k = k * shape[axis] + (shape[axis] == 1 and 0 or at[axis + #at - #shape])
  end
  return k + 1
end

local function throughout(name, got, shape, dtype, want, tolerance)
  t.is({got.dtype, got.shape}, {dtype, shape}, name .. ": dtype and shape")
  t.near(flat(got), want, tolerance or 0, name .. ": values")
end

local function text(shape)
  return "{" .. table.concat(shape, ",") .. "}"
end

local function result_shape(a, b)
  local shape = {}
  for k = 0, math.max(#a, #b) - 1 do
    local x, y = a[#a - k] or 1, b[#b - k] or 1
    table.insert(shape, 1, x == 1 and y or x)
  end
  return shape
end

return {
  flat = flat, count_of = count_of, indices = indices, place = place, throughout = throughout,
  text = text, result_shape = result_shape, nan = 0 / 0, inf = math.huge,
}
