-- gradcheck.lua: the derivatives of every op in the registry against central differences in
-- float64, over all the cases that it declares and some more.
--
-- First order: L = sum of <y, dy> over the outputs, differentiated in each float input.
-- Second order, where an op claims it: M = sum of <dL/dx, r> over the inputs, differentiated in
-- each float input and in dy. M is linear in dy, so that this checks all that `gradient` builds.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local core = mw.core

local EPS, TOLERANCE = 1e-5, 1e-6
-- Of a larger input so many elements are moved one by one, and all together in random directions.
local MOST_ELEMENTS, DIRECTIONS = 48, 2

-- Ops whose gradient is not the derivative, on purpose: each has a test of its own.
local pretends = {
  stop_gradient = "tests/lua/gradcheck.lua",
}

-- Whether an input is one to differentiate in.
local function is_variable(case, i)
  local x = case.inputs[i]
  if not x or x.dtype ~= "f64" then return false end
  -- A power of a negative number is smooth in the base alone.
  if case.name == "pow" and i == 2 then
    for _, base in ipairs(cases.array(case.inputs[1])) do
      if base <= 0 then return false end
    end
  end
  return true
end

local function outputs_of(case, inputs)
  local outputs = {}
  for _, y in ipairs(cases.call(case, inputs)) do
    if y.dtype == "f64" then outputs[#outputs + 1] = y end
  end
  return outputs
end

-- x with `by` times the direction (a list) added.
local function moved(x, direction, by)
  local values = cases.array(x)
  for k, step in pairs(direction) do values[k] = values[k] + by * step end
  return cases.tensor(values, "f64", x.shape)
end

-- The directions in which n elements are moved: {[k] = step}, with a text for each.
local function directions_of(n)
  local list = {}
  for i = 1, math.min(n, MOST_ELEMENTS) do
    local k = n <= MOST_ELEMENTS and i or 1 + (i - 1) * n // MOST_ELEMENTS
    list[#list + 1] = {{[k] = 1}, ("element %d"):format(k)}
  end
  for i = 1, n > MOST_ELEMENTS and DIRECTIONS or 0 do
    local direction = cases.array(core.normal({n}, 0, n ^ -0.5, "f64"))
    list[#list + 1] = {table.move(direction, 1, n, 1, {}), ("random direction %d"):format(i)}
  end
  return list
end

-- The largest difference between the gradients of fn(xs), a scalar, and central differences,
-- relative where the gradient is above 1; and a text that says where it is.
local function worst_of(fn, xs)
  local gradients = core.grad(fn(xs), xs)
  mw.eval(table.unpack(gradients))
  local worst, where = 0, ""
  for i, x in ipairs(xs) do
    local gradient = cases.array(gradients[i])
    local function at(direction, by)
      local others = table.move(xs, 1, #xs, 1, {})
      others[i] = moved(x, direction, by)
      return fn(others):item()
    end
    for _, direction in ipairs(directions_of(#gradient)) do
      local got = 0
      for k, step in pairs(direction[1]) do got = got + step * gradient[k] end
      local want = (at(direction[1], EPS) - at(direction[1], -EPS)) / (2 * EPS)
      local gap = math.abs(got - want) / math.max(1, math.abs(want))
      if gap ~= gap then gap = math.huge end
      if gap > worst then
        worst, where = gap, ("variable %d, %s: got %.12g, differences give %.12g"):format(i,
          direction[2], got, want)
      end
    end
  end
  return worst, where
end

-- What is wrong with the derivatives of a case, or nil; and how many variables there were.
local function problem_of(name, text)
  local case, variables, positions = cases.read(name, text, "f64"), {}, {}
  for i = 1, case.inputs.n do
    if is_variable(case, i) then
      variables[#variables + 1] = case.inputs[i]
      positions[#positions + 1] = i
    end
  end
  local function outputs_at(xs)
    local others = {}
    for i, position in ipairs(positions) do others[position] = xs[i] end
    return outputs_of(case, cases.with(case, others))
  end
  local dy, r, outputs = {}, {}, outputs_at(variables)
  if #variables == 0 or #outputs == 0 then return nil, 0 end
  for i, y in ipairs(outputs) do dy[i] = cases.random_like(y) end
  for i, x in ipairs(variables) do r[i] = cases.random_like(x) end

  local worst, where = worst_of(function(xs) return cases.dot(outputs_at(xs), dy) end, variables)
  if worst > TOLERANCE then return "gradient: " .. where, #variables end
  if not cases.info(name).twice then return nil, #variables end

  local all = table.move(dy, 1, #dy, #variables + 1, table.move(variables, 1, #variables, 1, {}))
  worst, where = worst_of(function(values)
    local xs = table.move(values, 1, #variables, 1, {})
    local dys = table.move(values, #variables + 1, #values, 1, {})
    return cases.dot(core.grad(cases.dot(outputs_at(xs), dys), xs), r)
  end, all)
  if worst > TOLERANCE then return "second derivative: " .. where, #variables end
  return nil, #variables
end

-- Beyond the cases that the ops declare: broadcasting, ranks, and what else was once wrong.
local further = {
  add = "mw.add(mw.randn{3,1}, mw.randn{2,1,4})",
  sub = "mw.sub(mw.randn{4}, mw.randn{2,3,4})",
  mul = "mw.mul(mw.randn{}, mw.randn{2,3})\nmw.mul(mw.randn{2,1,3,1}, mw.randn{4,1,2})",
  div = "mw.div(mw.randn{3}, mw.uniform({2,3}, 0.5, 2))",
  pow = "mw.pow(mw.randn{2,3}, mw.tensor(2))\nmw.pow(mw.randn{2,3}, mw.tensor(3))\n"
    .. "mw.pow(mw.uniform({3}, 0.5, 2), mw.randn{2,3})",
  maximum = "mw.maximum(mw.randn{2,1}, mw.randn{2,3})",
  minimum = "mw.minimum(mw.randn{2,3}, mw.randn{2,1,3})",
  sum = "mw.sum(mw.randn{2,3})\nmw.sum(mw.randn{2,3,4}, {axes={1,3}})\nmw.sum(mw.randn{})",
  mean = "mw.mean(mw.randn{2,3,4}, {axes={-2}})\nmw.mean(mw.randn{2,3})",
  max = "mw.max(mw.randn{2,3,4}, {axes={1,3}})\nmw.max(mw.randn{2,3})\n"
    .. "mw.max(mw.randn{2,3,4}, {axes={2}, keepdims=true})",
  min = "mw.min(mw.randn{2,3,4}, {axes={1,2}})",
  sum_to = "mw.sum_to(mw.randn{2,3,4}, {shape={3,1}})",
  expand = "mw.expand(mw.randn{3,1}, {shape={2,3,2}})",
  matmul = [[
mw.matmul(mw.randn{4,3}, mw.randn{4,2}, {transpose_a=true})
mw.matmul(mw.randn{3,4}, mw.randn{2,4}, {transpose_b=true})
mw.matmul(mw.randn{4,3}, mw.randn{2,4}, {transpose_a=true, transpose_b=true})
mw.matmul(mw.randn{2,4,3}, mw.randn{4,2}, {transpose_a=true})
mw.matmul(mw.randn{2,3,4}, mw.randn{2,4}, {transpose_b=true})
mw.matmul(mw.randn{2,1,2,3}, mw.randn{3,3,2})
mw.matmul(mw.randn{2,3}, mw.randn{2,3,2})
mw.matmul(mw.randn{3}, mw.randn{3})
mw.matmul(mw.randn{3}, mw.randn{2,3,2})
mw.matmul(mw.randn{2,2,3}, mw.randn{3})
mw.matmul(mw.randn{3}, mw.randn{2,3}, {transpose_b=true})]],
  dense = "mw.dense(mw.randn{2,3,4}, mw.randn{2,4})\n"
    .. "mw.dense(mw.randn{4}, mw.randn{2,4}, mw.randn{2})",
  softmax = "mw.softmax(mw.randn{2,3,2}, {axis=2})",
  log_softmax = "mw.log_softmax(mw.randn{3,2}, {axis=1})",
  cross_entropy = [[
mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,2,1}, 'i32'), {reduction='none', label_smoothing=0.2})
mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,3,1}, 'u8'), mw.uniform({4}, 0.5, 2), ]]
    .. [[{label_smoothing=0.1, ignore_index=3})
mw.cross_entropy(mw.randn{2,3,2}, mw.tensor({{0,-100},{2,1}}, 'i64'), {reduction='sum'})
mw.cross_entropy(mw.randn{2,3}, mw.tensor({0,1,1}, 'i64'), {axis=1})]],
  reshape = "mw.reshape(mw.randn{1,1}, {shape={}})",
  flatten = "mw.flatten(mw.randn{2,3,2}, {axis=1})",
  transpose = "mw.transpose(mw.randn{2,3})",
  kron = "mw.kron(mw.randn{2}, mw.randn{2,2})\nmw.kron(mw.randn{1,2,2,1}, mw.randn{1,1,2,2})",
  concat = "mw.concat(mw.randn{2}, mw.randn{1}, mw.randn{3})",
  identity = "mw.identity(mw.randn{})",
  where = "mw.where(mw.lt(mw.randn{2,3}, 0), mw.randn{}, mw.randn{2,1})",
}

local function check(name)
  local info, problems, variables = cases.info(name), {}, 0
  local texts = table.move(info.cases, 1, #info.cases, 1, {})
  for text in (further[name] or ""):gmatch "[^\n]+" do texts[#texts + 1] = text end
  for _, text in ipairs(texts) do
    local succeeded, problem, n = pcall(problem_of, name, text)
    if problem then problems[#problems + 1] = text .. "\n  " .. tostring(problem) end
    variables = variables + (succeeded and n or 0)
  end
  -- Random ops and the like have nothing to be differentiated in.
  if variables == 0 and #problems == 0 then return end
  t.is(table.concat(problems, "\n"), "", ("%s: %s derivatives of %d cases"):format(name,
    info.twice and "first and second" or "first", #texts))
end

for _, name in ipairs(cases.names()) do
  local info = cases.info(name)
  if info.differentiable and not pretends[name] then check(name) end
end

local x = mw.randn {2, 3}
local y = (mw.stop_gradient(x) * x):sum()
t.is(core.grad(y, {x})[1]:totable(), x:totable(), "stop_gradient: what is behind it is a constant")

-- The test itself notices a wrong gradient.
for _, shape in ipairs {{2, 3}, {10, 20}} do
  local worst = worst_of(function(xs)
    return (mw.stop_gradient(xs[1]) * xs[1]):sum()
  end, {mw.randn(shape, "f64")})
  t.ok(worst > 0.001, ("a wrong gradient of %d elements is noticed"):format(shape[1] * shape[2]))
end
t.done()
