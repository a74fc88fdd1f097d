-- repair.lua: tensors know where they were built; what an op says of inputs that it refuses, where
-- they come from, and which small change would make them fit; names that are nearly right.
local t = require "tap"
local folder = require "folder"
local mw = require "moonwalk"
local nn, optim, data = mw.nn, mw.optim, mw.data

local file = debug.getinfo(1, "S").short_src

-- The line of the caller, as an origin.
local function here() return ("%s:%d"):format(file, debug.getinfo(2, "l").currentline) end

local function message_of(fn, ...)
  local succeeded, message = pcall(fn, ...)
  return succeeded and "no error" or tostring(message)
end

-- fn raises exactly this text; "%@" in it stands for this file's name.
local function says(fn, text, name)
  t.is(message_of(fn):gsub("^[^\n]-:%d+: ", "", 1), (text:gsub("%%@", file)), name)
end

-- Origins ----------------------------------------------------------------------------------------

do
  local x, line = mw.randn {2, 3}, here()
  t.is(x.origin, line, "a constructor")
  local y, second = (x * 2):relu(), here()
  t.is(y.origin, second, "an operator and a method")
  local sum = mw.sum(
    y
  )
  t.is(sum.origin, ("%s:%d"):format(file, debug.getinfo(1, "l").currentline - 3), "a long call")
  t.is({x[1].origin, x:slice({{1, 2}}).origin}, {here(), here()}, "a row and a slice")
  local made, at = {mw.param {1}, mw.tensor(x, "f64"), mw.eye(2)}, here()
  t.is({made[1].origin, made[2].origin, made[3].origin}, {at, at, at},
    "parameters, copies, and constants by rule")
  t.is(mw.gelu(x).origin, here(), "a composition")
  local w, third = mw.param {{1, 2, 3}, {4, 5, 6}}, here()
  local product, fourth = (x * w):tanh(), here()
  local dw = mw.grad(product:sum(), {w})[1]
  t.is(dw.origin, fourth, "a gradient has the origin of the node that it comes from")
  local double = mw.grad(dw:sum(), {w})[1]
  t.is(double.origin, fourth, "and so has the gradient of a gradient")
  t.is(mw.grad(x:sum(), {w})[1].origin, here(), "zeros come from the call of grad")
  t.is(w.origin, third, "what was built before keeps its own")
end

do -- odd ways to call
  local x = mw.randn {2}
  t.is(coroutine.wrap(function() return (x:relu()) end)().origin, here(), "in a coroutine")
  t.is(select(2, pcall(mw.relu, x)).origin, here(), "by pcall")
  local function deep(n)
    if n == 0 then return (mw.relu(x)) end
    return (deep(n - 1))
  end
  t.is(deep(5000).origin, ("%s:%d"):format(file, debug.getinfo(deep, "S").linedefined + 1),
    "deep in a recursion")
  local function tail() return mw.relu(x) end
  t.is(tail().origin, here():gsub("%d+$", function(n) return n - 1 end), "a tail call")
  local found
  ;("a"):gsub("a", function() found = x:relu() end)
  t.is(found.origin, here():gsub("%d+$", function(n) return n - 1 end), "in a callback of C")
  debug.sethook(function() debug.sethook(); found = x:relu() end, "l")
  local _ = 1
  t.is(found.origin, here():gsub("%d+$", function(n) return n - 2 end), "in a hook")
  t.is(load("return (...):relu()", "=chunk")(x).origin, "chunk:1", "a chunk by its name")
  t.is(load("\n\nreturn (...):relu()")(x).origin, '[string "..."]:3', "a string")
  for i = 1, 600 do -- more lines than are remembered
    local name = ("chunk%d"):format(i)
    local origin = load(("\n"):rep(i % 7) .. "return (...):relu()", "=" .. name)(x).origin
    if origin ~= ("%s:%d"):format(name, i % 7 + 1) then found = name end
  end
  t.is(type(found) == "string" and found, false, "600 chunks")
end

