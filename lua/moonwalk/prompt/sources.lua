-- sources.lua: where what has a name is written: the C file of an op, shipped or of a plugin, or
-- the Lua of a function or a class.

local core = require "moonwalk.core"
local compiler = require "moonwalk.compiler"
local documents = require "moonwalk.prompt.documents"
local lookup = require "moonwalk.prompt.lookup"
local screen = require "moonwalk.look.screen"

local sources = {}

local FEW = 4 -- lines of a function that has another one do its work

---@class moonwalk.Source
---@field title string  what it is called: "ops/conv2d.c"
---@field text string
---@field language "c"|"lua"
---@field ranges {[1]: integer, [2]: integer}[]  lines that are about it, the most telling first
---@field note string?  what else there is to say
---@field path string?  of a file of the user's

-- ---- where an op stands in a C file -----------------------------------------------------------

-- Where a definition ends that begins in a line: with a line that closes what it opened.
local function block_end(lines, first)
  local depth, opened = 0, false
  for i = first, #lines do
    local line = lines[i]:gsub('"[^"]*"', ""):gsub("'[{}()]'", "")
    for bracket in line:gmatch "[{}()]" do
      depth = depth + ((bracket == "{" or bracket == "(") and 1 or -1)
      opened = true
    end
    local closes = line:find "}" or line:find "[;)\\]%s*$"
    if opened and depth <= 0 and closes then return i end
  end
  return #lines
end

-- Signs of an op's definition, the surest first: its struct, its row in a table, its name.
local function signs(op)
  local named = ('.name = "%s"'):format(op)
  return {
    function(line, before) return line:find(named, 1, true) and before:find "mw_op " end,
    function(line) return line:find("%f[%w]mw_op " .. op .. "[%w_]* = {") end,
    function(line) return line:find("^%s*%u[%w_]*%(" .. op .. ",") end,
    function(line) return line:find("^%s*%u[%w_]*%(\"" .. op .. "\",") end,
    function(line) return line:find("%f[%u]%u[%u%d_]*%(" .. op .. "[,)]") end,
    function(line) return line:find(named, 1, true) end,
    function(line) return line:find("[{(]\"" .. op .. "\"") end,
    function(line) return line:find("%f[%w_]" .. op .. "%f[^%w_]") end,
  }
end

-- The lines of an op's definition, or of its kernel's.
local definition
function definition(lines, op)
  for _, sign in ipairs(signs(op)) do
    for i, line in ipairs(lines) do
      if sign(line, lines[i - 1] or "") then
        local first = (lines[i - 1] or ""):find "mw_op [%w_]+ = {%s*$" and i - 1 or i
        return first, block_end(lines, first)
      end
    end
  end
  local stem = op:match "^(.*)_%w+$" -- a name that a macro puts together
  if stem then return definition(lines, stem) end
  return 1, #lines
end

-- The lines of a function of that name with the comment above it, or nil.
local function function_lines(lines, name)
  for i, line in ipairs(lines) do
    if line:find("^[%w_][%w_ *]*%f[%w_]" .. name .. "%(") and not line:find ";%s*$" then
      local first = i
      while first > 1 and not lines[first]:find "^/%*" and lines[first - 1]:find "%S"
        and not lines[first - 1]:find "^[}#]" and not lines[first - 1]:find ";%s*$" do
        first = first - 1
      end
      return {first, block_end(lines, i)}
    end
  end
end

-- Of a function of a few lines, those of what it calls in the same file.
local function what_it_calls(lines, range)
  for i = range[1], range[2] do
    for name in lines[i]:gmatch "([%l_][%w_]*)%(" do
      local called = function_lines(lines, name)
      if called and (called[2] < range[1] or called[1] > range[2]) then return called end
    end
  end
end

