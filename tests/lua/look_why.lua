-- The way of a gradient: norms, shares and marks against arithmetic by hand, finite differences and
-- mw.grad on each tensor alone; and the reasons why none arrives.

local t = require "tap"
local mw = require "moonwalk"
local nn = mw.nn

local function norm_of(gradient)
  local sum = 0
  for _, x in ipairs(gradient:cast "f64":reshape {-1}:totable()) do sum = sum + x * x end
  return sum ^ 0.5
end

local function ops(result)
  local list = {}
  for i, step in ipairs(result.path) do list[i] = step.op end
  return table.concat(list, " ")
end

local function has(result, text) return tostring(result):find(text, 1, true) ~= nil end

do -- a chain: each factor is that of its multiplication
  local w1 = mw.param(mw.tensor({1, 2, 2}, "f64"), "w1")
  local loss = ((w1 * 0.5) * 3 * -2):sum()
  local result = mw.why(loss, w1)
  t.is(ops(result), "sum mul mul mul parameter", "the steps of a chain, from the loss")
  t.near(result.path[1].norm, 1, 0, "the gradient of the loss in itself is 1")
  t.is(result.path[1].factor, nil, "which comes from nowhere")
  t.near(result.path[2].norm, 3 ^ 0.5, 1e-12, "a sum of 3 elements: sqrt(3)")
  t.near(result.path[3].factor, 2, 1e-12, "times -2")
  t.near(result.path[4].factor, 3, 1e-12, "times 3")
  t.near(result.path[5].factor, 0.5, 1e-12, "times 0.5")
  t.near(result.norm, 3 * 3 ^ 0.5, 1e-12, "the norm in the parameter")
  t.near(result.ratio, 3, 1e-12, "and by that near the loss")
  t.is(result.main, {1, 2, 3, 4, 5}, "all of it is the path")
  t.is(result.parameter, "w1, f64[3]", "its name")
  for _, step in ipairs(result.path) do t.is(step.mark, nil, step.op .. " has no mark") end
end

