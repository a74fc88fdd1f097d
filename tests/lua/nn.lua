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
  t.ok(text:find("Conv2d {6, 16, kernel = 5} +16 x 10 x 10 +2,416 +480.0 k\n"),
    "a layer's line: arguments, output shape, parameters, operations") -- 2 * 16 * 100 * 150
  -- 235,200 + 480,000 + 96,000 + 20,160 + 1,680 of products, and 6,508 of relu and 6,304 of pooling
  t.ok(text:find("total +61,706 +845.9 k$"), "all operations")
  t.ok(text:find("6 x 28 x 28", 1, true) and text:find("16 x 5 x 5", 1, true), "output shapes")
  t.is(nn.Dense({2, 3, dtype = "f64"}):describe(), 'Dense {2, 3, dtype = "f64"}',
    "a layer is described as it is written")
  net(mw.zeros {7, 1, 28, 28})
  t.ok(tostring(net):find("16 x 10 x 10 +2,416\n"), "tostring shows the shapes of the last call")
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
  {function() nn.Conv2d {1, 6, kernel = 5, init = "hee"} end, 'init is "hee", .*did you mean "he"'},
  {function() nn.Conv2d {1, 6, kernel = 5, init = 1} end, "init is 1, expected an initialiser"},
  {function() nn.Conv2d(1, 6) end, "its argument is 1, expected a table: write nn.Conv2d"},
  {function() nn.Dense {} end, "nn.Dense: the number of outputs, %[1%], is nil"},
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
  {function() nn.BatchNorm {"2"} end, 'nn.BatchNorm: the number of channels, %[1%], is "2"'},
  {function() nn.BatchNorm {2, momentun = 0.5} end, '"momentun", did you mean "momentum"'},
  {function() nn.GroupNorm {3, 4} end, "there are 3 groups, expected a divisor of 4 channels"},
  {function() nn.LayerNorm {0} end, "the normalised shape, %[1%], is 0, expected a whole number"},
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
