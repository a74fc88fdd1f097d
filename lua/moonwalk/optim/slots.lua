-- slots.lua: what an optimizer keeps for each parameter: tensors of its shape, by name.

local core = require "moonwalk.core"

local slots = {}

-- What parameter i is called in the state: by its name, or its place where that tells nothing. Of
-- two networks that are trained together, both may have a "1.weight".
local function state_name(opt, i)
  local own = core.name(opt.parameters[i])
  if own == "" then return tostring(i) end
  for k, other in ipairs(opt.parameters) do
    if k ~= i and core.name(other) == own then return ("%s#%d"):format(own, i) end
  end
  return own
end

---What a slot of parameter i is called in the state: "1.weight.momentum".
---@param opt moonwalk.Optimizer
---@param i integer
---@param name string
---@return string
function slots.name(opt, i, name)
  return ("%s.%s"):format(state_name(opt, i), name)
end

-- What is kept for each parameter besides what the rule keeps: the sum of gradients, and the
-- average.
slots.ADDED, slots.AVERAGE = "accumulated", "average"

---The slots of parameter i, in which there are those of some names: zeros at first, but for the
---average.
---@param opt moonwalk.Optimizer
---@param i integer
---@param names string[]
---@return table<string, moonwalk.Tensor>
function slots.of(opt, i, names)
  local own, p = opt.slots[i] or {}, opt.parameters[i]
  opt.slots[i] = own
  for _, name in ipairs(names) do
    if not own[name] then
      local value = name == slots.AVERAGE and core.tensor(p) or core.full(p.shape, 0, p.dtype)
      own[name] = core.param(value, slots.name(opt, i, name))
    end
  end
  return own
end

return slots