do -- branches: y = x + 3 x, and what is added twice
  local x = mw.param(mw.tensor({1, -2, 2}, "f64"), "x")
  local result = mw.why((x + 3 * x):sum(), x)
  local last = result.path[#result.path]
  t.is(#last.branches, 2, "a value that is used twice has two branches")
  t.near(last.branches[1].share, 0.75, 1e-12, "the strongest first: 3 of 4")
  t.near(last.branches[2].share, 0.25, 1e-12, "and 1 of 4")
  t.near(last.norm, 4 * 3 ^ 0.5, 1e-12, "together they are 4")
  t.is({result.path[last.branches[1].from].op, result.path[last.branches[2].from].op},
    {"mul", "add"}, "from where")
  t.ok(has(result, "75 % through mul") and has(result, "25 % through add"), "it is said")
  t.is(result.main, {1, 2, 3, 4}, "the path is that of the strongest")

  local square = mw.why((x * x):sum(), x)
  last = square.path[#square.path]
  t.is({#last.branches, last.branches[1].times}, {1, 2}, "x * x is one branch, twice")
  t.near(last.norm, 6, 1e-12, "2 x has the norm 6")

  local against = mw.why((x * 5 - x * 4):sum(), x)
  last = against.path[#against.path]
  t.near(last.norm, 3 ^ 0.5, 1e-12, "branches that are against each other")
  t.near(last.branches[1].norm + last.branches[2].norm, 9 * 3 ^ 0.5, 1e-12, "are larger")
end

do -- a network: each value's gradient alone, by mw.grad and by finite differences
  mw.seed(3)
  local w1, w2 = mw.param(mw.randn({4, 3}, "f64")), mw.param(mw.randn({2, 4}, "f64"))
  local x, shift = mw.randn({5, 3}, "f64"), mw.zeros({5, 4}, "f64")
  local function build(by)
    local a = x:dense(w1) + by
    local h = a:tanh()
    return (h:dense(w2):softmax {axis = 2} ^ 2):sum(), a, h
  end
  local loss, a, h = build(shift)
  local result, by_id = mw.why(loss, w1), {}
  for _, step in ipairs(result.path) do by_id[step.op] = step end
  local dh, da, dw = table.unpack(mw.grad(loss, {h, a, w1}))
  t.near(by_id.tanh.norm, norm_of(dh), 1e-12, "tanh: as mw.grad")
  t.near(by_id.add.norm, norm_of(da), 1e-12, "add: as mw.grad")
  t.near(result.norm, norm_of(dw), 1e-12, "the parameter: as mw.grad")
  local sum, step = 0, 1e-5
  for i = 0, 19 do
    local function at(size)
      local bytes = {}
      for k = 0, 19 do bytes[k + 1] = k == i and size or 0 end
      return (build(mw.tensor(bytes, "f64"):reshape {5, 4})):item()
    end
    sum = sum + ((at(step) - at(-step)) / (2 * step)) ^ 2
  end
  t.near(by_id.add.norm, sum ^ 0.5, 1e-8, "add: as finite differences")
end

local function deep(layer, n)
  local layers = {}
  for _ = 1, n do
    layers[#layers + 1] = nn.Dense {24, 24}
    layers[#layers + 1] = nn[layer] {}
  end
  layers[#layers + 1] = nn.Dense {24, 5}
  return nn.Sequential(layers)
end

do -- sigmoids against relus
  mw.seed(1)
  local x, labels = mw.randn {32, 24}, mw.uniform({32}, 0, 5):floor():cast "i64"
  local net = deep("Sigmoid", 8)
  local result = mw.why(net(x):cross_entropy(labels), net[1].weight)
  local n = 0
  for _, step in ipairs(result.path) do
    local from = step.branches[1] and result.path[step.branches[1].from]
    if from and from.op == "sigmoid" then
      n = n + 1
      t.ok(step.factor <= 0.25, "a sigmoid's slope is 1/4 at most")
    end
  end
  t.is(n, 8, "there are 8")
  t.ok(result.summary:find "^the gradient shrinks .* times" and
    result.summary:find("most of it in 8 sigmoids", 1, true), "the sentence at the end says so")
  t.is(result.path[2].layer, "17", "an op with a layer's parameter has the layer's name")

  net = deep("ReLU", 8)
  t.ok(mw.why(net(x):cross_entropy(labels), net[1].weight).summary:find "keeps its size",
    "through relus it keeps its size")

  local all = mw.why(net(x):cross_entropy(labels), net)
  t.is(#all.rows, 18, "of a network, a row for each parameter")
  local loss = net(x):cross_entropy(labels)
  t.near(all.rows[3].norm, norm_of(mw.grad(loss, {net[3].weight})[1]), 1e-6, "with its norm")
  t.near(all.rows[3].size, norm_of(net[3].weight), 1e-5, "and that of the parameter")
  t.is(#mw.why(loss).rows, 18, "without a network, all that the loss depends on")
  t.is(#mw.why(loss, {net[1].weight, net[3].bias}).rows, 2, "or those of a list")
  local whole = mw.param(mw.tensor({1, 2}, "i64"))
  t.is(mw.why(loss, {net[1].weight, whole}).rows[2].mark, "unreached", "whole numbers have none")
end

-- The step that a mark is at, and its text.
local function mark_of(result)
  for _, step in ipairs(result.path) do
    if step.mark then
      return step.mark, result.path[step.branches[1].from].op, step.note, step
    end
  end
end

do -- marks
  local function of(loss, x)
    local mark, op, note = mark_of(mw.why(loss, x))
    return {mark, op, note}
  end
  local x = mw.param {-3, -2, -1, 5}
  local result = mw.why((x * 2):relu():mean(), x)
  t.is(result.path[3].mark, nil, "a quarter passes a relu: no mark")
  t.is(of((x - 6):relu():mean(), x), {"vanishes", "relu", "dead: 100 % of its elements are 0"},
    "a dead relu")
  t.is(tostring(mw.why((x - 6):relu():mean(), x)):match "no gradient arrives.*"
    :match "^no gradient arrives: none passes relu", "no gradient arrives: none passes relu",
    "and nothing arrives")
  local wide = mw.param {8, -9, 10, 0.5}
  local note = of((wide * 1.5):sigmoid():sum() - wide:slice {{4, 4}}:sigmoid():sum(), wide)[3]
  t.is(note, nil, "an element that is not saturated is enough")
  local far = mw.param {8, -9, 10, 5}
  result = of((far * 1):sigmoid():sum(), far)
  t.is({result[1], result[2]}, {"vanishes", "sigmoid"}, "a saturated sigmoid")
  t.ok(result[3]:find "^saturated: 100 %% of its inputs beyond .*4$", "with the inputs' share")
  t.is(of((x * 1000):sum(), x), {"explodes", "mul", "b has a root mean square of 1000"},
    "a large factor, and which operand it is")
  t.is(of((x * 0.01):sum(), x), {"vanishes", "mul", "b has a root mean square of 0.01"},
    "a small one")
  local small = mw.param {1e-4, 1, 1}
  t.is(of(small:reciprocal():sum(), small),
    {"explodes", "reciprocal", "its input comes as near to 0 as 0.0001"}, "near a pole")
  local zero = mw.param {0, -1, 4}
  t.is({of(zero:sqrt():sum(), zero)[1], of((zero * 0):sqrt():sum(), zero)[1]}, {"nan", "infinite"},
    "NaN and infinity")
  t.ok(mw.why(zero:sqrt():sum(), zero).summary:find "becomes NaN in the backward pass of sqrt",
    "which is said at the end")
  t.is(of(mw.randn {1000}:mul(mw.param {2}):mean(), mw.param {2}), {}, "nothing of what is unused")
  local many = mw.param(mw.randn {4000})
  t.is(of(many:mean(), many), {}, "a mean of many elements spreads its gradient: no mark")
  t.is(of(many:sum(), many), {}, "nor does a sum")
end

do -- a residual network, a recurrent one, checkpoints
  mw.seed(2)
  local f1, f2 = nn.Dense {6, 6}, nn.Dense {6, 6}
  local x = mw.randn {4, 6}
  local function net(block)
    local h = f1(x):relu()
    return ((h + block(h)) ^ 2):mean()
  end
  local plain = mw.why(net(function(h) return f2(h):tanh() end), f1.weight)
  local again = mw.why(net(mw.checkpoint(function(h) return f2(h):tanh() end)), f1.weight)
  t.near(again.norm, plain.norm, 1e-6, "through a checkpoint the norm is the same")
  local hidden = false
  for _, step in ipairs(again.path) do hidden = hidden or step.op == "tanh" end
  t.is(hidden, false, "what it hides is not shown")

  local w, h = mw.param(mw.randn {6, 6}, "w"), x
  for _ = 1, 5 do h = h:dense(w):tanh() end
  local recurrent = mw.why(h:mean(), w)
  t.is(#recurrent.path[#recurrent.path].branches, 5, "a weight of 5 steps has 5 branches")
  t.ok(recurrent.summary:find("it comes by 5 branches", 1, true), "which is said")
  local sum, loss = 0, h:mean()
  for _, branch in ipairs(recurrent.path[#recurrent.path].branches) do sum = sum + branch.share end
  t.near(sum, 1, 1e-12, "their shares are all")
  t.near(recurrent.norm, norm_of(mw.grad(loss, {w})[1]), 1e-6, "and the norm is that of the sum")
end

do -- what it looks like
  mw.seed(1)
  local net = deep("Tanh", 60)
  local loss = net(mw.randn {4, 24}):mean()
  local short, full = mw.why(loss, net[1].weight), mw.why(loss, net[1].weight, {full = true})
  t.is(#short.path, #full.path, "a long way has all numbers")
  local _, lines = tostring(short):gsub("\n", "\n")
  local _, all = tostring(full):gsub("\n", "\n")
  t.ok(lines < 45 and all > 120, "and shows some, or all with full = true")
  t.ok(has(short, "{full = true}"), "which is said")
  local widest = 0
  for line in tostring(full):gmatch "[^\n]+" do
    widest = math.max(widest, utf8.len(line) or #line)
  end
  t.ok(widest <= 80, "no line is longer than the screen")
  t.ok(not tostring(full):find "\27", "without a terminal there are no colours")
end

do -- none arrives
  local p, other = mw.param({1, 2, 3}, "p"), mw.param({1}, "other")
  local function reason(loss) return mw.why(loss, p).reason end
  t.ok(reason((p:stop_gradient() * other):sum()):find "detached", "detached")
  t.ok(reason((p:gt(2):cast "f32" * other):sum()):find "^gt gives bool%[3%]", "a comparison")
  t.ok(reason((p:cast "i32":cast "f32" * other):sum()):find "^cast gives i32%[3%]", "whole numbers")
  t.ok(reason((p:floor() * other):sum()):find "^floor has no gradient", "an op without slope")
  t.ok(reason(other:sum()):find "is not computed from p", "not computed from it")
  local namesake = mw.param({1, 2, 3}, "p")
  t.ok(reason(namesake:sum()):find "another parameter of that name", "from one of the same name")
  t.is(mw.why(other:sum(), p).norm, 0, "its norm is 0")
  t.ok(has(mw.why(other:sum() + p:floor():sum(), {p, other}), "no gradient arrives"),
    "and so it is in a table")
end

do -- buffers are no parameters; what is frozen is shown as such
  local net = nn.Sequential {nn.Dense {3, 3}, nn.BatchNorm {3}, nn.Dense {3, 1}}
  net:freeze "^1"
  net:eval()
  local loss = net(mw.randn {4, 3}):mean()
  t.is(#mw.why(loss).rows, 6, "the running statistics of batch_norm are not in the table")
  t.is({mw.why(loss).rows[1].frozen, mw.why(loss).rows[3].frozen}, {true, nil}, "frozen or not")
end

do -- wrong arguments, and a loss that is older than its parameters
  local w = mw.param({1, 2}, "w")
  local loss = (w * w):sum()
  t.refuses("why: the loss is 3, expected a tensor", mw.why, 3)
  t.refuses("why: the loss is a tensor f32[2], expected a scalar; reduce it", mw.why, w * 2, w)
  t.refuses("did you mean \"full\"?", mw.why, loss, w, {ful = true})
  t.refuses("why: the parameter is \"w\", expected a tensor, a network", mw.why, loss, "w")
  t.refuses("expected a network or a list with parameters", mw.why, loss, nn.ReLU {})
  t.refuses("why: the loss depends on no parameter", mw.why, mw.ones {2}:sum())
  mw.update({w}, {w - 0.1 * mw.grad(loss, {w})[1]}, loss)
  t.error(function() mw.why(loss, w) end,
    "look_why.lua:%d+: why: 'w' was updated after the loss was built", "an old loss, at the line")
  t.refuses("why: 'w' was updated", mw.why, loss)
end

t.done()
