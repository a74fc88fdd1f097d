-- below.lua: the nodes that a tensor is made of.

local core = require "moonwalk.core"
local names = require "moonwalk.look.names"

local below = {}

---@class moonwalk.GraphNode
---@field id integer  greater than those of what it is made of
---@field tensor moonwalk.Tensor  the output that was met first
---@field node table  see core.node
---@field users integer[]  the ids of the nodes that it is an input of

---All nodes below a tensor, its own among them, by their ids.
---@param t moonwalk.Tensor
---@return table<integer, moonwalk.GraphNode>
function below.nodes(t)
  local nodes, waiting = {}, {t}
  while #waiting > 0 do
    local tensor = table.remove(waiting)
    local node = core.node(tensor)
    if not nodes[node.id] then
      nodes[node.id] = {id = node.id, tensor = tensor, node = node, users = {}}
      for _, input in ipairs(node.inputs) do waiting[#waiting + 1] = input.tensor end
    end
  end
  for id, it in pairs(nodes) do
    for _, input in ipairs(it.node.inputs) do
      local users = nodes[core.node(input.tensor).id].users
      users[#users + 1] = id
    end
  end
  return nodes
end

---The nodes of such a table that a test picks, in the order in which they were made.
---@param nodes table<integer, moonwalk.GraphNode>
---@param picks fun(it: moonwalk.GraphNode): any
---@return moonwalk.GraphNode[]
function below.list(nodes, picks)
  local list = {}
  for _, it in pairs(nodes) do
    if picks(it) then list[#list + 1] = it end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

---The parameters among them, in the order in which they were made: those that are trained.
---@param nodes table<integer, moonwalk.GraphNode>
---@return moonwalk.Tensor[]
function below.parameters(nodes)
  local buffers, list = names.keys(require("moonwalk.updates").buffers()), {}
  local function is_trained(it)
    return it.node.kind == "parameter" and not buffers[names.key(it.tensor, it.node)]
  end
  for i, it in ipairs(below.list(nodes, is_trained)) do list[i] = it.tensor end
  return list
end

return below
