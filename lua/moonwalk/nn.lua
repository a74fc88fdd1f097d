-- nn.lua: networks: the layers by name, Module to write one's own, initialisers, summaries.
--
--   local net = nn.Sequential {nn.Conv2d {1, 6, kernel = 5}, nn.ReLU {}, nn.MaxPool {2}}
--   local y = net(x)                 -- builds graph; nothing is computed yet
--   print(nn.summary(net, {1, 28, 28}))

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.nn
---@field init moonwalk.initialisers
---@field Conv1d fun(options: moonwalk.ConvOptions): moonwalk.Conv
---@field Conv2d fun(options: moonwalk.ConvOptions): moonwalk.Conv
---@field Conv3d fun(options: moonwalk.ConvOptions): moonwalk.Conv
---@field ConvTranspose1d fun(options: moonwalk.ConvOptions): moonwalk.Conv
---@field ConvTranspose2d fun(options: moonwalk.ConvOptions): moonwalk.Conv
---@field MaxPool fun(options: moonwalk.PoolOptions): moonwalk.Module
---@field MaxPool1d fun(options: moonwalk.PoolOptions): moonwalk.Module
---@field MeanPool fun(options: moonwalk.PoolOptions): moonwalk.Module
---@field MeanPool1d fun(options: moonwalk.PoolOptions): moonwalk.Module
---@field AdaptiveMaxPool fun(options: table): moonwalk.Module
---@field AdaptiveMeanPool fun(options: table): moonwalk.Module
---@field GlobalMaxPool fun(options: table): moonwalk.Module
---@field GlobalMeanPool fun(options: table): moonwalk.Module
---@field Upsample fun(options: table): moonwalk.Module
---@field BatchNorm fun(options: moonwalk.NormOptions): moonwalk.Norm
---@field GroupNorm fun(options: moonwalk.NormOptions): moonwalk.Norm
---@field InstanceNorm fun(options: moonwalk.NormOptions): moonwalk.Norm
---@field LayerNorm fun(options: moonwalk.NormOptions): moonwalk.Norm
---@field RMSNorm fun(options: moonwalk.NormOptions): moonwalk.Norm
---@field MultiHeadAttention fun(options: moonwalk.AttentionOptions): moonwalk.MultiHeadAttention
---@field TransformerBlock fun(options: moonwalk.TransformerOptions): moonwalk.TransformerBlock
---@field Positions fun(options: table): moonwalk.Positions
---@field Sequential fun(layers: table): moonwalk.Sequential
---@field Residual fun(layers: table): moonwalk.Residual
---@field Parallel fun(branches: table): moonwalk.Parallel
---@field Flatten fun(options: {}): moonwalk.Module
---@field Reshape fun(sizes: integer[]): moonwalk.Module
---@field Pad fun(options: table): moonwalk.Module
---@field Unfold fun(options: table): moonwalk.Module
---@field Fold fun(options: table): moonwalk.Module
---@field GRU fun(options: moonwalk.RecurrentOptions): moonwalk.Recurrent
---@field LSTM fun(options: moonwalk.RecurrentOptions): moonwalk.Recurrent
---@field ELU fun(options: table): moonwalk.Module
---@field GELU fun(options: table): moonwalk.Module
---@field HardSigmoid fun(options: table): moonwalk.Module
---@field HardSwish fun(options: table): moonwalk.Module
---@field HardTanh fun(options: table): moonwalk.Module
---@field Identity fun(options: table): moonwalk.Module
---@field LeakyReLU fun(options: table): moonwalk.Module
---@field LogSoftmax fun(options: table): moonwalk.Module
---@field Mish fun(options: table): moonwalk.Module
---@field PReLU fun(options: table): moonwalk.PReLU
---@field ReLU fun(options: table): moonwalk.Module
---@field SELU fun(options: table): moonwalk.Module
---@field Sigmoid fun(options: table): moonwalk.Module
---@field SiLU fun(options: table): moonwalk.Module
---@field Softmax fun(options: table): moonwalk.Module
---@field Softplus fun(options: table): moonwalk.Module
---@field Softsign fun(options: table): moonwalk.Module
---@field Tanh fun(options: table): moonwalk.Module
local nn = {
  Module = require "moonwalk.nn.module",
  Dense = require "moonwalk.nn.dense",
  Dropout = require "moonwalk.nn.dropout",
  Embedding = require "moonwalk.nn.embedding",
  Lambda = require "moonwalk.nn.lambda",
  buffer = require("moonwalk.updates").buffer,
  init = require "moonwalk.nn.init",
  is_frozen = require("moonwalk.frozen").is,
  pattern = require "moonwalk.nn.pattern",
  summary = require "moonwalk.nn.summary",
}

-- Files that hold several layers each.
for _, family in ipairs {
  "activation", "attention", "conv", "norm", "pool", "recurrent", "sequential", "shape",
} do
  for class, layer in pairs(require("moonwalk.nn." .. family)) do nn[class] = layer end
end

-- What some layers are called in other frameworks.
local elsewhere = {
  AdaptiveAvgPool1d = "AdaptiveMeanPool", AdaptiveMaxPool1d = "AdaptiveMaxPool",
  CAddTable = "Parallel", Concat = "Parallel", ConcatTable = "Parallel",
  MultiheadAttention = "MultiHeadAttention",
  TransformerEncoderLayer = "TransformerBlock", Unflatten = "Reshape", ZeroPad2d = "Pad",
  AdaptiveAvgPool2d = "AdaptiveMeanPool", AdaptiveMaxPool2d = "AdaptiveMaxPool",
  AvgPool1d = "MeanPool1d", AvgPool2d = "MeanPool",
  BatchNorm1d = "BatchNorm", BatchNorm2d = "BatchNorm", BatchNorm3d = "BatchNorm",
  Dropout1d = "Dropout", Dropout2d = "Dropout", GlobalAvgPool = "GlobalMeanPool",
  InstanceNorm1d = "InstanceNorm", InstanceNorm2d = "InstanceNorm", Linear = "Dense",
  LookupTable = "Embedding", MaxPool2d = "MaxPool", SpatialAveragePooling = "MeanPool",
  SpatialBatchNormalization = "BatchNorm", SpatialConvolution = "Conv2d",
  SpatialFullConvolution = "ConvTranspose2d", SpatialMaxPooling = "MaxPool", Swish = "SiLU",
  View = "Reshape",
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
