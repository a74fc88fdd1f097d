-- gradcheck.lua: mw.gradcheck, which compares gradients with differences in float64.
--
-- Each element of each input is moved a little, and each output, weighed by random numbers, is
-- looked at for itself. Where both disagree other steps are tried, and it is asked whether the
-- function has a kink there: then its slopes on both sides differ however small the step is. At a
-- kink there is no gradient to compare with, and the element is moved to where there is one.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

-- How far an element is moved away from a kink, relative to what it is if that is above 1.
local MOVES = {0.0317234, -0.0523671, 0.1109357, -0.2291619}

-- Of the estimates, relative to eps: see estimate.
local DISTANCES = {1, 10, 0.1, 0.01}

local function is_float(t)
  return core.is_tensor(t) and (t.dtype == "f32" or t.dtype == "f64")
end

-- Every float tensor among the inputs in float64, with its bytes and what it is called.
local function prepare(inputs, names)
  local n = inputs.n or #inputs
  local args, checked = {n = n}, {}
  for i = 1, n do
    local value = inputs[i]
    args[i] = value
    if is_float(value) then
      local x = core.tensor(value, "f64")
      local name = names[i] or core.name(value)
      args[i] = x
      checked[#checked + 1] = {position = i, tensor = x, bytes = core.bytes(x), shape = x.shape,
        label = ("input %d%s"):format(i, name ~= "" and (" (%s)"):format(name) or "")}
    end
  end
  return args, checked
end

