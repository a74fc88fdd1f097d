-- gate/cases.lua: the calls that an op declares as its example and cases, taken apart, so that they
-- can be made again with tensors of other dtypes and shapes.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"

local cases = {}

---@class gate.Case
---@field op table as core.op_info gives it
---@field text string the expression, and what is changed about it
---@field args table what the op is called with; `n` of them
---@field places table[] of each tensor: where it stands in args, {3} or {1, 2}
---@field tensors moonwalk.Tensor[] with values
---@field variant "f32"|"f64"|"as they are"
---@field random integer[] the generator's state for the call
---@field partner gate.Case? the same in f64

local function is_float(tensor) return tensor.dtype == "f32" or tensor.dtype == "f64" end

-- The random numbers of a case depend on nothing but its text.
local function seed_of(text)
  local seed = 0
  for i = 1, #text do seed = (seed * 31 + text:byte(i)) & 0x7fffffff end
  return seed
end

-- What the expression calls mw.NAME with.
local function arguments(name, text)
  local mw, captured = require "moonwalk", nil
  core.seed(seed_of(text))
  local function capture(...)
    captured = captured or table.pack(...)
    return core.zeros {1}
  end
  local face = setmetatable({[name] = capture}, {__index = mw})
  local chunk, problem = load("return " .. text, "=case", "t", {mw = face, math = math})
  if not chunk then error(("%s: %s"):format(text, problem), 0) end
  local succeeded, message = pcall(chunk)
  if not captured then
    error(succeeded and ("%s: it does not call mw.%s"):format(text, name)
      or ("%s: %s"):format(text, message), 0)
  end
  return captured
end

