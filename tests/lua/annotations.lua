-- annotations.lua: the LuaCATS annotations say what the API is: what can be reached from
-- require "moonwalk" is annotated, what is annotated is there, and the parameters have the names
-- that the functions give them.

local mw = require "moonwalk"
local t = require "tap"

-- What the sources say ----------------------------------------------------------------------------

local classes = {}   -- by name: {fields = {name = type}, parents = {names}}
local functions = {} -- by "moonwalk/nn.lua:12", the line of the function: {parameters, text}
local values = {}    -- names of what stands below a ---@type or a function's annotations

-- The names of the parameters of "fun(a: T, b?: {c: U}, ...): V", or nil of another type.
local function names_in_type(text)
  local inside = text:match "^fun(%b())"
  if not inside then return nil end
  local flat = inside:sub(2, -2):gsub("%b{}", ""):gsub("%b()", ""):gsub("%b<>", "")
  local names = {}
  for part in flat:gmatch "[^,]+" do names[#names + 1] = part:match "^%s*([%w_%.]+)" end
  return names
end

-- Adds one annotation with the lines that go on with it to what is known of a block.
local function read_tag(block, tag, text)
  if tag == "class" then
    local name, parent = text:match "^([%w_%.]+)%s*:?%s*([%w_%.]*)"
    classes[name] = classes[name] or {fields = {}, parents = {}}
    block.class = classes[name]
    if parent ~= "" then table.insert(block.class.parents, parent) end
  elseif tag == "field" and block.class then
    local name, mark, kind = text:match "^([%w_]+)(%??)%s+(.*)"
    if name then block.class.fields[name] = mark == "?" and "?" .. kind or kind end
  elseif tag == "param" then
    table.insert(block.parameters, text:match "^[%w_%.]+")
  elseif tag == "type" then
    block.type = text
  end
end

local function end_block(block, place, line)
  local name, parameters = line:match "^%s*l?o?c?a?l?%s*function%s+([%w_%.:]+)(%b())"
  name = name or line:match "^%s*local%s+([%w_]+)%s*=" or line:match "^%s*([%w_%.]+)%s*="
  if parameters then functions[place] = {parameters = block.parameters, head = parameters} end
  if name then values[name] = block end
end

local function read_source(path)
  local short, number, block, tag, text = path:gsub("^lua/", ""), 0, nil, nil, nil
  for line in io.lines(path) do
    number = number + 1
    local comment = line:match "^%s*%-%-%-(.*)"
    if comment then
      block = block or {parameters = {}}
      local next_tag, rest = comment:match "^@(%w+)%s*(.*)"
      if next_tag or not tag then
        if tag then read_tag(block, tag, text) end
        tag, text = next_tag, rest
      else
        text = text .. " " .. comment
      end
    elseif block then
      if tag then read_tag(block, tag, text) end
      end_block(block, short .. ":" .. number, line)
      block, tag = nil, nil
    end
  end
end

local listing = assert(io.popen "find lua/moonwalk -name '*.lua'")
local files = 0
for path in listing:lines() do
  read_source(path)
  files = files + 1
end
listing:close()
t.ok(files > 50 and classes.moonwalk and classes["moonwalk.Tensor"], "the sources are read")

-- What there is -----------------------------------------------------------------------------------

-- The Lua function inside what core.entry made of it.
local function unwrap(fn)
  while debug.getinfo(fn, "S").what == "C" do
    local _, inner = debug.getupvalue(fn, 1)
    if type(inner) ~= "function" then return fn end
    fn = inner
  end
  return fn
end

local function names_of(fn)
  local info, names = debug.getinfo(fn, "u"), {}
  for i = 1, info.nparams do names[i] = debug.getlocal(fn, i) end
  if info.isvararg then names[#names + 1] = "..." end
  return names
end

local function field_of(class, name)
  if not classes[class] then return nil end
  if classes[class].fields[name] then return classes[class].fields[name] end
  for _, parent in ipairs(classes[class].parents) do
    local found = field_of(parent, name)
    if found then return found end
  end
  return nil
end

-- The names without a first self, which `:` adds, and without `_`, which stands for any.
local function comparable(names)
  local list = table.move(names, 1, #names, 1, {})
  if list[1] == "self" then table.remove(list, 1) end
  return table.concat(list, ", ")
end

-- What is wrong with the annotations of a function that is field `name` of a class.
local function problem_of(class, name, fn)
  fn = unwrap(fn)
  local info = debug.getinfo(fn, "S")
  local own = info.what ~= "C" and functions[info.short_src .. ":" .. info.linedefined]
  local declared = field_of(class, name)
  local names = declared and names_in_type(declared)
  local is_typed = values[(class:match "[%w_]+$") .. "." .. name]
  if info.what == "C" then
    return not (declared or is_typed) and "there is no ---@field for it" or nil
  end
  local real = comparable(names_of(fn))
  if own and #own.parameters > 0 and comparable(own.parameters) ~= real then
    return ("its ---@param are (%s), its parameters (%s)"):format(comparable(own.parameters), real)
  end
  if own and (#own.parameters > 0 or real == "") then return nil end
  if declared or is_typed then
    if names and comparable(names) ~= real then
      return ("its ---@field says (%s), its parameters are (%s)"):format(comparable(names), real)
    end
    return nil
  end
  return ("nothing is said of (%s) at %s:%d"):format(real, info.short_src, info.linedefined)
end

-- Everything public in a table, `shown` in messages, against a class. What begins with __ or is in
-- `private` is not public.
local function check_members(class, shown, members, private)
  local problems, names = {}, {}
  for name in pairs(members) do
    if type(name) == "string" and not name:find "^_" and not private[name] then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value, problem = members[name], nil
    if type(value) == "function" then
      problem = problem_of(class, name, value)
    elseif not field_of(class, name) and not classes["moonwalk." .. name]
      and not values[name] then
      problem = "there is no ---@field or ---@class for it"
    end
    if problem then problems[#problems + 1] = ("%s.%s: %s"):format(shown, name, problem) end
  end
  t.ok(#names > 0, shown .. " has members")
  t.is(table.concat(problems, "\n"), "", ("what is in %s is annotated"):format(shown))
end

-- The class that a function __index looks into: of its upvalues that which is its own __index.
local function class_behind(fn)
  for i = 1, debug.getinfo(fn, "u").nups do
    local _, value = debug.getupvalue(fn, i)
    if type(value) == "table" and rawget(value, "__index") == value then return value end
  end
  return nil
end

-- The functions in an object's metatable, or in the class that it looks into.
local function methods_of(object)
  local methods, meta = {}, getmetatable(object)
  local index = rawget(meta, "__index")
  local class = type(index) == "function" and class_behind(index) or meta
  for name, value in pairs(class) do
    if type(value) == "function" then methods[name] = value end
  end
  return methods
end

-- The fields that a class's annotations promise, against an object.
local function check_fields(class, object)
  local problems = {}
  for name, kind in pairs(classes[class] and classes[class].fields or {}) do
    local is_optional = kind:find "^%?" or kind:find "^[^%s]*%?" or kind:find "|nil"
      or kind:find "^function|false"
    local succeeded, value = pcall(function() return object[name] end)
    if not is_optional and (not succeeded or value == nil) then
      problems[#problems + 1] = ("%s.%s is annotated and does not exist"):format(class, name)
    end
  end
  table.sort(problems)
  t.is(table.concat(problems, "\n"), "", ("what is annotated of %s exists"):format(class))
end

-- The registry's functions come when they are asked for, and are in the generated file.
local is_op = {}
for name in pairs(mw.core.ops()) do is_op[name] = not mw.core.written[name] end

-- All that init.lua annotates is looked up, so that it is there to be checked.
for name in pairs(classes.moonwalk.fields) do pcall(function() return mw[name] end) end
for _, name in ipairs {"compile", "gradcheck", "help", "save", "load", "layer_stats", "op"} do
  t.ok(pcall(function() return mw[name] end), "mw." .. name .. " is there")
end
local hidden = {core = true}
for name, op in pairs(is_op) do hidden[name] = op end

local net = mw.nn.Sequential {mw.nn.Flatten {}, mw.nn.Dense {784, 10}}
local opt = mw.optim.SGD(net:parameters(), {lr = 0.1})
local set = mw.data.digits {n = 8}
local batches = set:batches {size = 4}

check_members("moonwalk", "mw", mw, hidden)
check_members("moonwalk.nn", "mw.nn", mw.nn, {})
check_members("moonwalk.optim", "mw.optim", mw.optim, {})
check_members("moonwalk.data", "mw.data", mw.data, {})
check_members("moonwalk.initialisers", "mw.nn.init", mw.nn.init, {})
check_members("moonwalk.plugin", "mw.plugin", mw.plugin, {})
check_members("moonwalk.ffi", "mw.ffi", mw.ffi, {})
check_members("moonwalk.schedules", "mw.optim.schedule", mw.optim.schedule, {})
check_members("moonwalk.Tensor", "a tensor", mw.core.methods, is_op)
check_members("moonwalk.Module", "nn.Module", mw.nn.Module, {forward = true})
for class, object in pairs {
  Optimizer = opt, LBFGS = mw.optim.LBFGS(net:parameters()), Dataset = set, Batches = batches,
  Augment = mw.data.augment {shift = 1}, Trainer = mw.trainer(net, set, {epochs = 1}),
} do
  check_members("moonwalk." .. class, class, methods_of(object), {})
end

check_fields("moonwalk", mw)
check_fields("moonwalk.nn", mw.nn)
check_fields("moonwalk.optim", mw.optim)
check_fields("moonwalk.data", mw.data)
check_fields("moonwalk.Module", net)
check_fields("moonwalk.Tensor", mw.zeros {2})
check_fields("moonwalk.Optimizer", opt)
check_fields("moonwalk.Dataset", set)
check_fields("moonwalk.Dense", net[2])
check_fields("moonwalk.Batches", batches)
check_fields("moonwalk.Batch", batches())
check_fields("moonwalk.Profile", (mw.profile(function() return mw.ones {2}:exp():eval() end)))
check_fields("moonwalk.Trainer", mw.trainer(net, set, {epochs = 1}))

-- Every annotated function of the modules, public or not: its ---@param are its parameters.
local wrong = {}
for place, found in pairs(functions) do
  local names = {}
  for name in found.head:gmatch "[%w_%.]+" do names[#names + 1] = name end
  if #found.parameters > 0 and comparable(found.parameters) ~= comparable(names) then
    wrong[#wrong + 1] = ("%s: ---@param (%s), parameters (%s)"):format(place,
      comparable(found.parameters), comparable(names))
  end
end
table.sort(wrong)
t.is(table.concat(wrong, "\n"), "", "every ---@param is a parameter, in their order")

-- What is written of the ops ----------------------------------------------------------------------

local path = os.tmpname()
local program = ("'%s/moonwalk' help --annotations '%s'"):format(os.getenv "MOONWALK_BUILD", path)
t.ok(os.execute(program .. " >/dev/null"), "moonwalk help --annotations writes a file")
local file = assert(io.open(path))
local text = file:read "a"
file:close()
os.remove(path)
t.ok(load(text, "=annotations", "t"), "it is Lua")

local missing = {}
local function want(name, found, what)
  if not found then missing[#missing + 1] = ("%s: %s"):format(name, what) end
end
for name, op in pairs(mw.core.ops()) do
  local head = text:match("\nfunction mw%." .. name .. "(%b())")
  if not is_op[name] then
    want(name, not head, "the ops' file says what init.lua does")
  else
    local parameters = {}
    for _, input in ipairs(op.inputs) do
      if not input.key then parameters[#parameters + 1] = input.name end
    end
    if #op.attrs > 0 then parameters[#parameters + 1] = "attributes" end
    local said = (head or ""):gsub("[()]", ""):gsub(",? ?%.%.%.$", "")
    want(name, said == table.concat(parameters, ", "), "its parameters are " .. tostring(head))
    local class = text:match("%-%-%-@class moonwalk%." .. name .. "%.attributes\n(.-)\n\n") or ""
    local _, count = class:gsub("%-%-%-@field", "")
    want(name, count == #op.attrs, ("%d fields, %d attributes"):format(count, #op.attrs))
    for _, attr in ipairs(op.attrs) do
      want(name, class:find("@field " .. attr.name .. (attr.required and " " or "? "), 1, true),
        "no field for " .. attr.name)
    end
  end
end
table.sort(missing)
t.is(table.concat(missing, "\n"), "", "the written annotations are the ops' schemas")
t.ok(text:find('@field reduction? "', 1, true), "choices are types")
t.ok(text:find("@overload fun(x: mw.tensor|number, w: mw.tensor|number, attributes?", 1, true),
  "an input may be left out")
t.done()
