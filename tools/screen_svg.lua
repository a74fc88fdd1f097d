-- screen_svg.lua: the screen of a terminal, as tmux gives it with its escape sequences, as an SVG
-- picture. Blocks, box lines and braille are drawn as shapes, so that they meet whatever font there
-- is; text stands in a grid.

local screen_svg = {}

local WIDE, HIGH = 9, 18 -- of a cell, in pixels
local HALF = HIGH // 2
local MARGIN = 14
local STEP, DOT = 4.5, 2.5 -- from a dot of braille to the next, and of one
local BACKGROUND, FOREGROUND = "#16181d", "#d7dae0"

-- The colours of a dark terminal that is good to read: the 8 dark ones, then the 8 bright ones.
local PALETTE = {
  "#2e3440", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4",
  "#767c8a", "#ff7a85", "#b5e890", "#ffd787", "#7fc4ff", "#e29bf7", "#74d7e3", "#ffffff",
}

-- A colour of the 256.
local function indexed(i)
  if i < 16 then return PALETTE[i + 1] end
  if i >= 232 then
    local grey = 8 + 10 * (i - 232)
    return ("#%02x%02x%02x"):format(grey, grey, grey)
  end
  local function level(n) return n == 0 and 0 or 55 + 40 * n end
  i = i - 16
  return ("#%02x%02x%02x"):format(level(i // 36), level(i // 6 % 6), level(i % 6))
end

-- Pictures have colours enough with 32 steps, and neighbours that are the same are one shape.
local function coarse(n) return math.min((n + 4) // 8 * 8, 255) end

-- ---- reading ----------------------------------------------------------------------------------

-- Changes a style by the numbers of an escape sequence.
local function apply(style, numbers)
  local i = 1
  while i <= #numbers do
    local n = numbers[i]
    if n == 0 then for key in pairs(style) do style[key] = nil end
    elseif n == 1 then style.bold = true
    elseif n == 2 then style.dim = true
    elseif n == 4 then style.underline = true
    elseif n == 7 then style.inverse = true
    elseif n == 22 then style.bold, style.dim = nil, nil
    elseif n == 24 then style.underline = nil
    elseif n == 27 then style.inverse = nil
    elseif n == 39 then style.front = nil
    elseif n == 49 then style.back = nil
    elseif n >= 30 and n <= 37 then style.front = PALETTE[n - 29]
    elseif n >= 90 and n <= 97 then style.front = PALETTE[n - 81]
    elseif n >= 40 and n <= 47 then style.back = PALETTE[n - 39]
    elseif n >= 100 and n <= 107 then style.back = PALETTE[n - 91]
    elseif n == 38 or n == 48 then
      local key, colour = n == 38 and "front" or "back"
      if numbers[i + 1] == 5 then
        colour, i = indexed(numbers[i + 2]), i + 2
      else
        colour = ("#%02x%02x%02x"):format(coarse(numbers[i + 2]), coarse(numbers[i + 3]),
          coarse(numbers[i + 4]))
        i = i + 4
      end
      style[key] = colour
    end
    i = i + 1
  end
end

-- A colour nearer to the background.
local function dimmed(colour)
  local mixed = {}
  for i = 2, 6, 2 do
    local front, back = tonumber(colour:sub(i, i + 1), 16), tonumber(BACKGROUND:sub(i, i + 1), 16)
    mixed[#mixed + 1] = ("%02x"):format((front * 6 + back * 4) // 10)
  end
  return "#" .. table.concat(mixed)
end

---@class moonwalk.ScreenCell
---@field text string  a character
---@field front string
---@field back string
---@field bold boolean?
---@field underline boolean?

-- Lines of cells. Nothing that is wide stands on the screens that are drawn.
local function cells_of(styled)
  local rows, style = {}, {}
  for line in styled:gmatch "([^\n]*)\n" do
    local row, at = {}, 1
    while at <= #line do
      local numbers, after = line:match("^\27%[([%d;]*)m()", at)
      if numbers then
        local list = {}
        for n in (numbers == "" and "0" or numbers):gmatch "%d+" do
          list[#list + 1] = tonumber(n)
        end
        apply(style, list)
        at = after
      else
        local character = line:match("^" .. utf8.charpattern, at)
        local front, back = style.front or FOREGROUND, style.back or BACKGROUND
        if style.inverse then front, back = back, front end
        row[#row + 1] = {
          text = character, front = style.dim and dimmed(front) or front, back = back,
          bold = style.bold, underline = style.underline,
        }
        at = at + #character
      end
    end
    rows[#rows + 1] = row
  end
  return rows
end

-- ---- drawing ----------------------------------------------------------------------------------

-- Where lines of a box go from the middle of a cell: up, right, down, left.
local BOX = {
  ["─"] = "rl", ["│"] = "ud", ["┌"] = "rd", ["┐"] = "dl", ["└"] = "ur", ["┘"] = "ul",
  ["├"] = "urd", ["┤"] = "udl", ["┬"] = "rdl", ["┴"] = "url", ["┼"] = "urdl", ["╭"] = "rd",
  ["╮"] = "dl", ["╰"] = "ur", ["╯"] = "ul", ["╴"] = "l", ["╶"] = "r", ["╵"] = "u", ["╷"] = "d",
}

-- Dots of a braille character, by its bits: column, row.
local DOTS = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}}

local function path_of(shapes, colour)
  if not shapes[colour] then shapes[#shapes + 1], shapes[colour] = colour, {} end
  return shapes[colour]
end

local function add_rectangle(shapes, colour, x, y, width, height)
  local path = path_of(shapes, colour)
  -- What goes on to the right of the last one makes it longer.
  local last = path[#path]
  if last and last[2] == y and last[4] == height and last[1] + last[3] == x then
    last[3] = last[3] + width
  else
    path[#path + 1] = {x, y, width, height}
  end
end

-- Dots stand in rows, which are dashed lines.
local function add_dot(dots, colour, x, y)
  local path = path_of(dots, colour)
  local rows = path.rows or {}
  path.rows = rows
  local last = rows[y]
  if last and last[1] + last[2] + STEP - DOT == x then
    last[2] = last[2] + STEP
  else
    rows[y] = {x, DOT, y}
    path[#path + 1] = rows[y]
  end
end

-- Draws a character that is a shape; false for any other.
local function draw_shape(shapes, dots, cell, x, y)
  local code = utf8.codepoint(cell.text)
  local lines = BOX[cell.text]
  if lines then
    local middle_x, middle_y = x + WIDE // 2, y + HIGH // 2
    for direction in lines:gmatch "." do
      if direction == "u" then add_rectangle(shapes, cell.front, middle_x, y, 1, HIGH // 2 + 1)
      elseif direction == "d" then
        add_rectangle(shapes, cell.front, middle_x, middle_y, 1, HIGH - HIGH // 2)
      elseif direction == "l" then
        add_rectangle(shapes, cell.front, x, middle_y, WIDE // 2 + 1, 1)
      else add_rectangle(shapes, cell.front, middle_x, middle_y, WIDE - WIDE // 2, 1) end
    end
  elseif code >= 0x2800 and code <= 0x28ff then
    for bit = 0, 7 do
      if code >> bit & 1 == 1 then
        local dot = DOTS[bit + 1]
        add_dot(dots, cell.front, x + 1 + STEP * dot[1], y + 2.5 + STEP * dot[2])
      end
    end
  elseif cell.text == "▀" then add_rectangle(shapes, cell.front, x, y, WIDE, HALF)
  elseif code >= 0x2581 and code <= 0x2588 then
    local height = HIGH * (code - 0x2580) / 8
    add_rectangle(shapes, cell.front, x, y + HIGH - height, WIDE, height)
  elseif code >= 0x2589 and code <= 0x258f then
    add_rectangle(shapes, cell.front, x, y, WIDE * (0x2590 - code) / 8, HIGH)
  else return false end
  return true
end

local function escape(text)
  return (text:gsub("[&<>]", {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;"}))
end

local function same_style(a, b)
  return a.front == b.front and a.bold == b.bold and a.underline == b.underline
end

-- The text of a row from a column on, as far as its style goes; blanks end it where there are two.
local function run_from(row, first)
  local parts, last = {}, first
  for column = first, #row do
    local cell = row[column]
    local follows = row[column + 1]
    if not same_style(cell, row[first]) or cell.drawn then break end
    if cell.text == " " and (not follows or follows.text == " ") then break end
    parts[#parts + 1], last = cell.text, column
  end
  return table.concat(parts), last
end

local function add_texts(out, row, y)
  local column = 1
  while column <= #row do
    local cell = row[column]
    if cell.drawn or cell.text == " " then
      column = column + 1
    else
      local text, last = run_from(row, column)
      local length = last - column + 1
      out[#out + 1] = ('<text x="%d" y="%d"%s%s%s%s>%s</text>'):format(
        MARGIN + (column - 1) * WIDE, y, length > 1 and (' textLength="%d"'):format(length * WIDE)
        or "", cell.front ~= FOREGROUND and (' fill="%s"'):format(cell.front) or "",
        cell.bold and ' font-weight="bold"' or "",
        cell.underline and ' text-decoration="underline"' or "", escape(text))
      column = last + 1
    end
  end
end

local function number(x) return x == math.floor(x) and ("%d"):format(x) or ("%.5g"):format(x) end

-- Rectangles of one height are lines of that width: that takes fewer letters.
local function add_shapes(out, shapes, height)
  for _, colour in ipairs(shapes) do
    local parts = {}
    for _, r in ipairs(shapes[colour]) do
      if r[4] == height then
        parts[#parts + 1] = ("M%s %sh%s"):format(number(r[1]), number(r[2] + height / 2),
          number(r[3]))
      elseif not height and r[4] ~= HALF then
        parts[#parts + 1] = ("M%s %sh%sv%sh-%sz"):format(number(r[1]), number(r[2]), number(r[3]),
          number(r[4]), number(r[3]))
      end
    end
    local attribute = height and "stroke" or "fill"
    if #parts > 0 then
      out[#out + 1] = ('<path %s="%s" d="%s"/>'):format(attribute, colour, table.concat(parts))
    end
  end
end

local function add_dots(out, shapes)
  for _, colour in ipairs(shapes) do
    local parts = {}
    for i, run in ipairs(shapes[colour]) do
      parts[i] = ("M%s %sh%s"):format(number(run[1]), number(run[3]), number(run[2]))
    end
    out[#out + 1] = ('<path stroke="%s" d="%s"/>'):format(colour, table.concat(parts))
  end
end

-- Without the lines that are empty at the end.
local function trimmed(rows)
  local last = #rows
  while last > 0 and #rows[last] == 0 do last = last - 1 end
  return table.move(rows, 1, last, 1, {})
end

---The SVG of a screen.
---@param styled string  lines that end with line breaks, with escape sequences for their colours
---@param columns integer  of the terminal
---@param title string  what the picture shows, for those who do not see it
---@return string
function screen_svg.of(styled, columns, title)
  local rows = trimmed(cells_of(styled))
  local width, height = columns * WIDE + 2 * MARGIN, #rows * HIGH + 2 * MARGIN
  local crisp, dots, texts = {}, {}, {}
  for r, row in ipairs(rows) do
    local y = MARGIN + (r - 1) * HIGH
    for c, cell in ipairs(row) do
      local x = MARGIN + (c - 1) * WIDE
      if cell.text == "▀" then add_rectangle(crisp, cell.back, x, y + HALF, WIDE, HALF)
      elseif cell.back ~= BACKGROUND then add_rectangle(crisp, cell.back, x, y, WIDE, HIGH) end
      cell.drawn = draw_shape(crisp, dots, cell, x, y)
    end
    add_texts(texts, row, y + HIGH - 5)
  end
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">'):format(
      width, height, width, height),
    ("<title>%s</title>"):format(escape(title)),
    ('<rect width="%d" height="%d" rx="8" fill="%s"/>'):format(width, height, BACKGROUND),
    '<g shape-rendering="crispEdges">',
  }
  add_shapes(out, crisp)
  out[#out + 1] = ('</g>\n<g shape-rendering="crispEdges" stroke-width="%d">'):format(HALF)
  add_shapes(out, crisp, HALF)
  out[#out + 1] = "</g>"
  out[#out + 1] = ('<g stroke-width="%g" stroke-dasharray="%g %g">'):format(DOT, DOT, STEP - DOT)
  add_dots(out, dots)
  out[#out + 1] = "</g>"
  out[#out + 1] = ('<g fill="%s" font-family="\'DejaVu Sans Mono\',Menlo,Consolas,monospace" '
    .. 'font-size="15" style="white-space:pre">'):format(FOREGROUND)
  table.move(texts, 1, #texts, #out + 1, out)
  out[#out + 1] = "</g>\n</svg>\n"
  return table.concat(out, "\n")
end

return screen_svg
