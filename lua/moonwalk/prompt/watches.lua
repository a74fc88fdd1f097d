-- watches.lua: files of ops that are looked at while the prompt waits for keys, and between the
-- steps of a training: what is saved is compiled, put to the gate and swapped in.

local core = require "moonwalk.core"
local job = require "moonwalk.prompt.job"
local rework = require "moonwalk.prompt.rework"
local saves = require "moonwalk.saves"
local screen = require "moonwalk.look.screen"
local tell = require "moonwalk.prompt.tell"
local updates = require "moonwalk.updates"

local watches = {}

---@class moonwalk.WatchedFile
---@field path string
---@field override boolean
---@field saves moonwalk.Saves
---@field look fun(): number  gives the seconds until it wants to be called again

local list = {} ---@type moonwalk.WatchedFile[]

-- Shows lines above the one that is being typed; in the place of what a training draws there.
local function say(text)
  text = screen.wrap(text)
  if not core.editor_note(text, false) then
    io.stdout:write(core.terminal "stdout" and "\r\27[K" or "", text, "\n")
    io.stdout:flush()
  end
end

-- Sentences, of which lines end between words.
local teller = {say = function(_, line) say(line) end}

-- Takes the file if it was saved since the last look.
local function poll(session, file)
  if not file.saves:look(rework.stamps[file.path]) then return end
  local name, began = file.path:match "[^/]*$", core.clock()
  tell(teller, ("%s was saved: compiling and testing it ..."):format(name), "dim")
  local done, taken = rework.attempt(file.path, {test = true, override = file.override},
    function(interrupted)
      if interrupted then
        tell(teller, ("%s is not taken; save it again, or :reload"):format(name))
      end
      job.not_counted(session, core.clock() - began)
    end)
  if done == nil then return end -- others have heard of Ctrl-C, too
  if done then return tell(teller, rework.success(file.path, taken, file.override)) end
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
  local file = {path = path, override = override, saves = saves.of(path)}
  rework.stamps[path] = core.file_stamp(path)
  function file.look()
    poll(session, file)
    return file.saves:pause()
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

return watches
