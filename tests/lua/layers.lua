-- layers.lua: layers of nn by family: normalisation, dropout, embedding, activations, and layers of
-- other ranks than images.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local nn = mw.nn

local function names(module)
  local list = {}
  for name in module:named_parameters() do list[#list + 1] = name end
  return list
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

-- What a layer's op came to with one shape is not what it comes to with another.
do
  local pool, conv = nn.MaxPool {2}, nn.Conv2d {1, 2, kernel = 3, bias = false}
  for _, size in ipairs {4, 6, 6, 4} do
    local x = mw.arange(2 * size * size):reshape {2, 1, size, size}
    t.is({pool(x).shape, conv(x).shape, pool(x)[2][1][1][1]:item()},
      {{2, 1, size // 2, size // 2}, {2, 2, size - 2, size - 2}, size * size + size + 1.0},
      ("images of %d x %d"):format(size, size))
  end
  t.is({nn.ReLU {}(mw.ones {2}).dtype, nn.ReLU {}(mw.ones({2}, "f64")).dtype}, {"f32", "f64"},
    "nor with another dtype")
  local relu = nn.ReLU {}
  t.is({relu(mw.ones {2}).dtype, relu(mw.ones({2}, "f64")).dtype, relu(-2):item()},
    {"f32", "f64", 0.0}, "in one layer, which takes a number, too")
  conv.bias = mw.param(mw.ones {2})
  t.is(conv(mw.zeros {1, 1, 3, 3}):totable(), {{{{1}}, {{1}}}}, "a bias that is set later counts")
  t.error(function() pool(mw.ones {4}) end, "layers.lua:%d+: maxpool: ", "an error has its line")
  t.error(function() pool "x" end, "layers.lua:%d+: maxpool: x is 'x'", "an argument of no use")
  t.error(function() nn.Sequential {pool, nn.Sequential {pool}}(mw.ones {1, 1, 2, 2}) end,
    "layers.lua:%d+: Sequential %(layer 2%): MaxPool %(layer 1%): maxpool: ", "and its layers")
  local Own = nn.MaxPool:extend "Own"
  function Own.init() end
  t.error(function() Own()(mw.ones {1, 1, 2, 2}) end, "the module has no field 'applied'",
    "a class whose init calls not that of its parent")
  local thread = coroutine.wrap(function()
    return nn.Sequential {nn.Lambda {function(x) return coroutine.yield(x) end}, pool} (pool)
  end)
  t.ok(thread() == pool, "a layer may yield within a list")
  t.is(thread(mw.ones {1, 1, 2, 2}).shape, {1, 1, 1, 1}, "and goes on there")
end

folder.remove()
t.done()
