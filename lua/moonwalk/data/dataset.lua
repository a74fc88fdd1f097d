-- dataset.lua: samples with their labels: a tensor of each, with as many rows. What is made of a
-- data set is a data set, with rows of its own.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Batches = require "moonwalk.data.batches"

---@class moonwalk.Dataset
---@field x moonwalk.Tensor samples [n,...]; images are kept as u8 [n,channels,height,width]
---@field y moonwalk.Tensor? labels [n,...]
---@field name string
---@field classes string[]? what the labels 0, 1, ... are called
---@field columns string[]? what the features are called, of a table
---@field encoding table? how a table's texts became numbers; see data.csv
---@field [integer] moonwalk.Item
---@operator len: integer
local Dataset = {}
Dataset.__name = "moonwalk.Dataset"

---@class moonwalk.Item
---@field x moonwalk.Tensor one sample, as a batch has it
---@field y number|moonwalk.Tensor|nil its label

local FIELDS = {"x", "y", "name", "classes", "columns", "encoding"}

---@param x moonwalk.Tensor
---@param y moonwalk.Tensor?
---@param name string
---@param more {classes: string[]?, columns: string[]?, encoding: table?}?
---@return moonwalk.Dataset
function Dataset.new(x, y, name, more)
  more = more or {}
  return setmetatable({
    x = x, y = y, name = name, classes = more.classes, columns = more.columns,
    encoding = more.encoding,
  }, Dataset)
end

---Whether a value is a data set.
function Dataset.is(value)
  return getmetatable(value) == Dataset
end

-- The dtype and scale of samples in a batch.
local function form(x)
  local dtype = (x.dtype == "i32" or x.dtype == "i64") and x.dtype or "f32"
  return dtype, x.dtype == "u8" and 1 / 255 or 1
end

