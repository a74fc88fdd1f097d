-- help.lua: mw.help, which shows what the registry knows of an op.

local core = require "moonwalk.core"
local schema = require "moonwalk.schema"

local WIDTH, MOST_LINES = 80, 12

-- The text in lines of WIDTH, those after the first indented; its own line breaks stay.
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

local function row(name, text)
  return wrapped(("  %-18s "):format(name), 21, text)
end

local function attr_lines(lines, op)
  for _, attr in ipairs(schema.attributes(op)) do
    local name, kind, default, bounds, doc = table.unpack(attr)
    local note = default == "required" and default or "default " .. default
    if bounds ~= "" then note = note .. "; " .. bounds end
    lines[#lines + 1] = row(name, ("%s (%s)%s"):format(kind, note, doc ~= "" and ": " .. doc or ""))
  end
end

local function arg_lines(lines, args)
  for _, arg in ipairs(schema.arguments(args)) do
    local name, note, doc = table.unpack(arg)
    if note ~= "" then doc = doc ~= "" and ("%s (%s)"):format(doc, note) or note end
    if doc ~= "" then lines[#lines + 1] = row(name, doc) end
  end
end

local function example_lines(lines, op)
  if not op.example then return end
  lines[#lines + 1] = wrapped("Example: ", 4, op.example)
  local printed, n = schema.run(schema.example_code(op, op.example)), 0
  for line in (printed or ""):gmatch "[^\n]+" do
    n = n + 1
    if n <= MOST_LINES then lines[#lines + 1] = "    " .. line end
  end
  if n > MOST_LINES then
    lines[#lines + 1] = ("    ... and %d lines more"):format(n - MOST_LINES)
  end
  lines[#lines + 1] = ""
end

-- How the op is called; an attribute and its default stay in one line.
local function call(op)
  local glued = schema.signature(op):gsub(" ([=-]>?) ", "\1%1\1")
  return (wrapped("", 4, glued):gsub("\1", " "))
end

local function op_text(op)
  local lines = {call(op), "", wrapped("", 0, op.doc or ""), ""}
  local described = #lines
  arg_lines(lines, op.inputs)
  arg_lines(lines, op.outputs)
  attr_lines(lines, op)
  if #lines > described then lines[#lines + 1] = "" end
  example_lines(lines, op)
  for _, fact in ipairs(schema.facts(op)) do
    lines[#lines + 1] = wrapped(("%-13s"):format(fact[1]), 13, fact[2])
  end
  return table.concat(lines, "\n")
end

-- One line: as many words as there is room for.
local function list_line(op)
  local line = ("  %-22s"):format(op.name)
  for word in schema.summary(op):gmatch "%S+" do
    if #line + 1 + #word > WIDTH - 4 then return line .. " ..." end
    line = line .. " " .. word
  end
  return line
end

local function list_text()
  local lines = {}
  for _, op in pairs(core.ops()) do lines[#lines + 1] = list_line(op) end
  table.sort(lines)
  table.insert(lines, 1, "The ops; mw.help \"conv2d\" shows one of them:")
  return table.concat(lines, "\n")
end

---Prints what an op does, with its arguments, attributes, derivatives, and an example with what it
---prints; without a name lists all ops.
---@param name? string
---@param as_text? boolean  true returns the text instead of printing it
---@return string?
local function help(name, as_text)
  local op = type(name) == "string" and core.op_info(name)
  if name ~= nil and not op then
    local near = core.near(tostring(name))
    core.error(("help: there is no op '%s'%s"):format(tostring(name),
      near and ("; did you mean '%s'?"):format(near) or "; mw.help() lists them"))
  end
  local text = op and op_text(op) or list_text()
  if as_text then return text end
  print(text)
end

return help
