-- autoencoder.lua: digits are squeezed through a few numbers and drawn again from these. What the
-- network gives is its own input: there are no labels.
--
--   moonwalk lua/examples/autoencoder.lua --code 2

local mw = require "moonwalk"
local cli, terminal = require "moonwalk.cli", require "moonwalk.terminal"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
autoencoder.lua: learns a short code for the digits of MNIST, or for drawn ones.
  --data DIR    the folder that has MNIST
  --code N      numbers that stand for a digit [16]
  --epochs N    how often to go through the training images [5]
  --batch N     images in a step [128]
  --lr X        learning rate [0.002]
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
local train, test = load("train", args.n), load("test", 1000)

local net = nn.Sequential {
  {"encoder", nn.Sequential {
    nn.Conv2d {1, 8, kernel = 3, stride = 2, padding = 1}, nn.ReLU {},    -- 8 x 14 x 14
    nn.Conv2d {8, 16, kernel = 3, stride = 2, padding = 1}, nn.ReLU {},   -- 16 x 7 x 7
    nn.Flatten {}, nn.Dense {784, args.code},
  }},
  {"decoder", nn.Sequential {
    nn.Dense {args.code, 784}, nn.ReLU {}, nn.Reshape {16, 7, 7},
    nn.ConvTranspose2d {16, 8, kernel = 4, stride = 2, padding = 1}, nn.ReLU {},
    nn.ConvTranspose2d {8, 1, kernel = 4, stride = 2, padding = 1},       -- logits of the pixels
  }},
}
print(nn.summary(net, {1, 28, 28}))

local function loss(output, _, batch) return output:bce_with_logits(batch.x) end
mw.fit(net, train, {
  valid = test, loss = loss, epochs = args.epochs, batch = args.batch, schedule = "cosine",
  optimizer = {"Adam", lr = args.lr},
})

net:eval()
local images = test:subset(1, 3).x:cast "f32" / 255
print(terminal.images(images))
print(("\nand each from its %d numbers:\n"):format(args.code))
print(terminal.images(net(images):sigmoid()))
local squared, n = 0, 0
for batch in test:batches {size = 250} do
  squared = squared + (net(batch.x):sigmoid() - batch.x):square():sum():item()
  n = n + #batch.x * 784
end
print(("\nroot mean square error of a pixel: %.3f"):format(math.sqrt(squared / n)))
