-- resnet20.lua: ResNet-20 for pictures of 32 x 32 (He, Zhang, Ren and Sun, "Deep residual learning
-- for image recognition", 2016, section 4.2): a convolution, three stages of three residual blocks
-- with 16, 32 and 64 channels, and one dense layer: 0.27 million parameters.
--
--   moonwalk lua/examples/resnet20.lua --epochs 160

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
resnet20.lua: learns to tell the ten classes of CIFAR-10, or of drawn shapes.
  --data DIR    the folder that has CIFAR-10
  --blocks N    residual blocks in a stage: 3 make ResNet-20, 5 ResNet-32, 9 ResNet-56 [3]
  --epochs N    how often to go through the training pictures [4]
  --batch N     pictures in a step [32]
  --lr X        learning rate at its highest [0.05]
  --n N         learn from so many pictures only; of the drawn ones, 2000
  --seed N      of all that is random [1]
  --threads N   threads to compute with
  --run FILE    keep the run there after each epoch, and go on from it
]])
mw.seed(args.seed)
mw.threads(args.threads)

local cifar = args.data or data.cifar10_folder()
local function load(split, n)
  if not cifar then return data.shapes {split = split, n = n or 2000} end
  return data.cifar10 {split = split, dir = cifar, n = n}
end
local train, test = load("train", args.n), load("test", args.n and math.min(args.n, 10000))

-- Two convolutions beside a shortcut, which keeps every second pixel and fills up with channels of
-- zeros where the block halves the picture (option A of the paper).
local function block(inputs, outputs)
  local stride = inputs == outputs and 1 or 2
  local function narrow(x)
    return x:slice {false, false, {1, -1, 2}, {1, -1, 2}}
      :pad {pads = {0, outputs - inputs, 0, 0, 0, 0}}
  end
  return nn.Residual {
    nn.Conv2d {inputs, outputs, kernel = 3, stride = stride, padding = 1, bias = false},
    nn.BatchNorm {outputs}, nn.ReLU {},
    nn.Conv2d {outputs, outputs, kernel = 3, padding = 1, bias = false}, nn.BatchNorm {outputs},
    shortcut = stride == 2 and nn.Lambda(narrow) or nil, activation = nn.ReLU {},
  }
end

local layers = {
  nn.Conv2d {3, 16, kernel = 3, padding = 1, bias = false}, nn.BatchNorm {16}, nn.ReLU {},
}
local channels = 16
for _, width in ipairs {16, 32, 64} do
  for _ = 1, args.blocks do
    layers[#layers + 1] = block(channels, width)
    channels = width
  end
end
table.move({nn.GlobalMeanPool {}, nn.Flatten {}, nn.Dense {64, 10}}, 1, 3, #layers + 1, layers)
local net = nn.Sequential(layers)
print(nn.summary(net, {3, 32, 32}, {batch = args.batch}))
print(("\n%d pictures to learn from, %d to test with (%s)"):format(#train, #test, train.name))

local moments = train:moments()
local history = mw.fit(net, train, {
  valid = test, valid_augment = data.augment {normalise = moments},
  epochs = args.epochs, batch = args.batch,
  optimizer = {"SGD", lr = args.lr, momentum = 0.9, nesterov = true, weight_decay = 1e-4},
  schedule = "one_cycle",
  augment = data.augment {pad = 4, flip = true, normalise = moments},
  checkpoint = args.run, resume = args.run and true,
})
local last = history[#history] -- none after no epoch
if last then print(("test error: %.2f %%"):format(100 * (1 - last.accuracy))) end
