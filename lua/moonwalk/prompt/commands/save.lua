-- save.lua: `:save` writes what was typed and worked as a script that runs by itself.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local lexer = require "moonwalk.prompt.lexer"

local MOST_LOCALS = 180 -- Lua allows 200 in a function

-- What stands in the script for an entry: text, and whether that is an expression with a value.
local function code_of(entry)
  if not entry.ok then return nil end
  if entry.script then return entry.script, false end
  local text = entry.text
  if text:find "^%s*[:?]" and not text:find "^%s*::" then return nil end
  local shown = text:match "^(.-);%s*$"
  local expression = shown and load("return " .. shown) and shown
    or load("return " .. text) and text
  if not expression then return text, false end
  -- A call that gave nothing is a statement.
  if entry.values == 0 and load(expression) then return expression, false end
  return expression, true, shown ~= nil
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
  if hidden then return load(text) and text or ("local _ = %s"):format(text) end
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

---The script of a session, and of how many entries it is made.
---@param session moonwalk.Session
---@param path string
---@return string
---@return integer
local function script_of(session, path)
  local parts, texts, locals = {}, {}, 0
  for _, entry in ipairs(session.entries) do
    local text, is_expression, hidden = code_of(entry)
    if text then
      parts[#parts + 1] = {text = text, is_expression = is_expression, hidden = hidden}
      texts[#texts + 1] = text
      locals = locals + #lexer.locals(text)
    end
  end
  local names, used = names_used(session, texts)
  local lines = heading(path, names)
  for _, part in ipairs(parts) do
    local text = part.text
    if not part.is_expression and returns(text) then
      part.is_expression, text = true, ("(function()\n%s\nend)()"):format(text)
    end
    if part.is_expression then text = as_statement(text, part.hidden, used._)
    elseif locals > MOST_LOCALS then text = as_globals(text) end
    -- What begins with a parenthesis would be taken for arguments of the line before.
    lines[#lines + 1] = (text:find "^%s*%(" and ";" or "") .. text
  end
  return table.concat(lines, "\n") .. "\n", #parts
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
    session:say(("%d line%s written to %s"):format(count, count == 1 and " is" or "s are", path))
  end,
}
