-- own_ops.lua: the user's own versions of shipped ops: C files in a folder of the user's, that are
-- copies of the shipped ones at first.

local core = require "moonwalk.core"
local compiler = require "moonwalk.compiler"
local shell = require "moonwalk.shell"
local tell = require "moonwalk.prompt.tell"

local own = {}

---The folder of the user's own versions of shipped ops: $XDG_DATA_HOME/moonwalk/ops. It is made.
---@return string
function own.folder()
  local data = shell.folder "data"
  if not data then
    core.error "there is no folder for your ops: neither HOME nor XDG_DATA_HOME is set"
  end
  local folder = data .. "/ops"
  local made, why = core.make_folder(folder)
  if not made then core.error(why) end
  return folder
end

---Writes a file, or raises why that cannot be.
---@param path string
---@param text string
function own.write(path, text)
  local done, problem = compiler.write(path, text)
  if not done then core.error(problem) end
end

---The user's own copy of a shipped file, which is made if there is none.
---@param session moonwalk.Session
---@param name string  "relu.c"
---@param text string  as it is shipped
---@param anew boolean  begins it again, and keeps what was there
---@param word string  what was asked for
---@return string path
function own.copy(session, name, text, anew, word)
  local path, known = ("%s/%s"):format(own.folder(), name), false
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    known = known or entry.source == path
  end
  local there = compiler.read(path)
  if there and anew and there ~= text then
    os.rename(path, path .. "~")
    tell(session, ("your version of before is kept as %s~"):format(path))
  end
  if not there or anew then
    own.write(path, text)
  elseif there ~= text and not known then
    tell(session, ("this is your version of before, %s; :edit! %s begins again from the shipped "
      .. "one"):format(path, word), "dim")
  end
  return path
end

---"relu", "conv2d/winograd", "conv2d winograd" or "conv2d_winograd.c" as an op and perhaps a kernel
---of it; nil when there is none.
---@param word string
---@return string? op
---@return string? kernel
function own.read(word)
  local op, kernel = word:match "^([%w_]+)[/ ]([%w_]+)$"
  if op and core.op_info(op) then return op, kernel end
  local name = word:gsub("^mw%.", "")
  if core.op_info(name) then return name end
  local stem = name:gsub("^ops/", ""):gsub("%.c$", "")
  for known in pairs(core.text("ops", stem .. ".c") and core.ops() or {}) do
    if select(2, core.plugin_origin(known)) == stem then return known end
    for line in core.kernel_list(known):gmatch "[^\n]+" do
      local name_of_kernel = line:match "^%S+"
      if select(2, core.plugin_origin(known, name_of_kernel)) == stem then
        return known, name_of_kernel
      end
    end
  end
end

---A file of the user's for a text that has none: NAME.c, or NAME-2.c where that has another text.
---@param name string
---@param suffix string  ".c"
---@param text string
---@return string path
function own.file(name, suffix, text)
  local stem, n = ("%s/%s"):format(own.folder(), name), 1
  local path = stem .. suffix
  while (compiler.read(path) or text) ~= text do
    n = n + 1
    path = ("%s-%d%s"):format(stem, n, suffix)
  end
  own.write(path, text)
  return path
end

return own
