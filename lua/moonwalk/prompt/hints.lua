-- hints.lua: what may help after a line that failed: how Lua writes what other languages and shells
-- write in another way, and what messages of Lua's own mean.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local lexer = require "moonwalk.prompt.lexer"

local hints = {}

-- Names that other languages and shells have, and Lua has not.
local NAMES = {}
for words, hint in pairs {
  ["None null NULL nullptr undefined"] = "Lua calls it nil",
  ["True"] = "Lua writes true",
  ["False"] = "Lua writes false",
  ["exit quit q bye logout"] = "Ctrl-D leaves the prompt",
  ["help man info dir"] = ":help lists the commands, ?conv2d explains an op, :tour shows around",
  ["clear cls"] = "Ctrl-L clears the screen",
  ["python python3 lua moonwalk"] = "this is Moonwalk's prompt; dofile \"x.lua\" runs a script",
  ["len"] = "#x is the length of x",
  ["range"] = "for i = 1, 10 do ... end counts to 10; mw.arange(0, 9) is a tensor",
  ["str repr"] = "tostring(x) makes a text of x",
  ["int"] = "math.floor(x) is the whole number below x",
  ["float"] = "tonumber(x) makes a number of a text; t:cast \"f32\" makes a tensor of floats",
  ["list dict tuple set"] = "Lua has tables for these: {1, 2} and {name = value}",
  ["torch np numpy jnp tf keras F"] = "mw has these things: mw.zeros {2, 3}, nn.Dense, optim.Adam",
  ["plt matplotlib"] = "plot(ys), hist(t) and show(image) draw",
  ["printf echo puts"] = "print(...) prints, (\"%.2f\"):format(x) makes a text",
} do
  for word in words:gmatch "%S+" do NAMES[word] = hint end
end
local SHELL = "this is no shell; os.execute \"ls\" hands a line to one"
for word in ([[ls ll pwd cd cat cp mv rm mkdir touch grep find git make pip apt sudo ssh vi vim
  nano]]):gmatch "%S+" do
  NAMES[word] = SHELL
end

---What to write instead of a name that Lua does not have, or nil.
---@param name string
---@param text string where it is used
---@return string?
function hints.name(name, text)
  if #name == 1 and text:find("%f[%w_]" .. name .. "[\"']") then -- f"{x}" calls f
    return "(\"%.2f\"):format(x) puts a value into a text"
  end
  return NAMES[name]
end

-- ---- texts that Lua's parser refuses --------------------------------------------------------

local CHARACTERS = {
  ["“"] = '"', ["”"] = '"', ["„"] = '"', ["«"] = '"', ["»"] = '"', ["‘"] = "'", ["’"] = "'",
  ["−"] = "-", ["–"] = "-", ["—"] = "-", ["×"] = "*", ["·"] = "*", ["÷"] = "/", ["≠"] = "~=",
  ["≤"] = "<=", ["≥"] = ">=", ["…"] = "...", ["\u{a0}"] = "a blank", ["\u{200b}"] = "nothing",
}

local LAMBDA = "%f[%w_]lambda%s+[%w_, ]*:%f[%s\0]"

