-- unreached.lua: why no gradient of a loss arrives at a parameter.

local core = require "moonwalk.core"
local below = require "moonwalk.look.below"
local names = require "moonwalk.look.names"
local screen = require "moonwalk.look.screen"
local words = require "moonwalk.look.words"

local unreached = {}

-- The ids of all nodes that are made of one, itself among them, in the order of making.
local function made_of(nodes, id)
  local seen, waiting, list = {[id] = true}, {id}, {}
  while #waiting > 0 do
    local at = table.remove(waiting)
    list[#list + 1] = at
    for _, user in ipairs(nodes[at].users) do
      if not seen[user] then
        seen[user] = true
        waiting[#waiting + 1] = user
      end
    end
  end
  table.sort(list)
  return list
end

local function is_float(t) return t.dtype == "f32" or t.dtype == "f64" end

-- Why an op hands nothing on.
local function because(it)
  local op = it.node.op
  if op == "stop_gradient" then return "it was detached there: stop_gradient lets none pass" end
  if not is_float(it.tensor) then
    return ("%s gives %s, and only floating-point numbers have gradients"):format(op,
      core.spec(it.tensor))
  end
  return ("%s has no gradient in it"):format(op)
end

-- The node nearest to the parameter that lets no gradient of its own pass.
local function barrier(nodes, id, parameter, traced)
  local list = made_of(nodes, id)
  for _, at in ipairs(list) do
    local it = nodes[at]
    if at ~= id and (not is_float(it.tensor) or not core.reaches(it.tensor, {parameter})) then
      return it
    end
  end
  local last = traced[#traced] -- ops on the way hand nothing on, though they could
  return last and nodes[core.node(last.tensor).id]
end

local function place(it, name_of)
  local name = name_of(names.key(it.tensor))
  local origin = it.node.origin ~= "" and it.node.origin
  if name and origin then return ("%s, at %s"):format(name, origin) end
  return name or origin and "at " .. origin
end

-- A parameter below the loss that has the same name, and is another one.
local function namesake(nodes, parameter)
  local name, spec = core.name(parameter), core.spec(parameter)
  for _, it in pairs(nodes) do
    local same = name ~= "" and it.node.name == name and core.spec(it.tensor) == spec
    if it.node.kind == "parameter" and same then return true end
  end
end

local function absent(nodes, parameter, loss_name, name)
  local text = ("%s is not computed from %s"):format(loss_name, name)
  if namesake(nodes, parameter) then
    return text .. ", but from another parameter of that name: was the network made again after "
      .. loss_name .. " was built?"
  end
  local list = {}
  for _, it in pairs(nodes) do
    if it.node.kind == "parameter" then list[#list + 1] = it.node.name end
  end
  if #list == 0 then return text .. ": it depends on no parameter at all" end
  return text .. ("; why(%s) lists the parameters that it depends on")
    :format(loss_name == "the loss" and "loss" or loss_name)
end

---@class moonwalk.WhyNot
---@field loss string
---@field parameter string
---@field norm number  0
---@field reason string
---@field barrier string?  the op that lets no gradient pass

local meta = {
  __name = "moonwalk.WhyNot",
  __tostring = function(result)
    local text = ("no gradient of %s arrives at %s: %s"):format(result.loss, result.parameter,
      result.reason)
    return table.concat(words.wrap(text, screen.size()), "\n")
  end,
}

---Why a gradient does not arrive.
---@param loss moonwalk.Tensor
---@param parameter moonwalk.Tensor
---@param loss_name string
---@param name string
---@param name_of fun(key: string): string?
---@param traced moonwalk.GradientStep[]  where it does arrive
---@return moonwalk.WhyNot
function unreached.explain(loss, parameter, loss_name, name, name_of, traced)
  local nodes, id = below.nodes(loss), core.node(parameter).id
  local result = {loss = loss_name, parameter = name, norm = 0, path = {}, main = {}}
  if not nodes[id] then
    result.reason = absent(nodes, parameter, loss_name, name)
  elseif not is_float(parameter) then
    result.reason = ("it is %s, and only floating-point numbers have gradients"):format(
      core.spec(parameter))
  else
    local it = barrier(nodes, id, parameter, traced)
    local where = it and place(it, name_of)
    result.barrier = it and it.node.op
    result.reason = it and because(it) .. (where and (" (%s)"):format(where) or "")
      or "an op on the way has no gradient"
  end
  return setmetatable(result, meta)
end

return unreached
