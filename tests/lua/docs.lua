-- docs.lua: the pages that `moonwalk help --pages` writes, and mw.help: there is one for each op,
-- they leave out no argument, and what they print is what the examples print.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local folder = require "folder"

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
local pages = folder.path .. "/pages"

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

-- What a shell command prints, and its status.
local function shell(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

-- What a block of Lua prints.
local function printed_by(code)
  local lines = {}
  local function capture(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    lines[#lines + 1] = table.concat(parts, "\t") .. "\n"
  end
  local environment = setmetatable({print = capture}, {__index = _G})
  assert(load(code, "=page", "t", environment))()
  return table.concat(lines)
end

-- The row of a table of Markdown that begins with that word, or nil.
local function row(page, name)
  return page:match("\n(| `" .. name .. "` |[^\n]*)")
end

-- What x and y are may be said by the op's own text, in words or in its formula, or by what is said
-- of the others. Of at most two inputs it need not be said.
local function is_told(op, arg, output)
  if arg.key or (arg.doc and arg.doc:find "%S") or output == 1 then return true end
  local texts, described = {op.doc}, false
  for _, input in ipairs(op.inputs) do
    texts[#texts + 1] = input.doc
    described = described or input.doc
  end
  local text = " " .. table.concat(texts, " ") .. " "
  return text:find("[^%w_]" .. arg.name .. "[^%w_]")
    or not output and not described and #op.inputs <= 2
end

local function problems_of(op)
  local page, problems = read(pages .. "/" .. op.name .. ".md"), {}
  if not page then return {"there is no page"} end
  local code, printed = page:match "## Example\n\n```lua\n(.-)```\n\n```\n(.-)```\n"
  if not code then return {"it has no example"} end
  local again = printed_by(code)
  if again ~= printed then
    problems[#problems + 1] = "the example prints\n" .. again .. "and on the page is\n" .. printed
  end
  if not code:find("mw." .. op.name, 1, true) then
    problems[#problems + 1] = "the example does not call the op"
  end
  local function check_arg(arg, output)
    if not row(page, arg.name) then problems[#problems + 1] = arg.name .. " is left out" end
    if not is_told(op, arg, output) then
      problems[#problems + 1] = "nothing is said of " .. arg.name
    end
  end
  for _, input in ipairs(op.inputs) do check_arg(input) end
  for i, output in ipairs(op.outputs) do check_arg(output, i) end
  for _, attr in ipairs(op.attrs) do
    local line = row(page, attr.name)
    if not (line and line:match "| ([^|]*) |$"):find "%S" then
      problems[#problems + 1] = "nothing is said of the attribute " .. attr.name
    end
  end
  return problems
end

local output, status = shell(("'%s' help --pages '%s'"):format(moonwalk, pages))
t.is({output:match "^%d+ pages and an index", status},
  {("%d pages and an index"):format(#cases.names()), 0}, "moonwalk help --pages")
local index = read(pages .. "/index.md") or ""
for _, name in ipairs(cases.names()) do
  local op = cases.info(name)
  local succeeded, problems = pcall(problems_of, op)
  if not succeeded then problems = {tostring(problems)} end
  local _, links = index:gsub("%[" .. name .. "%]%(" .. name .. "%.md%)", "")
  if links ~= 1 then problems[#problems + 1] = ("the index has %d links to it"):format(links) end
  local help = mw.help(name, true)
  for _, attr in ipairs(op.attrs) do
    if not help:find("\n  " .. attr.name, 1, true) then
      problems[#problems + 1] = "mw.help leaves out " .. attr.name
    end
  end
  if op.example and not help:find("Example:", 1, true) then
    problems[#problems + 1] = "mw.help has no example"
  end
  t.is(table.concat(problems, "\n"), "", name .. ": its page and its help")
end
local listed = shell(("ls '%s' | wc -l"):format(pages))
t.is(tonumber(listed), #cases.names() + 1, "no other page is there")

-- The README's table of ops.
local unknown, named = {}, 0
for line in (read "README.md" or ""):gmatch "\n(| %l[^\n]*)" do
  for list in (line:match "^| [^|]* | (`%l[^|]*) |$" or ""):gmatch "`([^`]*)`" do
    for name in list:gmatch "[%w_]+" do
      named = named + 1
      if not pcall(function() return mw[name] end) then unknown[#unknown + 1] = name end
    end
  end
end
t.is(table.concat(unknown, " "), "", "the README names no op that is not there")
t.ok(named > 100, "it names more than 100")

-- What depends on the generator leaves it as it was.
mw.seed(3)
local want = mw.randn({2}):totable()
mw.seed(3)
mw.help("relu", true)
t.is(mw.randn({2}):totable(), want, "mw.help draws no random numbers")

local list, lines, longest = mw.help(nil, true), 0, 0
for line in list:gmatch "[^\n]+" do
  lines = lines + 1
  longest = math.max(longest, #line)
end
t.is(lines, #cases.names() + 1, "mw.help() has a line for each op")
t.ok(longest <= 80, "none longer than 80 columns")

output, status = shell(("'%s' help conv2"):format(moonwalk))
t.is({output, status}, {"moonwalk help: there is no op 'conv2'; did you mean 'conv2d'?\n", 1},
  "moonwalk help knows a better name")
output, status = shell(("'%s' help sin"):format(moonwalk))
t.is({output, status}, {mw.help("sin", true) .. "\n", 0}, "moonwalk help sin")
output, status = shell(("'%s' help"):format(moonwalk))
t.is({output, status}, {list .. "\n", 0}, "moonwalk help")
output, status = shell(("'%s' help --pages /dev/null/x"):format(moonwalk))
t.ok(status == 1 and output:find "help: cannot make /dev/null/x", "a folder that cannot be")
output, status = shell(("'%s' help --pages"):format(moonwalk))
t.is({output, status}, {"moonwalk help: --pages wants a folder\n", 1}, "--pages without a folder")
output, status = shell(("'%s' help --annotations"):format(moonwalk))
t.is({output, status}, {"moonwalk help: --annotations wants a file\n", 1},
  "--annotations without a file")
output, status = shell(("'%s' help --annotations /dev/null/x"):format(moonwalk))
t.ok(status == 1 and output:find "/dev/null/x", "a file that cannot be")
output, status = shell(("'%s' help sin cos"):format(moonwalk))
t.ok(status == 1 and output:find "one op at a time", "two ops")
folder.remove()
t.done()
