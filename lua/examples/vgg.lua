-- vgg.lua: a network in the manner of VGG (Simonyan and Zisserman, 2015), written as a pattern:
-- pairs of 3 x 3 convolutions, halved in size by pooling, with batch normalisation.
--
--   moonwalk lua/examples/vgg.lua --width 32 --epochs 30

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
vgg.lua: learns to tell the ten classes of CIFAR-10, or of drawn shapes.
  --data DIR    the folder that has CIFAR-10
  --width N     filters of the first two convolutions, which double from pair to pair [16]
  --epochs N    how often to go through the training pictures [10]
  --batch N     pictures in a step [64]
  --lr X        learning rate at its highest [0.05]
  --n N         learn from so many pictures only; of the drawn ones, 2000
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local cifar = args.data or data.cifar10_folder()
local function load(split, n)
  if not cifar then return data.shapes {split = split, n = n or 2000} end
  return data.cifar10 {split = split, dir = cifar, n = n}
end
local train, test = load("train", args.n), load("test", args.n and math.min(args.n, 10000))

local w = args.width
local PATTERN = "INPUT -> [[CONV -> NORM -> RELU]*2 -> POOL]*3 -> FC -> RELU -> DROPOUT -> FC"
local net = nn.pattern(PATTERN, {
  filters = {w, 2 * w, 4 * w}, kernel = 3, padding = "same", units = {8 * w, 10}, dropout = 0.3,
  input = {3, 32, 32},
})
print(nn.summary(net, {3, 32, 32}))
print(("\n%d pictures to learn from, %d to test with (%s)"):format(#train, #test, train.name))

local moments = train:moments()
local history = mw.fit(net, train, {
  valid = test, valid_augment = data.augment {normalise = moments},
  epochs = args.epochs, batch = args.batch,
  optimizer = {"SGD", lr = args.lr, momentum = 0.9, nesterov = true, weight_decay = 5e-4},
  schedule = "one_cycle", augment = data.augment {pad = 4, flip = true, normalise = moments},
})
local last = history[#history] -- none after no epoch
if last then print(("test error: %.2f %%"):format(100 * (1 - last.accuracy))) end
