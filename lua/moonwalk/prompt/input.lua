-- input.lua: lines that are typed.

local input = {}

function input.open() end
function input.close() end
function input.kind() return "plain" end

---Whether a line editor was asked for.
function input.wanted() return os.getenv "MOONWALK_EDITOR" ~= "plain" end

---Reads a line. While nothing is typed, options.idle is called: it returns the seconds until it
---wants to be called again, 0 for at once, or false.
---@param mark string
---@param options {idle: (fun(): number|false)?}?
---@return string? line
---@return "end"|"interrupted"|nil
function input.line(mark, options) -- luacheck: no unused args
  io.stdout:write(mark)
  io.stdout:flush()
  local line = io.read()
  if not line then return nil, "end" end
  return line
end

return input
