-- colour.lua: Lua text in colours, while it is typed.

local lexer = require "moonwalk.prompt.lexer"
local screen = require "moonwalk.look.screen"

local STYLES = {keyword = "magenta", string = "green", number = "cyan", comment = "dim"}

---The text with escape sequences put in where the terminal has colours; no other character changes.
---@param text string
---@return string
local function colour(text)
  if screen.colours() == 0 then return text end
  local parts, last = {}, 0
  for _, token in ipairs(lexer.tokens(text)) do
    local style = STYLES[token.kind]
    parts[#parts + 1] = text:sub(last + 1, token.first - 1)
    if style then -- what is in front of each line is not the token's
      parts[#parts + 1] = token.text:gsub("[^\n]+", function(line)
        return screen.paint(line, style)
      end)
    else
      parts[#parts + 1] = token.text
    end
    last = token.last
  end
  parts[#parts + 1] = text:sub(last + 1)
  return table.concat(parts)
end

return colour
