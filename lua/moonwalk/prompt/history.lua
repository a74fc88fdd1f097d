-- history.lua: what was typed before, at this prompt and at others, as a list and in a file. A line
-- of the file is an entry, in which line breaks are "\n".

local compiler = require "moonwalk.compiler"
local core = require "moonwalk.core"

local history = {}

local MOST_BYTES = 1 << 20 -- of the file; then its older half goes
local MOST_LINE = MOST_BYTES // 8 -- a longer one would soon drive all others out of the file

---@class moonwalk.History
---@field entries string[]  the oldest first
---@field path string?
local History = {}
History.__index = History

local function encode(text)
  return (text:gsub("\0", ""):gsub("\\", "\\\\"):gsub("\n", "\\n"))
end

local function decode(line)
  return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end))
end

---The history in a file, which is made with its folder where it is not there; without a path it
---ends with the process.
---@param path string?
---@return moonwalk.History
function history.open(path)
  local self = setmetatable({entries = {}, path = path}, History)
  if path then core.make_folder(path:match "(.*)/" or ".", true) end
  local said = path and compiler.read(path) or ""
  for line in said:gmatch "[^\n]+" do
    local text = decode(line)
    if text:find "%S" and text ~= self.entries[#self.entries] then
      self.entries[#self.entries + 1] = text
    end
  end
  return self
end

---Adds a text, unless it is the one that was added last. A file that cannot be written is done
---without.
---@param text string
function History:add(text)
  text = text:gsub("%s+$", "")
  if text == "" or text == self.entries[#self.entries] then return end
  self.entries[#self.entries + 1] = text
  if self.path and #text <= MOST_LINE then
    core.history_append(self.path, encode(text), MOST_BYTES)
  end
end

---The nearest entry before (step -1) or after (step 1) one that has a text in it, or begins with
---it, and is not what is shown already.
---@param from integer  number of an entry
---@param step -1|1
---@param text string
---@param as_prefix boolean
---@param shown string?
---@return integer? number
---@return string? entry
function History:find(from, step, text, as_prefix, shown)
  for i = from + step, step < 0 and 1 or #self.entries, step do
    local at = self.entries[i]:find(text, 1, true)
    if at and (at == 1 or not as_prefix) and self.entries[i] ~= shown then
      return i, self.entries[i]
    end
  end
end

return history
