-- session.lua: what a prompt does with what is typed: it runs it, shows the values, and says what
-- went wrong. Reading lines is input.lua's.
--
-- A text is a command (`:time on`, `?conv2d`), or Lua: an expression or statements. Lua runs in a
-- coroutine of its own, so that a training in it can be left and taken up again; see job.lua.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local chunk = require "moonwalk.prompt.chunk"
local hints = require "moonwalk.prompt.hints"
local observer = require "moonwalk.trainer.observer"
local problem = require "moonwalk.prompt.problem"
local screen = require "moonwalk.look.screen"

---@class moonwalk.Entry
---@field text string  as it was typed
---@field ok boolean?  nil while it runs
---@field seconds number?
---@field values integer?  how many the chunk returned
---@field script string?  what does the same in a script, if that is another text

---What a chunk is while it runs.
---@class moonwalk.Task
---@field thread thread
---@field entry moonwalk.Entry
---@field number integer  of the entry
---@field chunk moonwalk.Chunk
---@field hidden boolean  its values are not shown
---@field began number
---@field measure any

---@class moonwalk.Session
---@field env table  the global variables of what is typed
---@field locals moonwalk.Locals
---@field entries moonwalk.Entry[]
---@field failure table?  of what failed last: message, number, and what core.failure() gives
---@field last any  the value of the last expression
---@field settings table<string, any>
---@field job moonwalk.Job?  a training that is not over; see job.lua
---@field task moonwalk.Task?  that runs now
---@field pollers (fun(): number)[]  called while nothing is typed; each gives the seconds until it
---  wants to be called again
---@field tour moonwalk.Tour?  which the user is on
---@field leaving boolean?  the prompt is over
local Session = {}
Session.__index = Session

local session = {}

---The session of the prompt that runs; nil in a script.
---@type moonwalk.Session?
session.current = nil

local FUNCTIONS = {"show", "plot", "hist", "draw", "why", "walk"}

-- The global variables of a session: Lua's, and Moonwalk's parts under their own names.
local function new_env(mw)
  local env = {mw = mw}
  env._G = env
  local lazy = {nn = true, optim = true, data = true}
  for _, name in ipairs(FUNCTIONS) do lazy[name] = true end
  return setmetatable(env, {
    __index = function(_, name)
      if lazy[name] then return mw[name] end
      return _G[name]
    end,
    lazy = lazy,
  })
end

---A session without a terminal, of which one is current at a time.
---@return moonwalk.Session
function session.new()
  local self = setmetatable({
    env = new_env(require "moonwalk"), locals = chunk.locals(), entries = {}, settings = {},
    pollers = {}, out = io.stdout,
  }, Session)
  core.keep_failures(true)
  core.interruptible_coroutines()
  session.current = self
  observer.attach = function(trainer)
    return require("moonwalk.prompt.job").attach(self, trainer)
  end
  return self
end

-- ---- variables ------------------------------------------------------------------------------

---The value of a variable as a line would see it.
---@param name string
---@return any
function Session:get(name)
  if self.locals:has(name) then return self.locals:get(name) end
  return self.env[name]
end

---Gives a variable a value, as an assignment in a line would.
---@param name string
---@param value any
function Session:set(name, value)
  if self.locals:has(name) then self.locals:set(name, value) else self.env[name] = value end
end

local BUILT_IN = {mw = true, _G = true, _ = true}

