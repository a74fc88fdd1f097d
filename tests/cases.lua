-- cases.lua: the examples that ops declare, taken apart into inputs and attributes. Every test that
-- walks the registry goes over these.

local mw = require "moonwalk"
local core = mw.core

local cases = {}

local formats = {f32 = "<f", f64 = "<d", i32 = "<i4", i64 = "<i8", u8 = "B", bool = "B"}

---The names of all ops in order.
---@return string[]
function cases.names()
  local names = {}
  for name in pairs(core.ops()) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local infos = {}

---What the registry knows of an op.
function cases.info(name)
  infos[name] = infos[name] or core.op_info(name)
  return infos[name]
end

---Whether the dtype is f32 or f64.
function cases.is_float(tensor)
  return tensor.dtype == "f32" or tensor.dtype == "f64"
end

-- Tensors from and to lists -----------------------------------------------------------------------

---A tensor as an array for the plain formulas: {shape = {2, 3}, dtype = "f32", 1, 2, ...}, its
---bools as true and false.
function cases.array(tensor)
  local dtype, bytes = tensor.dtype, core.bytes(tensor)
  local list, format = {shape = tensor.shape, dtype = dtype}, formats[dtype]
  local size = string.packsize(format)
  for i = 1, #bytes // size do
    local value = format:unpack(bytes, (i - 1) * size + 1)
    if dtype == "bool" then value = value ~= 0 end
    list[i] = value
  end
  return list
end

---The tensor with those elements.
function cases.tensor(list, dtype, shape)
  local parts, format = {}, formats[dtype]
  for i = 1, #list do
    local value = list[i]
    if type(value) == "boolean" then value = value and 1 or 0 end
    parts[i] = format:pack(value)
  end
  return core.from_bytes(table.concat(parts), dtype, shape)
end

---The same elements in another tensor, of another dtype if one is given.
function cases.copy(tensor, dtype)
  return cases.tensor(cases.array(tensor), dtype or tensor.dtype, tensor.shape)
end

-- Attributes --------------------------------------------------------------------------------------

