-- metrics.lua: how well a network classifies.

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
  local was_training = net.training
  net:eval()
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
  if was_training then net:train() end
  return {error = #wrong / #set, wrong = wrong, confusion = confusion}
end

return metrics