local function item(self, i)
  local n = #self
  if i < 0 then i = n + 1 + i end
  if i < 1 or i > n then return nil end -- as behind the end of any list
  local function row(t, dtype, scale)
    local shape = table.move(t.shape, 2, #t.shape, 1, {})
    local taken = core.call("reshape", core.rows(t, nil, i, 1, dtype, scale), {shape = shape})
    core.eval(taken)
    return taken
  end
  local y = self.y and row(self.y)
  return {x = row(self.x, form(self.x)), y = y and #y.shape == 0 and y:item() or y}
end

Dataset.__index = function(self, key)
  if math.type(key) == "integer" then return item(self, key) end
  if Dataset[key] ~= nil then return Dataset[key] end
  local names = {}
  for _, name in ipairs(FIELDS) do names[#names + 1] = name end
  for method in pairs(Dataset) do names[#names + 1] = method end
  check.misspelt("a data set", key, names)
end

function Dataset:__len()
  return self.x.shape[1]
end

function Dataset:__tostring()
  return ("%s: x %s%s%s"):format(self.name, check.show(self.x),
    self.y and ", y " .. check.show(self.y) or "",
    self.classes and (", %d classes"):format(#self.classes) or "")
end

-- Parts -------------------------------------------------------------------------------------------

-- The rows that an i64 tensor lists, from 0.
local function rows(self, index)
  local n = index.shape[1]
  return Dataset.new(core.rows(self.x, index, 1, n), self.y and core.rows(self.y, index, 1, n),
    self.name, self)
end

-- Row numbers from 1 as such a tensor.
local function index_of(list)
  if #list == 0 then return core.from_bytes("", "i64", {0}) end
  local from_zero = {}
  for i, row in ipairs(list) do from_zero[i] = row - 1 end
  return core.tensor(from_zero, "i64")
end

---Some of the rows: from first to last, or those of a list (from 1) or of an i64 tensor (from 0).
---Negative places count from the end.
---@param first integer|integer[]|moonwalk.Tensor
---@param last integer?
---@return moonwalk.Dataset
function Dataset:subset(first, last)
  local where, n = "subset", #self
  if core.is_tensor(first) then
    if first.dtype ~= "i64" or #first.shape ~= 1 then
      check.fail(where, "the rows", first, "an i64 tensor of rank 1")
    end
    return rows(self, first)
  end
  local list = first
  if type(first) ~= "table" then
    first = check.integer(where, "first", first, math.mininteger)
    last = check.integer(where, "last", last, math.mininteger, n)
    if first < 0 then first = n + 1 + first end
    if last < 0 then last = n + 1 + last end
    if first < 1 or last > n or first > last + 1 then
      core.error(("%s: rows %d to %d are asked for, there are %d"):format(where, first, last, n))
    end
    local count = last - first + 1
    return Dataset.new(core.rows(self.x, nil, first, count),
      self.y and core.rows(self.y, nil, first, count), self.name, self)
  end
  local wanted = {}
  for i, row in ipairs(list) do
    row = check.integer(where, ("rows[%d]"):format(i), row, math.mininteger)
    if row < 0 then row = n + 1 + row end
    if row < 1 or row > n then
      core.error(("%s: rows[%d] is %d, there are %d"):format(where, i, list[i], n))
    end
    wanted[i] = row
  end
  return rows(self, index_of(wanted))
end

-- How many rows each part gets of n, from shares that are fractions or whole numbers.
local function part_sizes(where, shares, n)
  local sizes, total, fractions = {}, 0, false
  for i, share in ipairs(shares) do
    check.number(where, ("share %d"):format(i), share, 0, math.huge)
    if share ~= math.floor(share) or math.type(share) == "float" then fractions = true end
    total = total + share
  end
  if fractions and total > 1 + 1e-9 or not fractions and total > n then
    core.error(("%s: the shares add up to %s, expected at most %s"):format(where, total,
      fractions and "1" or ("the %d rows that there are"):format(n)))
  end
  if not fractions then return table.move(shares, 1, #shares, 1, sizes) end
  local before, sum = 0, 0
  for i, share in ipairs(shares) do -- rounded so that they add up
    sum = sum + share
    local upto = math.floor(sum * n + 0.5)
    sizes[i], before = upto - before, upto
  end
  return sizes
end

-- Row numbers from 1 as lists: one of all of them, or one for each label.
local function groups(self, order, stratified)
  if not stratified then return {order} end
  local lists, found, labels = {}, {}, self.y:totable()
  for _, row in ipairs(order) do
    local label = labels[row]
    if not found[label] then
      found[label] = {}
      lists[#lists + 1] = found[label]
    end
    table.insert(found[label], row)
  end
  return lists
end

---Cuts the set into parts: train, valid = set:split {0.9, 0.1, seed = 1}. Shares are fractions of
---the set, or numbers of rows; what is left over is left out. With one share the rest is the second
---part. Rows are drawn at random, and keep their order in each part.
---@param shares number|{[integer]: number, seed: integer?, shuffle: boolean?, stratified: boolean?}
---@return moonwalk.Dataset ...
function Dataset:split(shares)
  local where, n = "split", #self
  if type(shares) == "number" then shares = {shares} end
  local options = check.options(where, shares, {"seed", "shuffle", "stratified"}, true)
  if #options == 0 then check.fail(where, "the shares", shares, "a table such as {0.9, 0.1}") end
  local stratified = check.boolean(where, "stratified", options.stratified, false)
  local shuffle = check.boolean(where, "shuffle", options.shuffle, true)
  if stratified and not (self.y and #self.y.shape == 1) then
    check.fail(where, "y", self.y, "labels [n], for stratified parts")
  end
  local list = table.move(options, 1, #options, 1, {})
  if #list == 1 then
    local share = check.number(where, "share 1", list[1], 0, math.huge)
    list[2] = math.max(0, (math.type(share) == "float" and 1 or n) - share)
  end
  local order = {}
  for i = 1, n do order[i] = i end
  if shuffle then
    local seed = options.seed and check.integer(where, "seed", options.seed, math.mininteger)
    for i, row in ipairs(core.order(n, seed or core.random_seed(), 0):totable()) do
      order[i] = row + 1
    end
  end
  local sizes = part_sizes(where, list, n)
  local parts, fractions = {}, {}
  for i, size in ipairs(sizes) do parts[i], fractions[i] = {}, size / math.max(n, 1) end
  for _, group in ipairs(groups(self, order, stratified)) do
    local taken = stratified and part_sizes(where, fractions, #group) or sizes
    local at = 0
    for i, size in ipairs(taken) do
      table.move(group, at + 1, at + size, #parts[i] + 1, parts[i])
      at = at + size
    end
  end
  for i, part in ipairs(parts) do
    table.sort(part)
    parts[i] = rows(self, index_of(part))
  end
  return table.unpack(parts)
end

-- Other sets of it --------------------------------------------------------------------------------

---The rows of this set and then those of others, whose samples have the same shape and dtype.
---@param ... moonwalk.Dataset
---@return moonwalk.Dataset
function Dataset:concat(...)
  local sets = {self, ...}
  local xs, ys = {}, {}
  for i, set in ipairs(sets) do
    if not Dataset.is(set) then check.fail("concat", ("set %d"):format(i), set, "a data set") end
    for _, name in ipairs {"x", "y"} do
      local mine, its = self[name], set[name]
      local same = mine and its and mine.dtype == its.dtype and #mine.shape == #its.shape
        or mine == its
      for axis = 2, same and mine and #mine.shape or 0 do
        same = same and mine.shape[axis] == its.shape[axis]
      end
      if not same then
        core.error(("concat: %s of set %d is %s, expected one like %s"):format(name, i,
          check.show(its), check.show(mine)))
      end
    end
    xs[i], ys[i] = set.x, set.y
  end
  local x = core.call("concat", xs, {axis = 1})
  local y = self.y and core.call("concat", ys, {axis = 1})
  core.eval(x, y or x)
  return Dataset.new(x, y, self.name, self)
end

-- Rows as one tensor, from what a function gave for each.
local function stack(where, name, values)
  local first, parts = values[1], {}
  if type(first) == "number" then
    local whole = true
    for _, value in ipairs(values) do whole = whole and math.type(value) == "integer" end
    return core.tensor(values, whole and "i64" or "f32")
  end
  for i, value in ipairs(values) do
    if not core.is_tensor(value) then check.fail(where, name, value, "a tensor or a number") end
    if value.dtype ~= first.dtype
      or table.concat(value.shape, ",") ~= table.concat(first.shape, ",") then
      core.error(("%s: %s of sample %d is %s, that of the first one %s"):format(where, name, i,
        check.show(value), check.show(first)))
    end
    parts[i] = core.bytes(value)
  end
  local shape = table.move(first.shape, 1, #first.shape, 2, {#values})
  return core.from_bytes(table.concat(parts), first.dtype, shape)
end

---A set of what a function makes of each sample, called once for each: fn(x, y, i) gives x and y.
---x is a tensor as a batch has it, y a number or a tensor. For changes that differ from epoch to
---epoch there is data.augment.
---@param fn fun(x: moonwalk.Tensor, y: any, i: integer): moonwalk.Tensor, any
---@return moonwalk.Dataset
function Dataset:map(fn)
  if type(fn) ~= "function" then check.fail("map", "the argument", fn, "a function") end
  if #self == 0 then core.error("map: the set is empty") end
  local xs, ys = {}, {}
  for i = 1, #self do
    local one = item(self, i)
    xs[i], ys[i] = fn(one.x, one.y, i)
    if xs[i] == nil or (ys[i] == nil) ~= (ys[1] == nil) then
      core.error(("map: the function gave %s and %s for sample %d"):format(check.show(xs[i]),
        check.show(ys[i]), i))
    end
  end
  return Dataset.new(stack("map", "x", xs), ys[1] ~= nil and stack("map", "y", ys) or nil,
    self.name, self)
end

---The samples for which a function of (x, y, i) gives true.
---@param fn fun(x: moonwalk.Tensor, y: any, i: integer): boolean
---@return moonwalk.Dataset
function Dataset:filter(fn)
  if type(fn) ~= "function" then check.fail("filter", "the argument", fn, "a function") end
  local kept = {}
  for i = 1, #self do
    local one = item(self, i)
    if fn(one.x, one.y, i) then kept[#kept + 1] = i end
  end
  return rows(self, index_of(kept))
end

-- What is in it -----------------------------------------------------------------------------------

---Mean and standard deviation of the samples, bytes taken from 0 to 1: for each channel of images,
---for each feature of a table; for `augment = {normalise = set:moments()}`.
---@return {mean: number[], std: number[]}
function Dataset:moments()
  local rank, sums, squares, count = #self.x.shape, nil, nil, 0
  if #self == 0 then core.error("moments: the set is empty") end
  local axes = {1}
  for axis = rank == 3 and 2 or 3, rank do axes[#axes + 1] = axis end
  for batch in Batches.new(self.x, nil, {size = 1000, dtype = "f64"}) do
    local x = batch.x.dtype == "f64" and batch.x or core.tensor(batch.x, "f64")
    local sum, square = core.call("sum", x, {axes = axes}),
      core.call("sum", core.call("mul", x, x), {axes = axes})
    core.eval(sum, square)
    sums, squares = sums and sums + sum or sum, squares and squares + square or square
    core.eval(sums, squares)
    count = count + batch.x.shape[1]
  end
  for _, axis in ipairs(axes) do count = axis > 1 and count * self.x.shape[axis] or count end
  local function list(t)
    local values = t:totable()
    return type(values) == "table" and values or {values}
  end
  local mean, std = {}, {}
  squares = list(squares)
  for i, sum in ipairs(list(sums)) do
    mean[i] = sum / count
    std[i] = math.sqrt(math.max(0, squares[i] / count - mean[i] ^ 2))
  end
  return {mean = mean, std = std}
end

---How many samples there are of each label, by the label.
---@return table<integer, integer>
function Dataset:counts()
  if not self.y or #self.y.shape ~= 1 then check.fail("counts", "y", self.y, "labels [n]") end
  local counts = {}
  for _, label in ipairs(self.y:totable()) do counts[label] = (counts[label] or 0) + 1 end
  return counts
end

---Goes over the samples in batches: for batch in set:batches {size = 64} do ... end. The same seed
---and epoch give the same batches, whatever prefetch, workers and threads are.
---@param options moonwalk.BatchOptions?
---@return moonwalk.Batches
function Dataset:batches(options)
  local batches = Batches.new(self.x, self.y, options)
  return batches, nil, nil, batches -- the last is what a loop closes when it is left
end

for _, name in ipairs {
  "subset", "split", "concat", "map", "filter", "moments", "counts", "batches",
} do
  Dataset[name] = core.entry(Dataset[name])
end

return Dataset
