-- explain.lua: what is said of a thing that somebody asks about: an op by its schema, a function or
-- class of Moonwalk's by its comments, a value by what it is.

local comment_lines = require "moonwalk.look.comment"
local core = require "moonwalk.core"
local documents = require "moonwalk.prompt.documents"
local lookup = require "moonwalk.prompt.lookup"
local markdown = require "moonwalk.look.markdown"
local members = require "moonwalk.prompt.members"
local screen = require "moonwalk.look.screen"

-- ---- ops --------------------------------------------------------------------------------------

-- The text of mw.help with its parts in colours: the call, names of inputs, formulas.
local function op_text(name)
  local text = require("moonwalk.help")(name, true)
  local lines = screen.lines(text)
  local is_call = true -- until an empty line
  for i, line in ipairs(lines) do
    is_call = is_call and line ~= ""
    local head, rest = line:match "^(  [%w_]+)(%s%s+.*)$"
    local fact, formula = line:match "^(%u%l+ ?%l*)(%s%s+.*)$"
    if is_call then lines[i] = screen.paint(line, "bold")
    elseif head then lines[i] = screen.paint(head, "cyan") .. rest
    elseif line:find "^Example: " then
      lines[i] = screen.paint("Example:", "yellow") .. line:sub(9)
    elseif fact and #fact < 13 then lines[i] = screen.paint(fact, "yellow") .. formula
    elseif line:find "^d%l+%s%s" then
      lines[i] = line:gsub("^d%l+", function(d) return screen.paint(d, "yellow") end)
    end
  end
  return table.concat(lines, "\n")
end

-- Whose code runs, and where the shipped one is.
local function origin_line(name)
  local origin, file = core.plugin_origin(name)
  local shipped = file and ("ops/%s.c"):format(file)
  if origin == "shipped" then return ("%s; ??%s shows it"):format(shipped, name) end
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    if entry.origin == origin and entry.source then origin = entry.source end
  end
  return ("%s%s; ??%s shows it"):format(origin, shipped and ", in place of " .. shipped or "", name)
end

local function explain_op(name)
  return op_text(name) .. "\n" .. screen.paint(("%-13s"):format "Source", "yellow")
    .. origin_line(name)
end

-- ---- functions and classes --------------------------------------------------------------------

