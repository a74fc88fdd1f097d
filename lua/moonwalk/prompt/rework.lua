-- rework.lua: code of ops that is changed at the prompt: it is opened in the user's editor, and
-- what was saved is compiled, put to the gate and swapped in; or it is said where it is wrong.

local core = require "moonwalk.core"
local code = require "moonwalk.look.code"
local compiler = require "moonwalk.compiler"
local input = require "moonwalk.prompt.input"
local screen = require "moonwalk.look.screen"
local shell = require "moonwalk.shell"
local tell = require "moonwalk.prompt.tell"
local time_text = require("moonwalk.measure").time_text

local rework = {
  ---What files were like when it was last tried to take them: core.file_stamp, by path.
  ---@type table<string, string>
  stamps = {},
}

local AROUND = 2 -- lines before and behind the one that is wrong
local MOST_LINES = 12 -- of what the compiler says where that is about another file

-- ---- the editor -------------------------------------------------------------------------------

-- Editors that want FILE:LINE; others are told +LINE.
local BY_COLON = {code = "-g ", codium = "-g ", subl = "", zed = "", hx = "", helix = ""}

---Opens a file in $VISUAL or $EDITOR and waits until that is left.
---@param path string
---@param line integer?
---@return boolean done  not if the editor says by its status that nothing is to be done
function rework.open(path, line)
  local editor = os.getenv "VISUAL"
  if not editor or not editor:find "%S" then editor = os.getenv "EDITOR" end
  if not editor or not editor:find "%S" then
    core.error(("there is no editor: set EDITOR (or VISUAL), as in EDITOR=nano; or change %s in "
      .. "another window, and :watch %s"):format(path, path))
  end
  local name = editor:match "%S+":match "[^/]*$"
  local command
  if BY_COLON[name] then
    command = ("%s %s%s:%d"):format(editor, BY_COLON[name], shell.quote(path), line or 1)
  else
    command = ("%s %s%s"):format(editor, line and line > 1 and ("+%d "):format(line) or "",
      shell.quote(path))
  end
  io.stdout:flush()
  local done, how, status = os.execute(command)
  if how == "exit" and status == 127 then
    core.error(("the editor %s cannot be started; EDITOR or VISUAL says which one it is")
      :format(name))
  end
  return done or false
end

-- ---- what came of it --------------------------------------------------------------------------