-- The float results of fn(args), each weighed by its entry of `weights`, which is filled on the
-- first call, and summed up. Random numbers that fn draws are the same in each call.
local function objectives(problem, args)
  core.random_restore(problem.random[1], problem.random[2])
  local results = table.pack(problem.fn(table.unpack(args, 1, args.n)))
  local list, weights = {}, problem.weights
  for i = 1, results.n do
    local y = results[i]
    if is_float(y) then
      weights[i] = weights[i] or core.normal(y.shape, 0, 1, y.dtype)
      local term = (y * weights[i]):sum()
      if y.dtype == "f32" then term = term:cast "f64" end
      list[#list + 1] = term
      problem.positions[#list] = i
    end
  end
  if #list == 0 then core.error("gradcheck: the function returned no tensor of f32 or f64") end
  return list
end

local function numbers_of(list)
  core.eval(table.unpack(list))
  local numbers = {}
  for j, y in ipairs(list) do numbers[j] = y:item() end
  return numbers
end

local function element(bytes, k)
  return (("<d"):unpack(bytes, 8 * k + 1))
end

local function replaced(bytes, k, value)
  return bytes:sub(1, 8 * k) .. ("<d"):pack(value) .. bytes:sub(8 * k + 9)
end

-- The arguments with element k (from 0) of an input replaced.
local function with(problem, input, k, value)
  local args = table.move(problem.args, 1, problem.args.n, 1, {n = problem.args.n})
  args[input.position] = core.from_bytes(replaced(input.bytes, k, value), "f64", input.shape)
  return args
end

-- The bytes of the gradients of each output in some of the arguments: list[output][input].
local function gradients(problem, args, inputs)
  local tensors, all, list = {}, {}, {}
  for i, input in ipairs(inputs) do tensors[i] = args[input.position] end
  for j, y in ipairs(objectives(problem, args)) do
    list[j] = core.grad(y, tensors)
    table.move(list[j], 1, #tensors, #all + 1, all)
  end
  core.eval(table.unpack(all))
  for _, row in ipairs(list) do
    for i = 1, #row do row[i] = core.bytes(row[i]) end
  end
  return list
end

local function relative(a, b)
  local gap = math.abs(a - b) / math.max(1, math.abs(a), math.abs(b))
  return gap == gap and gap or math.huge
end

-- The outputs along one element, around a point: at(step) is a list of numbers.
local function line(problem, input, k, point)
  local known = {}
  return function(step)
    if not known[step] then
      known[step] = numbers_of(objectives(problem, with(problem, input, k, point + step)))
    end
    return known[step]
  end
end

-- Estimates of output j's derivative, the cheap one first: by two points, and by four, whose error
-- is of the fourth order, at three distances.
local function estimate(at, j, h, which)
  h = DISTANCES[which] * h
  if which == 1 then return (at(h)[j] - at(-h)[j]) / (2 * h) end
  return (8 * (at(h)[j] - at(-h)[j]) - (at(2 * h)[j] - at(-2 * h)[j])) / (12 * h)
end

-- Whether the slopes on both sides differ, and no less so close by than farther away.
local function has_kink(at, j, h, tolerance)
  local function difference(step)
    return relative((at(step)[j] - at(0)[j]) / step, (at(0)[j] - at(-step)[j]) / step)
  end
  local near, far = difference(h / 10), difference(10 * h)
  return near > 10 * tolerance and near > far / 4
end

-- Compares the gradients of all outputs in one element. Returns the largest error and a text for
-- it, and whether that is at a kink.
local function compare(problem, input, k, point, analytic)
  local at, h = line(problem, input, k, point), problem.eps * math.max(1, math.abs(point))
  local worst, text, kink = -1, nil, false
  for j, a in ipairs(analytic) do
    local gap, numeric = math.huge, nil
    for which = 1, #DISTANCES do
      local n = estimate(at, j, h, which)
      local error = relative(a, n)
      if not numeric or error < gap then gap, numeric = error, n end
      if gap <= problem.tolerance then break end
    end
    if gap > worst then
      local position = problem.positions[j]
      worst = gap
      text = ("the gradient is %.10g, differences give %.10g; output %s"):format(a, numeric,
        problem.outputs[position] or position)
      kink = gap > problem.tolerance and has_kink(at, j, h, problem.tolerance)
    end
  end
  return worst, text, kink
end

-- The same at other places, until one has no kink; nil when all have.
local function compare_aside(problem, input, k, point)
  for _, move in ipairs(MOVES) do
    local moved = point + move * math.max(1, math.abs(point))
    local row = {}
    for j, bytes in ipairs(gradients(problem, with(problem, input, k, moved), {input})) do
      row[j] = element(bytes[1], k)
    end
    local worst, text, kink = compare(problem, input, k, moved, row)
    if not kink then return worst, ("%s; moved to %.6g, off a kink"):format(text, moved) end
  end
end

-- "2,3": where element k (from 0) is, counted from 1
local function place(shape, k)
  local parts = {}
  for axis = #shape, 1, -1 do
    table.insert(parts, 1, tostring(k % shape[axis] + 1))
    k = k // shape[axis]
  end
  return table.concat(parts, ",")
end

-- One element, whose gradients are in `row`, into the report.
local function check_element(problem, report, input, k, row)
  local point = element(input.bytes, k)
  local where = ("%s%s, element [%s]"):format(problem.prefix, input.label, place(input.shape, k))
  local gap, text, kink = compare(problem, input, k, point, row)
  if kink then
    gap, text = compare_aside(problem, input, k, point)
    if not gap then
      report.skipped[#report.skipped + 1] = where .. ": kinks all around"
      return
    end
    report.moved = report.moved + 1
  end
  report.checked = report.checked + 1
  if gap > report.worst then report.worst, report.where = gap, where .. ": " .. text end
end

local function run(problem, report)
  local analytic = gradients(problem, problem.args, problem.checked)
  for i, input in ipairs(problem.checked) do
    for k = 0, #input.bytes // 8 - 1 do
      local row = {}
      for j = 1, #analytic do row[j] = element(analytic[j][i], k) end
      check_element(problem, report, input, k, row)
    end
  end
end

-- The gradients of the outputs, weighed by further arguments, as a function of both: what it is
-- checked in is all that a second derivative is made of.
local function twice(problem)
  local n, positions, dys = problem.args.n, {}, {}
  local args = table.move(problem.args, 1, n, 1, {})
  core.random_restore(problem.random[1], problem.random[2])
  local results = table.pack(problem.fn(table.unpack(args, 1, n)))
  for i = 1, results.n do
    if is_float(results[i]) then
      positions[#positions + 1] = i
      dys[#dys + 1] = core.normal(results[i].shape, 0, 1, "f64")
    end
  end
  local function fn(...)
    local given, tensors, total = table.pack(...), {}, nil
    for i, input in ipairs(problem.checked) do tensors[i] = given[input.position] end
    local ys = table.pack(problem.fn(table.unpack(given, 1, n)))
    for j, i in ipairs(positions) do
      local y = ys[i].dtype == "f64" and ys[i] or ys[i]:cast "f64"
      local term = (y * given[n + j]):sum()
      total = total and total + term or term
    end
    return table.unpack(core.grad(total, tensors))
  end
  local inputs, names, outputs = table.move(dys, 1, #dys, n + 1, args), {}, {}
  inputs.n = n + #dys
  for i, input in ipairs(problem.checked) do
    outputs[i] = "gradient of " .. input.label
    names[input.position] = problem.names[input.position]
  end
  for j, i in ipairs(positions) do
    names[n + j] = "gradient of output " .. (problem.outputs[i] or i)
  end
  return fn, inputs, names, outputs
end

local function new_problem(fn, inputs, names, outputs, options, random, prefix)
  local args, checked = prepare(inputs, names)
  if #checked == 0 then core.error("gradcheck: no input is a tensor of f32 or f64") end
  return {fn = fn, args = args, checked = checked, names = names, outputs = outputs,
    eps = options.eps, tolerance = options.tolerance, random = random, prefix = prefix,
    weights = {}, positions = {}}
end

local function make_report(fn, inputs, options, random)
  local report = {worst = 0, where = "", skipped = {}, checked = 0, moved = 0,
    tolerance = options.tolerance}
  local problem = new_problem(fn, inputs, options.names or {}, options.outputs or {}, options,
    random, "")
  run(problem, report)
  if options.second and report.worst <= options.tolerance then
    local fn2, inputs2, names, outputs = twice(problem)
    run(new_problem(fn2, inputs2, names, outputs, options, random, "second order, "), report)
  end
  local compared = report.checked > 0 or #report.skipped == 0
  report.passed = compared and report.worst <= options.tolerance
  report.message = "gradcheck: nothing could be compared: " .. (report.skipped[1] or "")
  if compared then
    report.message = ("gradcheck: %sthe error %.3g is %s %g"):format(
      report.where ~= "" and report.where .. "; " or "", report.worst,
      report.passed and "within" or "above", options.tolerance)
  end
  return setmetatable(report, {__tostring = function(r) return r.message end})
end

---Compares the gradients of `fn` with central differences, in float64, in every element of every
---float input and for every float output; an output is weighed by random numbers. What is no float
---tensor is passed on as it is. Raises an error that names the worst element, with both numbers,
---when it is off by more than `tolerance`, relative to the gradient where that is above 1. With
---`second` it checks the derivatives of the gradients in the same way.
---
---The report has `worst`, `where` (a text), `passed`, `message`, `checked` and `moved` (how many
---elements were compared, and how many of them aside of a kink), and `skipped` (a list of texts:
---elements with kinks all around, which were not compared).
---@param fn fun(...: moonwalk.Tensor): ...
---@param inputs moonwalk.Tensor[]  with n where there are nils
---@param options? table  eps (1e-5), tolerance (1e-6), second (false), raise (true), and lists of
---  what inputs and results are called: names, outputs
---@return number error  the largest
---@return table report
local function gradcheck(fn, inputs, options)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    check.fail("gradcheck", "fn", fn, "a function")
  elseif type(inputs) ~= "table" then
    check.fail("gradcheck", "the list of inputs", inputs, "one such as {x, w}")
  end
  options = check.options("gradcheck", options,
    {"eps", "tolerance", "second", "raise", "names", "outputs"})
  for _, list in ipairs {"names", "outputs"} do
    if options[list] ~= nil and type(options[list]) ~= "table" then
      check.fail("gradcheck", list, options[list], "a list of names")
    end
  end
  local settings = {names = options.names, outputs = options.outputs,
    eps = check.number("gradcheck", "eps", options.eps, 2^-1022, math.huge, 1e-5),
    tolerance = check.number("gradcheck", "tolerance", options.tolerance, 0, math.huge, 1e-6),
    second = check.boolean("gradcheck", "second", options.second, false)}
  local raises = check.boolean("gradcheck", "raise", options.raise, true)
  -- The generator goes on afterwards as if nothing had been drawn.
  local random = {core.random_state()}
  local succeeded, result = pcall(make_report, fn, inputs, settings, random)
  core.random_restore(random[1], random[2])
  if not succeeded then error(result, 0) end
  if raises and not result.passed then core.error(result.message) end
  return result.worst, result
end

return gradcheck
