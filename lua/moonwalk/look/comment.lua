-- comment.lua: the text of a comment as it is read in a terminal: paragraphs are wrapped, and lines
-- that are indented are code.

local markdown = require "moonwalk.look.markdown"
local snippet = require "moonwalk.look.snippet"

---The lines of a comment.
---@param text string
---@param columns integer
---@return string[]
local function comment(text, columns)
  local lines, paragraph, code = {}, {}, {}
  local function flush()
    for _, more in ipairs {markdown.wrap(table.concat(paragraph, " "), columns),
      snippet(code, columns)} do
      table.move(more, 1, #more, #lines + 1, lines)
    end
    paragraph, code = {}, {}
  end
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local is_code = line:find "^%s%s" ~= nil
    if line == "" or is_code and #paragraph > 0 or not is_code and #code > 0 then flush() end
    if line == "" then lines[#lines + 1] = ""
    elseif is_code then code[#code + 1] = line
    else paragraph[#paragraph + 1] = line end
  end
  flush()
  return lines
end

return comment
