-- trajectory.lua: two training runs of LeNet-5 on MNIST against PyTorch's, step by step: losses
-- and final weights. The runs are in MOONWALK_DATA/reference/traj.
local mw = require "moonwalk"
local t = require "tap"
local nn, optim, data = mw.nn, mw.optim, mw.data

local root = os.getenv "MOONWALK_DATA"
local folder = root and root .. "/reference/traj/"
local file = folder and io.open(folder .. "traj.json")
if not file then
  t.skip("trajectories", root and "there is no reference/traj in it" or "MOONWALK_DATA is not set")
  t.done()
end
local runs = assert(mw.json.decode(file:read "a"))
file:close()

local SIZE = runs.batch
local LAYERS = {["1"] = "conv1", ["4"] = "conv2", ["8"] = "fc1", ["10"] = "fc2", ["12"] = "fc3"}

-- The reference's name for one of our parameters: 4.weight is conv2.w.
local function reference_name(name)
  local layer, kind = name:match "^(%d+)%.(%a)"
  return LAYERS[layer] .. "." .. kind
end

local function network(dtype)
  local net = nn.Sequential {
    nn.Conv2d {1, 6, kernel = 5, padding = 2, dtype = dtype}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {6, 16, kernel = 5, dtype = dtype}, nn.ReLU {}, nn.MaxPool {2},
    nn.Flatten {},
    nn.Dense {400, 120, dtype = dtype}, nn.ReLU {},
    nn.Dense {120, 84, dtype = dtype}, nn.ReLU {},
    nn.Dense {84, 10, dtype = dtype},
  }
  local initial, state = assert(mw.load(folder .. "initial_weights.safetensors")), {}
  for name in net:named_parameters() do
    state[name] = initial[reference_name(name)]:cast(dtype)
  end
  return net:load(state)
end

-- The largest |a - b| in two tensors of any shape, over the largest |b|.
local function relative(a, b)
  local function most(x) return math.sqrt((x * x):max():item()) end
  return most(a:cast "f64" - b) / most(b)
end

local images = data.mnist {split = "train", dir = root, n = SIZE * 50}

do
  local step0 = assert(mw.load(folder .. "step0.safetensors"))
  local net = network "f64"
  local batch = images:batches {size = SIZE, dtype = "f64"}()
  local logits = net(batch.x)
  t.ok(relative(logits, step0.logits) < 1e-12, "the first batch's logits")
  local names = {}
  for name in net:named_parameters() do names[#names + 1] = name end
  local gradients = mw.grad(logits:cross_entropy(batch.y), net:parameters())
  for i, gradient in ipairs(gradients) do
    local want = step0["grad." .. reference_name(names[i])]
    t.ok(relative(gradient, want) < 1e-12, "the first batch's gradient of " .. names[i])
  end
end

local function run(reference, dtype)
  local net = network(dtype)
  local attrs = reference.attrs
  local opt = attrs.optimizer == "sgd" and optim.SGD(net:parameters(), {lr = attrs.lr})
    or optim.Adam(net:parameters(), {lr = attrs.lr, beta1 = attrs.beta1, beta2 = attrs.beta2,
      eps = attrs.eps, weight_decay = attrs.weight_decay})
  local worst, step = 0, 0
  for batch in images:batches {size = SIZE, dtype = dtype} do
    step = step + 1
    if step > reference.steps then break end
    local loss = opt:step(net(batch.x):cross_entropy(batch.y)):item()
    worst = math.max(worst, math.abs(loss / reference.loss[step] - 1))
  end
  return net, worst
end

for _, reference in ipairs(runs.runs) do
  local net, worst = run(reference, "f64")
  t.ok(worst <= 1e-6, ("%s, float64: %d losses, off by %.1e at most"):format(reference.id,
    reference.steps, worst))
  local final = assert(mw.load(folder .. "final_" .. reference.id .. ".safetensors"))
  for name, parameter in net:named_parameters() do
    local gap = relative(parameter, final[reference_name(name)])
    t.ok(gap <= 1e-6, ("%s, float64: final %s, off by %.1e"):format(reference.id, name, gap))
  end
  net, worst = run(reference, "f32")
  t.ok(worst <= 1e-5, ("%s, float32: %d losses, off by %.1e at most"):format(reference.id,
    reference.steps, worst))
  t.is(net[1].weight.dtype, "f32", "in float32 throughout")
end

t.done()
