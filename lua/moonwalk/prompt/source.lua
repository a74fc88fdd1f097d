-- source.lua: the line of Lua at which a tensor was built.

local source = {}

local function line_of(text, number)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number - 1
    if number == 0 then return line end
  end
end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

---The text of the line that an origin tells of: "[3]:1" is of what was typed third, "Dense at
---net.lua:9" of a file. Nil where it is not known.
---@param origin string
---@return string?
function source.line(origin)
  local chunk, number = origin:gsub("^[%w_]+ at ", ""):match "^(.+):(%d+)$"
  if not chunk then return nil end
  local session = require("moonwalk.prompt.session").current
  local typed = tonumber(chunk:match "^%[(%d+)%]$")
  local entry = typed and session and session.entries[typed]
  local text = entry and entry.text or not typed and read(chunk)
  local line = text and line_of(text, tonumber(number))
  return line and line:match "^%s*(.-)%s*$"
end

return source