local function numbers(text)
  local list = {}
  for number in text:gmatch "[^,]+" do list[#list + 1] = math.tointeger(tonumber(number)) end
  return list
end

local readers = {
  int = function(text) return math.tointeger(tonumber(text)) end,
  axis = function(text) return math.tointeger(tonumber(text)) end,
  float = function(text)
    return tonumber(text) or text == "inf" and math.huge or text == "-inf" and -math.huge
      or text == "nan" and 0 / 0
  end,
  bool = function(text) return text == "true" end,
  choice = function(text) return text end,
  text = function(text) return text end,
  ints = numbers,
  axes = numbers,
}

-- The attribute that values without a name are for.
local function main_attr(info)
  local required
  for _, attr in ipairs(info.attrs) do
    if attr.required and required then return nil end
    required = attr.required and attr or required
  end
  return required or info.attrs[1]
end

-- All attributes by name, lists as tables: those that are given, and else their defaults.
local function attributes(info, given)
  local attrs = {}
  for _, attr in ipairs(info.attrs) do
    local value = given[attr.name]
    if value == nil and not attr.required then value = readers[attr.type](attr.default) end
    if (attr.type == "ints" or attr.type == "axes") and type(value) == "number" then
      value = {value}
    end
    attrs[attr.name] = value
  end
  return attrs
end

-- Taking a case apart -----------------------------------------------------------------------------

-- What the expression calls mw.NAME with.
local function arguments(name, expression)
  local captured
  local function capture(...)
    captured = table.pack(...)
    return mw.zeros {1}
  end
  local face = setmetatable({[name] = capture}, {__index = mw})
  assert(load("return " .. expression, "=case", "t", {mw = face, math = math}))()
  if not captured then error("the case does not call mw." .. name, 0) end
  return captured
end

-- A number between tensors has the dtype of the first of them, but a bool one only if all are.
local function dtype_beside(captured)
  local found
  for i = 1, captured.n do
    local value = captured[i]
    if core.is_tensor(value) then
      if value.dtype ~= "bool" then return value.dtype end
      found = found or "bool"
    end
  end
  return found or "f32"
end

---@class cases.Case
---@field name string
---@field text string the expression
---@field inputs table tensors with values, nil where an optional one is absent; `n` of them
---@field given table the attributes that the case gives, by name
---@field attrs table all attributes, with the schema's defaults
---@field random integer[] the generator's state for the call

local function set_main(case, info, value)
  local attr = main_attr(info)
  if not attr then error("a value without a name, and no main attribute", 0) end
  if type(value) == "table" and #value == 1 and attr.type ~= "ints" and attr.type ~= "axes" then
    value = value[1]
  end
  case.given[attr.name] = value
end

local function add_table(case, info, value)
  if core.is_tensor(value[1]) then
    for _, tensor in ipairs(value) do
      case.inputs.n = case.inputs.n + 1
      case.inputs[case.inputs.n] = tensor
    end
    return
  end
  local attr = main_attr(info)
  local is_empty_list = next(value) == nil and attr and attr.required
  if #value > 0 or is_empty_list then
    set_main(case, info, table.move(value, 1, #value, 1, {}))
  end
  for key, item in pairs(value) do
    if type(key) == "string" then case.given[key] = item end
  end
end

-- The random numbers of a case depend on nothing but its text.
local function seed_of(text)
  local seed = 0
  for i = 1, #text do seed = (seed * 31 + text:byte(i)) & 0x7fffffff end
  return seed
end

---The inputs and attributes of a case. f32 inputs have the dtype `float`: the same numbers.
---@param name string
---@param text string
---@param float "f32"|"f64"
---@return cases.Case
function cases.read(name, text, float)
  mw.seed(seed_of(text))
  local info, captured = cases.info(name), arguments(name, text)
  local case = {name = name, text = text, inputs = {n = 0}, given = {}}
  local last = info.inputs[#info.inputs]
  local declared = last and last.variadic and math.huge or #info.inputs
  for i = 1, captured.n do
    local value, inputs = captured[i], case.inputs
    local is_number = type(value) == "number" or type(value) == "boolean"
    if is_number and inputs.n < declared then
      local dtype = type(value) == "boolean" and "bool" or dtype_beside(captured)
      value = cases.tensor({value}, dtype, {})
    end
    if core.is_tensor(value) or value == nil then
      if inputs.n < declared then
        inputs.n = inputs.n + 1
        inputs[inputs.n] = value
      end
    elseif type(value) == "table" then
      add_table(case, info, value)
    else
      set_main(case, info, value)
    end
  end
  for i = 1, case.inputs.n do
    local value = case.inputs[i]
    if value then
      local dtype = value:eval().dtype
      case.inputs[i] = cases.copy(value, dtype == "f32" and float or dtype)
    end
  end
  case.attrs = attributes(info, case.given)
  case.random = {core.random_state()}
  return case
end

-- Calling it --------------------------------------------------------------------------------------

---The case's inputs with some put in their place: {[2] = tensor}.
function cases.with(case, others)
  local inputs = table.move(case.inputs, 1, case.inputs.n, 1, {n = case.inputs.n})
  for i, value in pairs(others) do inputs[i] = value end
  return inputs
end

---The op's outputs. Random numbers that it draws are the same in each call.
---@param case cases.Case
---@param inputs? table others than the case's
---@return table outputs
function cases.call(case, inputs)
  inputs = inputs or case.inputs
  local list = table.move(inputs, 1, case.inputs.n, 1, {})
  local n = case.inputs.n
  if next(case.given) then
    n = n + 1
    list[n] = case.given
  end
  core.random_restore(case.random[1], case.random[2])
  return {core.call(case.name, table.unpack(list, 1, n))}
end

---The name of the case's i-th input, as the schema has it.
function cases.input_name(case, i)
  local inputs = cases.info(case.name).inputs
  return inputs[math.min(i, #inputs)].name
end

---Positions of the inputs that are float tensors.
---@return integer[]
function cases.floats(case)
  local list = {}
  for i = 1, case.inputs.n do
    local value = case.inputs[i]
    if value and cases.is_float(value) then list[#list + 1] = i end
  end
  return list
end

---A tensor of the same dtype and shape with normal random elements.
function cases.random_like(tensor)
  return core.normal(tensor.shape, 0, 1, tensor.dtype):eval()
end

---The sum of <a[i], b[i]> as a scalar tensor, or nil.
function cases.dot(a, b)
  local total
  for i = 1, #a do
    local term = (a[i] * b[i]):sum()
    total = total and total + term or term
  end
  return total
end

---The plain formulas of all files in tests/plain by the op's name.
---@return table<string, function> formulas, string[] problems
function cases.formulas()
  local formulas, problems = {}, {}
  local list = assert(io.popen "ls tests/plain/*.lua")
  for path in list:lines() do
    local family = path:match "([%w_]+)%.lua$"
    if family ~= "nd" then
      local succeeded, loaded = pcall(require, "plain." .. family)
      if not succeeded or type(loaded) ~= "table" then
        problems[#problems + 1] = path .. ": " .. tostring(loaded)
        loaded = {}
      end
      for name, formula in pairs(loaded) do
        if formulas[name] then problems[#problems + 1] = path .. " has " .. name .. " once more" end
        formulas[name] = formula
      end
    end
  end
  list:close()
  return formulas, problems
end

return cases
