-- sequence.lua: a Sequential that was called before notes what its layers do. What they are given
-- later counts all the same: parameters, items, methods, inputs of another kind.
local mw = require "moonwalk"
local t = require "tap"
local nn = mw.nn
local Module = require "moonwalk.nn.module"

local function digits_net()
  mw.seed(7)
  return nn.Sequential {
    nn.Conv2d {1, 3, kernel = 3, padding = 1}, nn.ReLU {}, nn.MaxPool {2}, nn.Flatten {},
    nn.Dense {48, 10}, nn.Tanh {}, nn.Dense {10, 4, bias = false},
  }
end

-- The same by ops.
local function by_ops(net, x)
  local h = x:conv2d(net[1].weight, net[1].bias, {padding = 1}):relu()
  h = h:maxpool({kernel = 2}):flatten()
  return h:dense(net[5].weight, net[5].bias):tanh():dense(net[7].weight)
end

local function same(net, x, name)
  t.ok(mw.core.bytes(net(x)) == mw.core.bytes(by_ops(net, x)), name)
end

do
  local net, x = digits_net(), mw.randn {2, 1, 8, 8}
  for i = 1, 3 do same(net, x, "call " .. i .. " computes what the ops do") end
  same(net, mw.randn {5, 1, 8, 8}, "a larger batch")
  same(net, x, "and the first one again")
  t.is(net[3]:output_shape(), {2, 3, 4, 4}, "each layer knows the shape of its output")
  local seen = {}
  Module.observe(function(module, forward, ...)
    seen[#seen + 1] = module.class
    return forward(module, ...)
  end, net, x)
  t.is(seen, {"Sequential", "Conv2d", "ReLU", "MaxPool", "Flatten", "Dense", "Tanh", "Dense"},
    "who observes calls sees each layer's")

  local function gradients(y)
    local list = {}
    for i, g in ipairs(mw.grad((y ^ 2):sum(), net:parameters())) do list[i] = mw.core.bytes(g) end
    return table.concat(list)
  end
  t.ok(gradients(net(x)) == gradients(by_ops(net, x)), "gradients are those of the ops")

  local y = net(x)
  mw.update({net[1].bias}, {net[1].bias + 1})
  t.error(function() y:eval() end, "stale value: conv2d was built from parameter '1.bias'",
    "a value from before an update is stale")
  same(net, x, "and a new one is not")
  t.error(function() net(mw.zeros {2, 1, 10, 10}) end,
    "sequence.lua:%d+: Dense %(layer 5%): dense: x has 75 columns, weight expects 48",
    "a shape that does not fit names its layer")
end

do -- what is put in later
  local net, x = digits_net(), mw.randn {2, 1, 8, 8}
  for _ = 1, 2 do net(x) end
  net[5].weight = mw.param(mw.randn {10, 48})
  same(net, x, "another parameter")
  net[5].bias = nil
  same(net, x, "a parameter less")
  net[6] = nn.Sigmoid {}
  local h = x:conv2d(net[1].weight, net[1].bias, {padding = 1}):relu():maxpool({kernel = 2})
  local want = h:flatten():dense(net[5].weight):sigmoid():dense(net[7].weight)
  t.is(net(x):totable(), want:totable(), "another layer")
  net[8] = nn.ReLU {}
  t.is(net(x):totable(), want:relu():totable(), "a further layer")
  net[2].forward = function(_, v) return v * 2 end
  t.is(net[2](mw.tensor {-1, 1}):totable(), {-2, 2}, "another forward of a layer")
  local doubled = net(x):totable()
  net[2].forward = nil
  t.is({#doubled, net(x):totable()}, {2, want:relu():totable()}, "and its own again")
  t.ok(net(x):totable()[1][1] ~= doubled[1][1], "which makes a difference")
end

do -- methods of classes, and what goes past the fields
  local net, x = nn.Sequential {nn.ReLU {}, nn.Tanh {}}, mw.tensor {-1, 1}
  for _ = 1, 2 do net(x) end
  local forward = nn.ReLU.forward
  nn.ReLU.forward = function(_, v) return v + 10 end
  t.is(net(x):totable(), (x + 10):tanh():totable(), "another forward of a class")
  nn.ReLU.forward = forward
  t.is(net(x):totable(), x:relu():tanh():totable(), "and its own again")
  local call = nn.ReLU.__call
  nn.ReLU.__call = function(_, v) return v - 10 end
  t.is(net(x):totable(), (x - 10):tanh():totable(), "another call of a class")
  nn.ReLU.__call = call
  rawset(net[2], "forward", function(_, v) return v * 3 end)
  t.is(net(x):totable(), {0, 3}, "a forward in the layer's own table")
  rawset(net[2], "forward", nil)
  t.is(net(x):totable(), x:relu():tanh():totable(), "and none again")
  setmetatable(net[2], nn.Sigmoid)
  t.is(net(x):totable(), x:relu():tanh():totable(), "a layer of another class has its op still")
  setmetatable(net[2], nn.Tanh)
  local Sub = nn.ReLU:extend "Sub"
  local mine = nn.Sequential {Sub {}, nn.Tanh {}}
  for _ = 1, 2 do mine(x) end
  t.is(mine(x):totable(), x:relu():tanh():totable(), "a class that inherits forward")
  function Sub:forward(v) return nn.ReLU.forward(self, v) + 1 end -- luacheck: no unused args
  t.is(mine(x):totable(), (x:relu() + 1):tanh():totable(), "and then has its own")
end

do -- inputs of another kind
  local net = nn.Sequential {nn.ReLU {}, nn.Tanh {}}
  for _ = 1, 2 do net(mw.ones {2}) end
  t.is(net(mw.ones({2}, "f64")).dtype, "f64", "another dtype")
  t.is(net(-2):item(), 0.0, "a number")
  t.error(function() net "x" end, "sequence.lua:%d+: ReLU %(layer 1%): relu: x is 'x'", "a text")
  t.error(function() net(nil) end, "relu", "nothing")
  t.is(nn.Sequential {} (5), 5, "a list without layers returns what it is given")
end

do -- layers that wait for their first input, are shared, or lie in lists of their own
  mw.seed(3)
  local dense = nn.Dense {6}
  local list = nn.Sequential {nn.Tanh {}, nn.Dense {6, 6}}
  local net = nn.Sequential {nn.Flatten {}, dense, list, dense}
  local x = mw.randn {2, 6}
  local y
  for _ = 1, 3 do y = net(x) end
  local inner = net[3][2]
  local want = x:dense(dense.weight, dense.bias):tanh():dense(inner.weight, inner.bias)
  t.is(y:totable(), want:dense(dense.weight, dense.bias):totable(),
    "lazy layers, shared ones, and lists in lists")
  local copy = net:copy()
  mw.update({dense.weight}, {dense.weight * 0})
  t.is(copy(x):totable(), y:totable(), "a copy has parameters of its own")
  t.is(copy(x):totable(), y:totable(), "also when it is called again")
  local mixed = nn.Sequential {nn.Tanh {}, nn.Lambda {function(v) return v * 2 end}, nn.ReLU {},
    nn.Dropout {0.5}, nn.Tanh {}}
  for _ = 1, 3 do y = mixed:eval()(x) end
  t.is(y:totable(), (x:tanh() * 2):relu():tanh():totable(), "functions in between")
  local state = {mw.core.random_state()}
  mixed:train()(x)
  t.ok(select(2, mw.core.random_state()) ~= state[2], "and layers that draw")
  local Residual = nn.Residual {nn.Tanh {}, nn.ReLU {}}
  for _ = 1, 3 do y = Residual(x) end
  t.is(y:totable(), (x + x:tanh():relu()):totable(), "a residual block")
end

do -- where things come from
  local net = nn.Sequential {
    nn.ReLU {},
    nn.Tanh {}, -- a line of its own
  }
  local x = mw.ones {2}
  local line = debug.getinfo(1, "l").currentline - 3
  for _ = 1, 3 do net(x) end
  local origin = ("Tanh at tests/lua/sequence.lua:%d"):format(line)
  t.is(net(x).origin, origin, "each node has its layer's")
  t.is(coroutine.wrap(function() return net(x).origin end)(), origin, "in a coroutine, too")
  local y = net(x) + 1
  t.is(y.origin, ("tests/lua/sequence.lua:%d"):format(debug.getinfo(1, "l").currentline - 1),
    "and what follows has its line")
  local Outer = nn.Module:extend "Outer"
  function Outer:init() self.net = net end
  function Outer:forward(v)
    local h = self.net(v)
    return h * 2
  end
  local outer = Outer()
  for _ = 1, 2 do outer(x) end
  t.ok(outer(x).origin:find "^Outer at ", "or that of the layer around it")
end

do -- nothing stays
  local net, x = digits_net(), mw.randn {2, 1, 8, 8}
  for _ = 1, 3 do net(x):eval() end
  collectgarbage()
  collectgarbage()
  local before = mw.stats().tensors_live
  local most = 0
  for _ = 1, 5000 do
    net(x):eval()
    most = math.max(most, mw.stats().tensors_live - before)
  end
  collectgarbage()
  collectgarbage()
  t.is(mw.stats().tensors_live, before, "no tensor is left of 5000 calls")
  t.ok(most < 5000, "and they do not pile up meanwhile")
  collectgarbage "incremental"
  most = 0
  for _ = 1, 5000 do
    net(x):eval()
    most = math.max(most, mw.stats().tensors_live - before)
  end
  t.ok(most < 5000, "be the collector incremental")
  collectgarbage "generational"
end

t.done()
