-- rails.lua: the lines of a graph beside a list of its nodes, a row for each node.
--
--     ●─╮  add         what follows a node's lines down is what it is made of
--     │ ●  conv2d
--     │ ●  relu
--     ●─╯  relu        used twice
--
-- A line in a column waits for a node. Where two nodes wait for the same one, its row joins them.

local rails = {}

local UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8

local CHARACTERS = {
  [UP | DOWN] = "│", [LEFT | RIGHT] = "─", [UP | LEFT] = "╯", [DOWN | LEFT] = "╮",
  [UP | DOWN | LEFT] = "┤", [UP | LEFT | RIGHT] = "┴", [DOWN | LEFT | RIGHT] = "┬",
  [UP | DOWN | LEFT | RIGHT] = "┼", [UP | RIGHT] = "╰", [DOWN | RIGHT] = "╭",
  [UP | DOWN | RIGHT] = "├",
}
local PLAIN = {[UP | DOWN] = "|", [LEFT | RIGHT] = "-"}

local function character(bits, utf8)
  if bits == 0 then return " " end
  if utf8 then return CHARACTERS[bits] end
  return PLAIN[bits] or "+"
end

-- The first column that nothing waits in.
local function free_column(waiting, from)
  local c = from
  while waiting[c] do c = c + 1 end
  return c
end

-- The line from a node to the columns that its row is joined with, which lines that are not joined
-- run over. Returns the first and the last column of it.
local function connect(cells, own, ends)
  local first, last, is_end = own, own, {[own] = true}
  for _, c in ipairs(ends) do
    first, last, is_end[c] = math.min(first, c), math.max(last, c), true
  end
  for c = first, last do
    if is_end[c] or cells[c] == 0 then
      cells[c] = cells[c] | (c > first and LEFT or 0) | (c < last and RIGHT or 0)
    end
  end
  return first, last
end

-- The column of a node, and the others that wait for it, which end here.
local function arrive(waiting, node, most)
  local own, others = nil, {}
  for c = 1, most do
    if waiting[c] == node then
      if own then others[#others + 1] = c else own = c end
    end
  end
  return own or free_column(waiting, 1), others
end

local function column_of(waiting, node, most)
  for c = 1, most do
    if waiting[c] == node then return c end
  end
end

-- Which of its inputs goes on in a node's own column: one that nothing waits for, and that is made
-- of something, if there is one. So what many nodes use stays in one column beside them.
local function heir(waiting, inputs, most, of)
  local best, best_rank
  for _, input in ipairs(inputs) do
    local rank = (column_of(waiting, input, most) and 0 or 2) + (#of[input] > 0 and 1 or 0)
    if not best or rank > best_rank then best, best_rank = input, rank end
  end
  return best
end

-- Lets the columns wait for what a node is made of. Returns those that its row is joined with, and
-- the last one.
local function depart(waiting, own, inputs, most, of)
  local joined = {}
  waiting[own] = nil
  local first = heir(waiting, inputs, most, of)
  waiting[own] = first
  for _, input in ipairs(inputs) do
    if input ~= first then
      local at = column_of(waiting, input, most)
      if not at then
        at = free_column(waiting, own + 1)
        waiting[at] = input
      end
      most = math.max(most, at)
      joined[#joined + 1] = at
    end
  end
  return joined, most
end

local function draw(cells, own, first, last, utf8)
  local parts = {}
  for c = 1, #cells do
    parts[#parts + 1] = c == own and (utf8 and "●" or "*") or character(cells[c], utf8)
    parts[#parts + 1] = c >= first and c < last and (utf8 and "─" or "-") or " "
  end
  return (table.concat(parts):gsub(" +$", ""))
end

local function draw_below(waiting, most, utf8)
  local parts = {}
  for c = 1, most do parts[c] = waiting[c] and (utf8 and "│" or "|") or " " end
  return (table.concat(parts, " "):gsub(" +$", ""))
end

---The rows of a list of nodes, each of which stands before what it is made of. A row has `text`,
---the lines with the node in them, and `below`, the lines that go on to the next row.
---@param inputs integer[][]  of each node: the positions of those that it is made of
---@param utf8 boolean
---@return {text: string, below: string}[]
---@return integer columns  of characters
function rails.rows(inputs, utf8)
  local waiting, most, rows, widest = {}, 1, {}, 1
  for node = 1, #inputs do
    local cells, before = {}, {}
    local own, ends = arrive(waiting, node, most)
    for c = 1, most do before[c] = waiting[c] ~= nil end
    for _, c in ipairs(ends) do waiting[c] = nil end
    local joined
    joined, most = depart(waiting, own, inputs[node], math.max(most, own), inputs)
    table.move(joined, 1, #joined, #ends + 1, ends)
    for c = 1, most do
      cells[c] = (before[c] and UP or 0) | (waiting[c] and DOWN or 0)
    end
    local first, last = connect(cells, own, ends)
    rows[node] = {text = draw(cells, own, first, last, utf8),
      below = draw_below(waiting, most, utf8)}
    widest = math.max(widest, 2 * most - 1)
    while most > 1 and not waiting[most] do most = most - 1 end
  end
  return rows, widest
end

return rails
