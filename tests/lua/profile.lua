-- profile.lua: mw.flops against hand arithmetic, and mw.profile: counts, sums, the trace.
local t = require "tap"
local mw = require "moonwalk"
local nn, optim = mw.nn, mw.optim
local folder = require "folder"

-- ---- what ops say that they take --------------------------------------------------------------

-- FLOPs of the program of some tensors, or of its steps of one op.
local function flops_of(op, ...)
  local _, _, steps = mw.flops(...)
  local sum = 0
  for _, step in ipairs(steps) do
    if step.op == op then sum = sum + step.flops end
  end
  return sum
end

local function grads(y, ...)
  return table.unpack(mw.grad(y, {...}, mw.ones(y.shape)))
end

do
  local x, w, b = mw.randn {2, 4, 9, 7}, mw.randn {6, 2, 3, 3}, mw.randn {6}
  local y = x:conv2d(w, b, {groups = 2, padding = 1})
  local products = 2 * (2 * 6 * 9 * 7) * (2 * 3 * 3)
  t.is(flops_of("conv2d", y), products * 1.0, "conv2d: a multiply-add for each output and weight")
  t.is(flops_of("conv2d.backward", grads(y, x)), products * 1.0, "its gradient in x")
  t.is(flops_of("conv2d.backward", grads(y, w)), products * 1.0, "in w")
  t.is(flops_of("conv2d.backward", grads(y, b)), 2 * 6 * 9 * 7.0, "in b: additions")
  t.is(flops_of("conv2d.backward", grads(y, x, w, b)), 2.0 * products + 2 * 6 * 9 * 7,
    "in all of them, together")
end

do
  local x, w = mw.randn {2, 4, 5, 5}, mw.randn {4, 3, 2, 2}
  t.is(flops_of("conv_transpose2d", x:conv_transpose2d(w)), 2.0 * (2 * 4 * 5 * 5) * (3 * 2 * 2),
    "conv_transpose2d: for each input and weight")
  local dy = mw.randn {2, 3, 4, 4}
  t.is(flops_of("conv2d_weight_gradient", x:conv2d_weight_gradient(dy, {kernel = 2})),
    2.0 * (2 * 3 * 4 * 4) * (4 * 2 * 2), "conv2d_weight_gradient: for each of dy and weight")
end

do
  local x, w, b = mw.randn {5, 7}, mw.randn {3, 7}, mw.randn {3}
  local y = x:dense(w, b)
  t.is(flops_of("dense", y), 2.0 * 5 * 7 * 3, "dense")
  t.is(flops_of("dense.backward", grads(y, x, w, b)), 2 * (2.0 * 5 * 7 * 3) + 5 * 3,
    "dense, backward")
  local a, c = mw.randn {4, 5, 7}, mw.randn {7, 3}
  t.is(flops_of("matmul", a:matmul(c)), 2.0 * 4 * 5 * 7 * 3, "matmul, of a batch")
  t.is(flops_of("matmul", mw.randn {7, 5}:matmul(mw.randn {3, 7},
    {transpose_a = true, transpose_b = true})), 2.0 * 5 * 7 * 3, "matmul, transposed")
  t.is(flops_of("matmul", mw.einsum("ij,jk->ik", x, mw.randn {7, 2})), 2.0 * 5 * 7 * 2,
    "einsum: that of its products")
  local q, k, v = mw.randn {6, 4}, mw.randn {9, 4}, mw.randn {9, 5}
  t.is(flops_of("matmul", mw.scaled_dot_product_attention(q, k, v)),
    2.0 * 6 * 9 * 4 + 2.0 * 6 * 9 * 5, "attention: that of its two products, and more")
end

