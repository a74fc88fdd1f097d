-- slice.lua: t:slice {...}, the parts of a tensor in Lua's way of counting.

local core = require "moonwalk.core"
local show = require "moonwalk.check".show

local function fail(axis, text, ...)
  core.error(("slice: axis %d: "):format(axis) .. text:format(...))
end

-- A position from 1, or from -1 at the end, as one from 1.
local function position(axis, size, value, what)
  local integer = math.type(value) and math.tointeger(value)
  if not integer then fail(axis, "%s is %s, expected an integer", what, show(value)) end
  local from_start = integer < 0 and size + 1 + integer or integer
  if from_start < 1 or from_start > size then
    fail(axis, "%s is %d, but the size is %d%s", what, integer, size,
      integer == 0 and "; it counts from 1" or "")
  end
  return from_start
end

-- Start, count and step of one axis, the start counted from 1.
local function range(axis, size, part)
  for key in pairs(part) do
    if key ~= 1 and key ~= 2 and key ~= 3 then
      fail(axis, "the range has the key %s, expected {first, last, step}", show(key))
    end
  end
  local step = part[3] or 1
  if math.type(step) ~= "integer" or step == 0 then
    fail(axis, "step is %s, expected an integer other than 0", show(step))
  end
  local first, last = part[1] or (step > 0 and 1 or -1), part[2] or (step > 0 and -1 or 1)
  if size == 0 and not (part[1] or part[2]) then return 1, 0, step end
  if last == 0 and step > 0 then return 1, 0, step end -- {1, n} with n = 0
  first, last = position(axis, size, first, "first"), position(axis, size, last, "last")
  return first, math.max(0, (last - first) // step + 1), step
end

---A part of a tensor: for each axis a range {first, last, step}, both ends included and counted
---from 1, negative from the end; {} or false for the whole axis; or a number, which picks that
---entry and drops the axis. Axes that are not named stay whole.
---
---    x:slice {{1, 10}, false, 3}     -- entries 1 to 10 of axis 1, entry 3 of axis 3
---    x:slice {{-1, 1, -1}}           -- axis 1 backwards
---
---@param t moonwalk.Tensor
---@param parts table
---@return moonwalk.Tensor
local function slice(t, parts)
  if not core.is_tensor(t) then core.error("slice: the first argument is no tensor") end
  if type(parts) ~= "table" then
    core.error(("slice: the parts are %s, expected a table such as {{1, 2}}"):format(show(parts)))
  end
  if parts.start or parts.count then return core.call("slice", t, parts) end -- the op itself
  local shape = t.shape
  if #parts > #shape then
    core.error(("slice: there are %d parts, but the tensor is %s"):format(#parts, core.spec(t)))
  end
  for key in pairs(parts) do
    if math.type(key) ~= "integer" or key < 1 or key > #shape then
      core.error(("slice: the parts have the key %s, but the tensor is %s"):format(show(key),
        core.spec(t)))
    end
  end
  local start, count, step, kept = {}, {}, {}, {}
  for axis, size in ipairs(shape) do
    local part = parts[axis] or {}
    if type(part) == "table" then
      start[axis], count[axis], step[axis] = range(axis, size, part)
      kept[#kept + 1] = count[axis]
    else
      start[axis], count[axis], step[axis] = position(axis, size, part, "the index"), 1, 1
    end
  end
  local y = core.call("slice", t, {start = start, count = count, step = step})
  return #kept == #shape and y or core.call("reshape", y, {shape = kept})
end

return slice