-- The first error of the compiler's in a file: line, column, message; and how many more there are.
local function first_error(problem, path)
  local list, prefix = {}, path .. ":"
  for line in problem:gmatch "[^\n]+" do
    local at, rest = line:sub(1, #prefix) == prefix, line:sub(#prefix + 1)
    local number, column, message = rest:match "^(%d+):(%d+): %a*%s?error: (.*)$"
    if at and number then
      list[#list + 1] = {line = tonumber(number), column = tonumber(column), message = message}
    end
  end
  return list[1], #list - 1
end

-- The lines around an error, with a mark below its column.
local function excerpt(path, line, column)
  local text = compiler.read(path)
  if not text then return {} end
  local columns = screen.size()
  local lines = code.lines(text, "c")
  local first, last = math.max(line - AROUND, 1), math.min(line + AROUND, #lines)
  local result = code.numbered(lines, first, last, columns, function(i) return i == line end)
  local width = #tostring(#lines) + 2
  if line <= last and width + column <= columns then
    local before = screen.lines(text)[line]:sub(1, column - 1):gsub("\t", "    ")
    table.insert(result, line - first + 2,
      (" "):rep(width + screen.width(before)) .. screen.paint("^", "bold red"))
  end
  return result
end

---What is said of code that was not taken, and the line to open the file at, if one is known.
---@param path string
---@param problem string
---@return string
---@return integer?
function rework.describe(path, problem)
  local found, more = first_error(problem, path)
  local name = path:match "[^/]*$"
  if not found then
    problem = problem:gsub("^[^\n:]*:%d+: ", ""):gsub("^plugin[%w.]*: ", "")
      :gsub("^it does not pass its tests: ", "it does not pass the gate: ")
    local plain = path:gsub("%p", "%%%0")
    problem = problem:gsub(": " .. plain .. ": ", ": "):gsub("^" .. plain .. ":? ", "")
    local lines = screen.lines(problem)
    local shown = table.concat(lines, "\n", 1, math.min(#lines, MOST_LINES))
    return ("%s: %s%s"):format(name, shown, #lines > MOST_LINES and "\n..." or "")
  end
  local lines = {("%s:%d:%d: %s"):format(name, found.line, found.column, found.message)}
  table.move(excerpt(path, found.line, found.column), 1, 2 * AROUND + 2, 2, lines)
  if more > 0 then
    lines[#lines + 1] = ("and %d more error%s"):format(more, more == 1 and "" or "s")
  end
  return table.concat(lines, "\n"), found.line
end

-- Names of kernels that were set aside for what a plugin brings, or nil.
local function set_aside(ops)
  local names, seen = {}, {}
  for _, op in ipairs(ops) do
    for line in core.kernel_list(op):gmatch "[^\n]+" do
      local name = line:find "%(set aside%)$" and line:match "^%S+"
      if name and not seen[name] then names[#names + 1] = name end
      seen[name or ""] = true
    end
  end
  return #names > 0 and table.concat(names, ", ") or nil
end

---What is said of code that was taken.
---@param path string
---@param taken moonwalk.Taken
---@param override boolean?  whether it is in the place of what is shipped
---@return string
function rework.success(path, taken, override)
  local name, n = path:match "[^/]*$", #taken.ops
  local parts = {"compiled " .. time_text(taken.compile)}
  if taken.test > 0 then parts[2] = "tested " .. time_text(taken.test) end
  parts[#parts + 1] = "swapped " .. time_text(taken.swap)
  local verb = (taken.replaced or override) and "swapped in" or "loaded"
  local which = n == 0 and "its kernels are" or n == 1 and taken.ops[1] .. " is"
    or n <= 4 and table.concat(taken.ops, ", ") .. " are" or ("its %d ops are"):format(n)
  return ("%s: %s %s after %s (%s)"):format(name, which, verb,
    time_text(taken.compile + taken.test + taken.swap), table.concat(parts, ", "))
end

-- A line that is written over by the next, where there is a terminal for it.
local function progress_line(session, text)
  if session.out ~= io.stdout or not core.terminal "stdout" then return end
  io.stdout:write("\r", text and screen.paint(screen.cut(text, screen.size() - 1), "dim") or "",
    "\27[K")
  io.stdout:flush()
end

---Takes a file as it is now, as plugin.take does, until Ctrl-C ends that: with an error where it
---ends what runs, else with nil.
---@param path string
---@param options table
---@param ended fun(interrupted: boolean)  is called whatever comes of it
---@return boolean? done
---@return any taken  or the message of an error
function rework.attempt(path, options, ended)
  local interrupted = true
  rework.stamps[path] = core.file_stamp(path)
  local _ <close> = setmetatable({}, {__close = function() ended(interrupted) end})
  local done, result = pcall(require("moonwalk").plugin.take, path, options)
  interrupted = not done and tostring(result):find "interrupted$" ~= nil
  if interrupted then return nil end
  return done, result
end

---Takes a file as it is now, as plugin.take does, and says what came of it.
---@param session moonwalk.Session
---@param path string
---@param options table
---@return moonwalk.Taken? taken
---@return integer? line  where it is wrong
function rework.take(session, path, options)
  local name = path:match "[^/]*$"
  progress_line(session, ("compiling %s ..."):format(name))
  options.test = true
  function options.progress(op, i, n)
    progress_line(session, ("testing %s%s ..."):format(op,
      n > 1 and (", %d of %d"):format(i, n) or ""))
  end
  local done, result = rework.attempt(path, options, function(interrupted)
    progress_line(session)
    if interrupted then tell(session, ("%s is not taken"):format(name)) end
  end)
  if done == nil then error("interrupted", 0) end
  if not done then
    local text, line = rework.describe(path, tostring(result))
    session:say(screen.paint("error: ", "bold red") .. text)
    return nil, line
  end
  tell(session, rework.success(path, result, options.override))
  if options.override and not result.replaced then
    local aside = set_aside(result.ops)
    tell(session, ("%smw.plugin.unload %q gives the shipped code back"):format(aside
      and ("the kernels %s are set aside: they compute what was shipped; "):format(aside) or "",
      (name:gsub("%.c$", ""))), "dim")
  end
  return result
end

---Asks a question to which Enter says yes. No where there is no terminal to answer.
---@param question string
---@return boolean
function rework.ask(question)
  if not core.terminal "stdin" then return false end
  local answer = input.line(question .. " [Y/n] ")
  return answer ~= nil and not answer:lower():find "^%s*n"
end

---What rework.edit is told.
---@class moonwalk.Editing
---@field override boolean?  as for plugin.take
---@field replaces string?   likewise
---@field always boolean?    whether the file is taken if it was not changed, too
---@field known boolean?     whether there is code that goes on if it is not taken
---@field word string?       what the user calls it
---@field shipped string?    the text at which `restore` is called instead
---@field restore function?

---Opens a file, and takes it when it was saved; again and again where it is wrong and the user
---wants to go on.
---@param session moonwalk.Session
---@param path string
---@param line integer?
---@param options moonwalk.Editing
---@return boolean taken
function rework.edit(session, path, line, options)
  local before = compiler.read(path)
  while true do
    if not rework.open(path, line) then
      tell(session, "the editor says by its exit status that nothing is to be done")
      return false
    end
    local now = compiler.read(path)
    if now == before and not options.always then
      tell(session, ("%s is as it was; :watch %s takes what is saved later"):format(
        path:match "[^/]*$", options.word or path))
      return false
    end
    if options.shipped and now == options.shipped and options.restore then
      options.restore()
      return false
    end
    local taken, wrong = rework.take(session, path, {override = options.override,
      replaces = options.replaces})
    if taken then return true end
    tell(session, options.known and "the old code goes on" or "nothing is loaded")
    line, options.always = wrong or line, true
    local where = wrong and (" at line %d"):format(wrong) or ""
    if not rework.ask(("open it again%s?"):format(where)) then return false end
  end
end

return rework