do
  local x = mw.randn {2, 3, 8, 8}
  local y, z = x:maxpool(2), x:meanpool {kernel = {3, 2}, stride = 2}
  t.is(flops_of("maxpool", y), 2.0 * 3 * 4 * 4 * 4, "maxpool: the cells of its windows")
  t.is(flops_of("maxpool.backward", grads(y, x)), 2.0 * 3 * 4 * 4, "backward: its windows")
  t.is(flops_of("meanpool", z), 2.0 * 3 * 3 * 4 * 6, "meanpool: the cells of its windows")
  t.is(flops_of("meanpool.backward", grads(z, x)), 2.0 * 3 * 3 * 4 * 6, "backward, too")
  t.is(flops_of("maxpool_take", x:maxpool_take(x, {kernel = 2})), 2.0 * 3 * 16 * 4, "maxpool_take")
  t.is(flops_of("maxpool_place", x:maxpool_place(y, {kernel = 2})), 2.0 * 3 * 16 * 5,
    "maxpool_place: the cells, and an addition for each window")
  -- Windows of 8 into 3: 0 to 3, 2 to 6, 5 to 8: 10 cells along each side.
  local a = x:adaptive_meanpool(3)
  t.is(flops_of("adaptive_meanpool", a), 2.0 * 3 * 10 * 10, "adaptive_meanpool")
  t.is(flops_of("adaptive_maxpool", x:adaptive_maxpool(3)), 2.0 * 3 * 10 * 10, "adaptive_maxpool")
  t.is(flops_of("adaptive_maxpool_take", x:adaptive_maxpool_take(x, {size = 3})),
    2.0 * 3 * 10 * 10, "adaptive_maxpool_take")
  t.is(flops_of("adaptive_maxpool_place", x:adaptive_maxpool_place(a, {size = 3})),
    2.0 * 3 * (10 * 10 + 9), "adaptive_maxpool_place")
end

do
  local x, labels = mw.randn {4, 5}, mw.tensor({0, 1, 2, 3}, "i64")
  local loss = x:cross_entropy(labels)
  t.is(flops_of("softmax", x:softmax()), 5.0 * 20, "softmax: five for each number")
  t.is(flops_of("softmax.backward", grads(x:softmax(), x)), 4.0 * 20, "backward four")
  t.is(flops_of("log_softmax", x:log_softmax()), 5.0 * 20, "log_softmax: five")
  t.is(flops_of("log_softmax.backward", grads(x:log_softmax(), x)), 4.0 * 20, "backward four")
  t.is(flops_of("cross_entropy", loss), 5.0 * 20, "cross_entropy: five for each logit")
  t.is(flops_of("cross_entropy.backward", grads(loss, x)), 2.0 * 20, "backward two")
  t.is(flops_of("nll", x:nll(labels)), 2.0 * 4, "nll: two for each label")
  t.is(flops_of("nll.backward", grads(x:nll(labels), x)), 4.0, "backward one")
  local y = x:normalize {axes = 2}
  t.is(flops_of("normalize", y), 6.0 * 20, "normalize: six for each number")
  t.is(flops_of("normalize.backward", grads(y, x)), 8.0 * 20, "backward eight")
  local mean, var = mw.zeros {5}, mw.ones {5}
  local inference = x:batch_norm(nil, nil, mean, var)
  t.is(flops_of("batch_norm", x:batch_norm(nil, nil, mean, var, {training = true})), 8.0 * 20,
    "batch_norm: eight in training")
  t.is(flops_of("batch_norm", inference), 4.0 * 20, "four with given statistics")
  t.is(flops_of("batch_norm.backward", grads(inference, x)), 4.0 * 20, "and backward")
end