---Goes over the variables that were made here, in order of their names.
---@return fun(): string?, any
function Session:variables()
  local names, i = {}, 0
  for name in pairs(self.locals.cells) do names[#names + 1] = name end
  for name in pairs(self.env) do
    if type(name) == "string" and not BUILT_IN[name] and not self.locals:has(name) then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return function()
    i = i + 1
    if names[i] then return names[i], self:get(names[i]) end
  end
end

-- ---- showing --------------------------------------------------------------------------------

---Prints lines.
---@param text string
function Session:say(text)
  self.out:write(text, "\n")
  self.out:flush()
end

-- Shows the values that a chunk has returned, and keeps the first.
local function show_values(self, values)
  if values.n == 0 then return end
  self.last, self.env._ = values[1], values[1]
  local text = require("moonwalk.look.value").text
  for i = 1, values.n do self:say(text(values[i])) end
end

---Shows what went wrong, and remembers it.
---@param message any
---@param task moonwalk.Task?
---@param at integer?  where Lua's parser stopped
function Session:report(message, task, at)
  self.failure = problem.describe(self, message, task, at)
  self:say(self.failure.text)
end

-- ---- running --------------------------------------------------------------------------------

-- The values of a chunk, shown where Ctrl-C can end it.
local function present(self, task, values)
  task.entry.values = values.n
  if task.hidden then
    if values.n > 0 then self.last, self.env._ = values[1], values[1] end
    return true
  end
  return core.resume(coroutine.create(show_values), self, values)
end

-- Ends a task with the values that its chunk returned, or the message of its error.
local function finish(self, task, good, ...)
  local values, why = table.pack(...), (...)
  if self.job then require("moonwalk.prompt.job").forget(self, task) end
  if good then good, why = present(self, task, values) end
  if not good then
    self.locals:rescue(task.thread, task.chunk.fn, task.chunk.names)
    self:report(why, task)
  end
  task.entry.ok, task.entry.seconds = good, core.clock() - task.began
  if self.settings.time then self:say(screen.paint(self.settings.time(task.measure), "dim")) end
  coroutine.close(task.thread)
  return good
end

---Goes on with what a task did until it ended or yielded: a training yields between two steps.
---@param task moonwalk.Task
---@param good boolean
---@param ... any
---@return boolean? ok
function Session:arrived(task, good, ...)
  if coroutine.status(task.thread) == "dead" then return finish(self, task, good, ...) end
  local job = require "moonwalk.prompt.job"
  if job.takes(...) then return job.step(self, task, ...) end
  return finish(self, task, false, "coroutine.yield: there is nothing to yield to at the prompt")
end

local function back(self, outer, ...)
  self.task = outer
  return ...
end

---Lets a task go on until it ends or yields; gives what core.resume does.
---@param task moonwalk.Task
---@param ... any
---@return boolean good
---@return any ...
function Session:go(task, ...)
  local outer = self.task
  self.task = task
  return back(self, outer, core.resume(task.thread, ...))
end

---Lets a task go on until it is over, or stands still as a job.
---@param task moonwalk.Task
---@param ... any
---@return boolean? ok  false after an error, nil when it stands still
function Session:advance(task, ...)
  return self:arrived(task, self:go(task, ...))
end

-- Runs a chunk that was compiled.
local function start(self, compiled, entry, hidden, ...)
  local task = {
    thread = coroutine.create(compiled.fn), entry = entry, number = #self.entries,
    chunk = compiled, hidden = hidden, began = core.clock(),
    measure = self.settings.time and require("moonwalk.prompt.measure").begin(),
  }
  return self:advance(task, ...)
end

-- The text without a semicolon at its end, which hides the value of an expression.
local function without_semicolon(text)
  local shown = text:match "^(.-);%s*$"
  return shown or text, shown ~= nil
end

local function run_lua(self, text)
  local shown, hidden = without_semicolon(text)
  local entry = {text = text}
  self.entries[#self.entries + 1] = entry
  local name = ("=[%d]"):format(#self.entries)
  local compiled = chunk.compile(shown, name, self.env, self.locals)
  local message, at, _
  if not (compiled and compiled.is_expression) then
    hidden, compiled, message, _, at = false, chunk.compile(text, name, self.env, self.locals)
  end
  if not compiled then
    entry.ok = false
    self:report(message, nil, at)
    return false
  end
  local ok = start(self, compiled, entry, hidden)
  local remark = ok and problem.remark(self, shown)
  if remark then self:say(problem.hint(remark)) end
  return ok
end

-- ---- commands -------------------------------------------------------------------------------

local COMMANDS = "moonwalk.prompt.commands."

---The names of the commands, in order.
---@return string[]
function session.commands()
  local names = {}
  for name in pairs(package.preload) do
    if name:sub(1, #COMMANDS) == COMMANDS then names[#names + 1] = name:sub(#COMMANDS + 1) end
  end
  table.sort(names)
  return names
end

---@class moonwalk.Command
---@field usage string  ":time on|off"
---@field doc string  a sentence
---@field run fun(session: moonwalk.Session, argument: string, insists: boolean): function?
---  :save! insists; what it returns is called when the command is over
---@field complete (fun(session: moonwalk.Session, text: string): string[])?
---@field takes_lua boolean?  its argument is an expression, and completed as such

---The command of a name, or nil.
---@param name string
---@return moonwalk.Command?
function session.command(name)
  return package.preload[COMMANDS .. name] and require(COMMANDS .. name)
end

-- A text as a command's name and argument; nil when it is Lua.
local function as_command(text)
  local marks, word = text:match "^%s*(%?%??)%s*(.-)%s*$"
  if marks then return marks == "?" and (word == "" and "help" or "op") or "source", word end
  local name, argument = text:match "^%s*:([%a_!]+)%s*(.-)%s*$"
  if name and not text:find "^%s*::" then return name, argument end
end

local function run_command(self, text, name, argument)
  local entry = {text = text}
  self.entries[#self.entries + 1] = entry
  local bare, mark = name:match "^([%a_]+)(!?)$"
  local command = bare and session.command(bare)
  if not command then
    local other, near = hints.name(name, text), check.near(name, session.commands())
    self:report((":%s is no command; %s"):format(name,
      other or near and ("did you mean :%s?"):format(near) or ":help lists them"))
    entry.ok = false
    return false
  end
  local thread = coroutine.create(command.run)
  local good, why = core.resume(thread, self, argument, mark == "!")
  if not good then self:report(why) end
  entry.ok = good
  if good and type(why) == "function" then return why() end
  return good
end

---Runs a text as if it had been typed.
---@param text string
---@return boolean? ok  nil when it is a training that stands still
function Session:run(text)
  if not text:find "%S" then return true end
  local name, argument = as_command(text)
  if name then return run_command(self, text, name, argument) end
  return run_lua(self, text)
end

---What the prompt does while nothing is typed: a function that gives the seconds until it wants to
---be called again, or nil when there is nothing to do.
---@return (fun(): number)?
function Session:idle()
  if #self.pollers == 0 then return nil end
  return function()
    local pause = math.huge
    for _, poll in ipairs(self.pollers) do pause = math.min(pause, poll()) end
    return pause
  end
end

---Ends the prompt, unless a training stands still: then it takes two.
function Session:leave()
  local job = self.job and require "moonwalk.prompt.job"
  self.leaving = not job or job.may_leave(self)
end

---The value of an expression: true and it, or false and a message.
---@param text string
---@return boolean
---@return any
function Session:value(text)
  local name = ("=[%d]"):format(#self.entries)
  local compiled, message = chunk.compile(text, name, self.env, self.locals)
  if not compiled then return false, message end
  if not compiled.is_expression then return false, ("%s is no expression"):format(text) end
  return pcall(compiled.fn)
end

---Whether a text could go on: Lua whose end is missing.
---@param text string
---@return boolean
function Session:is_incomplete(text)
  if as_command(text) or hints.is_foreign(text) then return false end
  local compiled, _, incomplete = chunk.compile(text, "=prompt", self.env, self.locals)
  return not compiled and incomplete or false
end

---Runs a script, whose local variables are there afterwards.
---@param path string
---@param ... string its arguments
---@return boolean? ok
function Session:run_script(path, ...)
  local file, why = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  if not text then
    self:report(why or path .. ": cannot be read")
    return false
  end
  text = text:gsub("^#[^\n]*", "")
  local entry = {text = ("dofile %q"):format(path), script = text}
  self.entries[#self.entries + 1] = entry
  local compiled, message = chunk.compile(text, "@" .. path, self.env, self.locals)
  if compiled then return start(self, compiled, entry, true, ...) end
  entry.ok = false
  self:report(message)
  return false
end

return session
