-- commands/help.lua: `moonwalk help`: what there is to know of the ops, out of the registry.
--
--   moonwalk help                      lists them
--   moonwalk help conv2d               explains one
--   moonwalk help --pages FOLDER       writes a page of Markdown for each op, and an index
--   moonwalk help --annotations FILE   writes LuaCATS definitions of them, for editors

local mw = require "moonwalk"
local core = mw.core
local schema = require "moonwalk.schema"

local function fail(message)
  io.stderr:write("moonwalk ", message, "\n")
  os.exit(1, true)
end

-- Groups of the index, between which an op's schema and its example decide ------------------------

local function has_attr(op, ...)
  for _, attr in ipairs(op.attrs) do
    for _, name in ipairs {...} do
      if attr.name == name then return true end
    end
  end
  return false
end

-- The inputs and outputs that are tensors when the example runs.
local function try(op)
  local inputs
  local face = setmetatable({[op.name] = function(...)
    inputs = table.pack(...)
    return core.call(op.name, ...)
  end}, {__index = mw})
  local chunk = load("return " .. op.example, "=example", "t", {mw = face})
  local results = chunk and table.pack(pcall(chunk)) or {false}
  if not results[1] then return nil end
  local given = {}
  for i = 1, inputs and inputs.n or 0 do
    if core.is_tensor(inputs[i]) then given[#given + 1] = inputs[i] end
  end
  return given, results[2]
end

-- Whether the result has the shape that the inputs broadcast to.
local function is_elementwise(inputs, output)
  local shape, rank = {}, 0
  for _, x in ipairs(inputs) do rank = math.max(rank, x.rank) end
  for k = 1, rank do shape[k] = 1 end
  for _, x in ipairs(inputs) do
    for k, size in ipairs(x.shape) do
      local at = rank - x.rank + k
      if size ~= 1 then shape[at] = size end
    end
  end
  return table.concat(shape, ",") == table.concat(output.shape, ",")
end

local function is_random(op)
  for _, input in ipairs(op.inputs) do
    if input.key then return true end
  end
  return false
end

local groups = {
  {"Functions of one tensor, element by element", function(op, inputs, output)
    return #op.inputs == 1 and not op.inputs[1].variadic and is_elementwise(inputs, output)
      and not has_attr(op, "axis", "axes", "shape", "kernel")
  end},
  {"Arithmetic, comparisons and choices, element by element", function(op, inputs, output)
    return #inputs > 1 and #op.attrs == 0 and is_elementwise(inputs, output)
  end},
  {"Reductions", function(op) return has_attr(op, "keepdims") end},
  {"Losses", function(op) return has_attr(op, "reduction") end},
  {"Windows: convolutions, pooling, sampling", function(op)
    return has_attr(op, "kernel", "stride", "dilation", "scale", "output_size", "size")
      or op.name:find "pool"
  end},
  {"Normalisation", function(op) return has_attr(op, "eps") end},
  {"Products", function(op, inputs)
    return #inputs > 1 and not op.linear and inputs[1].dtype == inputs[2].dtype
      and not has_attr(op, "axis", "axes")
  end},
  {"Shapes, and elements in other places", function(op) return op.linear end},
}

local function group_of(op)
  if is_random(op) then return "Random numbers" end
  local inputs, output = try(op)
  for _, group in ipairs(inputs and groups or {}) do
    if group[2](op, inputs, output) then return group[1] end
  end
  return "Others"
end

-- Pages -------------------------------------------------------------------------------------------

local function cell(text)
  return (text:gsub("|", "\\|"):gsub("\n", " "))
end

-- A table, with the columns left out in which nothing is written.
local function add_table(lines, titles, rows)
  local used, bars = {}, {}
  for column = 1, #titles do
    for _, row in ipairs(rows) do used[column] = used[column] or row[column] ~= "" end
  end
  local function add(row)
    local cells = {}
    for column = 1, #titles do
      if used[column] then cells[#cells + 1] = cell(row[column]) end
    end
    lines[#lines + 1] = "| " .. table.concat(cells, " | ") .. " |"
  end
  if #rows == 0 then return end
  add(titles)
  for column = 1, #titles do bars[column] = "---" end
  add(bars)
  for _, row in ipairs(rows) do add(row) end
  lines[#lines + 1] = ""
end

local function code(text)
  if text == "" or text == "required" then return text end
  return "`" .. text .. "`"
end

-- Rows with the columns of those numbers written as code.
local function with_code(rows, ...)
  for _, row in ipairs(rows) do
    for _, column in ipairs {...} do row[column] = code(row[column]) end
  end
  return rows
end

local function page(op)
  local lines = {"# " .. op.name, "", "```", schema.signature(op), "```", "", op.doc or "", ""}
  add_table(lines, {"input", "", ""}, with_code(schema.arguments(op.inputs), 1))
  add_table(lines, {"output", "", ""}, with_code(schema.arguments(op.outputs), 1))
  add_table(lines, {"attribute", "type", "default", "bounds", ""},
    with_code(schema.attributes(op), 1, 3))
  local facts = schema.facts(op)
  for _, fact in ipairs(facts) do
    local is_formula = fact[1]:find "^d%l" or fact[2]:find "="
    lines[#lines + 1] = ("- %s: %s"):format(fact[1], is_formula and code(fact[2]) or fact[2])
  end
  lines[#lines + 1] = ""
  local example = schema.example_code(op, op.example)
  local printed, message = schema.run(example)
  if not printed then return nil, message end
  lines[#lines + 1] = "## Example\n\n```lua\nlocal mw = require \"moonwalk\"\nmw.seed(1)\n"
    .. example .. "```\n\n```\n" .. printed .. "```\n"
  if #op.cases > 1 then
    lines[#lines + 1] = "It can also be called like this:\n\n```lua"
    for i = 2, #op.cases do lines[#lines + 1] = op.cases[i] end
    lines[#lines + 1] = "```\n"
  end
  return table.concat(lines, "\n")
end

local function write(path, text)
  local file, message = io.open(path, "w")
  if not file then fail("help: " .. message) end
  if not file:write(text) or not file:close() then fail("help: cannot write " .. path) end
end

local function write_pages(folder)
  local made, why = core.make_folder(folder)
  if not made then fail("help: " .. why) end
  local by_group, order, count = {}, {}, 0
  for i, group in ipairs(groups) do order[i] = group[1] end
  table.move({"Random numbers", "Others"}, 1, 2, #order + 1, order)
  for name, op in pairs(core.ops()) do
    local text, message = page(op)
    if not text then fail(("help: the example of %s fails: %s"):format(name, message)) end
    write(folder .. "/" .. name .. ".md", text)
    local group = group_of(op)
    by_group[group] = by_group[group] or {}
    table.insert(by_group[group], {("[%s](%s.md)"):format(name, name), schema.summary(op)})
    count = count + 1
  end
  local lines = {"# The ops", "", "Written by `moonwalk help --pages` out of the registry.", ""}
  for _, group in ipairs(order) do
    local rows = by_group[group] or {}
    table.sort(rows, function(a, b) return a[1] < b[1] end)
    if #rows > 0 then table.move({"## " .. group, ""}, 1, 2, #lines + 1, lines) end
    add_table(lines, {"op", "what it does"}, rows)
  end
  write(folder .. "/index.md", table.concat(lines, "\n"))
  print(("%d pages and an index are in %s"):format(count, folder))
end

local function write_annotations(path)
  local text, count = require("moonwalk.annotations").text()
  write(path, text)
  print(("annotations of %d ops are in %s"):format(count, path))
end

-- The command -------------------------------------------------------------------------------------

local what, folder, extra = ... -- or a file
if extra or folder and what ~= "--pages" and what ~= "--annotations" then
  fail("help: one op at a time; see moonwalk help --help")
elseif what == "--help" or what == "-h" then
  print("usage: moonwalk help                      lists the ops\n"
    .. "       moonwalk help conv2d               explains one\n"
    .. "       moonwalk help --pages FOLDER       writes a page of Markdown for each and an index\n"
    .. "       moonwalk help --annotations FILE   writes LuaCATS definitions of them, for editors")
elseif what == "--pages" then
  if not folder then fail("help: --pages wants a folder") end
  write_pages(folder)
elseif what == "--annotations" then
  if not folder then fail("help: --annotations wants a file") end
  write_annotations(folder)
else
  local succeeded, message = pcall(mw.help, what)
  if not succeeded then fail((tostring(message):gsub("^.-(help: )", "%1"))) end
end
