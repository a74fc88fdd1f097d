-- summary.lua: a network as a table: its layers, their output shapes and their parameters.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

-- 61706 -> "61,706"
local function thousands(n)
  local text = tostring(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

local function count(module)
  local total = 0
  for _, parameter in ipairs(module:parameters()) do
    local size = 1
    for _, length in ipairs(parameter.shape) do size = size * length end
    total = total + size
  end
  return total
end

-- The shape of one sample: the first axis counts samples.
local function shape_text(shape)
  if not shape then return "" end
  return #shape > 1 and table.concat(shape, " x ", 2) or ""
end

-- Adds a line for the module and, where it holds others, one for each of them below.
local function add_rows(rows, module, name, depth)
  local children = module:children()
  local parameters = #children == 0 and count(module) or 0
  rows[#rows + 1] = {
    ("  "):rep(depth) .. (name and name .. "  " or "") .. module:describe(),
    shape_text(module:output_shape()),
    parameters > 0 and thousands(parameters) or "",
  }
  local width = 0
  for _, child in ipairs(children) do width = math.max(width, #child[1]) end
  for _, child in ipairs(children) do
    local child_name = (" "):rep(width - #child[1]) .. child[1]
    add_rows(rows, child[2], child_name, depth + 1)
  end
  return rows
end

---The network as a table. Output shapes are those of the last call; when an input shape is
---given, those that it leads to.
---@param net moonwalk.Module
---@param input integer[]? shape of one sample, such as {1, 28, 28}
---@return string
local function summary(net, input)
  if not Module.is(net) then check.fail("nn.summary", "net", net, "a module") end
  if input ~= nil then
    if type(input) ~= "table" then
      check.fail("nn.summary", "the shape of a sample", input, "a table such as {1, 28, 28}")
    end
    local first = net:parameters()[1]
    net(core.full({1, table.unpack(input)}, 0, first and first.dtype or "f32"))
  end
  local rows = add_rows({{"layer", "output", "parameters"}}, net, nil, 0)
  rows[#rows + 1] = {"total", "", thousands(count(net))}
  local widths = {0, 0, 0}
  for _, row in ipairs(rows) do
    for column = 1, 3 do widths[column] = math.max(widths[column], #row[column]) end
  end
  local lines = {}
  for i, row in ipairs(rows) do
    local form = ("%%-%ds  %%-%ds  %%%ds"):format(table.unpack(widths))
    lines[i] = form:format(table.unpack(row)):gsub(" +$", "")
  end
  return table.concat(lines, "\n")
end

Module.summary = summary

return summary
