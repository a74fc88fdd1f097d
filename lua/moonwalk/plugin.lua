-- plugin.lua: mw.plugin: ops in C from shared libraries, and from C text that is compiled here. A
-- plugin that is loaded may be replaced by new code, in networks that exist and while they train.
--
-- A plugin NAME.so may come with a Lua side: NAME.init.lua beside it is run after it was loaded,
-- with mw and the list of its ops' names. It may set mw.data.NAME, mw.optim.NAME, or
-- mw.plugin.commands.NAME, a function that `moonwalk NAME ...` calls with the arguments.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local updates = require "moonwalk.updates"

---What mw.plugin.list tells of a plugin.
---@class moonwalk.Plugin
---@field name string
---@field origin string  the library that it was loaded from, or the place in a script
---@field source string?  the C file that it is compiled from
---@field ops string[]
---@field versions table<string, integer>  of its ops
---@field kernels string[]  "relu fast f32": kernels for ops that other plugins brought
---@field abi integer?  that it was built for, nil of an op that a script made
---@field built_for string?  the version of Moonwalk

local plugin = {
  ---Commands that plugins bring: `moonwalk NAME ...` loads the plugin NAME and calls
  ---commands.NAME(...).
  ---@type table<string, function>
  commands = {},
}

-- What is loaded from libraries, by origin: {origin, name, source?, ops}
local records = {}

local function exists(path) return core.file_stamp(path) ~= nil end

local function stem(path) return (path:match "[^/]*$":gsub("%.[^.]*$", "")) end

