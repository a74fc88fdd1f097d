-- linalg.lua: the plain formulas of products and of what is made of matrices.

local nd = require "plain.nd"

local plain = {}

local function copy(t) return table.move(t, 1, #t, 1, {}) end

-- An index in front of which stand the entries of another list.
local function joined(batch, ...)
  local index = copy(batch)
  for _, i in ipairs {...} do index[#index + 1] = i end
  return index
end

-- shape without its last n entries
local function batch_of(shape, n) return table.move(shape, 1, #shape - n, 1, {}) end

function plain.matmul(args, attrs)
  local a, b = args[1], args[2]
  local row, column = #a.shape == 1, #b.shape == 1
  local ta, tb = attrs.transpose_a and not row, attrs.transpose_b and not column
  local batch_a, batch_b = batch_of(a.shape, row and 1 or 2), batch_of(b.shape, column and 1 or 2)
  local batch = nd.broadcast(batch_a, batch_b)
  local function at(x, own, index, i, j, vector, first, transposed)
    local from, shift = {}, #index - #own
    for k, size in ipairs(own) do from[k] = size == 1 and 1 or index[k + shift] end
    if vector then return nd.get(x, joined(from, first and j or i)) end
    if transposed then i, j = j, i end
    return nd.get(x, joined(from, i, j))
  end
  local inner = a.shape[#a.shape - (ta and 1 or 0)]
  local shape = copy(batch)
  if not row then shape[#shape + 1] = a.shape[#a.shape - (ta and 0 or 1)] end
  if not column then shape[#shape + 1] = b.shape[#b.shape - (tb and 1 or 0)] end
  return nd.build(shape, function(index)
    local i = row and 1 or index[#batch + 1]
    local j = column and 1 or index[#index]
    local own, sum = table.move(index, 1, #batch, 1, {}), 0
    for k = 1, inner do
      sum = sum + at(a, batch_a, own, i, k, row, true, ta)
        * at(b, batch_b, own, k, j, column, false, tb)
    end
    return sum
  end)
end

function plain.dense(args)
  local x, w, b = args[1], args[2], args[3]
  local shape = copy(x.shape)
  shape[#shape] = w.shape[1]
  return nd.build(shape, function(index)
    local from, out = copy(index), index[#index]
    local sum = b and b[out] or 0
    for i = 1, w.shape[2] do
      from[#from] = i
      sum = sum + nd.get(x, from) * nd.get(w, {out, i})
    end
    return sum
  end)
end

function plain.kron(args)
  local a, b = args[1], args[2]
  local rank, shape = math.max(#a.shape, #b.shape), {}
  local function size(x, k) return x.shape[k - (rank - #x.shape)] or 1 end
  for k = 1, rank do shape[k] = size(a, k) * size(b, k) end
  return nd.build(shape, function(index)
    local from_a, from_b = {}, {}
    for k, i in ipairs(index) do
      if k > rank - #a.shape then from_a[#from_a + 1] = (i - 1) // size(b, k) + 1 end
      if k > rank - #b.shape then from_b[#from_b + 1] = (i - 1) % size(b, k) + 1 end
    end
    return nd.get(a, from_a) * nd.get(b, from_b)
  end)
end

function plain.outer(args)
  local a, b = args[1], args[2]
  local batch = nd.broadcast(batch_of(a.shape, 1), batch_of(b.shape, 1))
  local shape = joined(batch, a.shape[#a.shape], b.shape[#b.shape])
  return nd.build(shape, function(index)
    local own = table.move(index, 1, #batch, 1, {})
    return nd.spread(a, joined(own, index[#index - 1])) * nd.spread(b, joined(own, index[#index]))
  end)
end

-- The labels of each operand and of the result: letters, and numbers from the last for "...".
local function read_equation(equation, args)
  local left, right = equation:gsub(" ", ""):match "^(.-)%->(.*)$"
  left = left or equation:gsub(" ", "")
  local operands, times, most = {}, {}, 0
  local function labels_of(text, hidden)
    local labels = {}
    for part in text:gmatch "%.?%.?[%a%.]" do
      if part == "..." then
        for d = hidden, 1, -1 do labels[#labels + 1] = d end
      else
        labels[#labels + 1] = part
      end
    end
    return labels
  end
  for text in (left .. ","):gmatch "([^,]*)," do
    local x = args[#operands + 1]
    local hidden = #x.shape - select(2, text:gsub("%a", ""))
    operands[#operands + 1] = labels_of(text, hidden)
    most = math.max(most, hidden)
    for letter in text:gmatch "%a" do times[letter] = (times[letter] or 0) + 1 end
  end
  if not right then
    local once = {}
    for letter, n in pairs(times) do
      if n == 1 then once[#once + 1] = letter end
    end
    table.sort(once)
    right = "..." .. table.concat(once)
  end
  return operands, labels_of(right, most)
end

-- Loops over all values of all labels.
function plain.einsum(args, attrs)
  local operands, out = read_equation(attrs.equation, args)
  local place, sizes = {}, {}
  for i, labels in ipairs(operands) do
    for k, label in ipairs(labels) do
      local size = args[i].shape[k]
      if not place[label] then
        sizes[#sizes + 1] = size
        place[label] = #sizes
      elseif size ~= 1 then
        sizes[place[label]] = size
      end
    end
  end
  local shape = {}
  for k, label in ipairs(out) do shape[k] = sizes[place[label]] end
  local y = nd.full(shape)
  for values in nd.each(sizes) do
    local product, to = 1, {}
    for i, labels in ipairs(operands) do
      local from = {}
      for k, label in ipairs(labels) do
        from[k] = args[i].shape[k] == 1 and 1 or values[place[label]]
      end
      product = product * nd.get(args[i], from)
    end
    for k, label in ipairs(out) do to[k] = values[place[label]] end
    nd.set(y, to, nd.get(y, to) + product)
  end
  return y
end

-- x where keep(row, column) is true, 0 elsewhere
local function masked(x, keep)
  return nd.build(x.shape, function(index)
    return keep(index[#index - 1], index[#index]) and nd.get(x, index) or 0
  end)
end

function plain.tril(args, attrs)
  return masked(args[1], function(i, j) return j <= i + attrs.k end)
end

function plain.triu(args, attrs)
  return masked(args[1], function(i, j) return j >= i + attrs.k end)
end

-- The rows whose entry on diagonal k is within m columns.
local function rows_on(m, n, k)
  local rows = {}
  for i = 1, m do
    if i + k >= 1 and i + k <= n then rows[#rows + 1] = i end
  end
  return rows
end

function plain.diagonal(args, attrs)
  local x = args[1]
  local rows = rows_on(x.shape[#x.shape - 1], x.shape[#x.shape], attrs.k)
  return nd.build(joined(batch_of(x.shape, 2), #rows), function(index)
    local row = rows[index[#index]]
    return nd.get(x, joined(batch_of(index, 1), row, row + attrs.k))
  end)
end

function plain.diag_embed(args, attrs)
  local x, k = args[1], attrs.k
  local side = x.shape[#x.shape] + math.abs(k)
  return nd.build(joined(batch_of(x.shape, 1), side, side), function(index)
    local i, j = index[#index - 1], index[#index]
    if j - i ~= k then return 0 end
    return nd.get(x, joined(batch_of(index, 2), math.min(i, j)))
  end)
end

function plain.diag(args, attrs)
  return (#args[1].shape == 1 and plain.diag_embed or plain.diagonal)(args, attrs)
end

function plain.trace(args, attrs)
  local diagonal = plain.diagonal(args, attrs)
  return nd.reduce(diagonal, {[#diagonal.shape] = true}, false, function(group)
    local sum = 0
    for _, value in ipairs(group) do sum = sum + value end
    return sum
  end)
end

return plain