do
  local x, row = mw.randn {4, 5}, mw.randn {5}
  t.is(flops_of("add", x + row), 20.0, "by default one for each element of the largest array: add")
  t.is(flops_of("sum", x:sum()), 20.0, "and sum")
  t.is(flops_of("transpose", x:transpose()), 0.0, "what moves bytes takes none")
  local flops, bytes, steps = mw.flops((x + row):reshape {20}:exp())
  t.is({flops, bytes, #steps}, {40.0, 4.0 * (20 + 5 + 20) + 4.0 * (20 + 20), 2},
    "a program's sum; a view is no step")
  t.is({steps[1].op, steps[1].shapes}, {"add", "f32[4,5] f32[5] -> f32[4,5]"}, "step by step")
  t.ok(steps[1].origin:find "profile%.lua:%d+$", "with the line that built it")
  t.is(mw.flops(x:eval()), 0, "what has its value takes none")
end

-- A step of LeNet-5: 470,400 in the first convolution, which wants no gradient in the images,
-- 1,440,000 in the second, 353,520 in the dense layers.
do
  local net = nn.Sequential {
    nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {6, 16, kernel = 5}, nn.ReLU {}, nn.MaxPool {2}, nn.Flatten {},
    nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
  }
  local x, y = mw.randn {1, 1, 28, 28}:eval(), mw.zeros({1}, "i64")
  local parameters, weights = net:parameters(), {}
  for _, parameter in ipairs(parameters) do
    if #parameter.shape > 1 then weights[#weights + 1] = parameter end
  end
  local loss = net(x):cross_entropy(y)
  local tensors = mw.grad(loss, weights)
  tensors[#tensors + 1] = loss
  local sum = 0
  for _, op in ipairs {"conv2d", "conv2d.backward", "dense", "dense.backward"} do
    sum = sum + flops_of(op, table.unpack(tensors))
  end
  t.is(sum, 2 * (470400 / 2 + 1440000 / 2 + 353520 / 2), "LeNet-5's training step")
end

t.refuses("flops: argument 1 is 3, expected a tensor", mw.flops, 3)

-- ---- profiles ---------------------------------------------------------------------------------

do
  mw.seed(1)
  local net = nn.Sequential {nn.Dense {6, 4}, nn.Tanh {}, nn.Dense {4, 3}}
  local opt = optim.SGD(net:parameters(), {lr = 0.1})
  local x, y = mw.randn {5, 6}:eval(), mw.zeros({5}, "i64")
  local function step() return opt:step(net(x):cross_entropy(y)) end
  step()
  local p, loss, more = mw.profile(function(n)
    local last
    for _ = 1, n do last = step() end
    return last, "more"
  end, 3)
  t.ok(mw.is_tensor(loss) and more == "more", "a profile gives back what the function returns")
  local by_op, share, seconds, calls = {}, 0, 0, 0
  for _, row in ipairs(p.ops) do
    by_op[row.op] = row
    share, seconds, calls = share + row.share, seconds + row.seconds, calls + row.calls
    t.ok(math.abs(row.mean * row.count - row.seconds) < 1e-12, row.op .. ": mean times count")
  end
  t.is(by_op.dense.count, 2 * 3, "two layers in three steps")
  t.is(by_op.dense.flops, 3 * (2.0 * 5 * 6 * 4 + 2.0 * 5 * 4 * 3), "and their operations")
  t.ok(math.abs(share - 1) < 1e-9, "the shares are the whole")
  t.ok(math.abs(seconds - p.kernel_seconds) < 1e-9 and seconds <= p.seconds,
    "the times are that in kernels, which is within the whole")
  local in_nodes, sorted = 0, true
  for i, row in ipairs(p.nodes) do
    in_nodes = in_nodes + row.seconds
    sorted = sorted and (i == 1 or p.nodes[i - 1].seconds >= row.seconds)
  end
  t.ok(math.abs(in_nodes - seconds) < 1e-9 and sorted, "so are those of the nodes, slowest first")
  local origin
  for _, row in ipairs(p.nodes) do
    if row.op == "dense" then origin = row.origin end
  end
  t.ok(origin and origin:find "^Dense at .*profile%.lua:%d+$", "a node knows its layer's line")
  local text = tostring(p)
  t.ok(text:find "dense%.backward" and text:find "GFLOP/s" and text:find "profile%.lua:",
    "it is a table when printed")

  -- The trace.
  local path = folder.path .. "/trace.json"
  t.ok(p:trace(path), "a trace is written")
  local file = assert(io.open(path))
  local trace = mw.json.decode(file:read "a")
  file:close()
  local bars, named, last = 0, 0, {}
  local in_order = true
  for _, event in ipairs(trace.traceEvents) do
    if event.ph == "X" then
      bars = bars + 1
      in_order = in_order and event.ts >= (last[event.tid] or 0) and event.dur >= 0
      last[event.tid] = event.ts + event.dur - 1e-3
    else
      named = named + 1
    end
  end
  t.is(bars + p.lost, calls, "it is JSON, with a bar for each call")
  t.ok(in_order and named >= 1, "one after the other on each thread, which has a name")
  local done, problem = p:trace(folder.path .. "/nowhere/trace.json")
  t.ok(done == nil and problem:find "nowhere", "a path that cannot be written gives nil and why")
end

t.refuses("profile: the argument is 3, expected a function", mw.profile, 3)
t.refuses("broken", mw.profile, function() error "broken" end) -- what the function raises
t.refuses("a profile is being taken already", mw.profile, mw.profile, print)
do
  local p = mw.profile(function() return 1 end)
  t.is({#p.ops, p.kernel_seconds}, {0, 0}, "after an error a profile starts anew; an empty one")
  t.ok(#tostring(p) > 0, "which can be printed")
end

folder.remove()
t.done()
