-- split.lua: mw.split and mw.chunk, which cut a tensor into a list of parts. They are functions
-- over the op slice, since how many outputs an op has cannot depend on its attributes.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

-- The axis, from 1, and its size.
local function axis_of(where, t, options)
  if not core.is_tensor(t) then check.fail(where, "the first argument", t, "a tensor") end
  local shape = t.shape
  local axis = check.options(where, options, {"axis"}).axis
  if axis == nil then axis = 1 end
  local from_start = math.type(axis) and math.tointeger(axis)
  if from_start and from_start < 0 then from_start = from_start + #shape + 1 end
  if not from_start or not shape[from_start] then
    core.error(("%s: axis is %s, but the tensor is %s"):format(where, check.show(axis),
      core.spec(t)))
  end
  return from_start, shape[from_start]
end

-- Entries first .. first+count-1 along an axis.
local function part(t, axis, first, count)
  local start, counts = {}, t.shape
  for k = 1, #counts do start[k] = 1 end
  start[axis], counts[axis] = first, count
  if count == 0 then start[axis] = 1 end
  return core.call("slice", t, {start = start, count = counts})
end

-- Parts of n entries, the last one smaller where they do not come out even. Of nothing there is one
-- part, which is empty.
local function parts_of(t, axis, size, n)
  local parts = {}
  for first = 1, math.max(size, 1), n do
    parts[#parts + 1] = part(t, axis, first, math.min(n, size - first + 1))
  end
  return parts
end

local function check_sizes(t, axis, size, sizes)
  local total = 0
  for i = 1, #sizes do
    total = total + check.integer("split", ("sizes[%d]"):format(i), sizes[i], 0)
  end
  for key in pairs(sizes) do
    if math.type(key) ~= "integer" or key < 1 or key > #sizes then
      core.error(("split: the sizes have the key %s; options such as the axis are given in a "
        .. "table after them: split({2, 3}, {axis = 1})"):format(check.show(key)))
    end
  end
  if total ~= size then
    core.error(("split: the sizes come to %d, but axis %d of the tensor, which is %s, has %d")
      :format(total, axis, core.spec(t), size))
  end
end

---Cuts a tensor along an axis into parts of the sizes given; or of n entries each, the last one
---smaller where they do not come out even. mw.concat puts the list together again.
---
---    local a, b = table.unpack(x:split({2, 3}, {axis = 2}))
---    for _, part in ipairs(x:split(10)) do ... end
---
---@param t moonwalk.Tensor
---@param sizes integer|integer[]
---@param options? {axis?: integer}  the first axis if not given; negative from the end
---@return moonwalk.Tensor[]
local function split(t, sizes, options)
  local axis, size = axis_of("split", t, options)
  if type(sizes) ~= "table" or core.is_tensor(sizes) then
    local n = type(sizes) == "number" and math.tointeger(sizes)
    if not n or n < 1 then
      check.fail("split", "the size of the parts", sizes,
        "a whole number of at least 1, or a list of sizes")
    end
    return parts_of(t, axis, size, n)
  end
  check_sizes(t, axis, size, sizes)
  local parts, first = {}, 1
  for i, count in ipairs(sizes) do
    parts[i] = part(t, axis, first, math.tointeger(count))
    first = first + count
  end
  return parts
end

---Cuts a tensor along an axis into at most n parts of one size, the last one smaller where they do
---not come out even: 5 entries in 3 parts are 2, 2 and 1. There are fewer than n parts where fewer
---of that size hold all: 5 entries in 4 parts are 2, 2 and 1 too.
---@param t moonwalk.Tensor
---@param n integer
---@param options? {axis?: integer}  the first axis if not given; negative from the end
---@return moonwalk.Tensor[]
local function chunk(t, n, options)
  local axis, size = axis_of("chunk", t, options)
  n = check.integer("chunk", "the number of parts", n, 1)
  return parts_of(t, axis, size, math.max(1, size // n + (size % n > 0 and 1 or 0)))
end

return {split = split, chunk = chunk}
