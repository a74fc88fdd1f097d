-- nn.lua: networks: the layers by name, Module to write one's own, initialisers, summaries.
--
--   local net = nn.Sequential {nn.Conv2d {1, 6, kernel = 5}, nn.ReLU {}, nn.MaxPool {2}}
--   local y = net(x)                 -- builds graph; nothing is computed yet
--   print(nn.summary(net, {1, 28, 28}))

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local activation = require "moonwalk.nn.activation"
local pool = require "moonwalk.nn.pool"

---@class moonwalk.nn
local nn = {
  Module = require "moonwalk.nn.module",
  Sequential = require "moonwalk.nn.sequential",
  Conv2d = require "moonwalk.nn.conv2d",
  Dense = require "moonwalk.nn.dense",
  Flatten = require "moonwalk.nn.flatten",
  MaxPool = pool.MaxPool,
  MeanPool = pool.MeanPool,
  Identity = activation.Identity,
  ReLU = activation.ReLU,
  Sigmoid = activation.Sigmoid,
  Tanh = activation.Tanh,
  init = require "moonwalk.nn.init",
  summary = require "moonwalk.nn.summary",
}

-- What some layers are called in other frameworks.
local elsewhere = {
  AvgPool2d = "MeanPool", Linear = "Dense", SpatialAveragePooling = "MeanPool",
  SpatialConvolution = "Conv2d", SpatialMaxPooling = "MaxPool", View = "Flatten",
}

return setmetatable(nn, {
  __index = function(_, name)
    local names = {}
    for known in pairs(nn) do names[#names + 1] = known end
    table.sort(names)
    local near = elsewhere[name] or check.near(tostring(name), names)
    core.error(("nn: there is no %q%s"):format(tostring(name),
      near and (", did you mean nn.%s?"):format(near) or "; it has " .. table.concat(names, ", ")))
  end,
})
