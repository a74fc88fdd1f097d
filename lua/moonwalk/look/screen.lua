-- screen.lua: the terminal that things are shown in: how large it is, which colours and characters
-- it has. All of it is asked anew each time, since a terminal may be resized.

local core = require "moonwalk.core"

local screen = {}

---The terminal's size; 80 by 24 where standard output is none.
---@return integer columns
---@return integer rows
function screen.size()
  local columns, rows = core.terminal "stdout"
  return columns or 80, rows or 24
end

---How many colours the terminal shows: 0 where it has none, where NO_COLOR is set
---(https://no-color.org), and where standard output is no terminal.
---@return 0|16|256|16777216
function screen.colours()
  local kind, wide = os.getenv "TERM" or "", os.getenv "COLORTERM"
  if (os.getenv "NO_COLOR" or "") ~= "" or not core.terminal "stdout" then return 0 end
  if wide == "truecolor" or wide == "24bit" then return 1 << 24 end
  if kind:find "256color" or kind:find "kitty" then return 256 end
  return (kind == "" or kind == "dumb") and 0 or 16
end

---Whether the terminal shows more than ASCII: whether the locale is UTF-8.
---@return boolean
function screen.utf8() return core.speaks_utf8() end

---The columns that a text takes, escape sequences and wide characters counted as shown.
---@type fun(text: string): integer
screen.width = core.width

---A text with blanks behind it, to fill columns.
---@param text string
---@param columns integer
---@return string
function screen.pad(text, columns)
  return text .. (" "):rep(columns - core.width(text))
end

---A text without escape sequences, cut to columns, at least one; dots mark what is left out.
---@param text string
---@param columns integer
---@return string
function screen.cut(text, columns)
  if core.width(text) <= columns then return text end
  local dots = screen.utf8() and "…" or ("..."):sub(1, columns)
  local room, parts = columns - core.width(dots), {}
  for character in text:gmatch(screen.utf8() and utf8.charpattern or ".") do
    room = room - core.width(character)
    if room < 0 then break end
    parts[#parts + 1] = character
  end
  return table.concat(parts) .. dots
end

---The lines of a text, the last of which may end with a line break or not.
---@param text string
---@return string[]
function screen.lines(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  if lines[#lines] == "" then lines[#lines] = nil end
  return lines
end

---Words in lines of at most so many columns; a longer word has a line of its own.
---@param text string  styles in it take no columns
---@param columns integer
---@param first string?  before the first line
---@param rest string?  before the others
---@param width (fun(text: string): integer)?  else screen.width
---@return string[]
function screen.fold(text, columns, first, rest, width)
  width = width or screen.width
  local lines, line, empty = {}, first or "", true
  for word in text:gmatch "%S+" do
    local gap = empty and "" or " "
    if not empty and width(line) + #gap + width(word) > columns then
      lines[#lines + 1], line, gap = line, rest or "", ""
    end
    line, empty = line .. gap .. word, false
  end
  if not empty or first then lines[#lines + 1] = line end
  return lines
end

---A text whose lines end between words, and go on indented, where they would be wider than the
---terminal. Without a terminal it is left as it is.
---@param text string
---@return string
function screen.wrap(text)
  local columns = core.terminal "stdout"
  if not columns then return text end
  return (text:gsub("[^\n]+", function(line)
    if screen.width(line) <= columns then return line end
    return table.concat(screen.fold(line, columns, line:match "^%s*", "  "), "\n")
  end))
end

local CODES = {
  bold = 1, dim = 2, underline = 4, inverse = 7, red = 31, green = 32, yellow = 33, blue = 34,
  magenta = 35, cyan = 36,
}

---A text in a style, such as "bold red", where the terminal has colours; else as it is.
---@param text string
---@param style string
---@return string
function screen.paint(text, style)
  if screen.colours() == 0 or text == "" then return text end
  local codes = {}
  for name in style:gmatch "%a+" do codes[#codes + 1] = CODES[name] end
  return ("\27[%sm%s\27[0m"):format(table.concat(codes, ";"), text)
end

return screen
