-- prompt.lua: the prompt of the command `moonwalk`: lines are read, and run by the session.

local core = require "moonwalk.core"
local input = require "moonwalk.prompt.input"
local problem = require "moonwalk.prompt.problem"
local session = require "moonwalk.prompt.session"
local screen = require "moonwalk.look.screen"
local shell = require "moonwalk.shell"

local prompt = {}

local MARK, MORE = "> ", ">> "

local function greet()
  local line = ("Moonwalk %s, %s. :tour shows around, :help lists all, Ctrl-D leaves.")
    :format(core.version, _VERSION)
  print(screen.paint(line, "dim"))
  if input.kind() == "plain" and input.wanted() then
    print(screen.paint("Lines can be edited, and Tab completes them, once libedit is installed "
      .. "(Debian: libedit2).", "dim"))
  end
end

---Reads lines until they are a text that can be run. nil: none; "end": there will be no more. An
---empty line asks what is missing.
---@param self moonwalk.Session
---@param options {idle: (fun(): number|false)?, first: string?}?  what is done while nothing is
---  typed; what was typed of the first line already
---@return string? text
---@return "end"|"interrupted"|nil
function prompt.read(self, options)
  local told = false
  local idle, first = options and options.idle or self:idle(), options and options.first or ""
  local text, why = input.line(MARK, {idle = idle, text = first})
  while text and self:is_incomplete(text) do
    local more
    more, why = input.line(MORE, {idle = idle, before = text .. "\n"})
    text = more and text .. "\n" .. more
    if more and not told and not more:find "%S" and self:is_incomplete(text) then
      told = true
      self:say(problem.hint(problem.missing(self, text)))
    end
  end
  return text, why
end

---Runs the prompt until it is left.
---@param script string? is run before the first line is read
---@param ... string the script's arguments
function prompt.run(script, ...)
  local self = session.new()
  local state = shell.folder "state"
  input.open {history = state and state .. "/history", complete = function(line, cursor)
    return require("moonwalk.prompt.complete").words(self, line, cursor)
  end}
  if script then self:run_script(script, ...) else greet() end
  while not self.leaving do
    local text, why = prompt.read(self)
    if text then
      if self.tour then text = self.tour:read(text) end
      input.remember(text)
      local ok = self:run(text)
      local interrupted = ok == false and tostring(self.failure.message):find "interrupted"
      if interrupted then input.drop() end -- what was pasted along with it
      if self.tour then self.tour:after(self, text) end
    elseif why == "end" then
      self:leave()
    end
  end
  input.close()
end

return prompt
