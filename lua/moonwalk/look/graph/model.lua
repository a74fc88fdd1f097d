-- model.lua: what is drawn of a graph: its nodes in an order in which they can run, with what is
-- said of each. Parameters, numbers and constants that one op alone reads are told of in that op's
-- line; what a layer computes may be one node.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local key_of = require("moonwalk.look.names").key
local updates = require "moonwalk.updates"

local model = {}

---What is fed into a node.
---@class moonwalk.DrawnInput
---@field from moonwalk.DrawnNode
---@field name string  of the argument: "x", "the gradient of y"
---@field output integer  which one of `from`
---@field aside boolean  a value that a backward reads beside the gradients

---@class moonwalk.DrawnNode
---@field kind "op"|"leaf"|"layer"|"failure"
---@field title string  "conv2d", "Dense"
---@field path string?  of the layer that it is, or that it belongs to: "block.conv1"
---@field name string?  what its user calls it
---@field backward boolean?
---@field origin string
---@field inputs moonwalk.DrawnInput[]
---@field outputs {name: string, spec: string, user: string?}[]  those that there are
---@field folded {name: string, spec: string?, value: string?}[]  what it reads, but for `inputs`
---@field attributes string  "stride 2, padding 1"
---@field parameters integer  numbers in parameters
---@field message string?  of a failure; `of_gradient` is true where it is its gradient's
---@field seconds number?  that running it takes

---@class moonwalk.Drawing
---@field nodes moonwalk.DrawnNode[]  inputs before what is made of them
---@field parameters integer  each counted once
---@field of table<integer, moonwalk.DrawnNode>  by the id of the graph's node
---@field trainable moonwalk.Tensor[]  the leaves that gradients are of
---@field calls boolean?  its nodes are layers
---@field failed boolean?  the last one has failed
---@field seconds number?  that running it takes
---@field hint string?

-- ---- the graph --------------------------------------------------------------------------------

