-- ops.lua: `:ops` lists the ops, with a word those that have to do with it.

local core = require "moonwalk.core"
local schema = require "moonwalk.schema"
local screen = require "moonwalk.look.screen"
local pager = require "moonwalk.prompt.pager"

local function sorted_names()
  local names = {}
  for name in pairs(core.ops()) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- The widths of columns with so many names each, and all of them together.
local function widths_of(names, down)
  local widths, total = {}, -2
  for i, name in ipairs(names) do
    local column = (i - 1) // down + 1
    widths[column] = math.max(widths[column] or 0, #name)
  end
  for _, width in ipairs(widths) do total = total + width + 2 end
  return widths, total
end

-- Names in as many columns as there is room for, down and then across.
local function in_columns(names, columns)
  local down = 1
  while down < #names and select(2, widths_of(names, down)) > columns do down = down + 1 end
  local widths, lines = widths_of(names, down), {}
  for row = 1, down do
    local cells = {}
    for i = row, #names, down do
      local is_last = i + down > #names
      cells[#cells + 1] = is_last and names[i] or screen.pad(names[i], widths[#cells + 1] + 2)
    end
    lines[row] = table.concat(cells)
  end
  return lines
end

-- The text with each place where it has the word shown bold, whatever the case.
local function marked(text, word)
  local lower, at, parts = text:lower(), 1, {}
  while true do
    local first, last = lower:find(word, at, true)
    if not first then break end
    parts[#parts + 1] = text:sub(at, first - 1) .. screen.paint(text:sub(first, last), "bold")
    at = last + 1
  end
  return table.concat(parts) .. text:sub(at)
end

-- Where an op has the word: 1 in its name, 2 in what it says of itself; nil where it has not.
local function rank(op, word)
  if op.name:find(word, 1, true) then return 1 end
  local texts = {op.doc or "", op.formula or ""}
  for _, attr in ipairs(op.attrs) do texts[#texts + 1] = attr.name .. " " .. (attr.doc or "") end
  return table.concat(texts, "\n"):lower():find(word, 1, true) and 2 or nil
end

local function find(word)
  local found, ops = {}, core.ops()
  for _, name in ipairs(sorted_names()) do
    local place = rank(ops[name], word)
    if place then found[#found + 1] = {op = ops[name], rank = place, n = #found} end
  end
  table.sort(found, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.n < b.n
  end)
  return found
end

local function rows_of(found, word, columns)
  local width, lines = 0, {}
  for _, item in ipairs(found) do width = math.max(width, #item.op.name) end
  for i, item in ipairs(found) do
    local doc = screen.cut(schema.summary(item.op), columns - width - 2)
    local name = screen.pad(item.op.name, width + 2)
    lines[i] = marked(name, word) .. marked(doc, word)
  end
  return lines
end

return {
  usage = ":ops [word]",
  doc = "Lists the ops, or those that have the word in their name or description.",
  run = function(session, argument)
    local columns = screen.size()
    if argument == "" then
      local lines = in_columns(sorted_names(), columns)
      lines[#lines + 1] = screen.paint("?conv2d explains one, :ops pool finds some", "dim")
      return pager.show(session, table.concat(lines, "\n"))
    end
    local word = argument:lower()
    local found = find(word)
    if #found == 0 then
      local near = core.near(argument)
      core.error(("no op has %q in its name or description; %s"):format(argument,
        near and ("did you mean :ops %s?"):format(near) or ":ops lists them all"))
    end
    pager.show(session, table.concat(rows_of(found, word, columns), "\n"))
  end,
  complete = sorted_names,
}
