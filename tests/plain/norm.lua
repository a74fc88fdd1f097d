-- norm.lua: plain formulas of the normalisations, softmax among them, and of attention.
local nd = require "plain.nd"

-- Mean and biased variance over a set of axes, with sizes of 1 there.
local function statistics(x, set)
  local mean = nd.reduce(x, set, true, function(list)
    local sum = 0
    for _, v in ipairs(list) do sum = sum + v end
    return sum / #list
  end)
  local square = nd.zip(function(v, m) return (v - m) ^ 2 end, x, mean)
  local variance = nd.reduce(square, set, true, function(list)
    local sum = 0
    for _, v in ipairs(list) do sum = sum + v end
    return sum / #list
  end)
  return mean, variance
end

local function standard(x, mean, variance, eps)
  return nd.zip(function(v, m, s) return (v - m) / math.sqrt(s + eps) end, x, mean, variance)
end

-- t, whose axes are those of the set, in the shape that broadcasts to x.
local function along(x, set, t)
  local shape, next_axis = {}, 1
  for k = 1, #x.shape do
    shape[k] = 1
    if set[k] then
      shape[k] = t.shape[next_axis]
      next_axis = next_axis + 1
    end
  end
  local result = table.move(t, 1, #t, 1, {shape = shape})
  return result
end

local function scaled(x, y, set, scale, bias)
  if scale then y = nd.zip(function(v, s) return v * s end, y, along(x, set, scale)) end
  if bias then y = nd.zip(function(v, s) return v + s end, y, along(x, set, bias)) end
  return y
end

local function all_but(rank, ...)
  local set = {}
  for k = 1, rank do set[k] = true end
  for _, k in ipairs {...} do set[k] = nil end
  return set
end

-- x [n, channels, ..] with each group of `size` channels of an example normalised by loops.
local function by_groups(x, size, eps)
  local y = nd.full(x.shape)
  local inner = 1
  for k = 3, #x.shape do inner = inner * x.shape[k] end
  local width = size * inner
  for first = 0, nd.size(x.shape) - 1, math.max(width, 1) do
    local sum, square = 0, 0
    for i = 1, width do sum = sum + x[first + i] end
    local mean = sum / width
    for i = 1, width do square = square + (x[first + i] - mean) ^ 2 end
    for i = 1, width do
      y[first + i] = (x[first + i] - mean) / math.sqrt(square / width + eps)
    end
  end
  return y
end

local norm = {}

function norm.normalize(args, attrs)
  local x = args[1]
  local mean, variance = statistics(x, nd.axes(attrs.axes, #x.shape))
  return {n = 3, standard(x, mean, variance, attrs.eps), mean, variance}
end

function norm.batch_norm(args, attrs)
  local x, scale, bias, running_mean, running_var = table.unpack(args, 1, 5)
  local set = all_but(#x.shape, 2)
  local channels, count = x.shape[2], 1
  for k = 1, #x.shape do count = count * (set[k] and x.shape[k] or 1) end
  local mean, variance, new_mean, new_var
  if attrs.training then
    mean, variance = statistics(x, set)
    local share = running_mean and attrs.momentum or 1
    new_mean, new_var = nd.full {channels}, nd.full {channels}
    for c = 1, channels do
      local old_mean = running_mean and running_mean[c] or 0
      local old_var = running_var and running_var[c] or 0
      new_mean[c] = (1 - share) * old_mean + share * mean[c]
      new_var[c] = (1 - share) * old_var + share * variance[c] * count / (count - 1)
      if count == 0 then new_mean[c], new_var[c] = old_mean, old_var end
    end
  else
    mean, variance = along(x, {[2] = true}, running_mean), along(x, {[2] = true}, running_var)
    new_mean, new_var = running_mean, running_var
  end
  local y = standard(x, mean, variance, attrs.eps)
  return {n = 3, scaled(x, y, {[2] = true}, scale, bias), new_mean, new_var}
end

function norm.layer_norm(args, attrs)
  local x = args[1]
  local set = nd.axes(attrs.axes, #x.shape)
  local mean, variance = statistics(x, set)
  return scaled(x, standard(x, mean, variance, attrs.eps), set, args[2], args[3])
end

function norm.rms_norm(args, attrs)
  local x = args[1]
  local set = nd.axes(attrs.axes, #x.shape)
  local root = nd.reduce(x, set, true, function(list)
    local sum = 0
    for _, v in ipairs(list) do sum = sum + v * v end
    return math.sqrt(sum / #list + attrs.eps)
  end)
  return scaled(x, nd.zip(function(v, r) return v / r end, x, root), set, args[2])
end

function norm.group_norm(args, attrs)
  local x = args[1]
  local y = by_groups(x, x.shape[2] // attrs.groups, attrs.eps)
  return scaled(x, y, {[2] = true}, args[2], args[3])
end

function norm.instance_norm(args, attrs)
  return scaled(args[1], by_groups(args[1], 1, attrs.eps), {[2] = true}, args[2], args[3])
end

function norm.causal_mask(_, attrs)
  return nd.build({attrs.rows, attrs.columns}, function(index) return index[2] <= index[1] end)
end

-- The softmax of a list; -inf keeps out, and nothing but that gives zeros.
local function softmax(list)
  local largest, sum, result = -math.huge, 0, {}
  for _, v in ipairs(list) do largest = math.max(largest, v) end
  for i, v in ipairs(list) do
    result[i] = largest == -math.huge and 0 or math.exp(v - largest)
    sum = sum + result[i]
  end
  for i, v in ipairs(result) do result[i] = sum > 0 and v / sum or 0 end
  return result
end

local function before_last_two(shape) return table.move(shape, 1, #shape - 2, 1, {}) end

function norm.scaled_dot_product_attention(args, attrs)
  local q, k, v, mask = table.unpack(args, 1, 4)
  local rows, width = q.shape[#q.shape - 1], q.shape[#q.shape]
  local keys, out = k.shape[#k.shape - 1], v.shape[#v.shape]
  local scale = attrs.scale ~= 0 and attrs.scale or 1 / math.sqrt(width)
  local batch = nd.broadcast(before_last_two(q.shape), before_last_two(k.shape),
    before_last_two(v.shape), mask and before_last_two(mask.shape) or {})
  local shape = table.move(batch, 1, #batch, 1, {})
  shape[#shape + 1], shape[#shape + 2] = rows, out
  local function at(array, index, i, j)
    local full = table.move(index, 1, #batch, 1, {})
    full[#full + 1], full[#full + 2] = i, j
    return nd.spread(array, full)
  end
  return nd.build(shape, function(index)
    local i, scores = index[#index - 1], {}
    for j = 1, keys do
      local score = 0
      for d = 1, width do score = score + at(q, index, i, d) * at(k, index, j, d) end
      score = score * scale
      local m = mask and at(mask, index, i, j)
      if m == false or (attrs.causal and j > i) then score = -math.huge end
      if type(m) == "number" then score = score + m end
      scores[j] = score
    end
    local sum = 0
    for j, weight in ipairs(softmax(scores)) do
      sum = sum + weight * at(v, index, j, index[#index])
    end
    return sum
  end)
end

---The same along an axis of an array.
local function along_axis(f)
  return function(args, attrs)
    local x, axis = args[1], attrs.axis < 0 and attrs.axis + #args[1].shape + 1 or attrs.axis
    local y = nd.full(x.shape)
    for index in nd.each(x.shape) do
      if index[axis] == 1 then
        local list, places = {}, {}
        for i = 1, x.shape[axis] do
          index[axis] = i
          places[i] = nd.place(x.shape, index)
          list[i] = x[places[i]]
        end
        for i, value in ipairs(f(list)) do y[places[i]] = value end
      end
    end
    return y
  end
end

norm.softmax = along_axis(softmax)
norm.log_softmax = along_axis(function(list)
  local result = {}
  for i, value in ipairs(softmax(list)) do result[i] = math.log(value) end
  return result
end)

return norm
