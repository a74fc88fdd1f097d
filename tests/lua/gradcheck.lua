-- gradcheck.lua: the derivatives of every op in the registry against central differences in
-- float64. What an op is applied to comes from its own example; one without an example fails.
--
-- First order: L = sum of <y, dy> over the outputs, differentiated in each float input.
-- Second order, where an op claims it: M = sum of <dL/dx, r> over the inputs, differentiated in
-- each float input and in dy. M is linear in dy, so that this checks all that `gradient` builds.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

local EPS, TOLERANCE = 1e-5, 1e-6

-- Ops whose gradient is not the derivative, on purpose: each has a test of its own.
local pretends = {stop_gradient = true}

mw.seed(2)

-- The arguments with which an op's example calls it, float tensors in f64.
local function example_arguments(name, example)
  local captured
  local names = setmetatable({[name] = function(...)
    captured = table.pack(...)
    return mw.zeros {1}
  end}, {__index = mw})
  local chunk = assert(load("return " .. example, "=example", "t", {mw = names}))
  chunk()
  if not captured then error("the example does not call mw." .. name, 0) end
  for i = 1, captured.n do
    local value = captured[i]
    if core.is_tensor(value) and value.dtype == "f32" then captured[i] = value:cast "f64":eval() end
  end
  return captured
end

local function is_variable(value)
  return core.is_tensor(value) and value.dtype == "f64"
end

local function random_like(tensor)
  return core.normal(tensor.shape, 0, 1, "f64"):eval()
end

