-- lookup.lua: what a word is that somebody asks about: an op, a command, or a value by its dotted
-- name ("mw.fit", "optim.SGD", "net.conv1"). No code of the user's is run for it.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local members = require "moonwalk.prompt.members"
local Module = require "moonwalk.nn.module"

local lookup = {}

---@class moonwalk.Found
---@field kind "op"|"command"|"function"|"class"|"value"
---@field name string  as it is called in full: "optim.SGD"
---@field value any
---@field part string?  "mw", "nn", "optim" or "data" when it is in that table

local PARTS = {"nn", "optim", "data"}

---A function of Moonwalk's that is called through C, as it was written; others as they are.
---@param fn any
---@return any
function lookup.unwrapped(fn)
  while type(fn) == "function" and debug.getinfo(fn, "S").what == "C" do
    local _, inside = debug.getupvalue(fn, 1)
    if type(inside) ~= "function" then break end
    fn = inside
  end
  return fn
end

local function kind_of(value)
  if type(value) == "function" then return "function" end
  if members.is_class(value) then return "class" end
  return "value"
end

-- The value that a dotted name has from a first value on.
local function walk(value, rest)
  for key in rest:gmatch "[^.:]+" do
    if value == nil then return nil end
    value = members.get(value, math.tointeger(tonumber(key)) or key)
  end
  return value
end

-- The names that may stand at the end of a dotted name.
local function names_in(value)
  local list = {}
  for name in pairs(members.names(value, false)) do list[#list + 1] = name end
  for name in pairs(members.names(value, true)) do list[#list + 1] = name end
  return list
end

-- A dotted name as what it is, or nil.
local function find_dotted(session, word)
  local first, rest = word:match "^([%a_][%w_]*)(.*)$"
  if not first then return nil end
  local base = session:get(first)
  local op = rest:match "^[.:]([%w_]+)$"
  if op and core.op_info(op) and (first == "mw" or core.is_tensor(base)) then
    return {kind = "op", name = op}
  end
  local value = walk(base, rest)
  if value == nil then return nil end
  return {kind = kind_of(value), name = word, value = value,
    part = (first == "mw" or rest ~= "") and first or nil}
end

-- A name that stands in one of Moonwalk's tables, where it was asked for without it.
local function find_in_parts(session, word)
  if not word:find "^[%a_][%w_]*$" then return nil end
  local mw = session.env.mw
  local held = members.get(mw, word)
  if held ~= nil then
    return {kind = kind_of(held), name = "mw." .. word, value = held, part = "mw"}
  end
  for _, part in ipairs(PARTS) do
    held = members.get(mw[part], word)
    if held ~= nil then
      return {kind = kind_of(held), name = part .. "." .. word, value = held, part = part}
    end
  end
end

-- All words that can be asked about without a dot, and those of Moonwalk's tables.
local function known_words(session)
  local list = lookup.words(session)
  for name in pairs(core.methods) do list[#list + 1] = name end
  return list
end

-- What may have been meant by a word that is nothing. Moonwalk's tables know what their parts are
-- called in other frameworks.
local function near(session, word)
  local head, name = word:match "^(.*[.:])([^.:]*)$"
  local base = head and find_dotted(session, head:sub(1, -2))
  if base and base.value ~= nil then
    local meta = debug.getmetatable(base.value)
    if members.is_own(type(meta) == "table" and meta.__index) then
      local _, why = pcall(function() return base.value[name] end)
      local meant = tostring(why):match "did you mean ([%w_.:]+)%?"
      if meant then return meant end
    end
    local close = check.near(name, names_in(base.value))
    if close then return head .. close end
  end
  return check.near(word, known_words(session))
end

---The words that can be asked about, for completion.
---@param session moonwalk.Session
---@return string[]
function lookup.words(session)
  local list = {}
  local sessions = require "moonwalk.prompt.session"
  for name in pairs(core.ops()) do list[#list + 1] = name end
  for name in session:variables() do list[#list + 1] = name end
  for _, name in ipairs(sessions.commands()) do list[#list + 1] = ":" .. name end
  for _, part in ipairs {"mw", table.unpack(PARTS)} do
    local value = session:get(part)
    for name in pairs(members.names(value, false)) do
      list[#list + 1] = part .. "." .. name
    end
  end
  return list
end

---What a word is. Raises what may have been meant where it is nothing.
---@param session moonwalk.Session
---@param word string
---@param mark string?  what stands before what may have been meant, "?"
---@return moonwalk.Found
function lookup.find(session, word, mark)
  word = word:match "^%s*(.-)%s*$":gsub("%(.*$", "")
  local sessions = require "moonwalk.prompt.session"
  local command = word:match "^:([%a_]+)!?$"
  if command and sessions.command(command) then return {kind = "command", name = command} end
  if core.op_info(word) then return {kind = "op", name = word} end
  local found = find_dotted(session, word) or find_in_parts(session, word)
  if found then return found end
  local close = near(session, word)
  core.error(("there is nothing called %s; %s"):format(check.show(word),
    close and ("did you mean %s%s"):format(mark or "?", close)
    or ":ops lists the ops, :help the commands"))
end

---The class of a module, or nil.
---@param value any
---@return table?
function lookup.class_of(value)
  if members.is_class(value) then return value end
  return Module.is(value) and getmetatable(value) or nil
end

return lookup
