-- watches.lua: files of ops that are looked at while the prompt waits for keys, and between the
-- steps of a training: what is saved is compiled, put to the gate and swapped in.

local core = require "moonwalk.core"
local rework = require "moonwalk.prompt.rework"
local screen = require "moonwalk.look.screen"
local updates = require "moonwalk.updates"

local watches = {}

local EVERY = 0.2 -- seconds between two looks at a file

---@class moonwalk.WatchedFile
---@field path string
---@field override boolean
---@field stamp string?
---@field look function

local list = {} ---@type moonwalk.WatchedFile[]

-- Shows lines above the one that is being typed; in the place of what a training draws there.
local function say(text)
  text = screen.wrap(text)
  if not core.editor_note(text, false) then
    io.stdout:write(core.terminal "stdout" and "\r\27[K" or "", text, "\n")
    io.stdout:flush()
  end
end

-- Takes the file if it was saved since the last look.
local function poll(file)
  local stamp = core.file_stamp(file.path)
  if not stamp or stamp == file.stamp then return end -- an editor may be replacing it
  file.stamp = stamp
  say(screen.paint(("%s was saved"):format(file.path:match "[^/]*$"), "dim"))
  local done, taken = pcall(require("moonwalk").plugin.take, file.path,
    {test = true, override = file.override})
  if done then return say(rework.success(file.path, taken, file.override)) end
  local text = rework.describe(file.path, tostring(taken))
  say(screen.paint("error: ", "bold red") .. text .. "\nthe old code goes on")
end

---The paths of the files that are watched.
---@return string[]
function watches.paths()
  local paths = {}
  for i, file in ipairs(list) do paths[i] = file.path end
  return paths
end

---Watches a file from now on.
---@param session moonwalk.Session
---@param path string
---@param override boolean  whether it may take the place of what is shipped
function watches.add(session, path, override)
  watches.remove(session, path)
  local file = {path = path, override = override, stamp = core.file_stamp(path)}
  local looked = core.clock()
  function file.look()
    if core.clock() - looked < EVERY then return end
    poll(file)
    looked = core.clock()
  end
  list[#list + 1] = file
  session.pollers[#session.pollers + 1] = file.look
  updates.between(file.look)
end

---Watches a file no more; all of them without one.
---@param session moonwalk.Session
---@param path string?
---@return integer n  how many were watched
function watches.remove(session, path)
  local n = 0
  for i = #list, 1, -1 do
    local file = list[i]
    if not path or file.path == path then
      table.remove(list, i)
      updates.between(file.look, false)
      for k = #session.pollers, 1, -1 do
        if session.pollers[k] == file.look then table.remove(session.pollers, k) end
      end
      n = n + 1
    end
  end
  return n
end

---Looks at all files now.
function watches.look()
  for _, file in ipairs(list) do poll(file) end
end

return watches
