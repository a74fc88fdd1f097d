-- input.lua: lines that are typed: what the keys do for which Moonwalk and not the line editor is
-- responsible. lua/editor.c reads them; without libedit, lines come as the terminal gives them.

local core = require "moonwalk.core"
local colour = require "moonwalk.prompt.colour"
local history = require "moonwalk.prompt.history"
local paste = require "moonwalk.prompt.paste"
local screen = require "moonwalk.look.screen"

local input = {}

---@class moonwalk.InputOptions
---@field history string?  a path; without one it ends with the process
---@field complete (fun(text: string, cursor: integer): string[], integer)?  words that the text
---  before the cursor could go on with, and where they begin in it

local MORE = ">> " -- before what follows a line break in a line

local past = history.open()
local complete
local waiting = {}  ---@type {text: string, open: boolean}[]  pasted, and still to be read
local keys = {}     ---@type table<string, fun(key: string): string?>  handlers, by the key's name
local mark = "> "   -- the prompt of the line that is read
local before = ""   -- the lines before it, of which it is a continuation

---Says where the history is and how words are completed.
---@param options moonwalk.InputOptions
function input.open(options)
  past = history.open(options.history)
  complete = options.complete
end

function input.close() waiting = {} end

---Whether a line editor is asked for, and the terminal could have one.
---@return boolean
function input.wanted()
  local terminal = os.getenv "TERM" or ""
  return os.getenv "MOONWALK_EDITOR" ~= "plain" and terminal ~= "" and terminal ~= "dumb"
end

---Whether lines can be edited.
---@return "libedit"|"plain"
function input.kind()
  return input.wanted() and core.editor_open() and "libedit" or "plain"
end

---Keeps a text that was read, of one or several lines, in the history.
---@param text string
function input.remember(text) past:add(text) end

---What was typed before, the oldest first.
---@return string[]
function input.history() return past.entries end

