-- tape.lua: the nodes of a graph one at a time, from the last made to the first, each with what it
-- reads and writes and with the gradients that come to it and that it hands on.

local core = require "moonwalk.core"
local below = require "moonwalk.look.below"
local gradients = require "moonwalk.look.gradients"
local names = require "moonwalk.look.names"

---@class moonwalk.Tape
---@field nodes table<integer, moonwalk.GraphNode>
---@field order moonwalk.GraphNode[]  ops and parameters
---@field place table<integer, integer>  of a node's id in that order
---@field incoming table<string, moonwalk.Tensor>  by the keys of tensors
---@field outgoing table<integer, table[]>  by nodes' ids: {key, gradient}
---@field name_of fun(key: string): string?
---@field problem string?  why there are no gradients
local Tape = {}
Tape.__index = Tape

local tape = {}

local function is_float(t) return t.dtype == "f32" or t.dtype == "f64" end

local function is_single(t)
  for _, size in ipairs(t.shape) do
    if size ~= 1 then return false end
  end
  return true
end

-- What a loss is differentiated in: parameters, or else whatever was given.
local function ends_of(nodes)
  local parameters = below.parameters(nodes)
  if #parameters > 0 then return parameters end
  local list = {}
  local function is_end(it) return it.node.kind ~= "op" and is_float(it.tensor) end
  for i, it in ipairs(below.list(nodes, is_end)) do list[i] = it.tensor end
  return list
end

local function add_gradients(self, loss)
  if not is_float(loss) or not is_single(loss) then
    self.problem = "there are no gradients: it is no scalar of f32 or f64"
    return
  end
  local good, traced = pcall(core.trace, loss, ends_of(self.nodes))
  if not good then
    self.problem = "there are no gradients: " .. tostring(traced):gsub("^%S+:%d+: ", "")
    return
  end
  local ids = {}
  for i, it in ipairs(traced) do
    local key = names.key(it.tensor)
    ids[i] = core.node(it.tensor).id
    self.incoming[key] = it.gradient
    for _, part in ipairs(it.parts) do
      local id = ids[part.user]
      if id then
        self.outgoing[id] = self.outgoing[id] or {}
        table.insert(self.outgoing[id], {key = key, gradient = part.gradient})
      end
    end
  end
end

---The tape that ends with a tensor.
---@param t moonwalk.Tensor
---@return moonwalk.Tape
function tape.of(t)
  local self = setmetatable({
    nodes = below.nodes(t), place = {}, incoming = {}, outgoing = {}, name_of = names.known(),
  }, Tape)
  self:arrange()
  add_gradients(self, t)
  return self
end

---The tape that ends with a node which failed, without gradients.
---@param failure table  see core.failure
---@return moonwalk.Tape
function tape.of_failure(failure)
  local self = setmetatable({
    nodes = {}, place = {}, incoming = {}, outgoing = {}, name_of = names.known(),
  }, Tape)
  for _, input in ipairs(failure.inputs) do
    for id, it in pairs(below.nodes(input.tensor)) do self.nodes[id] = it end
  end
  self.nodes[failure.id] = {id = failure.id, node = failure, users = {}, failed = true}
  self:arrange()
  return self
end

function Tape:arrange()
  local function counts(it) return it.node.kind ~= "constant" and it.node.kind ~= "input" end
  local list = below.list(self.nodes, counts)
  self.order = {}
  for i = #list, 1, -1 do
    self.order[#self.order + 1] = list[i]
    self.place[list[i].id] = #self.order
  end
end

---The node after another one on the way back: the one that was made before it; nil at the end.
---@param it moonwalk.GraphNode
---@return moonwalk.GraphNode?
function Tape:next(it)
  for _, other in ipairs(self.order) do
    if other.id < it.id then return other end
  end
end

-- ---- one node -------------------------------------------------------------------------------

-- Computes tensors, all of them or else as many as can be: a value may be stale, or its op fail.
local function compute(tensors)
  if pcall(core.run, tensors, {}, {}) then return end
  for _, t in ipairs(tensors) do pcall(core.eval, t) end
end

-- A row for a tensor of the view; facts are added when it is computed.
local function row(view, t, label, mark, name)
  local it = {mark = mark, label = label, name = name, spec = core.spec(t), tensor = t}
  view.rows[#view.rows + 1] = it
  return it
end

-- "x = h", "x (sigmoid)"
local function input_row(self, view, input, mark)
  local node = core.node(input.tensor)
  local name = self.name_of(names.key(input.tensor, node))
    or node.name ~= "" and node.name or nil
  local label = name and input.name or ("%s (%s)"):format(input.name, node.label)
  row(view, input.tensor, label, mark, name ~= input.name and name or nil)
  view.inputs[#view.inputs + 1] = input.tensor
end

-- The outputs of an op; of a leaf its value.
local function outputs_of(it)
  return it.node.outputs or {{tensor = it.tensor, name = "value"}}
end

local function gradient_rows(self, view, it)
  local function add(t, label) row(view, t, label).is_gradient = true end
  for _, output in ipairs(outputs_of(it)) do
    local gradient = self.incoming[names.key(output.tensor)]
    if gradient then
      add(gradient, it.node.outputs and "in: dL/d" .. output.name or "gradient")
      view.gradient = view.gradient or gradient
    end
  end
  local seen = {}
  for _, input in ipairs(it.node.inputs) do
    local key = names.key(input.tensor)
    for _, part in ipairs(self.outgoing[it.id] or {}) do
      if part.key == key and not seen[part] then
        add(part.gradient, "out: dL/d" .. input.name)
        seen[part] = true
        break
      end
    end
  end
end

-- Adds what is known of the values, which are computed now.
local function look(view)
  local tensors = {}
  for i, it in ipairs(view.rows) do tensors[i] = it.tensor end
  compute(tensors)
  for _, it in ipairs(view.rows) do
    if core.computed(it.tensor) then
      it.summary = core.summary(it.tensor)
      if it.is_gradient then it.norm = gradients.norm(it.tensor):item() end
    end
  end
  return view
end

---A node as it is shown. Its values are computed, and stay with the graph: so the next ones take
---less time.
---@param it moonwalk.GraphNode
---@return table view  op, name, origin, attributes, rows, inputs, output, gradient
function Tape:view(it)
  local node = it.node
  local view = {op = node.label, rows = {}, inputs = {}}
  view.attributes = node.settings or ""
  view.origin = node.origin ~= "" and node.origin or nil
  view.name = it.tensor and self.name_of(names.key(it.tensor)) or node.name ~= "" and node.name
    or nil
  for _, input in ipairs(node.inputs) do
    if input.role ~= "key" and input.role ~= "saved" then
      input_row(self, view, input, tostring(#view.inputs + 1))
    end
  end
  if not it.failed then
    for _, output in ipairs(outputs_of(it)) do
      row(view, output.tensor, output.name, nil, self.name_of(names.key(output.tensor)))
      view.output = view.output or output.tensor
    end
    gradient_rows(self, view, it)
  end
  return look(view)
end

return tape
