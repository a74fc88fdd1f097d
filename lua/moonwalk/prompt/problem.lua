-- problem.lua: what is said of an error at the prompt: the message, what may have been meant, and
-- the calls that led to it.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local chunk = require "moonwalk.prompt.chunk"
local hints = require "moonwalk.prompt.hints"
local lexer = require "moonwalk.prompt.lexer"
local screen = require "moonwalk.look.screen"

local problem = {}

local MOST_CALLS, MOST_LEVELS = 8, 200
local OWN_PLACE = "^moonwalk/[%w_/]+%.lua:%d+: " -- in a message of Lua's own
local MOST_LINE = 2000 -- bytes of a text whose line is shown

local function is_own(frame) return frame.source:find "^=moonwalk/" ~= nil end

-- The user's functions that were running when a task failed, innermost first, as lines; what calls
-- itself is one.
local function calls_of(thread)
  local lines, level, repeated = {}, 0, 0
  while #lines <= MOST_CALLS and level < MOST_LEVELS do
    local frame = debug.getinfo(thread, level, "Sln")
    if not frame then break end
    if frame.currentline > 0 and not is_own(frame) then
      local name = frame.what == "main" and "the script"
        or frame.name and ("function '%s'"):format(frame.name) or "a function"
      local line = ("  at %s:%d in %s"):format(frame.short_src, frame.currentline, name)
      if line == lines[#lines] then repeated = repeated + 1 else lines[#lines + 1] = line end
    end
    level = level + 1
  end
  local ends = level < MOST_LEVELS and #lines <= MOST_CALLS
  if ends and #lines > 0 then lines[#lines] = lines[#lines]:gsub(" in .*$", "") end -- the entry
  if not ends then lines[math.min(#lines + 1, MOST_CALLS + 1)] = "  ..." end
  return (#lines > 1 or repeated > 0) and lines or {}
end

-- Names that a line may have meant: variables, and parts of mw.
local function known_names(session)
  local names = {}
  for name in session:variables() do names[#names + 1] = name end
  for name in pairs(getmetatable(session.env).lazy) do names[#names + 1] = name end
  for name in pairs(_G) do names[#names + 1] = name end
  return names
end

-- Whether there is a command of that name.
local function is_command(name)
  return require("moonwalk.prompt.session").command(name) ~= nil
end

-- What may have been meant by a global variable that is nil, or nil.
local function meant(session, name)
  if is_command(name) then return ":" .. name end
  local near = #name > 2 and check.near(name, known_names(session))
  if near then return near end
  for _, part in ipairs {"mw", "nn", "optim", "data"} do
    local there, value = pcall(function() return session.env[part][name] end)
    if there and value ~= nil then return part .. "." .. name end
  end
  local op = core.near(name)
  return op and "mw." .. op
end

-- The text that gave a variable the nil that it has, as far as what was typed tells.
local function made_nil_by(session, name)
  for i = #session.entries - 1, 1, -1 do
    local entry = session.entries[i]
    local statement = (";" .. entry.text):gsub("%f[%a]local%s+", "")
    if statement:find(";%s*" .. name .. "%s*=[^=]") then return entry.text end
  end
end

-- The message, or a plainer one where a variable is used that is not there; and what may help.
local function plain(session, message, text)
  local place, name = message:match "^(.-)attempt to .* a nil value %(global '([%a_][%w_]*)'%)$"
  if not name or session:get(name) ~= nil then return message end
  local other = hints.name(name, text)
  local maker = not other and made_nil_by(session, name)
  if maker then
    return ("%s'%s' is nil, since %s"):format(place, name, screen.cut(maker:match "[^\n]*", 50)),
      maker:find "load%f[%W]" and "what cannot be loaded is nil; assert(mw.load(path)) tells why"
  end
  local near = not other and meant(session, name)
  return ("%sthere is no variable '%s'%s"):format(place, name,
    near and ("; did you mean %s?"):format(near) or ""), other
end

-- The message without the place where it stands, when that is the line which was just typed, or is
-- none of the user's.
local function without_place(message, number, session)
  local entry = session.entries[number]
  message = message:gsub(OWN_PLACE, "")
  if not entry or entry.text:find "\n" then return message end
  return (message:gsub(("^%%[%d%%]:1: "):format(number), ""))
end

-- An error as text, whatever was raised.
local function text_of(raised)
  if type(raised) == "string" then return raised end
  if raised == nil then return "nil was raised, without a message" end
  local meta = getmetatable(raised)
  if type(meta) == "table" and meta.__tostring then
    local good, text = pcall(tostring, raised)
    if good then return text end
  end
  local good, text = pcall(require("moonwalk.look.value").text, raised)
  return ("a %s was raised: %s"):format(type(raised), good and text or "it cannot be shown")
end

-- A text whose control characters are shown by their numbers.
local function visible(text)
  return (text:gsub("[%z\1-\8\11-\31\127]", function(c) return ("\\%03d"):format(c:byte()) end))
end

-- A text that takes a third of the screen at most.
local function shortened(text)
  local columns, rows = screen.size()
  local most = math.max(rows // 3, 5)
  local last = most * columns
  for line_end in text:sub(1, last):gmatch "()\n" do
    most = most - 1
    if most == 0 then last = line_end - 1 end
  end
  if #text <= last then return visible(text) end
  while last > 0 and text:find("^[\x80-\xbf]", last + 1) do last = last - 1 end
  return ("%s ... and %d bytes more"):format(visible(text:sub(1, last)), #text - last)
end

-- A message of Lua's parser, in which a character stands instead of its first byte.
local function with_character(message, text)
  return (message:gsub("'<\\(%d+)>'$", function(byte)
    local character = text:match(string.char(byte) .. "[\x80-\xbf]+")
    return character and utf8.len(character) and "'" .. character .. "'"
  end))
end

-- The line of a text that the parser stopped in, with a mark below the word that it stopped at.
local function marked_line(text, at, message)
  local near = message:match "near '(.*)'$"
  if not near or #text > MOST_LINE then return nil end
  local byte = tonumber(near:match "^<\\(%d+)>$")
  if byte then near = string.char(byte) end
  local found
  for _, token in ipairs(lexer.tokens(text)) do
    if token.first < at and token.text:sub(1, #near) == near then found = token end
  end
  if not found then return nil end
  local before = text:sub(1, found.first - 1):match "[^\n]*$"
  local line = before .. text:sub(found.first):match "[^\n]*"
  local columns = screen.size()
  if screen.width(line) + 2 > columns or line:find "%c" then return nil end
  return ("  %s\n  %s^"):format(line, (" "):rep(screen.width(before)))
end

-- What may help where the colon of a command is missing, or nil.
local function without_colon(text)
  local name, argument = text:match "^%s*([%a_]+)%s+(.-)%s*$"
  if not name or argument:find "^[=(.,]" or not is_command(name) then return nil end
  return ("a command begins with a colon: :%s %s"):format(name, argument)
end

local LOOKING = "draw() shows where, :debug goes there"

-- The node of a graph that the message is about, as core.failure gives it, or nil.
local function node_of(message)
  local failure = core.failure()
  core.failure(false)
  return failure and message:find(failure.message, 1, true) and failure or nil
end

---What an error is, as the prompt keeps and shows it.
---@class moonwalk.Problem
---@field message string
---@field text string  as it is shown: the message, the line, the calls, and what may help
---@field number integer  of the entry
---@field inputs table[]?  and more, of the node that failed, if it was one: see core.failure

---@param session moonwalk.Session
---@param raised any
---@param task moonwalk.Task?
---@param at integer?  where Lua's parser stopped in the entry
---@return moonwalk.Problem
function problem.describe(session, raised, task, at)
  local number = task and task.number or #session.entries
  local entry, message = session.entries[number] or {text = ""}, text_of(raised)
  local said, hint = plain(session, without_place(shortened(message), number, session),
    entry.text)
  local method_hint = hints.method(session, entry.text, message)
  if method_hint and message:find(OWN_PLACE) then
    said = "a method was called without its object"
  end
  local lines = {"error: " .. said}
  if at then
    lines = {"error: " .. with_character(said, entry.text)}
    lines[2] = marked_line(entry.text, at, message)
    hint = without_colon(entry.text) or hints.text(entry.text, at)
  end
  hint = hint or method_hint or hints.message(said)
  local failure = node_of(message) or {}
  if failure.inputs then hint = (hint and hint .. "; " or "") .. LOOKING end
  for i, line in ipairs(lines) do lines[i] = screen.wrap(line) end
  lines[1] = lines[1]:gsub("^error:", screen.paint("error:", "bold red"))
  table.move(task and calls_of(task.thread) or {}, 1, MOST_CALLS + 1, #lines + 1, lines)
  if hint then lines[#lines + 1] = problem.hint(hint) end
  failure.message, failure.text = message, table.concat(lines, "\n")
  failure.number = number
  return failure
end

---A hint as it is shown.
---@param text string
---@return string
function problem.hint(text)
  local wrapped = screen.wrap("hint: " .. text)
  return (wrapped:gsub("^hint:", screen.paint("hint:", "bold cyan")))
end

local CLOSING = {["("] = ")", ["{"] = "}", ["["] = "]"}

-- The bracket that a text opens last and does not close, or nil.
local function open_bracket(text)
  local open = {}
  for _, token in ipairs(lexer.tokens(text)) do
    if CLOSING[token.text] then open[#open + 1] = token.text
    elseif CLOSING[open[#open]] == token.text then open[#open] = nil end
  end
  return open[#open]
end

---What a text whose end is missing lacks.
---@param session moonwalk.Session
---@param text string
---@return string
function problem.missing(session, text)
  local _, message = chunk.compile(text, "=", session.env, session.locals)
  local long = message:match "unfinished long (%a+)"
  local what, opened = message:match "'([^']+)' expected %(to close '([^']+)' at line %d+%)"
  what = what or message:match "^:%d+: '([^']+)' expected"
  if not what then
    opened = open_bracket(text)
    what = CLOSING[opened]
  end
  local lacks = long and ("the end of the long %s is missing"):format(long)
    or what and ("'%s' is missing"):format(what) .. (opened and (" for '%s'"):format(opened) or "")
    or "this is not complete"
  return lacks .. "; Ctrl-C gives it up"
end

---What is worth saying of a text that ran without an error, or nil: that a name in it is none of
---Lua's, and stands for nil.
---@param session moonwalk.Session
---@param text string
---@return string?
function problem.remark(session, text)
  local tokens = lexer.tokens(text)
  local alone = #tokens == 1 and tokens[1].kind == "name" and tokens[1].text
  if alone and session:get(alone) == nil and not session.locals:has(alone)
    and not made_nil_by(session, alone) then
    local other = hints.name(alone, text)
    if other then return other end
    local near = meant(session, alone)
    return ("there is no variable '%s'%s"):format(alone,
      near and ("; did you mean %s?"):format(near) or "")
  end
  if session.last == nil and text:find "^[^=]*%[0%]%s*$" then
    return "lists and tensors count from 1"
  end
  local value = text:match "=%s*([%a_][%w_]*)%s*$"
  local other = value and session:get(value) == nil and hints.name(value, text)
  return other or nil
end

return problem
