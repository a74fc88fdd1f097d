-- code.lua: C and Lua as it is shown in a terminal: a little colour, line numbers, and no line
-- wider than the screen.

local screen = require "moonwalk.look.screen"

local code = {}

local function set(words)
  local list = {}
  for word in words:gmatch "%S+" do list[word] = true end
  return list
end

local KEYWORDS = {
  c = set [[break case const continue default do else enum extern for goto if inline return sizeof
    static struct switch typedef union volatile while bool char double float int int8_t int16_t
    int32_t int64_t long real short signed size_t uint8_t uint16_t uint32_t uint64_t unsigned
    void]],
  lua = set [[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]],
}

local STYLES = {comment = "dim", string = "green", keyword = "bold blue", number = "cyan",
  directive = "magenta"}

-- Where a string in quotes ends.
local function string_end(text, at)
  local quote, i = text:sub(at, at), at + 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == quote or c == "\n" then return i end
    i = i + (c == "\\" and 2 or 1)
  end
  return #text
end

-- Where a comment ends that begins at a place, or nil where none does.
local function comment_end(text, at, language)
  if language == "c" then
    if text:find("^/%*", at) then return select(2, text:find("*/", at + 2, true)) or #text end
    return text:find("^//", at) and (text:find("\n", at, true) or #text + 1) - 1 or nil
  end
  if not text:find("^%-%-", at) then return nil end
  local level = text:match("^%-%-%[(=*)%[", at)
  if level then return select(2, text:find("]" .. level .. "]", at, true)) or #text end
  return (text:find("\n", at, true) or #text + 1) - 1
end

-- The kind of the piece of text at a place, nil for what has none, and its end.
local function piece(text, at, language)
  local last = comment_end(text, at, language)
  if last then return "comment", last end
  if text:find("^[\"']", at) then return "string", string_end(text, at) end
  local level = language == "lua" and text:match("^%[(=*)%[", at)
  if level then
    return "string", select(2, text:find("]" .. level .. "]", at, true)) or #text
  end
  local word = text:match("^[%a_][%w_]*", at)
  if word then return KEYWORDS[language][word] and "keyword" or nil, at + #word - 1 end
  local number = text:match("^%d[%w_.]*", at)
  if number then return "number", at + #number - 1 end
  local directive = language == "c" and text:match("^#%s*%a+", at)
  if directive then return "directive", at + #directive - 1 end
  return nil, at + #(text:match("^[^%w_\"'/#%-%[]+", at) or " ") - 1
end

---@alias moonwalk.CodeLine {[1]: string, [2]: string?}[]  pieces of a line, with their styles

---A text as lines, each a list of pieces with the names of their styles.
---@param text string
---@param language "c"|"lua"
---@return moonwalk.CodeLine[]
function code.lines(text, language)
  local lines, line, at = {}, {}, 1
  text = text:gsub("\t", "    ")
  while at <= #text do
    local kind, last = piece(text, at, language)
    local rest = text:sub(at, last)
    while true do
      local head, tail = rest:match "^([^\n]*)\n(.*)$"
      line[#line + 1] = {head or rest, STYLES[kind]}
      if not head then break end
      lines[#lines + 1], line, rest = line, {}, tail
    end
    at = last + 1
  end
  if #line > 1 or line[1] and line[1][1] ~= "" then lines[#lines + 1] = line end
  return lines
end

-- A line in colours, cut to columns if they are given.
local function paint(line, columns)
  local texts, parts, at = {}, {}, 0
  for i, item in ipairs(line) do texts[i] = item[1] end
  local whole = table.concat(texts)
  local cut, kept = columns and screen.cut(whole, columns) or whole, 0
  while kept < #cut and cut:byte(kept + 1) == whole:byte(kept + 1) do kept = kept + 1 end
  while kept < #cut and cut:find("^[\x80-\xBF]", kept + 1) do kept = kept - 1 end
  for _, item in ipairs(line) do
    local text = item[1]:sub(1, kept - at)
    parts[#parts + 1] = item[2] and screen.paint(text, item[2]) or text
    at = at + #text
  end
  return table.concat(parts) .. cut:sub(kept + 1)
end

---A text in colours, line by line.
---@param text string
---@param language "c"|"lua"
---@return string[]
function code.painted(text, language)
  local lines = code.lines(text, language)
  for i, line in ipairs(lines) do lines[i] = paint(line) end
  return lines
end

---Lines first to last with their numbers in front, each cut to the columns.
---@param lines moonwalk.CodeLine[]
---@param first integer
---@param last integer
---@param columns integer
---@param is_marked (fun(line: integer): boolean)?  which of them are pointed at
---@return string[]
function code.numbered(lines, first, last, columns, is_marked)
  local width, result = #tostring(#lines), {}
  for i = first, math.min(last, #lines) do
    local mark = is_marked and is_marked(i)
    local number = ("%" .. width .. "d%s "):format(i, mark and ">" or " ")
    result[#result + 1] = screen.paint(number, mark and "bold yellow" or "dim")
      .. paint(lines[i], columns - width - 2)
  end
  return result
end

return code
