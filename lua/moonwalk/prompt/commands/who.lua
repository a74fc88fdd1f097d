-- who.lua: `:who` lists the tensors and networks that have names, and what they hold.

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local Module = require "moonwalk.nn.module"
local screen = require "moonwalk.look.screen"

local DEEPEST = 4 -- tables in tables that are looked into

-- A network: its parameters, and the bytes of these and of its buffers.
local function network_row(name, module, seen)
  if module:is_lazy() then
    return {name, module.class, "its sizes are still open", ""}
  end
  local count, bytes = 0, 0
  local function add(list, counts)
    for _, t in ipairs(list) do
      if counts then count = count + amounts.elements(t) end
      if not seen[t] then bytes = bytes + amounts.bytes(t) end
      seen[t] = true
    end
  end
  add(module:parameters(), true)
  add(module:buffers(), false)
  return {name, module.class, amounts.count(count, "parameter"), amounts.bytes_text(bytes)}
end

local function tensor_row(name, t, seen)
  local is_known = core.computed(t)
  seen[t] = is_known or nil
  return {name, "tensor", core.spec(t) .. (core.is_param(t) and ", parameter" or ""),
    is_known and amounts.bytes_text(amounts.bytes(t)) or "not computed"}
end

-- Adds up the tensors in a table that no row before has counted.
local function add_up(value, seen, tables, sum, depth)
  if core.is_tensor(value) then
    sum.tensors = sum.tensors + 1
    local is_new = core.computed(value) and not seen[value]
    sum.bytes = sum.bytes + (is_new and amounts.bytes(value) or 0)
    seen[value] = true
  elseif Module.is(value) then
    sum.networks = sum.networks + 1
  elseif type(value) == "table" and not tables[value] and depth < DEEPEST then
    tables[value] = true
    for _, item in next, value do add_up(item, seen, tables, sum, depth + 1) end
  end
end

-- What else holds tensors: an optimizer, a data set, a table; nil when it has none.
local function other_row(name, value, seen)
  local sum = {tensors = 0, networks = 0, bytes = 0}
  add_up(value, seen, {}, sum, 0)
  if sum.tensors + sum.networks == 0 then return nil end
  local meta, parts = debug.getmetatable(value), {}
  local has_text = type(meta) == "table" and meta.__tostring
  local there, text = pcall(tostring, value)
  if has_text and there then
    parts[1] = text:match "^[^\n]*"
  else
    if sum.tensors > 0 then parts[1] = amounts.count(sum.tensors, "tensor") end
    if sum.networks > 0 then parts[#parts + 1] = amounts.count(sum.networks, "network") end
  end
  return {name, "", table.concat(parts, ", "), amounts.bytes_text(sum.bytes)}
end

-- A row for each variable that holds tensors: networks first, then tensors, then the rest, whose
-- bytes are those that they have beside the ones before.
local function rows_of(session)
  local rows, seen = {}, {}
  local function each(test, row_of)
    for name, value in session:variables() do
      if test(value) then rows[#rows + 1] = row_of(name, value, seen) end
    end
  end
  each(Module.is, network_row)
  each(core.is_tensor, tensor_row)
  each(function(v) return type(v) == "table" and not Module.is(v) and not core.is_tensor(v) end,
    other_row)
  return rows
end

-- Rows as lines: names and kinds to the left, bytes to the right, the text between cut to fit.
local function lines_of(rows, columns)
  local widths = {0, 0, 0, 0}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i], screen.width(cell)) end
  end
  widths[1] = math.min(widths[1], columns // 3)
  local room = columns - widths[1] - widths[2] - widths[4] - 6
  widths[3] = math.max(math.min(widths[3], room), 8)
  local lines = {}
  for i, row in ipairs(rows) do
    local name = screen.pad(screen.cut(row[1], widths[1]), widths[1])
    local bytes = (" "):rep(widths[4] - screen.width(row[4])) .. row[4]
    lines[i] = screen.paint(name, "bold") .. "  " .. screen.pad(row[2], widths[2]) .. "  "
      .. screen.pad(screen.cut(row[3], widths[3]), widths[3]) .. "  " .. bytes
  end
  return lines
end

return {
  usage = ":who",
  doc = "Lists the networks and tensors that have names, with their sizes.",
  run = function(session)
    local lines = lines_of(rows_of(session), (screen.size()))
    if #lines == 0 then lines[1] = "no variable holds a tensor or a network" end
    local stats = core.stats()
    lines[#lines + 1] = screen.paint(("in all: %s alive, %s; %s kept"):format(
      amounts.count(stats.tensors_live, "tensor"), amounts.bytes_text(stats.bytes_live),
      amounts.count(stats.programs_cached, "program")), "dim")
    session:say(table.concat(lines, "\n"))
  end,
}
