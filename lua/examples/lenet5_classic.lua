-- lenet5_classic.lua: LeNet-5 as it was in 1998 (LeCun, Bottou, Bengio and Haffner, "Gradient-based
-- learning applied to document recognition", section II.B): pictures of 32 x 32, mean pooling with
-- a trainable scale and bias for each channel, a scaled tanh, and a second convolution whose maps
-- see some of the first one's each. Only the output differs: cross entropy on a dense layer. It
-- learns from digits that are moved and turned a little.
local mw = require "moonwalk"
local cli, metrics = require "moonwalk.cli", require "moonwalk.metrics"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
lenet5_classic.lua: trains the original LeNet-5 on MNIST, or on drawn digits.
  --data DIR    the folder that has MNIST
  --full        let all maps of the second convolution see all of the first
  --epochs N    how often to go through the training images [12]
  --batch N     images in a step [64]
  --lr X        learning rate, which falls to 0 in the course of the training [0.02]
  --n N         learn from so many images only
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

-- White becomes -0.1 and black 1.175, so that the mean is about 0 and the variance about 1.
local function frame(x) return 1.275 * x:pad {pads = {2, 2, 2, 2}} - 0.1 end

local function squash(x) return 1.7159 * (2 / 3 * x):tanh() end

local Subsample = nn.Module:extend "Subsample"
function Subsample:init(channels)
  self.scale = mw.param(mw.ones {channels, 1, 1})
  self.bias = mw.param(mw.zeros {channels, 1, 1})
end
function Subsample:forward(x) return squash(x:meanpool(2) * self.scale + self.bias) end

-- Which of the six maps each of the sixteen sees: table I of the paper, counted from 0.
local SEEN = {
  "012", "123", "234", "345", "045", "015", "0123", "1234",
  "2345", "0345", "0145", "0125", "0134", "1245", "0235", "012345",
}

local Partial = nn.Module:extend "Partial"
function Partial:init()
  self.conv = nn.Conv2d {6, 16, kernel = 5, init = "xavier"}
  local mask = {}
  for i, seen in ipairs(SEEN) do
    mask[i] = {}
    for c = 0, 5 do mask[i][c + 1] = {{seen:find(c, 1, true) and 1 or 0}} end
  end
  self.mask = mw.tensor(mask)
end
function Partial:forward(x) return x:conv2d(self.conv.weight * self.mask, self.conv.bias) end

local net = nn.Sequential {
  nn.Lambda(frame),
  nn.Conv2d {1, 6, kernel = 5, init = "xavier"}, Subsample(6),
  args.full and nn.Conv2d {6, 16, kernel = 5, init = "xavier"} or Partial(), Subsample(16),
  -- A convolution by 5 x 5 of maps of 5 x 5 is a dense layer.
  nn.Flatten {}, nn.Dense {400, 120, init = "xavier"}, nn.Lambda(squash),
  nn.Dense {120, 84, init = "xavier"}, nn.Lambda(squash), nn.Dense {84, 10, init = "xavier"},
}
print(nn.summary(net, {1, 28, 28}))

local mnist = args.data or data.mnist_folder()
local function load(split, n)
  if not mnist then return data.digits {split = split, n = n} end
  return data.mnist {split = split, dir = mnist, n = n}
end
local train, test = load("train", args.n), load "test"
print(("\n%d images to learn from, %d to test with (%s)"):format(#train, #test, train.name))

mw.fit(net, train, {
  epochs = args.epochs, batch = args.batch, schedule = "linear",
  optimizer = {"SGD", lr = args.lr, momentum = 0.9, weight_decay = 2e-4},
  augment = data.augment {shift = 1, rotate = 8, scale = 0.08},
})
print(("test error: %.2f %%"):format(100 * metrics.evaluate(net, test).error))
