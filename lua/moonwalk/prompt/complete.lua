-- complete.lua: the words that a text could go on with at the cursor: variables, fields and
-- methods, options of what is called, names of files, commands and ops. No code of the user's is
-- run for it.

local core = require "moonwalk.core"
local lexer = require "moonwalk.prompt.lexer"
local members = require "moonwalk.prompt.members"
local takes = require "moonwalk.prompt.takes"
local Module = require "moonwalk.nn.module"

local complete = {}

-- ---- what stands before the cursor -----------------------------------------------------------

local OPEN = {[")"] = "(", ["]"] = "[", ["}"] = "{"}
local CLOSE = {["("] = true, ["["] = true, ["{"] = true}

-- Where the bracket is that token i closes, or nil.
local function opening(tokens, i)
  local depth = 0
  for k = i, 1, -1 do
    local text = tokens[k].kind == "symbol" and tokens[k].text
    if OPEN[text] then depth = depth + 1
    elseif CLOSE[text] then
      depth = depth - 1
      if depth == 0 then return k end
    end
  end
end

-- Where the innermost bracket is that is open behind token i, or nil.
local function enclosing(tokens, i)
  local depth = 0
  for k = i, 1, -1 do
    local text = tokens[k].kind == "symbol" and tokens[k].text
    if OPEN[text] then depth = depth + 1
    elseif CLOSE[text] then
      if depth == 0 then return k end
      depth = depth - 1
    end
  end
end

local MAKERS = {}
for name in ("tensor zeros ones full eye arange linspace randn uniform normal bernoulli param "
    .. "permutation"):gmatch "%a+" do
  MAKERS[name] = true
end

local SAME = {train = true, eval = true, copy = true, freeze = true, unfreeze = true,
  initialise = true}

local function is_tensor(callee) return callee.is_tensor or core.is_tensor(callee.value) end

-- What a call gives: nothing is called for it.
local function result_of(callee)
  local value, base, name = callee.value, callee.base, callee.name
  if members.is_class(value) then return {class = value} end
  if Module.is(value) or callee.class then return {is_tensor = true} end
  if takes.op(callee) then return {is_tensor = true} end
  if not base then return nil end
  if rawequal(base.value, require "moonwalk") and MAKERS[name] then return {is_tensor = true} end
  if is_tensor(base) and (name == "eval" or name == "slice") then return {is_tensor = true} end
  if (base.class or Module.is(base.value)) and SAME[name] then return base end
end

local resolve

-- The field or method of that name.
local function member(base, name)
  if base.class then
    return {value = members.get(base.class, name), base = base, name = name}
  elseif base.is_tensor then
    return {base = base, name = name}
  end
  return {value = members.get(base.value, name), base = base, name = name}
end

-- The item in brackets, from token j to i.
local function item(session, tokens, j, i)
  local base = resolve(session, tokens, j - 1)
  if not base then return nil end
  if is_tensor(base) then return {is_tensor = true} end
  local key = tokens[j + 1]
  if i ~= j + 2 or key.kind ~= "number" and key.kind ~= "string" then return nil end
  local value = key.kind == "number" and math.tointeger(tonumber(key.text)) or key.text:sub(2, -2)
  return {value = members.get(base.value, value), base = base, name = value}
end

-- An expression in parentheses: a tensor if one is in it.
local function group(session, tokens, j, i)
  for k = j + 1, i - 1 do
    local part = (tokens[k].kind == "name" or OPEN[tokens[k].text])
      and not CLOSE[tokens[k + 1].text] and resolve(session, tokens, k)
    if part and is_tensor(part) then return {is_tensor = true} end
  end
  return resolve(session, tokens, i - 1)
end

-- Whether token i may end what is called.
local function may_be_called(token)
  return token and (token.kind == "name" or token.text == ")" or token.text == "]")
end

