-- options.lua: what an optimizer is given: its options, their bounds, and groups of parameters.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

local options = {}

---@class moonwalk.OptimizerOption
---@field name string
---@field default number|boolean
---@field low number?
---@field high number?

---A number's bounds, and what it is when nothing is said.
---@param name string
---@param default number|boolean
---@param low number? 0
---@param high number? math.huge
---@return moonwalk.OptimizerOption
function options.option(name, default, low, high)
  return {name = name, default = default, low = low or 0, high = high or math.huge}
end

-- Options of every optimizer, for all groups together.
options.COMMON = {
  options.option("accumulate", 1, 1),
  options.option("clip_value", math.huge), options.option("clip_norm", math.huge),
  options.option("average", 0, 0, 1), {name = "schedule", default = false},
}

---A value of an option, or what it is when nothing is said.
---@param where string
---@param given moonwalk.OptimizerOption
---@param value any
---@return any
function options.check(where, given, value)
  if given.name == "schedule" then
    local meta = getmetatable(value)
    if value and type(value) ~= "function" and not (meta and meta.__call) then
      check.fail(where, "schedule", value, "a function of the step, or one of optim.schedule")
    end
    return value or false
  elseif given.name == "accumulate" then
    return check.integer(where, given.name, value, 1, 1)
  elseif type(given.default) == "boolean" then
    return check.boolean(where, given.name, value, given.default)
  end
  return check.number(where, given.name, value, given.low, given.high, given.default)
end

local function check_parameter(where, name, p)
  if not (core.is_tensor(p) and core.is_param(p)) then
    check.fail(where, name, p, "a parameter, made by mw.param")
  end
end

---The parameters of an optimizer, and the group of each, from a list of parameters or of groups:
---{{net[1]:parameters(), lr = 0.1}, {net[2]:parameters()}}.
---@param where string
---@param given any
---@param list moonwalk.OptimizerOption[]
---@param known string[] their names
---@return moonwalk.Tensor[] parameters
---@return integer[] group_of each parameter
---@return table[] groups their own options
function options.parameters(where, given, list, known)
  if type(given) ~= "table" then
    check.fail(where, "the first argument", given, "a list of parameters: net:parameters()")
  elseif Module.is(given) then
    core.error(("%s: the first argument is the module %s, expected a list of parameters: "
      .. "net:parameters()"):format(where, given.class))
  elseif #given == 0 then
    core.error(where .. ": the list of parameters is empty; write net:parameters()")
  end
  local parameters, group_of, groups, seen = {}, {}, {}, {}
  local function add(name, tensors, group)
    for i, p in ipairs(tensors) do
      check_parameter(where, name:format(i), p)
      if seen[p] then
        core.error(("%s: %s stands there twice, the first time as number %d"):format(where,
          name:format(i), seen[p]))
      end
      parameters[#parameters + 1], group_of[#group_of + 1] = p, group
      seen[p] = #parameters
    end
  end
  if type(given[1]) ~= "table" then
    add("parameter %d", given, 1)
    return parameters, group_of, {{}}
  end
  for k, group in ipairs(given) do
    local name = ("group %d"):format(k)
    if type(group) ~= "table" or type(group[1]) ~= "table" or #group ~= 1 then
      check.fail(where, name, group, "a table such as {net[1]:parameters(), lr = 0.01}")
    end
    check.options(("%s: %s"):format(where, name), group, known, true)
    groups[k] = {}
    for _, each in ipairs(list) do
      if group[each.name] ~= nil then
        groups[k][each.name] = options.check(where, each, group[each.name])
      end
    end
    add(name .. ", parameter %d", group[1], k)
  end
  if #parameters == 0 then core.error(where .. ": the groups have no parameters") end
  return parameters, group_of, groups
end

---The metatable of groups: a group's options are its own, or the optimizer's.
---@param opt moonwalk.Optimizer
---@param where string
---@param known table<string, boolean>
---@return table
function options.group_class(opt, where, known)
  return {
    __index = opt,
    __newindex = function(group, key, value)
      if not known[key] then
        local names = {}
        for name in pairs(known) do names[#names + 1] = name end
        table.sort(names)
        local near = check.near(tostring(key), names)
        core.error(("%s: a group has no option %q%s"):format(where, tostring(key),
          near and (", did you mean %q?"):format(near) or "; it has " .. table.concat(names, ", ")))
      end
      rawset(group, key, value)
    end,
  }
end

-- Checks what has changed since it was checked last.
local function check_changed(list, holder, checked)
  for i = 1, #list do
    local name = list[i].name
    local value = holder[name]
    if value ~= checked[name] then
      options.check("step", list[i], value)
      checked[name] = value
    end
  end
end

---Checks an optimizer's options, which may have been set to anything since the step before.
---@param opt moonwalk.Optimizer
function options.check_all(opt)
  local checked = opt.checked
  check_changed(opt.spec.options, opt, checked)
  check_changed(options.COMMON, opt, checked)
  for k, group in ipairs(opt.groups) do
    if next(group) ~= nil then
      checked[k] = checked[k] or {}
      check_changed(opt.spec.options, group, checked[k])
    end
  end
end

return options
