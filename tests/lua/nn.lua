-- nn.lua: modules, layers, their arguments, initialisers and summaries.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local nn = mw.nn

local function names(module)
  local list = {}
  for name in module:named_parameters() do list[#list + 1] = name end
  return list
end

local function spread(tensor) -- least, most, mean, standard deviation
  local n, sum, squares, least, most = 0, 0, 0, math.huge, -math.huge
  local function visit(v)
    if type(v) == "table" then
      for _, item in ipairs(v) do visit(item) end
    else
      n, sum, squares = n + 1, sum + v, squares + v * v
      least, most = math.min(least, v), math.max(most, v)
    end
  end
  visit(tensor:totable())
  return least, most, sum / n, math.sqrt(squares / n - (sum / n) ^ 2)
end

-- Layers against plain loops ---------------------------------------------------------------------

-- y[n][o][i][j] of a convolution with stride and padding, by its definition.
local function conv_by_hand(x, w, b, stride, padding)
  local y = {}
  for n = 1, #x do
    y[n] = {}
    for o = 1, #w do
      y[n][o] = {}
      local height, width = #x[n][1], #x[n][1][1]
      local kh, kw = #w[o][1], #w[o][1][1]
      for i = 1, (height - kh + 2 * padding) // stride + 1 do
        y[n][o][i] = {}
        for j = 1, (width - kw + 2 * padding) // stride + 1 do
          local sum = b and b[o] or 0
          for c = 1, #w[o] do
            for p = 1, kh do
              for q = 1, kw do
                local row = x[n][c][(i - 1) * stride + p - padding]
                sum = sum + (row and row[(j - 1) * stride + q - padding] or 0) * w[o][c][p][q]
              end
            end
          end
          y[n][o][i][j] = sum
        end
      end
    end
  end
  return y
end

mw.seed(3)
do
  -- The tutorial's image is 5x5x3, and 7x7x3 with its padding of 1.
  local layer = nn.Conv2d {3, 2, kernel = 3, stride = 2, padding = 1, dtype = "f64"}
  local x = mw.randn({1, 3, 5, 5}, "f64")
  local y = layer(x)
  t.is(y.shape, {1, 2, 3, 3}, "the tutorial's 7x7x3 image and two 3x3x3 filters give 3x3x2")
  local count = 0
  for _, p in ipairs(layer:parameters()) do count = count + #mw.core.bytes(p) // 8 end
  t.is(count, 56, "the tutorial's layer has (3*3*3+1)*2 = 56 parameters")
  t.near(y:totable(),
    conv_by_hand(x:totable(), layer.weight:totable(), layer.bias:totable(), 2, 1), 1e-12,
    "Conv2d computes a convolution")
  local rectangular = nn.Conv2d {3, 4, kernel = {1, 5}, bias = false, dtype = "f64"}
  t.is(rectangular.weight.shape, {4, 3, 1, 5}, "a kernel may be {height, width}")
  t.is(rectangular.bias, nil, "bias = false leaves the bias out")
  t.near(rectangular(x):totable(),
    conv_by_hand(x:totable(), rectangular.weight:totable(), nil, 1, 0), 1e-12,
    "Conv2d without a bias")
  t.is(nn.Conv2d({4, 6, kernel = 3, groups = 2}).weight.shape, {6, 2, 3, 3},
    "groups divide the channels of a filter")
end

do
  local layer = nn.Dense {3, 2}
  layer:load {weight = mw.tensor {{1, 2, 3}, {4, 5, 6}}, bias = mw.tensor {10, 20}}
  t.is(layer(mw.tensor {{1, 0, 2}, {0, 1, 1}}):totable(), {{17, 36}, {15, 31}},
    "Dense is x W^T + b")
  local plain = nn.Dense {3, 2, bias = false}
  t.is(names(plain), {"weight"}, "Dense without a bias has a weight alone")
  plain:load {weight = mw.tensor {{1, 2, 3}, {4, 5, 6}}}
  t.is(plain(mw.tensor {{1, 0, 2}}):totable(), {{7, 16}}, "Dense without a bias is x W^T")
end

do
  local x = mw.tensor {{{{1, 2, 5, 3}, {4, 0, 1, 1}, {9, 8, 2, 0}, {7, 6, 2, 4}}}}
  t.is(nn.MaxPool {2}(x):totable(), {{{{4, 5}, {9, 4}}}}, "MaxPool {2}")
  t.is(nn.MeanPool {2}(x):totable(), {{{{1.75, 2.5}, {7.5, 2}}}}, "MeanPool {2}")
  t.is(nn.MaxPool {3, stride = 1}(x):totable(), {{{{9, 8}, {9, 8}}}}, "MaxPool with a stride")
  t.is(nn.MaxPool {kernel = {1, 4}}(x):totable(), {{{{5}, {4}, {9}, {7}}}},
    "MaxPool with its window by name")
  t.is(nn.Flatten {}(x).shape, {1, 16}, "Flatten keeps the first axis")
  local v = mw.tensor({-1, 0, 2}, "f64")
  t.is(nn.ReLU {}(v):totable(), {0, 0, 2}, "ReLU")
  t.is(nn.Identity {}(v):totable(), {-1, 0, 2}, "Identity")
  local function map(f) return {f(-1), f(0), f(2)} end
  t.near(nn.Sigmoid {}(v):totable(), map(function(z) return 1 / (1 + math.exp(-z)) end), 1e-15,
    "Sigmoid")
  t.near(nn.Tanh {}(v):totable(),
    map(function(z) return (math.exp(2 * z) - 1) / (math.exp(2 * z) + 1) end), 1e-15, "Tanh")
end

-- Sequential, names and state --------------------------------------------------------------------

local function small()
  return nn.Sequential {nn.Conv2d {1, 2, kernel = 3}, nn.ReLU {}, nn.Flatten {}, nn.Dense {8, 3}}
end

do
  local net = small()
  t.is(names(net), {"1.weight", "1.bias", "4.weight", "4.bias"}, "parameters in a fixed order")
  t.is(#net:parameters(), 4, "parameters() is a list")
  t.is(mw.core.name(net[4].weight), "4.weight", "parameters are named by their place")
  local x = mw.randn {2, 1, 4, 4}
  local by_hand = net[4](net[3](net[2](net[1](x))))
  t.is(net(x):totable(), by_hand:totable(), "Sequential applies its layers in turn")
  local nested = nn.Sequential {nn.Sequential {nn.Dense {2, 2}}, nn.Dense {2, 1}}
  t.is(names(nested), {"1.1.weight", "1.1.bias", "2.weight", "2.bias"}, "names of nested modules")
  t.is(mw.core.name(nested[1][1].bias), "1.1.bias", "the outermost module names parameters")
  local shared = nn.Dense {2, 2}
  t.is(names(nn.Sequential {shared, nn.ReLU {}, shared}), {"1.weight", "1.bias"},
    "a layer that is used twice has its parameters once")

  local other = small()
  other:load(net:state())
  t.is(other(x):totable(), net(x):totable(), "load(state()) copies a network")
  local state = net:state()
  state["4.bias"] = nil
  t.error(function() other:load(state) end, '"4.bias" is nil, expected a tensor f32%[3%]',
    "load misses a parameter")
  state["4.bias"] = mw.zeros {4}
  t.error(function() other:load(state) end,
    '"4.bias" is a tensor f32%[4%], expected a tensor f32%[3%]', "load refuses another shape")
  state["4.bias"] = mw.zeros({3}, "f64")
  t.error(function() other:load(state) end, 'f64%[3%], expected a tensor f32%[3%]',
    "load refuses another dtype")
  state["4.bias"], state.extra = mw.zeros {3}, mw.zeros {1}
  t.error(function() other:load(state) end, '"extra" is not a parameter', "load refuses extras")
  t.is(other(x):totable(), net(x):totable(), "a load that fails changes nothing")
  t.error(function() other:load(mw.load "/nowhere/at/all.safetensors") end, "nowhere",
    "load(mw.load(path)) says why the file could not be read")
end

-- One's own modules ------------------------------------------------------------------------------

do
  local Residual = nn.Module:extend "Residual"
  function Residual:init(channels)
    self.second = nn.Conv2d {channels, channels, kernel = 3, padding = 1}
    self.alpha = mw.param(mw.tensor(0.5))
    self.layers = {nn.Dense {2, 2}, nn.Dense {2, 2, bias = false}}
    self.constant = mw.tensor(3)
    self.note = "text"
  end
  function Residual:forward(x) return x + self.second(x):relu() * self.alpha end

  local block = Residual(2)
  t.is(names(block), {"second.weight", "second.bias", "alpha", "layers.1.weight", "layers.1.bias",
    "layers.2.weight"}, "fields in the order in which they were set, and lists of modules")
  local x = mw.randn {1, 2, 4, 4}
  t.is(block(x).shape, {1, 2, 4, 4}, "a module of one's own can be called")
  t.ok(tostring(nn.Sequential {block}):find("Residual", 1, true), "and stands in a summary")
  block.alpha = mw.param(mw.tensor(1.0))
  t.is(#block:parameters(), 6, "a parameter that is replaced is not counted twice")
  local Late = nn.Module:extend "Late"
  function Late:init()
    self.scale = 1
    self.layer = false
    self.scale = mw.param(mw.tensor(1))
    self.layer = nn.Dense {2, 2}
  end
  t.is(names(Late()), {"scale", "layer.weight", "layer.bias"},
    "a field that was something else before it became a parameter")
  local Named = nn.Module:extend "Named"
  function Named:init()
    self.parts = {
      nn.Dense {2, 2, bias = false}, up = mw.param {1}, down = mw.param {2}, note = "text",
    }
  end
  t.is(names(Named()), {"parts.1.weight", "parts.down", "parts.up"}, "a table with names")
  local Two = nn.Module:extend "Two"
  function Two.forward(_, a, b) return a + b, a - b end
  local two = Two()
  local sum, difference = two(mw.tensor {3, 2}, mw.tensor {1, 1})
  t.is({sum:totable(), difference and difference:totable(), two:output_shape()},
    {{4, 3}, {2, 1}, {2}}, "a module of two inputs and two results")
  local Child = Residual:extend "Child"
  t.is(#Child(2):parameters(), 6, "a class of one's own can be extended")
  t.error(function() nn.Module:extend "Empty"()(x) end, "Empty has no method forward",
    "a module without forward")
  local net = nn.Sequential {block}
  t.is(net.training, true, "modules begin in training mode")
  net:eval()
  t.is({net.training, block.training, block.layers[2].training}, {false, false, false},
    "eval reaches all modules inside")
  net:train()
  t.is({net.training, block.second.training}, {true, true}, "and train as well")
end

-- Normalisation ----------------------------------------------------------------------------------

-- What PyTorch's batch normalisation does, for a list of samples, each a list of channels: y, and
-- the new running statistics.
local function batch_norm_by_hand(x, running, momentum, eps)
  local n, y, new = #x, {}, {mean = {}, var = {}}
  for i = 1, n do y[i] = {} end
  for c = 1, #x[1] do
    local mean, var = 0, 0
    for i = 1, n do mean = mean + x[i][c] / n end
    for i = 1, n do var = var + (x[i][c] - mean) ^ 2 / n end
    for i = 1, n do y[i][c] = (x[i][c] - mean) / math.sqrt(var + eps) end
    new.mean[c] = (1 - momentum) * running.mean[c] + momentum * mean
    new.var[c] = (1 - momentum) * running.var[c] + momentum * var * n / (n - 1)
  end
  return y, new
end

local function statistics(layer)
  return {mean = layer.running_mean:totable(), var = layer.running_var:totable()}
end

do
  mw.seed(31)
  local norm = nn.BatchNorm {2, momentum = 0.3, eps = 0.01, dtype = "f64"}
  local net = nn.Sequential {nn.Dense {3, 2, dtype = "f64"}, norm, nn.Dense {2, 1, dtype = "f64"}}
  t.is(names(net), {"1.weight", "1.bias", "2.weight", "2.bias", "3.weight", "3.bias"},
    "running statistics are no parameters")
  local buffers = {}
  for name, buffer in net:named_buffers() do buffers[#buffers + 1] = {name, buffer.shape} end
  t.is(buffers, {{"2.running_mean", {2}}, {"2.running_var", {2}}}, "but buffers")
  t.is({#net:buffers(), mw.core.name(norm.running_var)}, {2, "2.running_var"}, "with their names")
  t.is(statistics(norm), {mean = {0, 0}, var = {1, 1}}, "which begin as mean 0 and variance 1")
  local opt = mw.optim.SGD(net:parameters(), {lr = 0.1, weight_decay = 0.5, momentum = 0.5})
  local running, compiled = statistics(norm), nil
  for step = 1, 4 do
    local x = mw.randn({5, 3}, "f64")
    local hidden = net[1](x)
    local y, want = batch_norm_by_hand(hidden:totable(), running, 0.3, 0.01)
    local affine = net[2](hidden)
    t.near(((affine - norm.bias) / norm.weight):totable(), y, 1e-12,
      "BatchNorm takes the batch's statistics, step " .. step)
    if step == 3 then compiled = mw.stats().programs_compiled end
    opt:step((net[3](affine) ^ 2):mean())
    t.near(statistics(norm), want, 1e-12, "and its running ones follow with the step")
    running = statistics(norm)
  end
  t.is(mw.stats().programs_compiled, compiled, "all in one program, compiled once")

  local x = mw.randn({4, 3}, "f64")
  local trained = net(x)
  local _, want = batch_norm_by_hand(net[1](x):totable(), running, 0.3, 0.01)
  t.near(statistics(norm), running, 0, "a pass alone changes nothing yet")
  net:eval()
  t.near(statistics(norm), want, 1e-12, "eval brings the running statistics up to date")
  t.is(#trained:totable(), 4,
    "and leaves what was built before as good as it was")
  local hidden, y = net[1](x):totable(), {}
  local scale, bias = norm.weight:totable(), norm.bias:totable()
  for i = 1, 4 do
    y[i] = {}
    for c = 1, 2 do
      y[i][c] = (hidden[i][c] - want.mean[c]) / math.sqrt(want.var[c] + 0.01) * scale[c] + bias[c]
    end
  end
  t.near(net[2](net[1](x)):totable(), y, 1e-12, "evaluation takes the running statistics")
  t.near(statistics(norm), want, 0, "and leaves them")

  local path = folder.path .. "/net.safetensors"
  mw.save(path, net:state())
  local state = mw.load(path)
  t.near(state["2.running_var"]:totable(), want.var, 0, "running statistics are saved with the net")
  net:train()
  net(x)
  net:load(state)
  net:eval()
  t.near(statistics(norm), want, 0, "load sets them, whatever waited")
  state["2.running_mean"] = nil
  t.error(function() net:load(state) end, '"2.running_mean" is nil, expected', "and misses them")
end

do -- several passes before a step; passes without one
  mw.seed(32)
  local norm = nn.BatchNorm {2, dtype = "f64"}
  local running = statistics(norm)
  local opt = mw.optim.SGD(norm:parameters(), {lr = 0.1})
  local loss
  for _ = 1, 3 do
    local x = mw.randn({4, 2}, "f64")
    local _, new = batch_norm_by_hand(x:totable(), running, 0.1, 1e-5)
    running = new
    local term = (norm(x) ^ 3):sum()
    loss = loss and loss + term or term
  end
  opt:step(loss)
  t.near(statistics(norm), running, 1e-12, "each pass before a step counts")
  collectgarbage()
  local tensors, most = mw.stats().tensors_live, 0
  for _ = 1, 100 do
    local x = mw.randn({4, 2}, "f64")
    local _, new = batch_norm_by_hand(x:totable(), running, 0.1, 1e-5)
    running = new
    norm(x)
    collectgarbage()
    most = math.max(most, mw.stats().tensors_live - tensors)
  end
  t.ok(most < 400, "passes without a step do not pile up")
  norm:eval()
  t.near(statistics(norm), running, 1e-12, "and none of them is lost")
  norm:train()
  norm(mw.randn({4, 2}, "f64"))
  local loss_of_other = mw.param({1.0})
  mw.update({loss_of_other}, {loss_of_other * 2})
  t.ok(statistics(norm).mean[1] ~= running.mean[1], "mw.update takes them along")
  running = statistics(norm)
  local state = {mw.core.random_state()}
  nn.summary(nn.Sequential {norm, nn.Dropout {0.5}}, {2})
  norm:eval()
  t.is(statistics(norm), running, "a summary changes no running statistics")
  t.is({mw.core.random_state()}, state, "and draws no random number")
  norm:train()
  local f = mw.compile(function(x) return norm(x) end)
  local x = mw.tensor({{1, 2}, {3, 6}}, "f64")
  t.near(((f(x) - norm.bias) / norm.weight):totable(), {{-1, -1}, {1, 1}}, 1e-4,
    "a compiled function normalises")
  norm:eval()
  t.is(statistics(norm), running, "and leaves the running statistics")
  local plain = nn.BatchNorm {2, affine = false}
  t.is({#plain:parameters(), plain(mw.randn {3, 2, 4, 5}).shape}, {0, {3, 2, 4, 5}},
    "without parameters, for images")
  mw.optim.SGD(norm:parameters(), {lr = 0.1}):step((norm(mw.randn({4, 2}, "f64")) ^ 3):sum())
end

do -- the other norms: x minus its mean over its deviation, both over some axes
  mw.seed(33)
  local function standard(x, axes)
    local centred = x - x:mean {axes = axes, keepdims = true}
    return centred / ((centred ^ 2):mean {axes = axes, keepdims = true} + 1e-5):sqrt()
  end
  local x = mw.randn({3, 4, 5, 2}, "f64")
  local function check(layer, want, name)
    for _, p in ipairs(layer:parameters()) do
      mw.update({p}, {mw.randn(p.shape, "f64")})
    end
    t.near(layer(x):totable(), want(layer):totable(), 1e-12, name)
  end
  check(nn.LayerNorm {2, dtype = "f64"}, function(l)
    return standard(x, {4}) * l.weight + l.bias
  end, "LayerNorm over the last axis")
  check(nn.LayerNorm {{5, 2}, dtype = "f64"}, function(l)
    return standard(x, {3, 4}) * l.weight + l.bias
  end, "LayerNorm over the last two")
  check(nn.LayerNorm {2, affine = false}, function() return standard(x, {4}) end,
    "LayerNorm without parameters")
  check(nn.RMSNorm {2, dtype = "f64"}, function(l)
    return x / ((x ^ 2):mean {axes = {4}, keepdims = true} + 1e-5):sqrt() * l.weight
  end, "RMSNorm")
  local function channels(p) return p:reshape {4, 1, 1} end
  check(nn.GroupNorm {2, 4, dtype = "f64"}, function(l)
    local y = standard(x:reshape {3, 2, 2, 5, 2}, {3, 4, 5}):reshape {3, 4, 5, 2}
    return y * channels(l.weight) + channels(l.bias)
  end, "GroupNorm")
  check(nn.InstanceNorm {4, affine = true, dtype = "f64"}, function(l)
    return standard(x, {3, 4}) * channels(l.weight) + channels(l.bias)
  end, "InstanceNorm")
  t.is(#nn.InstanceNorm({4}):parameters(), 0, "InstanceNorm has no parameters of itself")
end

do -- buffers of one's own
  local Scaled = nn.Module:extend "Scaled"
  function Scaled:init() self.scale = nn.buffer(mw.tensor {2, 3}) end
  function Scaled:forward(x) return x * self.scale end
  local scaled = Scaled()
  t.is({#scaled:parameters(), scaled:state().scale:totable()}, {0, {2, 3}},
    "nn.buffer is saved and not trained")
  scaled:load {scale = mw.tensor {4, 5}}
  t.is(scaled(mw.ones {2}):totable(), {4, 5}, "and loaded")
end

-- Dropout, Embedding and activations -------------------------------------------------------------

do
  mw.seed(34)
  local layer, x = nn.Dropout {0.25}, mw.ones {2000}
  local state = {mw.core.random_state()}
  local y = layer(x)
  t.near(y:mean():item(), 1, 0.065, "Dropout keeps the mean")
  t.is(y:max():item(), mw.tensor(4 / 3):item(), "divides by 1 - p")
  t.ok(y:totable()[1] ~= nil and (layer(x) - y):abs():max():item() > 0, "and draws anew each time")
  mw.core.random_restore(state[1], state[2])
  t.is(layer(x):totable(), y:totable(), "a restored generator gives the same mask")
  local before = {mw.core.random_state()}
  layer:eval()
  t.is(layer(x):totable(), x:totable(), "in evaluation mode it is the identity")
  t.is({mw.core.random_state()}, before, "which draws nothing")
  t.is({nn.Dropout({}).p, nn.Dropout({p = 1}).p}, {0.5, 1}, "p is 0.5, or by name")
  t.is(nn.Dropout({0.1}):describe(), "Dropout {0.1}", "its line in a summary")
end

do
  local v = mw.tensor({-2, -0.5, 0, 1}, "f64")
  local function check(class, f, given)
    local want = {}
    for i, x in ipairs(v:totable()) do want[i] = f(x) end
    t.near(nn[class](given or {})(v):totable(), want, 1e-6, class)
  end
  local exp, log = math.exp, math.log
  local function clamp(x, low, high) return math.max(low, math.min(high, x)) end
  check("LeakyReLU", function(x) return x > 0 and x or 0.01 * x end)
  check("LeakyReLU", function(x) return x > 0 and x or 0.2 * x end, {negative_slope = 0.2})
  check("LeakyReLU", function(x) return x > 0 and x or 0.2 * x end, {0.2})
  check("ELU", function(x) return x > 0 and x or 2 * (exp(x) - 1) end, {alpha = 2})
  check("SELU", function(x) return 1.0507009873554805 * (x > 0 and x
    or 1.6732632423543772 * (exp(x) - 1)) end)
  check("GELU", function(x) -- by its approximation, as Lua has no erf
    return x / 2 * (1 + 1 - 2 / (exp(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3)) + 1))
  end, {approximate = "tanh"})
  check("SiLU", function(x) return x / (1 + exp(-x)) end)
  check("Softplus", function(x) return log(1 + exp(x)) end)
  check("HardTanh", function(x) return clamp(x, -1, 1) end)
  check("HardSigmoid", function(x) return clamp(x / 6 + 0.5, 0, 1) end)
  check("HardSwish", function(x) return x * clamp(x / 6 + 0.5, 0, 1) end)
  check("Mish", function(x) local e = (1 + exp(x)) ^ 2 return x * (e - 1) / (e + 1) end)
  local m = mw.tensor({{1, 2}, {3, 5}}, "f64")
  t.near(nn.Softmax {axis = 1}(m):totable(), m:softmax({axis = 1}):totable(), 0, "Softmax")
  t.near(nn.LogSoftmax {}(m):totable(), m:log_softmax():totable(), 0, "LogSoftmax")
  t.is(nn.LeakyReLU({negative_slope = 0.2}):describe(), "LeakyReLU {negative_slope = 0.2}",
    "an activation's line in a summary")
  t.is(nn.SiLU({}):describe(), "SiLU", "and of one without options")
end

do -- all that training depends on can be saved: parameters, buffers, optimizer, generator
  mw.seed(36)
  local function make()
    local net = nn.Sequential {
      nn.Conv2d {1, 3, kernel = 3}, nn.BatchNorm {3}, nn.GELU {}, nn.Dropout {0.3},
      nn.GlobalMeanPool {}, nn.Flatten {}, nn.Dense {3, 2},
    }
    return net, mw.optim.Adam(net:parameters(), {lr = 0.05})
  end
  local function train(net, opt)
    local losses = {}
    for step = 1, 4 do
      local x, labels = mw.randn {8, 1, 6, 6}, mw.tensor({0, 1, 0, 1, 1, 1, 0, 0}, "i64")
      losses[step] = opt:step(net(x):cross_entropy(labels)):item()
    end
    return losses
  end
  local net, opt = make()
  train(net, opt)
  local path, seed, position = folder.path .. "/checkpoint", mw.core.random_state()
  mw.save(path .. "-net.safetensors", net:state())
  mw.save(path .. "-opt.safetensors", opt:state())
  local want = train(net, opt)
  local other, other_opt = make()
  other:load(mw.load(path .. "-net.safetensors"))
  other_opt:load_state(mw.load(path .. "-opt.safetensors"))
  mw.core.random_restore(seed, position)
  t.is(train(other, other_opt), want, "training goes on from a checkpoint with the same losses")
  local x = mw.randn {8, 1, 6, 6}
  t.is(other:eval()(x):totable(), net:eval()(x):totable(), "to the same network")
end

-- Layers of other ranks: by the definition in small, or by layers for images ---------------------

do
  mw.seed(35)
  local function f64(given)
    given.dtype = "f64"
    return given
  end
  local line = nn.Conv1d(f64 {2, 3, kernel = 3, stride = 2, padding = {1, 0}})
  t.is(line.weight.shape, {3, 2, 3}, "Conv1d has filters [out, in, kernel]")
  local image = nn.Conv2d(f64 {2, 3, kernel = {1, 3}, stride = {1, 2}, padding = {0, 1, 0, 0}})
  image:load {weight = line.weight:reshape {3, 2, 1, 3}, bias = line.bias}
  local x = mw.randn({2, 2, 8}, "f64")
  t.near(line(x):totable(), image(x:reshape {2, 2, 1, 8}):reshape(line(x).shape):totable(), 1e-14,
    "Conv1d is Conv2d on images of height 1")

  local volume = nn.Conv3d(f64 {2, 4, kernel = {1, 2, 3}, groups = 2, bias = false})
  t.is({volume.weight.shape, volume.bias}, {{4, 1, 1, 2, 3}}, "Conv3d, in groups and without bias")
  image = nn.Conv2d(f64 {2, 4, kernel = {2, 3}, groups = 2, bias = false})
  image:load {weight = volume.weight:reshape {4, 1, 2, 3}}
  x = mw.randn({1, 2, 1, 4, 5}, "f64")
  t.near(volume(x):totable(), image(x:reshape {1, 2, 4, 5}):reshape {1, 4, 1, 3, 3}:totable(),
    1e-14, "Conv3d is Conv2d on volumes of depth 1")

  local wide = nn.ConvTranspose2d(f64 {2, 4, kernel = 3, stride = 2, padding = 1,
    output_padding = 1, groups = 2})
  t.is({wide.weight.shape, wide.bias.shape}, {{2, 2, 3, 3}, {4}},
    "ConvTranspose2d has filters [in, out/groups, ...]")
  -- <conv(y), x> = <y, transposed(x)> for the convolution with the same filters
  image = nn.Conv2d(f64 {4, 2, kernel = 3, stride = 2, padding = 1, groups = 2, bias = false})
  image:load {weight = wide.weight}
  x = mw.randn({3, 2, 4, 4}, "f64")
  local y = mw.randn({3, 4, 8, 8}, "f64")
  t.is(wide(x).shape, y.shape, "it makes images larger")
  t.near((image(y) * x):sum():item(), (wide(x) * y):sum():item(), 1e-11,
    "ConvTranspose2d is the adjoint of Conv2d")
  local long = nn.ConvTranspose1d(f64 {1, 1, kernel = 2, stride = 2, bias = false})
  long:load {weight = mw.tensor({{{1, 10}}}, "f64")}
  t.is(long(mw.tensor({{{1, 2, 3}}}, "f64")):totable(), {{{1, 10, 2, 20, 3, 30}}},
    "ConvTranspose1d")
  t.is(wide:describe(), "ConvTranspose2d {2, 4, kernel = 3, stride = 2, padding = 1, "
    .. 'groups = 2, output_padding = 1, dtype = "f64"}', "its line in a summary")
end

do
  local x = mw.tensor {{{1, 5, 2, 4, 9, 0}}}
  t.is(nn.MaxPool1d {2}(x):totable(), {{{5, 4, 9}}}, "MaxPool1d")
  t.is(nn.MaxPool1d {kernel = 3, stride = 1}(x):totable(), {{{5, 5, 9, 9}}}, "with a stride")
  t.is(nn.MeanPool1d {2}(x):totable(), {{{3, 3, 4.5}}}, "MeanPool1d")
  local image = mw.arange(16):reshape {1, 1, 4, 4}
  t.is(nn.AdaptiveMeanPool {2}(image):totable(), {{{{2.5, 4.5}, {10.5, 12.5}}}},
    "AdaptiveMeanPool {2}")
  t.is(nn.AdaptiveMeanPool {size = {1, 2}}(image):totable(), {{{{6.5, 8.5}}}},
    "AdaptiveMeanPool with its size by name")
  t.is(nn.AdaptiveMaxPool {{2, 1}}(image):totable(), {{{{7}, {15}}}}, "AdaptiveMaxPool")
  t.is(nn.GlobalMeanPool {}(image):reshape {1}:totable(), {7.5}, "GlobalMeanPool")
  t.is(nn.GlobalMaxPool {}(image):reshape {1}:totable(), {15}, "GlobalMaxPool")
  local tiny = mw.tensor {{{{1, 2}, {3, 4}}}}
  t.is(nn.Upsample {scale = 2}(tiny):totable(),
    {{{{1, 1, 2, 2}, {1, 1, 2, 2}, {3, 3, 4, 4}, {3, 3, 4, 4}}}}, "Upsample by a factor")
  t.is(nn.Upsample {size = {2, 3}, mode = "bilinear", align_corners = true}(tiny):totable(),
    {{{{1, 1.5, 2}, {3, 3.5, 4}}}}, "Upsample to a size, between pixels")
  local table_of = nn.Embedding {3, 2}
  table_of:load {weight = mw.tensor {{1, 2}, {3, 4}, {5, 6}}}
  t.is(table_of(mw.tensor({{2, 0}}, "i64")):totable(), {{{5, 6}, {1, 2}}},
    "Embedding counts from 0")
end

-- Initialisers -----------------------------------------------------------------------------------

do
  local conv = nn.Conv2d {16, 32, kernel = 5, init = nn.init.uniform(-1e-4, 1e-4)}
  local least, most, mean, deviation = spread(conv.weight)
  t.ok(least >= -1e-4 and most <= 1e-4 and least < -9e-5 and most > 9e-5,
    "the tutorial's filters are uniform in [-1e-4, 1e-4]")
  t.near({mean, deviation}, {0, 1e-4 / math.sqrt(3)}, 2e-6,
    "with a uniform distribution's mean and deviation")
  least, most = spread(conv.bias)
  t.is({least, most}, {0, 0}, "the tutorial's biases are 0")
  local _
  _, _, mean, deviation = spread(nn.Conv2d({16, 32, kernel = 5}).weight)
  t.near(mean, 0, 0.003, "filters have mean 0")
  t.near(deviation, math.sqrt(2 / (16 * 25)), 0.002, "and He's deviation when nothing is said")
  _, _, _, deviation = spread(nn.Dense({200, 100, init = nn.init.normal(1, 0.25)}).weight)
  t.near(deviation, 0.25, 0.01, "nn.init.normal")
  least, most = spread(nn.Dense({200, 100, init = nn.init.xavier()}).weight)
  t.ok(most <= math.sqrt(6 / 300) and most > 0.98 * math.sqrt(6 / 300)
    and least >= -math.sqrt(6 / 300), "nn.init.xavier")
  least, most = spread(nn.Dense({5, 4, init = nn.init.zeros()}).weight)
  t.is({least, most}, {0, 0}, "nn.init.zeros")
  t.is(nn.Dense({1, 2, init = nn.init.constant(0.5), dtype = "f64"}).weight:totable(),
    {{0.5}, {0.5}}, "nn.init.constant, in float64")
  mw.seed(9)
  local first = nn.Dense({3, 3}).weight:totable()
  mw.seed(9)
  t.is(nn.Dense({3, 3}).weight:totable(), first, "mw.seed decides the first values")
end

-- Summaries --------------------------------------------------------------------------------------

do
  local net = nn.Sequential {
    nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {6, 16, kernel = 5}, nn.ReLU {}, nn.MaxPool {2},
    nn.Flatten {},
    nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
  }
  t.ok(tostring(net):find("61,706", 1, true), "LeNet-5 has 61,706 parameters")
  t.ok(not tostring(net):find("28", 1, true), "shapes are unknown before the first call")
  local text = nn.summary(net, {1, 28, 28})
  t.ok(text:find("Conv2d {6, 16, kernel = 5} +16 x 10 x 10 +2,416\n"),
    "a layer's line: arguments, output shape, parameters")
  t.ok(text:find("6 x 28 x 28", 1, true) and text:find("16 x 5 x 5", 1, true), "output shapes")
  t.is(nn.Dense({2, 3, dtype = "f64"}):describe(), 'Dense {2, 3, dtype = "f64"}',
    "a layer is described as it is written")
  net(mw.zeros {7, 1, 28, 28})
  t.is(tostring(net), text, "tostring shows the shapes of the last call")
  local Pair = nn.Module:extend "Pair"
  function Pair:init()
    self.long_name = nn.ReLU {}
    self.short = nn.ReLU {}
  end
  t.ok(tostring(Pair()):find("\n  long_name  ReLU\n  short      ReLU\n", 1, true),
    "names stand in a column")
  local longest = 0
  for line in text:gmatch "[^\n]+" do longest = math.max(longest, #line) end
  t.ok(longest <= 80, "the table fits a terminal")

  local Scaled = nn.Module:extend "Scaled"
  function Scaled:init()
    self.layer, self.scale = nn.Dense {4, 4}, mw.param(mw.ones {4})
  end
  t.ok(tostring(Scaled()):find("Scaled +4\n.*Dense {4, 4} +20\ntotal +24"),
    "a module's own parameters beside those of its layers")
  local first, second = nn.Dense {4, 4}, nn.Dense {4, 4}
  second.weight = first.weight
  t.ok(tostring(nn.Sequential {first, second, first}):find(
    "1  Dense {4, 4} +20\n +2  Dense {4, 4} +4\n +3  Dense {4, 4}\ntotal +24$"),
    "parameters that are shared count once")
end

-- Errors -----------------------------------------------------------------------------------------

for _, case in ipairs {
  {function() nn.Conv2d {1, 2, kernal = 3} end, 'nn.Conv2d: .*"kernal", did you mean "kernel"%?'},
  {function() nn.Conv2d {1, 2} end, "nn.Conv2d: kernel is nil, expected a whole number"},
  {function() nn.Conv2d {1, 2, 3} end, "nn.Conv2d: %[3%] is 3; without a name it takes 2"},
  {function() nn.Conv2d {1, "6", kernel = 5} end, 'the number of filters, %[2%], is "6"'},
  {function() nn.Conv2d {0, 6, kernel = 5} end, "is 0, expected a whole number of at least 1"},
  {function() nn.Conv2d {1, 6, kernel = {1, 2, 3}} end, "kernel is a table, expected"},
  {function() nn.Conv2d {1, 6, kernel = 2.5} end, "kernel is 2.5, expected"},
  {function() nn.Conv2d {1, 6, kernel = 5, padding = -1} end, "padding is %-1, expected"},
  {function() nn.Conv2d {1, 6, kernel = 5, stride = 0} end, "stride is 0, expected"},
  {function() nn.Conv2d {3, 6, kernel = 5, groups = 2} end, "groups is 2, expected a divisor"},
  {function() nn.Conv2d {1, 6, kernel = 5, dtype = "f16"} end, 'dtype is "f16", expected f32 or'},
  {function() nn.Conv2d {1, 6, kernel = 5, bias = 0} end, "bias is 0, expected true or false"},
  {function() nn.Conv2d {1, 6, kernel = 5, init = nn.init.he} end, "call it, as in nn.init.he"},
  {function() nn.Conv2d {1, 6, kernel = 5, init = "he"} end, 'init is "he", expected an init'},
  {function() nn.Conv2d(1, 6) end, "its argument is 1, expected a table: write nn.Conv2d"},
  {function() nn.Dense {4} end, "nn.Dense: the number of outputs, %[2%], is nil"},
  {function() nn.MaxPool {} end, "nn.MaxPool: the window"},
  {function() nn.MaxPool {2, kernel = 2} end, "the window is given twice"},
  {function() nn.MaxPool {2, count_include_pad = true} end, "there is no option"},
  {function() nn.MaxPool1d {{2, 2}} end, "the window, %[1%], is a table, expected a whole"},
  {function() nn.Conv3d {1, 1, kernel = {1, 2}} end,
    "kernel is a table, expected a whole number of at least 1 or {depth, height, width}"},
  {function() nn.Conv1d {1, 1, kernel = 1, padding = {1, 2, 3}} end, "or {left, right}"},
  {function() nn.Conv2d {1, 1, kernel = 1, output_padding = 1} end,
    'nn.Conv2d: there is no option "output_padding"'},
  {function() nn.Upsample {} end, "nn.Upsample: neither scale nor size is given; it takes either"},
  {function() nn.Upsample {scale = 2, size = 3} end, "both scale and size are given"},
  {function() nn.Upsample {scale = 2, mode = "cubic"} end, 'mode is "cubic", expected nearest or'},
  {function() nn.AdaptiveMeanPool {2, size = 2} end, "the size is given twice, as %[1%] and"},
  {function() nn.Dropout {1.5} end, "nn.Dropout: p is 1.5, expected a number from 0 to 1"},
  {function() nn.Dropout {q = 0.5} end, 'nn.Dropout: there is no option "q"'},
  {function() nn.Embedding {3} end, "nn.Embedding: the number of features, %[2%], is nil"},
  {function() nn.BatchNorm {} end, "nn.BatchNorm: the number of channels, %[1%], is nil"},
  {function() nn.BatchNorm {2, momentun = 0.5} end, '"momentun", did you mean "momentum"'},
  {function() nn.GroupNorm {3, 4} end, "there are 3 groups, expected a divisor of 4 channels"},
  {function() nn.LayerNorm {} end, "the normalised shape, %[1%], is nil, expected a whole number"},
  {function() nn.LeakyReLU {slope = 0.1} end, "there is no option"},
  {function() nn.LeakyReLU {0.1, 0.2} end, "without a name it takes 1 value"},
  {function() nn.LeakyReLU {0.1, negative_slope = 0.2} end, "the negative_slope is given twice"},
  {function() nn.LeakyReLU {negative_slope = "a"} end, 'negative_slope is "a", expected a number'},
  {function() nn.GELU {approximate = "tan"} end, 'approximate is "tan", expected none or tanh'},
  {function() return nn.BatchNorm2d end, "did you mean nn.BatchNorm%?"},
  {function() return nn.Dropuot end, "did you mean nn.Dropout%?"},
  {function() nn.ReLU {0.1} end, "nn.ReLU: %[1%] is 0.1; without a name it takes 0 values"},
  {function() nn.Sequential {nn.ReLU} end, "item 1 is the class ReLU, expected a layer: nn.ReLU"},
  {function() nn.Sequential {nn.ReLU {}, 3} end, "item 2 is 3, expected a layer"},
  {function() nn.Sequential {nn.ReLU {}, nil, nn.ReLU {}} end, "item 2 is nil, expected a layer"},
  {function() nn.Sequential {layer = nn.ReLU {}} end, 'a field "layer"'},
  {function() nn.Sequential(nn.ReLU {}, nn.ReLU {}) end,
    "its argument is the layer ReLU, expected a list: {layer, ...}"},
  {function() return nn.Relu end, "did you mean nn.ReLU%?"},
  {function() return nn.Linear end, "did you mean nn.Dense%?"},
  {function() nn.init.uniform(1, -1) end, "nn.init.uniform: high is %-1, expected a number"},
  {function() nn.init.normal(0, -1) end, "deviation is %-1, expected a number of at least 0"},
} do
  local message = t.error(case[1], case[2], "error: " .. case[2])
  t.ok(message and message:find("^tests/lua/nn.lua:%d+: "), "at the user's line")
end

do
  local net = small()
  local message = t.error(function() net(mw.zeros {2, 3, 4, 4}) end,
    "Conv2d %(layer 1%): conv2d: ", "an op's error names its layer")
  t.ok(message and message:find("^tests/lua/nn.lua:%d+: Conv2d"), "after the user's line")
  local nested = nn.Sequential {nn.Identity {}, nn.Sequential {nn.Dense {3, 2}}}
  t.error(function() nested(mw.zeros {2, 4}) end,
    "Sequential %(layer 2%): Dense %(layer 1%): dense: ", "in nested networks too")
end

folder.remove()
t.done()