-- Patterns of a line of code, in which strings and comments are blank, and hints, in which %1 is
-- the first capture. No method's name follows a colon that begins a block.
local TEXTS = {
  {"^%s*:%s*$", ":help lists the commands"},
  {"^%s*:%s+(%a+)", "a command has no blank behind its colon: :%1"},
  {"^%s*import%f[%A]", "mw, nn, optim and data are there already; require \"name\" loads a module"},
  {"^%s*from%s+%S+%s+import%f[%A]", "mw, nn, optim and data are there already"},
  {"^%s*async%s+def%f[%A]", "a function is function f(x) return x end"},
  {"^%s*def%f[%A]", "a function is function f(x) return x end"},
  {"^%s*class%f[%A]", "a layer of your own is nn.Module:extend \"Name\"; see :doc network"},
  {LAMBDA, "a function without a name is function(x) return x end"},
  {"%f[%w]elif%f[%W]", "it is elseif in Lua"},
  {"^%s*try%f[%A]", "pcall(f, x) calls f and gives false and a message instead of an error"},
  {"^%s*except%f[%A]", "pcall(f, x) calls f and gives false and a message instead of an error"},
  {"^%s*for%s.*%sin%s.*:%f[%s\0]",
    "a block begins with do and ends with end: for i = 1, 10 do ... end"},
  {"^%s*for%s*%(", "a loop is for i = 1, 10 do ... end"},
  {"^%s*while%s.*:%f[%s\0]", "a block begins with do and ends with end: while x do ... end"},
  {"^%s*if%s.*:%f[%s\0]", "a block begins with then and ends with end: if x then ... end"},
  {"^%s*else%s*:", "it is if x then ... else ... end"},
  {"^%s*del%s+([%a_][%w_.]*)", "%1 = nil forgets a value"},
  {"%f[%a]continue%f[%A]", "Lua has no continue; put the rest into if x then ... end"},
  {"!=", "not equal is ~="},
  {"%f[%a]if%f[%A].-[^=~<>]=[^=].-%f[%a]then%f[%A]", "== compares, = assigns"},
  {"&&", "it is x and y"},
  {"||", "it is x or y"},
  {"!%s*[%w_(]", "it is not x"},
  {"([%a_][%w_.]*)%s*([%+%-%*/])=", "write it out: %1 = %1 %2 ..."},
  {"([%a_][%w_.]*)%s*%+%+", "write it out: %1 = %1 + 1"},
  {"%*%*", "a power is x ^ 2"},
  {"=>", "a function without a name is function(x) return x end"},
  {"%f[%w]is%s+not%f[%W]", "it is x ~= y"},
  {"%f[%w]in%s*[%[(]", "Lua looks into a table with t[key]"},
  {"%f[%w_]f[\"']", "(\"%.2f\"):format(x) puts a value into a text"},
  {"{%s*[\"'][^\"']*[\"']%s*:", "a table's fields are {name = value}"},
  {"{%s*[%w_]+%s*:", "a table's fields are {name = value}"},
  {"[%w_)]%s*%[[^%]]*:[^%]]*%]", "parts of a tensor are t:slice {{1, 3}}; see :doc lua"},
  {"^#", "a comment begins with --"},
  {"%s#", "a comment begins with --"},
  {"^%s*//", "a comment begins with --"},
  {"/%*", "a comment begins with --; a long one is --[[ ... ]]"},
  {"%[%s*%]", "a list is {}"},
  {"%f[%[%w]%[", "a list is written in braces: {1, 2}"},
  {"[%w_)%]]%s*%?.*:", "x and y or z chooses"},
  {"^%s*const%s", "a variable is local x = 1"},
  {"^%s*let%s", "a variable is local x = 1"},
  {"^%s*var%s", "a variable is local x = 1"},
  {"^%s*int%s", "a variable is local x = 1"},
  {"^%s*float%s", "a variable is local x = 1"},
  {"^%s*([%a]+)%s+[%w%-./~]", NAMES},
}

local MOST_LINE = 2000 -- bytes of a line that is searched: to fail, some patterns take its square

