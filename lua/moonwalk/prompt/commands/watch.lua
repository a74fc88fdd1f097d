-- watch.lua: `:watch my/op.c` swaps in an op whenever its file is saved.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local own = require "moonwalk.prompt.own_ops"
local rework = require "moonwalk.prompt.rework"
local sources = require "moonwalk.prompt.sources"
local tell = require "moonwalk.prompt.tell"
local watches = require "moonwalk.prompt.watches"

local function list(session)
  local paths = watches.paths()
  if #paths == 0 then return tell(session, "nothing is watched; :watch my/op.c begins to") end
  tell(session, "watched: " .. table.concat(paths, ", "))
end

local function stop(session, path)
  local n = watches.remove(session, path ~= "" and path or nil)
  if n == 0 and path ~= "" then core.error(("%s is not watched"):format(path)) end
  tell(session, n == 1 and "it is not watched any more" or ("%d files are not watched any more")
    :format(n))
end

-- The file of an op that is watched: the plugin's, or the user's version of a shipped one.
local function file_of_op(session, op, kernel, word)
  local origin = core.plugin_origin(op, kernel)
  local entry = sources.plugin(op, kernel)
  if entry and entry.source then return entry.source, entry.override end
  local name, text = sources.shipped(op, kernel)
  if entry or not name then
    core.error(("%s comes from %s, which is no file of C; :edit %s opens what there is"):format(op,
      origin, word))
  end
  return own.copy(session, name, text, false, word), true
end

-- Loads a file that is not loaded yet.
local function take_first(session, path, override)
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    if entry.source == path then return end
  end
  rework.take(session, path, {override = override})
end

return {
  usage = ":watch file.c|op|off",
  doc = "Swaps in an op whenever its file is saved, also while something trains.",
  run = function(session, argument, override)
    if argument == "" then return list(session) end
    local off = argument:match "^off%s*(.*)$"
    if off then return stop(session, off) end
    local op, kernel = own.read(argument)
    local path = argument
    if op and not core.file_stamp(argument) then
      path, override = file_of_op(session, op, kernel, argument)
    elseif not core.file_stamp(path) then
      local near = not path:find "[/.]" and core.near(path)
      core.error(("there is no file %s%s"):format(check.show(path),
        near and ("; did you mean :watch %s?"):format(near) or "; :new op NAME begins one"))
    elseif not path:find "%.c$" then
      core.error(("%s is no C file; :watch is followed by one, or by an op"):format(path))
    end
    if path == argument then take_first(session, path, override) end
    watches.add(session, path, override)
    tell(session, ("%s is watched: what is saved is swapped in; :watch off ends that"):format(path))
    local entry = session.entries[#session.entries]
    entry.script = ("mw.plugin.load(%q%s)"):format(path, override and ", {override = true}" or "")
  end,
  complete = function()
    local words = {"off"}
    for name in pairs(core.ops()) do words[#words + 1] = name end
    local plugins = require("moonwalk").plugin.list()
    for _, entry in ipairs(plugins) do words[#words + 1] = entry.source end
    return words
  end,
}