-- What of a C file is about an op: what it does, and its definition.
local function op_ranges(lines, op)
  local first, last = definition(lines, op)
  local ranges = {}
  for i = first, last do
    local name = lines[i]:match "%.forward = ([%w_]+)" or lines[i]:match "%.compose = ([%w_]+)"
    if name then
      local does = function_lines(lines, name)
      if does and does[2] - does[1] < FEW then does = what_it_calls(lines, does) or does end
      ranges[1] = does
      break
    end
  end
  ranges[#ranges + 1] = {first, last}
  return ranges
end

-- ---- ops --------------------------------------------------------------------------------------

---The plugin that an op, or a kernel of it, comes from, as mw.plugin.list has it; nil for what is
---shipped.
---@param op string
---@param kernel string?
---@return moonwalk.Plugin?
function sources.plugin(op, kernel)
  local origin = core.plugin_origin(op, kernel)
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    if entry.origin == origin then return entry end
  end
end

-- Kernels of an op that are in other files, as a note.
local function other_kernels(op)
  local _, own = core.plugin_origin(op)
  local names, seen = {}, {}
  for line in core.kernel_list(op):gmatch "[^\n]+" do
    local name = line:match "^%S+"
    local origin, file = core.plugin_origin(op, name)
    local where = origin == "shipped" and file ~= own and ("ops/%s.c"):format(file)
      or origin ~= "shipped" and origin ~= core.plugin_origin(op) and origin
    if where and not seen[name] then names[#names + 1] = ("%s in %s"):format(name, where) end
    seen[name] = true
  end
  return #names > 0 and ("other kernels: %s; ??%s %s shows one"):format(table.concat(names, ", "),
    op, names[1]:match "^%S+") or nil
end

-- An op that a script made: the lines around the function that it was made of.
local function made_source(session, entry)
  local file, line = entry.origin:match "^(.*):(%d+)$"
  local number = file and math.tointeger(tonumber(file:match "^%[(%d+)%]$"))
  local text = number and session.entries[number] and session.entries[number].text
    or file and compiler.read(file)
  if not text then
    core.error(("%s was made in %s, which cannot be read"):format(entry.name, entry.origin))
  end
  return {title = entry.origin, text = text, language = "lua", path = not number and file or nil,
    ranges = {{tonumber(line), #screen.lines(text)}}}
end

---The file of a shipped op, or of a kernel of it, as it was shipped: its name in ops/, and its
---text; nil when there is none.
---@param op string
---@param kernel string?
---@return string? name
---@return string? text
function sources.shipped(op, kernel)
  local _, file = core.plugin_origin(op, kernel)
  if not file then return nil end
  return file .. ".c", core.text("ops", file .. ".c")
end

---The source of an op, or of a kernel of it.
---@param session moonwalk.Session
---@param op string
---@param kernel string?
---@return moonwalk.Source
function sources.op(session, op, kernel)
  local origin = core.plugin_origin(op, kernel)
  if not origin then
    core.error(("%s has no kernel %q; mw.kernel %q lists what there is"):format(op, kernel, op))
  end
  if origin == "shipped" then
    local name, text = sources.shipped(op, kernel)
    return {title = "ops/" .. name, text = text, language = "c",
      ranges = op_ranges(screen.lines(text), kernel or op),
      note = not kernel and other_kernels(op) or nil}
  end
  local entry = sources.plugin(op, kernel)
  if not entry.built_for then return made_source(session, entry) end
  local text = entry.text or entry.source and compiler.read(entry.source)
  if not text then
    core.error(("%s comes from the library %s, whose source is not known"):format(op, origin))
  end
  return {title = entry.source or "C text", text = text, language = "c", path = entry.source,
    ranges = op_ranges(screen.lines(text), kernel or op),
    note = entry.override and sources.shipped(op, kernel)
      and ("in place of the shipped one; mw.plugin.unload %q gives that back"):format(op) or nil}
end

-- ---- functions --------------------------------------------------------------------------------

-- The text of a chunk by its name in debug information, and what it is called; nil if it is gone.
local function chunk_text(session, source)
  local own = source:match "^=(moonwalk/.*)$"
  if own then return core.text("modules", own), own end
  local number = math.tointeger(tonumber(source:match "^=%[(%d+)%]$"))
  local entry = number and session.entries[number]
  if entry then return entry.text, source:sub(2) end
  if source:sub(1, 1) == "@" then return compiler.read(source:sub(2)), source:sub(2) end
end

local function function_source(session, found)
  local fn = lookup.unwrapped(found.value)
  local info = debug.getinfo(fn, "S")
  local text, title = chunk_text(session, info.source)
  if info.what == "C" then core.error(found.name .. " is a function in C") end
  if not text then
    core.error(("%s was written in %s, which cannot be read"):format(found.name, info.short_src))
  end
  local first = info.linedefined
  local lines = screen.lines(text)
  while first > 1 and lines[first - 1]:find "^%s*%-%-" do first = first - 1 end
  return {title = title, text = text, language = "lua", ranges = {{first, info.lastlinedefined}},
    path = info.source:match "^@(.*)$"}
end

-- A class of modules: its file, from where it is made.
local function class_source(session, found, class)
  local document = documents.of {kind = "class", value = class, part = "nn",
    name = "nn." .. class.class}
  if document then
    local text = core.text("modules", document.file)
    return {title = document.file, text = text, language = "lua",
      ranges = {{document.line, #screen.lines(text)}}}
  end
  local init, forward = class.init, class.forward
  return function_source(session, {name = found.name, value = forward or init})
end

---The source of what a word is.
---@param session moonwalk.Session
---@param found moonwalk.Found  as lookup.find gives it
---@return moonwalk.Source
function sources.of(session, found)
  if found.kind == "op" then return sources.op(session, found.name) end
  if found.kind == "command" then
    local file = ("moonwalk/prompt/commands/%s.lua"):format(found.name)
    local text = core.text("modules", file)
    return {title = file, text = text, language = "lua", ranges = {{1, #screen.lines(text)}}}
  end
  local class = lookup.class_of(found.value)
  if class then return class_source(session, found, class) end
  if type(found.value) == "function" then return function_source(session, found) end
  core.error(("%s is a %s, and has no source"):format(found.name,
    core.is_tensor(found.value) and "tensor" or type(found.value)))
end

return sources
