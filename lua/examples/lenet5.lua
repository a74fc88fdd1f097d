-- lenet5.lua: LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) learns to read digits.
local mw = require "moonwalk"
local cli, metrics = require "moonwalk.cli", require "moonwalk.metrics"
local terminal = require "moonwalk.terminal"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
lenet5.lua: trains LeNet-5 on MNIST where it is found, on drawn digits otherwise.
  --data DIR    the folder that has MNIST
  --best        train longer, on digits that are turned, moved and bent a little each time
  --epochs N    how often to go through the training images; 12, with --best 40
  --batch N     images in a step; 32, with --best 64
  --lr X        learning rate, which falls to 0 in the course of the training [0.05]
  --n N         learn from so many images only
  --seed N      of all that is random [1]
  --threads N   threads to compute with; results are the same with any number
  --run FILE    keep the run there after each epoch, and go on from it
  --save FILE   write the weights there, as safetensors
]])
mw.seed(args.seed)
mw.threads(args.threads)

local mnist = args.data or data.mnist_folder()
local function load(split, n)
  if not mnist then return data.digits {split = split, n = n} end
  return data.mnist {split = split, dir = mnist, n = n}
end
local train, test = load("train", args.n), load "test"

local net = nn.Sequential {
  nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
  nn.Conv2d {6, 16, kernel = 5},             nn.ReLU {}, nn.MaxPool {2},
  nn.Flatten {},
  nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
}
print(nn.summary(net, {1, 28, 28}))
print(("\n%d images to learn from, %d to test with (%s)"):format(#train, #test, train.name))

local epochs, began = args.epochs or args.best and 40 or 12, os.time()
mw.fit(net, train, {
  epochs = epochs, batch = args.batch or args.best and 64 or 32, schedule = "linear",
  optimizer = {"SGD", lr = args.lr, momentum = 0.9, weight_decay = args.best and 1e-4 or 5e-4},
  augment = args.best
    and data.augment {rotate = 10, shift = 1, scale = 0.1, shear = 10, elastic = 1},
  checkpoint = args.run, resume = args.run and true,
})
local minutes = (os.time() - began) / 60

local result = metrics.evaluate(net, test)
print("\n" .. terminal.confusion(result.confusion) .. "\n")
print(terminal.mistakes(test, result.wrong) .. "\n")
if args.save then assert(mw.save(args.save, net:state())) end
print(("epochs: %d, minutes: %.1f"):format(epochs, minutes))
print(("test error: %.2f %%"):format(100 * result.error))