-- Calls the op; random numbers that it draws are the same in each call.
local function outputs_of(name, arguments, random)
  core.random_restore(random[1], random[2])
  local outputs = {}
  for _, y in ipairs {core.call(name, table.unpack(arguments, 1, arguments.n))} do
    if is_variable(y) then outputs[#outputs + 1] = y end
  end
  return outputs
end

local function dot(a, b)
  local total
  for i = 1, #a do
    local term = (a[i] * b[i]):sum()
    total = total and total + term or term
  end
  return total
end

-- x with element k (from 0) moved.
local function moved(x, k, by)
  local bytes = core.bytes(x)
  local value = ("<d"):unpack(bytes, 8 * k + 1)
  return core.from_bytes(bytes:sub(1, 8 * k) .. ("<d"):pack(value + by) .. bytes:sub(8 * k + 9),
    "f64", x.shape)
end

-- The largest difference between the gradients of fn(xs), a scalar, and central differences,
-- relative where the gradient is above 1; and a text that says where it is.
local function worst_of(fn, xs)
  local gradients = core.grad(fn(xs), xs)
  local worst, where = 0, ""
  for i, x in ipairs(xs) do
    local gradient = core.bytes(gradients[i])
    for k = 0, #gradient // 8 - 1 do
      local function at(by)
        local others = table.move(xs, 1, #xs, 1, {})
        others[i] = moved(x, k, by)
        return fn(others):item()
      end
      local got, want = ("<d"):unpack(gradient, 8 * k + 1), (at(EPS) - at(-EPS)) / (2 * EPS)
      local gap = math.abs(got - want) / math.max(1, math.abs(want))
      if gap ~= gap then gap = math.huge end
      if gap > worst then
        worst, where = gap,
          ("variable %d, element %d: got %.12g, differences give %.12g"):format(i, k + 1, got, want)
      end
    end
  end
  return worst, where
end

-- The op's differentiable arguments as a list, and a function that puts others in their place.
local function variables_of(arguments, fixed)
  local variables, positions = {}, {}
  for i = 1, arguments.n do
    if is_variable(arguments[i]) and i ~= fixed then
      variables[#variables + 1] = arguments[i]
      positions[#positions + 1] = i
    end
  end
  return variables, function(values)
    local result = table.move(arguments, 1, arguments.n, 1, {n = arguments.n})
    for i, position in ipairs(positions) do result[position] = values[i] end
    return result
  end
end

local function check(name, example, label, fixed)
  local arguments = example_arguments(name, example)
  local variables, with = variables_of(arguments, fixed)
  if #variables == 0 then return t.ok(false, label .. ": has a float input") end
  local random = {core.random_state()}
  local dy = {}
  for i, y in ipairs(outputs_of(name, arguments, random)) do dy[i] = random_like(y) end
  random = {core.random_state()}

  local worst, where = worst_of(function(xs)
    return dot(outputs_of(name, with(xs), random), dy)
  end, variables)
  if not t.ok(worst <= TOLERANCE, label .. ": gradient") then print("# " .. where) end
  if not core.ops()[name].twice then return end

  local r = {}
  for i, x in ipairs(variables) do r[i] = random_like(x) end
  local all = table.move(dy, 1, #dy, #variables + 1, table.move(variables, 1, #variables, 1, {}))
  worst, where = worst_of(function(values)
    local xs = table.move(values, 1, #variables, 1, {})
    local dys = table.move(values, #variables + 1, #values, 1, {})
    return dot(core.grad(dot(outputs_of(name, with(xs), random), dys), xs), r)
  end, all)
  if not t.ok(worst <= TOLERANCE, label .. ": second derivative") then print("# " .. where) end
end

-- The same, with a failed test instead of an error.
local function check_safely(name, example, label, fixed)
  local succeeded, message = pcall(check, name, example, label, fixed)
  if not succeeded then
    t.ok(false, label .. ": gradient")
    print("# " .. tostring(message))
  end
end

local names = {}
for name in pairs(core.ops()) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
  local info = core.ops()[name]
  if not info.example or info.example == "" then
    t.ok(false, name .. ": has an example")
  else
    local succeeded, message = pcall(function()
      local y = core.call(name, table.unpack(example_arguments(name, info.example)))
      y:eval()
    end)
    if not t.ok(succeeded, name .. ": its example runs") then print("# " .. tostring(message)) end
    if succeeded and info.differentiable and not pretends[name] then
      check_safely(name, info.example, name)
    end
  end
end

-- What the examples leave out: other attributes, broadcasting, ranks. `fixed` is the position of
-- an argument in which there is nothing to check.
local further = {
  {"add", "mw.add(mw.randn{3,1}, mw.randn{2,1,4})"},
  {"sub", "mw.sub(mw.randn{4}, mw.randn{2,3,4})"},
  {"mul", "mw.mul(mw.randn{}, mw.randn{2,3})"},
  {"mul", "mw.mul(mw.randn{2,1,3,1}, mw.randn{4,1,2})"},
  {"div", "mw.div(mw.randn{3}, mw.uniform({2,3}, 0.5, 2))"},
  {"pow", "mw.pow(mw.randn{2,3}, mw.tensor(2))", fixed = 2},
  {"pow", "mw.pow(mw.randn{2,3}, mw.tensor(3))", fixed = 2},
  {"pow", "mw.pow(mw.uniform({3}, 0.5, 2), mw.randn{2,3})"},
  {"maximum", "mw.maximum(mw.randn{2,1}, mw.randn{2,3})"},
  {"minimum", "mw.minimum(mw.randn{2,3}, mw.randn{2,1,3})"},
  {"sum", "mw.sum(mw.randn{2,3})"},
  {"sum", "mw.sum(mw.randn{2,3,4}, {axes={1,3}})"},
  {"sum", "mw.sum(mw.randn{})"},
  {"mean", "mw.mean(mw.randn{2,3,4}, {axes={-2}})"},
  {"mean", "mw.mean(mw.randn{2,3})"},
  {"max", "mw.max(mw.randn{2,3,4}, {axes={1,3}})"},
  {"max", "mw.max(mw.randn{2,3})"},
  {"max", "mw.max(mw.randn{2,3,4}, {axes={2}, keepdims=true})"},
  {"min", "mw.min(mw.randn{2,3,4}, {axes={1,2}})"},
  {"sum_to", "mw.sum_to(mw.randn{2,3,4}, {shape={3,1}})"},
  {"expand", "mw.expand(mw.randn{3,1}, {shape={2,3,2}})"},
  {"matmul", "mw.matmul(mw.randn{4,3}, mw.randn{4,2}, {transpose_a=true})"},
  {"matmul", "mw.matmul(mw.randn{3,4}, mw.randn{2,4}, {transpose_b=true})"},
  {"matmul", "mw.matmul(mw.randn{4,3}, mw.randn{2,4}, {transpose_a=true, transpose_b=true})"},
  {"matmul", "mw.matmul(mw.randn{2,4,3}, mw.randn{4,2}, {transpose_a=true})"},
  {"matmul", "mw.matmul(mw.randn{2,3,4}, mw.randn{2,4}, {transpose_b=true})"},
  {"matmul", "mw.matmul(mw.randn{2,1,2,3}, mw.randn{3,3,2})"},
  {"matmul", "mw.matmul(mw.randn{2,3}, mw.randn{2,3,2})"},
  {"matmul", "mw.matmul(mw.randn{3}, mw.randn{3})"},
  {"matmul", "mw.matmul(mw.randn{3}, mw.randn{2,3,2})"},
  {"matmul", "mw.matmul(mw.randn{2,2,3}, mw.randn{3})"},
  {"matmul", "mw.matmul(mw.randn{3}, mw.randn{2,3}, {transpose_b=true})"},
  {"dense", "mw.dense(mw.randn{2,3,4}, mw.randn{2,4})"},
  {"dense", "mw.dense(mw.randn{4}, mw.randn{2,4}, mw.randn{2})"},
  {"softmax", "mw.softmax(mw.randn{2,3,2}, {axis=2})"},
  {"log_softmax", "mw.log_softmax(mw.randn{3,2}, {axis=1})"},
  {"cross_entropy", "mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,2,1}, 'i32'), "
    .. "{reduction='none', label_smoothing=0.2})"},
  {"cross_entropy", "mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,3,1}, 'u8'), "
    .. "mw.uniform({4}, 0.5, 2), {label_smoothing=0.1, ignore_index=3})", fixed = 3},
  {"cross_entropy", "mw.cross_entropy(mw.randn{2,3,2}, mw.tensor({{0,-100},{2,1}}, 'i64'), "
    .. "{reduction='sum'})"},
  {"cross_entropy", "mw.cross_entropy(mw.randn{2,3}, mw.tensor({0,1,1}, 'i64'), {axis=1})"},
  {"reshape", "mw.reshape(mw.randn{1,1}, {shape={}})"},
  {"flatten", "mw.flatten(mw.randn{2,3,2}, {axis=1})"},
  {"transpose", "mw.transpose(mw.randn{2,3})"},
  {"kron", "mw.kron(mw.randn{2}, mw.randn{2,2})"},
  {"kron", "mw.kron(mw.randn{1,2,2,1}, mw.randn{1,1,2,2})"},
  {"concat", "mw.concat(mw.randn{2}, mw.randn{1}, mw.randn{3})"},
  {"identity", "mw.identity(mw.randn{})"},
}
for _, case in ipairs(further) do check_safely(case[1], case[2], case[2], case.fixed) end

local x = mw.randn {2, 3}
local y = (mw.stop_gradient(x) * x):sum()
t.is(core.grad(y, {x})[1]:totable(), x:totable(), "stop_gradient: what is behind it is a constant")

-- The test itself notices a wrong gradient.
local worst = worst_of(function(xs)
  return (mw.stop_gradient(xs[1]) * xs[1]):sum()
end, {mw.randn({2, 3}, "f64")})
t.ok(worst > 0.01, "a gradient that is wrong by a factor of 2 is noticed")
t.done()
