-- indexing.lua: the plain formulas of the ops in which tensors hold indices, which count from 0.

local nd = require "plain.nd"

local plain = {}

local function axis_of(axis, rank) return axis < 0 and axis + rank + 1 or axis end

local function copy(t) return table.move(t, 1, #t, 1, {}) end

function plain.gather(args, attrs)
  local x, where = args[1], args[2]
  local axis = axis_of(attrs.axis, #x.shape)
  return nd.build(where.shape, function(index)
    local from = copy(index)
    from[axis] = nd.get(where, index) + 1
    return nd.get(x, from)
  end)
end

function plain.scatter_add(args, attrs)
  local x, where, source = args[1], args[2], args[3]
  local axis = axis_of(attrs.axis, #x.shape)
  local y = nd.map(x, function(value) return value end)
  for index in nd.each(where.shape) do
    local to = copy(index)
    to[axis] = nd.get(where, index) + 1
    nd.set(y, to, nd.get(y, to) + nd.get(source, index))
  end
  return y
end

function plain.index_select(args, attrs)
  local x, where = args[1], args[2]
  local axis, shape = axis_of(attrs.axis, #x.shape), copy(x.shape)
  shape[axis] = where.shape[1]
  return nd.build(shape, function(index)
    local from = copy(index)
    from[axis] = where[index[axis]] + 1
    return nd.get(x, from)
  end)
end

function plain.embedding(args)
  local weight, where = args[1], args[2]
  local shape = copy(where.shape)
  shape[#shape + 1] = weight.shape[2]
  return nd.build(shape, function(index)
    local at = copy(index)
    local column = table.remove(at)
    return nd.get(weight, {nd.get(where, at) + 1, column})
  end)
end

-- The first `count` elements of each line along the axis, by how many others come before them.
local function ranked(x, axis, descending, count)
  local shape = copy(x.shape)
  shape[axis] = count
  local values, indices = nd.full(shape), nd.full(shape)
  local function before(a, i, b, j)
    if a ~= a or b ~= b then return a == a or b ~= b and i < j end
    if a == b then return i < j end
    if descending then return a > b end
    return a < b
  end
  for index in nd.each(x.shape) do
    local value, rank, other = nd.get(x, index), 1, copy(index)
    for i = 1, x.shape[axis] do
      other[axis] = i
      if i ~= index[axis] and before(nd.get(x, other), i, value, index[axis]) then
        rank = rank + 1
      end
    end
    if rank <= count then
      local to = copy(index)
      to[axis] = rank
      nd.set(values, to, value)
      nd.set(indices, to, index[axis] - 1)
    end
  end
  return values, indices
end

function plain.sort(args, attrs)
  local x = args[1]
  local axis = axis_of(attrs.axis, #x.shape)
  local values, indices = ranked(x, axis, attrs.descending, x.shape[axis])
  return {n = 2, values, indices}
end

function plain.argsort(args, attrs)
  return plain.sort(args, attrs)[2]
end

function plain.topk(args, attrs)
  local x = args[1]
  local values, indices = ranked(x, axis_of(attrs.axis, #x.shape), attrs.largest, attrs.k)
  return {n = 2, values, indices}
end

function plain.one_hot(args, attrs)
  local labels = args[1]
  local axis, shape = axis_of(attrs.axis, #labels.shape + 1), copy(labels.shape)
  table.insert(shape, axis, attrs.classes)
  return nd.build(shape, function(index)
    local at = copy(index)
    local class = table.remove(at, axis) - 1
    local label = nd.get(labels, at)
    local hit = label == class and label ~= attrs.ignore_index
    if attrs.dtype == "bool" then return hit end
    return hit and 1 or 0
  end)
end

return plain
