-- trace.lua: the graph of a network: it is called once, and which layer made which node is noted.

local core = require "moonwalk.core"
local infer = require "moonwalk.nn.infer"
local Module = require "moonwalk.nn.module"

local trace = {}

-- The place of each module in the network: "conv1", "block[2].conv".
local function paths_of(net)
  local paths = {[net] = ""}
  local function visit(module, prefix)
    for _, child in ipairs(module:children()) do
      if not paths[child[2]] then
        paths[child[2]] = prefix .. child[1]
        visit(child[2], prefix .. child[1] .. ".")
      end
    end
  end
  visit(net, "")
  return paths
end

---A call of a module while a network was traced.
---@class moonwalk.TracedCall
---@field module moonwalk.Module
---@field path string  in the network
---@field depth integer  0: the network's own
---@field outer moonwalk.TracedCall?  that it is part of
---@field is_layer boolean  there are no modules in it

---Calls a network in evaluation mode, as a trial: nothing is computed.
---@param net moonwalk.Module
---@param inputs moonwalk.Tensor[]
---@return moonwalk.Tensor[] results
---@return table<integer, moonwalk.TracedCall> owner  of each node that was made, by its id
function trace.run(net, inputs)
  local paths, owner, current, list = paths_of(net), {}, nil, {}
  local function see(module, forward, ...)
    local call = {module = module, path = paths[module] or "", outer = current,
      depth = current and current.depth + 1 or 0, is_layer = #module:children() == 0}
    current = call
    local first = core.checkpoint_begin()
    local results = table.pack(forward(module, ...))
    for id = first + 1, core.checkpoint_begin() - 1 do owner[id] = owner[id] or call end
    current = call.outer
    return table.unpack(results, 1, results.n)
  end
  infer.try(net, false, function()
    local results = table.pack(Module.observe(see, net, table.unpack(inputs)))
    for i = 1, results.n do
      if core.is_tensor(results[i]) then list[#list + 1] = results[i] end
    end
  end)
  return list, owner
end

return trace
