-- words.lua: numbers and places in graphs, in few characters.

local screen = require "moonwalk.look.screen"

local words = {}

---A number in few digits: "0.0021", "-2.31", "3300", "1.2e9", "NaN".
---@param x number
---@return string
function words.number(x)
  if x ~= x then return "NaN" end
  if x == math.huge or x == -math.huge then return x > 0 and "inf" or "-inf" end
  local size = math.abs(x)
  if size >= 1000 and size < 1e5 then return ("%.0f"):format(x) end
  return (("%.3g"):format(x):gsub("e([+-])0+", "e%1"):gsub("e%+", "e"))
end

---A share as a percentage, of which only all is "100 %".
---@param x number
---@return string
function words.percent(x)
  if x > 0.999 and x < 1 then return "more than 99.9 %" end
  return words.number(100 * x) .. " %"
end

---A value of a graph by the op that it is the result of: "sigmoid (h)", "dense (net[1])",
---"add (net.lua:7)".
---@param step {op: string, name: string?, layer: string?, origin: string?}
---@return string
function words.place(step)
  local what = step.name or step.layer or step.origin
  return what and ("%s (%s)"):format(step.op, what) or step.op
end

---A sentence as lines of so many columns, into which longer words are cut.
---@param text string
---@param columns integer
---@return string[]
function words.wrap(text, columns)
  local lines = screen.fold(text, columns)
  for i, line in ipairs(lines) do lines[i] = screen.cut(line, columns) end
  return lines
end

return words
