-- why_text.lua: what mw.why found, as lines for the screen.

local amounts = require "moonwalk.amounts"
local rails = require "moonwalk.look.graph.rails"
local screen = require "moonwalk.look.screen"
local words = require "moonwalk.look.words"

local why_text = {}

local MOST_ROWS = 40 -- of a way that is shown as a whole
local FEW_ROWS = 16 -- that are shown of a longer one
local MOST_RAILS = 6 -- side by side
local NORM, FACTOR = 9, 9 -- columns
local LEAST_BAR, MOST_BAR = 8, 24
local NARROW = 60 -- columns of a screen on which shapes have no place
local LEAST_DECADES = 4 -- that a bar stands for

local STYLES = {vanishes = "bold yellow", explodes = "bold red", infinite = "bold red",
  nan = "bold red", unreached = "bold yellow"}

local function right(text, columns) return (" "):rep(columns - screen.width(text)) .. text end

-- ---- bars -----------------------------------------------------------------------------------

-- The decades from the least to the largest of some norms: where bars begin, and their length.
local function range_of(norms)
  local low, high = math.huge, -math.huge
  for _, x in ipairs(norms) do
    if x > 0 and x < math.huge then
      low, high = math.min(low, math.log(x, 10)), math.max(high, math.log(x, 10))
    end
  end
  if low > high then return 0, 1 end
  return math.min(low, high - LEAST_DECADES), math.max(high - low, LEAST_DECADES)
end

local EIGHTHS = {[0] = "", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}

