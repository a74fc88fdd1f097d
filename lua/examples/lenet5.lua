-- lenet5.lua: LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) learns to read digits.
local mw = require "moonwalk"
local cli, metrics = require "moonwalk.cli", require "moonwalk.metrics"
local terminal = require "moonwalk.terminal"
local nn, optim, data = mw.nn, mw.optim, mw.data

local args = cli.parse(arg, [[
lenet5.lua: trains LeNet-5 on MNIST where it is found, on drawn digits otherwise.
  --data DIR    the folder that has MNIST
  --epochs N    how often to go through the training images [12]
  --batch N     images in a step [64]
  --lr X        learning rate, which falls to 0 in the course of the training [0.05]
  --seed N      of all that is random [1]
  --threads N   threads to compute with; results are the same with any number
  --save FILE   write the weights there, as safetensors
]])
mw.seed(args.seed)
mw.threads(args.threads)

local mnist = args.data or data.mnist_folder()
local function load(split)
  return mnist and data.mnist {split = split, dir = mnist} or data.digits {split = split}
end
local train, test = load "train", load "test"

local net = nn.Sequential {
  nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
  nn.Conv2d {6, 16, kernel = 5},             nn.ReLU {}, nn.MaxPool {2},
  nn.Flatten {},
  nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
}
local opt = optim.SGD(net:parameters(), {momentum = 0.9, weight_decay = 5e-4})
print(nn.summary(net, {1, 28, 28}))
print(("\n%d images to learn from, %d to test with (%s)"):format(#train, #test, train.name))

local progress = terminal.progress(args.epochs * #train)
for _ = 1, args.epochs do
  for batch in train:batches {size = args.batch, shuffle = true} do
    opt.lr = args.lr * (1 - progress.done / progress.total)
    local loss = opt:step(net(batch.x):cross_entropy(batch.y))
    progress:add(#batch.y, loss)
  end
end
progress:close()

local result = metrics.evaluate(net, test)
print("\n" .. terminal.confusion(result.confusion) .. "\n")
print(terminal.mistakes(test, result.wrong) .. "\n")
if args.save then assert(mw.save(args.save, net:state())) end
print(("test error: %.2f %%"):format(100 * result.error))
