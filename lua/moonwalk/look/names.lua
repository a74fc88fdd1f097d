-- names.lua: what the user calls the tensors of a graph, for pictures that have many of them.

local core = require "moonwalk.core"

local names = {}

---What tells a tensor from all others, whichever Lua object stands for it.
---@param t moonwalk.Tensor
---@param node table? core.node(t), if it is there
---@return string
function names.key(t, node)
  node = node or core.node(t)
  return ("%d:%d"):format(node.id, node.output)
end

---The name of what lies in a network, as Lua has it: "net" and "1.weight" are "net[1].weight".
---@param outer string
---@param path string
---@return string
function names.within(outer, path)
  return ((outer .. "." .. path):gsub("%.(%d+)", "[%1]"))
end

-- A network whose sizes are open has no parameters yet.
local function add_parameters(known, outer, module)
  pcall(function()
    for path, parameter in module:named_parameters() do
      local key = names.key(parameter)
      known[key] = known[key] or names.within(outer, path)
    end
  end)
end

---A function that tells a tensor's name by its key: of those that the variables of the prompt hold,
---themselves or in a network. In a script it knows none.
---@return fun(key: string): string?
function names.known()
  local session = require("moonwalk.prompt.session").current
  local Module = require "moonwalk.nn.module"
  local known, networks = {}, {}
  local function add(name, value)
    if Module.is(value) then networks[#networks + 1] = {name, value} end
    if not core.is_tensor(value) then return end
    local key = names.key(value)
    known[key] = known[key] or name
  end
  if session then
    for name, value in session:variables() do add(name, value) end
  end
  for _, it in ipairs(networks) do add_parameters(known, it[1], it[2]) end
  return function(key) return known[key] end
end

return names
