-- save.lua: `:save` writes what was typed and worked as a script that runs by itself.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local chunk = require "moonwalk.prompt.chunk"
local compiler = require "moonwalk.compiler"
local lexer = require "moonwalk.prompt.lexer"
local tell = require "moonwalk.prompt.tell"

local MOST_LOCALS = 180 -- Lua allows 200 in a function

---@class moonwalk.SavedLine
---@field statements string?
---@field expression string?  behind them
---@field hidden boolean?     whether its value was not shown

-- An entry as statements and an expression, as the session takes it; nil for what is left out.
---@param entry moonwalk.Entry
---@return moonwalk.SavedLine?
local function read(entry)
  if not entry.ok then return nil end
  if entry.script then return {statements = entry.script} end
  local text = entry.text
  if text:find "^%s*[:?]" and not text:find "^%s*::" then return nil end
  local shown = text:match "^(.-);%s*$"
  for _, it in ipairs {shown or text, text} do
    local hidden = it == shown
    if load("return " .. it) then
      -- A call that gave nothing is a statement.
      if entry.values == 0 and load(it) then return {statements = it} end
      return {expression = it, hidden = hidden}
    elseif not load(it) then
      local statements, expression = chunk.split(it)
      if statements then
        return {statements = statements, expression = expression, hidden = hidden}
      end
    end
  end
  return {statements = text}
end

-- A chunk that returns would end the script.
local function returns(text)
  local tokens = lexer.tokens(text)
  local depth = 0
  for _, token in ipairs(tokens) do
    local word = token.kind == "keyword" and token.text
    if word == "function" or word == "do" or word == "then" or word == "repeat" then
      depth = depth + 1
    elseif word == "end" or word == "until" or word == "elseif" then
      depth = depth - 1
    elseif word == "return" and depth == 0 then
      return true
    end
  end
  return false
end

-- An expression on its own, as a statement.
local function as_statement(text, hidden, keeps_last)
  local close = text:find("--", 1, true) and "\n" or ""
  if keeps_last then return ("_ = %s%s"):format(text, hidden and "" or "\nprint(_)") end
  if hidden then return load(text) and text or ("do local _ = %s%s end"):format(text, close) end
  return ("print(%s%s)"):format(text, close)
end

-- The local variables of a text as global ones, where that can be told from its beginning.
local function as_globals(text)
  return (text:gsub("^%s*local%s+function%s", "function "):gsub("^%s*local%s+([%a_][%w_,%s]*=)",
    "%1"))
end

-- Which of the prompt's own names the texts use, in order.
local function names_used(session, texts)
  local lazy, found, list = getmetatable(session.env).lazy, {}, {}
  for _, text in ipairs(texts) do
    for name in pairs(lexer.names(text)) do found[name] = true end
  end
  for name in pairs(lazy) do
    if found[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list, found
end

local function heading(path, names)
  local lines = {
    ("-- %s: from Moonwalk's prompt, %s. To run it: moonwalk %s"):format(path:match "[^/]*$",
      os.date "%Y-%m-%d", path),
    'local mw = require "moonwalk"',
  }
  if #names > 0 then
    local values = {}
    for i, name in ipairs(names) do values[i] = "mw." .. name end
    lines[#lines + 1] = ("local %s = %s"):format(table.concat(names, ", "),
      table.concat(values, ", "))
  end
  lines[#lines + 1] = ""
  return lines
end

-- A line as it stands in the script.
local function line_text(line, as_global, keeps_last)
  local text, expression, parts = line.statements, line.expression, {}
  if text and not expression and returns(text) then
    text, expression = nil, ("(function()\n%s\nend)()"):format(text)
  end
  if text then parts[1] = as_global and as_globals(text) or text end
  if expression then
    parts[#parts + 1] = as_statement(expression:match "^%s*(.-)%s*$", line.hidden, keeps_last)
  end
  -- What begins with a parenthesis would be taken for arguments of the line before.
  return ((" " .. table.concat(parts, "\n")):gsub("^ (%s*)%(", "%1;("):gsub("^ ", ""))
end

---The script of a session, and of how many entries it is made.
---@param session moonwalk.Session
---@param path string
---@return string
---@return integer
local function script_of(session, path)
  local saved, texts, locals = {}, {}, 0
  for _, entry in ipairs(session.entries) do
    local line = read(entry)
    if line then
      saved[#saved + 1] = line
      texts[#texts + 1] = (line.statements or "") .. " " .. (line.expression or "")
      locals = locals + #lexer.locals(line.statements or "")
    end
  end
  local names, used = names_used(session, texts)
  local lines = heading(path, names)
  for _, line in ipairs(saved) do
    lines[#lines + 1] = line_text(line, locals > MOST_LOCALS, used._)
  end
  return table.concat(lines, "\n") .. "\n", #saved
end

return {
  usage = ":save session.lua",
  doc = "Writes what worked as a script that runs; :save! over a file that is there.",
  run = function(session, argument, forced)
    if argument == "" then
      core.error ":save is followed by the name of a file, such as :save session.lua"
    end
    local path = argument:match "^[\"'](.*)[\"']$" or argument
    if not path:find "%.%w+$" then path = path .. ".lua" end
    if core.file_stamp(path) and not forced then
      core.error(("%s is there already; :save! %s writes over it"):format(path, argument))
    end
    local text, count = script_of(session, path)
    if count == 0 then core.error "there is nothing to save: no line has worked yet" end
    local fn, problem = load(text, "@" .. path)
    if not fn then
      core.error(("the lines make no script: %s"):format(check.show(problem)))
    end
    local done, why = compiler.write(path, text)
    if not done then core.error(why) end
    tell(session, ("%d line%s written to %s"):format(count, count == 1 and " is" or "s are", path))
  end,
}
