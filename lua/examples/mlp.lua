-- mlp.lua: a multilayer perceptron learns to read digits: dense layers with dropout, Adam, and a
-- part of the training set kept aside to see when it is time to stop.
--
--   moonwalk lua/examples/mlp.lua --hidden 512

local mw = require "moonwalk"
local cli, metrics = require "moonwalk.cli", require "moonwalk.metrics"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
mlp.lua: trains a perceptron of two hidden layers on MNIST, or on drawn digits.
  --data DIR    the folder that has MNIST
  --hidden N    units of each hidden layer [256]
  --dropout X   share of units that are left out at random in training [0.3]
  --epochs N    how often to go through the training images, at most [10]
  --batch N     images in a step [128]
  --lr X        learning rate, which falls to 0 along a cosine [0.001]
  --n N         learn from so many images only
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local mnist = args.data or data.mnist_folder()
local function load(split, n)
  if not mnist then return data.digits {split = split, n = n} end
  return data.mnist {split = split, dir = mnist, n = n}
end
local train, valid = load("train", args.n):split {0.9, 0.1, seed = args.seed, stratified = true}
local test = load "test"

local net = nn.Sequential {
  nn.Flatten {},
  nn.Dense {args.hidden}, nn.ReLU {}, nn.Dropout {args.dropout},
  nn.Dense {args.hidden}, nn.ReLU {}, nn.Dropout {args.dropout},
  nn.Dense {10},
}
print(nn.summary(net, {1, 28, 28}))
print(("\n%d images to learn from, %d to judge by (%s)"):format(#train, #valid, train.name))

mw.fit(net, train, {
  valid = valid, epochs = args.epochs, batch = args.batch, schedule = "cosine",
  optimizer = {"Adam", lr = args.lr}, early_stop = {patience = 3, restore = true},
})
print(("test error: %.2f %%"):format(100 * metrics.evaluate(net, test).error))
