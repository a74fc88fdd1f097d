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
      core.error(("%s: [%s] is %s; without a name it takes %d values%s"):format(where,
        check.show(key), check.show(given[key]), positions,
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
---@param lengths table<integer, boolean>
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
  check.fail(where, name, value,
    ("a whole number of at least %d or %s"):format(low, lengths[4] and "{top, left, bottom, right}"
      or "{height, width}"))
  return low
end

---@type table<integer, boolean>
options.PAIR = {[1] = true, [2] = true}
---@type table<integer, boolean>
options.EDGES = {[1] = true, [2] = true, [4] = true}

---Height and width of what sizes() gives for a pair.
---@param value integer|integer[]
---@return integer height
---@return integer width
function options.pair(value)
  if type(value) == "table" then return value[1], value[2] or value[1] end
  return value, value
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
