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

---The keys of the tensors that an iterator goes over, as a set.
---@param each fun(): moonwalk.Tensor?
---@return table<string, boolean>
function names.keys(each)
  local set = {}
  for t in each do set[names.key(t)] = true end
  return set
end

---The name of what lies in a network, as Lua has it: "net" and "1.weight" are "net[1].weight".
---@param outer string
---@param path string
---@return string
function names.within(outer, path)
  return ((outer .. "." .. path):gsub("%.(%d+)", "[%1]"))
end

local function add(known, name, tensor)
  local key = names.key(tensor)
  known[key] = known[key] or name
end

-- A network whose sizes are open has no parameters yet.
local function add_parts(known, outer, module)
  local function note(path, tensor) add(known, names.within(outer, path), tensor) end
  pcall(function()
    for path, parameter in module:named_parameters() do note(path, parameter) end
    for path, buffer in module:named_buffers() do note(path, buffer) end
  end)
end

-- The tensors in a plain table: "batch.x", "list[2]".
local function add_fields(known, outer, fields)
  local keys = {}
  for key, value in pairs(fields) do
    if core.is_tensor(value) and type(key) == "string" and key:find "^[%a_][%w_]*$" then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do add(known, outer .. "." .. key, fields[key]) end
  for i, value in ipairs(fields) do
    if core.is_tensor(value) then add(known, ("%s[%d]"):format(outer, i), value) end
  end
end

---A function that tells a tensor's name by its key: of those that the variables of the prompt hold,
---themselves, in a network, or else in a table. In a script it knows none.
---@return fun(key: string): string?
function names.known()
  local session = require("moonwalk.prompt.session").current
  local Module = require "moonwalk.nn.module"
  local known, networks, tables = {}, {}, {}
  if session then
    for name, value in session:variables() do
      if core.is_tensor(value) then add(known, name, value)
      elseif Module.is(value) then networks[#networks + 1] = {name, value}
      elseif type(value) == "table" and not getmetatable(value) then
        tables[#tables + 1] = {name, value}
      end
    end
  end
  for _, it in ipairs(networks) do add_parts(known, it[1], it[2]) end
  for _, it in ipairs(tables) do add_fields(known, it[1], it[2]) end
  return function(key) return known[key] end
end

return names