-- What the expression is that ends with token i, or nil.
function resolve(session, tokens, i)
  local token, before = tokens[i], tokens[i - 1]
  if not token then return nil end
  if token.kind == "name" then
    if before and (before.text == "." or before.text == ":") then
      local base = resolve(session, tokens, i - 2)
      return base and member(base, token.text)
    end
    return {value = session:get(token.text)}
  end
  local j = token.kind == "string" and not token.open and i
    or OPEN[token.text] and opening(tokens, i)
  if not j then return nil end
  if token.text == "]" then return item(session, tokens, j, i) end
  if may_be_called(tokens[j - 1]) then
    local callee = resolve(session, tokens, j - 1)
    return callee and result_of(callee)
  end
  if token.kind == "string" then return {value = ""} end
  return token.text == ")" and group(session, tokens, j, i) or nil
end

-- ---- kinds of words --------------------------------------------------------------------------

-- Those of some words that begin with a text, in order; `behind` is put behind them.
local function matching(words, text, behind)
  local list = {}
  for word in pairs(words) do
    if word:sub(1, #text) == text then list[#list + 1] = word .. (behind or "") end
  end
  table.sort(list)
  return list
end

local function set_of(list)
  local set = {}
  for _, word in ipairs(list) do set[word] = true end
  return set
end

local function member_words(base, methods, word)
  if base.is_tensor then return matching(members.tensor_names(methods), word) end
  local names = {}
  if base.class then members.add_methods(names, base.class)
  else names = members.names(base.value, methods) end
  return matching(names, word)
end

local KEYWORDS = "and break do else elseif end false for function goto if in local nil not or "
  .. "repeat return then true until while"

-- Variables, also those that the text itself has made; all others only once a word has begun.
local function variables(session, tokens, last, word)
  local names = {mw = true}
  for name in session:variables() do names[name] = true end
  for i = 1, last do
    local before = i > 1 and tokens[i - 1].text
    if tokens[i].kind == "name" and before ~= "." and before ~= ":" and before ~= "goto" then
      names[tokens[i].text] = true
    end
  end
  local lazy = (getmetatable(session.env) or {}).lazy or {}
  for name in pairs(lazy) do names[name] = true end
  if word ~= "" then
    for name in KEYWORDS:gmatch "%a+" do names[name] = true end
    for name in next, _G do
      if type(name) == "string" then names[name] = true end
    end
  end
  names._G = word ~= "" or nil
  return matching(names, word)
end

-- What is called with the table that begins at token i, or nil.
local function callee_of(session, tokens, i)
  local at = i - 1
  if tokens[at] and (tokens[at].text == "(" or tokens[at].text == ",") then
    at = enclosing(tokens, i - 1)
    if not at or tokens[at].text ~= "(" then return nil end
    at = at - 1
  end
  return may_be_called(tokens[at]) and resolve(session, tokens, at) or nil
end

-- The options of the call in whose table a name begins behind token `last`, or nil.
local function option_words(session, tokens, last, word)
  local before = tokens[last] and tokens[last].text
  local brace = (before == "{" or before == "," or before == ";") and enclosing(tokens, last)
  if not brace or tokens[brace].text ~= "{" then return nil end
  local callee = callee_of(session, tokens, brace)
  local names = callee and set_of((takes.options(callee))) or {}
  for i = brace + 1, last - 1 do
    if tokens[i + 1].text == "=" and enclosing(tokens, i) == brace then
      names[tokens[i].text] = nil
    end
  end
  return matching(names, word, " = ")
end

-- The words that a string may be which begins at token i, or nil: those of an option, or of an op's
-- one attribute.
local function choice_words(session, tokens, i, word)
  local before = tokens[i - 1] and tokens[i - 1].text
  local callee, name
  if before == "=" then
    local brace = enclosing(tokens, i - 1)
    callee = brace and tokens[brace].text == "{" and callee_of(session, tokens, brace)
    name = tokens[i - 2] and tokens[i - 2].text
  else
    local at = may_be_called(tokens[i - 1]) and i - 1 or (enclosing(tokens, i - 1) or 1) - 1
    callee = may_be_called(tokens[at]) and resolve(session, tokens, at)
    local op = callee and takes.op(callee)
    name = op and #op.attrs == 1 and op.attrs[1].name
  end
  local _, choices = takes.options(callee or {})
  return name and choices[name] and matching(set_of(choices[name]), word)
end

-- Files and folders whose path begins as a text does; where the last name in it begins.
local function file_words(text, quote)
  local folder = text:match "^.*/" or ""
  local names = core.folder(folder == "" and "." or folder) or {}
  local words = matching(set_of(names), text:sub(#folder + 1))
  if #words == 1 and words[1]:sub(-1) ~= "/" then words[1] = words[1] .. quote end
  return words, #folder + 1
end

-- ---- commands --------------------------------------------------------------------------------

local function command_words(session, text)
  local sessions = require "moonwalk.prompt.session"
  local head = text:match "^%s*:"
  local name, gap, argument = text:sub(#head + 1):match "^([%a_]*)!?(%s*)(.*)$"
  if not name then return {}, 1 end
  if gap == "" then
    local words = matching(set_of(sessions.commands()), name)
    local command = #words == 1 and sessions.command(words[1])
    if command and command.usage:find(words[1] .. "!? ") then words[1] = words[1] .. " " end
    return words, #head + 1
  end
  local command = sessions.command(name)
  if not (command and command.complete) then return {}, 1 end
  local there, list = pcall(command.complete, session, argument)
  list = there and type(list) == "table" and set_of(list) or {}
  local words = matching(list, argument)
  if #words > 0 then return words, #text - #argument + 1 end
  local word = argument:match "%S*$"
  return matching(list, word), #text - #word + 1
end

local function topic_words(session, text)
  local sessions = require "moonwalk.prompt.session"
  local word = text:match "%S*$":gsub("^%?+", "")
  local command = sessions.command "op"
  local list = command and command.complete and command.complete(session, word)
  return matching(list and set_of(list) or core.ops(), word), #text - #word + 1
end

-- ---- all of them -----------------------------------------------------------------------------

local function lua_words(session, text)
  local tokens = lexer.tokens(text)
  local last, n = tokens[#tokens], #tokens
  if last and last.kind == "comment" and (last.open or not text:find("\n", last.last, true)) then
    return {}, 1
  end
  if last and last.kind == "string" and last.open then
    local quote = last.text:match "^[\"']" or last.text:match "^%[=*%["
    local inside = last.text:sub(#quote + 1)
    local words = choice_words(session, tokens, n, inside)
    local close = #quote == 1 and quote or ""
    if words and #words == 1 then words[1] = words[1] .. close end
    if words and #words > 0 then return words, last.first + #quote end
    local files, at = file_words(inside, close)
    return files, last.first + #quote + at - 1
  end
  local word = ""
  if last and last.last == #text and (last.kind == "name" or last.kind == "keyword") then
    word, n = last.text, n - 1
  end
  local start, mark = #text - #word + 1, tokens[n] and tokens[n].text
  if mark == "." or mark == ":" then
    local base = resolve(session, tokens, n - 1)
    return base and member_words(base, mark == ":", word) or {}, start
  end
  if last and last.kind == "number" and last.last == #text then return {}, start end
  local options = option_words(session, tokens, n, word)
  if options and #options > 0 then return options, start end
  return variables(session, tokens, n, word), start
end

-- The expression behind a command that takes one.
local function expression_of(text)
  local name, expression = text:match "^%s*:([%a_]+)%s+(.*)$"
  local command = name and require("moonwalk.prompt.session").command(name)
  return command and command.takes_lua and expression
end

---The words that the text could have at the cursor, in order, and where they begin.
---@param session moonwalk.Session
---@param text string  also of several lines
---@param cursor integer  how many bytes are before it
---@return string[] words
---@return integer start
function complete.words(session, text, cursor)
  text = text:sub(1, cursor)
  if text:find "^%s*%?" then return topic_words(session, text) end
  local expression = expression_of(text)
  if expression then
    local words, start = lua_words(session, expression)
    return words, start + #text - #expression
  end
  if text:find "^%s*:[^:]?" and not text:find "^%s*::" then return command_words(session, text) end
  return lua_words(session, text)
end

return complete
