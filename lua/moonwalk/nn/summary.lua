-- summary.lua: a network as a table: its layers, their output shapes and their parameters.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local updates = require "moonwalk.updates"

-- 61706 -> "61,706"
local function thousands(n)
  local text = tostring(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

-- How many numbers the module's parameters have, those in `seen` left out, which it fills.
local function count(module, seen)
  local total = 0
  for _, parameter in ipairs(module:parameters()) do
    local size = seen[parameter] and 0 or 1
    for _, length in ipairs(parameter.shape) do size = size * length end
    total = total + size
    seen[parameter] = true
  end
  return total
end

-- The shape of one sample: the first axis counts samples.
local function shape_text(shape)
  if not shape then return "" end
  return #shape > 1 and table.concat(shape, " x ", 2) or ""
end

-- Adds a line for the module and, where it holds others, one for each of them below. A parameter
-- counts in one line alone: the module that holds it, the first of them when several do.
local function add_rows(rows, module, name, depth, seen)
  local children, width = module:children(), 0
  local row = {
    ("  "):rep(depth) .. (name and name .. "  " or "") .. module:describe(),
    shape_text(module:output_shape()),
  }
  rows[#rows + 1] = row
  for _, child in ipairs(children) do width = math.max(width, #child[1]) end
  for _, child in ipairs(children) do
    local space, is_number = (" "):rep(width - #child[1]), tonumber(child[1])
    add_rows(rows, child[2], is_number and space .. child[1] or child[1] .. space, depth + 1, seen)
  end
  local parameters = count(module, seen) -- what is left to the module itself
  row[3] = parameters > 0 and thousands(parameters) or ""
  return rows
end

-- Calls the net in evaluation mode, in which one sample is enough for every layer, and then leaves
-- all modules as they were.
local function try(net, x)
  local modes = {}
  local function visit(module)
    if modes[module] ~= nil then return end
    modes[module] = module.training
    rawset(module, "training", false)
    for _, child in ipairs(module:children()) do visit(child[2]) end
  end
  visit(net)
  local succeeded, message = pcall(updates.trial, net, x)
  for module, training in pairs(modes) do rawset(module, "training", training) end
  if not succeeded then error(message, 0) end
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
    try(net, core.full({1, table.unpack(input)}, 0, first and first.dtype or "f32"))
  end
  local rows = add_rows({{"layer", "output", "parameters"}}, net, nil, 0, {})
  rows[#rows + 1] = {"total", "", thousands(count(net, {}))}
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

Module.summary = core.entry(summary)

return Module.summary
