-- marks.lua: where on its way a gradient vanishes or explodes, and what is known of the cause.

local core = require "moonwalk.core"
local words = require "moonwalk.look.words"

local marks = {}

local LEAST_FACTOR, LARGEST_FACTOR = 0.05, 20 -- of one step
local LEAST, LARGEST = 1e-7, 1e3 -- norms: the least by that near the loss
local FAR = 100 -- a norm is large for its graph when it is so often that near the loss

-- Sums of products: their factor says how large the other operand is, not how many elements there
-- are.
local PRODUCTS = {}
for op in ([[dense matmul conv1d conv2d conv3d conv_transpose1d conv_transpose2d einsum outer kron
  scaled_dot_product_attention]]):gmatch "%S+" do PRODUCTS[op] = true end

-- The factors of a step that are neither small nor large. A sum of n elements hands its gradient on
-- n times, which makes the norm sqrt(n) times as large, and a mean makes it as much smaller.
local function bounds(from, to)
  if PRODUCTS[from.op] then
    return LEAST_FACTOR, to.op == "parameter" and math.huge or LARGEST_FACTOR
  end
  local more = math.max(from.count, to.count) / math.max(math.min(from.count, to.count), 1)
  return LEAST_FACTOR / math.sqrt(more), LARGEST_FACTOR * math.sqrt(more)
end

-- The mark of a step that the gradient comes to from another one; `near` is the norm near the loss.
local function judge(from, to, near)
  local before, after = from.norm, to.norm
  if before ~= before or before == math.huge then return nil end -- it was lost before
  if after ~= after then return "nan" end
  if after == math.huge then return "infinite" end
  if before == 0 then return nil end
  local low, high = bounds(from, to)
  local least, largest = LEAST * near, math.max(LARGEST, FAR * near)
  if to.factor < low or after < least and before >= least then return "vanishes" end
  if to.factor > high or after > largest and before <= largest then return "explodes" end
end

---The first step on the way that has more than one element, where the size of the batch is counted
---in: what comes after is compared with its norm.
---@param steps moonwalk.GradientStep[]
---@param path integer[]
---@return moonwalk.GradientStep
function marks.near_loss(steps, path)
  for _, i in ipairs(path) do
    if steps[i].count > 1 then return steps[i] end
  end
  return steps[path[1]]
end

---Marks the steps at which the gradient vanishes or explodes.
---@param steps moonwalk.GradientStep[]
---@param near number  the norm near the loss
function marks.set(steps, near)
  for _, step in ipairs(steps) do
    local strongest = step.branches[1]
    step.mark = strongest and judge(steps[strongest.from], step, near)
  end
end

-- ---- what is known of causes ----------------------------------------------------------------

-- Beyond these inputs the slope is less than a fourteenth of the largest.
local SATURATED = {sigmoid = 4, tanh = 2}

-- Functions that are steep where their input is near 0.
local STEEP = {}
for op in ("log log2 log10 sqrt rsqrt reciprocal pow"):gmatch "%S+" do STEEP[op] = true end

local LOSSES = {}
for op in ("cross_entropy nll bce bce_with_logits mse l1 huber hinge kl_div"):gmatch "%S+" do
  LOSSES[op] = true
end

local function is_float(t) return t.dtype == "f32" or t.dtype == "f64" end
local function in_double(t) return t.dtype == "f64" and t or t:cast "f64" end
local function share(t) return t:cast "f64":mean() end

-- What is asked to know a cause: a scalar to compute, and a function that makes words of it.

local function saturation(x, most)
  local sign = require("moonwalk.look.screen").utf8() and "±" or "+-"
  return share(x:abs():gt(most)), function(beyond)
    return ("saturated: %s of its inputs beyond %s%d"):format(words.percent(beyond), sign, most)
  end
end

local function death(y)
  return share(y:eq(0)), function(dead)
    return ("dead: %s of its elements are 0"):format(words.percent(dead))
  end
end

local function nearness(x, what)
  return in_double(x):abs():min(), function(least)
    if least == 0 then return what .. " is 0" end
    return ("%s comes as near to 0 as %s"):format(what, words.number(least))
  end
end

local function highest(x)
  return in_double(x):max(), function(most) return "its input goes up to " .. words.number(most) end
end

local function blockage(from, to)
  local little = to.gradient:abs():lt(from.gradient:abs() * LEAST_FACTOR)
  return share(little), function(blocked)
    return ("less than 5 %% passes at %s of its elements"):format(words.percent(blocked))
  end
end

-- The other operand of a product.
local function size_of_other(node, to, name_of, key_of)
  local target = key_of(to.tensor)
  for i = 1, 2 do -- a third one is a bias
    local input = node.inputs[i]
    local t = input and input.tensor
    if t and is_float(t) and key_of(t) ~= target then
      local name = name_of(key_of(t)) or input.name
      return (in_double(t) * in_double(t)):mean():sqrt(), function(size)
        return ("%s has a root mean square of %s"):format(name, words.number(size))
      end
    end
  end
end

-- Nil where nothing is known of the op.
local function cause_of(from, to, name_of, key_of)
  local node = core.node(from.tensor)
  local op, shrinks, x = node.op, to.mark == "vanishes", (node.inputs[1] or {}).tensor
  if node.backward or not x or not is_float(x) then return nil end
  if op == "relu" then return death(from.tensor) end
  if SATURATED[op] then return saturation(x, SATURATED[op]) end
  if STEEP[op] and not shrinks then return nearness(x, "its input") end
  if op:find "^exp" and not shrinks then return highest(x) end
  if op == "div" and not shrinks then return nearness(node.inputs[2].tensor, "the divisor") end
  if PRODUCTS[op] or op == "mul" or op == "div" then
    return size_of_other(node, to, name_of, key_of)
  end
  if LOSSES[op] and shrinks then
    return in_double(from.tensor):mean(), function(loss) return "it is " .. words.number(loss) end
  end
  if shrinks and from.spec == to.spec and (core.op_info(op) or {}).elementwise then
    return blockage(from, to)
  end
end

---Says what is known of the causes of some steps' marks, which takes a program of its own.
---@param steps moonwalk.GradientStep[]
---@param list integer[]  of these
---@param name_of fun(key: string): string?
---@param key_of fun(t: moonwalk.Tensor): string
function marks.explain(steps, list, name_of, key_of)
  local tensors, asked = {}, {}
  for _, i in ipairs(list) do
    local to = steps[i]
    local needed, say = cause_of(steps[to.branches[1].from], to, name_of, key_of)
    if needed then
      tensors[#tensors + 1] = needed
      asked[#asked + 1] = {to, needed, say}
    end
  end
  core.run(tensors, {}, {})
  for _, it in ipairs(asked) do it[1].note = it[3](it[2]:item()) end
end

return marks