local function copy(list) return table.move(list, 1, #list, 1, {}) end

---Tests whether the ops of a plugin keep their contract, without loading it: see
---lua/moonwalk/gate.lua.
---@param what string  a library
---@param options? table
---@return table report  passed: whether they do; message: what failed first
function plugin.test(what, options)
  return require("moonwalk.gate").test(what, options)
end

-- Puts a library to the gate; raises what it finds.
local function gate(path)
  local report = plugin.test(path)
  if not report.passed then
    core.error(("plugin: it does not pass its tests: %s"):format(report.message or path))
  end
end

-- Whether the library is put to the gate: options {test = true}, or the default.
local function wants_test(where, options, default)
  check.options(where, options, {"test"})
  return check.boolean(where, "test", options and options.test, default or false)
end

---- Finding ------------------------------------------------------------------------------------

-- The folders in which a plugin is looked for by its name, in this order.
local function folders()
  local list = {}
  for folder in (os.getenv "MOONWALK_PLUGINS" or ""):gmatch "[^:]+" do list[#list + 1] = folder end
  local own, home = os.getenv "XDG_DATA_HOME", os.getenv "HOME"
  if not own or own:sub(1, 1) ~= "/" then
    own = home and home ~= "" and home .. "/.local/share" or nil
  end
  if own then list[#list + 1] = own .. "/moonwalk/plugins" end
  local prefix, program = core.installed()
  local system = prefix .. "/lib/moonwalk/plugins"
  local beside = program and program:match "^(.*)/[^/]*$"
  if beside and beside .. "/lib/moonwalk/plugins" ~= system then
    list[#list + 1] = beside .. "/lib/moonwalk/plugins"
  end
  list[#list + 1] = system
  return list
end

local function is_path(text) return text:find "/" or text:find "%.%w+$" end

-- The library of a name, or nil and where it was looked for.
local function search(name)
  local looked = {}
  for _, folder in ipairs(folders()) do
    local path = ("%s/%s.so"):format(folder, name)
    if exists(path) then return path end
    looked[#looked + 1] = path
  end
  return nil, table.concat(looked, "\n  ")
end

local function find_library(name)
  if is_path(name) or name == "" then return name end
  local path, looked = search(name)
  if path then return path end
  core.error(("plugin: there is no plugin '%s'; it was looked for as\n  %s\nA library of the "
    .. "current folder is given with its suffix: %s.so"):format(name, looked, name))
end

-- The record that somebody means: by the path of the library or the source, or by the name of the
-- plugin or of an op.
local function find_record(where, what)
  what = check.text(where, "the plugin", what)
  local named = {}
  for _, record in pairs(records) do
    if record.origin == what or record.source == what then return record end
    if record.name == what then named[#named + 1] = record end
  end
  for _, record in pairs(records) do
    for _, op in ipairs(record.ops) do
      if op == what and #named == 0 then return record end
    end
  end
  if #named == 1 then return named[1] end
  if #named > 1 then
    core.error(("%s: %d plugins are named '%s'; give the path"):format(where, #named, what))
  end
  local known = {}
  for _, record in pairs(records) do known[#known + 1] = record.source or record.origin end
  table.sort(known)
  core.error(("%s: no plugin '%s' is loaded; %s"):format(where, what,
    #known > 0 and "these are: " .. table.concat(known, ", ") or "none is"))
end

---- Loading ------------------------------------------------------------------------------------

-- The function of a Lua side, nil when there is none.
local function side_of(path)
  local side = path:gsub("%.[^./]*$", "") .. ".init.lua"
  if not exists(side) then return nil end
  local chunk, problem = loadfile(side)
  if not chunk then core.error("plugin: " .. problem) end
  return chunk
end

local function run_side(side, ops)
  if not side then return end
  local done, problem = pcall(side, require "moonwalk", copy(ops))
  if not done then return tostring(problem) end
end

-- Text that was compiled has no name of its own: that of its first op stands for it.
local function load_library(origin, source, test, is_text)
  if test then gate(origin) end
  local side = side_of(source or origin)
  local record = {origin = origin, source = source, name = stem(source or origin)}
  record.ops = core.plugin_load(origin)
  if is_text then record.name = record.ops[1] or record.name end
  records[origin] = record
  local problem = run_side(side, record.ops)
  if problem then
    records[origin] = nil
    core.plugin_unload(origin)
    core.error(("plugin: the Lua side of %s failed, and the plugin is not loaded: %s")
      :format(source or origin, problem))
  end
  return copy(record.ops)
end

---Loads a plugin: a shared library, or a C file that is compiled first. A name without a suffix is
---looked for in the folders of MOONWALK_PLUGINS (with colons between them), then in
---$XDG_DATA_HOME/moonwalk/plugins (~/.local/share when it is not set), then in
---lib/moonwalk/plugins where Moonwalk is installed.
---@param path string  or a name
---@param options? table  test: whether it is put to the gate first (false)
---@return string[]  the names of its ops
function plugin.load(path, options)
  path = check.text("plugin", "the path", path)
  local test = wants_test("plugin", options)
  if path:find "%.c$" then return plugin.compile(path, options) end
  return load_library(find_library(path), nil, test)
end

---Compiles C text, or a file of it, with the system's C compiler (CC, cc, gcc or clang), and loads
---the ops that it registers: a whole op file, which includes <moonwalk.h> and ends with MW_PLUGIN.
---The library is kept in the cache folder ($XDG_CACHE_HOME or ~/.cache), found again by the text.
---A file that was compiled before and is another now replaces the code, as plugin.reload does.
---@param source string  C text of several lines, or a path
---@param options? table  test: whether it is put to the gate first (false)
---@return string[]  the names of its ops
function plugin.compile(source, options)
  local test = wants_test("plugin.compile", options)
  source = check.text("plugin.compile", "the source", source)
  local is_file = not source:find "\n"
  for _, record in pairs(records) do
    if is_file and record.source == source then return plugin.reload(source, {test = test}) end
  end
  local path = compiler.library(source)
  if records[path] then return copy(records[path].ops) end
  return load_library(path, is_file and source or nil, test, not is_file)
end

---- Replacing ----------------------------------------------------------------------------------

local function replace(record, test)
  local path = record.source and compiler.library(record.source) or record.origin
  if test then gate(path) end
  local side = side_of(record.source or record.origin)
  collectgarbage() -- dead tensors would keep older libraries open
  record.ops = core.plugin_reload(record.origin, path)
  records[record.origin] = nil
  record.origin, records[path] = path, record
  local problem = run_side(side, record.ops)
  if problem then
    core.error(("plugin.reload: the new code of %s runs, but its Lua side failed: %s")
      :format(record.source or record.origin, problem))
  end
  return copy(record.ops)
end

---Replaces a plugin by what its file is now; a plugin that was compiled from a C file is compiled
---again. Networks and tensors that exist use the new code when they next run; parameters, buffers
---and optimizers are not touched. When the new code cannot be compiled or registered, or does not
---pass its tests, the error says why and the old code goes on running. A library must be a new file
---then, as compilers write it: bytes written over a file that is loaded change the code that runs.
---For reloading it is copied into TMPDIR, or /tmp.
---@param what string  the path, or the name of the plugin or of one of its ops
---@param options? table  test: false leaves out the gate, which the new library is put to first
---@return string[]  the names of its ops
function plugin.reload(what, options)
  local test = wants_test("plugin.reload", options, true)
  return replace(find_record("plugin.reload", what), test)
end

---Takes a plugin out: its ops are unknown from now on. Tensors that were built with them still run.
---@param what string  the path, or the name of the plugin or of one of its ops
function plugin.unload(what)
  local record = find_record("plugin.unload", what)
  core.plugin_unload(record.origin)
  records[record.origin] = nil
end

---@class moonwalk.Watch
---@field path string
---@field poll fun(self): boolean?, string?  true when the code was replaced; nil, message when not
---@field stop fun(self)  from now on nothing is looked at any more
local Watch = {}
Watch.__index = Watch

local EVERY = 0.2 -- seconds between two looks at a file

---Looks at the file now, and replaces the code if it was saved since the last look.
function Watch:poll()
  local stamp = core.file_stamp(self.path)
  if not stamp or stamp == self.stamp then return false end -- an editor may be replacing it
  self.stamp = stamp
  local began = core.clock()
  local done, problem = pcall(replace, self.record, self.test)
  if done then
    self.print(("%s: replaced after %.2f s"):format(self.path, core.clock() - began))
    return true
  end
  problem = tostring(problem):gsub("^[^\n:]*:%d+: ", "") -- the line of the step that looked
  self.print(("%s: the old code goes on: %s"):format(self.path, problem))
  return nil, problem
end

function Watch:stop() updates.between(self.look, false) end

function Watch:__tostring() return ("watch of %s"):format(self.path) end

---Watches a plugin's file, which is loaded first if it is not yet: when it is saved, the code is
---compiled, put to the gate and replaced between two steps (opt:step, mw.update) of what is
---running, or whenever watch:poll() is called. A line says so, or why the old code goes on.
---@param path string  a C file or a library
---@param options? table  test: false leaves out the gate; print: a function for the lines
---@return moonwalk.Watch
function plugin.watch(path, options)
  path = check.text("plugin.watch", "the path", path)
  check.options("plugin.watch", options, {"print", "test"})
  options = options or {}
  if options.print ~= nil and type(options.print) ~= "function" then
    check.fail("plugin.watch", "print", options.print, "a function")
  end
  local stamp = core.file_stamp(path)
  local known = false
  for _, record in pairs(records) do
    known = known or record.source == path or record.origin == path
  end
  if not known then plugin.load(path) end
  local watch = setmetatable({
    path = path, stamp = stamp, record = find_record("plugin.watch", path),
    print = options.print or print,
    test = check.boolean("plugin.watch", "test", options.test, true),
  }, Watch)
  local looked = core.clock()
  function watch.look()
    local now = core.clock()
    if now - looked < EVERY then return end
    watch:poll()
    looked = core.clock()
  end
  updates.between(watch.look)
  return watch
end

---- Listing ------------------------------------------------------------------------------------

local function describe(entry)
  local lines = {("%s  (%s%s)"):format(entry.name, entry.source or entry.origin,
    entry.built_for and (", for Moonwalk %s, ABI %d"):format(entry.built_for, entry.abi) or "")}
  for _, op in ipairs(entry.ops) do
    lines[#lines + 1] = ("  op %s, version %d"):format(op, entry.versions[op])
  end
  for _, kernel in ipairs(entry.kernels) do lines[#lines + 1] = "  kernel " .. kernel end
  return table.concat(lines, "\n")
end

local Entry = {__tostring = describe}
local List = {
  __tostring = function(list)
    if #list == 0 then return "no plugin is loaded" end
    local parts = {}
    for i, entry in ipairs(list) do parts[i] = describe(entry) end
    return table.concat(parts, "\n")
  end,
}

---What is loaded besides the shipped ops, in the order of loading: plugins, and ops that scripts
---made. The table can be printed.
---@return moonwalk.Plugin[]
function plugin.list()
  local list, entry = {}, nil
  for line in core.plugin_list():gmatch "[^\n]+" do
    local kind, first, second, third = line:match "^([^\t]*)\t([^\t]*)\t([^\t]*)\t?([^\t]*)$"
    if kind == "op" then
      entry.ops[#entry.ops + 1] = first
      entry.versions[first] = math.tointeger(second)
    elseif kind == "kernel" then
      entry.kernels[#entry.kernels + 1] = table.concat({first, second, third}, " ")
    else
      local record = kind == "library" and records[first] or nil
      entry = setmetatable({
        name = record and record.name or kind == "library" and stem(first) or nil,
        origin = first, source = record and record.source, ops = {}, versions = {}, kernels = {},
        abi = kind == "library" and math.tointeger(second) or nil,
        built_for = kind == "library" and third or nil,
      }, Entry)
      table.insert(list, 1, entry)
    end
  end
  for _, each in ipairs(list) do each.name = each.name or each.ops[1] end
  return setmetatable(list, List)
end

---- Commands -----------------------------------------------------------------------------------

---For the command `moonwalk`: what `moonwalk NAME ...` calls, when a plugin NAME brings it.
---@param name string
---@return function?
function plugin.find_command(name)
  if name:find "[^%w_-]" then return nil end
  local path = search(name)
  if not path then return nil end
  load_library(path)
  if plugin.commands[name] then return plugin.commands[name] end
  core.error(("the plugin %s brings no command: its Lua side sets no mw.plugin.commands.%s")
    :format(path, name))
end

return setmetatable(plugin, {__call = function(_, path) return plugin.load(path) end})
