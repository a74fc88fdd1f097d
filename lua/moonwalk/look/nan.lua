-- nan.lua: where the first NaN or infinity of a value comes from: in the graph that it is computed
-- by, or, of a loss, in its gradients.

local core = require "moonwalk.core"
local below = require "moonwalk.look.below"
local gradients = require "moonwalk.look.gradients"
local names = require "moonwalk.look.names"

local nan = {}

---@class moonwalk.Odd
---@field kind "op"|"leaf"|"gradient"  what made it: an op, nothing (it was there), an op's backward
---@field op string
---@field origin string?
---@field made moonwalk.OddValue  where the NaN or the infinity is
---@field operands moonwalk.OddValue[]  what it was made of
---@field place integer[]?  the first bad element, counted from 1

---@class moonwalk.OddValue : moonwalk.Operand
---@field op string  that it is the result of: "dense", "parameter"

local function is_float(t) return t.dtype == "f32" or t.dtype == "f64" end

local function is_odd(facts) return facts.nans + facts.infinities > 0 end

-- How many elements are finite, as a scalar to compute.
local function finite_share(t) return t:isfinite():cast "f64":mean() end

-- Which of some tensors have a NaN or an infinity. What is computed already is looked at; the
-- others are computed in one program, which keeps none of them.
local function find_odd(tensors)
  local odd, asked, wanted = {}, {}, {}
  for i, t in ipairs(tensors) do
    if not is_float(t) then odd[i] = false
    elseif core.computed(t) then odd[i] = is_odd(core.summary(t))
    else
      wanted[#wanted + 1] = finite_share(t)
      asked[#wanted] = i
    end
  end
  core.run(wanted, {}, {})
  for k, share in ipairs(wanted) do odd[asked[k]] = share:item() < 1 end -- of no elements NaN
  return odd
end

-- ---- elements -------------------------------------------------------------------------------

-- The position of the first bad element, counted from 0 in row-major order.
local function first_bad(t)
  return t:isfinite():cast "f32":reshape {-1}:argmin {axis = 1}:item()
end

local function to_place(index, shape)
  local place = {}
  for axis = #shape, 1, -1 do
    place[axis], index = index % shape[axis] + 1, index // shape[axis]
  end
  return place
end

-- The element of a tensor that broadcasts to the place in another one; nil when it does not.
local function element_at(t, place)
  local shape, index = t.shape, 0
  if #shape > #place then return nil end
  for axis, size in ipairs(shape) do
    local at = place[#place - #shape + axis]
    if size ~= 1 and at > size then return nil end
    index = index * size + (size == 1 and 0 or at - 1)
  end
  return t:reshape {-1}[index + 1]:item()
end

local function value_of(t, label, name_of, place)
  local node = core.node(t)
  local name = name_of(names.key(t, node)) or node.name ~= "" and node.name or nil
  return {
    label = label, name = name, op = node.label, spec = core.spec(t), summary = core.summary(t),
    element = place and element_at(t, place),
  }
end

-- ---- forward --------------------------------------------------------------------------------

-- The node that made the first one of those from which a value has its own: the chain goes only
-- through values that are bad, so that a mask of infinities is none as long as what it masks is
-- finite.
local function culprit(list, bad, id)
  local by_id, waiting, seen, first = {}, {id}, {}, nil
  for _, it in ipairs(list) do by_id[it.id] = it end
  while #waiting > 0 do
    local at = table.remove(waiting)
    if not seen[at] then
      seen[at] = true
      local innocent = false
      for _, input in ipairs(by_id[at].node.inputs) do
        local node = core.node(input.tensor)
        if bad[names.key(input.tensor, node)] then
          innocent = true
          waiting[#waiting + 1] = node.id
        end
      end
      if not innocent and (not first or at < first) then first = at end
    end
  end
  return by_id[first]
end

local function describe(it, bad, name_of)
  local node, made = it.node, nil
  for _, output in ipairs(node.outputs or {{tensor = it.tensor, name = "it"}}) do
    local key = names.key(output.tensor)
    if bad[key] and not made then made = output end
  end
  core.eval(made.tensor)
  local index = first_bad(made.tensor)
  local place = to_place(index, made.tensor.shape)
  local elementwise = node.op and (core.op_info(node.op) or {}).elementwise and not node.backward
  local operands = {}
  for _, input in ipairs(node.inputs) do
    if input.role ~= "key" and input.role ~= "saved" then
      operands[#operands + 1] = value_of(input.tensor, input.name, name_of,
        elementwise and place or nil)
    end
  end
  return {
    kind = node.op and "op" or "leaf", op = node.label,
    origin = node.origin ~= "" and node.origin or nil,
    made = value_of(made.tensor, made.name, name_of, place), operands = operands, place = place,
  }
end

local function forward(t, name_of)
  if core.computed(t) and not (is_float(t) and is_odd(core.summary(t))) then return nil end
  local nodes = below.nodes(t)
  local list = below.list(nodes, function() return true end)
  local tensors, bad = {}, {}
  for _, it in ipairs(list) do
    for _, output in ipairs(it.node.outputs or {{tensor = it.tensor}}) do
      tensors[#tensors + 1] = output.tensor
    end
  end
  for i, odd in ipairs(find_odd(tensors)) do bad[names.key(tensors[i])] = odd end
  if not bad[names.key(t)] then return nil end
  return describe(culprit(list, bad, core.node(t).id), bad, name_of)
end

-- ---- backward -------------------------------------------------------------------------------

-- The first gradient, from the loss on, that is bad where the one that it was made of is not.
local function first_bad_step(steps)
  for _, step in ipairs(steps) do
    local from = step.branches[1] and steps[step.branches[1].from]
    if from and step.norm - step.norm ~= 0 and from.norm - from.norm == 0 then return step, from end
  end
end

local function backward(loss, parameters, name_of)
  local step, from = first_bad_step(gradients.trace(loss, parameters, name_of))
  if not step then return nil end
  local node = core.node(from.tensor)
  core.eval(step.gradient, from.gradient)
  local place = to_place(first_bad(step.gradient), step.gradient.shape)
  local elementwise = (core.op_info(node.op) or {}).elementwise
  local at = elementwise and place or nil
  local label, operands = "its input", {}
  for _, input in ipairs(node.inputs) do
    if input.role ~= "key" then
      if names.key(input.tensor) == names.key(step.tensor) then label = input.name end
      operands[#operands + 1] = value_of(input.tensor, input.name, name_of, at)
    end
  end
  local output = node.outputs[node.output].name
  operands[#operands + 1] = value_of(from.tensor, output, name_of, at)
  operands[#operands + 1] = value_of(from.gradient, "the gradient of " .. output, name_of, at)
  return {
    kind = "gradient", op = node.label, origin = from.origin, place = place,
    made = value_of(step.gradient, "the gradient of " .. label, name_of, place),
    operands = operands,
  }
end

-- ---- both -----------------------------------------------------------------------------------

local function is_loss(t)
  if not is_float(t) then return false end
  for _, size in ipairs(t.shape) do
    if size ~= 1 then return false end
  end
  return true
end

---Where the first NaN or infinity of a value comes from; of a loss without any, where the first of
---its gradients does. Nil where there is none; the second result says whether gradients were looked
---at.
---@param t moonwalk.Tensor
---@return moonwalk.Odd?
---@return boolean with_gradients
function nan.find(t)
  local name_of = names.known()
  local found = forward(t, name_of)
  if found or not is_loss(t) then return found, false end
  local parameters = below.parameters(below.nodes(t))
  if #parameters == 0 then return nil, false end
  return backward(t, parameters, name_of), true
end

return nan
