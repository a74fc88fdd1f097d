-- apply.lua: classes of layers without parameters that apply one op; their options are its
-- attributes.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

-- An option as the op's schema describes it. Of what is a list the op itself says more.
local function check_option(where, attr, value)
  if value == nil then return end
  if attr.type == "choice" then
    check.choice(where, attr.name, value, attr.choices)
  elseif attr.type == "bool" then
    check.boolean(where, attr.name, value, false)
  elseif attr.type == "ints" then
    if math.type(value) ~= "integer" and type(value) ~= "table" then
      check.fail(where, attr.name, value, "a whole number or a list of them")
    end
  elseif type(value) ~= "number" then
    check.fail(where, attr.name, value, "a number")
  end
end

-- The attribute that needs no name: the only one there is.
local function main_of(schema)
  return #schema == 1 and schema[1].name or nil
end

---@param class string
---@param op string
---@return table class
local function apply(class, op)
  local Layer = Module:extend(class)
  local where = "nn." .. class

  function Layer:init(given)
    local known, schema = {}, (core.op_info(op) or {}).attrs or {}
    for i, attr in ipairs(schema) do known[i] = attr.name end
    local main = main_of(schema)
    options.table(where, given, main and 1 or 0, known)
    local attributes = options.pick(given, known)
    if main then attributes[main] = options.first(where, given, main) end -- LeakyReLU {0.2}
    for _, attr in ipairs(schema) do
      local value = attributes[attr.name]
      if value == nil and attr.default == nil then
        check.fail(where, attr.name, value, ("a value: %s"):format(attr.doc))
      end
      check_option(where, attr, value)
    end
    self.applied = core.prepare(op, next(attributes) and attributes)
    self.description = next(given) and options.describe(class, given, known)
  end

  Layer.forward = Module.applying()

  return Layer
end

return apply
