-- schema.lua: what the registry knows of an op, in words: for mw.help and for the pages that
-- `moonwalk help --pages` writes.

local core = require "moonwalk.core"

local schema = {}

-- A default as it is written in Lua.
local function default_text(attr)
  local text = attr.default
  if attr.type == "choice" or attr.type == "text" then return ("%q"):format(text) end
  if text:find "," or text == "" then return "{" .. text:gsub(",", ", ") .. "}" end
  if text:find "inf" then return (text:gsub("inf", "math.huge")) end
  return text
end

---"mw.conv2d(x, w, b?, {stride = 1, ...}) -> y"
---@param op table as core.op_info gives it
---@return string
function schema.signature(op)
  local args, attrs, outputs = {}, {}, {}
  for i, input in ipairs(op.inputs) do
    args[i] = input.name .. (input.variadic and ", ..." or input.optional and "?" or "")
  end
  for i, attr in ipairs(op.attrs) do
    attrs[i] = attr.name .. (attr.required and "" or " = " .. default_text(attr))
  end
  if #attrs > 0 then args[#args + 1] = "{" .. table.concat(attrs, ", ") .. "}" end
  for i, output in ipairs(op.outputs) do outputs[i] = output.name end
  return ("mw.%s(%s) -> %s"):format(op.name, table.concat(args, ", "), table.concat(outputs, ", "))
end

---The first sentence of the op's doc.
function schema.summary(op)
  local doc = (op.doc or ""):gsub("\n", " ")
  return doc:match "^(.-%.)%f[%s\0]" or doc
end

---The inputs, or the outputs: {{name, note, doc}, ...}
function schema.arguments(args)
  local rows = {}
  for i, arg in ipairs(args) do
    local note = (arg.optional or arg.key) and "optional" or arg.variadic and "one or more" or ""
    rows[i] = {arg.name, note, arg.doc or ""}
  end
  return rows
end

local type_names = {
  int = "integer", float = "number", bool = "boolean", text = "string",
  ints = "integer or list", axis = "axis, from 1", axes = "axis or list, from 1",
}

local function number_text(number)
  return math.abs(number) < 1e15 and math.tointeger(number) and ("%d"):format(number)
    or ("%g"):format(number)
end

local function bounds(attr)
  local parts = {}
  if attr.least and attr.most >= 2^53 then
    parts[1] = "at least " .. number_text(attr.least)
  elseif attr.least then
    parts[1] = ("%s to %s"):format(number_text(attr.least), number_text(attr.most))
  end
  if attr.lengths then parts[#parts + 1] = table.concat(attr.lengths, " or ") .. " of them" end
  return table.concat(parts, ", ")
end

---The attributes: {{name, type, default, bounds, doc}, ...}
function schema.attributes(op)
  local rows = {}
  for i, attr in ipairs(op.attrs) do
    rows[i] = {
      attr.name,
      attr.choices and table.concat(attr.choices, " | ") or type_names[attr.type],
      attr.required and "required" or default_text(attr),
      bounds(attr),
      attr.doc or "",
    }
  end
  return rows
end

local function dtypes(op)
  local seen, list = {}, {}
  for line in core.kernel_list(op.name):gmatch "[^\n]+" do
    local dtype = line:match "^%S+ (%w+) "
    if dtype == "every" then return "every dtype" end
    if not seen[dtype] and not line:find "%(set aside%)$" then
      list[#list + 1], seen[dtype] = dtype, true
    end
  end
  return #list > 0 and table.concat(list, ", ") or "those of the ops that it is made of"
end

---What else is known: {{"Dtypes", "f32, f64"}, {"Derivative in x", "dy * cos(x)"}, ...}
function schema.facts(op)
  local facts = {}
  local function add(what, text) facts[#facts + 1] = {what, text} end
  if op.formula then
    add("Made of", ("%s = %s"):format(op.outputs[1].name, op.formula))
  elseif op.composed then
    add("Made of", "other ops")
  end
  for _, input in ipairs(op.inputs) do
    local derivative = op.derivative[input.name]
    if derivative then add(("d%s"):format(input.name), derivative) end
  end
  add("Dtypes", dtypes(op))
  add("Derivatives", op.twice and "any number of times"
    or op.differentiable and "once" or "none")
  if op.linear then add("Linear", "yes, in its float inputs taken together") end
  return facts
end

---The lines of Lua that show an example: the call, and a print for each output.
---@param op table
---@param expression string
---@return string
function schema.example_code(op, expression)
  local names = {}
  for i, output in ipairs(op.outputs) do names[i] = output.name end
  if #names == 1 then return ("print(%s)\n"):format(expression) end
  local lines = {("local %s = %s\n"):format(table.concat(names, ", "), expression)}
  for _, name in ipairs(names) do lines[#lines + 1] = ("print(%s)\n"):format(name) end
  return table.concat(lines)
end

---What the lines print after mw.seed(1), or nil and why they fail. The generator goes on afterwards
---as if nothing had been drawn.
---@param code string
---@return string? printed, string? message
function schema.run(code)
  local mw, printed = require "moonwalk", {}
  local function capture(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    printed[#printed + 1] = table.concat(parts, "\t") .. "\n"
  end
  local random = {core.random_state()}
  core.seed(1)
  local chunk, message = load(code, "=example", "t", setmetatable({mw = mw, print = capture},
    {__index = _G}))
  local succeeded = chunk ~= nil
  if chunk then succeeded, message = pcall(chunk) end
  core.random_restore(random[1], random[2])
  if not succeeded then return nil, tostring(message) end
  return table.concat(printed)
end

return schema
