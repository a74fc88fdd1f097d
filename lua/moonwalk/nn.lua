-- nn.lua: networks: the layers by name, Module to write one's own, initialisers, summaries.
--
--   local net = nn.Sequential {nn.Conv2d {1, 6, kernel = 5}, nn.ReLU {}, nn.MaxPool {2}}
--   local y = net(x)                 -- builds graph; nothing is computed yet
--   print(nn.summary(net, {1, 28, 28}))

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.nn
local nn = {
  Module = require "moonwalk.nn.module",
  Sequential = require "moonwalk.nn.sequential",
  Dense = require "moonwalk.nn.dense",
  Dropout = require "moonwalk.nn.dropout",
  Embedding = require "moonwalk.nn.embedding",
  Flatten = require "moonwalk.nn.flatten",
  buffer = require("moonwalk.updates").buffer,
  init = require "moonwalk.nn.init",
  summary = require "moonwalk.nn.summary",
}

-- Files that hold several layers each.
for _, family in ipairs {"activation", "conv", "norm", "pool", "recurrent"} do
  for class, layer in pairs(require("moonwalk.nn." .. family)) do nn[class] = layer end
end

-- What some layers are called in other frameworks.
local elsewhere = {
  AdaptiveAvgPool2d = "AdaptiveMeanPool", AdaptiveMaxPool2d = "AdaptiveMaxPool",
  AvgPool1d = "MeanPool1d", AvgPool2d = "MeanPool",
  BatchNorm1d = "BatchNorm", BatchNorm2d = "BatchNorm", BatchNorm3d = "BatchNorm",
  Dropout1d = "Dropout", Dropout2d = "Dropout", GlobalAvgPool = "GlobalMeanPool",
  InstanceNorm1d = "InstanceNorm", InstanceNorm2d = "InstanceNorm", Linear = "Dense",
  LookupTable = "Embedding", MaxPool2d = "MaxPool", SpatialAveragePooling = "MeanPool",
  SpatialBatchNormalization = "BatchNorm", SpatialConvolution = "Conv2d",
  SpatialFullConvolution = "ConvTranspose2d", SpatialMaxPooling = "MaxPool", Swish = "SiLU",
  View = "Flatten",
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
