-- workloads.lua: what `make bench` measures, what it is compared with, and what it should reach.

local networks = require "networks"

-- Multiply-adds count as two: those of convolutions and products alone.
local function convolution(batch, channels, size)
  return 2 * batch * channels * channels * 9 * size * size
end

---@class bench.Workload
---@field name string  "lenet5.train.64.1"; the part before the first dot is a network, if it is one
---@field title string
---@field unit string  of what is measured
---@field threads integer
---@field against string?  the program it is compared with: "torch", "onednn", "openblas"
---@field flops number?  of one of the unit, so that a rate makes GFLOP/s
---@field lower boolean?  whether less is better
---@field required number?  ratio to the other; or, without one, the number itself
---@field aim number?

local list = {}
local function add(workload) list[#list + 1] = workload end

-- ---- training and inference --------------------------------------------------------------------

local function network(name, kind, batch, threads, required, aim)
  local net = networks[name]
  add {
    name = ("%s.%s.%d.%d"):format(name, kind, batch, threads),
    title = ("%s %s, batch %d, %d thread%s"):format(net.title,
      kind == "train" and "training" or "inference", batch, threads, threads == 1 and "" or "s"),
    unit = "samples/s", threads = threads, against = "torch",
    flops = kind == "train" and net.flops.train or net.flops.infer,
    required = required, aim = aim,
  }
end

network("lenet5", "train", 64, 1, 3, 5)
network("lenet5", "train", 64, 2, 3, 5)
network("lenet5", "train", 1, 1, 10, 30)
network("lenet5", "infer", 64, 1, 3, 6)
network("lenet5", "infer", 1, 1, 10, 30)
network("vgg", "train", 64, 1, 1.5, 2)
network("vgg", "train", 64, 2, 1.5, 2)
network("mlp", "train", 128, 1, 1.5, 2)

-- ---- single ops --------------------------------------------------------------------------------

local DIRECTIONS = {{"forward", "forward"}, {"input", "input gradient"},
  {"weights", "weight gradient"}}
for _, shape in ipairs {{64, 56}, {128, 28}} do
  local channels, size = shape[1], shape[2]
  for _, direction in ipairs(DIRECTIONS) do
    add {
      name = ("conv%d.%s"):format(channels, direction[1]),
      title = ("convolution %d->%d 3x3 at %dx%d, batch 16, %s"):format(channels, channels, size,
        size, direction[2]),
      unit = "calls/s", threads = 1, against = "onednn", flops = convolution(16, channels, size),
      required = 0.8, aim = 1,
    }
  end
end

-- y [m, n] = a [m, k] b [k, n]
for _, size in ipairs {{512, 512, 512}, {128, 512, 784}} do
  local m, n, k = table.unpack(size)
  add {
    name = ("product.%dx%dx%d"):format(m, n, k),
    title = ("product of %dx%d and %dx%d"):format(m, k, k, n),
    unit = "calls/s", threads = 1, against = "openblas", flops = 2 * m * n * k,
  }
end

-- ---- what is not a rate ------------------------------------------------------------------------

add {name = "start", title = "start to first finished training step, whole process",
  unit = "s", threads = 1, against = "torch", lower = true, required = 20, aim = 50}
add {name = "memory", title = "memory beyond the data set, LeNet-5 training",
  unit = "MB", threads = 1, against = "torch", lower = true, limit = true, required = 30, aim = 15}
add {name = "graph", title = "building and running a cached graph from Lua, for a node",
  unit = "us", threads = 1, lower = true, limit = true, required = 1, aim = 0.3}

return list
