-- nodes.lua: core.node and core.failure: what a tensor is made of, and where something failed.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(5)

-- nodes -------------------------------------------------------------------------------------------

local function inputs_of(node)
  local list = {}
  for i, input in ipairs(node.inputs) do
    list[i] = {input.name, input.role, core.spec(input.tensor)}
  end
  return list
end

local x = mw.randn {2, 3, 8, 8}
local w, b = mw.param(mw.randn {4, 3, 3, 3}, "w"), mw.param(mw.zeros {4})
local y = x:conv2d(w, b, {stride = 2, padding = {1, 0}})
local node = core.node(y)
t.is({node.kind, node.op, node.label, node.backward, node.output},
  {"op", "conv2d", "conv2d", false, 1}, "an op")
t.ok(node.origin:find "^tests/lua/nodes.lua:%d+$", "where it was built")
t.is(inputs_of(node), {{"x", "input", "f32[2,3,8,8]"}, {"w", "input", "f32[4,3,3,3]"},
  {"b", "input", "f32[4]"}}, "its inputs by name")
t.is(node.changed, {stride = {2, 2}, padding = {1, 0, 1, 0}}, "what is other than by default")
t.is(node.settings, "stride 2, padding {1,0,1,0}", "as text")
t.is({node.attrs.groups, node.attrs.dilation}, {1, {1, 1}}, "all of its attributes")
t.is({core.node(w).kind, core.node(w).name, core.node(w).op}, {"parameter", "w"}, "a parameter")
t.is({core.node(x).kind, core.node(x).inputs}, {"constant", {}}, "a constant")
t.is(core.node(core.input({2}, "f32", "images")).name, "images", "an input")
t.is(core.node(node.inputs[2].tensor).id, core.node(w).id, "inputs are known again by their id")
t.is(node.inputs[2].tensor:totable(), w:totable(), "and are tensors")

local axes = core.node(y:mean {axes = {2, -1}})
t.is({axes.attrs.axes, axes.settings}, {{2, 4}, "axes {2,4}"}, "axes count from 1")
t.is(core.node(y:softmax()).settings, "", "an axis by default")
t.is(core.node(y:softmax(2)).changed, {axis = 2}, "and one that is not")
local smooth = core.node(y:reshape {2, -1}:cross_entropy(mw.tensor({1, 0}, "i32"),
  {reduction = "sum", label_smoothing = 0.25}))
t.is(smooth.changed, {reduction = "sum", label_smoothing = 0.25}, "a word and a number")

local normal, mean = mw.normalize(x, {axes = {2}})
local first, second = core.node(normal), core.node(mean)
t.is({first.id == second.id, first.output, second.output}, {true, 1, 2}, "outputs of one node")
t.is(core.node(first.outputs[2].tensor).id, first.id, "each leads to the other")
t.is(inputs_of(core.node(x:dropout(0.5)))[2], {"key", "key", "i64[2]"}, "a random key is one")
t.is(inputs_of(core.node(mw.concat({x, x}, {axis = 1})))[2], {"x[2]", "input", "f32[2,3,8,8]"},
  "one of any number of inputs")

local d = core.node((mw.grad(y:maxpool(2):sum(), {w})[1]))
t.is({d.op, d.label, d.backward, d.output}, {"conv2d", "conv2d.backward", true, 2}, "a backward")
t.is(inputs_of(d)[3], {"the gradient of y", "gradient", "f32[2,4,4,3]"}, "reads a gradient")
t.is(d.outputs[1].name, "the gradient of w", "and makes one")
t.is(core.node(d.forward).id, node.id, "it knows its op's node")
local pool = core.node(d.inputs[3].tensor)
t.is({pool.op, pool.saved}, {"maxpool", true}, "one that reads what its node saves")
t.error(function() core.node(1) end,
  "^tests/lua/nodes.lua:%d+: node: argument 1 is 1, expected a tensor", "no tensor")

-- failures ----------------------------------------------------------------------------------------

local function refuse() return x:conv2d(b) end
t.ok(not pcall(refuse), "an op that refuses")
t.is(core.failure(), nil, "nothing is kept by default")
t.is(core.keep_failures(true), false, "it can be")
local _, message = pcall(refuse)
local failure = core.failure()
t.ok(message:find(failure.message, 1, true), "its message is the error's")
t.is({failure.op, failure.of_gradient}, {"conv2d", false}, "its op")
t.is(inputs_of(failure), {{"x", "input", "f32[2,3,8,8]"}, {"w", "input", "f32[4]"}}, "its inputs")
t.is(failure.outputs, {}, "and no outputs")
core.failure(false)
t.is(core.failure(), nil, "it is forgotten")

local net = mw.nn.Dense {4, 3}
local opt = mw.optim.SGD(net:parameters(), {lr = 0.1})
local rows = mw.randn {2, 4}
local function step(label) opt:step(net(rows):cross_entropy(mw.tensor({0, label}, "i32"))) end
step(1)
step(2)
t.ok(not pcall(step, 3), "a label out of range, in a step that is known by its structure")
failure = core.failure()
t.is(failure.op, "cross_entropy", "the loss's node")
t.is(failure.inputs[2].tensor:totable(), {0, 3}, "with the labels")
t.is(core.node(failure.inputs[1].tensor).op, "dense", "and the graph behind it")
step(2)
t.ok(true, "the next step goes on")

local compiled = mw.compile(function(v, labels) return v:cross_entropy(labels) end)
compiled(mw.randn {2, 3}, mw.tensor({0, 1}, "i32"))
t.ok(not pcall(compiled, mw.randn {2, 3}, mw.tensor({0, -7}, "i32")), "in a compiled function")
t.is(core.failure().inputs[2].tensor:totable(), {0, -7}, "the labels of the call")

mw.debug.nan(true)
t.ok(not pcall(function() return (mw.tensor {-1}:sqrt() + 1):eval() end), "a NaN")
mw.debug.nan(false)
t.is({core.failure().op, core.failure().inputs[1].tensor:totable()}, {"sqrt", {-1}}, "and its node")
core.keep_failures(false)
t.is(core.failure(), nil, "kept no more")

t.done()
