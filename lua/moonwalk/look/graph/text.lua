-- text.lua: a drawing as lines for a terminal: rails, and to the right of them what each node is.

local amounts = require "moonwalk.amounts"
local measure = require "moonwalk.measure"
local rails = require "moonwalk.look.graph.rails"
local repeats = require "moonwalk.look.graph.repeats"
local screen = require "moonwalk.look.screen"

local text = {}

local MOST_WITHOUT_GAPS = 40 -- nodes of a drawing in which everything is shown
local MOST_LINES = 400
local LEAST_TEXT = 44 -- columns beside the rails
local WIDEST_TITLE = 30

-- Ops in which it does not matter which argument is which.
local COMMUTING = {add = true, mul = true, maximum = true, minimum = true, accumulate = true}

-- ---- what is said of a node -------------------------------------------------------------------

local function title(node, line)
  local name = node.title
  if node.path and node.path ~= "" then name = node.path .. " " .. name end
  if node.name and node.kind == "leaf" then name = node.name
  elseif node.name then name = ("%s = %s"):format(node.name, name)
  end
  if not line.tag then return name end
  local tag = (" [%d]"):format(line.tag) -- others name the node by it: it is never cut off
  return screen.cut(name, WIDEST_TITLE - #tag) .. tag
end

-- The output that is passed on; that of the failed node is not there.
local function shape(node)
  return node.outputs[1] and node.outputs[1].spec or ""
end

local function operand(entry)
  return ("%s %s"):format(entry.name, entry.value or entry.spec)
end

-- "gives values f32[3], indices i64[3]" of what has several outputs.
local function gives(node)
  if #node.outputs < 2 or node.kind == "layer" then return nil end
  local parts = {}
  for i, output in ipairs(node.outputs) do parts[i] = output.name .. " " .. output.spec end
  return "gives " .. table.concat(parts, ", ")
end

-- "gradients of x, w; reads w, y" of a backward.
local function differentiates(node)
  local made, read = {}, {}
  for i, output in ipairs(node.outputs) do made[i] = output.name end
  for _, input in ipairs(node.inputs) do
    if input.aside then read[#read + 1] = input.from.name or input.name end
  end
  for _, entry in ipairs(node.folded) do
    if entry.parameter then read[#read + 1] = entry.name end
  end
  return ("%s of %s%s"):format(#made == 1 and "gradient" or "gradients", table.concat(made, ", "),
    #read > 0 and "; reads " .. table.concat(read, ", ") or "")
end

-- Which one of several outputs it takes, if it is not the first.
local function picks(node)
  local parts, seen = {}, {}
  for _, input in ipairs(node.inputs) do
    local outputs = input.from.outputs
    if not input.aside and #outputs > 1 and input.from.kind ~= "layer" then
      for _, output in ipairs(outputs) do
        if output.number == input.output and output ~= outputs[1] and not seen[output] then
          seen[output] = true
          parts[#parts + 1] = output.name
        end
      end
    end
  end
  return #parts > 0 and "of " .. table.concat(parts, ", ") or nil
end

local function details(node, line)
  local parts, operands = {}, {}
  local function add(part)
    if part and part ~= "" then parts[#parts + 1] = part end
  end
  if line.from then add("from [" .. table.concat(line.from, "], [") .. "]") end
  if node.hidden then add(("reads %d not drawn"):format(node.hidden)) end
  if line.arguments and not COMMUTING[node.title] then
    add("from left to right " .. line.arguments)
  end
  add(picks(node))
  if node.backward then
    add(differentiates(node))
    return table.concat(parts, "; ")
  end
  for i, entry in ipairs(node.folded) do operands[i] = operand(entry) end
  add(table.concat(operands, ", "))
  add(node.attributes)
  add(gives(node))
  if node.kind == "leaf" and node.name and node.title ~= "constant" then add(node.title) end
  return table.concat(parts, "; ")
end

-- ---- columns ----------------------------------------------------------------------------------

local function mark_of(utf8)
  local marks = utf8 and {op = "●", layer = "●", leaf = "○", failure = "✗"}
    or {op = "*", layer = "*", leaf = "o", failure = "X"}
  return function(node) return marks[node.kind] or "?" end
end

local STYLES = {failure = "bold red", leaf = "green", layer = "bold", op = "bold"}

-- The cells of a line: {text, style, to the right}, and what is said at its end.
local function cells_of(node, line, show)
  local cells = {{title(node, line), STYLES[node.kind]}, {shape(node), "cyan"}}
  if show.parameters then
    cells[#cells + 1] = {node.parameters > 0 and amounts.grouped(node.parameters) or "", "", true}
  end
  if show.time then
    local share = node.seconds and show.time > 0 and node.seconds / show.time
    local style = share and share >= 0.2 and "bold yellow" or ""
    cells[#cells + 1] = {node.seconds and measure.time_text(node.seconds) or "", style, true}
    cells[#cells + 1] = {share and ("%.0f %%"):format(100 * share) or "", style, true}
  end
  local mark = node.kind == "failure" and (node.of_gradient and "<-- its gradient  "
    or "<-- here  ") or ""
  return cells, mark .. details(node, line)
end

local function gap_text(node)
  return ("%s, %s more"):format(node.nodes == 1 and "this node" or ("these %d nodes"):format(
    node.nodes), amounts.count(node.times, "time"))
end

-- Rows as lines that are no wider than the terminal.
local function lay_out(rows, columns)
  local widths, rail = {}, 0
  for _, row in ipairs(rows) do
    rail = math.max(rail, screen.width(row.rails))
    for i, cell in ipairs(row.cells or {}) do
      local width = screen.width(cell[1])
      widths[i] = math.max(widths[i] or 0, i == 1 and math.min(width, WIDEST_TITLE) or width)
    end
  end
  local lines = {}
  for n, row in ipairs(rows) do
    local room = columns - rail - 2
    local parts = {screen.paint(screen.pad(row.rails, rail), row.style or "dim")}
    local function add(content, style)
      content = screen.cut(content, math.max(room, 0))
      room = room - screen.width(content) - 2
      parts[#parts + 1] = style ~= "" and screen.paint(content, style) or content
    end
    for i, cell in ipairs(row.cells or {}) do
      if room <= 0 then break end
      local content = screen.cut(cell[1], widths[i])
      local space = (" "):rep(widths[i] - screen.width(content))
      add(cell[3] and space .. content or content .. space, cell[2])
    end
    if row.note and row.note ~= "" and room > 3 then add(row.note, row.note_style or "dim") end
    lines[n] = table.concat(parts, "  "):gsub("%s+$", "")
  end
  return lines
end

-- Adds a text in lines of at most so many columns.
local function add_wrapped(lines, said, columns, indent, style)
  for _, line in ipairs(screen.fold(said, columns, indent, indent)) do
    lines[#lines + 1] = screen.paint(line, style)
  end
end

-- What went wrong in the last node, and where that was built.
local function add_message(lines, node)
  local columns = screen.size()
  add_wrapped(lines, (node.message:gsub("^%[?[^%s:]+:%d+: ", "")), columns, "    ", "red")
  if node.origin == "" then return end
  local by = node.origin:find " at " and "built by " or "built at "
  add_wrapped(lines, by .. node.origin, columns, "    ", "dim")
end

-- ---- the whole --------------------------------------------------------------------------------

local function heading(show)
  local cells = {{"", ""}, {"output", "dim"}}
  if show.parameters then cells[#cells + 1] = {"parameters", "dim", true} end
  if show.time then
    cells[#cells + 1] = {"time", "dim", true}
    cells[#cells + 1] = {"share", "dim", true}
  end
  return {rails = "", cells = cells}
end

local function rows_of(nodes, show)
  local columns = screen.size()
  local most = math.max(4, (columns - LEAST_TEXT) // 2)
  local rows = {(show.parameters or show.time) and heading(show) or nil}
  for _, line in ipairs(rails.lines(nodes, most, screen.utf8(), mark_of(screen.utf8()))) do
    local node, row = line.node, {rails = line.rails}
    if node and node.kind == "gap" then
      row.note = gap_text(node)
    elseif node then
      row.cells, row.note = cells_of(node, line, show)
      if node.kind == "failure" then row.style, row.note_style = "bold red", "bold red" end
      if node.kind == "failure" then row.failure = node end
    end
    rows[#rows + 1] = row
  end
  return rows
end

local function summary(drawing)
  local layers = 0
  for _, node in ipairs(drawing.nodes) do
    if node.kind == "layer" then layers = layers + 1 end
  end
  local count = amounts.count
  local parts = {layers > 0 and drawing.calls and count(layers, "layer")
    or count(#drawing.nodes, "node")}
  if drawing.parameters > 0 then parts[#parts + 1] = count(drawing.parameters, "parameter") end
  if drawing.seconds then
    parts[#parts + 1] = measure.time_text(drawing.seconds) .. " in kernels"
  end
  return table.concat(parts, ", ")
end

-- Lines from the middle of very many.
local function shorten(lines)
  if #lines <= MOST_LINES then return lines end
  local half = MOST_LINES // 2
  local short = table.move(lines, 1, half, 1, {})
  short[#short + 1] = ("... %d lines; {file = \"graph.txt\"} writes all of them"):format(
    #lines - 2 * half)
  return table.move(lines, #lines - half + 1, #lines, #short + 1, short)
end

---@class moonwalk.DrawnTextOptions
---@field full boolean?  all that is there, however often
---@field whole boolean?  however many lines

---A drawing as lines.
---@param drawing moonwalk.Drawing
---@param options moonwalk.DrawnTextOptions
---@return string
function text.of(drawing, options)
  local nodes = drawing.nodes
  local show = {time = drawing.seconds, parameters = drawing.calls and drawing.parameters > 0}
  if not options.full and #nodes > MOST_WITHOUT_GAPS then nodes = repeats.elide(nodes) end
  local rows = rows_of(nodes, show)
  local lines = lay_out(rows, (screen.size()))
  if not options.whole then lines = shorten(lines) end
  for _, node in ipairs(drawing.nodes) do
    if node.kind == "failure" then add_message(lines, node) end
  end
  if not drawing.failed then lines[#lines + 1] = screen.paint(summary(drawing), "dim") end
  if drawing.hint then add_wrapped(lines, drawing.hint, (screen.size()), "", "dim") end
  return table.concat(lines, "\n")
end

return text
