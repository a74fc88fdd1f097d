-- modules.lua: what modules can do besides being called: open sizes, names, freezing, copies,
-- guards, first values; and the modules that are made of others.
local mw = require "moonwalk"
local t = require "tap"
local nn = mw.nn

local function names(module)
  local list = {}
  for name in module:named_parameters() do list[#list + 1] = name end
  return list
end

local function same_values(a, b)
  return a:eq(b):all():item()
end

-- Sizes that the first input decides -------------------------------------------------------------

local function lenet(seed)
  mw.seed(seed)
  return nn.Sequential {
    nn.Conv2d {6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {16, kernel = 5}, nn.BatchNorm {}, nn.ReLU {}, nn.MaxPool {2},
    nn.Flatten {}, nn.Dense {120}, nn.LayerNorm {}, nn.Tanh {}, nn.Dropout {0.5}, nn.Dense {10},
  }
end

do
  local net = lenet(1)
  local message = t.refuses(
    "Conv2d {6, kernel = 5, padding = 2} takes its sizes from its first input",
    function() net:parameters() end)
  t.ok(message:find "^tests/lua/modules.lua:%d+: "
    and message:find("Conv2d at tests/lua/modules.lua"),
    "at the user's line, with the place of the layer")
  t.refuses("net:infer {1, 28, 28}", function() net:state() end)
  t.ok(tostring(net):find("Dense {10} +%?\ntotal +0 %+ %?"), "print shows what is not known yet")
  t.is(net(mw.zeros {2, 1, 28, 28}).shape, {2, 10}, "the first call decides")
  t.is({net[1].weight.shape, net[4].weight.shape, net[5].weight.shape, net[9].weight.shape,
    net[10].weight.shape}, {{6, 1, 5, 5}, {16, 6, 5, 5}, {16}, {120, 400}, {120}}, "all sizes")
  t.is(names(net), {"1.weight", "1.bias", "4.weight", "4.bias", "5.weight", "5.bias", "9.weight",
    "9.bias", "10.weight", "10.bias", "13.weight", "13.bias"}, "and the parameters are there")
  t.is({mw.core.name(net[9].weight), mw.core.name(net[5].running_var)},
    {"9.weight", "5.running_var"}, "with their names")

  -- However the sizes are found, first values are drawn in the same order from the same numbers.
  local summed = lenet(1)
  local text = nn.summary(summed, {1, 28, 28})
  t.ok(text:find("16 x 10 x 10", 1, true) and text:find("48,120", 1, true),
    "a summary decides, too")
  local next_number = mw.randn {1}:item()
  local inferred = lenet(1)
  t.ok(inferred:infer {1, 28, 28} == inferred, "and so does infer")
  t.is(mw.randn {1}:item(), next_number, "the generator is behind the first values after it")
  t.ok(same_values(summed[13].weight, inferred[13].weight)
    and same_values(summed[1].weight, inferred[1].weight), "with the same first values")
  t.is({summed.training, summed[12].training}, {true, true}, "the mode stays")
  mw.seed(5)
  local first = nn.Dense {3}
  first:infer {2}
  local weight = first.weight:totable()
  t.ok(math.abs(mw.normal({3, 2}, 0, 1):totable()[1][1] - weight[1][1]) > 1e-9,
    "first values are not drawn again by what follows")
  t.is(mw.core.program_memory ~= nil and nn.Dense({2}):infer {3}(mw.zeros {1, 3}).shape, {1, 2},
    "a net is itself after infer")

  t.is(nn.Dense {3}(mw.zeros({2, 4}, "f64")).dtype, "f64", "the dtype is the input's")
  t.is(nn.GRU {3}(mw.zeros {2, 4, 5}).shape, {2, 4, 3}, "GRU {hidden}")
  t.is(nn.Conv1d {3, kernel = 2}(mw.zeros {2, 4, 5}).shape, {2, 3, 4}, "Conv1d")
  t.is(nn.ConvTranspose2d {3, kernel = 2, stride = 2}(mw.zeros {2, 4, 5, 5}).shape, {2, 3, 10, 10},
    "ConvTranspose2d")
  t.is({nn.GroupNorm {2}(mw.zeros {2, 4, 3}).shape, nn.InstanceNorm {}(mw.zeros {2, 4, 3}).shape,
    nn.RMSNorm {}(mw.zeros {2, 4, 3}).shape}, {{2, 4, 3}, {2, 4, 3}, {2, 4, 3}}, "norms")
  local shared = nn.Dense {4}
  t.is(#nn.Sequential {shared, nn.ReLU {}, shared}:infer {4}:parameters(), 2,
    "a layer with open sizes may stand in two places")
  t.refuses("nn.Dense: the first input is 3, expected a tensor", function() nn.Dense {3}(3) end)
  t.refuses("groups is 3, expected a divisor of both 4 channels", function()
    nn.Conv2d {6, kernel = 1, groups = 3}(mw.zeros {1, 4, 2, 2})
  end)
  local retried = nn.Conv2d {6, kernel = 1, groups = 3}
  pcall(retried, mw.zeros {1, 4, 2, 2})
  t.is(retried(mw.zeros {1, 3, 2, 2}).shape, {1, 6, 2, 2},
    "after an input that fits not, one that does")
  local embedded = nn.Sequential {nn.Embedding {5, 3}, nn.LSTM {4}}
  t.is(#embedded:infer({7}, {dtype = "i64"}):parameters(), 5, "indices are inputs, too")
  t.is(#nn.Dense {2}:infer(mw.zeros {3, 3}):parameters(), 2, "or the input itself")
  t.refuses("infer: the shape of a sample is 3", function() nn.Dense {2}:infer(3) end)
  t.refuses("infer: size 2 of the sample is 1.5", function() nn.Dense {2}:infer {1, 1.5} end)

  local layer = nn.Dense {3}
  local f = mw.compile(function(x) return layer(x) end)
  t.ok(same_values(f(mw.ones {2, 2}), f(mw.ones {2, 2})), "the first call may be a trace")
  t.ok(same_values(f(mw.ones {2, 2}), layer(mw.ones {2, 2})), "which makes real parameters")

  local Lazy = nn.Module:extend "Lazy"
  function Lazy:init() self:lazy() end
  function Lazy:build(x) self.scale = mw.param(mw.ones {x.shape[2]}) end
  function Lazy:forward(x) return x * self.scale end
  local mine = nn.Sequential {Lazy()}
  t.is({mine:infer {4}[1].scale.shape, names(mine)}, {{4}, {"1.scale"}}, "modules of one's own")
  local Empty = nn.Module:extend "Empty"
  function Empty:init() self:lazy() end
  t.refuses("Empty calls lazy(), but has no method build", function() Empty()(mw.zeros {1}) end)
end

-- Names ------------------------------------------------------------------------------------------

do
  local net = nn.Sequential {
    {"conv1", nn.Conv2d {1, 2, kernel = 3}}, nn.Flatten {}, {"fc", nn.Dense {8, 3}},
  }
  t.is(names(net), {"conv1.weight", "conv1.bias", "fc.weight", "fc.bias"}, "layers with names")
  t.ok(net.conv1 == net[1] and net.fc == net[3], "are fields, and items still")
  t.is(mw.core.name(net.conv1.weight), "conv1.weight", "parameters know them")
  t.is({#net, net(mw.zeros {2, 1, 4, 4}).shape}, {3, {2, 3}}, "# counts the layers")
  t.ok(tostring(net):find("conv1  Conv2d", 1, true), "print shows the names")
  net.fc = nn.Dense {8, 4, bias = false}
  t.is({names(net), net[3].weight.shape}, {{"conv1.weight", "conv1.bias", "fc.weight"}, {4, 8}},
    "a layer may be replaced by its name")
  local keys = {}
  for key in pairs(net) do keys[#keys + 1] = key end
  t.is(keys, {1, 2, 3}, "pairs goes over what is set, in order")
  t.refuses('did you mean "conv1"', function() return net.cnov1 end)
  t.refuses('item 1 is called "forward", which is a method',
    function() nn.Sequential {{"forward", nn.ReLU {}}} end)
  t.refuses('the name of item 1 is "a.b"', function() nn.Sequential {{"a.b", nn.ReLU {}}} end)
  t.refuses('items 1 and 2 are both called "a"',
    function() nn.Sequential {{"a", nn.ReLU {}}, {"a", nn.ReLU {}}} end)
  t.refuses('item 1, "a", is nil', function() nn.Sequential {{"a"}} end)
  t.refuses('a name goes with its layer: {"conv", layer}',
    function() nn.Sequential {conv = nn.ReLU {}} end)
end

-- A parameter's place is kept for parameters -----------------------------------------------------

do
  local net = nn.Sequential {nn.Dense {2, 2}, nn.BatchNorm {2}}
  local message = t.refuses("Dense: weight is a parameter; a tensor f32[2,2] is none",
    function() net[1].weight = mw.zeros {2, 2} end)
  t.ok(message:find "^tests/lua/modules.lua:%d+: " and message:find("mw.update", 1, true),
    "at the user's line, with both ways")
  t.refuses("bias is a parameter; 0 is none", function() net[1].bias = 0 end)
  t.refuses("running_mean is a buffer", function() net[2].running_mean = mw.zeros {2} end)
  t.is(#net:parameters(), 4, "nothing changed")
  net[1].bias = nil
  t.is(names(net), {"1.weight", "2.weight", "2.bias"}, "a parameter may be taken away")
  net[1].weight = mw.param(mw.ones {2, 2})
  t.is(net[1](mw.ones {1, 2}):totable(), {{2, 2}}, "or replaced by another one")
end

-- Copies -----------------------------------------------------------------------------------------

do
  mw.seed(3)
  local net = nn.Sequential {nn.Dense {2, 2}, nn.BatchNorm {2}, nn.Dense {2, 2}, {"last",
    nn.ReLU {}}}
  net[3].weight = net[1].weight
  net[1]:freeze "bias"
  net(mw.randn {4, 2}):sum():item()
  net[2]:eval()
  local copy = net:copy()
  t.is(names(copy), names(net), "a copy has the same parameters")
  t.ok(copy[1].weight ~= net[1].weight and copy[1].weight == copy[3].weight,
    "of its own, shared where they were shared")
  t.ok(same_values(copy[1].weight, net[1].weight)
    and same_values(copy[2].running_mean, net[2].running_mean), "with the same values")
  t.is({copy.training, copy[2].training, copy.last == copy[4]}, {true, false, true},
    "the same modes and names")
  t.is({nn.is_frozen(copy[1].bias), nn.is_frozen(copy[1].weight)}, {true, false},
    "and what is frozen")
  t.is(#copy:buffers(), 2, "buffers are buffers")
  local before = net[1].weight:totable()
  mw.update({copy[1].weight}, {copy[1].weight + 1})
  t.is(net[1].weight:totable(), before, "a change of the copy is none of the original")
  t.ok(not same_values(copy(mw.ones {1, 2}), net(mw.ones {1, 2})), "which shows")
  local open = nn.Dense {3}
  local other = open:copy()
  open:infer {5}
  t.is(other:infer({2}).weight.shape, {3, 2}, "a copy of a layer with open sizes decides by itself")
  local Holder = nn.Module:extend "Holder"
  function Holder:init()
    self.list = {nn.Dense {1, 1}, {note = "x"}}
    self.again = self.list[1]
  end
  local held = Holder():copy()
  t.ok(held.list[1] == held.again and held.list[2].note == "x",
    "tables are copied with what is in them")
  t.is(#held:parameters(), 2, "and a layer in two fields is one")
end

-- First values -----------------------------------------------------------------------------------

local function gap_to_eye(m)
  return (m - mw.eye(m.shape[1], m.shape[1], "f64")):abs():max():item()
end

do
  mw.seed(4)
  for _, size in ipairs {{30, 30}, {40, 12}, {12, 40}} do
    local w = nn.Dense({size[2], size[1], init = "orthogonal", dtype = "f64"}).weight
    local gram = size[1] <= size[2] and w:matmul(w:transpose()) or w:transpose():matmul(w)
    t.near(gap_to_eye(gram), 0, 1e-12, ("an orthogonal %d x %d"):format(size[1], size[2]))
  end
  local conv = nn.Conv2d {3, 8, kernel = 3, init = nn.init.orthogonal(2), dtype = "f64"}
  local rows = conv.weight:reshape {8, 27} / 2
  t.near(gap_to_eye(rows:matmul(rows:transpose())), 0, 1e-12, "filters, with a gain")
  t.near(nn.Dense({300, 200, init = nn.init.he(1)}).weight:std():item(), math.sqrt(1 / 300), 1e-3,
    "he with a slope")
  local most = nn.Dense({30, 20, init = "small"}).weight:abs():max():item()
  t.ok(most <= 1e-4 and most > 9e-5, "the tutorial's small uniform, by name")

  local net = nn.Sequential {nn.Conv2d {2, 50, kernel = 3}, nn.LayerNorm {{4, 4}},
    nn.GroupNorm {5, 50}, nn.Flatten {}, nn.Dense {800, 100}}
  t.ok(net:initialise(nn.init.normal(1, 0.1)) == net, "initialise")
  t.near({net[1].weight:mean():item(), net[5].weight:std():item()}, {1, 0.1}, 0.02,
    "sets the weights")
  t.is({net[2].weight:min():item(), net[3].weight:max():item(), net[5].bias:max():item()},
    {1, 1, 0},
    "and leaves norms and biases alone")
  net:initialise "xavier"
  t.near(net[1].weight:abs():max():item(), math.sqrt(6 / (18 + 450)), 1e-3, "with the layer's fans")
  net:initialise(nn.init.constant(3), "bias$")
  t.is({net[1].bias:min():item(), net[2].bias:max():item()}, {3, 3}, "or what a pattern names")
  t.refuses('no parameter matches "gain"', function() net:initialise("zeros", "gain") end)
  t.refuses('init is "xaver", expected', function() net:initialise "xaver" end)
end

-- Residual and Parallel --------------------------------------------------------------------------

do
  mw.seed(6)
  local x = mw.randn({2, 3, 4, 4}, "f64")
  local inner = nn.Conv2d {3, 3, kernel = 3, padding = 1, dtype = "f64"}
  t.near(nn.Residual {inner, nn.Tanh {}}(x):totable(), (x + inner(x):tanh()):totable(), 0,
    "Residual adds what goes in")
  local half = nn.Conv2d {3, 5, kernel = 1, stride = 2, dtype = "f64"}
  local short = nn.Conv2d {3, 5, kernel = 1, stride = 2, dtype = "f64"}
  local block = nn.Residual {half, shortcut = short, activation = nn.ReLU {}}
  t.near(block(x):totable(), (half(x) + short(x)):relu():totable(), 0,
    "with a shortcut and an activation")
  t.is(names(block), {"1.weight", "1.bias", "shortcut.weight", "shortcut.bias"}, "names")
  t.refuses("Residual: its layers make a tensor f64[2,5,2,2], and x is a tensor f64[2,3,4,4]",
    function() nn.Residual {half}(x) end)
  t.refuses('did you mean "shortcut"', function() nn.Residual {half, shortcuts = short} end)
  t.refuses("item shortcut is 3", function() nn.Residual {half, shortcut = 3} end)
  t.refuses("Residual (layer 1): Conv2d (layer 1): conv2d",
    function() nn.Sequential {nn.Residual {nn.Conv2d {4, 4,
      kernel = 1}}}(mw.zeros {1, 3, 2, 2}) end)

  local a, b = nn.Conv2d {3, 2, kernel = 1, dtype = "f64"}, nn.Conv2d {3, 2, kernel = 1,
    dtype = "f64"}
  t.near(nn.Parallel {a, b}(x):totable(), mw.concat(a(x), b(x), {axis = 2}):totable(), 0,
    "Parallel puts channels side by side")
  t.is(nn.Parallel {a, b, axis = 4}(x).shape, {2, 2, 4, 8}, "or along another axis")
  t.near(nn.Parallel {a, b, join = "add"}(x):totable(), (a(x) + b(x)):totable(), 0, "or adds")
  t.near(nn.Parallel {a, b, join = "mul"}(x):totable(), (a(x) * b(x)):totable(), 0, "or multiplies")
  local first, second = nn.Parallel {a, b, join = "list"}(x)
  t.near({first:totable(), second:totable()}, {a(x):totable(), b(x):totable()}, 0, "or gives all")
  t.refuses("branch 2 makes a tensor f64[2,3,4,4], and branch 1 a tensor f64[2,2,4,4]",
    function() nn.Parallel {a, nn.Identity {}, join = "add"}(x) end)
  t.refuses('join is "sum", expected concat or add', function() nn.Parallel {a, join = "sum"} end)
end

-- Attention --------------------------------------------------------------------------------------

-- Attention of one sample by its definition: lists of rows; mask(i, j) says what takes part.
local function attention_by_hand(module, q, k, v, mask)
  local w, b = module.in_proj_weight:totable(), module.in_proj_bias:totable()
  local out, bias = module.out_proj.weight:totable(), module.out_proj.bias:totable()
  local size, heads = #out, module.heads
  local width = size // heads
  local function project(x, part)
    local y = {}
    for r = 1, #x do
      y[r] = {}
      for o = 1, size do
        local sum = b[part * size + o]
        for i = 1, size do sum = sum + w[part * size + o][i] * x[r][i] end
        y[r][o] = sum
      end
    end
    return y
  end
  q, k, v = project(q, 0), project(k, 1), project(v, 2)
  local y = {}
  for r = 1, #q do
    local joined = {}
    for h = 0, heads - 1 do
      local weights, total = {}, 0
      for s = 1, #k do
        local score = 0
        for i = h * width + 1, (h + 1) * width do score = score + q[r][i] * k[s][i] end
        weights[s] = mask(r, s) and math.exp(score / math.sqrt(width)) or 0
        total = total + weights[s]
      end
      for i = h * width + 1, (h + 1) * width do
        joined[i] = 0
        for s = 1, #k do joined[i] = joined[i] + weights[s] / total * v[s][i] end
      end
    end
    y[r] = {}
    for o = 1, size do
      y[r][o] = bias[o]
      for i = 1, size do y[r][o] = y[r][o] + out[o][i] * joined[i] end
    end
  end
  return y
end

do
  mw.seed(7)
  local attention = nn.MultiHeadAttention {4, heads = 2, dtype = "f64"}
  attention:initialise(nn.init.normal(0, 1), "")
  t.is(names(attention), {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"},
    "MultiHeadAttention has PyTorch's names")
  local x, m, v = mw.randn({2, 3, 4}, "f64"), mw.randn({2, 5, 4}, "f64"), mw.randn({2, 5, 4}, "f64")
  local function by_hand(q, k, values, mask)
    local y = {}
    for n = 1, 2 do
      y[n] = attention_by_hand(attention, q:totable()[n], k:totable()[n], values:totable()[n], mask)
    end
    return y
  end
  local function all() return true end
  t.near(attention(x):totable(), by_hand(x, x, x, all), 1e-12, "attention to itself")
  t.near(attention(x, m):totable(), by_hand(x, m, m, all), 1e-12, "to another sequence")
  t.near(attention(x, m, v):totable(), by_hand(x, m, v, all), 1e-12, "with other values")
  local mask = mw.tensor({{true, false, true}, {true, true, false}, {false, false, true}}, "bool")
  local rows = mask:totable()
  local function masked(i, j) return rows[i][j] end
  t.near(attention(x, nil, nil, mask):totable(), by_hand(x, x, x, masked), 1e-12, "with a mask")
  t.near(attention(x, nil, nil, mask:expand {shape = {2, 3, 3}}):totable(),
    by_hand(x, x, x, masked), 1e-12, "with one for each sample")
  attention.causal = true
  t.near(attention(x):totable(), by_hand(x, x, x, function(i, j) return j <= i end), 1e-12,
    "causal")
  t.is(nn.MultiHeadAttention {heads = 2}(mw.zeros {1, 3, 6}).shape, {1, 3, 6}, "with open sizes")
  t.refuses("there are 3 heads, expected a divisor of 4 features",
    function() nn.MultiHeadAttention {4, heads = 3} end)
  t.refuses("heads is nil", function() nn.MultiHeadAttention {4} end)
  t.refuses("x is a tensor f32[3,4], expected [n, t, 4]",
    function() nn.MultiHeadAttention {4, heads = 2}(mw.zeros {3, 4}) end)

  local block = nn.TransformerBlock {4, heads = 2, hidden = 7, dtype = "f64"}
  t.is(#block:parameters(), 12, "TransformerBlock has 12 parameters")
  local inner = x + block.attention(block.norm1(x))
  t.near(block(x):totable(), (inner + block.feed(block.norm2(inner))):totable(), 1e-14,
    "norm before each part")
  block.norm_first = false
  inner = block.norm1(x + block.attention(x))
  t.near(block(x):totable(), block.norm2(inner + block.feed(inner)):totable(), 1e-14,
    "or behind it")
  local dropping = nn.TransformerBlock {heads = 2, dropout = 0.5, activation = nn.ReLU {}}
  local z = mw.randn {1, 2, 4}
  t.ok(not same_values(dropping(z), dropping(z)), "dropout in training mode")
  dropping:eval()
  t.ok(same_values(dropping(z), dropping(z)), "alone")

  local sines = nn.Positions {5, 4, learned = false, dtype = "f64"}
  local added = sines(mw.zeros({1, 3, 4}, "f64")):totable()[1]
  t.near(added[3], {math.sin(2), math.cos(2), math.sin(2 / 100), math.cos(2 / 100)}, 1e-15,
    "positions as sines")
  t.is(#sines:parameters(), 0, "which are not trained")
  local learned = nn.Positions {5, 4}
  t.ok(same_values(learned(mw.zeros {2, 3, 4})[2], learned.weight:slice {{1, 3}, {}}),
    "or trained ones")
  t.refuses("x is a tensor f32[1,6,4], expected [n, t, 4], t of at most 5",
    function() learned(mw.zeros {1, 6, 4}) end)
end

-- Small layers -----------------------------------------------------------------------------------

do
  t.is(nn.Reshape {2, 3}(mw.arange(12):reshape {2, 6}).shape, {2, 2, 3}, "Reshape")
  t.is(nn.Reshape {-1, 3}(mw.arange(12):reshape {2, 6}).shape, {2, 2, 3}, "with what is left")
  t.is(nn.Pad {pads = {1, 1}, mode = "edge"}(mw.tensor {{1, 2}}):totable(), {{1, 1, 2, 2}}, "Pad")
  t.refuses("nn.Pad: pads is nil", function() nn.Pad {} end)
  t.is(nn.Unfold {kernel = 2}(mw.ones {1, 3, 4, 4}).shape, {1, 12, 9}, "Unfold")
  t.is(nn.Fold {kernel = 2, size = 4}(mw.ones {1, 12, 9}).shape, {1, 3, 4, 4}, "Fold")
  t.near(nn.Softsign {}(mw.tensor({-3, 1}, "f64")):totable(), {-0.75, 0.5}, 1e-15, "Softsign")
  local prelu = nn.PReLU {2, dtype = "f64"}
  mw.update({prelu.weight}, {mw.tensor({0.5, 0.1}, "f64")})
  t.near(prelu(mw.tensor({{{-1, 2}, {-1, 2}}}, "f64")):totable(), {{{-0.5, 2}, {-0.1, 2}}}, 1e-15,
    "PReLU with a slope for each channel")
  t.near(nn.PReLU {}(mw.tensor {-1, 2}):totable(), {-0.25, 2}, 1e-7, "or one for all")
end

-- Summaries --------------------------------------------------------------------------------------

do
  local net = nn.Sequential {nn.Dense {100, 50}, nn.ReLU {}, nn.Dense {50, 10}}
  net[1]:freeze()
  t.ok(nn.summary(net):find("total +5,560\nfrozen +5,050$"), "a summary tells what is frozen")
  net:unfreeze()
  local text = nn.summary(net, {100}, {batch = 64})
  local opt = mw.optim.SGD(net:parameters(), {lr = 0.1})
  opt:step(net(mw.zeros {64, 100}):sum())
  local total = 2 * 5560 * 4 + mw.stats().arena_last
  t.near(tonumber(text:match "training, 64 at a time: ([%d.]+) kB") * 1000, total, 4096,
    "and what memory a training step takes")
  t.ok(nn.summary(net, mw.zeros {3, 100}):find("training: [%d.]+ kB"), "tensors are inputs, too")
  t.refuses("batch goes with the shape of a sample",
    function() nn.summary(net, mw.zeros {3, 100}, {batch = 3}) end)
  t.refuses('there is no option "bach", did you mean "batch"',
    function() nn.summary(net, {100}, {bach = 3}) end)
  t.refuses("expected a table such as {1, 28, 28}", function() nn.summary(net, 3) end)
end

do -- ResNet-20 for CIFAR-10, whose shortcuts have no parameters: 0.27 million (He et al., 2016)
  local function conv(filters, stride)
    return nn.Conv2d {filters, kernel = 3, stride = stride, padding = 1, bias = false}
  end
  -- Every other pixel, and zeros for the channels that are new.
  local function smaller(x)
    local half = x:slice {{}, {}, {1, -1, 2}, {1, -1, 2}}
    local rest = half.shape[2] // 2
    return half:pad {pads = {rest, rest, 0, 0, 0, 0}}
  end
  local layers = {conv(16), nn.BatchNorm {}, nn.ReLU {}}
  for stage, filters in ipairs {16, 32, 64} do
    for block = 1, 3 do
      local stride = stage > 1 and block == 1 and 2 or 1
      layers[#layers + 1] = nn.Residual {
        conv(filters, stride), nn.BatchNorm {}, nn.ReLU {}, conv(filters), nn.BatchNorm {},
        shortcut = stride == 2 and nn.Lambda(smaller) or nil, activation = nn.ReLU {},
      }
    end
  end
  table.move({nn.GlobalMeanPool {}, nn.Flatten {}, nn.Dense {10}}, 1, 3, #layers + 1, layers)
  local net = nn.Sequential(layers)
  -- Filters 432 + 13,824 + 50,688 + 202,752, norms 2 * 688, the last layer 650.
  t.ok(nn.summary(net, {3, 32, 32}, {batch = 128}):find "total +269,722 ",
    "ResNet-20 has 269,722 parameters")
  mw.seed(1)
  local x, labels = mw.randn {4, 3, 32, 32}, mw.tensor({1, 2, 3, 4}, "i64")
  local opt = mw.optim.SGD(net:parameters(), {lr = 0.05, momentum = 0.9})
  local first = opt:step(net(x):cross_entropy(labels)):item()
  for _ = 1, 4 do opt:step(net(x):cross_entropy(labels)) end
  t.ok(net(x):cross_entropy(labels):item() < first, "and is trained")
end

-- Freezing ---------------------------------------------------------------------------------------

do
  local net = nn.Sequential {nn.Dense {2, 2}, nn.Dense {2, 2}}
  t.ok(net:freeze "^1%." == net, "freeze by a pattern of names")
  t.is({nn.is_frozen(net[1].weight), nn.is_frozen(net[1].bias), nn.is_frozen(net[2].weight)},
    {true, true, false}, "freezes what matches")
  t.is(#net:parameters(), 4, "parameters() has them all the same")
  net:unfreeze "bias"
  t.is({nn.is_frozen(net[1].weight), nn.is_frozen(net[1].bias)}, {true, false}, "unfreeze, too")
  t.refuses('no parameter matches "conv"; there are 1.weight, 1.bias, 2.weight, 2.bias',
    function() net:freeze "conv" end)
  t.refuses("expected a Lua pattern", function() net:freeze "[" end)
end

t.done()
