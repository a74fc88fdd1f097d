-- output.lua: what Lua code prints while something is drawn in the terminal, on which it is not to
-- be written: print, io.write, and write() of standard output and error.

local core = require "moonwalk.core"

local output = {}

local methods = getmetatable(io.stdout).__index
local plain = {print = print, io_write = io.write, write = methods.write}
local taker ---@type (fun(file: file*, text: string))?

-- The text of values as write() takes them, or nil, for write() to refuse.
local function text_of(...)
  local parts = {...}
  for i = 1, select("#", ...) do
    if type(parts[i]) ~= "string" and type(parts[i]) ~= "number" then return nil end
  end
  return table.concat(parts)
end

-- Gives a text to the taker: what that prints is printed.
local function take(file, text)
  local to = taker
  taker = nil
  to(file, text)
  taker = to
  return file
end

-- Whether a text for this file would come to be on the terminal.
local function is_shown(file)
  return taker and (file == io.stdout and core.terminal "stdout"
    or file == io.stderr and core.terminal "stderr")
end

local function write(file, ...)
  local text = is_shown(file) and text_of(...)
  if text then return take(file, text) end
  return plain.write(file, ...)
end

local function io_write(...)
  if taker and io.output() == io.stdout then return write(io.stdout, ...) end
  return plain.io_write(...)
end

local function print_values(...)
  if not is_shown(io.stdout) then return plain.print(...) end
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  take(io.stdout, table.concat(parts, "\t") .. "\n")
end

---Gives what is printed from now on to a function, or, without one, prints it again.
---@param fn (fun(file: file*, text: string))?
function output.through(fn)
  taker = fn
  _G.print = fn and print_values or plain.print -- luacheck: ignore 122
  io.write = fn and io_write or plain.io_write -- luacheck: ignore 122
  methods.write = fn and write or plain.write
end

---Writes a text, whatever is printed through a function.
---@param file file*
---@param text string
function output.write(file, text)
  plain.write(file, text)
  file:flush()
end

return output
