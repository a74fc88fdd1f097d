-- annotations.lua: LuaCATS definitions of the ops, out of the registry: the file that
-- `moonwalk help --annotations` writes for the language servers of editors.

local core = require "moonwalk.core"
local schema = require "moonwalk.schema"

local annotations = {}

local TYPES = {
  int = "integer", float = "number", bool = "boolean", text = "string",
  ints = "integer|integer[]", axis = "integer", axes = "integer|integer[]",
}

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat "
    .. "return then true until while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

local function type_of(attr)
  if not attr.choices then return TYPES[attr.type] end
  local words = {}
  for i, word in ipairs(attr.choices) do words[i] = ("%q"):format(word) end
  return table.concat(words, "|")
end

-- The attribute that needs no name, and may so stand in place of the table: see lua/call.c.
local function main_of(op)
  local required
  for _, attr in ipairs(op.attrs) do
    if attr.required then
      if required then return op.attrs[1] end
      required = attr
    end
  end
  return required or op.attrs[1]
end

local function add_doc(lines, doc)
  for line in (doc or ""):gmatch "[^\n]+" do lines[#lines + 1] = "---" .. line end
end

-- A description at the end of a line that says something else first.
local function aside(text)
  text = (text or ""):gsub("%s*\n%s*", " ")
  return text ~= "" and "  " .. text or ""
end

local function add_attributes(lines, op)
  lines[#lines + 1] = ("---What mw.%s takes by name, in the table at its end."):format(op.name)
  lines[#lines + 1] = ("---@class moonwalk.%s.attributes"):format(op.name)
  for i, row in ipairs(schema.attributes(op)) do
    local attr, notes = op.attrs[i], {}
    if not attr.required then notes[#notes + 1] = row[3] end
    if row[4] ~= "" then notes[#notes + 1] = row[4] end
    if attr.doc then notes[#notes + 1] = attr.doc end
    lines[#lines + 1] = ("---@field %s%s %s%s"):format(attr.name, attr.required and "" or "?",
      type_of(attr), aside(table.concat(notes, "; ")))
  end
  lines[#lines + 1] = ""
end

-- The parameters: {{name, type, doc, optional}, ...}, the tensors first. A random key is none: it
-- is drawn.
local function parameters_of(op)
  local parameters = {}
  for _, input in ipairs(op.inputs) do
    if not input.key then
      parameters[#parameters + 1] = {
        name = KEYWORDS[input.name] and input.name .. "_" or input.name,
        type = input.variadic and "mw.tensor[]" or "mw.tensor|number",
        doc = input.doc, optional = input.optional, variadic = input.variadic,
      }
    end
  end
  local main = main_of(op)
  if main then
    parameters[#parameters + 1] = {
      name = "attributes", optional = not main.required,
      type = ("moonwalk.%s.attributes|%s"):format(op.name, type_of(main)),
      doc = ("or %s alone"):format(main.name),
    }
    if main.type == "ints" or main.type == "axes" then
      parameters[#parameters + 1] = {
        name = "...", type = "integer", doc = ("further entries of %s"):format(main.name),
      }
    end
  end
  return parameters
end

local function returns_of(op)
  local types = {}
  for i in ipairs(op.outputs) do types[i] = "mw.tensor" end
  return table.concat(types, ", ")
end

-- The op called without `left`, an input that may be left out though attributes follow, or with the
-- tensors of a list one by one.
local function overload(op, parameters, left)
  local parts = {}
  for _, p in ipairs(parameters) do
    if p.variadic then
      local attributes = #op.attrs > 0 and ("|moonwalk.%s.attributes"):format(op.name) or ""
      parts[#parts + 1] = "...: mw.tensor" .. attributes
      break
    elseif p ~= left then
      parts[#parts + 1] = ("%s%s: %s"):format(p.name, p.optional and "?" or "", p.type)
    end
  end
  return ("---@overload fun(%s): %s"):format(table.concat(parts, ", "), returns_of(op))
end

local function add_function(lines, op)
  local parameters, names = parameters_of(op), {}
  add_doc(lines, op.doc)
  lines[#lines + 1] = "---"
  lines[#lines + 1] = "---    " .. op.example:gsub("\n", " ")
  for i, p in ipairs(parameters) do
    names[i] = p.name
    lines[#lines + 1] = ("---@param %s%s %s%s"):format(p.name, p.optional and "?" or "", p.type,
      aside(p.doc))
  end
  for _, output in ipairs(op.outputs) do
    lines[#lines + 1] = ("---@return mw.tensor %s%s"):format(output.name, aside(output.doc))
  end
  for _, p in ipairs(parameters) do
    if p.variadic or p.optional and p.name ~= "attributes" and #op.attrs > 0 then
      lines[#lines + 1] = overload(op, parameters, p)
    end
  end
  lines[#lines + 1] = ("function mw.%s(%s) end"):format(op.name, table.concat(names, ", "))
  if #op.inputs > 0 and not op.inputs[1].key then
    lines[#lines + 1] = ("Tensor.%s = mw.%s"):format(op.name, op.name)
  end
  lines[#lines + 1] = ""
end

---The definitions of every registered op: the class of its attributes, and mw.NAME, which is a
---method of tensors too. What init.lua gives another meaning under an op's name (mw.slice) is
---annotated there.
---@return string text
---@return integer count ops in it
function annotations.text()
  local names, ops = {}, core.ops()
  for name in pairs(ops) do
    if not core.written[name] then names[#names + 1] = name end
  end
  table.sort(names)
  local lines = {
    "---@meta", "",
    "-- Written by `moonwalk help --annotations` out of the registry. The modules have the rest.",
    "", "---@class moonwalk", "local mw = {}", "",
    "---@class moonwalk.Tensor", "local Tensor = {}", "",
  }
  for _, name in ipairs(names) do
    if #ops[name].attrs > 0 then add_attributes(lines, ops[name]) end
    add_function(lines, ops[name])
  end
  lines[#lines + 1] = "return mw\n"
  return table.concat(lines, "\n"), #names
end

return annotations
