-- structure.lua: a network as it is made, without an input: its layers, and how lists of them are
-- wired. What a module of one's own does with those in it only a call tells.

local lists = require "moonwalk.nn.sequential"

local structure = {}

local function parameters_of(module, counted)
  local count = 0
  local function visit(part)
    for _, entry in ipairs(part:own_parameters()) do
      if not counted[entry[2]] then
        counted[entry[2]] = true
        local size = 1
        for _, length in ipairs(entry[2].shape) do size = size * length end
        count = count + size
      end
    end
    for _, child in ipairs(part:children()) do visit(child[2]) end
  end
  visit(module)
  return count
end

local function new_node(kind, title, path)
  return {kind = kind, title = title, path = path, origin = "", inputs = {}, outputs = {},
    folded = {}, attributes = "", parameters = 0}
end

local function feed(node, from, name)
  node.inputs[#node.inputs + 1] = {from = from, name = name, output = 1}
end

local add_module

-- What the items of a list are called: by their names, or by their numbers.
local function names_of(module)
  local names = {}
  for _, child in ipairs(module:children()) do names[child[2]] = names[child[2]] or child[1] end
  return names
end

local function add_list(drawing, module, path, from)
  local names = names_of(module)
  for i in ipairs(module) do
    from = add_module(drawing, module[i], path .. names[module[i]], from)
  end
  return from
end

local function join(drawing, title, path, sources)
  local node = new_node("op", title, path)
  for i, from in ipairs(sources) do feed(node, from, ("x[%d]"):format(i)) end
  drawing.nodes[#drawing.nodes + 1] = node
  return node
end

local function add_residual(drawing, module, path, from)
  local y = add_list(drawing, module, path, from)
  local beside = module.shortcut and add_module(drawing, module.shortcut, path .. "shortcut", from)
    or from
  y = join(drawing, "add", nil, {y, beside})
  return module.activation and add_module(drawing, module.activation, path .. "activation", y) or y
end

local function add_parallel(drawing, module, path, from)
  local ends, names = {}, names_of(module)
  for i in ipairs(module) do
    ends[i] = add_module(drawing, module[i], path .. names[module[i]], from)
  end
  return join(drawing, module.join, nil, ends)
end

function add_module(drawing, module, path, from)
  local below = path == "" and "" or path .. "."
  if module.forward == lists.Residual.forward then
    return add_residual(drawing, module, below, from)
  elseif module.forward == lists.Parallel.forward then
    return add_parallel(drawing, module, below, from)
  elseif module.forward == lists.Sequential.forward then
    return add_list(drawing, module, below, from)
  end
  local class, how = module:describe():match "^([%w_%.]+)%s*(.*)$"
  local node = new_node("layer", class or module.class, path)
  node.attributes = how or ""
  node.parameters = parameters_of(module, drawing.counted)
  drawing.parameters = drawing.parameters + node.parameters
  local shape = module:output_shape()
  if shape then node.outputs[1] = {name = "", spec = ("[%s]"):format(table.concat(shape, ","))} end
  if #module:children() > 0 then drawing.closed = true end
  feed(node, from, "x")
  drawing.nodes[#drawing.nodes + 1] = node
  return node
end

---@param net moonwalk.Module
---@return moonwalk.Drawing
function structure.of(net)
  local input = new_node("leaf", "input")
  local drawing = {nodes = {input}, of = {}, parameters = 0, counted = {}, calls = true}
  add_module(drawing, net, "", input)
  return drawing
end

return structure
