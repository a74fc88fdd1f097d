-- infer.lua: calls a network for the shapes alone: nothing is computed but first values of
-- parameters whose sizes the input decides.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local updates = require "moonwalk.updates"

local infer = {}

-- The dtype of the first parameter that there is.
local function dtype_of(module)
  local own = module:own_parameters()[1]
  if own then return own[2].dtype end
  for _, child in ipairs(module:children()) do
    local dtype = dtype_of(child[2])
    if dtype then return dtype end
  end
end

---What a network is called with when its user gives the shape of a sample, or tensors, or a list of
---tensors: a list, and whether it is made of a shape.
---@param where string
---@param net moonwalk.Module
---@param input any
---@param n integer samples, where a shape is given
---@param dtype mw.dtype? where a shape is given; that of the network's parameters
---@return moonwalk.Tensor[] inputs
---@return boolean is_shape
function infer.inputs(where, net, input, n, dtype)
  if core.is_tensor(input) then return {input}, false end
  if type(input) ~= "table" or Module.is(input) then
    check.fail(where, "the shape of a sample", input, "a table such as {1, 28, 28}, or a tensor")
  end
  if core.is_tensor(input[1]) then return input, false end
  local shape = {n}
  for i, size in ipairs(input) do
    shape[i + 1] = check.integer(where, ("size %d of the sample"):format(i), size, 0)
  end
  return {core.full(shape, 0, dtype or dtype_of(net) or "f32")}, true
end

local function visit(module, modes)
  if modes[module] ~= nil then return end
  modes[module] = module.training
  for _, child in ipairs(module:children()) do visit(child[2], modes) end
end

---Calls fn(net) with the net in a mode, as a trial, and then leaves all modules as they were.
---@param net moonwalk.Module
---@param training boolean
---@param fn fun(net: moonwalk.Module): ...
---@return any ... what fn returns
function infer.try(net, training, fn)
  local modes = {}
  visit(net, modes)
  for module in pairs(modes) do rawset(module, "training", training) end
  local results = table.pack(pcall(updates.trial, fn, net))
  for module, mode in pairs(modes) do rawset(module, "training", mode) end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

---Tells a network whose layers have open sizes what its input is: the shape of a sample, tensors,
---or a list of them. Afterwards it has its parameters. Nothing else is computed. It is called in
---evaluation mode, in which one sample is enough for every layer.
---@param net moonwalk.Module
---@param input integer[]|moonwalk.Tensor|moonwalk.Tensor[]
---@param options? {dtype: mw.dtype?} of a shape; "f32", "i64" for indices
---@return moonwalk.Module net
function infer.infer(net, input, options)
  options = check.options("infer", options, {"dtype"})
  infer.try(net, false, function()
    net(table.unpack((infer.inputs("infer", net, input, 1, options.dtype))))
  end)
  return net
end

Module.infer = core.entry(infer.infer)

return infer
