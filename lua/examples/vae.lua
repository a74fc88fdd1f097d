-- vae.lua: a variational autoencoder (Kingma and Welling, "Auto-encoding variational Bayes", 2014)
-- learns to draw digits. Its encoder gives for each image a normal distribution of codes, and the
-- loss draws all of these together towards the standard one, so that any code draws something.
--
--   moonwalk lua/examples/vae.lua --epochs 20

local mw = require "moonwalk"
local cli, terminal = require "moonwalk.cli", require "moonwalk.terminal"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
vae.lua: learns to draw digits from those of MNIST, or from drawn ones.
  --data DIR    the folder that has MNIST
  --code N      numbers that stand for a digit [16]
  --hidden N    units of the hidden layers [256]
  --epochs N    how often to go through the training images [10]
  --batch N     images in a step [128]
  --lr X        learning rate [0.001]
  --n N         learn from so many images only
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local VAE = nn.Module:extend "VAE"

function VAE:init(code, hidden)
  self.encoder = nn.Sequential {
    nn.Flatten {}, nn.Dense {784, hidden}, nn.ReLU {}, nn.Dense {hidden, 2 * code},
  }
  self.decoder = nn.Sequential {
    nn.Dense {code, hidden}, nn.ReLU {}, nn.Dense {hidden, 784}, nn.Reshape {1, 28, 28},
  }
end

-- The logits of the pixels from a code that is drawn, and the distribution it was drawn from.
function VAE:forward(x)
  local mean, log_variance = table.unpack(self.encoder(x):chunk(2, {axis = 2}))
  local code = mean + (log_variance / 2):exp() * mw.randn(mean.shape)
  return {logits = self.decoder(code), mean = mean, log_variance = log_variance}
end

-- The negative of the evidence lower bound, in nats for an image.
local function loss(output, _, batch)
  local fit = output.logits:bce_with_logits(batch.x, {reduction = "sum"})
  local mean, log_variance = output.mean, output.log_variance
  local kl = -0.5 * (1 + log_variance - mean:square() - log_variance:exp()):sum()
  return (fit + kl) / #batch.x
end

local mnist = args.data or data.mnist_folder()
local function load(split, n)
  if not mnist then return data.digits {split = split, n = n} end
  return data.mnist {split = split, dir = mnist, n = n}
end
local train, test = load("train", args.n), load("test", 1000)

local net = VAE(args.code, args.hidden)
local history = mw.fit(net, train, {
  valid = test, loss = loss, metrics = {}, epochs = args.epochs, batch = args.batch,
  optimizer = {"Adam", lr = args.lr},
})

print "digits that nobody wrote:\n"
for _ = 1, 2 do print(terminal.images(net.decoder(mw.randn {3, args.code}):sigmoid())) end
local last = history[#history] -- none after no epoch
if last then print(("\nthe bound on test images: %.1f nats"):format(last.valid_loss)) end
