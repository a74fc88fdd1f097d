-- options.lua: the arguments of the shipped layers: {in, out, kernel = 3, ...}.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local options = {}

---Checks a layer's table: at most `positions` values without a name, and known names.
---@param where string
---@param given any
---@param positions integer
---@param known string[]
---@return table
function options.table(where, given, positions, known)
  if type(given) ~= "table" or core.is_tensor(given) then
    check.fail(where, "its argument", given, "a table: write " .. where .. " {...}")
  end
  check.options(where, given, known, true)
  for key in pairs(given) do
    local is_position = math.type(key) == "integer" and key >= 1 and key <= positions
    if type(key) ~= "string" and not is_position then
      core.error(("%s: [%s] is %s; without a name it takes %d value%s%s"):format(where,
        check.show(key), check.show(given[key]), positions, positions == 1 and "" or "s",
        #known > 0 and ", by name " .. table.concat(known, ", ") or ""))
    end
  end
  return given
end

---Checks a whole number, or a list of them of some lengths: kernel = 3, kernel = {3, 5}.
---@param where string
---@param name string
---@param value any
---@param low integer
---@param lengths table<integer|string, boolean|string> one of options.SIZES or options.EDGES
---@param fallback any? for nil; required when there is none
---@return integer|integer[]
function options.sizes(where, name, value, low, lengths, fallback)
  if value == nil and fallback then return fallback end
  local function is_size(v) return math.type(v) == "integer" and v >= low end
  if is_size(value) then return value end
  if type(value) == "table" and lengths[#value] then
    local good = true
    for _, item in ipairs(value) do good = good and is_size(item) end
    if good then return value end
  end
  check.fail(where, name, value, ("a whole number of at least %d%s"):format(low, lengths.text))
  return low
end

---Checks the sizes that a layer is given without a name, of which the first, that of its input, may
---be left out.
---@param where string
---@param given table
---@param count integer how many there are
---@param ... string what each of them is
function options.open(where, given, count, ...)
  local names, left_out = {...}, given[count] == nil and 1 or 0
  for i = 1, count - left_out do
    check.integer(where, ("%s, [%d],"):format(names[i + left_out], i), given[i], 1)
  end
end

---The dtype that a layer is given: nil when none is.
---@param where string
---@param given table
function options.dtype(where, given)
  check.choice(where, "dtype", given.dtype, {"f32", "f64"}, "f32")
end

---The dtype of the parameters of a layer that its first input decides.
---@param given table
---@param x moonwalk.Tensor
---@return string
function options.dtype_of(given, x)
  return given.dtype or x.dtype == "f64" and "f64" or "f32"
end

---The size of an axis of a layer's first input, of which it takes over a size.
---@param where string
---@param x any
---@param axis integer from the end when negative
---@param rank integer axes that x has at least
---@return integer
function options.size_of(where, x, axis, rank)
  local shape = core.is_tensor(x) and x.shape
  if not shape or #shape < rank then
    check.fail(where, "the first input", x, ("a tensor of at least %d ax%s"):format(rank,
      rank == 1 and "is" or "es"))
  end
  local size = shape[axis < 0 and #shape + 1 + axis or axis]
  if size < 1 then
    core.error(("%s: the first input is %s, whose axis %d is empty"):format(where, check.show(x),
      axis))
  end
  return size
end

---A copy of a layer's table.
---@param given table
---@return table
function options.copy(given)
  local copy = {}
  for key, value in pairs(given) do copy[key] = value end
  return copy
end

-- For images of 1, 2 and 3 axes: the lengths of a list of sizes, and of a list of edges.
---@type table<integer|string, boolean|string>[]
options.SIZES = {
  {[1] = true, text = ""},
  {[1] = true, [2] = true, text = " or {height, width}"},
  {[1] = true, [3] = true, text = " or {depth, height, width}"},
}
---@type table<integer|string, boolean|string>[]
options.EDGES = {
  {[1] = true, [2] = true, text = " or {left, right}"},
  {[1] = true, [2] = true, [4] = true, text = " or {top, left, bottom, right}"},
  {[1] = true, [3] = true, [6] = true,
    text = " or {depth, height, width} or {front, top, left, back, bottom, right}"},
}

---The sizes of `rank` axes of what sizes() gives.
---@param value integer|integer[]
---@param rank integer
---@return integer[]
function options.spread(value, rank)
  local list = {}
  for i = 1, rank do list[i] = type(value) == "table" and (value[i] or value[1]) or value end
  return list
end

---The value of an option that may also stand as the first without a name: Dropout {0.5} or
---Dropout {p = 0.5}.
---@param where string
---@param given table
---@param name string
---@return any
function options.first(where, given, name)
  if given[1] ~= nil and given[name] ~= nil then
    core.error(("%s: the %s is given twice, as [1] and as %s"):format(where,
      name == "kernel" and "window" or name, name))
  end
  if given[1] ~= nil then return given[1] end
  return given[name]
end

local function show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  return "{" .. table.concat(value, ", ") .. "}"
end

---The layer as it would be written: Conv2d {1, 6, kernel = 5}. Functions are left out.
---@param class string
---@param given table
---@param known string[]
---@return string
function options.describe(class, given, known)
  local parts = {}
  for i, value in ipairs(given) do parts[i] = show(value) end
  for _, name in ipairs(known) do
    local value = given[name]
    if value ~= nil and type(value) ~= "function" then
      parts[#parts + 1] = ("%s = %s"):format(name, show(value))
    end
  end
  return ("%s {%s}"):format(class, table.concat(parts, ", "))
end

---A table with some of another's fields: a layer's attributes for its op.
---@param given table
---@param names string[]
---@return table
function options.pick(given, names)
  local picked = {}
  for _, name in ipairs(names) do picked[name] = given[name] end
  return picked
end

return options
