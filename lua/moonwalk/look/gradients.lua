-- gradients.lua: the way of a gradient from a loss backward, as numbers: at each value between the
-- loss and a parameter the norm of the gradient that arrives there, and from where.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local names = require "moonwalk.look.names"

local gradients = {}

---A gradient that arrives at a value from one of the nodes that use it.
---@class moonwalk.GradientBranch
---@field from integer  the step of that node
---@field norm number
---@field share number  of the sum of the norms of all branches
---@field factor number  its norm by that of the gradient at the node's output
---@field times integer  how often the node uses the value

---A value between the loss and a parameter, and the gradient of the loss in it.
---@class moonwalk.GradientStep
---@field op string  what it is the result of: "dense", "parameter"
---@field name string?  the user's
---@field layer string?  what a parameter that it is made with is called by: "net[1]"
---@field origin string?
---@field spec string
---@field count integer  of its elements
---@field norm number
---@field branches moonwalk.GradientBranch[]  the strongest first; none at the loss
---@field factor number?  its norm by that of the gradient where the strongest branch comes from
---@field on_path boolean  on the way of the strongest branches to the parameter
---@field mark "vanishes"|"explodes"|"infinite"|"nan"|nil
---@field note string?  what is known of the mark's cause
---@field tensor moonwalk.Tensor  while it is looked at
---@field gradient moonwalk.Tensor  likewise

---The norm of a tensor, of which the squares would leave the range of f32.
---@param t moonwalk.Tensor
---@return moonwalk.Tensor
function gradients.norm(t)
  if t.dtype ~= "f64" then t = t:cast "f64" end
  return (t * t):sum():sqrt()
end

-- The parts of a gradient, those from one node as one: {{from, times, sum}, ...}.
local function by_user(parts)
  local list, at = {}, {}
  for _, part in ipairs(parts) do
    local branch = part.user and at[part.user]
    if branch then
      branch.times, branch.sum = branch.times + 1, branch.sum + part.gradient
    elseif part.user then
      branch = {from = part.user, times = 1, sum = part.gradient}
      at[part.user], list[#list + 1] = branch, branch
    end
  end
  return list
end

-- The norms that are asked for, in the order of the walk backward, so that no gradient has to be
-- kept for long.
local function ask_norms(steps, traced)
  local asked = {}
  for i, step in ipairs(steps) do
    asked[#asked + 1] = {step, gradients.norm(step.gradient)}
    step.branches = by_user(traced[i].parts)
    for _, branch in ipairs(step.branches) do
      if #step.branches > 1 then asked[#asked + 1] = {branch, gradients.norm(branch.sum)} end
    end
  end
  return asked
end

local function answer(asked)
  local tensors = {}
  for i, question in ipairs(asked) do tensors[i] = question[2] end
  core.run(tensors, {}, {})
  for _, question in ipairs(asked) do question[1].norm = question[2]:item() end
end

-- A number to sort by, in which NaN is the largest.
local function strength(x) return x == x and x or math.huge end

local function finish_branches(steps, step)
  local sum = 0
  for _, branch in ipairs(step.branches) do
    branch.norm = branch.norm or step.norm
    branch.sum, sum = nil, sum + branch.norm
  end
  for _, branch in ipairs(step.branches) do
    branch.share = #step.branches == 1 and 1 or sum == 0 and 1 / #step.branches or branch.norm / sum
    branch.factor = branch.norm / steps[branch.from].norm
  end
  table.sort(step.branches, function(a, b)
    if strength(a.norm) ~= strength(b.norm) then return strength(a.norm) > strength(b.norm) end
    return a.from < b.from
  end)
  local strongest = step.branches[1]
  step.factor = strongest and step.norm / steps[strongest.from].norm
end

-- "net[1]" of an op that is applied to net[1].weight.
local function layer_of(node, name_of)
  for _, input in ipairs(node.inputs) do
    if input.role == "input" and core.is_param(input.tensor) then
      local name = name_of(names.key(input.tensor)) or core.name(input.tensor)
      local layer = name:match "^(.+)%.[%a_][%w_]*$"
      if layer then return layer end
    end
  end
end

local function describe(traced, name_of)
  local node = core.node(traced.tensor)
  local own = node.name ~= "" and node.name or nil
  return {
    op = node.label, name = name_of(names.key(traced.tensor, node)) or own,
    layer = layer_of(node, name_of),
    origin = node.origin ~= "" and node.origin or nil, spec = core.spec(traced.tensor),
    count = amounts.elements(traced.tensor), tensor = traced.tensor, gradient = traced.gradient,
    on_path = false,
  }
end

---The steps from a scalar backward to the parameters, users before what they use, with their norms,
---which are computed in one program. None where no gradient arrives.
---@param loss moonwalk.Tensor
---@param parameters moonwalk.Tensor[]
---@param name_of fun(key: string): string?
---@return moonwalk.GradientStep[]
function gradients.trace(loss, parameters, name_of)
  local traced, steps = core.trace(loss, parameters), {}
  for i, it in ipairs(traced) do steps[i] = describe(it, name_of) end
  answer(ask_norms(steps, traced))
  for _, step in ipairs(steps) do finish_branches(steps, step) end
  return steps
end

---Follows the strongest branches from a step to the loss, and notes that they are on the path.
---@param steps moonwalk.GradientStep[]
---@param last integer
---@return integer[] path  from the loss to that step
function gradients.path(steps, last)
  local path, i = {}, last
  while i do
    table.insert(path, 1, i)
    steps[i].on_path = true
    i = steps[i].branches[1] and steps[i].branches[1].from
  end
  return path
end

return gradients