-- What a node is made of: its inputs, and, of a backward, the node whose saved bytes it reads.
local function sources(node)
  local list = {}
  for i, input in ipairs(node.inputs) do list[i] = input.tensor end
  if node.saved then list[#list + 1] = node.forward end
  return list
end

-- All nodes below the roots, as core.node gives them, by id; each has `sources`, ids.
local function gather(roots)
  local nodes, stack = {}, {}
  local function enter(given)
    local node = {sources = {}, below = sources(given)}
    for key, value in pairs(given) do node[key] = value end
    nodes[node.id] = node
    stack[#stack + 1] = node
    return node.id
  end
  local function meet(tensor)
    local node = core.node(tensor)
    if nodes[node.id] then return node.id end
    return enter(node)
  end
  local ids = {}
  for i, root in ipairs(roots) do
    ids[i] = core.is_tensor(root) and meet(root) or nodes[root.id] and root.id or enter(root)
  end
  while #stack > 0 do
    local node = table.remove(stack)
    for i, tensor in ipairs(node.below) do node.sources[i] = meet(tensor) end
    node.below = nil
  end
  return nodes, ids
end

---The nodes of copies (see core.uncomputed) and of what they are copies of: id -> id.
---@param copies moonwalk.Tensor[]
---@param tensors moonwalk.Tensor[]
---@return table<integer, integer>
function model.match(copies, tensors)
  local original, stack = {}, {}
  for i, copy in ipairs(copies) do stack[i] = {core.node(copy), core.node(tensors[i])} end
  while #stack > 0 do
    local copy, node = table.unpack(table.remove(stack))
    if not original[copy.id] then
      original[copy.id] = node.id
      local below, beside = sources(copy), sources(node)
      for i, tensor in ipairs(below) do
        stack[#stack + 1] = {core.node(tensor), core.node(beside[i])}
      end
    end
  end
  return original
end

-- ---- what is a node of the drawing ------------------------------------------------------------

local function is_leaf(node) return node.kind ~= "op" end

local function is_number(tensor)
  return tensor.rank == 0 and core.computed(tensor)
end

-- The input that the others are beside: the first that is neither a parameter nor a number.
local function main_input(node)
  for i, input in ipairs(node.inputs) do
    local tensor = input.tensor
    local single = core.is_param(tensor) or input.role == "key"
      or is_leaf(core.node(tensor)) and is_number(tensor)
    if not single then return i end
  end
end

-- The leaves that are nodes of the drawing: what is asked for, and constants that are the main
-- input of an op, or that several read.
local function drawn_leaves(nodes, ids)
  local drawn, readers = {}, {}
  for _, id in ipairs(ids) do drawn[id] = true end
  for _, node in pairs(nodes) do
    local main = main_input(node)
    for i, input in ipairs(node.inputs) do
      local id = node.sources[i]
      local leaf = nodes[id]
      if is_leaf(leaf) and leaf.kind ~= "parameter" and input.role ~= "key" then
        if not is_number(input.tensor) and not node.backward then
          readers[id] = readers[id] or {}
          readers[id][node.id] = true
          local one = next(readers[id])
          if i == main or next(readers[id], one) then drawn[id] = true end
        end
      end
    end
  end
  return drawn
end

local function number_text(tensor)
  local x = tensor:item()
  return math.type(x) == "float" and amounts.number(x, "%.6g") or tostring(x)
end

-- What an op's line says of an input that is no node of the drawing.
local function folded(names, input, leaf)
  local user = names[key_of(nil, leaf)] or leaf.name ~= "" and leaf.name or nil
  local entry = {name = user or input.name, parameter = leaf.kind == "parameter" and leaf.id}
  if leaf.kind == "constant" and is_number(input.tensor) and not user then
    entry.value = number_text(input.tensor)
  else
    entry.spec = core.spec(input.tensor)
  end
  return entry
end

-- What a backward's gradients are of: forward's inputs, by what their gradients are called.
local function operands_of(names, node)
  local list = {}
  for _, input in ipairs(core.node(node.forward).inputs) do
    local leaf = core.node(input.tensor)
    list["the gradient of " .. input.name] = {parameter = leaf.kind == "parameter",
      name = names[key_of(nil, leaf)] or leaf.name ~= "" and leaf.name or input.name}
  end
  return list
end

local function outputs_of(names, node)
  local list, operands = {}, node.backward and operands_of(names, node) or {}
  for i, output in ipairs(node.outputs or {}) do
    local operand = operands[output.name] or output
    list[i] = {name = operand.name, parameter = operand.parameter, spec = core.spec(output.tensor),
      number = output.output, user = names[("%d:%d"):format(node.id, output.output)]}
  end
  return list
end

-- The variables that hold a node's outputs: "values, indices".
local function user_names(outputs)
  local list = {}
  for _, output in ipairs(outputs) do list[#list + 1] = output.user end
  return #list > 0 and table.concat(list, ", ") or nil
end

local function new_leaf(names, node, tensor)
  local user = names[key_of(nil, node)] or node.name ~= "" and node.name or nil
  return {kind = "leaf", title = node.kind, name = user, origin = node.origin, inputs = {},
    outputs = {{name = "", spec = core.spec(tensor), number = 1}}, folded = {}, attributes = "",
    parameters = 0}
end

local function new_op(names, node)
  local outputs = outputs_of(names, node)
  return {kind = node.message and "failure" or "op", title = node.label, name = user_names(outputs),
    origin = node.origin, inputs = {}, outputs = outputs, folded = {}, attributes = node.settings,
    parameters = 0, backward = node.backward, message = node.message,
    of_gradient = node.of_gradient}
end

-- ---- layers -----------------------------------------------------------------------------------

-- The call that a node is shown as: the outermost of those that it was made in whose module holds
-- no others, or that is as deep as is drawn. The network's own call is one if that is asked for.
local function shown_call(call, depth, as_one)
  local shown
  while call and (call.depth > 0 or as_one) do
    if call.is_layer or depth and call.depth >= depth then shown = call end
    call = call.outer
  end
  return shown
end

local function new_layer(call)
  local made = call.module:describe()
  local class, how = made:match "^([%w_%.]+)%s*(.*)$"
  return {kind = "layer", title = class or call.module.class, path = call.path,
    origin = "", inputs = {}, outputs = {}, folded = {}, attributes = how or "", parameters = 0}
end

-- ---- together ---------------------------------------------------------------------------------

-- The buffers that there are, by id.
local function buffer_ids()
  local ids = {}
  for buffer in updates.buffers() do ids[core.node(buffer).id] = true end
  return ids
end

-- Counts a parameter, in a node of the drawing and in all of it.
local function count(drawing, drawn, id, tensor)
  if drawing.buffers[id] then return end
  drawn.counts = drawn.counts or {}
  if drawn.counts[id] then return end
  drawn.counts[id] = true
  local size = amounts.elements(tensor)
  drawn.parameters = drawn.parameters + size
  if not drawing.counts[id] then
    drawing.counts[id], drawing.parameters = true, drawing.parameters + size
  end
end

-- Puts a node of the graph into the drawing: as its own, or in that of its layer.
local function place(drawing, layers, names, node, tensor, call)
  local drawn
  if call then
    drawn = layers[call] or new_layer(call)
    layers[call] = drawn
  elseif is_leaf(node) then
    drawn = new_leaf(names, node, tensor)
    if node.kind == "parameter" then count(drawing, drawn, node.id, tensor) end
  else
    drawn = new_op(names, node)
  end
  drawing.of[node.id] = drawn
end

-- Connects a node of the graph with what it reads.
local function connect(drawing, nodes, names, node)
  local drawn = drawing.of[node.id]
  for i, input in ipairs(node.inputs) do
    local leaf = nodes[node.sources[i]]
    local from = drawing.of[leaf.id]
    if leaf.kind == "parameter" and not node.backward then
      count(drawing, drawn, leaf.id, input.tensor)
    end
    if from and from ~= drawn then
      local output = core.node(input.tensor).output
      drawn.inputs[#drawn.inputs + 1] = {from = from, name = input.name, id = leaf.id,
        output = output, spec = core.spec(input.tensor),
        aside = node.backward and input.role ~= "gradient"}
    elseif not from and input.role ~= "key" and drawn.kind ~= "layer" then
      drawn.folded[#drawn.folded + 1] = folded(names, input, leaf)
    end
  end
  local saved = node.saved and drawing.of[node.sources[#node.sources]]
  if saved and saved ~= drawn then
    drawn.inputs[#drawn.inputs + 1] = {from = saved, name = "what it saved", output = 0,
      aside = true}
  end
end

-- What the names of an op's parameters have in front in common: "block.conv1" of block.conv1.weight
-- and block.conv1.bias. It is said once.
local function take_path(drawn)
  local entries, path = {}, nil
  for _, list in ipairs {drawn.folded, drawn.outputs} do
    for _, entry in ipairs(list) do
      if entry.parameter then entries[#entries + 1] = entry end
    end
  end
  for _, entry in ipairs(entries) do
    local front = entry.name:match "^(.*)%.[^.]+$"
    if not front or path and path ~= front then return end
    path = front
  end
  drawn.path = path
  for _, entry in ipairs(entries) do entry.name = entry.name:match "[^.]+$" end
end

-- The outputs of a layer: what others read of it, and what is asked for.
local function finish_layers(drawing, names, roots)
  local seen = {}
  local function add(drawn, id, output, spec)
    local key = ("%d:%d"):format(id, output)
    if drawn.kind ~= "layer" or seen[key] then return end
    seen[key] = true
    drawn.outputs[#drawn.outputs + 1] = {name = "", spec = spec, number = #drawn.outputs + 1,
      user = names[key]}
  end
  for _, drawn in ipairs(drawing.nodes) do
    for _, input in ipairs(drawn.inputs) do
      if input.id then add(input.from, input.id, input.output, input.spec) end
    end
  end
  for _, root in ipairs(roots) do
    if core.is_tensor(root) then
      local node = core.node(root)
      add(drawing.of[node.id], node.id, node.output, core.spec(root))
    end
  end
  for _, drawn in ipairs(drawing.nodes) do
    if drawn.kind == "layer" then drawn.name = user_names(drawn.outputs) end
  end
end

-- The nodes of the drawing in the order in which they were made; a leaf right before what reads it
-- first.
local function sorted(drawing, order)
  local list, met = {}, {}
  local function add(drawn)
    if met[drawn] then return end
    met[drawn] = true
    for _, input in ipairs(drawn.inputs) do
      if input.from.kind == "leaf" then add(input.from) end
    end
    list[#list + 1] = drawn
  end
  for _, id in ipairs(order) do
    local drawn = drawing.of[id]
    if drawn and drawn.kind ~= "leaf" then add(drawn) end
  end
  for _, id in ipairs(order) do
    if drawing.of[id] then add(drawing.of[id]) end
  end
  return list
end

-- What gradients are of: parameters, or, where there are none, constants that are no numbers.
local function trainable_leaves(nodes, order, tensors)
  local parameters, constants = {}, {}
  for _, id in ipairs(order) do
    local tensor = tensors[id]
    local is_float = tensor and (tensor.dtype == "f32" or tensor.dtype == "f64")
    if is_float and nodes[id].kind == "parameter" then parameters[#parameters + 1] = tensor
    elseif is_float and is_leaf(nodes[id]) and tensor.rank > 0 then
      constants[#constants + 1] = tensor
    end
  end
  return #parameters > 0 and parameters or constants
end

---@class moonwalk.DrawingOptions
---@field owner table<integer, moonwalk.TracedCall>?  the calls of layers, see trace.lua
---@field full boolean?  ops, not layers
---@field depth integer?  of modules that are drawn as what is in them
---@field as_one boolean?  a network that is a layer is one node
---@field names table<string, string>

---What is drawn of tensors, or of a node as core.failure() gives it.
---@param roots table[]
---@param options moonwalk.DrawingOptions
---@return moonwalk.Drawing
function model.of(roots, options)
  local names, owner = options.names, not options.full and options.owner or {}
  local nodes, ids = gather(roots)
  local leaves = drawn_leaves(nodes, ids)
  local drawing = {of = {}, parameters = 0, counts = {}, buffers = buffer_ids()}
  local layers, tensors, order = {}, {}, {}
  for _, root in ipairs(roots) do
    if core.is_tensor(root) then tensors[core.node(root).id] = root end
  end
  for id, node in pairs(nodes) do
    order[#order + 1] = id
    for i, input in ipairs(node.inputs) do tensors[node.sources[i]] = input.tensor end
  end
  table.sort(order)
  for _, id in ipairs(order) do
    local node = nodes[id]
    if not is_leaf(node) or leaves[id] then
      place(drawing, layers, names, node, tensors[id], shown_call(owner[id], options.depth,
        options.as_one))
    end
  end
  for _, id in ipairs(order) do
    local drawn = drawing.of[id]
    if drawn then connect(drawing, nodes, names, nodes[id]) end
    if drawn and drawn.kind ~= "layer" then take_path(drawn) end
  end
  drawing.trainable = trainable_leaves(nodes, order, tensors)
  drawing.nodes = sorted(drawing, order)
  finish_layers(drawing, names, roots)
  return drawing
end

return model