do -- layers
  local x = mw.randn {2, 3}
  local dense, line = nn.Dense {3, 3}, here()
  t.is(dense(x).origin, "Dense at " .. line, "a layer's result is from where the layer was made")
  t.is({dense.weight.origin, dense.bias.origin, dense:origin()},
    {"Dense at " .. line, "Dense at " .. line, "Dense at " .. line}, "and so are its parameters")
  local Block = nn.Module:extend "Block"
  function Block:init() self.inner, self.line = nn.Dense {3, 3}, here() end
  function Block:forward(u)
    local inner = self.inner(u)
    return inner, u + inner, coroutine.wrap(function() return (u:relu()) end)()
  end
  local block, block_line = Block(), here()
  local inner, outer, other = block(x)
  t.is({inner.origin, outer.origin}, {"Dense at " .. block.line, "Block at " .. block_line},
    "of nested layers the innermost")
  t.ok(other.origin:find(file, 1, true) == 1, "a coroutine in a layer has lines")
  t.ok(not pcall(block, mw.randn {2, 4}), "an error in a layer")
  t.is(mw.relu(x).origin, here(), "ends the layer")
  function Block.forward() error {code = 5} end
  t.is(select(2, pcall(block, x)), {code = 5}, "whatever the error is")
  t.is(mw.relu(x).origin, here(), "it ends the layer too")
  function Block:forward(u) return (coroutine.yield(self.inner(u))) end
  local resume = coroutine.wrap(function(u) return block(u) end)
  resume(x)
  t.is(mw.relu(x).origin, here(), "outside of a layer that yields there are lines")
  t.is(resume(7), 7, "and it goes on")
  local seen
  mw.compile(function(u) seen = u:relu() return dense(seen) end)(x)
  t.is(seen.origin, ("%s:%d"):format(file, debug.getinfo(1, "l").currentline - 1),
    "while mw.compile traces")
  function Block.forward(_, u) return u end
  local nested = block
  for _ = 1, 60 do
    local within, outside = nested, Block()
    rawset(outside, "forward", function(_, u) return within(u) end)
    nested = outside
  end
  t.is(nested(x).origin, x.origin, "60 layers in each other")
end

-- Lines of errors, and origins, across files -----------------------------------------------------

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  pipe:close()
  return text
end

do
  local moonwalk = ("'%s/moonwalk'"):format(os.getenv "MOONWALK_BUILD" or "build")
  folder.put("net.lua", [[
local nn = require "moonwalk".nn
return nn.Sequential {
  nn.Conv2d {1, 6, kernel = 5}, nn.ReLU {}, nn.MaxPool {2},
  nn.Conv2d {6, 16, kernel = 5}, nn.ReLU {}, nn.MaxPool {2},


  nn.Identity {},

  nn.Flatten {}, nn.Dense {400, 120}, nn.ReLU {},
}
]])
  folder.put("main.lua", [[
local mw = require "moonwalk"
local net = require "net"
local function run(x)
  return net(x)
end
local y = run(mw.randn {64, 1, 28, 28})
]])
  local text = run(("cd '%s' && LUA_PATH='./?.lua;;' %s main.lua"):format(folder.path, moonwalk))
  t.ok(text:find("main.lua:4: Dense (layer 9): dense: x has 256 columns, weight expects 400 " ..
    "(x f32[64,256] from Flatten at ./net.lua:9); padding = 2 in the conv2d at ./net.lua:3 " ..
    "would give 400", 1, true), "a script and its module")
  text = run(("printf 'mw = require \"moonwalk\"\\nx = mw.ones{2}\\n\\nprint(x.origin)\\n"
    .. "x:matmul(mw.ones{3})\\n' | %s -"):format(moonwalk))
  t.ok(text:find("stdin:2\n", 1, true) and text:find("stdin:5: matmul:", 1, true),
    "standard input")
end

-- The searches -----------------------------------------------------------------------------------

local function lenet(options)
  local net = nn.Sequential {
    nn.Conv2d {1, 6, kernel = 5, padding = options.padding}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {options.channels or 6, 16, kernel = 5, stride = options.stride}, nn.ReLU {},
    nn.MaxPool {2},
    nn.Flatten {},
    nn.Dense {options.features or 400, 120}, nn.ReLU {}, nn.Dense {120, 10},
  }
  return message_of(net, mw.randn {64, 1, 28, 28})