---Puts a text, of one or several lines, into the next line that is read, where it may be changed.
---@param text string
---@return boolean done  not without a line editor
function input.offer(text)
  if input.kind() == "plain" then return false end
  waiting[#waiting + 1] = {text = text, open = true}
  return true
end

---Forgets what was pasted and has not been read yet.
function input.drop() waiting = {} end

---Shows lines above the one that is being edited; without one, at once.
---@param text string
function input.above(text)
  if not core.editor_note(text, false) then print(text) end
end

---Whether a key was pressed that has not been read. Before input.raw(true) that is so only when the
---line was ended.
---@return boolean
function input.typed() return core.key_typed() end

---Lets keys come one by one, and not be shown; or no longer.
---@param on boolean
---@return boolean on  not where standard input is no terminal
function input.raw(on) return core.key_raw(on) end

---Waits for a key: "a", "up", "enter", "escape", "ctrl-r", "alt-b"; see lua/keys.c. To be used
---between input.raw(true) and input.raw(false).
---@param seconds number?  to wait at most
---@return string? key
---@return "end"|"interrupted"|"resized"|nil
function input.key(seconds) return core.key_read(seconds) end

---What was typed while keys came one by one, of which a line without an editor would show nothing:
---what the next line begins with, "" where all of it waits for input.line; nil for Enter alone.
---@return string? first
---@return "interrupted"|nil
function input.ahead()
  local text = ""
  while true do
    local key, why = input.key(0)
    if not key then return text, why == "interrupted" and why or nil end
    if key == "enter" then
      if text == "" then return nil end
      waiting[#waiting + 1] = {text = text, open = false}
      return ""
    elseif key == "backspace" then
      text = text:gsub("[^\x80-\xBF][\x80-\xBF]*$", "")
    elseif key:find "^[^\1-\31][\x80-\xBF]*$" then
      text = text .. key
    end
  end
end

-- ---- moving and deleting --------------------------------------------------------------------

local CHARACTER = "[%z\1-\x7F\xC2-\xFD][\x80-\xBF]*"

-- The text before and behind the cursor.
local function halves()
  local text, cursor = core.editor_text()
  return text:sub(1, cursor), text:sub(cursor + 1)
end

local function insert(text)
  local head, tail = halves()
  core.editor_set(head .. text .. tail, #head + #text)
end

keys.paint = colour
function keys.enter() return "accept" end
keys["ctrl-c"] = function() return "interrupt" end
keys["ctrl-l"] = function() return "clear" end
keys["alt-enter"] = function() insert "\n" end

function keys.delete()
  local head, tail = halves()
  local first = tail:match("^" .. (screen.utf8() and CHARACTER or ".")) or tail:sub(1, 1)
  if first == "" then return "beep" end
  core.editor_set(head .. tail:sub(#first + 1), #head)
end

keys["ctrl-d"] = function(key)
  return core.editor_text() == "" and "end" or keys.delete(key)
end

function keys.home()
  local head, tail = halves()
  core.editor_set(head .. tail, #head:match "^(.-)[^\n]*$")
end
keys["end"] = function()
  local head, tail = halves()
  core.editor_set(head .. tail, #head + #tail:match "^[^\n]*")
end
keys["ctrl-a"], keys["ctrl-e"] = keys.home, keys["end"]

-- Where the cursor is a line further up (-1) or down (1), or nil where there is no such line.
local function line_from(head, tail, step)
  local column = head:match "[^\n]*$"
  if step < 0 then
    local above = head:sub(1, -#column - 2):match "[^\n]*$"
    if not head:find "\n" then return nil end
    return #head - #column - 1 - #above + math.min(#column, #above)
  end
  local rest, below = tail:match "^([^\n]*)\n([^\n]*)"
  return rest and #head + #rest + 1 + math.min(#column, #below)
end

-- ---- history --------------------------------------------------------------------------------

local walk -- through the history: {prefix, number, shown, typed}

local function show(text, cursor)
  core.editor_set(text, cursor or #text)
end

-- The entry before or after the one that is shown, of those that begin with what was typed.
local function browse(step)
  local head, tail = halves()
  local text = head .. tail
  if not (walk and walk.shown == text and tail == "") then
    local place = line_from(head, tail, step)
    if place then return core.editor_set(text, place) end
    walk = {prefix = head, number = #past.entries + 1, typed = text, cursor = #head}
  end
  local number, entry = past:find(walk.number, step, walk.prefix, true, text)
  if number then
    walk.number, walk.shown = number, entry
    return show(entry)
  end
  if step < 0 or walk.number > #past.entries then return "beep" end
  local typed, cursor = walk.typed, walk.cursor
  walk = nil
  show(typed, cursor)
end

function keys.up() return browse(-1) end
function keys.down() return browse(1) end
keys["ctrl-p"], keys["ctrl-n"] = keys.up, keys.down

-- What a search does with a key, until it ends with the key that is no part of it.
keys["ctrl-r"] = function()
  local typed, cursor = core.editor_text()
  local sought, number, missed = "", #past.entries + 1, false
  local function ask()
    core.editor_prompt(("(%s '%s') "):format(missed and "not found:" or "search:", sought))
  end
  local function seek(from, step)
    local found, entry = past:find(from, step, sought, false, from == number and core.editor_text())
    missed = found == nil
    if found then
      number = found
      show(entry, entry:find(sought, 1, true) - 1 + #sought)
    end
    ask()
    return missed and "beep" or nil
  end
  local function leave(action)
    keys.any = nil
    core.editor_prompt(mark)
    return action
  end
  ask()
  keys.any = function(key)
    if key == "ctrl-r" then return sought ~= "" and seek(number, -1) or nil end
    if key == "ctrl-s" then return sought ~= "" and seek(number, 1) or nil end
    if key == "backspace" then
      sought = sought:gsub("[^\x80-\xBF][\x80-\xBF]*$", "")
    elseif #key == 1 or key:find "^[\x80-\xFF]" then
      sought = sought .. key
    elseif key == "ctrl-g" or key == "escape" or key == "ctrl-c" then
      show(typed, cursor)
      return leave(key == "ctrl-c" and "again" or nil)
    else
      return leave(key ~= "tab" and "again" or nil)
    end
    if sought == "" then
      number, missed = #past.entries + 1, false
      show(typed, cursor)
      return ask()
    end
    return seek(math.min(number + 1, #past.entries + 1), -1)
  end
end

-- ---- completion -----------------------------------------------------------------------------

-- What all words begin with.
local function common(words)
  local prefix = words[1]
  for _, word in ipairs(words) do
    while word:sub(1, #prefix) ~= prefix do prefix = prefix:sub(1, -2) end
  end
  while words[1]:find("^[\x80-\xBF]", #prefix + 1) do prefix = prefix:sub(1, -2) end
  return prefix -- of whole characters
end

-- Words in columns, as many as the screen has room for.
local function listing(words)
  local columns, rows = screen.size()
  local widest = 0
  for _, word in ipairs(words) do widest = math.max(widest, screen.width(word)) end
  local across = math.max((columns + 1) // (widest + 2), 1)
  local down = (#words + across - 1) // across
  local most, lines = math.max(rows - 3, 1), {}
  local shown = #words
  if down > most then
    down = most
    shown = across * down
  end
  for row = 1, down do
    local parts = {}
    for i = row, shown, down do
      local word = screen.cut(words[i], columns - 1)
      parts[#parts + 1] = i + down <= shown and screen.pad(word, widest + 2) or word
    end
    lines[row] = table.concat(parts)
  end
  if shown < #words then lines[#lines + 1] = ("... and %d more"):format(#words - shown) end
  return table.concat(lines, "\n")
end

local listed -- the text whose words the next Tab shows

function keys.tab()
  local head, tail = halves()
  if not head:find "[^\n%s][^\n]*$" then return insert "  " end
  if not complete then return "beep" end
  local words, start = complete(before .. head .. tail, #before + #head)
  if not words or #words == 0 then return "beep" end
  start = start - #before
  local word = common(words)
  if #words == 1 and tail:sub(1, 1) == word:match "[(%s{\"']$" then word = word:sub(1, -2) end
  if head:sub(start) ~= word then
    core.editor_set(head:sub(1, start - 1) .. word .. tail, start - 1 + #word)
    if #words == 1 then return nil end
    listed = nil
    return "beep"
  end
  if #words == 1 then return nil end
  if listed ~= head .. "\0" .. tail then
    listed = head .. "\0" .. tail
    return "beep"
  end
  core.editor_note(listing(words), true)
end

-- ---- pasting --------------------------------------------------------------------------------

-- A line is put in; several that end with a line break are read at once, as if typed.
function keys.paste(pasted)
  local text = paste.clean(pasted)
  local head, tail = halves()
  if not text:gsub("\n+$", ""):find "\n" then
    text = text:gsub("\n+$", "")
    return insert(head:find "%S" and text or paste.unmarked(text))
  end
  local texts, open = paste.texts(text)
  if #texts == 0 then return "beep" end
  for i = 2, #texts do waiting[i - 1] = {text = texts[i], open = open and i == #texts} end
  insert(texts[1])
  if #texts > 1 or not open and tail == "" then return "accept" end
end

-- ---- reading --------------------------------------------------------------------------------

-- The next of several pasted texts, shown as if it had been typed.
local function read_waiting(next_one)
  print(mark .. next_one.text:gsub("\n", "\n" .. MORE))
  return next_one.text
end

---Reads a line, or several that were pasted. While nothing is typed, options.idle is called: it
---returns the seconds until it wants to be called again, 0 for at once, or false.
---@param prompt string
---@param options {idle: (fun(): number|false)?, before: string?, text: string?}?  `before`: the
---  lines that this one continues, for completion; `text`: what it begins with
---@return string? line
---@return "end"|"interrupted"|nil
function input.line(prompt, options)
  mark, before = prompt, options and options.before or ""
  walk, listed, keys.any = nil, nil, nil
  local next_one = table.remove(waiting, 1)
  if next_one and not next_one.open then return read_waiting(next_one) end
  local idle, text = options and options.idle, next_one and next_one.text
  text = text or options and options.text or ""
  local line, why
  if input.kind() == "plain" then
    line, why = core.editor_plain(prompt .. text, idle)
    line = line and text .. line
  else
    line, why = core.editor_read(prompt, MORE, keys, idle, text)
  end
  return line and paste.unmarked(line), why
end

return input
