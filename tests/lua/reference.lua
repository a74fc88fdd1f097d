-- reference.lua: values and gradients of the ops against cases computed by PyTorch in float64.
-- Each case runs in f64 and in f32, with the tolerances that its file declares.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

local data = os.getenv "MOONWALK_DATA"
local folder = data and data .. "/reference/"
local list = folder and io.open(folder .. "cases.json", "rb")
if not list then
  t.skip("reference cases", "MOONWALK_DATA names no folder with reference/cases.json")
  t.done()
end
local cases = assert(core.json_decode(list:read "a")).cases
list:close()

-- Where it was built, oneDNN's kernels have to pass, too.
pcall(mw.plugin, (os.getenv "MOONWALK_BUILD" or "build") .. "/plugins/onednn.so")

-- The cases count axes from 0 (null: all of them) and Moonwalk's Lua from 1.
local function axis_of(axis)
  return axis >= 0 and axis + 1 or axis
end

local function axes_of(axes)
  if axes == nil or axes == core.null then return {} end
  local result = {}
  for i, axis in ipairs(axes) do result[i] = axis_of(axis) end
  return result
end

-- numpy's x[start:stop:step] of an axis as a start, a count and a step.
local function range_of(slice, size)
  local function given(i) return slice[i] ~= nil and slice[i] ~= core.null and slice[i] or nil end
  local step = given(3) or 1
  local low, high = step > 0 and 0 or -1, step > 0 and size or size - 1
  local function clip(position, default)
    if not position then return default end
    if position < 0 then position = position + size end
    return math.max(low, math.min(high, position))
  end
  local start = clip(given(1), step > 0 and 0 or size - 1)
  local stop = clip(given(2), step > 0 and size or -1)
  local distance = step > 0 and stop - start or start - stop
  local by = math.abs(step)
  return start, math.max(0, (distance + by - 1) // by), step
end

local function elementwise(op)
  return {op, function(x) return mw[op](x.x) end}
end

local function arithmetic(op)
  return {op, function(x) return mw[op](x.a, x.b or x.a) end}
end

-- Of each op in the cases: our op's name, and how it is called with the inputs and attributes.
local calls = {
  add = arithmetic "add", sub = arithmetic "sub", mul = arithmetic "mul", div = arithmetic "div",
  relu = elementwise "relu", sigmoid = elementwise "sigmoid", tanh = elementwise "tanh",
  exp = elementwise "exp", log = elementwise "log", sqrt = elementwise "sqrt",
  conv2d = {"conv2d", function(x, a)
    return mw.conv2d(x.x, x.w, x.b, {stride = a.stride, padding = a.pads or a.padding,
      dilation = a.dilation, groups = a.groups})
  end},
  maxpool2d = {"maxpool", function(x, a)
    return mw.maxpool(x.x, {kernel = a.kernel, stride = a.stride, padding = a.padding,
      dilation = a.dilation, ceil_mode = a.ceil_mode})
  end},
  avgpool2d = {"meanpool", function(x, a)
    return mw.meanpool(x.x, {kernel = a.kernel, stride = a.stride, padding = a.padding,
      ceil_mode = a.ceil_mode, count_include_pad = a.count_include_pad})
  end},
  global_avg_pool = {"mean", function(x, a)
    return mw.mean(x.x, {axes = {3, 4}, keepdims = a.keepdims})
  end},
  matmul = {"matmul", function(x, a)
    return mw.matmul(x.a, x.b, {transpose_a = a.transpose_a, transpose_b = a.transpose_b})
  end},
  dense = {"dense", function(x) return mw.dense(x.x, x.w, x.b) end},
  softmax = {"softmax", function(x, a) return mw.softmax(x.x, {axis = axis_of(a.axis)}) end},
  log_softmax = {"log_softmax", function(x, a)
    return mw.log_softmax(x.x, {axis = axis_of(a.axis)})
  end},
  cross_entropy = {"cross_entropy", function(x, a)
    return mw.cross_entropy(x.x, x.labels, x.class_weight, {reduction = a.reduction,
      label_smoothing = a.label_smoothing, axis = axis_of(a.axis)})
  end},
  reduce_sum = {"sum", function(x, a)
    return mw.sum(x.x, {axes = axes_of(a.axes), keepdims = a.keepdims})
  end},
  reduce_mean = {"mean", function(x, a)
    return mw.mean(x.x, {axes = axes_of(a.axes), keepdims = a.keepdims})
  end},
  reduce_max = {"max", function(x, a)
    return mw.max(x.x, {axes = axes_of(a.axes), keepdims = a.keepdims})
  end},
  reshape = {"reshape", function(x, a) return mw.reshape(x.x, {shape = a.shape}) end},
  transpose = {"transpose", function(x, a)
    return mw.transpose(x.x, {perm = axes_of(a.perm)})
  end},
  concat = {"concat", function(x, a)
    local parts = {}
    while x["x" .. #parts] do parts[#parts + 1] = x["x" .. #parts] end
    parts[#parts + 1] = {axis = axis_of(a.axis)}
    return mw.concat(table.unpack(parts))
  end},
  slice = {"slice", function(x, a)
    local start, count, step = {}, {}, {}
    for i, slice in ipairs(a.slices) do
      local first
      first, count[i], step[i] = range_of(slice, x.x.shape[i])
      start[i] = first + 1
    end
    return core.call("slice", x.x, {start = start, count = count, step = step})
  end},
  conv_transpose2d = {"conv_transpose2d", function(x, a)
    return mw.conv_transpose2d(x.x, x.w, x.b, {stride = a.stride, padding = a.padding,
      output_padding = a.output_padding, dilation = a.dilation, groups = a.groups})
  end},
  pad = {"pad", function(x, a)
    local pads = {}
    for _, pair in ipairs(a.pads) do table.move(pair, 1, 2, #pads + 1, pads) end
    return mw.pad(x.x, {pads = pads, mode = a.mode, value = a.value})
  end},
  batch_norm = {"batch_norm", function(x, a)
    return mw.batch_norm(x.x, x.gamma, x.beta, x.running_mean, x.running_var,
      {training = a.training, eps = a.eps, momentum = a.momentum})
  end},
  layer_norm = {"layer_norm", function(x, a)
    local axes = {}
    for i = 1, a.normalized_axes do axes[i] = i - 1 - a.normalized_axes end
    return mw.layer_norm(x.x, x.gamma, x.beta, {axes = axes, eps = a.eps})
  end},
  -- Where the mask is given, what dropout computes with its own; where it drops nothing, dropout.
  dropout = {"dropout", function(x, a)
    if x.mask then return x.x * x.mask / (1 - a.p) end
    return mw.dropout(x.x, {p = a.p})
  end},
  leaky_relu = {"leaky_relu", function(x, a)
    return mw.leaky_relu(x.x, {negative_slope = a.negative_slope})
  end},
  gelu = {"gelu", function(x, a) return mw.gelu(x.x, {approximate = a.approximate}) end},
}

-- The numbers of a tensor in row-major order.
local function numbers(tensor)
  local format = ({f32 = "<f", f64 = "<d", i64 = "<i8"})[tensor.dtype]
  local bytes, list_of = core.bytes(tensor), {}
  local size = string.packsize(format)
  for i = 1, #bytes // size do list_of[i] = format:unpack(bytes, (i - 1) * size + 1) end
  return list_of
end

-- What is wrong with `got`, or nil. Infinities and NaN must be the same; other numbers must
-- differ by at most the tolerance.
local function fault(name, got, want, tolerance)
  if table.concat(got.shape, ",") ~= table.concat(want.shape, ",") then
    return ("%s has the shape {%s}, want {%s}"):format(name, table.concat(got.shape, ","),
      table.concat(want.shape, ","))
  end
  local a, b = numbers(got), numbers(want)
  for i = 1, #b do
    local same = a[i] == b[i] or (a[i] ~= a[i] and b[i] ~= b[i])
    local near = math.abs(a[i] - b[i]) <= tolerance
    if not same and not near then
      return ("%s, element %d: got %.17g, want %.17g, tolerance %g"):format(name, i, a[i], b[i],
        tolerance)
    end
  end
end

local function tolerance_of(case, name, dtype)
  local largest = case.maxabs[name] or 0
  if dtype == "f64" then return 1e-10 * largest end
  return 20 * (case.f32_maxabs_err[name] or 0) + 1e-6 * largest
end

local function run(case, dtype)
  local file = assert(mw.load(folder .. case.file))
  local function as_dtype(tensor)
    return tensor.dtype == "f64" and tensor:cast(dtype):eval() or tensor
  end
  local inputs, wanted = {}, {}
  for _, name in ipairs(case.inputs) do inputs[name] = as_dtype(file["in." .. name]) end
  for i, name in ipairs(case.grads) do wanted[i] = inputs[name] end
  local outputs = {calls[case.op][2](inputs, case.attrs)}
  local gradients = core.grad(outputs[1], wanted, as_dtype(file["dout.y"]))
  local problem
  -- Ours may have fewer: maxpool gives no positions.
  for i, y in ipairs(outputs) do
    local name = "out." .. case.outputs[i]
    problem = problem or fault(name, y, file[name], tolerance_of(case, name, dtype))
  end
  for i, name in ipairs(case.grads) do
    -- Where it matters which of equal maxima gets the gradient, ours gives it to the first.
    local want = file["din_first." .. name] or file["din." .. name]
    problem = problem
      or fault("d" .. name, gradients[i], want, tolerance_of(case, "din." .. name, dtype))
  end
  return problem
end

-- The names of an op's kernels; in each call the first one that supports it is taken.
local function kernels_of(op)
  local names, seen = {}, {}
  for name in core.kernel_list(op):gmatch "([^\n ]+)[^\n]*" do
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return names
end

local ran, left_out = 0, {}
for _, case in ipairs(cases) do
  local call = calls[case.op]
  if not call or not core.ops()[call[1]] then
    left_out[#left_out + 1] = case.id
  else
    local passed = true
    for _, kernel in ipairs(kernels_of(call[1])) do
      core.kernel_prefer(call[1], kernel)
      for _, dtype in ipairs {"f64", "f32"} do
        local succeeded, problem = pcall(run, case, dtype)
        passed = t.is(problem, nil, ("%s in %s, %s"):format(case.id, dtype, kernel)) and passed
        if not succeeded then print("# it raised an error") end
      end
    end
    core.kernel_prefer(call[1], nil)
    ran = ran + (passed and 1 or 0)
  end
end
t.is(table.concat(left_out, " "), "", "there is an op for each case")
t.is(ran, 108, "108 cases pass in f64 and in f32, by each kernel")
t.done()
