-- dot.lua: a drawing in a file: in the language of Graphviz, as a picture by its program `dot`, or
-- as text.

local core = require "moonwalk.core"
local measure = require "moonwalk.measure"
local shell = require "moonwalk.shell"

local dot = {}

local PICTURES = {svg = true, png = true, pdf = true}
local STYLE = {
  leaf = 'shape=ellipse, fillcolor="#e8f4ea", color="#4a8f5c"',
  op = 'shape=box, style="rounded,filled", fillcolor="#eef2fa", color="#5b76a8"',
  layer = 'shape=box, style="rounded,filled", fillcolor="#eef2fa", color="#5b76a8"',
  failure = 'shape=box, style="rounded,filled", fillcolor="#fbe3e1", color="#c0392b", penwidth=2',
  gradient = 'shape=box, style="rounded,filled", fillcolor="#f7eefa", color="#8a5ba8"',
}

local function quote(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", "\\n") .. '"'
end

local function label(node, total)
  local title = node.name and node.kind ~= "leaf" and ("%s = %s"):format(node.name, node.title)
    or node.name or node.title
  if node.path and node.path ~= "" then title = node.path .. "  " .. title end
  local lines, specs = {title}, {}
  for _, output in ipairs(node.outputs) do specs[#specs + 1] = output.spec end
  lines[#lines + 1] = #specs > 0 and table.concat(specs, " ") or nil
  for _, entry in ipairs(node.folded) do
    lines[#lines + 1] = ("%s %s"):format(entry.name, entry.value or entry.spec)
  end
  if node.attributes ~= "" then lines[#lines + 1] = node.attributes end
  if node.kind == "layer" and node.parameters > 0 then
    lines[#lines + 1] = ("%d parameters"):format(node.parameters)
  end
  if node.seconds then
    lines[#lines + 1] = ("%s, %.0f %%"):format(measure.time_text(node.seconds),
      total > 0 and 100 * node.seconds / total or 0)
  end
  if node.message then lines[#lines + 1] = node.message end
  return table.concat(lines, "\n")
end

-- What distinguishes the inputs of an op that has several.
local function edge_label(node, input)
  local sources = {}
  for _, other in ipairs(node.inputs) do
    if input.aside or not other.aside then sources[other.from] = true end
  end
  return next(sources, next(sources)) and input.name or nil
end

---@param drawing moonwalk.Drawing
---@return string
function dot.text(drawing)
  local lines, number = {
    "digraph moonwalk {",
    '  graph [rankdir=TB, nodesep=0.3, ranksep=0.35];',
    '  node [fontname="Helvetica", fontsize=11, style=filled, margin="0.12,0.06"];',
    '  edge [fontname="Helvetica", fontsize=9, color="#555555", arrowsize=0.7];',
  }, {}
  for i, node in ipairs(drawing.nodes) do
    number[node] = i
    lines[#lines + 1] = ("  n%d [%s, label=%s];"):format(i,
      STYLE[node.backward and "gradient" or node.kind], quote(label(node, drawing.seconds or 0)))
  end
  for i, node in ipairs(drawing.nodes) do
    for _, input in ipairs(node.inputs) do
      local name, settings = edge_label(node, input), {}
      if name then settings[1] = "label=" .. quote(name) end
      if input.aside then settings[#settings + 1] = "style=dashed, constraint=false" end
      lines[#lines + 1] = ("  n%d -> n%d%s;"):format(number[input.from], i,
        #settings > 0 and " [" .. table.concat(settings, ", ") .. "]" or "")
    end
  end
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n") .. "\n"
end

local function write(path, text)
  local file, problem = io.open(path, "wb")
  if not file then core.error("draw: " .. problem) end
  local written = file:write(text)
  if not file:close() or not written then
    core.error(("draw: %s cannot be written"):format(path))
  end
end

local function picture(path, kind, text)
  if not shell.has "dot" then
    core.error(("draw: a .%s is made by Graphviz, whose program dot is not there; its package is "
      .. "called graphviz (apt install graphviz, dnf install graphviz, brew install graphviz); "
      .. "{file = %q} writes its input without it"):format(kind, (path:gsub("%w+$", "dot"))))
  end
  local source = os.tmpname()
  write(source, text)
  local pipe = io.popen(("dot -T%s -o %s %s 2>&1"):format(kind, shell.quote(path),
    shell.quote(source)))
  local said = pipe:read "a"
  local done = pipe:close()
  os.remove(source)
  if not done then core.error(("draw: dot has failed: %s"):format((said:gsub("%s+$", "")))) end
end

-- What the terminal would show, without styles.
local function plain_text(drawing, full)
  local text = require("moonwalk.look.graph.text").of(drawing, {full = full, whole = true})
  return text:gsub("\27%[[%d;]*m", "") .. "\n"
end

---Writes a drawing to a file: .dot, .txt, or .svg, .png and .pdf by Graphviz.
---@param drawing moonwalk.Drawing
---@param path string
---@param full boolean?  in .txt, all that is there, however often
function dot.write(drawing, path, full)
  local kind = path:match "%.(%w+)$"
  kind = kind and kind:lower()
  if kind == "dot" or kind == "gv" then write(path, dot.text(drawing))
  elseif kind == "txt" then write(path, plain_text(drawing, full))
  elseif PICTURES[kind] then picture(path, kind, dot.text(drawing))
  else
    core.error(("draw: the file is %q, expected a name that ends in .dot, .svg, .png, .pdf or .txt")
      :format(path))
  end
end

return dot
