-- logistic.lua: logistic regression, of which the loss has one minimum, found by L-BFGS: of a table
-- in a file, or of digits.
--
--   moonwalk lua/examples/logistic.lua --csv iris.csv --label species

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local data = mw.data

local args = cli.parse(arg, [[
logistic.lua: tells classes apart by a linear function, which L-BFGS finds.
  --csv FILE    a table with names of its columns; digits otherwise, MNIST where it is found
  --label NAME  the column of the classes [label]
  --decay X     how much the square of the weights counts [0.01]
  --steps N     of the search, at most [100]
  --n N         digits to learn from [5000]
  --seed N      of what is drawn [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local train, test
if args.csv then
  local all = assert(data.csv(args.csv, {label = args.label, missing = "mean"}))
  train, test = all:split {0.8, 0.2, seed = args.seed}
elseif data.mnist_folder() then
  train, test = data.mnist {split = "train", n = args.n}, data.mnist {split = "test"}
else
  train, test = data.digits {split = "train", n = args.n}, data.digits {split = "test"}
end

-- All of the samples at once, with mean 0 and deviation 1 where they differ at all.
local function features(set) return set.x:reshape(#set, -1):cast "f32" end
local x = features(train)
local mean, deviation = x:mean {axes = 1}, x:std {axes = 1}
local function scaled(set)
  return mw.tensor((features(set) - mean) / mw.where(deviation:gt(0), deviation, 1))
end
local x_train, x_test = scaled(train), scaled(test)
local classes = train.classes and #train.classes or train.y:max():item() + 1

local w = mw.param(mw.zeros {x.shape[2], classes}, "w")
local b = mw.param(mw.zeros {classes}, "b")
local function loss()
  return (x_train:matmul(w) + b):cross_entropy(train.y) + args.decay * w:square():sum()
end

print(("%d samples of %d features in %d classes (%s)"):format(#train, x.shape[2], classes,
  train.name))
local opt = mw.optim.LBFGS({w, b}, {tolerance = 1e-4})
repeat
  local value = opt:step(loss)
  if opt.steps % 10 == 0 or opt.steps == 1 then
    print(("step %d  loss %.5f"):format(opt.steps, value))
  end
until opt.converged or opt.steps >= args.steps
print(("%s after %d steps, the loss was computed %d times"):format(
  opt.converged and "converged" or "left", opt.steps, opt.evaluations))

local function error_of(inputs, labels)
  return 100 - 100 * (inputs:matmul(w) + b):argmax(2):eq(labels):cast("f32"):mean():item()
end
print(("training error: %.2f %%"):format(error_of(x_train, train.y)))
print(("test error: %.2f %%"):format(error_of(x_test, test.y)))