end
local first = debug.getinfo(lenet, "S").linedefined + 2 -- the line of the first layer

local function ends(message, text, name)
  text = text:gsub("%$(%d)", function(n) return ("%s:%d"):format(file, first + tonumber(n)) end)
  t.is(message:sub(-#text), text, name)
end

t.is(lenet {padding = 2}, "no error", "LeNet as it should be")
ends(lenet {}, "Dense (layer 8): dense: x has 256 columns, weight expects 400 (x f32[64,256] " ..
  "from Flatten at $3); padding = 2 in the conv2d at $0 would give 400", "without its padding")
ends(lenet {padding = 2, features = 401}, "x has 400 columns, weight expects 401 (x f32[64,400] " ..
  "from Flatten at $3); a weight of [120,400] would fit", "a layer of no possible size")
ends(lenet {padding = 2, channels = 5}, "conv2d: w is f32[16,5,5,5], expected f32[16,6,5,5]: x " ..
  "has 6 channels in 1 group (x f32[64,6,14,14] from MaxPool at $0, w is '4.weight')",
  "wrong channels, which no attribute repairs")
ends(lenet {padding = 2, stride = 2}, "x has 64 columns, weight expects 400 (x f32[64,64] from " ..
  "Flatten at $3); stride = 1 in the conv2d at $1 would give 400", "a stride too many")

do -- ops without layers; all of what they work on is built on lines of their own
  local x = mw.randn {2, 3, 8, 8}
  local k = mw.param(mw.randn {4, 3, 3, 3}, "k")
  local bias = mw.param({1, 2, 3, 4}, "net.bias")
  local a, line = mw.conv2d(x, k), here()
  says(function() return mw.concat({a, x}, {axis = 2}) end,
    ("concat: tensor 2 is f32[2,3,8,8], but the first is f32[2,4,6,6]: only the sizes along the "
    .. "axis may differ (tensor 1 from conv2d at %s, tensor 2 from %s); padding = 1 in the conv2d "
    .. "at %s would give [2,4,8,8]"):format(line, x.origin, line), "concat")
  says(function() return a:reshape {2, 256} end,
    ("reshape: x is f32[2,4,6,6] with 288 elements, which cannot be reshaped to f32[2,256] (x from "
    .. "conv2d at %s); padding = 1 in the conv2d at %s would give [2,4,8,8]"):format(line, line),
    "reshape")
  local one, two, both = mw.conv2d(x, k, {padding = 1}), mw.conv2d(x, k), here()
  says(function() return one:concat(two) end,
    ("concat: tensor 2 is f32[2,4,6,6], but the first is f32[2,4,8,8]: only the sizes along the "
    .. "axis may differ (tensor 1 from conv2d at %s, tensor 2 from conv2d at %s); padding = 0 in "
    .. "the conv2d at %s that gives f32[2,4,8,8] would give [2,4,6,6]"):format(both, both, both),
    "one of two on a line")
  local h = mw.randn {2, 3}:relu()
  says(function() return h + bias end,
    ("add: a is f32[2,3] and b is f32[4], which do not broadcast: axes are matched from the last, "
    .. "and sizes must be equal or 1 (a from relu at %s, b is 'net.bias', from %s); a bias of [3] "
    .. "would fit"):format(h.origin, bias.origin), "add")
  local w = mw.param(mw.randn {5, 7}, "w")
  says(function() return h:matmul(w) end,
    ("matmul: a is f32[2,3] and b is f32[5,7]: a has 3 columns, but b has 5 rows (a from relu at "
    .. "%s, b is 'w', from %s); a w of [3,7] would fit"):format(h.origin, w.origin), "matmul")
  local labels = mw.tensor({0, 1, 2}, "i64")
  t.ok(message_of(function() return h:cross_entropy(labels) end):find(
    ("x from relu at %s"):format(h.origin), 1, true), "cross_entropy")
  says(function() return mw.dense(mw.ones {2, 3}, mw.ones {4, 5}) end,
    "dense: x has 3 columns, weight expects 5 (x f32[2,3])", "nothing is said twice in one line")
  says(function() return mw.dense(mw.ones {2, 3, 4}, mw.ones {4, 12}) end,
    "dense: x has 4 columns, weight expects 12; use x:flatten() first (x f32[2,3,4])",
    "an op that has advice needs no other")
  local deep = x
  for _ = 1, 300 do deep = deep:relu() end
  t.ok(message_of(function() return deep:reshape {7} end):find("cannot be reshaped", 1, true),
    "a long chain")
  local wide = {}
  for i = 1, 200 do wide[i] = mw.maxpool(x, {2}) end
  t.ok(message_of(function() return mw.concat({x, table.unpack(wide)}, {axis = 1}) end)
    :find("only the sizes along the axis", 1, true), "a wide graph")
end

do -- axes count from 1
  says(function() return mw.ones({2, 3}):flatten(5) end,
    "flatten: axis 5 is out of range for x f32[2,3]: expected 1 to 2, or -1 to -2 from the end",
    "an axis that is none")
  says(function() return mw.tensor({1, 2}, "i64"):one_hot {classes = 3, axis = -3} end,
    "one_hot: axis -3 is out of range for labels i64[2]: expected 1 to 2, or -1 to -2 from the end",
    "one of a result")
end

-- Names ------------------------------------------------------------------------------------------

do
  local x = mw.ones {2, 3}
  local image = mw.ones {1, 3, 8, 8}
  local net = nn.Sequential {nn.Dense {3, 3}}
  says(function() return x.shpe end,
    "a tensor has no field, method or op 'shpe'; did you mean 'shape'?", "a tensor's field")
  says(function() return x:tottable() end,
    "a tensor has no field, method or op 'tottable'; did you mean 'totable'?", "its method")
  says(function() return mw.con2d end, "mw.con2d does not exist; did you mean mw.conv2d?", "an op")
  says(function() return mw.ReLU end, "mw.ReLU does not exist; did you mean nn.ReLU or mw.relu?",
    "large letters")
  says(function() return nn.Con2d end, 'nn: there is no "Con2d", did you mean nn.Conv2d?',
    "a layer")
  says(function() return nn.Dense {2, 3, bais = true} end,
    'nn.Dense: there is no option "bais", did you mean "bias"? It takes bias, init, dtype',
    "an option")
  t.ok(message_of(mw.conv2d, image, mw.ones {1, 3, 3, 3}, {pading = 1})
    :find("unknown attribute 'pading'; did you mean 'padding'?", 1, true), "an attribute")
  says(function() return mw.zeros({2}, "float32") end,
    "dtype is 'float32', expected 'f32', 'f64', 'i32', 'i64', 'u8' or 'bool'; did you mean 'f32'?",
    "a dtype as it is called elsewhere")
  says(function() return x:cast "F64" end,
    'cast: dtype is "F64", expected one of f32|f64|i32|i64|u8|bool; did you mean \'f64\'?',
    "a choice")
  says(function() return net.forwad end,
    'Sequential has no field or method "forwad"; did you mean "forward"?', "a net's method")
  says(function() return net[1].wieght end,
    'Dense has no field or method "wieght"; did you mean "weight"?', "its field")
  t.is({net[2], net.other, net[1].weight2, net[1].absent, net[1].absent}, {},
    "a field that is like no other is nil, and so is a sibling")
  net[1].absent = 5
  t.is(net[1].absent, 5, "until it is set")
  says(function() return optim.Adm end, 'optim: there is no "Adm", did you mean optim.Adam?',
    "an optimizer")
  local opt = optim.SGD(net:parameters(), {lr = 0.1})
  says(function() return opt.momentm end,
    'optim.SGD has no field or method "momentm"; did you mean "momentum"?', "its field")
  says(function() return opt:stp() end,
    'optim.SGD has no field or method "stp"; did you mean "step"?', "its method")
  says(function() return data.digit end, 'data: there is no "digit", did you mean data.digits?',
    "data")
  says(function() return data.digits({n = 3}).batchs end,
    'a data set has no field or method "batchs"; did you mean "batches"?', "a data set's method")
  t.is(mw.core.nearest("abc", {}), nil, "no candidates")
end

folder.remove()
t.done()
