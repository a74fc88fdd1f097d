-- rails.lua: the lines to the left of a drawing, as `git log --graph` has them: a dot for each
-- node, one below the other, and a rail from each value to where it is read.
--
--   o        x
--   |-*      conv2d       reads x, which goes on
--   | *      relu         reads what is above it
--   *-'      add          reads both
--
-- A value has one rail, however many read it. Where there would be too many side by side, what
-- reads a value far below names it instead.

local rails = {}

local UNICODE = {
  up_down = "│", across = "─", from_left = "├", from_right = "┤", from_both = "┼",
  ends_left = "╰", ends_right = "╯", ends_both = "┴", gap = "┊",
}
local ASCII = {
  up_down = "|", across = "-", from_left = "|", from_right = "|", from_both = "+",
  ends_left = "`", ends_right = "'", ends_both = "'", gap = ":",
}

-- The rails that lead to each node: the nodes that it reads by one, each once; and where in the
-- list those are that read each by one.
local function count_readers(nodes, cut)
  local position, readers, sources = {}, {}, {}
  for i, node in ipairs(nodes) do position[node], readers[node] = i, {} end
  for i, node in ipairs(nodes) do
    local list, seen = {}, {}
    for _, input in ipairs(node.inputs) do
      local from = input.from
      if not input.aside and position[from] and not seen[from] then
        seen[from] = true
        if not (cut[node] and cut[node][from]) then
          list[#list + 1] = from
          table.insert(readers[from], i)
        end
      end
    end
    sources[node] = list
  end
  return sources, readers
end

local function cut_edge(cut, reader, from)
  cut[reader] = cut[reader] or {}
  cut[reader][from] = true
end

-- Cuts the rails of values that would be too many side by side: of those that are read the farthest
-- below, what is below the node at which there are too many.
local function cut_crowds(nodes, most, cut)
  local _, readers = count_readers(nodes, cut)
  local live = {} -- values with readers to come, in order
  for i, node in ipairs(nodes) do
    local still, worst, last = {}, nil, i
    for _, held in ipairs(live) do
      local list = readers[held]
      local at = list[#list] or 0
      if at > i then still[#still + 1] = held end
      if at > last then worst, last = held, at end
    end
    if #still >= most then
      local list = readers[worst]
      while #list > 0 and list[#list] > i do cut_edge(cut, nodes[table.remove(list)], worst) end
    end
    live = still
    if #readers[node] > 0 then live[#live + 1] = node end
  end
end

-- The place of a node's dot: the leftmost of the rails that end in it, or a free one to the right
-- of what it reads.
local function choose_column(lanes, ended, columns)
  if #ended > 0 then return math.min(table.unpack(ended)) end
  local column = #columns > 0 and math.min(table.unpack(columns)) + 1 or 1
  while lanes[column] do column = column + 1 end
  return column
end

-- The rail that is in the way: that of the value that is read the farthest below; and where.
local function farthest(lanes, most, readers, here)
  local worst, last
  for column = 1, most do
    local list = readers[lanes[column]] or {}
    local at = list[#list] or 0
    if at > (last or here) then worst, last = lanes[column], at end
  end
  return worst, last
end

-- One line: what is at each column, and between them.
local function cells_of(lanes, after, connected, dot, width, marks)
  local low, high = dot.column, dot.column
  for column in pairs(connected) do low, high = math.min(low, column), math.max(high, column) end
  local parts = {}
  for column = 1, width do
    local inside, cell = column >= low and column <= high, " "
    if column == dot.column then
      cell = dot.mark
    elseif connected[column] then
      local side = column == low and "left" or column == high and "right" or "both"
      cell = marks[(after[column] and "from_" or "ends_") .. side]
    elseif lanes[column] then
      cell = marks.up_down
    elseif inside then
      cell = marks.across
    end
    parts[#parts + 1] = cell .. (column >= low and column < high and marks.across or " ")
  end
  return (table.concat(parts):gsub(" +$", ""))
end

-- A line of rails alone.
local function plain(lanes, width, mark)
  local parts = {}
  for column = 1, width do parts[column] = (lanes[column] and mark or " ") .. " " end
  return (table.concat(parts):gsub(" +$", ""))
end

local function widest(lanes, column)
  for other in pairs(lanes) do column = math.max(column, other) end
  return column
end

-- The lines for all nodes, or, where a rail is in the way, nil, its value, and who reads that.
local function lay(nodes, cut, most, marks, mark_of)
  local sources, readers = count_readers(nodes, cut)
  local lanes, column_of, left, lines, closed = {}, {}, {}, {}, nil
  for i, node in ipairs(nodes) do
    local columns, ended, connected = {}, {}, {}
    for _, from in ipairs(sources[node]) do
      local column = column_of[from]
      left[from] = left[from] - 1
      columns[#columns + 1] = column
      connected[column] = true
      if left[from] == 0 then ended[#ended + 1] = column end
    end
    local column = choose_column(lanes, ended, columns)
    if column > most then
      local worst, last = farthest(lanes, most, readers, i)
      if worst then return nil, worst, nodes[last] end
    end
    if #columns == 0 and closed == column then
      lines[#lines + 1] = {rails = plain(lanes, widest(lanes, 0), marks.up_down)}
    end
    local after = {}
    for other, held in pairs(lanes) do after[other] = held end
    for _, other in ipairs(ended) do after[other] = nil end
    local width = widest(lanes, column)
    column_of[node], left[node] = column, #readers[node]
    if node.kind == "gap" then
      local held = next(lanes) and lanes or {true}
      lines[#lines + 1] = {node = node, rails = plain(held, width, marks.gap)}
      after = lanes
    else
      connected[column] = nil
      after[column] = left[node] > 0 and node or nil
      lines[#lines + 1] = {node = node, column = column, order = columns,
        above = plain(lanes, widest(lanes, 0), marks.up_down),
        rails = cells_of(lanes, after, connected, {column = column, mark = mark_of(node)}, width,
          marks)}
    end
    closed = node.kind ~= "gap" and not after[column] and column or nil
    lanes = after
  end
  return lines
end

-- What node k reads where its rails come from, from left to right; nil when that is the order in
-- which it takes them.
local function note_order(line, node, cut)
  local columns, names, seen, sorted = line.order or {}, {}, {}, true
  if #columns < 2 then return end
  local k = 0
  for _, input in ipairs(node.inputs) do
    if not input.aside and not seen[input.from] and not (cut[node] and cut[node][input.from]) then
      seen[input.from] = true
      k = k + 1
      if columns[k] then names[#names + 1] = {columns[k], input.name} end
      if k > 1 and columns[k] and columns[k] < columns[k - 1] then sorted = false end
    end
  end
  if sorted then return end
  table.sort(names, function(a, b) return a[1] < b[1] end)
  for i, entry in ipairs(names) do names[i] = entry[2] end
  line.arguments = table.concat(names, ", ")
end

---A line of a drawing.
---@class moonwalk.RailLine
---@field rails string
---@field above string?  the rails that come to a node's line, alone
---@field node moonwalk.DrawnNode?  nil: rails alone
---@field arguments string?  what comes by the rails, from left to right, where that is not plain
---@field tag integer?  by which others name the node
---@field from integer[]?  what it reads without a rail: tags

---The lines of a drawing.
---@param nodes moonwalk.DrawnNode[]  inputs before what is made of them
---@param most integer  rails side by side
---@param utf8 boolean
---@param mark_of fun(node: moonwalk.DrawnNode): string  its dot
---@return moonwalk.RailLine[]
function rails.lines(nodes, most, utf8, mark_of)
  local marks, cut, named = utf8 and UNICODE or ASCII, {}, {}
  local lines, from, reader
  cut_crowds(nodes, most, cut)
  repeat
    lines, from, reader = lay(nodes, cut, most, marks, mark_of)
    if not lines then cut_edge(cut, reader, from) end
  until lines
  for _, values in pairs(cut) do
    for value in pairs(values) do named[value] = true end
  end
  local tags, count = {}, 0
  for _, node in ipairs(nodes) do
    if named[node] then
      count = count + 1
      tags[node] = count
    end
  end
  for _, line in ipairs(lines) do
    local node = line.node
    if node and node.kind ~= "gap" then
      line.tag = tags[node]
      note_order(line, node, cut)
      for source in pairs(cut[node] or {}) do
        line.from = line.from or {}
        table.insert(line.from, tags[source])
      end
      if line.from then table.sort(line.from) end
    end
  end
  return lines
end

return rails