local function add_rows(lines, title, rows, columns)
  if #rows == 0 then return end
  local width = 0
  for _, row in ipairs(rows) do width = math.max(width, screen.width(row.name)) end
  width = math.min(width, 18)
  lines[#lines + 1] = ""
  lines[#lines + 1] = screen.paint(title, "yellow")
  for _, row in ipairs(rows) do
    local kind = row.type:gsub("moonwalk%.", ""):gsub("mw%.", "")
    local text = row.doc ~= "" and ("%s (%s)"):format(row.doc, kind) or kind
    local space = (" "):rep(width + 4)
    local wrapped = markdown.wrap(text, columns, space, space)
    wrapped[1] = "  " .. screen.paint(screen.pad(row.name, width), "cyan")
      .. wrapped[1]:sub(width + 3)
    table.move(wrapped, 1, #wrapped, #lines + 1, lines)
  end
end

-- The text of a comment.
local function add_text(lines, text, columns)
  local more = comment_lines(text, columns)
  table.move(more, 1, #more, #lines + 1, lines)
end

-- Adds what is called so and so, behind its name.
local function add_fact(lines, name, text, columns)
  local space = (" "):rep(13)
  local wrapped = markdown.wrap(text, columns, space, space)
  wrapped[1] = screen.paint(screen.pad(name, 13), "yellow") .. wrapped[1]:sub(14)
  table.move(wrapped, 1, #wrapped, #lines + 1, lines)
end

-- "optim.SGD(parameters, options)" as it is called.
local function call_text(found, document)
  local names = {}
  for i, param in ipairs(document.params) do
    names[i] = param.name .. (param.type:find "%?$" and "?" or "")
  end
  if #names > 0 then return ("%s(%s)"):format(found.name, table.concat(names, ", ")) end
  local inside = (document.signature or "()"):match "^%b()" or "()"
  inside = inside:sub(2, -2):gsub(":%s*fun%b()", ""):gsub(":[^,]*", "")
  if found.kind == "class" then return found.name .. " {...}" end
  return ("%s(%s)"):format(found.name, inside)
end

-- The op that a layer is called after, for which nothing else is written.
local function op_of_layer(class)
  for name in pairs(core.ops()) do
    if name:gsub("_", "") == class.class:lower() then return name end
  end
end

-- The options of an optimizer, which stand in its definition: option("lr", 0.001)
local function options_of_optimizer(document)
  local rows, lines = {}, documents.lines(document.file)
  for i = document.line, #lines do
    for name, rest in lines[i]:gmatch 'option%("([%w_]+)", ([^)]*)' do
      rows[#rows + 1] = {name = name, type = rest:match "^[^,]*", doc = ""}
    end
    if lines[i]:find "^}%)" then break end
  end
  return rows
end

local function explain_own(found)
  local columns, lines = math.min(screen.size(), 100), {}
  local document = documents.of(found)
  local class = lookup.class_of(found.value)
  if not document then return nil end
  lines[1] = screen.paint(call_text(found, document), "bold")
  lines[2] = ""
  local op = not document.text and class and op_of_layer(class)
  if document.text then add_text(lines, document.text, columns)
  elseif op then
    add_text(lines, ("A layer that applies the op %s: %s"):format(op, core.op_info(op).doc or ""),
      columns)
  else lines[2] = nil end
  local params = document.params
  local only_options = #document.options > 0 and #params == 1
  if not only_options then add_rows(lines, "Arguments", params, columns) end
  if found.part == "optim" and #document.options == 0 then
    document.options = options_of_optimizer(document)
  end
  add_rows(lines, "Options", document.options, columns)
  if op and #document.options == 0 then
    local rows = {}
    for i, attr in ipairs(core.op_info(op).attrs) do
      rows[i] = {name = attr.name, type = attr.required and "required" or attr.default or "",
        doc = attr.doc or ""}
    end
    add_rows(lines, "Options", rows, columns)
  end
  for i, text in ipairs(document.returns) do
    if i == 1 then lines[#lines + 1] = "" end
    add_fact(lines, i == 1 and "Returns" or "", text:gsub("moonwalk%.", ""):gsub("mw%.", ""),
      columns)
  end
  lines[#lines + 1] = ""
  local value = lookup.unwrapped(found.value)
  local is_c = type(value) == "function" and debug.getinfo(value, "S").what == "C"
  add_fact(lines, "Source", is_c and "in C" or ("%s:%d; ??%s shows it"):format(document.file,
    document.line, found.name), columns)
  return table.concat(lines, "\n")
end

-- ---- anything else ----------------------------------------------------------------------------

local function explain_command(name)
  local sessions = require "moonwalk.prompt.session"
  local command = sessions.command(name)
  return screen.paint(command.usage, "bold") .. "\n"
    .. table.concat(markdown.wrap(command.doc, (screen.size())), "\n")
end

-- A function in C, which is one of Lua's or unknown.
local function about_c_function(found)
  local value = _G
  for key in found.name:gmatch "[^.]+" do value = type(value) == "table" and value[key] end
  if value ~= found.value then return "a function in C" end
  return ("a function of Lua: https://www.lua.org/manual/%s/manual.html#pdf-%s"):format(
    _VERSION:match "[%d.]+", found.name)
end

-- A part of Moonwalk: what its file says of it, and what is in it.
local function explain_part(found)
  local lines, comment, columns = {}, {}, math.min(screen.size(), 100)
  local path = found.name == "mw" and "moonwalk/init.lua"
    or ("moonwalk/%s.lua"):format((found.name:gsub("^mw%.", ""):gsub("%.", "/")))
  for _, line in ipairs(documents.lines(path) or {}) do
    local text = line:match "^%-%- ?(.*)$"
    if not text then break end
    comment[#comment + 1] = #comment > 0 and text or text:gsub("^[%w_]+%.lua: ", "")
  end
  add_text(lines, table.concat(comment, "\n"), columns)
  local names = {}
  for name in pairs(members.names(found.value, false)) do
    if found.name ~= "mw" or not core.op_info(name) then names[#names + 1] = name end
  end
  table.sort(names)
  lines[#lines + 1] = ""
  local wrapped = markdown.wrap(table.concat(names, ", "), columns)
  table.move(wrapped, 1, #wrapped, #lines + 1, lines)
  lines[#lines + 1] = ""
  local example = ("?%s.%s explains one"):format(found.name, names[1] or "")
  if found.name == "mw" then example = example .. "; :ops lists the ops" end
  lines[#lines + 1] = screen.paint(example, "dim")
  return table.concat(lines, "\n")
end

-- A function of the user's: how it is called, and where it stands.
local function explain_function(found)
  local info = debug.getinfo(found.value, "Su")
  local names = {}
  for i = 1, info.nparams do names[i] = debug.getlocal(found.value, i) end
  if info.isvararg then names[#names + 1] = "..." end
  local head = ("%s(%s)"):format(found.name, table.concat(names, ", "))
  if info.what == "C" then return screen.paint(head, "bold") .. "\n" .. about_c_function(found) end
  return ("%s\na function of %s, line %d; ??%s shows it"):format(screen.paint(head, "bold"),
    info.short_src, info.linedefined, found.name)
end

-- A value: what it is, and what is written of its class.
local function explain_value(found)
  local text = require("moonwalk.look.value").text(found.value)
  local class = lookup.class_of(found.value)
  local about = class and explain_own {kind = "class", name = "nn." .. class.class, value = class,
    part = "nn"}
  return about and text .. "\n\n" .. about or text
end

local function is_part(value)
  local mw = require "moonwalk"
  for _, part in ipairs {mw, mw.nn, mw.optim, mw.data, mw.nn.init, mw.optim.schedule} do
    if rawequal(value, part) then return true end
  end
  return false
end

---What there is to say of what a word is.
---@param found moonwalk.Found  as lookup.find gives it
---@return string
local function explain(found)
  if found.kind == "op" then return explain_op(found.name) end
  if found.kind == "command" then return explain_command(found.name) end
  if found.kind == "value" and is_part(found.value) then return explain_part(found) end
  local own = (found.part or found.kind ~= "value") and explain_own(found)
  if own then return own end
  return found.kind == "function" and explain_function(found) or explain_value(found)
end

return explain
