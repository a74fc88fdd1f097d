-- plugin.lua: mw.plugin: ops in C from shared libraries, and from C text that is compiled here. A
-- plugin that is loaded may be replaced by new code, in networks that exist and while they train.
--
-- A plugin NAME.so may come with a Lua side: NAME.init.lua beside it is run after it was loaded,
-- with mw and the list of its ops' names. It may set mw.data.NAME, mw.optim.NAME, or
-- mw.plugin.commands.NAME, a function that `moonwalk NAME ...` calls with the arguments.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local saves = require "moonwalk.saves"
local shell = require "moonwalk.shell"
local updates = require "moonwalk.updates"

---What mw.plugin.list tells of a plugin.
---@class moonwalk.Plugin
---@field name string
---@field origin string  the library that it was loaded from, or the place in a script
---@field source string?  the C file that it is compiled from
---@field text string?  or the C text
---@field ops string[]
---@field versions table<string, integer>  of its ops
---@field kernels string[]  "relu fast f32": kernels for ops that other plugins brought
---@field override boolean  whether its ops and kernels take the place of shipped ones
---@field abi integer?  that it was built for, nil of an op that a script made
---@field built_for string?  the version of Moonwalk

local plugin = {
  ---Commands that plugins bring: `moonwalk NAME ...` loads the plugin NAME and calls
  ---commands.NAME(...).
  ---@type table<string, function>
  commands = {},
}

-- What is loaded from libraries, by origin: {origin, name, source?, ops, override}
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

-- What messages of the gate call a library that was compiled: its source.
local function by_its_source(message, path, source)
  if not source then return message end
  return (message:gsub(path:gsub("%p", "%%%0"), (source:gsub("%%", "%%%%"))))
end

-- Puts a library to the gate; raises what it finds.
local function gate(path, source, override, progress)
  local report = plugin.test(path, {override = override, progress = progress})
  if not report.passed then
    core.error(("plugin: it does not pass its tests: %s"):format(by_its_source(report.message
      or path, path, source)))
  end
end

-- The options that go with a plugin: whether the library is put to the gate, and whether it may
-- override what is shipped.
local function read_options(where, options)
  options = check.options(where, options, {"test", "override"})
  return {
    test = check.boolean(where, "test", options.test, false),
    override = check.boolean(where, "override", options.override, false),
  }
end

---- Finding ------------------------------------------------------------------------------------

