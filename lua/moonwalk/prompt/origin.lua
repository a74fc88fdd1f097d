-- origin.lua: the line of Lua at which a tensor was built.

local compiler = require "moonwalk.compiler"
local screen = require "moonwalk.look.screen"

local origin = {}

---The text of the line that an origin tells of: "[3]:1" is of what was typed third, "Dense at
---net.lua:9" of a file. Nil where it is not known.
---@param place string
---@return string?
function origin.line(place)
  local chunk, number = place:gsub("^[%w_]+ at ", ""):match "^(.+):(%d+)$"
  if not chunk then return nil end
  local session = require("moonwalk.prompt.session").current
  local typed = tonumber(chunk:match "^%[(%d+)%]$")
  local entry = typed and session and session.entries[typed]
  local text = entry and entry.text or not typed and compiler.read(chunk)
  local line = text and screen.lines(text)[tonumber(number)]
  return line and line:match "^%s*(.-)%s*$"
end

return origin
