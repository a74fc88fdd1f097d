-- reduce.lua: plain formulas of what takes numbers together: reductions, searches and running
-- sums; and of cast and accumulate.
local nd = require "plain.nd"

local nan, huge = 0 / 0, math.huge

local function number(value)
  if type(value) == "boolean" then return value and 1 or 0 end
  return value
end

---- Reductions: a function of the list of numbers that come together

local function sum(list)
  local total = 0
  for _, value in ipairs(list) do total = total + number(value) end
  return total
end

local function product(list)
  local total = 1
  for _, value in ipairs(list) do total = total * number(value) end
  return total
end

local function mean(list) return sum(list) / #list end

-- The place of the first that none is beyond, or of the first NaN.
local function place_of(list, beyond)
  local best
  for i, value in ipairs(list) do
    if value ~= value then return i end
    if not best or beyond(number(value), number(list[best])) then best = i end
  end
  return best
end

local function greater(a, b) return a > b end
local function less(a, b) return a < b end

local function variance(list, attrs)
  local center, total = mean(list), 0
  for _, value in ipairs(list) do total = total + (value - center) ^ 2 end
  return total / math.max(0, #list - attrs.correction)
end

local function norm(list, attrs)
  local total = 0
  for _, value in ipairs(list) do
    if attrs.p == huge then total = math.max(total, math.abs(value))
    else total = total + math.abs(value) ^ attrs.p end
  end
  return attrs.p == huge and total or total ^ (1 / attrs.p)
end

local function logsumexp(list)
  local top, total = -huge, 0
  for _, value in ipairs(list) do
    if value ~= value then return nan end
    top = math.max(top, value)
  end
  if math.abs(top) == huge then return top end
  for _, value in ipairs(list) do total = total + math.exp(value - top) end
  return math.log(total) + top
end

local reductions = {
  sum = sum,
  prod = product,
  mean = mean,
  max = function(list) return list[place_of(list, greater)] end,
  min = function(list) return list[place_of(list, less)] end,
  var = variance,
  std = function(list, attrs) return variance(list, attrs) ^ 0.5 end,
  norm = norm,
  logsumexp = logsumexp,
  all = function(list)
    for _, value in ipairs(list) do
      if not value then return false end
    end
    return true
  end,
  any = function(list)
    for _, value in ipairs(list) do
      if value then return true end
    end
    return false
  end,
}

local plain = {}
for name, fn in pairs(reductions) do
  plain[name] = function(args, attrs)
    local x = args[1]
    return nd.reduce(x, nd.axes(attrs.axes, #x.shape), attrs.keepdims, function(list)
      return fn(list, attrs)
    end)
  end
end

for name, beyond in pairs {argmax = greater, argmin = less} do
  plain[name] = function(args, attrs)
    local x = args[1]
    return nd.reduce(x, nd.axes(attrs.axis, #x.shape), attrs.keepdims, function(list)
      return place_of(list, beyond) - 1
    end)
  end
end

-- Of 1 and 0 instead of the extremum itself: each number's group, and how many of it came before.
for name, beyond in pairs {max_mask = greater, min_mask = less} do
  plain[name] = function(args, attrs)
    local x = args[1]
    local set, seen = nd.axes(attrs.axes, #x.shape), {}
    local first = nd.reduce(x, set, true, function(list) return place_of(list, beyond) end)
    return nd.build(x.shape, function(index)
      local own = {}
      for k, at in ipairs(index) do own[k] = set[k] and 1 or at end
      local group = nd.place(first.shape, own)
      seen[group] = (seen[group] or 0) + 1
      return seen[group] == first[group] and 1 or 0
    end)
  end
end

---- The others

function plain.sum_to(args, attrs)
  local x, y = args[1], nd.full(attrs.shape)
  for index in nd.each(x.shape) do
    local to, shift = {}, #x.shape - #y.shape
    for k, size in ipairs(y.shape) do to[k] = size == 1 and 1 or index[k + shift] end
    nd.set(y, to, nd.get(y, to) + number(nd.get(x, index)))
  end
  return y
end

function plain.cumsum(args, attrs)
  local x = args[1]
  local axis = attrs.axis < 0 and attrs.axis + #x.shape + 1 or attrs.axis
  return nd.build(x.shape, function(index)
    local total, other = 0, table.move(index, 1, #index, 1, {})
    for i = 1, x.shape[axis] do
      local counts = attrs.reverse and i >= index[axis] or not attrs.reverse and i <= index[axis]
      if attrs.exclusive and i == index[axis] then counts = false end
      other[axis] = i
      if counts then total = total + number(nd.get(x, other)) end
    end
    return total
  end)
end

function plain.accumulate(args)
  local y = nd.full(args[1].shape)
  for _, x in ipairs(args) do
    for i = 1, nd.size(y.shape) do y[i] = y[i] + x[i] end
  end
  return y
end

local limits = {i32 = {-2 ^ 31, 2 ^ 31 - 1}, i64 = {-2 ^ 63, 2 ^ 63}, u8 = {0, 255}}

-- A float is cut off and brought into the range; an integer's low bits are kept.
local function whole(x, dtype)
  x = number(x)
  if math.type(x) == "integer" then
    if dtype == "u8" then return x & 255 end
    if dtype == "i32" then return (x + (1 << 31) & (1 << 32) - 1) - (1 << 31) end
    return x
  end
  if x ~= x then return 0 end
  x = math.max(limits[dtype][1], math.min(limits[dtype][2], x))
  if x == 2 ^ 63 then return math.maxinteger end
  return math.tointeger(x < 0 and math.ceil(x) or math.floor(x))
end

function plain.cast(args, attrs)
  return nd.map(args[1], function(x)
    if attrs.dtype == "bool" then return number(x) ~= 0 end
    if attrs.dtype == "f32" then return (("<f"):unpack(("<f"):pack(number(x)))) end
    if attrs.dtype == "f64" then return number(x) + 0.0 end
    return whole(x, attrs.dtype)
  end)
end

return plain
