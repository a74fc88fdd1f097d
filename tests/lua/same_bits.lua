-- same_bits.lua: an op's results and gradients have the same bits however it is called: with
-- tensors that are views or slices of others, one tensor for several inputs, any number of threads,
-- once more. And it leaves its inputs as they are. Over the cases of all ops, in f32.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local core = mw.core

-- Bytes of the outputs and of the gradients in all float inputs. dy depends on the shapes alone.
local function results_of(op, case, inputs, without_gradients)
  local results = cases.call(case, inputs)
  local outputs, xs = #results, {}
  for i, position in ipairs(cases.floats(case)) do xs[i] = (inputs or case.inputs)[position] end
  mw.seed(7)
  local total
  for i = 1, outputs do
    local y = results[i]
    if cases.is_float(y) then
      local term = (y * core.normal(y.shape, 0, 1, y.dtype)):sum()
      if term.dtype ~= "f64" then term = term:cast "f64" end
      total = total and total + term or term
    end
  end
  if op.differentiable and total and #xs > 0 and not without_gradients then
    table.move(core.grad(total, xs), 1, #xs, outputs + 1, results)
  end
  mw.eval(table.unpack(results))
  local bytes = {}
  for i, tensor in ipairs(results) do bytes[i] = core.bytes(tensor) end
  return bytes, outputs
end

-- Which result has other bytes, or nil.
local function difference(got, want, outputs, n)
  for i = 1, n or #want do
    if got[i] ~= want[i] then
      return i <= outputs and ("output %d is another"):format(i)
        or ("gradient %d is another"):format(i - outputs)
    end
  end
end

-- Tensors that are not what they look like --------------------------------------------------------

local function reversed(list)
  local result = {}
  for i, item in ipairs(list) do result[#list + 1 - i] = item end
  return result
end

-- x as the transpose of another tensor.
local function as_transpose(x)
  local shape, values = x.shape, cases.array(x)
  if #shape < 2 then return nil end
  local turned, step = {}, 1
  local steps = {}
  for k = #shape, 1, -1 do
    steps[k] = step
    step = step * shape[k]
  end
  -- Position i of the turned tensor, whose axes are x's backwards.
  for i = 0, #values - 1 do
    local rest, from = i, 1
    for k = 1, #shape do
      from = from + rest % shape[k] * steps[k]
      rest = rest // shape[k]
    end
    turned[i + 1] = values[from]
  end
  return mw.transpose(cases.tensor(turned, x.dtype, reversed(shape)))
end

-- x as every other row of a larger tensor.
local function as_slice(x)
  local shape, values = x.shape, cases.array(x)
  if #shape == 0 then return nil end
  local rows = shape[1]
  local row, larger = rows > 0 and #values // rows or 0, {}
  for i = 0, 2 * rows do
    for k = 1, row do
      larger[#larger + 1] = values[i % 2 == 1 and i // 2 * row + k or 1]
    end
  end
  local others = table.move(shape, 1, #shape, 1, {})
  others[1] = 2 * rows + 1
  local start, step = {}, {}
  for k = 1, #shape do start[k], step[k] = 1, 1 end
  start[1], step[1] = 2, 2
  if rows == 0 or #values == 0 then return nil end
  return core.call("slice", cases.tensor(larger, x.dtype, others),
    {start = start, count = shape, step = step})
end

-- x as a flat tensor under another shape.
local function as_view(x)
  local values = cases.array(x)
  return mw.reshape(cases.tensor(values, x.dtype, {#values}), {shape = x.shape})
end

-- x as the result of a computation, whose memory a program may use again.
local function as_result(x)
  if x.dtype == "bool" then return mw.ne(cases.copy(x, "u8"), 0) end
  local half = cases.tensor(cases.array(x), x.dtype, x.shape)
  return mw.where(mw.eq(half, half), half, half)
end

local disguises = {
  {"transposes", as_transpose}, {"slices", as_slice}, {"views", as_view}, {"results", as_result},
}

local function check_disguises(op, case)
  local want, outputs = results_of(op, case)
  for _, disguise in ipairs(disguises) do
    local inputs, changed = cases.with(case, {}), false
    for i = 1, inputs.n do
      local other = inputs[i] and disguise[2](inputs[i])
      inputs[i] = other or inputs[i]
      changed = changed or other
    end
    if changed then
      local problem = difference(results_of(op, case, inputs), want, outputs)
      if problem then return ("with %s as inputs %s"):format(disguise[1], problem) end
    end
  end
end

-- Where its input is not needed any more, and its output not the end, an op may write over it.
local function check_in_place(op, case)
  local want, outputs = results_of(op, case, nil, true)
  local inputs = cases.with(case, {})
  for i = 1, inputs.n do inputs[i] = inputs[i] and as_result(inputs[i]) end
  local yes, results = cases.tensor({true}, "bool", {}), cases.call(case, inputs)
  for i, y in ipairs(results) do results[i] = mw.where(yes, y, y) end
  mw.eval(table.unpack(results))
  local got = {}
  for i, y in ipairs(results) do got[i] = core.bytes(y) end
  local problem = difference(got, want, outputs)
  return problem and "in the midst of others " .. problem
end

-- One tensor for two inputs -----------------------------------------------------------------------

local function same_spec(a, b)
  return a and b and a.dtype == b.dtype
    and table.concat(a.shape, ",") == table.concat(b.shape, ",")
end

local function check_sharing(op, case)
  for i = 1, case.inputs.n do
    for j = i + 1, case.inputs.n do
      if same_spec(case.inputs[i], case.inputs[j]) then
        local x = case.inputs[i]
        local succeeded, want, outputs = pcall(results_of, op, case,
          cases.with(case, {[j] = cases.copy(x)}), true)
        if succeeded then
          local problem = difference(results_of(op, case, cases.with(case, {[j] = x}), true), want,
            outputs)
          if problem then
            return ("with inputs %d and %d being one tensor %s"):format(i, j, problem)
          end
        end
      end
    end
  end
end

-- The rest ----------------------------------------------------------------------------------------

local function check_inputs_stay(op, case)
  local before = {}
  for i = 1, case.inputs.n do
    before[i] = case.inputs[i] and core.bytes(case.inputs[i]) or ""
  end
  results_of(op, case)
  for i = 1, case.inputs.n do
    if case.inputs[i] and core.bytes(case.inputs[i]) ~= before[i] then
      return ("input %d has other bytes afterwards"):format(i)
    end
  end
end

local function check_again(op, case)
  local want, outputs = results_of(op, case)
  local problem = difference(results_of(op, case), want, outputs)
  return problem and "the second time " .. problem
end

-- Threads -----------------------------------------------------------------------------------------

-- Kernels cut their work into chunks of some ten thousand elements, so that one case of each op has
-- to grow first: its inputs are repeated along their first axis, all of them or the first alone.
local ENOUGH, TOO_MANY = 40000, 2000000

local function repeated(x, times)
  local shape = x.shape
  if #shape == 0 then return x end
  shape[1] = shape[1] * times
  return core.from_bytes(core.bytes(x):rep(times), x.dtype, shape)
end

local function count_of(tensor)
  local count = 1
  for _, size in ipairs(tensor.shape) do count = count * size end
  return count
end

-- The case with larger inputs, or nil when the op takes none such.
local function grown(case)
  local largest = 0
  for i = 1, case.inputs.n do
    largest = math.max(largest, case.inputs[i] and count_of(case.inputs[i]) or 0)
  end
  if largest == 0 then return nil end
  local times = ENOUGH // largest + 1
  for _, last in ipairs {case.inputs.n, 1} do
    local inputs = cases.with(case, {})
    for i = 1, last do inputs[i] = inputs[i] and repeated(inputs[i], times) end
    local succeeded, outputs = pcall(cases.call, case, inputs)
    local count = 0
    for _, y in ipairs(succeeded and outputs or {}) do count = count + count_of(y) end
    if succeeded and count <= TOO_MANY then return inputs end
  end
end

local function with_threads(threads, ...)
  local before = mw.threads()
  mw.threads(threads)
  local results = table.pack(pcall(results_of, ...))
  mw.threads(before)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

local grown_ops, grown_count = {}, 0

local function check_threads(op, case)
  local larger = not grown_ops[op.name] and grown(case) or nil
  if larger then
    grown_ops[op.name] = true
    grown_count = grown_count + 1
  end
  for _, inputs in ipairs {case.inputs, larger} do
    local want, outputs = with_threads(1, op, case, inputs)
    local problem = difference(with_threads(2, op, case, inputs), want, outputs)
    if problem then
      return ("with 2 threads %s; input 1 has the shape {%s}"):format(problem,
        inputs[1] and table.concat(inputs[1].shape, ",") or "")
    end
  end
end

local checks = {
  check_inputs_stay, check_again, check_threads, check_disguises, check_in_place, check_sharing,
}

for _, name in ipairs(cases.names()) do
  local op, problems = cases.info(name), {}
  for _, text in ipairs(op.cases) do
    local read, case = pcall(cases.read, name, text, "f32")
    if not read then problems[#problems + 1] = text .. "\n  " .. tostring(case) end
    for _, check in ipairs(read and checks or {}) do
      local _, problem = pcall(check, op, case)
      if problem then problems[#problems + 1] = text .. "\n  " .. tostring(problem) end
    end
  end
  t.is(table.concat(problems, "\n"), "", name .. ": the same bits however it is called")
end

t.ok(grown_count >= 100, ("%d ops were run with inputs of %d elements"):format(grown_count, ENOUGH))

-- The test itself notices what is wrong.
local case = cases.read("relu", "mw.relu(mw.randn{3,4})", "f32")
local want, outputs = results_of(cases.info "relu", case)
local others = cases.with(case, {mw.randn {3, 4}})
t.ok(difference(results_of(cases.info "relu", case, others), want, outputs),
  "other bits are noticed")
for _, disguise in ipairs(disguises) do
  local x = case.inputs[1]
  t.is(disguise[2](x):totable(), x:totable(), disguise[1] .. " are what they stand for")
end
t.done()
