-- operands.lua: a table of the tensors that an op reads and writes, a line for each: what the op
-- calls it, what it is, how its values lie.

local screen = require "moonwalk.look.screen"
local words = require "moonwalk.look.words"

local operands = {}

local MOST_LABEL, MOST_SPEC = 28, 18 -- columns

---@class moonwalk.Operand
---@field label string  what the op calls it: "x", "the gradient of y"
---@field name string?  the user's
---@field spec string
---@field summary table?  see core.summary; nil where it cannot be known
---@field norm number?  shown where it is there
---@field element number?  a single one that is looked at
---@field mark string?  in front: the number by which it is called

local function odd_counts(facts)
  local parts = {}
  if facts.nans > 0 then parts[1] = facts.nans .. " NaN" end
  if facts.infinities > 0 then
    parts[#parts + 1] = facts.infinities .. (facts.infinities > 1 and " infinities" or " infinity")
  end
  if #parts > 0 then return screen.paint(table.concat(parts, ", "), "bold red") end
end

-- What is said of the values, and how little of it may be left out: the larger the number, the
-- sooner.
local function facts_of(operand)
  local facts, parts = operand.summary, {}
  if not facts then return {{"not computed", 0}} end
  local function add(text, rank) if text then parts[#parts + 1] = {text, rank} end end
  add(operand.norm and "norm " .. words.number(operand.norm), 1)
  add(odd_counts(facts), 0)
  if facts.count == 1 and facts.max then
    add(words.number(facts.max), 0)
  else
    for i, name in ipairs {"min", "mean", "max"} do
      add(facts[name] and name .. " " .. words.number(facts[name]), i == 2 and 4 or 3)
    end
  end
  add(operand.element and "here " .. words.number(operand.element), 0)
  return parts
end

-- A line, from which facts are left out until it fits.
local function fit(start, parts, columns)
  for most = 4, 0, -1 do
    local line = start
    for _, part in ipairs(parts) do
      if part[2] <= most then line = line .. "  " .. part[1] end
    end
    if screen.width(line) <= columns or most == 0 then return line end
  end
end

local function label_of(operand)
  return operand.label .. (operand.name and " = " .. operand.name or "")
end

---The lines of a table.
---@param list moonwalk.Operand[]
---@param columns integer
---@return string[]
function operands.lines(list, columns)
  local mark, label, spec, lines = 0, 1, 1, {}
  for _, it in ipairs(list) do
    mark = math.max(mark, screen.width(it.mark or ""))
    label = math.max(label, math.min(screen.width(label_of(it)), MOST_LABEL, columns // 3))
    spec = math.max(spec, math.min(screen.width(it.spec), MOST_SPEC))
  end
  for i, it in ipairs(list) do
    local start = ("  %s%s  %s"):format(mark > 0 and screen.pad(it.mark or "", mark + 2) or "",
      screen.pad(screen.cut(label_of(it), label), label),
      screen.pad(screen.cut(it.spec, spec), spec))
    lines[i] = fit(start, facts_of(it), columns)
  end
  return lines
end

return operands
