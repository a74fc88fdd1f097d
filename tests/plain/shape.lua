-- shape.lua: the plain formulas of the ops that give elements other places: an index of the result
-- says which element of the arguments stands there.

local nd = require "plain.nd"

local plain = {}

local function list(value) return type(value) == "table" and value or {value} end

local function axis_of(axis, rank) return axis < 0 and axis + rank + 1 or axis end

local function copy(t) return table.move(t, 1, #t, 1, {}) end

-- The same elements in the same order under another shape.
local function reshaped(x, shape)
  local y = table.move(x, 1, nd.size(x.shape), 1, {})
  y.shape = shape
  return y
end

function plain.reshape(args, attrs)
  local x, shape = args[1], copy(list(attrs.shape))
  local known, open = 1, nil
  for k, size in ipairs(shape) do
    if size == -1 then open = k else known = known * size end
  end
  if open then shape[open] = nd.size(x.shape) // known end
  return reshaped(x, shape)
end

function plain.flatten(args, attrs)
  local x, shape = args[1], {}
  local axis = axis_of(attrs.axis, #x.shape)
  for k, size in ipairs(x.shape) do
    if k <= axis then shape[k] = size else shape[axis] = shape[axis] * size end
  end
  return reshaped(x, shape)
end

function plain.squeeze(args, attrs)
  local x, shape, named = args[1], {}, list(attrs.axes)
  local set = #named > 0 and nd.axes(named, #x.shape) or {}
  for k, size in ipairs(x.shape) do
    local goes = set[k] or #named == 0 and size == 1
    if not goes then shape[#shape + 1] = size end
  end
  return reshaped(x, shape)
end

function plain.unsqueeze(args, attrs)
  local x, shape, from = args[1], {}, 1
  local rank = #x.shape + #list(attrs.axes)
  local set = nd.axes(attrs.axes, rank)
  for k = 1, rank do
    if set[k] then
      shape[k] = 1
    else
      shape[k] = x.shape[from]
      from = from + 1
    end
  end
  return reshaped(x, shape)
end

function plain.identity(args) return args[1] end

function plain.stop_gradient(args) return args[1] end

function plain.transpose(args, attrs)
  local x, perm, shape = args[1], copy(list(attrs.perm)), {}
  local rank = #x.shape
  for k = 1, rank do
    perm[k] = perm[k] and axis_of(perm[k], rank) or rank + 1 - k
    shape[k] = x.shape[perm[k]]
  end
  return nd.build(shape, function(index)
    local from = {}
    for k, axis in ipairs(perm) do from[axis] = index[k] end
    return nd.get(x, from)
  end)
end

-- For axis k: where the first element is, from 1, and the step from one to the next.
local function range_of(attrs, k, size)
  local start, step = list(attrs.start)[k] or 1, list(attrs.step)[k] or 1
  return start < 0 and start + size + 1 or start, step
end

function plain.slice(args, attrs)
  local x, shape = args[1], {}
  for k, size in ipairs(x.shape) do shape[k] = list(attrs.count)[k] or size end
  return nd.build(shape, function(index)
    local from = {}
    for k, i in ipairs(index) do
      local start, step = range_of(attrs, k, x.shape[k])
      from[k] = start + (i - 1) * step
    end
    return nd.get(x, from)
  end)
end

function plain.place(args, attrs)
  local x, y = args[1], nd.full(list(attrs.shape))
  for index in nd.each(x.shape) do
    local to = {}
    for k, i in ipairs(index) do
      local start, step = range_of(attrs, k, y.shape[k])
      to[k] = start + (i - 1) * step
    end
    nd.set(y, to, nd.get(x, index))
  end
  return y
end

function plain.expand(args, attrs)
  local x = args[1]
  return nd.build(list(attrs.shape), function(index) return nd.spread(x, index) end)
end

function plain.concat(args, attrs)
  local shape = copy(args[1].shape)
  local axis = axis_of(attrs.axis, #shape)
  shape[axis] = 0
  for _, x in ipairs(args) do shape[axis] = shape[axis] + x.shape[axis] end
  return nd.build(shape, function(index)
    local from, i = copy(index), 1
    while from[axis] > args[i].shape[axis] do
      from[axis] = from[axis] - args[i].shape[axis]
      i = i + 1
    end
    return nd.get(args[i], from)
  end)
end

function plain.stack(args, attrs)
  local shape = copy(args[1].shape)
  local axis = axis_of(attrs.axis, #shape + 1)
  table.insert(shape, axis, #args)
  return nd.build(shape, function(index)
    local from = copy(index)
    local i = table.remove(from, axis)
    return nd.get(args[i], from)
  end)
end

function plain.flip(args, attrs)
  local x = args[1]
  local turned = nd.axes(attrs.axes, #x.shape)
  return nd.build(x.shape, function(index)
    local from = {}
    for k, i in ipairs(index) do from[k] = turned[k] and x.shape[k] + 1 - i or i end
    return nd.get(x, from)
  end)
end

function plain.roll(args, attrs)
  local x, shift, axes = args[1], list(attrs.shift), list(attrs.axes)
  if #axes == 0 then
    local n, y = nd.size(x.shape), {shape = x.shape}
    for i = 0, n - 1 do y[(i + shift[1]) % n + 1] = x[i + 1] end
    return y
  end
  local y = nd.full(x.shape)
  for index in nd.each(x.shape) do
    local to = copy(index)
    for i, named in ipairs(axes) do
      local axis = axis_of(named, #x.shape)
      to[axis] = (to[axis] - 1 + (shift[i] or shift[1])) % x.shape[axis] + 1
    end
    nd.set(y, to, nd.get(x, index))
  end
  return y
end

-- Where position i (from 0) of a row of n entries with a border comes from, or nil.
local function border(mode, i, n)
  if i >= 0 and i < n then return i end
  if mode == "reflect" then
    return border(mode, i < 0 and -i or 2 * n - 2 - i, n)
  elseif mode == "edge" then
    return i < 0 and 0 or n - 1
  elseif mode == "wrap" then
    return i % n
  end
end

function plain.pad(args, attrs)
  local x, given = args[1], list(attrs.pads)
  local rank, pads, shape = #x.shape, {}, {}
  for k = 1, rank do
    local at = 2 * k - 1 - (2 * rank - #given)
    pads[k] = {given[at] or 0, given[at + 1] or 0}
    shape[k] = x.shape[k] + pads[k][1] + pads[k][2]
  end
  return nd.build(shape, function(index)
    local from = {}
    for k, i in ipairs(index) do
      local cut, cut_end = math.max(0, -pads[k][1]), math.max(0, -pads[k][2])
      local position = border(attrs.mode, i - 1 - math.max(0, pads[k][1]),
        x.shape[k] - cut - cut_end)
      if not position then return attrs.value or 0 end
      from[k] = cut + position + 1
    end
    return nd.get(x, from)
  end)
end

plain.pad_linear = plain.pad

function plain.tile(args, attrs)
  local x, repeats = args[1], copy(list(attrs.repeats))
  while #repeats < #x.shape do table.insert(repeats, 1, 1) end
  local lead, shape = #repeats - #x.shape, {}
  for k, times in ipairs(repeats) do shape[k] = times * (x.shape[k - lead] or 1) end
  return nd.build(shape, function(index)
    local from = {}
    for k, size in ipairs(x.shape) do from[k] = (index[k + lead] - 1) % size + 1 end
    return nd.get(x, from)
  end)
end

function plain.repeat_interleave(args, attrs)
  local x, shape = args[1], copy(args[1].shape)
  local axis = axis_of(attrs.axis, #shape)
  shape[axis] = shape[axis] * attrs.repeats
  return nd.build(shape, function(index)
    local from = copy(index)
    from[axis] = (from[axis] - 1) // attrs.repeats + 1
    return nd.get(x, from)
  end)
end

return plain