-- The folders in which a plugin is looked for by its name, in this order.
local function folders()
  local list = {}
  for folder in (os.getenv "MOONWALK_PLUGINS" or ""):gmatch "[^:]+" do list[#list + 1] = folder end
  local own = shell.folder "data"
  if own then list[#list + 1] = own .. "/plugins" end
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
local function load_library(origin, source, options, text)
  local side = side_of(source or origin)
  local record = {origin = origin, source = source, name = stem(source or origin),
    override = options.override}
  record.ops = core.plugin_load(origin, options.override)
  if text then record.name, record.text = record.ops[1] or record.name, text end
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

-- The record of a plugin that was loaded from a C file or a library.
local function loaded_from(path)
  for _, record in pairs(records) do
    if record.source == path or record.origin == path then return record end
  end
end

-- Puts a library in the place of a plugin. source: the C file that it is compiled from.
local function replace(record, library, source)
  local side = side_of(source or record.origin)
  collectgarbage() -- dead tensors would keep older libraries open
  record.ops = core.plugin_reload(record.origin, library)
  records[record.origin] = nil
  record.origin, record.source, records[library] = library, source, record
  if source then record.text = nil end
  local problem = run_side(side, record.ops)
  if problem then
    core.error(("plugin.reload: the new code of %s runs, but its Lua side failed: %s")
      :format(record.source or record.origin, problem))
  end
  return copy(record.ops)
end

---What became of a plugin's file.
---@class moonwalk.Taken
---@field ops string[]
---@field replaced boolean  whether earlier code was there
---@field compile number  seconds that this took
---@field test number
---@field swap number

-- Takes a C file or a library as it is now, in the place of a plugin if there is one. `progress` is
-- told what the gate is at.
local function take(record, source, library, options)
  local times = {core.clock()}
  library = source and compiler.library(source) or library
  times[2] = core.clock()
  local override = record and record.override or options.override
  if options.test then gate(library, source, override, options.progress) end
  times[3] = core.clock()
  local ops
  if record then ops = replace(record, library, source)
  elseif records[library] then ops = copy(records[library].ops)
  else ops = load_library(library, source, options) end
  times[4] = core.clock()
  return {ops = ops, replaced = record ~= nil, compile = times[2] - times[1],
    test = times[3] - times[2], swap = times[4] - times[3]}
end

---Takes a file as it is now: what is new is loaded, what was loaded from it before is replaced.
---After an error all is as it was.
---@param path string  a C file or a library
---@param options? table  test: whether it is put to the gate first (false); override: as for
---  plugin.load; replaces: a plugin, or an op of it, in whose place it is put; progress: as for
---  plugin.test
---@return moonwalk.Taken
function plugin.take(path, options)
  path = check.text("plugin.take", "the path", path)
  options = check.options("plugin.take", options, {"test", "override", "replaces", "progress"})
  local given = read_options("plugin.take", {test = options.test, override = options.override})
  given.progress = options.progress
  local record = loaded_from(path)
  if options.replaces then record = find_record("plugin.take", options.replaces) end
  local source = path:find "%.c$" and path or nil
  return take(record, source, not source and find_library(path) or nil, given)
end

---Loads a plugin: a shared library, or a C file that is compiled first. A name without a suffix is
---looked for in the folders of MOONWALK_PLUGINS (with colons between them), then in
---$XDG_DATA_HOME/moonwalk/plugins (~/.local/share when it is not set), then in
---lib/moonwalk/plugins where Moonwalk is installed.
---
---With `override` it may bring ops and kernels of the names of shipped ones, whose place they take,
---in networks and tensors that exist, too. Faster kernels of a shipped op are then set aside: they
---compute what the shipped op does. mw.plugin.unload gives the shipped ones back.
---
---    mw.plugin.load("my/relu.c", {override = true})
---
---@param path string  or a name
---@param options? table  test: whether it is put to the gate first (false); override: whether it
---  may take the place of what is shipped (false)
---@return string[]  the names of its ops
function plugin.load(path, options)
  path = check.text("plugin", "the path", path)
  if path:find "%.c$" then return plugin.compile(path, options) end
  options = read_options("plugin", options)
  local library = find_library(path)
  if options.test then gate(library, nil, options.override) end
  return load_library(library, nil, options)
end

---Compiles C text, or a file of it, with the system's C compiler (CC, cc, gcc or clang), and loads
---the ops that it registers: a whole op file, which includes <moonwalk.h> and ends with MW_PLUGIN.
---The library is kept in the cache folder ($XDG_CACHE_HOME or ~/.cache), found again by the text.
---A file that was compiled before and is another now replaces the code, as plugin.reload does.
---@param source string  C text of several lines, or a path
---@param options? table  test and override, as for plugin.load
---@return string[]  the names of its ops
function plugin.compile(source, options)
  options = read_options("plugin.compile", options)
  source = check.text("plugin.compile", "the source", source)
  if not source:find "\n" then
    local record = loaded_from(source)
    if record and record.source then return plugin.reload(source, {test = options.test}) end
  end
  local library, is_text = compiler.library(source), source:find "\n" ~= nil
  if records[library] then return copy(records[library].ops) end
  local path = not is_text and source or nil
  if options.test then gate(library, path, options.override) end
  return load_library(library, path, options, is_text and source or nil)
end

---- Replacing ----------------------------------------------------------------------------------

-- A record's plugin as its file is now.
local function renew(record, test)
  return take(record, record.source, record.origin, {test = test})
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
  check.options("plugin.reload", options, {"test"})
  local test = check.boolean("plugin.reload", "test", options and options.test, true)
  return renew(find_record("plugin.reload", what), test).ops
end

---Takes a plugin out: its ops are unknown from now on, or the shipped ones again which it has
---overridden. Tensors that were built with them still run.
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

-- Replaces the code by that of the file, which is another now.
local function take_saved(self, stamp)
  self.stamp = stamp
  local began = core.clock()
  local done, problem = pcall(renew, self.record, self.test)
  if done then
    self.print(("%s: replaced after %.2f s"):format(self.path, core.clock() - began))
    return true
  end
  problem = tostring(problem):gsub("^[^\n:]*:%d+: ", "") -- the line of the step that looked
  self.print(("%s: the old code goes on: %s"):format(self.path, problem))
  return nil, problem
end

---Looks at the file now, and replaces the code if it was saved since the last look.
function Watch:poll()
  local stamp = core.file_stamp(self.path)
  if not stamp or stamp == self.stamp then return false end -- an editor may be replacing it
  return take_saved(self, stamp)
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
  if not loaded_from(path) then plugin.load(path) end
  local watch = setmetatable({
    path = path, stamp = stamp, record = find_record("plugin.watch", path),
    print = options.print or print,
    test = check.boolean("plugin.watch", "test", options.test, true),
  }, Watch)
  local its_saves = saves.of(path)
  function watch.look()
    local saved = its_saves:look(watch.stamp)
    if saved then take_saved(watch, saved) end
  end
  updates.between(watch.look)
  return watch
end

---- Listing ------------------------------------------------------------------------------------

local function describe(entry)
  local lines = {("%s  (%s%s)"):format(entry.name, entry.source or entry.origin,
    entry.built_for and (", for Moonwalk %s, ABI %d"):format(entry.built_for, entry.abi) or "")}
  local instead = entry.override and ", in place of the shipped one" or ""
  for _, op in ipairs(entry.ops) do
    local _, shipped = core.plugin_origin(op)
    lines[#lines + 1] = ("  op %s, version %d%s"):format(op, entry.versions[op],
      shipped and instead or "")
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
        text = record and record.text, override = record ~= nil and record.override,
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
  load_library(path, nil, {})
  if plugin.commands[name] then return plugin.commands[name] end
  core.error(("the plugin %s brings no command: its Lua side sets no mw.plugin.commands.%s")
    :format(path, name))
end

return setmetatable(plugin, {__call = function(_, path) return plugin.load(path) end})
