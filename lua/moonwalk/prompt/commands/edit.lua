-- edit.lua: `:edit relu` opens the source of an op, and swaps in what was saved.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local own = require "moonwalk.prompt.own_ops"
local rework = require "moonwalk.prompt.rework"
local sources = require "moonwalk.prompt.sources"
local tell = require "moonwalk.prompt.tell"

-- Where the code of an op begins that one wants to see, in a file.
local function line_in(session, op, kernel)
  local there, source = pcall(sources.op, session, op, kernel)
  return there and source.ranges[1][1] or 1
end

-- What a script is to do for what was taken.
local function note(session, path, override)
  session.entries[#session.entries].script = ("mw.plugin.load(%q%s)"):format(path,
    override and ", {override = true}" or "")
end

-- ---- ops in C ---------------------------------------------------------------------------------

local function edit_shipped(session, op, kernel, anew, word)
  local name, text = sources.shipped(op, kernel)
  local line = line_in(session, op, kernel)
  local path = own.copy(session, name, text, anew, word)
  local entry = sources.plugin(op, kernel)
  local known = entry ~= nil and entry.source == path
  local taken = rework.edit(session, path, line, {
    override = true, known = true, shipped = text, word = word,
    -- A version of before is taken as it is: this session does not have it yet.
    always = not known and compiler.read(path) ~= text,
    restore = function()
      if not known then return tell(session, "this is the shipped code, which runs") end
      require("moonwalk").plugin.unload(path)
      tell(session, ("%s is as it was shipped: the shipped code runs again"):format(name))
    end,
  })
  if taken then note(session, path, true) end
end

-- An op of a plugin: its C file, or its text, which gets a file.
local function edit_plugin(session, op, kernel, entry)
  local path = entry.source
  local line = line_in(session, op, kernel)
  if not path and entry.text then
    path = own.file(op, ".c", entry.text)
  elseif not path then
    core.error(("%s comes from the library %s, whose source is not known; when you have built it "
      .. "anew, :reload %s takes it"):format(op, entry.origin, entry.name))
  end
  local replaces = not entry.source and op or nil
  local taken = rework.edit(session, path, line, {override = entry.override, known = true,
    replaces = replaces})
  if taken then note(session, path, entry.override) end
end

-- A file, which may not have been loaded yet.
local function edit_file(session, path, override)
  if not core.file_stamp(path) then
    core.error(("there is no file %s; :new op NAME begins one"):format(path))
  end
  local known = false
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    known = known or entry.source == path
  end
  local taken = rework.edit(session, path, 1, {override = override, known = known,
    always = not known})
  if taken then note(session, path, override) end
end

-- ---- ops in Lua -------------------------------------------------------------------------------

-- An op that a script or a line made: that is opened, and run again.
local function edit_made(session, op, entry)
  local source = sources.op(session, op)
  local path = source.path or own.file(op, ".lua", source.text .. "\n")
  local before = compiler.read(path)
  if not rework.open(path, source.ranges[1][1]) then
    return tell(session, "the editor says by its exit status that nothing is to be done")
  end
  local now = compiler.read(path)
  if now == before then return tell(session, path .. " is as it was") end
  if source.path then
    if not rework.ask(("run %s again, which makes %s and whatever else is in it?"):format(path,
      op)) then
      return tell(session, ("%s goes on as it was; dofile %q runs the file"):format(op, path))
    end
    session:run_script(path)
  else
    session:run(now)
  end
  local same = core.plugin_origin(op) == entry.origin
  tell(session, same and ("%s was not made anew: does the code still call mw.op?"):format(op)
    or ("%s is made anew"):format(op))
end

-- ---- the command ------------------------------------------------------------------------------

local function names()
  local list = {}
  for name in pairs(core.ops()) do list[#list + 1] = name end
  return list
end

return {
  usage = ":edit op",
  doc = "Opens an op's source in $EDITOR and swaps in what was saved; :edit! begins anew.",
  run = function(session, argument, anew)
    if argument == "" then
      core.error ":edit is followed by an op or a file, such as :edit relu or :edit my/op.c"
    end
    local op, kernel = own.read(argument)
    if not op and (argument:find "%.c$" or argument:find "/") then
      return edit_file(session, argument, anew)
    elseif not op then
      local near = core.near(argument) or check.near(argument, names())
      core.error(("there is no op %s; %s"):format(check.show(argument),
        near and ("did you mean :edit %s?"):format(near) or ":ops lists them"))
    end
    local origin, shipped = core.plugin_origin(op, kernel)
    if not origin then
      core.error(("%s has no kernel %q; mw.kernel %q lists what there is"):format(op, kernel, op))
    end
    local entry = sources.plugin(op, kernel)
    if entry and not entry.built_for then return edit_made(session, op, entry) end
    local is_own = entry and shipped and (anew or entry.source
      == ("%s/%s.c"):format(own.folder(), shipped))
    if not entry or is_own then return edit_shipped(session, op, kernel, anew, argument) end
    return edit_plugin(session, op, kernel, entry)
  end,
  complete = names,
}
