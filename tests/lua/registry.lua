-- registry.lua: what every op in the registry has to fulfil, over the cases that it declares: its
-- schema is whole, its values are those of its plain formula, NaN passes through it, and what it
-- says of itself (linear, differentiable) is true. Its derivatives are checked by gradcheck.lua,
-- and that its results do not depend on how it is called by same_bits.lua.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local core = mw.core

-- What there must be, by family -------------------------------------------------------------------

local families = {
  elementwise = [[neg abs sign exp expm1 log log1p sqrt rsqrt square reciprocal sin cos tan asin
    acos atan sinh cosh tanh sigmoid relu leaky_relu elu selu gelu silu softplus hardtanh clip erf
    floor ceil round add sub mul div pow maximum minimum mod eq ne lt le gt ge logical_and
    logical_or logical_xor logical_not where cast stop_gradient]],
  reductions = "sum mean max min prod logsumexp var std norm argmax argmin cumsum all any",
  ["linear algebra"] = "matmul dense outer kron einsum tril triu trace diag",
  shapes = [[reshape flatten transpose squeeze unsqueeze expand concat stack slice flip roll pad
    tile repeat_interleave gather scatter_add index_select one_hot embedding sort topk split
    chunk]],
  networks = [[conv1d conv2d conv3d conv_transpose2d maxpool meanpool maxpool1d meanpool1d
    global_meanpool global_maxpool adaptive_meanpool adaptive_maxpool upsample unfold fold
    batch_norm layer_norm group_norm instance_norm rms_norm dropout softmax log_softmax
    cross_entropy nll mse l1 huber bce bce_with_logits kl_div cosine_similarity
    scaled_dot_product_attention]],
  random = "random_uniform random_normal random_bernoulli random_permutation",
}

-- Where an op may fall short, and why -------------------------------------------------------------

-- Ops with float inputs, float outputs, and no derivative.
local no_derivative = {random_bernoulli = "its values are 0 and 1"}

-- Inputs in which NaN stays unseen on purpose. The op's doc says so.
local no_nan = {
  adaptive_maxpool_place = {x = "it only tells where the maxima are"},
  adaptive_maxpool_take = {x = "it only tells where the maxima are"},
  max_mask = {x = "it marks where NaN is"}, min_mask = {x = "it marks where NaN is"},
  maxpool_place = {x = "it only tells where the maxima are"},
  maxpool_take = {x = "it only tells where the maxima are"},
  topk = {x = "NaN comes last"},
}

-- Helpers -----------------------------------------------------------------------------------------

