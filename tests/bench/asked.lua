-- asked.lua: processes that measure, asked line by line: see ours.lua for the questions.

local mw = require "moonwalk"
local shell = require "moonwalk.shell"

local asked = {}

---@class bench.Process
---@field version string
---@field private input file*
---@field private output file*
local Process = {}
Process.__index = Process

---Starts a process that says when it is ready; nil when it does not.
---@param command string for the shell
---@return bench.Process?
function asked.start(command)
  local fifo = os.tmpname()
  os.remove(fifo)
  if not os.execute("mkfifo -m 600 " .. shell.quote(fifo)) then return nil end
  local output = assert(io.popen(("%s <%s 2>/dev/null"):format(command, shell.quote(fifo)), "r"))
  local input = assert(io.open(fifo, "w")) -- waits until the shell has opened its end
  os.remove(fifo)
  local process = setmetatable({input = input, output = output}, Process)
  local hello = process:answer()
  if not hello.ready then
    process.ended = true
    process:close()
    return nil
  end
  process.version = hello.version
  return process
end

function Process:answer()
  local line = self.output:read "l"
  return line and mw.json.decode(line) or {error = "it has ended"}
end

---@param format string the question
---@return table answer which has the field `error` where there is none
function Process:ask(format, ...)
  if self.ended then return {error = "it has ended"} end
  self.input:write(format:format(...), "\n")
  self.input:flush()
  local answer = self:answer()
  self.ended = answer.error == "it has ended"
  return answer
end

---The end of its input would not reach it: what was started later has the other end, too.
function Process:close()
  if not self.ended then
    self.input:write "quit\n"
    self.input:flush()
  end
  self.input:close()
  self.output:close()
end

return asked