local function bar(x, low, decades, columns)
  if x ~= x or x == 0 or columns == 0 then return "" end
  local full = x == math.huge and 1 or (math.log(x, 10) - low) / decades
  local eighths = math.max(1, math.floor(full * columns * 8 + 0.5))
  if not screen.utf8() then return ("#"):rep(math.max(1, eighths // 8)) end
  return ("█"):rep(eighths // 8) .. EIGHTHS[eighths % 8]
end

-- ---- which rows -----------------------------------------------------------------------------

-- Adds positions to a set until it has so many of them.
local function add(set, list, most)
  for _, i in ipairs(list) do
    if set.n < most and not set[i] then set[i], set.n = true, set.n + 1 end
  end
end

-- The steps with marks, where most happens first.
local function marked(result)
  local list, extent = {}, {}
  for i, step in ipairs(result.path) do
    local factor = step.factor or 1
    extent[i] = factor > 0 and factor < math.huge and math.abs(math.log(factor)) or math.huge
    if step.mark then list[#list + 1] = i end
  end
  table.sort(list, function(a, b)
    if extent[a] ~= extent[b] then return extent[a] > extent[b] end
    return a < b
  end)
  return list
end

-- So many items of a list, at equal distances.
local function spread(list, n)
  if #list <= n then return list end
  local some = {}
  for k = 1, n do some[k] = list[1 + math.floor((#list - 1) * k / (n + 1))] end
  return some
end

-- The positions of the rows that are shown, in order: of a long way the ends, the marks, and some
-- between them, first of those on the path.
local function chosen(result)
  local n, list, set = #result.path, {}, {n = 0}
  for i = 1, n do list[i] = i end
  if result.full or n <= MOST_ROWS then return list end
  add(set, {1, 2, n - 1, n}, FEW_ROWS)
  add(set, marked(result), FEW_ROWS - 4)
  add(set, spread(result.main, FEW_ROWS - set.n), FEW_ROWS)
  add(set, spread(list, FEW_ROWS - set.n), FEW_ROWS)
  local some = {}
  for i = 1, n do
    if set[i] then some[#some + 1] = i end
  end
  return some
end

-- Rails that are read from below upward, for reading them from above.
local FLIPPED = {["╯"] = "╮", ["╰"] = "╭", ["┴"] = "┬", ["'"] = ".", ["`"] = "."}

local function flip(rail) return (rail:gsub(utf8.charpattern, FLIPPED)) end

-- The rails beside the rows, and the columns that they take; nil where there are too many.
local function draw_rails(result)
  local nodes, list, rows, columns = {}, {}, {}, 1
  for i = #result.path, 1, -1 do
    nodes[i] = {kind = "op", inputs = {}, i = i}
    list[#list + 1] = nodes[i]
  end
  for i, step in ipairs(result.path) do
    for _, branch in ipairs(step.branches) do
      table.insert(nodes[branch.from].inputs, {from = nodes[i]})
    end
  end
  local is_utf8 = screen.utf8()
  local function dot() return is_utf8 and "●" or "*" end
  for _, line in ipairs(rails.lines(list, MOST_RAILS, is_utf8, dot)) do
    if line.from then return nil end
    if line.node then
      rows[line.node.i] = {text = flip(line.rails), below = flip(line.above)}
      columns = math.max(columns, screen.width(line.rails))
    end
  end
  return rows, columns
end

-- What stands beside the rows: rails, or only dots, where rows are left out or rails too many.
local function lines_beside(result, is_all)
  local rows, columns
  if is_all then rows, columns = draw_rails(result) end
  if rows then return rows, columns end
  rows = {}
  for i, step in ipairs(result.path) do
    local dot = screen.utf8() and (step.on_path and "●" or "○") or step.on_path and "*" or "o"
    rows[i] = {text = dot, below = screen.utf8() and "│" or "|"}
  end
  return rows, 1
end

-- ---- lines ----------------------------------------------------------------------------------

local function what_of(step)
  local name = step.name or step.layer
  if name and step.origin then return name .. "  " .. step.origin end
  return name or step.origin or step.spec
end

-- The columns of a table whose bars take what is left.
local function measure(result, shown, columns, rail)
  local op, what = 0, 0
  for _, i in ipairs(shown) do
    op = math.max(op, screen.width(result.path[i].op))
    what = math.max(what, screen.width(what_of(result.path[i])))
  end
  op = math.min(op, 20)
  local left = columns - rail - 2 - op - 2 - NORM - FACTOR - 2
  what = math.max(math.min(what, left - LEAST_BAR), math.min(left, 8), 0)
  return {rail = rail, op = op, what = what, bar = math.max(math.min(left - what, MOST_BAR), 0)}
end

local function row_text(step, rail, widths, low, decades)
  local style = STYLES[step.mark]
  local norm = right(words.number(step.norm), NORM)
  local length = bar(step.norm, low, decades, widths.bar)
  return table.concat {
    screen.pad(rail, widths.rail), "  ",
    screen.paint(screen.pad(screen.cut(step.op, widths.op), widths.op), "bold"), "  ",
    screen.pad(screen.cut(what_of(step), widths.what), widths.what),
    style and screen.paint(norm, style) or norm,
    right(step.factor and step.factor == step.factor and words.number(step.factor) or "", FACTOR),
    "  ",
    screen.paint(length, style or "green"),
  }
end

-- Adds lines of a text beside the lines of the graph that go on.
local function add_aside(lines, rail, widths, text, style, columns)
  local indent = screen.pad(rail, widths.rail) .. "  "
  for _, line in ipairs(words.wrap(text, columns - widths.rail - 2)) do
    lines[#lines + 1] = indent .. screen.paint(line, style)
  end
end

local WORDS = {
  vanishes = "vanishes", explodes = "explodes", nan = "becomes NaN", infinite = "becomes infinite",
}

local function mark_text(result, step)
  local from = result.path[step.branches[1].from]
  local note = step.note and ": " .. step.note or step.norm == 0 and ": nothing passes" or ""
  return ("%s here, through %s%s"):format(WORDS[step.mark], words.place(from), note)
end

local MOST_SHARES = 3

local function share_text(result, step)
  local parts, rest = {}, 0
  for k, branch in ipairs(step.branches) do
    if k <= MOST_SHARES or #step.branches == MOST_SHARES + 1 then
      parts[#parts + 1] = ("%s through %s"):format(words.percent(branch.share),
        words.place(result.path[branch.from]))
    else
      rest = rest + branch.share
    end
  end
  if rest > 0 then
    parts[#parts + 1] = ("%s through %d others"):format(words.percent(rest),
      #step.branches - #parts)
  end
  return table.concat(parts, ", ")
end

local function skipped_text(result, first, last)
  local low, high = math.huge, 0
  for i = first, last do
    low, high = math.min(low, result.path[i].norm), math.max(high, result.path[i].norm)
  end
  return ("%s %s, %s to %s"):format(screen.utf8() and "…" or "...",
    amounts.count(last - first + 1, "step"), words.number(low), words.number(high))
end

---The way of a gradient.
---@param result moonwalk.Why
---@return string
function why_text.path(result)
  local columns = screen.size()
  local shown = chosen(result)
  local beside, rail = lines_beside(result, #shown == #result.path)
  local widths = measure(result, shown, columns, rail)
  local norms = {}
  for i, step in ipairs(result.path) do norms[i] = step.norm end
  local low, decades = range_of(norms)
  local head = ("the gradient of %s on its way to %s"):format(result.loss, result.parameter)
  local lines = {screen.paint(screen.cut(head, columns), "bold"),
    screen.paint((" "):rep(rail + 2 + widths.op + 2 + widths.what) .. right("|dL/dy|", NORM)
      .. right("factor", FACTOR), "dim")}
  local before = 0
  for _, i in ipairs(shown) do
    local step = result.path[i]
    if i > before + 1 then
      local skipped = skipped_text(result, before + 1, i - 1)
      add_aside(lines, beside[i].below, widths, skipped, "dim", columns)
    end
    before = i
    lines[#lines + 1] = row_text(step, beside[i].text, widths, low, decades)
    if #step.branches > 1 and step.norm == step.norm then
      add_aside(lines, beside[i].below, widths, share_text(result, step), "dim", columns)
    end
    if step.mark then
      local style = STYLES[step.mark]
      add_aside(lines, beside[i].below, widths, mark_text(result, step), style, columns)
    end
  end
  for _, line in ipairs(words.wrap(result.summary, columns)) do lines[#lines + 1] = line end
  if #shown < #result.path then
    lines[#lines + 1] = screen.paint(screen.cut(("%d of %d steps; {full = true} as a last argument "
      .. "shows all"):format(#shown, #result.path), columns), "dim")
  end
  return table.concat(lines, "\n")
end

-- ---- all parameters -------------------------------------------------------------------------

local ROW_WORDS = {
  vanishes = "vanishes", explodes = "explodes", nan = "NaN", infinite = "infinite",
  unreached = "no gradient arrives",
}

local function all_row(row, widths, low, decades)
  local style = STYLES[row.mark]
  local norm = right(row.norm and words.number(row.norm) or "-", NORM)
  local ratio = row.norm and row.size > 0 and words.number(row.norm / row.size) or ""
  local remark = row.norm == 0 and "none passes" or ROW_WORDS[row.mark]
    or row.frozen and "frozen" or ""
  return table.concat {
    screen.pad(screen.cut(row.name, widths.name), widths.name),
    widths.spec == 0 and "" or "  " .. screen.pad(screen.cut(row.spec, widths.spec), widths.spec),
    right(words.number(row.size), NORM), style and screen.paint(norm, style) or norm,
    right(ratio, NORM), "  ",
    remark ~= "" and screen.paint(screen.cut(remark, widths.bar), style or "dim")
      or screen.paint(bar(row.norm, low, decades, widths.bar), "green"),
  }
end

---The gradients of many parameters.
---@param result table  loss, rows
---@return string
function why_text.all(result)
  local columns, norms = screen.size(), {}
  local widths = {name = 4, spec = 4}
  for _, row in ipairs(result.rows) do
    widths.name = math.max(widths.name, screen.width(row.name))
    widths.spec = math.max(widths.spec, screen.width(row.spec))
    if row.norm then norms[#norms + 1] = row.norm end
  end
  widths.spec = columns < NARROW and 0 or math.min(widths.spec, 18)
  local spec = widths.spec > 0 and widths.spec + 2 or 0
  local left = columns - spec - 3 * NORM - 2
  widths.name = math.max(math.min(widths.name, left - LEAST_BAR), 6)
  widths.bar = math.max(math.min(left - widths.name, MOST_BAR), 1)
  local low, decades = range_of(norms)
  local lines = {
    screen.paint(screen.cut(("the gradient of %s in each parameter"):format(result.loss), columns),
      "bold"),
    screen.paint((" "):rep(widths.name + spec) .. right("|w|", NORM)
      .. right("|dL/dw|", NORM) .. right("ratio", NORM), "dim"),
  }
  local worst
  for _, row in ipairs(result.rows) do
    lines[#lines + 1] = all_row(row, widths, low, decades)
    if row.mark and not worst then worst = row end
  end
  worst = worst or result.rows[1]
  lines[#lines + 1] = screen.paint(screen.cut(("why(%s, %s) shows the way to one"):format(
    result.loss == "the loss" and "loss" or result.loss, worst.name), columns), "dim")
  return table.concat(lines, "\n")
end

return why_text