-- What is wrong with cases of an op: `check` returns that of one, or nil.
local function problems_of(op, check)
  local problems = {}
  for _, text in ipairs(op.cases) do
    local _, problem = pcall(check, text)
    if problem then problems[#problems + 1] = text .. "\n  " .. tostring(problem) .. "\n" end
  end
  return table.concat(problems)
end

-- One line of TAP for all cases of an op.
local function over_cases(op, label, check)
  return t.is(problems_of(op, check), "", op.name .. ": " .. label)
end

local function shape_text(shape)
  return "{" .. table.concat(shape, ",") .. "}"
end

-- The largest magnitude among the finite numbers of arrays.
local function size_of(...)
  local largest = 0
  for _, array in ipairs {...} do
    for _, value in ipairs(array) do
      local size = type(value) == "number" and math.abs(value) or 0
      if size < math.huge and size > largest then largest = size end
    end
  end
  return largest
end

-- What is wrong with an array, or nil. NaN is near NaN, an infinity near itself.
local function difference(got, want, tolerance)
  if shape_text(got.shape) ~= shape_text(want.shape) then
    return ("the shape is %s, want %s"):format(shape_text(got.shape), shape_text(want.shape))
  elseif #got ~= #want then
    return ("there are %d elements, want %d"):format(#got, #want)
  end
  for i = 1, #want do
    local a, b = got[i], want[i]
    local same = a == b or (a ~= a and b ~= b)
    if not same and type(a) == "number" and type(b) == "number" then
      same = math.abs(a - b) <= tolerance
    end
    if not same then
      return ("element %d is %s, want %s"):format(i,
        type(a) == "number" and ("%.17g"):format(a) or tostring(a),
        type(b) == "number" and ("%.17g"):format(b) or tostring(b))
    end
  end
end

local function arrays_of(tensors, n)
  local arrays = {}
  if n > 0 then mw.eval(table.unpack(tensors, 1, n)) end
  for i = 1, n do arrays[i] = cases.array(tensors[i]) end
  return arrays
end

local function inputs_of(case)
  local arrays, list = {}, {}
  for i = 1, case.inputs.n do
    if case.inputs[i] then
      arrays[i] = cases.array(case.inputs[i])
      list[#list + 1] = arrays[i]
    end
  end
  return arrays, list
end

-- Values ------------------------------------------------------------------------------------------

-- In f64 within rounding of the plain formula; what is not a float, exactly.
local function check_formula(op, formula, text)
  local case = cases.read(op.name, text, "f64")
  local outputs = cases.call(case)
  local got = arrays_of(outputs, #outputs)
  local arguments, list = inputs_of(case)
  local want = formula(arguments, case.attrs)
  if not want.n then want = {n = 1, want} end
  if want.n ~= #got then return ("%d outputs, the formula has %d"):format(#got, want.n) end
  for i = 1, want.n do
    local tolerance = 0
    if cases.is_float(outputs[i]) then
      tolerance = (outputs[i].dtype == "f64" and 1e-12 or 2^-20)
        * math.max(size_of(want[i]), size_of(table.unpack(list)))
    end
    local problem = difference(got[i], want[i], tolerance)
    if problem then return ("output %s: %s"):format(op.outputs[i].name, problem) end
  end
end

-- In f32 near the same in f64, which has the same numbers for inputs. Gradients likewise.
local function check_single(op, text)
  local function compute(float)
    local case = cases.read(op.name, text, float)
    local results = cases.call(case)
    local n, names = #results, {}
    for i = 1, n do names[i] = "output " .. op.outputs[i].name end
    local ys, dys, xs = {}, {}, {}
    for _, y in ipairs(results) do
      if cases.is_float(y) then
        ys[#ys + 1] = y
        dys[#dys + 1] = cases.copy(core.normal(y.shape, 0, 1, "f32"), y.dtype)
      end
    end
    for i, position in ipairs(cases.floats(case)) do
      xs[i] = case.inputs[position]
      names[n + i] = "the gradient in " .. cases.input_name(case, position)
    end
    if op.differentiable and #ys > 0 and #xs > 0 then
      local total
      for i, y in ipairs(ys) do
        local term = (y * dys[i]):sum()
        if term.dtype ~= float then term = term:cast(float) end
        total = total and total + term or term
      end
      table.move(core.grad(total, xs), 1, #xs, n + 1, results)
    end
    local _, list = inputs_of(case)
    return arrays_of(results, #results), list, names
  end
  local single, inputs, names = compute "f32"
  local double = compute "f64"
  for i, want in ipairs(double) do
    local tolerance = 0
    if want.dtype == "f64" then tolerance = 2^-18 * size_of(want, table.unpack(inputs)) end
    local problem = difference(single[i], want, tolerance)
    if problem then return ("%s in f32: %s"):format(names[i], problem) end
  end
end

-- NaN ---------------------------------------------------------------------------------------------

-- The bytes of all outputs, and whether there is NaN among them; an error that names it counts.
local function try_values(case, position, values)
  local changed = cases.tensor(values, values.dtype, values.shape)
  local outputs = cases.call(case, cases.with(case, {[position] = changed}))
  local computed, message = pcall(mw.eval, table.unpack(outputs))
  if not computed then return tostring(message), tostring(message):find "nan" ~= nil end
  local bytes, has_nan = {}, false
  for i, y in ipairs(outputs) do
    bytes[i] = core.bytes(y)
    for _, value in ipairs(cases.array(y)) do has_nan = has_nan or value ~= value end
  end
  return table.concat(bytes, "|"), has_nan
end

-- The first element of an input in which NaN reaches no result, though other numbers do, or nil.
local function unseen(case, position)
  local values = cases.array(case.inputs[position])
  for k = 1, #values do
    local value = values[k]
    local function with(other)
      values[k] = other
      local bytes, has_nan = try_values(case, position, values)
      values[k] = value
      return bytes, has_nan
    end
    local _, has_nan = with(0 / 0)
    if not has_nan then
      local before = with(value)
      if with(value + 100) ~= before or with(value - 100) ~= before then return k end
    end
  end
end

local function has_float_output(case)
  for _, y in ipairs(cases.call(case)) do
    if cases.is_float(y) and #cases.array(y) > 0 then return true end
  end
  return false
end

local function check_nan(op)
  local tried = false
  local problems = problems_of(op, function(text)
    local case = cases.read(op.name, text, "f64")
    if not has_float_output(case) then return end
    for _, position in ipairs(cases.floats(case)) do
      local name = cases.input_name(case, position)
      if not (no_nan[op.name] or {})[name] and #cases.array(case.inputs[position]) > 0 then
        local missed = unseen(case, position)
        tried = true
        if missed then return ("NaN in element %d of %s reaches no result"):format(missed, name) end
      end
    end
  end)
  if problems ~= "" or tried then t.is(problems, "", op.name .. ": NaN passes through") end
  for name, why in pairs(no_nan[op.name] or {}) do
    t.ok(op.doc:find "NaN", ("%s: its doc says what becomes of NaN in %s (%s)"):format(op.name,
      name, why))
  end
end

-- Linear ------------------------------------------------------------------------------------------

-- <A x, y> = <x, A'y>, where A'y is taken at another x.
local function check_linear(op, text)
  local case = cases.read(op.name, text, "f64")
  local at, xs, others = {}, {}, {}
  for i, position in ipairs(cases.floats(case)) do
    at[i] = case.inputs[position]
    xs[i] = cases.random_like(at[i])
    others[position] = xs[i]
  end
  if #at == 0 then return end
  local function floats(outputs)
    local list = {}
    for _, y in ipairs(outputs) do
      if cases.is_float(y) then list[#list + 1] = y end
    end
    return list
  end
  local ax, ys = floats(cases.call(case, cases.with(case, others))), {}
  for i, y in ipairs(ax) do ys[i] = cases.random_like(y) end
  local back = core.grad(cases.dot(floats(cases.call(case)), ys), at)
  local function product(a, b)
    local sum, size = 0, 0
    for i = 1, #a do
      local p, q = cases.array(a[i]), cases.array(b[i])
      for k = 1, #p do
        sum = sum + p[k] * q[k]
        size = size + math.abs(p[k] * q[k])
      end
    end
    return sum, size
  end
  local forward, size_1 = product(ax, ys)
  local backward, size_2 = product(xs, back)
  local gap = math.abs(forward - backward)
  if gap ~= gap or gap > 1e-12 * math.max(size_1, size_2) then
    return ("<A x, y> is %.17g, <x, A'y> is %.17g"):format(forward, backward)
  end
end

-- The schema --------------------------------------------------------------------------------------

local function check_schema(op)
  local problems = {}
  local function want(condition, problem)
    if not condition then problems[#problems + 1] = problem end
  end
  want(op.doc and op.doc:find "%S", "it has no doc")
  want(#op.cases >= 3, ("it has %d cases with the example, at least 3 wanted"):format(#op.cases))
  want(#op.outputs > 0, "it has no output")
  for _, attr in ipairs(op.attrs) do
    want(attr.doc and attr.doc:find "%S", "attribute " .. attr.name .. " has no doc")
  end
  t.is(table.concat(problems, "\n"), "", op.name .. ": its schema is whole")
end

-- Every attribute is used by some case; some case has no elements.
local function check_cases(op)
  local used, has_empty, has_floats = {}, false, false
  local runs = over_cases(op, ("%d cases run"):format(#op.cases), function(text)
    local case = cases.read(op.name, text, "f64")
    for name in pairs(case.given) do used[name] = true end
    local outputs = cases.call(case)
    has_floats = has_floats or #cases.floats(case) > 0 and has_float_output(case)
    if #outputs ~= #op.outputs then return "the number of outputs is not the declared one" end
    local all = table.move(outputs, 1, #outputs, 1, {})
    for i = 1, case.inputs.n do all[#all + 1] = case.inputs[i] end
    for _, array in ipairs(arrays_of(all, #all)) do has_empty = has_empty or #array == 0 end
  end)
  if not runs then return false end
  local unused = {}
  for _, attr in ipairs(op.attrs) do
    if not used[attr.name] then unused[#unused + 1] = attr.name end
  end
  t.is(table.concat(unused, ", "), "", op.name .. ": every attribute is in a case")
  t.ok(has_empty, op.name .. ": a case without elements")
  if has_floats and not no_derivative[op.name] then
    t.ok(op.twice, op.name .. ": can be differentiated any number of times")
  end
  return true
end

-- All of it ---------------------------------------------------------------------------------------

local family_names = {}
for family in pairs(families) do family_names[#family_names + 1] = family end
table.sort(family_names)
for _, family in ipairs(family_names) do
  local missing, list = {}, families[family]
  for name in list:gmatch "%S+" do
    local found, value = pcall(function() return mw[name] end)
    if not found or type(value) ~= "function" then missing[#missing + 1] = name end
  end
  t.is(table.concat(missing, " "), "", "there are all ops of the family " .. family)
end

local formulas, problems = cases.formulas()
t.is(table.concat(problems, "\n"), "", "the plain formulas load, each once")

local shipped = 0
for _, name in ipairs(cases.names()) do
  local op = cases.info(name)
  shipped = shipped + 1
  check_schema(op)
  if check_cases(op) then
    local formula = formulas[name]
    if formula then
      over_cases(op, "the values of its plain formula", function(text)
        return check_formula(op, formula, text)
      end)
    else
      t.ok(false, name .. ": a plain formula in tests/plain")
    end
    over_cases(op, "in f32 as in f64", function(text) return check_single(op, text) end)
    check_nan(op)
    if op.linear then
      over_cases(op, "<A x, y> = <x, A'y>", function(text) return check_linear(op, text) end)
    end
  end
end
t.ok(shipped >= 120, ("%d ops, at least 120 expected"):format(shipped))

-- The test itself notices what is wrong.
t.ok(difference({shape = {2}, 1, 2}, {shape = {2}, 1, 2 + 1e-9}, 1e-12), "a wrong value is noticed")
t.ok(difference({shape = {2}, 1, 2}, {shape = {1, 2}, 1, 2}, 1), "a wrong shape is noticed")
t.ok(difference({shape = {1}, 0 / 0}, {shape = {1}, 1}, 1), "NaN is noticed")
t.ok(check_linear(cases.info "relu", "mw.relu(mw.randn{3,4})"), "relu is noticed not to be linear")
t.done()
