-- tell.lua: sentences of the prompt's commands: they end their lines between words, and the user's
-- home is ~ in them.

local markdown = require "moonwalk.look.markdown"
local screen = require "moonwalk.look.screen"

---Prints a sentence.
---@param session moonwalk.Session
---@param text string  of one or several lines
---@param style string?  as for screen.paint
local function tell(session, text, style)
  local home, columns = os.getenv "HOME", screen.size()
  if home and #home > 1 then text = text:gsub(home:gsub("%p", "%%%0") .. "/", "~/") end
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    for _, part in ipairs(markdown.wrap(line, columns)) do
      session:say(style and screen.paint(part, style) or part)
    end
  end
end

return tell
