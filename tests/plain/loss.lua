-- loss.lua: plain formulas of the losses.
local nd = require "plain.nd"

local function total(list)
  local sum = 0
  for i = 1, nd.size(list.shape) do sum = sum + list[i] end
  return sum
end

-- The losses of the elements, reduced.
local function reduced(losses, attrs)
  if attrs.reduction == "none" then return losses end
  local sum = total(losses)
  if attrs.reduction == "mean" then sum = sum / nd.size(losses.shape) end
  if attrs.reduction == "batchmean" then sum = sum / (losses.shape[1] or 1) end
  return {shape = {}, sum}
end

local function of_pairs(f)
  return function(args, attrs)
    local function element(x, target) return f(x, target, attrs) end
    return reduced(nd.zip(element, args[1], args[2]), attrs)
  end
end

local one = {shape = {}, 1}
local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local loss = {}

loss.mse = of_pairs(function(x, target) return (x - target) ^ 2 end)
loss.l1 = of_pairs(function(x, target) return math.abs(x - target) end)
loss.huber = of_pairs(function(x, target, attrs)
  local d = math.abs(x - target)
  return d <= attrs.delta and d * d / 2 or attrs.delta * (d - attrs.delta / 2)
end)
loss.hinge = of_pairs(function(x, target, attrs)
  return math.max(0, attrs.margin - x * target)
end)
loss.kl_div = of_pairs(function(x, target, attrs)
  if attrs.log_target then return math.exp(target) * (target - x) end
  return target == 0 and 0 or target * (math.log(target) - x)
end)

function loss.bce(args, attrs)
  return reduced(nd.zip(function(x, target, weight)
    return -weight * (target * math.log(x) + (1 - target) * math.log(1 - x))
  end, args[1], args[2], args[3] or one), attrs)
end

function loss.bce_with_logits(args, attrs)
  return reduced(nd.zip(function(x, target, weight, pos_weight)
    return -weight * (pos_weight * target * math.log(sigmoid(x))
      + (1 - target) * math.log(1 - sigmoid(x)))
  end, args[1], args[2], args[3] or one, args[4] or one), attrs)
end

function loss.cosine_similarity(args, attrs)
  local set = nd.axes(attrs.axis, #args[1].shape)
  local function along(f, ...)
    return nd.reduce(nd.zip(f, ...), set, false, function(list)
      local sum = 0
      for _, v in ipairs(list) do sum = sum + v end
      return sum
    end)
  end
  local function product(a, b) return a * b end
  local function length(a) return math.max(math.sqrt(a), attrs.eps) end
  return nd.zip(function(ab, aa, bb) return ab / (length(aa) * length(bb)) end,
    along(product, args[1], args[2]), along(product, args[1], args[1]),
    along(product, args[2], args[2]))
end

-- ln softmax(x) of the classes on an axis, as an array like x.
local function log_softmax(x, axis)
  local set = nd.axes(axis, #x.shape)
  local sums = nd.reduce(nd.map(x, math.exp), set, true, function(list)
    local sum = 0
    for _, v in ipairs(list) do sum = sum + v end
    return sum
  end)
  return nd.zip(function(v, sum) return v - math.log(sum) end, x, sums)
end

-- The mean of losses of labels is over weights: f(index of an element with an axis for the
-- classes, its label) gives the loss; ignored elements cost nothing.
local function of_labels(labels, rank, class_weight, attrs, f)
  local axis = attrs.axis < 0 and attrs.axis + rank + 1 or attrs.axis
  local losses, weights = nd.full(labels.shape), 0
  for index in nd.each(labels.shape) do
    local label = nd.get(labels, index)
    if label ~= attrs.ignore_index then
      local function at(class)
        local full = table.move(index, 1, #index, 1, {})
        table.insert(full, axis, class + 1)
        return full
      end
      nd.set(losses, index, f(at, label))
      weights = weights + (class_weight and class_weight[label + 1] or 1)
    end
  end
  if attrs.reduction == "none" then return losses end
  local sum = total(losses)
  return {shape = {}, attrs.reduction == "mean" and sum / weights or sum}
end

function loss.nll(args, attrs)
  local x, labels, class_weight = args[1], args[2], args[3]
  return of_labels(labels, #x.shape, class_weight, attrs, function(at, label)
    return -(class_weight and class_weight[label + 1] or 1) * nd.get(x, at(label))
  end)
end

function loss.cross_entropy(args, attrs)
  local labels, class_weight = args[2], args[3]
  local axis = attrs.axis < 0 and attrs.axis + #args[1].shape + 1 or attrs.axis
  local p = log_softmax(args[1], axis)
  local classes, e = p.shape[axis], attrs.label_smoothing
  return of_labels(labels, #p.shape, class_weight, attrs, function(at, label)
    local cost = 0
    for class = 0, classes - 1 do
      local share = (class == label and 1 - e or 0) + e / classes
      cost = cost - share * (class_weight and class_weight[class + 1] or 1)
        * nd.get(p, at(class))
    end
    return cost
  end)
end

return loss
