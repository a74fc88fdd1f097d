-- markdown.lua: a page of Markdown as it is read in a terminal: headings are bold, code is
-- indented, text is wrapped. The Markdown that the manual is written in, no more.

local code = require "moonwalk.look.code"
local screen = require "moonwalk.look.screen"
local snippet = require "moonwalk.look.snippet"

local markdown = {}

local WIDEST = 100 -- columns of text, however wide the terminal is

-- ---- within a line ----------------------------------------------------------------------------

-- Links as the text that they stand in, and where they lead if that is not the manual.
local function without_links(text)
  return (text:gsub("%[([^%]]*)%]%(([^)]*)%)", function(label, target)
    return target:find "^https?:" and label ~= "" and ("%s (%s)"):format(label, target) or label
  end))
end

-- Marks of code and bold text as styles; where there are no colours, code keeps its marks.
local function inline(text)
  local codes = {}
  text = text:gsub("`([^`]+)`", function(inside)
    codes[#codes + 1] = screen.colours() > 0 and screen.paint(inside, "cyan")
      or "`" .. inside .. "`"
    return ("\1%d\1"):format(#codes)
  end)
  text = text:gsub("%*%*(.-)%*%*", function(inside) return screen.paint(inside, "bold") end)
  text = text:gsub("%f[%w*]%*([^*\n]+)%*", "%1"):gsub("&lt;", "<"):gsub("&gt;", ">")
  return (text:gsub("\1(%d+)\1", function(i) return codes[tonumber(i)] end))
end

---A text in lines of so many columns, as screen.fold makes them; a piece of code stays in one line
---where it can.
---@param text string  styles in it take no columns
---@param columns integer
---@param first string?  before the first line
---@param rest string?  before the others
---@param width (fun(text: string): integer)?  else screen.width
---@return string[]
function markdown.wrap(text, columns, first, rest, width)
  width = width or screen.width
  local room = columns - screen.width(rest or "")
  local glued = text:gsub("[^%s`]*`[^`\n]*`[^%s`]*", function(piece)
    return width(piece) <= room and piece:gsub(" ", "\2") or piece
  end)
  local lines = screen.fold(glued, columns, first, rest, width)
  for i, line in ipairs(lines) do lines[i] = line:gsub("\2", " ") end
  return lines
end

-- ---- blocks -----------------------------------------------------------------------------------

local function add_all(lines, more)
  table.move(more, 1, #more, #lines + 1, lines)
end

-- The columns of a text whose marks are styles afterwards.
local function marked_width(text)
  local columns = 0
  text = text:gsub("`[^`]*`", function(piece)
    columns = columns + screen.width(piece) - (screen.colours() > 0 and 2 or 0)
    return ""
  end)
  return columns + screen.width((text:gsub("%*+", "")))
end

-- A text that is wrapped before its marks become styles: the marks of code keep it together.
local function add_text(lines, text, columns, first, rest)
  local wrapped = markdown.wrap(without_links(text), columns, first, rest, marked_width)
  local open = false -- a piece of code or bold text that goes over the end of a line
  for i, line in ipairs(wrapped) do
    local _, marks = line:gsub("%*%*", "")
    if open then line = line:gsub("^(%s*)", "%1**") end
    if marks % 2 == 1 then open = not open end
    if open then line = line .. "**" end
    wrapped[i] = inline(line)
  end
  add_all(lines, wrapped)
end

local function cells_of(line)
  local cells = {}
  line = line:gsub("^%s*|", ""):gsub("|%s*$", ""):gsub("\\|", "\3")
  for cell in (line .. "|"):gmatch "(.-)|" do
    cells[#cells + 1] = cell:match "^%s*(.-)%s*$":gsub("\3", "|")
  end
  return cells
end

-- The widths of a table's columns: as wide as they must be, the widest cut where there is no room.
local function column_widths(rows, columns)
  local widths, total = {}, 0
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 1, screen.width(inline(without_links(cell))))
    end
  end
  for _, width in ipairs(widths) do total = total + width + 2 end
  while total - 2 > columns do
    local widest = 1
    for i, width in ipairs(widths) do
      if width > widths[widest] then widest = i end
    end
    if widths[widest] <= 8 then break end
    widths[widest], total = widths[widest] - 1, total - 1
  end
  return widths
end

local function add_row(lines, row, widths, style)
  local cells, height = {}, 1
  for i, width in ipairs(widths) do
    local list = {}
    add_text(list, row[i] or "", width)
    cells[i], height = list, math.max(height, #list)
  end
  for k = 1, height do
    local parts = {}
    for i, width in ipairs(widths) do
      local text = cells[i][k] or ""
      text = style and screen.paint(text, style) or text
      parts[i] = i < #widths and screen.pad(text, math.max(width, screen.width(text))) or text
    end
    lines[#lines + 1] = (table.concat(parts, "  "):gsub("%s+$", ""))
  end
end

local function add_table(lines, source, columns)
  local rows = {}
  for _, line in ipairs(source) do
    if not line:find "^%s*|?[%s:|-]+|?%s*$" then rows[#rows + 1] = cells_of(line) end
  end
  local widths = column_widths(rows, columns)
  for i, row in ipairs(rows) do add_row(lines, row, widths, i == 1 and "bold" or nil) end
end

-- Code is indented, less where it is wide, and in colours where it is Lua or C.
local function add_code(lines, list, columns, language)
  local widest = 0
  for _, line in ipairs(list) do widest = math.max(widest, screen.width(line)) end
  local indent = math.max(0, math.min(4, columns - widest))
  if widest > columns then indent = 2 end
  list = snippet(list, columns - indent)
  if language == "lua" or language == "c" then
    list = code.painted(table.concat(list, "\n"), language)
  end
  local space = (" "):rep(indent)
  for _, line in ipairs(list) do lines[#lines + 1] = line == "" and "" or space .. line end
end

-- ---- the page ---------------------------------------------------------------------------------

-- The lines from a place on that satisfy a test, and where they end.
local function run_of(source, i, test)
  local list = {}
  while source[i] and test(source[i]) do
    list[#list + 1] = source[i]
    i = i + 1
  end
  return list, i
end

local function is_text(line)
  return line:find "%S" and not line:find "^#+ " and not line:find "^```"
    and not line:find "^%s*[-*] " and not line:find "^%s*%d+%. " and not line:find "^|"
end

-- Each kind of block: adds the one that begins at line i, and returns where it ends.
local blocks = {
  {"^```", function(lines, source, i, columns)
    local list, last = run_of(source, i + 1, function(line) return not line:find "^```" end)
    add_code(lines, list, columns, source[i]:match "^```(%w*)")
    return last + 1
  end},
  {"^#+ ", function(lines, source, i)
    local marks, title = source[i]:match "^(#+) +(.-)%s*$"
    title = title:gsub("`", "")
    lines[#lines + 1] = screen.paint(title, #marks <= 2 and "bold underline" or "bold")
    if screen.colours() == 0 and #marks <= 2 then
      lines[#lines + 1] = (#marks == 1 and "=" or "-"):rep(screen.width(title))
    end
    return i + 1
  end},
  {"^|", function(lines, source, i, columns)
    local list, last = run_of(source, i, function(line) return line:find "^|" ~= nil end)
    add_table(lines, list, columns)
    return last
  end},
  {"^%s*[-*] ", function(lines, source, i, columns)
    local space, text = source[i]:match "^(%s*)[-*] +(.*)$"
    local more, last = run_of(source, i + 1, is_text)
    local mark = space .. (screen.utf8() and "• " or "- ")
    add_text(lines, text .. " " .. table.concat(more, " "), columns, mark, space .. "  ")
    return last
  end},
  {"^%s*%d+%. ", function(lines, source, i, columns)
    local mark, text = source[i]:match "^(%s*%d+%. )%s*(.*)$"
    local more, last = run_of(source, i + 1, is_text)
    add_text(lines, text .. " " .. table.concat(more, " "), columns, mark, (" "):rep(#mark))
    return last
  end},
  {"^%s*$", function(lines, _, i)
    if #lines > 0 and lines[#lines] ~= "" then lines[#lines + 1] = "" end
    return i + 1
  end},
  {"^<", function(_, _, i) return i + 1 end}, -- what is for a page on the Web
  {"^!%[", function(_, _, i) return i + 1 end}, -- a picture
  {"", function(lines, source, i, columns)
    local list, last = run_of(source, i, is_text)
    if #list == 0 then list, last = {source[i]}, i + 1 end
    add_text(lines, table.concat(list, " "), columns)
    return last
  end},
}

local ASCII = {["±"] = "+-", ["×"] = "x", ["²"] = "^2", ["⁹"] = "^9", ["→"] = "->", ["…"] = "..."}

---A page as it is shown.
---@param text string  Markdown
---@param columns integer?  else the terminal's
---@return string
function markdown.render(text, columns)
  columns = math.min(columns or screen.size(), WIDEST)
  if not screen.utf8() then
    text = text:gsub("[\xC2-\xF4][\x80-\xBF]+", function(c) return ASCII[c] or "?" end)
  end
  local source, lines, i = screen.lines(text), {}, 1
  while i <= #source do
    for _, block in ipairs(blocks) do
      if source[i]:find(block[1]) then
        i = block[2](lines, source, i, columns)
        break
      end
    end
  end
  while lines[#lines] == "" do lines[#lines] = nil end
  return table.concat(lines, "\n")
end

return markdown
