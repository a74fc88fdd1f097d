-- nd.lua: arrays for the plain formulas that the ops are compared with: {shape = {2, 3}, 1, 2,
-- ...}, row-major, elements as Lua numbers (bools as true and false). Indices are lists that count
-- from 1. Slow and simple on purpose; it shares nothing with the code under test.

local nd = {}

function nd.size(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

---An array of that shape, filled with value (default 0).
function nd.full(shape, value)
  local a = {shape = table.move(shape, 1, #shape, 1, {})}
  for i = 1, nd.size(shape) do a[i] = value or 0 end
  return a
end

---The place in the list of the element at index.
function nd.place(shape, index)
  local place = 0
  for k, size in ipairs(shape) do place = place * size + index[k] - 1 end
  return place + 1
end

function nd.get(a, index) return a[nd.place(a.shape, index)] end

function nd.set(a, index, value) a[nd.place(a.shape, index)] = value end

---for index in nd.each(shape): all indices in row-major order, each a new list. A scalar has one,
---the empty list.
function nd.each(shape)
  local n, at = nd.size(shape), 0
  return function()
    if at == n then return nil end
    local index, rest = {}, at
    for k = #shape, 1, -1 do
      index[k] = rest % shape[k] + 1
      rest = rest // shape[k]
    end
    at = at + 1
    return index
  end
end

---An array with f(index) as its elements.
function nd.build(shape, f)
  local a = {shape = table.move(shape, 1, #shape, 1, {})}
  for index in nd.each(shape) do a[#a + 1] = f(index) end
  return a
end

---f of each element.
function nd.map(a, f)
  local b = {shape = a.shape}
  for i = 1, nd.size(a.shape) do b[i] = f(a[i]) end
  return b
end

---The shape that several shapes broadcast to.
function nd.broadcast(...)
  local result = {}
  local rank = 0
  for _, shape in ipairs {...} do rank = math.max(rank, #shape) end
  for k = 1, rank do result[k] = 1 end
  for _, shape in ipairs {...} do
    for k, size in ipairs(shape) do
      if size ~= 1 then result[rank - #shape + k] = size end
    end
  end
  return result
end

---The element of a that an index of a shape to which a broadcasts stands for.
function nd.spread(a, index)
  local own, shift = {}, #index - #a.shape
  for k, size in ipairs(a.shape) do own[k] = size == 1 and 1 or index[k + shift] end
  return nd.get(a, own)
end

---f of the elements of several arrays, broadcast.
function nd.zip(f, ...)
  local arrays, shapes = {...}, {}
  for i, a in ipairs(arrays) do shapes[i] = a.shape end
  return nd.build(nd.broadcast(table.unpack(shapes)), function(index)
    local values = {}
    for i, a in ipairs(arrays) do values[i] = nd.spread(a, index) end
    return f(table.unpack(values))
  end)
end

---An axis or a list of axes, from 1 or negative from the end, as a set {[axis] = true}; none given
---means all.
function nd.axes(axes, rank)
  if type(axes) == "number" then axes = {axes} end
  local set = {}
  for k = 1, axes and #axes > 0 and 0 or rank do set[k] = true end
  for _, axis in ipairs(axes or {}) do set[axis < 0 and axis + rank + 1 or axis] = true end
  return set
end

---f of the list of elements that a reduction over a set of axes brings together, in row-major
---order.
function nd.reduce(a, set, keepdims, f)
  local shape, kept, groups = {}, {}, {}
  for k, size in ipairs(a.shape) do kept[k] = set[k] and 1 or size end
  for _ = 1, nd.size(kept) do groups[#groups + 1] = {} end
  for index in nd.each(a.shape) do
    local value, own = nd.get(a, index), {}
    for k in ipairs(index) do own[k] = set[k] and 1 or index[k] end
    local group = groups[nd.place(kept, own)]
    group[#group + 1] = value
  end
  for k, size in ipairs(kept) do
    if keepdims or not set[k] then shape[#shape + 1] = size end
  end
  local result = {shape = shape}
  for i, group in ipairs(groups) do result[i] = f(group) end
  return result
end

return nd
