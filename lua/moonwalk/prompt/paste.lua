-- paste.lua: what pasted text means: lines that were copied from a prompt, with its marks and what
-- it answered, become what was typed there.

local paste = {}

---A text with the line breaks of this system, and without characters that move a cursor.
---@param text string
---@return string
function paste.clean(text)
  return (text:gsub("\r\n?", "\n"):gsub("\27%[[%d;]*%a", ""):gsub("[%z\1-\8\11-\31\127]", ""))
end

-- The mark of a prompt that a line begins with, and what is behind it.
local function marked(line)
  local mark, rest = line:match "^(>>?) (.*)$"
  return mark or line:match "^>>?$", rest or ""
end

---A line without the mark of a prompt. No line of Lua begins like that.
---@param line string
---@return string
function paste.unmarked(line)
  local mark, rest = marked(line)
  return mark and rest or line
end

-- Whether a text is Lua: true, "open" when its end is missing, or nil.
local function is_lua(text)
  local fn, message = load(text, "=paste", "t")
  if fn or load("return " .. text, "=paste", "t") then return true end
  return message:find "<eof>$" and "open" or nil
end

-- Whether lines were copied from a prompt.
local function is_transcript(text, lines)
  local first, some = nil, false
  for _, line in ipairs(lines) do
    if first == nil and line:find "%S" then first = marked(line) or false end
    some = some or marked(line) ~= nil
  end
  return first or some and not is_lua(text)
end

local function split(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

-- Lines that are no chunk as one, since there are expressions or commands among them, as several
-- texts; nil when that does not help.
local function pieces(lines)
  local texts, text = {}, nil
  for _, line in ipairs(lines) do
    if not text and line:find "^%s*[:?]" and not line:find "^%s*::" then
      texts[#texts + 1] = line
    elseif text or line:find "%S" then
      text = text and text .. "\n" .. line or line
      local state = is_lua(text)
      if not state then return nil end
      if state ~= "open" then texts[#texts + 1], text = text, nil end
    end
  end
  texts[#texts + 1] = text
  return texts
end

---The texts that a pasted one consists of, each of which could have been typed; and whether the
---last one is not yet finished by a line break. Lines that are a chunk of Lua are one text.
---@param text string  a clean one
---@return string[] texts
---@return boolean open
function paste.texts(text)
  local lines = split(text)
  if not is_transcript(text, lines) then
    local ended = text:find "\n%s*$" ~= nil
    text = text:gsub("%s+$", "")
    return is_lua(text) ~= true and pieces(split(text)) or {text}, not ended
  end
  local texts, last_mark = {}, nil
  for i, line in ipairs(lines) do
    local mark, rest = marked(line)
    last_mark = mark
    if i == 1 and not mark and line:find "%S" and is_lua(line) then mark, rest = ">", line end
    if mark == ">" then texts[#texts + 1] = rest
    elseif mark == ">>" then
      texts[#texts + (texts[1] and 0 or 1)] = texts[1] and texts[#texts] .. "\n" .. rest or rest
    end
  end
  local open = last_mark ~= nil and texts[#texts]:find "%S" ~= nil
  local kept = {}
  for _, each in ipairs(texts) do
    if each:find "%S" then kept[#kept + 1] = each end
  end
  return kept, open
end

return paste
