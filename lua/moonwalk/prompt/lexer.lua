-- lexer.lua: Lua text as tokens, finished or not: what completion and the session need to know of
-- a text that Lua's own parser does not tell.

local lexer = {}

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

---@class moonwalk.Token
---@field kind "name"|"keyword"|"number"|"string"|"comment"|"symbol"
---@field text string
---@field first integer  where it stands
---@field last integer
---@field open boolean?  a string or comment whose end is missing

-- Where a bracket such as [==[ ends, which begins at `from`; the text's end and true without one.
local function long_end(text, from, level)
  local _, last = text:find("]" .. level .. "]", from, true)
  return last or #text, not last or nil
end

-- Where a string in quotes ends that begins at `from`.
local function string_end(text, from)
  local quote, at = text:sub(from, from), from + 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == quote then return at end
    if c == "\n" then return at - 1, true end
    at = at + (c == "\\" and 2 or 1)
  end
  return #text, true
end

local SYMBOLS = {"...", "..", "==", "~=", "<=", ">=", "//", "::", "<<", ">>"}

local function symbol_end(text, from)
  for _, symbol in ipairs(SYMBOLS) do
    if text:sub(from, from + #symbol - 1) == symbol then return from + #symbol - 1 end
  end
  return from
end

-- The kind and the end of the token that begins at `from`, and whether its end is missing.
local function token_at(text, from)
  local level = text:match("^%-%-%[(=*)%[", from)
  if level then return "comment", long_end(text, from, level) end
  if text:find("^%-%-", from) then
    return "comment", (text:find("\n", from, true) or #text + 1) - 1
  end
  level = text:match("^%[(=*)%[", from)
  if level then return "string", long_end(text, from, level) end
  if text:find("^[\"']", from) then return "string", string_end(text, from) end
  local word = text:match("^[%a_][%w_]*", from)
  if word then return KEYWORDS[word] and "keyword" or "name", from + #word - 1 end
  local number = text:match("^%.?%d[%w_.]*", from)
  if number then return "number", from + #number - 1 end
  return "symbol", symbol_end(text, from)
end

---The tokens of a text. Where a string or comment does not end, it reaches to the end of the line
---or of the text.
---@param text string
---@return moonwalk.Token[]
function lexer.tokens(text)
  local list, at = {}, text:find "%S"
  while at do
    local kind, last, open = token_at(text, at)
    list[#list + 1] = {kind = kind, text = text:sub(at, last), first = at, last = last, open = open}
    at = text:find("%S", last + 1)
  end
  return list
end

-- Words that begin a block which `end` or `until` closes; `while` and `for` have a `do` of theirs.
local OPENS = {["do"] = true, ["if"] = true, ["function"] = true, ["repeat"] = true}
local CLOSES = {["end"] = true, ["until"] = true}

-- The names that a `local` at position i declares, into a set. Those that are closed at the end of
-- their block are left out.
local function declared(list, i, names)
  if list[i + 1] and list[i + 1].text == "function" then
    names[list[i + 2] and list[i + 2].text or ""] = true
    return
  end
  repeat
    i = i + 1
    local name, attribute = list[i], nil
    if not name or name.kind ~= "name" then return end
    if list[i + 1] and list[i + 1].text == "<" then
      attribute = list[i + 2] and list[i + 2].text
      i = i + 3
    end
    if attribute ~= "close" then names[name.text] = true end
    i = i + 1
  until not list[i] or list[i].text ~= ","
end

---The names of the local variables of a chunk itself, not of its blocks.
---@param text string
---@return string[]
function lexer.locals(text)
  local list, names, depth = {}, {}, 0
  for _, token in ipairs(lexer.tokens(text)) do
    if token.kind ~= "comment" then list[#list + 1] = token end
  end
  for i, token in ipairs(list) do
    if token.kind == "keyword" then
      if token.text == "local" and depth == 0 then declared(list, i, names) end
      if OPENS[token.text] then depth = depth + 1 end
      if CLOSES[token.text] then depth = depth - 1 end
    end
  end
  names[""] = nil
  local sorted = {}
  for name in pairs(names) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  return sorted
end

---The names that a text uses, whatever they stand for there.
---@param text string
---@return table<string, true>
function lexer.names(text)
  local names = {}
  for _, token in ipairs(lexer.tokens(text)) do
    if token.kind == "name" then names[token.text] = true end
  end
  return names
end

return lexer