-- A text whose strings and comments are blank, but for quotes; long brackets are quotes, too.
local function code_of(text)
  local parts, at = {}, 1
  for _, token in ipairs(lexer.tokens(text)) do
    if token.kind == "string" or token.kind == "comment" then
      local quote = token.kind == "comment" and " " or token.text:sub(1, 1):gsub("%[", '"')
      local inside = (" "):rep(#token.text - (token.open and 1 or 2))
      parts[#parts + 1] = text:sub(at, token.first - 1)
      parts[#parts + 1] = quote .. inside .. (token.open and "" or quote)
      at = token.last + 1
    end
  end
  return table.concat(parts) .. text:sub(at)
end

local function last_line(text) return text:match "^.*\n(.*)$" or text end

-- What is said of the first character that is not ASCII, or nil.
local function of_character(code)
  local bytes = code:match "[\xc2-\xf4][\x80-\xbf]+"
  local value = bytes and utf8.len(bytes) and utf8.codepoint(bytes)
  if not value then
    if code:find "[\x80-\xff]" then return "bytes that are no text stand in this line" end
    if code:find "%z" or code:find "[\1-\8\14-\31]" then
      return "control characters stand in this line"
    end
    return nil
  end
  local character = utf8.char(value)
  local instead = CHARACTERS[character]
  return ("%s is U+%04X, which Lua does not know; %s"):format(character, value,
    instead and "write " .. instead or "names have the letters a to z")
end

-- Fills the captures of a pattern into a hint.
local function filled(hint, ...)
  if type(hint) == "table" then return hint[(...)] end
  local captures = {...}
  return (hint:gsub("%%(%d)", function(i) return captures[tonumber(i)] end))
end

---What may help with a text that Lua does not parse, or nil.
---@param text string
---@param at integer  where its parser stopped
---@return string?
function hints.text(text, at)
  local code = code_of(text)
  local head = last_line(code:sub(1, at - 1):match "^.*%S" or "")
  local line = head .. code:sub(at):match "^[^\n]*"
  local found = of_character(line)
  if #line > MOST_LINE then return found end
  for _, rule in ipairs(TEXTS) do
    if found then break end
    local captures = table.pack(line:match(rule[1]))
    if captures[1] then found = filled(rule[2], table.unpack(captures, 1, captures.n)) end
  end
  return found
end

---Whether the last line of a text is another language's, so that the text would never be complete.
---@param text string
---@return boolean
function hints.is_foreign(text)
  local line = last_line(code_of(text))
  return line:find "%f[:]:%s*$" ~= nil -- but ::name:: is a label
    or line:find "^%s*for%s.*%sin%s.*%):%s" ~= nil or line:find(LAMBDA) ~= nil
    or line:find "[\x80-\xff]" ~= nil or NAMES[line:match "^%s*(%a+)%s+[%a./~-]"] == SHELL
end

-- ---- messages -------------------------------------------------------------------------------

local MESSAGES = {
  {"unfinished string", "a string ends in its line with the quote that it begins with; "
    .. "[[ and ]] go over lines"},
  {"<eof> expected near 'end'", "there is one end too many"},
  {"stack overflow", "a function calls itself without an end"},
  {"attempt to call an? %a+ value %(%a+ '(shape)'%)", "%1 is a field: t.%1"},
  {"attempt to call an? %a+ value %(%a+ '(dtype)'%)", "%1 is a field: t.%1"},
  {"attempt to call an? %a+ value %(%a+ '(rank)'%)", "%1 is a field: t.%1"},
  {"attempt to call a nil value$", "several arguments stand in parentheses: print(a, b)"},
  {"attempt to concatenate", "tostring(x) makes a text of x"},
  {"attempt to perform arithmetic on a string", "a .. b joins texts, tonumber(x) reads a number"},
  {"attempt to add a '%a+' with a 'string'", "a .. b joins texts, tonumber(x) reads a number"},
  {"attempt to add a 'string'", "a .. b joins texts, tonumber(x) reads a number"},
  {"attempt to compare .*moonwalk.tensor", "mw.lt(x, y) compares tensors; x:item() is a number"},
  {"attempt to call a table value %(for iterator", "for i, x in ipairs(list) do ... end goes over "
    .. "a list, pairs over a table"},
  {"not enough memory", "collectgarbage() frees what no variable holds any more"},
}

---What may help with a message, or nil.
---@param message string
---@return string?
function hints.message(message)
  for _, rule in ipairs(MESSAGES) do
    local captures = table.pack(message:match(rule[1]))
    if captures[1] then return filled(rule[2], table.unpack(captures, 1, captures.n)) end
  end
end

-- ---- methods --------------------------------------------------------------------------------

-- The value of a path such as net.conv1 in a session; nil where it cannot be told.
local function value_at(session, path)
  local value
  for name in path:gmatch "[%a_][%w_]*" do
    local holder = value
    local good, found = pcall(function()
      if holder == nil then return session:get(name) end
      return holder[name]
    end)
    if not good or found == nil then return nil end
    value = found
  end
  return value
end

-- Whether a value is an object: what has methods, and is no library.
local function is_object(session, path, value)
  if core.is_tensor(value) then return true end
  local first = path:match "^[^.]*"
  if rawget(_G, first) or first == "mw" then return false end
  if getmetatable(session.env).lazy[first] then return false end
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__index") ~= nil
end

-- The names of an object's methods.
local function methods_of(object)
  local names, seen, from = {}, {}, core.is_tensor(object) and core.methods or object
  while type(from) == "table" and not seen[from] do
    seen[from] = true
    for name, value in pairs(from) do
      if type(value) == "function" and not tostring(name):find "^_" then
        names[#names + 1] = name
      end
    end
    local meta = getmetatable(from)
    from = type(meta) == "table" and rawget(meta, "__index")
    if type(from) == "function" then from = meta end -- a class with a function that finds fields
  end
  return names
end

-- Methods that tables have elsewhere.
local OF_TABLES = {
  append = "t[#t + 1] = x puts x at the end of a list",
  push = "t[#t + 1] = x puts x at the end of a list",
  items = "for key, value in pairs(t) do ... end goes over a table",
  keys = "for key, value in pairs(t) do ... end goes over a table",
  join = "table.concat(list, \", \") joins texts",
  size = "#t is the length of a list",
  length = "#t is the length of a list",
}

-- Whether a table has a value itself, as nn has its layers.
local function own(object, name) return type(object) == "table" and rawget(object, name) ~= nil end

---What may help where a method was called in a wrong way, or nil: without a colon, or by a name
---that is not there.
---@param session moonwalk.Session
---@param text string what was run
---@param message string
---@return string?
function hints.method(session, text, message)
  local code = code_of(text)
  local missing = message:match "attempt to call a nil value %(%a+ '([%a_][%w_]*)'%)"
  for path, mark, name in code:gmatch "%f[%w_]([%a_][%w_.]*)([.:])([%a_][%w_]*)%s*[({\"']" do
    local object = value_at(session, path)
    if is_object(session, path, object) then
      local good, method = pcall(function() return object[name] end)
      if mark == "." and good and type(method) == "function" and not own(object, name) then
        return ("a method is called with a colon: %s:%s(...)"):format(path, name)
      end
      local near = name == missing and check.near(name, methods_of(object))
      if near then return ("did you mean %s:%s?"):format(path, near) end
    end
  end
  return OF_TABLES[missing]
end

return hints
