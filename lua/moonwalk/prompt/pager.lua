-- pager.lua: long texts, which are shown page by page.

local screen = require "moonwalk.look.screen"
local compiler = require "moonwalk.compiler"
local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local pager = {}

-- The command of a program that shows pages, or nil: $PAGER, or less.
local function program()
  local own = os.getenv "PAGER"
  if own and own:find "%S" then return own end
  return shell.has "less" and "less" or nil
end

-- What less is told where the user has no LESS: to keep colours, and to say how to get on.
local LESS = "-R -Ps?ethe end; q leaves, b goes back:a blank goes on, b goes back, q leaves.$"

-- How many lines a text takes on a screen of so many columns.
local function height(text, columns)
  local lines = 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    lines = lines + math.max(1, (screen.width(line) + columns - 1) // columns)
  end
  return lines
end

---Shows a text: by $PAGER or less where standard output is a terminal that it does not fit on; else
---it is printed.
---@param session moonwalk.Session
---@param text string
---@param line integer?  what is to be seen first
function pager.show(session, text, line)
  local columns, rows = screen.size()
  local command = core.terminal "stdout" and session.out == io.stdout
    and height(text, columns) > rows - 1 and program()
  local path = command and os.tmpname()
  -- Through a file: a pager that is left early must not end this process by a closed pipe.
  if not path or not compiler.write(path, text .. "\n") then
    session:say(text)
  else
    io.stdout:flush()
    local at = line and line > 1 and command:find "less" and (" +%dg"):format(line) or ""
    local own = os.getenv "LESS" or ""
    local done = os.execute(("LESS=%s %s%s <%s"):format(shell.quote(own ~= "" and own or LESS),
      command, at, shell.quote(path)))
    if not done then session:say(text) end
  end
  if path then os.remove(path) end
end

return pager
