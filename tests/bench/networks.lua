-- networks.lua: the networks of `make bench`, their data, and how they are trained. torch.py has
-- the same.

local mw = require "moonwalk"
local nn, optim, data = mw.nn, mw.optim, mw.data

-- What products take for a sample: forward, then for the gradients of the weights as much again,
-- and of the inputs, but for those of the first layer, which nobody wants.
local function flops(layers)
  local infer = 0
  for _, layer in ipairs(layers) do infer = infer + layer end
  return {infer = infer, train = 3 * infer - layers[1]}
end
local function conv(from, to, kernel, size) return 2 * from * to * kernel ^ 2 * size ^ 2 end
local function dense(from, to) return 2 * from * to end

---@class bench.Network
---@field title string
---@field checked integer  the batch with which the loss is compared with the reference kernels'
---@field new fun(): moonwalk.Module
---@field lr number  so small that rounding does not decide the loss after 100 steps
---@field flops {infer: number, train: number}  of a sample
---@field batches fun(batch: integer, count: integer): {x: moonwalk.Tensor, y: moonwalk.Tensor}[]
local networks = {}

-- The first samples of the digits that Moonwalk draws, again and again where there are not so many.
local function digits(batch, count)
  local list = {}
  for item in data.digits {n = batch * count, seed = 1}:batches {size = batch} do
    list[#list + 1] = {x = mw.tensor(item.x):eval(), y = mw.tensor(item.y):eval()}
  end
  return list
end

local function flat_digits(batch, count)
  local list = digits(batch, count)
  for _, item in ipairs(list) do item.x = mw.tensor(item.x:flatten()):eval() end
  return list
end

local function noise(batch, count)
  local list = {}
  mw.seed(2)
  for i = 1, count do
    list[i] = {x = mw.randn {batch, 3, 32, 32}:eval(),
      y = mw.uniform({batch}, 0, 10):floor():cast "i64":eval()}
  end
  return list
end

networks.lenet5 = {
  title = "LeNet-5", lr = 0.002, batches = digits, checked = 64,
  flops = flops {conv(1, 6, 5, 28), conv(6, 16, 5, 10), dense(400, 120), dense(120, 84),
    dense(84, 10)},
  new = function()
    return nn.Sequential {
      nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
      nn.Conv2d {6, 16, kernel = 5}, nn.ReLU {}, nn.MaxPool {2},
      nn.Flatten {},
      nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
    }
  end,
}

networks.vgg = {
  title = "VGG-like", lr = 0.00005, batches = noise, checked = 4,
  flops = flops {conv(3, 32, 3, 32), conv(32, 32, 3, 32), conv(32, 64, 3, 16), conv(64, 64, 3, 16),
    dense(4096, 256), dense(256, 10)},
  new = function()
    local function block(from, to)
      return nn.Conv2d {from, to, kernel = 3, padding = 1}, nn.ReLU {},
        nn.Conv2d {to, to, kernel = 3, padding = 1}, nn.ReLU {}, nn.MaxPool {2}
    end
    local layers = {block(3, 32)}
    table.move({block(32, 64)}, 1, 5, 6, layers)
    table.move({nn.Flatten {}, nn.Dense {4096, 256}, nn.ReLU {}, nn.Dense {256, 10}}, 1, 4, 11,
      layers)
    return nn.Sequential(layers)
  end,
}

networks.mlp = {
  title = "MLP 784-512-512-10", lr = 0.05, batches = flat_digits, checked = 128,
  flops = flops {dense(784, 512), dense(512, 512), dense(512, 10)},
  new = function()
    return nn.Sequential {nn.Dense {784, 512}, nn.ReLU {}, nn.Dense {512, 512}, nn.ReLU {},
      nn.Dense {512, 10}}
  end,
}

local BATCHES = 10

-- First weights of their own (He et al., 2015), so that the recorded losses depend on nothing else.
local function fill(net)
  mw.seed(1)
  local state = {}
  for name, parameter in net:named_parameters() do
    local shape, inputs = parameter.shape, 1
    for k = 2, #shape do inputs = inputs * shape[k] end
    state[name] = #shape > 1 and mw.normal(shape, 0, math.sqrt(2 / inputs)) or mw.zeros(shape)
  end
  return net:load(state)
end

---A network with its data and optimizer, always the same.
---@param name string
---@param batch integer
---@param count? integer  of batches, 10
---@return table job  {net, opt, batches, step = a function that trains and returns the loss}
function networks.job(name, batch, count)
  local network = networks[name]
  local net = fill(network.new())
  local opt = optim.SGD(net:parameters(), {lr = network.lr, momentum = 0.9})
  local job = {net = net, opt = opt, batches = network.batches(batch, count or BATCHES), at = 0}
  function job.step()
    job.at = job.at % #job.batches + 1
    local item = job.batches[job.at]
    return opt:step(net(item.x):cross_entropy(item.y))
  end
  function job.infer()
    job.at = job.at % #job.batches + 1
    return net(job.batches[job.at].x):eval()
  end
  return job
end

---The job's weights and data as tensors by name, for another program to begin with the same.
function networks.contents(job)
  local tensors = {}
  for name, parameter in job.net:named_parameters() do tensors[name] = mw.tensor(parameter) end
  for i, item in ipairs(job.batches) do
    tensors["x" .. i], tensors["y" .. i] = item.x, item.y
  end
  return tensors
end

return networks