local function read(op, text)
  local args = arguments(op.name, text)
  local case = {op = op, text = text, args = args, places = {}, tensors = {},
    variant = "as they are", random = {core.random_state()}}
  local function add(tensor, ...)
    case.places[#case.places + 1] = {...}
    case.tensors[#case.tensors + 1] = core.from_bytes(core.bytes(tensor:eval()), tensor.dtype,
      tensor.shape)
  end
  for i = 1, args.n do
    if core.is_tensor(args[i]) then
      add(args[i], i)
    elseif type(args[i]) == "table" then
      for j, item in ipairs(args[i]) do
        if core.is_tensor(item) then add(item, i, j) end
      end
    end
  end
  return case
end

---The case with other tensors, which its text says something of.
---@param case gate.Case
---@param tensors moonwalk.Tensor[]
---@param note? string
---@return gate.Case
local function with(case, tensors, note)
  local copy = setmetatable({tensors = tensors, partner = false, weights = false}, {__index = case})
  copy.text = note and ("%s with %s"):format(case.text, note) or case.text
  return copy
end
cases.with = with

local function in_dtype(case, dtype)
  local tensors = {}
  for i, tensor in ipairs(case.tensors) do
    tensors[i] = tensor.dtype == "f32" and tensor:cast(dtype):eval() or tensor
  end
  local copy = with(case, tensors)
  copy.variant = dtype
  return copy
end

---The call that an expression makes, its tensors of f32 in another dtype if one is given.
---@param op table  as core.op_info gives it
---@param text string
---@param dtype? "f32"|"f64"
---@return gate.Case
function cases.read(op, text, dtype)
  local case = read(op, text)
  return dtype and dtype ~= "f32" and in_dtype(case, dtype) or case
end

---Which dtypes the op's kernels serve, or those of that name. What is made of other ops serves f32
---and f64.
---@param name string
---@param kernel? string
---@return table<string, boolean>
function cases.served(name, kernel)
  local dtypes, any = {}, false
  for line in core.kernel_list(name):gmatch "[^\n]+" do
    local kernel_name, dtype = line:match "^(%S+) (%w+) "
    if not line:find "%(set aside%)$" and (not kernel or kernel_name == kernel) then
      dtypes[dtype], any = true, true
    end
  end
  if not any or dtypes.every then dtypes.f32, dtypes.f64 = true, true end
  return dtypes
end

---Fills subject.list with the cases, in f32 and in f64 where they have inputs of f32 and kernels
---serve it, and subject.variants with which these are.
function cases.read_all(subject)
  local list, seen = {}, {}
  subject.list, subject.variants = list, {}
  local function add(case)
    list[#list + 1] = case
    if not seen[case.variant] then table.insert(subject.variants, case.variant) end
    seen[case.variant] = true
  end
  for _, text in ipairs(subject.op.cases) do
    local case, has_f32 = read(subject.op, text), false
    for _, tensor in ipairs(case.tensors) do has_f32 = has_f32 or tensor.dtype == "f32" end
    local in_f64 = has_f32 and subject.dtypes.f64 and in_dtype(case, "f64") or nil
    if has_f32 and subject.dtypes.f32 then
      case.variant = "f32"
      case.partner = in_f64
      add(case)
    end
    if in_f64 then add(in_f64) end
    if not has_f32 then add(case) end
  end
  if #list == 0 then error("no case has a dtype that its kernels serve", 0) end
end

---The op's results for these tensors. Random numbers that it draws are the same in each call.
function cases.call(case, tensors)
  local args = table.move(case.args, 1, case.args.n, 1, {})
  for i, place in ipairs(case.places) do
    local at, inside = place[1], place[2]
    if inside then
      if args[at] == case.args[at] then
        local copy = {}
        for key, value in pairs(args[at]) do copy[key] = value end
        args[at] = copy
      end
      args[at][inside] = tensors[i]
    else
      args[at] = tensors[i]
    end
  end
  core.random_restore(case.random[1], case.random[2])
  return core.call(case.op.name, table.unpack(args, 1, case.args.n))
end

function cases.outputs(case)
  return {cases.call(case, case.tensors)}
end

---What the i-th tensor is called.
function cases.input_name(case, i)
  local inputs = case.op.inputs
  local place = case.places[i]
  local at = place[2] and place[1] + place[2] - 1 or place[1]
  return inputs[math.min(at, #inputs)].name
end

function cases.has_floats(case)
  for _, tensor in ipairs(case.tensors) do
    if is_float(tensor) then return true end
  end
  return false
end

-- Gradients ---------------------------------------------------------------------------------------

-- By what the outputs are weighed; the same each time.
local function weight(case, j, y)
  case.weights = case.weights or {}
  if not case.weights[j] then
    core.seed(7 + j)
    case.weights[j] = core.normal(y.shape, 0, 1, y.dtype):eval()
  end
  return case.weights[j]
end

-- The gradients, in the tensors of those positions, of those outputs.
local function gradients(case, ys, outputs, positions)
  local total, xs, list = nil, {}, {}
  for _, j in ipairs(outputs) do
    local term = (ys[j] * weight(case, j, ys[j])):sum()
    if term.dtype ~= "f64" then term = term:cast "f64" end
    total = total and total + term or term
  end
  for i, position in ipairs(positions) do xs[i] = case.tensors[position] end
  for i, tensor in ipairs(core.grad(total, xs)) do
    list[i] = {tensor = tensor, name = "the gradient of " .. cases.input_name(case, positions[i])}
  end
  return list
end

---What a case computes, part by part: all results and gradients; the results alone; and gradients
---in one input or of one output alone, as kernels are asked for them too. A list of {results =
---{{name, tensor}, ...}}, none of which has a value.
function cases.parts(case)
  local ys, results, floats, positions = cases.outputs(case), {}, {}, {}
  for j, y in ipairs(ys) do
    results[j] = {tensor = y, name = case.op.outputs[math.min(j, #case.op.outputs)].name}
    if is_float(y) then floats[#floats + 1] = j end
  end
  for i, tensor in ipairs(case.tensors) do
    if is_float(tensor) then positions[#positions + 1] = i end
  end
  if not case.op.differentiable or #floats == 0 or #positions == 0 then
    return {{results = results}}
  end
  local all = table.move(results, 1, #results, 1, {})
  local grads = gradients(case, ys, floats, positions)
  local parts = {{results = table.move(grads, 1, #grads, #all + 1, all)}, {results = results}}
  for _, position in ipairs(#positions > 1 and positions or {}) do
    parts[#parts + 1] = {results = gradients(case, ys, floats, {position})}
  end
  for _, j in ipairs(#floats > 1 and floats or {}) do
    parts[#parts + 1] = {results = gradients(case, ys, {j}, positions)}
  end
  return parts
end

-- Other shapes ------------------------------------------------------------------------------------

-- The tensor with another size of an axis: its rows repeated, or fewer.
local function resized(tensor, axis, size)
  local shape, bytes = tensor.shape, core.bytes(tensor)
  local outer, rows = 1, shape[axis]
  for k = 1, axis - 1 do outer = outer * shape[k] end
  local width = outer * rows > 0 and #bytes // (outer * rows) or 0
  if width == 0 and size > 0 then return nil end
  local parts = {}
  for o = 0, outer - 1 do
    for i = 0, size - 1 do
      local from = (o * rows + i % rows) * width
      parts[#parts + 1] = bytes:sub(from + 1, from + width)
    end
  end
  shape[axis] = size
  return core.from_bytes(table.concat(parts), tensor.dtype, shape)
end

-- All tensors whose first, or last, axis has the size that the first one's has; or the first alone.
local function resize_case(case, from_end, size, alone)
  local first = case.tensors[1]
  local shape = first and first.shape or {}
  local axis = from_end and #shape or 1
  if #shape == 0 or shape[axis] == size or shape[axis] == 0 then return nil end
  local tensors, n = {}, 0
  for i, tensor in ipairs(case.tensors) do
    local own = tensor.shape
    local at = from_end and #own or 1
    tensors[i] = tensor
    if #own > 0 and own[at] == shape[axis] and (i == 1 or not alone) then
      tensors[i] = resized(tensor, at, size)
      if not tensors[i] then return nil end
      n = n + 1
    end
  end
  if alone and n == #case.tensors and n == 1 then return nil end -- the same as not alone
  local new = tensors[1].shape
  return with(case, tensors, ("%s of shape {%s}"):format(cases.input_name(case, 1),
    table.concat(new, ",")))
end

---The case with other sizes of the first and of the last axis: odd ones, 1, and 0.
function cases.varied(case)
  local list = {}
  for _, size in ipairs {0, 1, 7, 17} do
    for _, from_end in ipairs {false, true} do
      for _, alone in ipairs {false, true} do
        local varied = resize_case(case, from_end, size, alone and #case.tensors > 1)
        if varied and (not alone or #case.tensors > 1) then list[#list + 1] = varied end
      end
    end
  end
  return list
end

-- Kernels cut their work into chunks of some ten thousand elements.
local ENOUGH, TOO_MANY = 40000, 2000000

---The case with its inputs repeated along their first axis, all of them or the first alone, until
---they have at least that many elements; nil when the op takes none such.
---@param case gate.Case
---@param enough? integer
function cases.grown(case, enough)
  local largest = 0
  for _, tensor in ipairs(case.tensors) do largest = math.max(largest, amounts.elements(tensor)) end
  if largest == 0 then return nil end
  local times = (enough or ENOUGH) // largest + 1
  for _, last in ipairs {#case.tensors, 1} do
    local tensors = table.move(case.tensors, 1, #case.tensors, 1, {})
    for i = 1, last do
      local shape = tensors[i].shape
      if #shape > 0 then
        shape[1] = shape[1] * times
        tensors[i] = core.from_bytes(core.bytes(tensors[i]):rep(times), tensors[i].dtype, shape)
      end
    end
    local larger = with(case, tensors, ("its inputs repeated %d times"):format(times))
    local succeeded, outputs = pcall(cases.outputs, larger)
    local count = 0
    for _, y in ipairs(succeeded and outputs or {}) do count = count + amounts.elements(y) end
    if succeeded and count <= math.max(TOO_MANY, 2 * (enough or 0)) then return larger end
  end
end

return cases
