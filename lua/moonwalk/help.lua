-- help.lua: mw.help, which shows what the registry knows of an op.

local core = require "moonwalk.core"

-- A default as it is written in Lua.
local function default_text(attr)
  local text = attr.default
  if attr.type == "choice" or attr.type == "text" then return ("%q"):format(text) end
  if text:find "," or text == "" then return "{" .. text:gsub(",", ", ") .. "}" end
  return text
end

local WIDTH = 80

-- The text in lines of WIDTH, those after the first indented like the first; its own line breaks
-- stay.
local function wrapped(first, indent, text)
  local lines, line = {}, first
  for paragraph in (text .. "\n"):gmatch "(.-)\n" do
    for word in paragraph:gmatch "%S+" do
      local gap = line:match "%S$" and " " or ""
      if #line + #gap + #word > WIDTH and line:find "%S" then
        lines[#lines + 1] = line
        line, gap = (" "):rep(indent), ""
      end
      line = line .. gap .. word
    end
    lines[#lines + 1] = line
    line = (" "):rep(indent)
  end
  return table.concat(lines, "\n")
end

-- "mw.conv2d(x, w, b?, {stride = 1, ...}) -> y"
local function signature(op)
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

local type_names = {
  int = "integer", float = "number", bool = "boolean", text = "string",
  ints = "integer or list", axis = "axis, from 1", axes = "axis or list, from 1",
}

local function attr_lines(lines, op)
  for _, attr in ipairs(op.attrs) do
    local kind = attr.choices and table.concat(attr.choices, " | ") or type_names[attr.type]
    local default = attr.required and "required" or "default " .. default_text(attr)
    lines[#lines + 1] = wrapped(("  %-18s "):format(attr.name), 21, ("%s (%s)%s")
      :format(kind, default, attr.doc and ": " .. attr.doc or ""))
  end
end

local function arg_lines(lines, args)
  for _, arg in ipairs(args) do
    if arg.doc then
      local note = arg.optional and " (optional)" or arg.variadic and " (one or more)" or ""
      lines[#lines + 1] = wrapped(("  %-18s "):format(arg.name), 21, arg.doc .. note)
    end
  end
end

local function op_text(op)
  local lines = {wrapped("", 4, signature(op)), "", wrapped("", 0, op.doc or ""), ""}
  local described = #lines
  arg_lines(lines, op.inputs)
  arg_lines(lines, op.outputs)
  attr_lines(lines, op)
  if #lines > described then lines[#lines + 1] = "" end
  if op.example then lines[#lines + 1] = wrapped("Example: ", 4, op.example) end
  lines[#lines + 1] = op.twice and "Can be differentiated any number of times."
    or op.differentiable and "Can be differentiated once."
    or "Cannot be differentiated."
  return table.concat(lines, "\n")
end

local function list_text()
  local names, lines = {}, {}
  for name in pairs(core.ops()) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local doc = core.op_info(name).doc or ""
    lines[i] = wrapped(("  %-18s "):format(name), 21,
      doc:match "^[^\n]-%.%f[%s\0]" or doc:match "^[^\n]*")
  end
  table.insert(lines, 1, "The ops; mw.help \"conv2d\" shows one of them:")
  return table.concat(lines, "\n")
end

---Prints what an op does, with its arguments, attributes and an example; without a name lists all
---ops.
---@param name? string
---@param as_text? boolean  true returns the text instead of printing it
---@return string?
local function help(name, as_text)
  local op = type(name) == "string" and core.op_info(name)
  if name ~= nil and not op then
    local near = core.near(tostring(name))
    core.error(("help: there is no op '%s'%s"):format(tostring(name),
      near and ("; did you mean '%s'?"):format(near) or ""))
  end
  local text = op and op_text(op) or list_text()
  if as_text then return text end
  print(text)
end

return help
