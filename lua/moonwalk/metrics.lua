-- metrics.lua: how well a network classifies.
--
-- Of a confusion matrix, counts [label + 1][predicted + 1], with tp, fp and fn of a class counted
-- in its cell, its column and its row:
--   accuracy   the share of its diagonal
--   precision  tp / (tp + fp)
--   recall     tp / (tp + fn)
--   F1         2 tp / (2 tp + fp + fn)
-- Each is 0 where that would divide by 0. Of all classes it is their mean, every class counting the
-- same ("macro"; Sokolova and Lapalme, 2009).

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

local metrics = {}

---@class moonwalk.Mistake
---@field index integer the sample's row, from 1
---@field label integer what it is, from 0
---@field predicted integer what the network takes it for, from 0

---@class moonwalk.Evaluation
---@field error number the share of samples that are classified wrongly
---@field wrong moonwalk.Mistake[]
---@field confusion integer[][] [label + 1][predicted + 1] counts samples

-- A module and those in it, each once.
local function modules_of(module, list, seen)
  if seen[module] then return list end
  seen[module], list[#list + 1] = true, module
  for _, child in ipairs(module:children()) do modules_of(child[2], list, seen) end
  return list
end

---Puts a network in evaluation mode. Gives the function that puts every module in it back in the
---mode that it was in.
---@param net moonwalk.Module
---@return function back
function metrics.evaluating(net)
  local list, was = modules_of(net, {}, {}), {}
  for i, module in ipairs(list) do was[i] = module.training end
  net:eval()
  return function()
    for i, module in ipairs(list) do rawset(module, "training", was[i]) end
  end
end

---Classifies every sample of a data set by the largest of the network's outputs.
---@param net moonwalk.Module
---@param set moonwalk.Dataset
---@param size integer? samples at a time, 250 when left out
---@return moonwalk.Evaluation
function metrics.evaluate(net, set, size)
  if not Module.is(net) then check.fail("evaluate", "net", net, "a module") end
  if type(set) ~= "table" or not set.batches then
    check.fail("evaluate", "the set", set, "a data set, as data.digits {} gives it")
  end
  local wrong, confusion, classes = {}, {}, nil
  local back = metrics.evaluating(net)
  for batch in set:batches {size = size or 250} do
    local logits = net(batch.x)
    if not classes then
      classes = logits.shape[2]
      for label = 1, classes do
        confusion[label] = {}
        for predicted = 1, classes do confusion[label][predicted] = 0 end
      end
    end
    local predictions = core.call("argmax", logits, {axis = 2}):totable()
    for i, label in ipairs(batch.y:totable()) do
      local predicted = predictions[i]
      local row = confusion[label + 1]
      if not row then
        core.error(("evaluate: label %d of sample %d is not one of %d classes"):format(label,
          batch.first + i - 1, classes))
      end
      row[predicted + 1] = row[predicted + 1] + 1
      if label ~= predicted then
        wrong[#wrong + 1] = {index = batch.first + i - 1, label = label, predicted = predicted}
      end
    end
  end
  back()
  return {error = #wrong / #set, wrong = wrong, confusion = confusion}
end

-- ---- of a confusion matrix ------------------------------------------------------------------

-- tp, fp and fn of a class, counted from 0.
local function counts_of(confusion, class)
  local tp, fp, fn = confusion[class + 1][class + 1], 0, 0
  for other = 1, #confusion do
    if other ~= class + 1 then
      fp = fp + confusion[other][class + 1]
      fn = fn + confusion[class + 1][other]
    end
  end
  return tp, fp, fn
end

local function check_confusion(where, confusion)
  local n = type(confusion) == "table" and #confusion or 0
  for label = 1, n do
    if type(confusion[label]) ~= "table" or #confusion[label] ~= n then n = 0 break end
  end
  if n == 0 then
    check.fail(where, "the confusion matrix", confusion, "a table of as many rows as columns")
  end
end

-- A function of the matrix, and of a class, or of all: their mean.
local function of_classes(name, ratio)
  local where = "metrics." .. name
  return core.entry(function(confusion, class)
    check_confusion(where, confusion)
    local first, last = 0, #confusion - 1
    if class ~= nil then
      check.integer(where, "class", class, 0)
      if class > last then check.fail(where, "class", class, "0 to " .. last) end
      first, last = class, class
    end
    local sum = 0
    for k = first, last do
      local part, whole = ratio(counts_of(confusion, k))
      sum = sum + (whole > 0 and part / whole or 0)
    end
    return sum / (last - first + 1)
  end)
end

---Of what is taken for a class, the share that is one of it.
---@type fun(confusion: integer[][], class: integer?): number
metrics.precision = of_classes("precision", function(tp, fp) return tp, tp + fp end)

---Of a class, the share that is taken for it.
---@type fun(confusion: integer[][], class: integer?): number
metrics.recall = of_classes("recall", function(tp, _, fn) return tp, tp + fn end)

---The harmonic mean of precision and recall.
---@type fun(confusion: integer[][], class: integer?): number
metrics.f1 = of_classes("f1", function(tp, fp, fn) return 2 * tp, 2 * tp + fp + fn end)

---The share of samples that are taken for what they are.
---@param confusion integer[][]
---@return number
function metrics.accuracy(confusion)
  check_confusion("metrics.accuracy", confusion)
  local right, all = 0, 0
  for label, row in ipairs(confusion) do
    right = right + row[label]
    for _, count in ipairs(row) do all = all + count end
  end
  return all > 0 and right / all or 0
end

-- ---- batch by batch -------------------------------------------------------------------------

local IGNORED = -100 -- what cross_entropy takes for no label

local OF_CONFUSION = {
  precision = metrics.precision, recall = metrics.recall, f1 = metrics.f1,
  confusion = function(confusion) return confusion end,
}
local NAMES = {"accuracy", "top5", "precision", "recall", "f1", "confusion"}

---What adds up over the batches of a set.
---@class moonwalk.Meter
---@field names string[]
local Meter = {}
Meter.__index = Meter

---A meter of metrics: names out of accuracy, top2, top3, ..., precision, recall, f1 and confusion;
---and functions by name, fn(output, y), which give a number for a batch, whose mean by samples is
---taken.
---@param list table {"accuracy", "top5", mae = function(output, y) ... end}
---@param where string? the function that the list was given to
---@return moonwalk.Meter
function metrics.meter(list, where)
  where = where or "metrics.meter"
  if type(list) ~= "table" then
    check.fail(where, "metrics", list, 'a list such as {"accuracy"}')
  end
  local self = setmetatable({names = {}, own = {}, top = {}, counts = false, classes = 0,
    samples = 0, labels = 0, right = {}, sums = {}}, Meter)
  for key, metric in pairs(list) do
    if type(key) == "string" then
      if type(metric) ~= "function" then
        check.fail(where, "the metric " .. key, metric, "a function of (output, y)")
      end
      self.own[key] = metric
      self.names[#self.names + 1] = key
    end
  end
  table.sort(self.names)
  for i, name in ipairs(list) do
    local k = type(name) == "string" and math.tointeger(tonumber(name:match "^top(%d+)$"))
    if name == "accuracy" then k = 1 end
    if k and k > 0 then self.top[name] = k
    elseif OF_CONFUSION[name] then self.counts = {}
    else check.choice(where, ("metric %d"):format(i), name, NAMES) end
    table.insert(self.names, i, name)
  end
  return self
end

-- How many labels are among the k largest outputs of their sample.
local function hits(output, y, k)
  if k > output.shape[2] then
    core.error(("top%d: the output has %d classes"):format(k, output.shape[2]))
  end
  if k == 1 then
    local predicted = core.call("argmax", output, {axis = 2})
    return core.call("sum", core.call("cast", predicted:eq(y), {dtype = "i64"})):item()
  end
  local _, indices = core.call("topk", output, {k = k, axis = 2})
  local found = indices:eq(core.call("unsqueeze", y, {axes = 2}))
  return core.call("sum", core.call("cast", found, {dtype = "i64"})):item()
end

-- Counts a batch in the confusion matrix, label * classes + predicted.
local function count(self, output, y)
  local classes = output.shape[2]
  self.classes = classes
  local predicted = core.call("argmax", output, {axis = 2})
  local flat = {core.call("reshape", predicted, {shape = {-1}}):totable(),
    core.call("reshape", y, {shape = {-1}}):totable()}
  for i, label in ipairs(flat[2]) do
    if label ~= IGNORED then
      if label < 0 or label >= classes then
        core.error(("metrics: a label is %d, and there are %d classes"):format(label, classes))
      end
      local key = label * classes + flat[1][i]
      self.counts[key] = (self.counts[key] or 0) + 1
    end
  end
end

local WHOLE = {i64 = true, i32 = true, u8 = true}

---Adds a batch.
---@param output moonwalk.Tensor [n,classes,...], for metrics of classes
---@param y moonwalk.Tensor labels [n,...]; -100 does not count
---@param samples integer
function Meter:add(output, y, samples)
  self.samples = self.samples + samples
  for name, metric in pairs(self.own) do
    local value = metric(output, y)
    if core.is_tensor(value) then value = value:item() end
    if type(value) ~= "number" then
      check.fail("metrics", "what " .. name .. " gives", value, "a number")
    end
    self.sums[name] = (self.sums[name] or 0) + value * samples
  end
  if next(self.top) == nil and not self.counts then return end
  if not (core.is_tensor(output) and #output.shape >= 2 and core.is_tensor(y) and WHOLE[y.dtype]
    and #y.shape == #output.shape - 1) then
    core.error(("metrics: %s is of classes: it wants outputs [n,classes,..] and labels [n,..], not "
      .. "%s and %s; give a function of your own, {name = function(output, y) ... end}"):format(
      self.names[1], check.show(output), check.show(y)))
  end
  y = core.call("cast", y, {dtype = "i64"})
  local counted = y:ne(core.full({}, IGNORED, "i64"))
  self.labels = self.labels + core.call("sum", core.call("cast", counted, {dtype = "i64"})):item()
  for name, k in pairs(self.top) do
    self.right[name] = (self.right[name] or 0) + hits(output, y, k)
  end
  if self.counts then count(self, output, y) end
end

-- The matrix of what was counted.
local function matrix(self)
  local rows = {}
  for label = 0, self.classes - 1 do
    local row = {}
    for predicted = 0, self.classes - 1 do
      row[predicted + 1] = self.counts[label * self.classes + predicted] or 0
    end
    rows[label + 1] = row
  end
  return rows
end

---What comes out, by name: numbers, and the confusion matrix as a table of rows.
---@return table<string, any>
function Meter:values()
  local values = {}
  for name in pairs(self.own) do values[name] = self.sums[name] / self.samples end
  for name in pairs(self.top) do values[name] = self.right[name] / math.max(self.labels, 1) end
  local confusion = self.counts and self.classes > 0 and matrix(self)
  for _, name in ipairs(self.names) do
    if confusion and OF_CONFUSION[name] and not self.own[name] then
      values[name] = OF_CONFUSION[name](confusion)
    end
  end
  return values
end

return metrics
