-- amounts.lua: how many and how large: elements and bytes of tensors, and numbers as text.

local measure = require "moonwalk.measure"

local amounts = {}

local BYTES = {f32 = 4, f64 = 8, i32 = 4, i64 = 8, u8 = 1, bool = 1}

---The elements of a tensor.
---@param t moonwalk.Tensor
---@return integer
function amounts.elements(t)
  local count = 1
  for _, length in ipairs(t.shape) do count = count * length end
  return count
end

---The bytes of a tensor's elements.
---@param t moonwalk.Tensor
---@return integer
function amounts.bytes(t) return amounts.elements(t) * BYTES[t.dtype] end

---A number by a format such as "%.5g"; a NaN without the sign that printf gives some.
---@param x number
---@param format string
---@return string
function amounts.number(x, format) return x ~= x and "nan" or format:format(x) end

---61706 as "61,706".
---@param n integer
---@return string
function amounts.grouped(n)
  return (("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

---"1 step", "3 steps", "61,706 parameters", "2 indices"
---@param n integer
---@param one string
---@param many string?  else with an s or es
---@return string
function amounts.count(n, one, many)
  local word = n == 1 and one or many or one .. (one:find "[sx]$" and "es" or "s")
  return ("%s %s"):format(amounts.grouped(n), word)
end

---A number of bytes with three digits: "8.12 MB".
---@param bytes integer
---@return string
function amounts.bytes_text(bytes)
  local size, unit = math.abs(bytes), "bytes"
  for _, larger in ipairs {"kB", "MB", "GB", "TB"} do
    if size < 1000 then break end
    size, unit = size / 1000, larger
  end
  return unit == "bytes" and ("%d bytes"):format(size)
    or ("%s %s"):format(measure.digits(size), unit)
end

return amounts
