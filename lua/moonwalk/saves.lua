-- saves.lua: notices that a file was saved, once it is whole: whoever looks while an editor writes
-- it sees the beginning of it, or nothing.

local core = require "moonwalk.core"

local saves = {}

local EVERY = 0.2    -- seconds between two looks at a file
local SETTLED = 0.05 -- seconds without a change after which a file is whole

---@class moonwalk.Saves
---@field path string
---@field due number  when the next look is, by core.clock()
---@field seen string?  what the file was at the last look, if that was new
local Saves = {}
Saves.__index = Saves

---@param path string
---@return moonwalk.Saves
function saves.of(path)
  return setmetatable({path = path, due = core.clock() + EVERY}, Saves)
end

---Looks at the file, if it is time to.
---@param known string?  what the file was when it was taken last: core.file_stamp
---@return string? stamp  what it is, if it was saved since then and is whole
function Saves:look(known)
  if core.clock() < self.due then return nil end
  local stamp = core.file_stamp(self.path)
  if stamp == known then stamp = nil end
  local is_whole = stamp ~= nil and stamp == self.seen
  self.seen = not is_whole and stamp or nil
  self.due = core.clock() + (self.seen and SETTLED or EVERY)
  return is_whole and stamp or nil
end

---@return number seconds  until the next look
function Saves:pause() return math.max(0, self.due - core.clock()) end

return saves
