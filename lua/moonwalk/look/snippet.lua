-- snippet.lua: lines of code where there is less room than they were written for: they are broken
-- between words, and the comments behind them move.

local screen = require "moonwalk.look.screen"

-- A line of code and the comment behind it, or an empty one.
local function parts_of(line)
  local code, comment = line:match "^(.-%S)%s%s+(%-%- .*)$"
  return code or line, comment or ""
end

-- Where a line that is too wide is broken: behind the last comma in the second half of the columns,
-- or else at the last blank.
local function break_of(line, indent, columns)
  local blank, comma
  for place in line:sub(1, columns):gmatch "()%s+" do
    if place > #indent + 2 then blank = place end
    if place > columns // 2 and line:sub(place - 1, place - 1) == "," then comma = place end
  end
  return comma or blank
end

local function add_broken(lines, line, columns)
  local indent = line:match "^%s*"
  local further = indent .. (line:find "^%s*%-%-" and "-- " or "  ")
  while screen.width(line) > columns do
    local at = break_of(line, indent, columns)
    if not at then break end
    lines[#lines + 1] = line:sub(1, at - 1)
    line = further .. line:sub(at):gsub("^%s+", "")
  end
  lines[#lines + 1] = line
end

---Lines of code in so many columns. Where one is too wide, the comments behind them come closer;
---one for which there is no room then stands above its line.
---@param code string[]
---@param columns integer
---@return string[]
local function snippet(code, columns)
  local lines, widest, column = {}, 0, 0
  for _, line in ipairs(code) do
    widest = math.max(widest, screen.width(line))
    local text, comment = parts_of(line)
    if comment ~= "" and screen.width(text .. "  " .. comment) <= columns then
      column = math.max(column, screen.width(text))
    end
  end
  for _, line in ipairs(code) do
    local text, comment = parts_of(line)
    local room = columns - 2 - screen.width(comment)
    if widest <= columns then lines[#lines + 1] = line
    elseif comment == "" then add_broken(lines, line, columns)
    elseif screen.width(text) <= room then
      lines[#lines + 1] = screen.pad(text, math.min(column, room)) .. "  " .. comment
    else
      add_broken(lines, text:match "^%s*" .. comment, columns)
      add_broken(lines, text, columns)
    end
  end
  return lines
end

return snippet
