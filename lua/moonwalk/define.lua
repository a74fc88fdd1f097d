-- define.lua: mw.op, which makes an op of a Lua function. It brings the description into one form
-- and checks it; define.c registers the op.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local fields = {"name", "doc", "example", "cases", "inputs", "outputs", "attrs", "define", "infer",
  "forward", "backward", "gradient", "backward_needs", "linear", "impure"}
local of_kernels = {"infer", "backward", "gradient", "backward_needs", "linear", "impure"}
local input_fields = {"name", "doc", "optional", "variadic"}
local attr_fields = {"name", "doc", "type", "default", "choices"}
local types = {"int", "float", "bool", "choice", "text", "ints", "axis", "axes"}

local function text_or_nil(where, name, value)
  if value ~= nil and type(value) ~= "string" then check.fail(where, name, value, "a text") end
  return value
end

-- {"x", {"w", optional = true}} -> {{name = "x"}, {name = "w", optional = true}}
local function arguments(where, name, list, known)
  if type(list) ~= "table" or #list == 0 then
    check.fail(where, name, list, 'a list such as {"x"}')
  elseif #list > 8 then
    core.error(("%s: there are %d %s, at most 8 are possible"):format(where, #list, name))
  end
  local result = {}
  for i, given in ipairs(list) do
    local at = ("%s[%d]"):format(name, i)
    local entry = type(given) == "string" and {given} or given
    check.options(where .. ": " .. at, entry, known, true)
    local title = entry.name or entry[1]
    if type(title) ~= "string" then check.fail(where, at, title, "a name") end
    result[i] = {name = title, doc = text_or_nil(where, at .. ".doc", entry.doc),
      optional = entry.optional, variadic = entry.variadic}
  end
  return result
end

local function type_of(default)
  local kind = type(default)
  if kind == "number" then return "float" end
  if kind == "boolean" then return "bool" end
  if kind == "string" then return "text" end
  if kind == "table" then return "ints" end
end

-- A default as the text that a schema holds, with axes counted from 0.
local function initial(where, at, kind, default)
  local counts = kind == "axis" or kind == "axes"
  local function number(value)
    if type(value) ~= "number" then check.fail(where, at .. ".default", value, "a number") end
    if kind == "float" then return ("%.17g"):format(value) end
    local whole = math.tointeger(value)
    if not whole then check.fail(where, at .. ".default", value, "a whole number") end
    return ("%d"):format(whole - (counts and whole > 0 and 1 or 0))
  end
  if type(default) == "table" then
    local parts = {}
    for i, value in ipairs(default) do parts[i] = number(value) end
    return table.concat(parts, ",")
  end
  if type(default) == "number" then return number(default) end
  return tostring(default)
end

local function attributes(where, list)
  if type(list) ~= "table" then
    check.fail(where, "attrs", list, 'a list such as {{"p", default = 1}}')
  elseif #list > 32 then
    core.error(("%s: there are %d attrs, at most 32 are possible"):format(where, #list))
  end
  local result = {}
  for i, given in ipairs(list) do
    local at = ("attrs[%d]"):format(i)
    if type(given) ~= "table" then
      check.fail(where, at, given, 'a table such as {"p", default = 1}')
    end
    check.options(where .. ": " .. at, given, attr_fields, true)
    local name = given.name or given[1]
    if type(name) ~= "string" then check.fail(where, at, name, "a name") end
    local kind = given.type or given.choices and "choice" or type_of(given.default)
    if not kind then
      core.error(("%s: %s (%s) has neither a default nor a type: %s"):format(where, at, name,
        table.concat(types, ", ")))
    end
    check.choice(where, at .. ".type", kind, types)
    if (kind == "choice") ~= (type(given.choices) == "table") then
      check.fail(where, at .. ".choices", given.choices,
        'a list such as {"mean", "sum"} for a choice')
    end
    result[i] = {name = name, type = kind, doc = text_or_nil(where, at .. ".doc", given.doc),
      choices = given.choices and table.concat(given.choices, "|"),
      initial = given.default ~= nil and initial(where, at, kind, given.default) or nil}
  end
  return result
end

-- The function of that name in the description, or nil.
local function part(where, description, name)
  local value = description[name]
  if value == nil or type(value) == "function" then return value end
  check.fail(where, name, value, "a function")
end

-- What backward reads, by name, as the bits that moonwalk.h gives inputs and outputs; all if it is
-- not said.
local function needs(where, given, inputs, outputs)
  local bits, all, names = {}, 0, {}
  local function add(list, first)
    for i, entry in ipairs(list) do
      bits[entry.name] = 1 << (first + i - 1)
      all = all | bits[entry.name]
      names[#names + 1] = entry.name
    end
  end
  add(inputs, 0)
  add(outputs, 8)
  if given == nil then return all end
  if type(given) ~= "table" then
    check.fail(where, "backward_needs", given, 'a list such as {"x"}')
  end
  local mask = 0
  for i, name in ipairs(given) do
    check.choice(where, ("backward_needs[%d]"):format(i), name, names)
    mask = mask | bits[name]
  end
  return mask
end

-- Fills in the functions of an op that has kernels.
local function kernels(where, description, op)
  if description.define then
    core.error(where .. ": it has both define, which builds the result out of other ops, and "
      .. "forward, which computes it")
  end
  op.forward = part(where, description, "forward")
  op.infer = part(where, description, "infer")
  op.backward = part(where, description, "backward")
  op.gradient = part(where, description, "gradient")
  op.linear = check.boolean(where, "linear", description.linear, false)
  op.impure = check.boolean(where, "impure", description.impure, false)
  op.backward_needs = needs(where, description.backward_needs, op.inputs, op.outputs)
  if op.linear and not op.backward then
    core.error(where .. ": it is linear, but has no backward")
  end
end

---Makes an op of Lua functions, to be used like any other: mw.NAME(...), x:NAME(...), in nn, help
---and gradients. Either `define(inputs ..., attrs)` builds the outputs out of other ops, from which
---derivatives of every order follow; it is called whenever the op is applied:
---
---    mw.op {name = "swish", inputs = {"x"}, attrs = {{"beta", default = 1}},
---           define = function(x, attrs) return x * mw.sigmoid(attrs.beta * x) end}
---
---or `forward(inputs ..., outputs ..., attrs)` computes them, element by element:
---
---    mw.op {name = "double", forward = function(x, y) for i = 1, #x do y[i] = 2 * x[i] end end,
---           backward = function(x, y, dy, dx) for i = 1, #dy do dx[i] = 2 * dy[i] end end}
---
---Buffers have x[i] (from 1, in row-major order), x[{i, j}], x:get(i, j), y:set(i, j, value),
---#x, x.shape, x.dtype, y:fill(value), y:copy(tensor), x:tensor(). Inputs can only be read, outputs
---are zeros at first, and after the call no buffer can be used. A variadic input is a list.
---
---`infer(specs ..., attrs)` gets {shape, dtype, count} of each input and returns
---{shape = ..., dtype = ...} for each output; what it leaves out is as in the first input.
---`backward(inputs ..., outputs ..., douts ..., dins ..., attrs)` fills those dins that are there;
---a dout that is nil means zeros. `backward_needs` lists the inputs and outputs that it reads.
---`gradient(inputs ..., outputs ..., douts ..., attrs)` returns the gradients made of other ops,
---for derivatives of every order; so has an op with `linear = true`, which says that it is linear
---in its inputs taken together. `impure`: two equal calls may differ.
---
---An attribute has a name, a default (else it is required), and a type (int, float, bool, choice,
---text, ints, axis or axes), which a default implies: a number means float.
---@param description table  name, doc, example, cases, inputs, outputs, attrs, and either define,
---  or forward with infer, backward, backward_needs, gradient, linear, impure
---@return function  mw.NAME
local function op(description)
  if type(description) ~= "table" then check.fail("op", "the argument", description, "a table") end
  check.options("op", description, fields)
  local name = description.name
  if type(name) ~= "string" then check.fail("op", "name", name, 'a name such as "swish"') end
  local where = "op " .. name
  local define = part(where, description, "define")
  local forward = part(where, description, "forward")
  if not (define or forward) then
    core.error(where .. ": it has neither define nor forward, which are functions")
  end
  local cases = description.cases or {}
  if type(cases) ~= "table" then check.fail(where, "cases", cases, "a list of Lua expressions") end
  for i, case in ipairs(cases) do
    if type(case) ~= "string" or case:find "\n" then
      check.fail(where, ("cases[%d]"):format(i), case, "a Lua expression on one line")
    end
  end
  local source = debug.getinfo(forward or define, "S")
  local made = {
    name = name,
    doc = text_or_nil(where, "doc", description.doc) or "An op in Lua.",
    example = text_or_nil(where, "example", description.example) or ("mw.%s"):format(name),
    cases = table.concat(cases, "\n"),
    inputs = arguments(where, "inputs", description.inputs or {"x"}, input_fields),
    outputs = arguments(where, "outputs", description.outputs or {"y"}, {"name", "doc"}),
    attrs = attributes(where, description.attrs or {}),
    define = define,
  }
  if forward then
    kernels(where, description, made)
  else
    for _, field in ipairs(of_kernels) do
      if description[field] ~= nil then
        core.error(("%s: %s goes with forward; what define builds has derivatives by itself")
          :format(where, field))
      end
    end
  end
  core.define(made, ("%s:%d"):format(source.short_src, source.linedefined))
  return core.op(name)
end

return op
