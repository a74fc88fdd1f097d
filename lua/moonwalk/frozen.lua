-- frozen.lua: parameters that are not trained for now.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local frozen = {}

local known = setmetatable({}, {__mode = "k"})
local changes = 0

---Whether optimizers pass over a parameter.
---@param parameter moonwalk.Tensor
---@return boolean
function frozen.is(parameter)
  return known[parameter] ~= nil
end

---All that are frozen and still in use. A weak table holds what was collected for a while longer.
---@return fun(): moonwalk.Tensor?
function frozen.all()
  local parameter
  return function()
    repeat parameter = next(known, parameter) until parameter == nil or core.is_tensor(parameter)
    return parameter
  end
end

---A number that is another one whenever something has been frozen or unfrozen.
---@return integer
function frozen.changes()
  return changes
end

---Freezes a parameter if another one is frozen.
---@param parameter moonwalk.Tensor
---@param other moonwalk.Tensor
function frozen.like(parameter, other)
  known[parameter] = known[other]
  changes = changes + 1
end

---Freezes the parameters of a module whose names match, or has them trained again.
---@param where string
---@param module moonwalk.Module
---@param pattern string? all when left out
---@param on boolean
---@return moonwalk.Module module
function frozen.set(where, module, pattern, on)
  pattern = check.text(where, "the pattern of names", pattern, "")
  if not pcall(string.find, "", pattern) then
    check.fail(where, "the pattern of names", pattern, "a Lua pattern such as \"^1%.\"")
  end
  changes = changes + 1
  local names, found = {}, false
  for name, parameter in module:named_parameters() do
    names[#names + 1] = name
    if name:find(pattern) then
      known[parameter], found = on or nil, true
    end
  end
  if pattern ~= "" and not found then
    core.error(("%s: no parameter matches %q; there are %s"):format(where, pattern,
      table.concat(names, ", ")))
  end
  return module
end

return frozen
