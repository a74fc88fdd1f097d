-- chunk.lua: what was typed as functions. Local variables of a chunk are there in the chunks that
-- come after it: they are the same variables, also for functions that were made meanwhile.
--
-- A variable is kept as a closure that has it as an upvalue, and the upvalue's number. A chunk that
-- names kept variables is compiled inside of a function which has locals of these names,
--
--     local __keep, net; return function(...) TEXT
--     __keep(function() return opt, n end) end
--
-- and debug.upvaluejoin makes the variables one. The last line hands the chunk's own locals over.

local lexer = require "moonwalk.prompt.lexer"

local chunk = {}

---@class moonwalk.Locals
---@field cells table<string, {[1]: function, [2]: integer}>
local Locals = {}
Locals.__index = Locals

---The local variables of a session, none at first.
---@return moonwalk.Locals
function chunk.locals() return setmetatable({cells = {}}, Locals) end

---@param name string
---@return any value
function Locals:get(name)
  local cell = self.cells[name]
  if cell then return select(2, debug.getupvalue(cell[1], cell[2])) end
end

---Gives a variable a value; makes it when there is none of that name.
---@param name string
---@param value any
function Locals:set(name, value)
  local cell = self.cells[name]
  if cell then debug.setupvalue(cell[1], cell[2], value)
  else self.cells[name] = {function() return value end, 1} end
end

---Whether there is a variable of that name.
function Locals:has(name) return self.cells[name] ~= nil end

-- The function that a chunk calls at its end with its locals.
local function keeper(self, names)
  return function(closure)
    local found, values = {}, table.pack(closure())
    for i = 1, math.huge do
      local name = debug.getupvalue(closure, i)
      if not name then break end
      self.cells[name], found[name] = {closure, i}, true
    end
    for i, name in ipairs(names) do -- a constant that is known when compiled is no variable
      if not found[name] then
        self.cells[name] = nil
        self:set(name, values[i])
      end
    end
  end
end

-- The level of a thread's first function, by bisection: to ask for a level takes time that grows
-- with it, and after a recursion without an end there are very many.
local function first_level(thread)
  local low, high = -1, 1
  while debug.getinfo(thread, high, "l") do low, high = high, 2 * high end
  while high - low > 1 do
    local middle = (low + high) // 2
    if debug.getinfo(thread, middle, "l") then low = middle else high = middle end
  end
  return low
end

---Keeps what a chunk that failed had of its locals.
---@param thread thread
---@param fn function the chunk
---@param names string[]
function Locals:rescue(thread, fn, names)
  local wanted, level = {}, #names > 0 and first_level(thread) or -1
  if level < 0 or debug.getinfo(thread, level, "f").func ~= fn then return end
  for _, name in ipairs(names) do wanted[name] = true end
  for i = 1, math.huge do
    local name, value = debug.getlocal(thread, level, i)
    if not name then return end
    if wanted[name] then
      self.cells[name] = nil
      self:set(name, value)
    end
  end
end

-- The text, and an expression behind it, inside of a function that has the kept variables which
-- they name.
local function wrapped(self, text, expression, name, env, names)
  local outer = {"__keep"}
  for used in pairs(lexer.names(text .. " " .. (expression or ""))) do
    if self.cells[used] then outer[#outer + 1] = used end
  end
  table.sort(outer)
  local keep = #names > 0
    and ("__keep(function() return %s end)"):format(table.concat(names, ","))
  local head = ("local %s; return function(...) "):format(table.concat(outer, ","))
  local maker
  if expression then
    text = ("%s %s return %s"):format(text, keep or "", expression)
  elseif keep then
    maker = load(head .. text .. "\n" .. keep .. " end", name, "t", env)
  end -- a chunk that returns has no end to add to
  maker = maker or load(head .. text .. "\nend", name, "t", env)
  if not maker then return nil end
  local fn = maker()
  for i = 1, math.huge do
    local upvalue = debug.getupvalue(fn, i)
    local cell = self.cells[upvalue]
    if not upvalue then break end
    if upvalue == "__keep" then debug.setupvalue(fn, i, keeper(self, names))
    elseif cell then debug.upvaluejoin(fn, i, cell[1], cell[2]) end
  end
  return fn
end

---@class moonwalk.Chunk
---@field fn function
---@field names string[]  of its local variables
---@field is_expression boolean

-- Whether the parser came to the end and wanted more. A string in quotes does not go on there.
local function wants_more(message)
  return message:find "<eof>$" ~= nil and not message:find "unfinished string near <eof>$"
end

-- How much of a text Lua's parser reads before it raises.
local function reach(text)
  local at = 0
  load(function()
    at = at + 1
    return at <= #text and text:sub(at, at) or nil
  end, "=reach", "t")
  return at
end

-- Statements and the expression behind the last semicolon, if a text is that: x = 5; x + 1
local function split(text, name, env)
  local tokens = lexer.tokens(text)
  for i = #tokens, 1, -1 do
    if tokens[i].text == ";" then
      local statements = text:sub(1, tokens[i].last)
      local expression = text:sub(tokens[i].last + 1)
      local plain = load(statements .. " return " .. expression, name, "t", env)
      if plain then return plain, statements, expression end
      return nil
    end
  end
end

---The statements and the expression of such a text, or nil.
---@param text string
---@return string? statements
---@return string? expression
function chunk.split(text) return select(2, split(text, "=split", {})) end

---Compiles a text: as an expression, or as it stands, or as statements and an expression behind a
---semicolon. What is none of these fails with the message of what more of it could be read as.
---@param text string
---@param name string  what messages call it, with Lua's mark in front: "=[3]", "@net.lua"
---@param env table  its global variables
---@param locals moonwalk.Locals
---@return moonwalk.Chunk?
---@return string? message
---@return boolean? incomplete  the text could go on
---@return integer? at  where the parser stopped reading
function chunk.compile(text, name, env, locals)
  local as_expression = "return " .. text
  local plain, expression_message = load(as_expression, name, "t", env)
  local statements, expression, message = text, nil, nil
  local is_expression = plain ~= nil
  if is_expression then statements = as_expression
  else plain, message = load(text, name, "t", env) end
  if not plain then
    plain, statements, expression = split(text, name, env)
    is_expression = plain ~= nil
  end
  if not plain then
    local incomplete = wants_more(message) or wants_more(expression_message)
    local at, expression_at = reach(text), reach(as_expression) - #"return "
    if expression_at > at then message, at = expression_message, expression_at end
    return nil, message, incomplete, at
  end
  local names = lexer.locals(statements)
  local fn = wrapped(locals, statements, expression, name, env, names) or plain
  return {fn = fn, names = names, is_expression = is_expression}
end

return chunk
