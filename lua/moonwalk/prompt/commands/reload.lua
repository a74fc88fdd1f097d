-- reload.lua: `:reload` takes plugins as their files are now.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local rework = require "moonwalk.prompt.rework"

-- The plugins that were loaded from files.
local function loaded()
  local list = {}
  for _, entry in ipairs(require("moonwalk").plugin.list()) do
    if entry.built_for and not entry.text then list[#list + 1] = entry end
  end
  return list
end

local function is_meant(entry, word)
  if word == "" or entry.name == word or entry.source == word or entry.origin == word then
    return true
  end
  for _, op in ipairs(entry.ops) do
    if op == word then return true end
  end
  return false
end

local function names()
  local list = {}
  for _, entry in ipairs(loaded()) do
    list[#list + 1] = entry.name
    table.move(entry.ops, 1, #entry.ops, #list + 1, list)
  end
  return list
end

return {
  usage = ":reload [plugin]",
  doc = "Takes a plugin, or all, as the file is now: compiled, tested and swapped in.",
  run = function(session, argument)
    local count, failed = 0, 0
    for _, entry in ipairs(loaded()) do
      if is_meant(entry, argument) then
        count = count + 1
        local taken = rework.take(session, entry.source or entry.origin, {})
        failed = failed + (taken and 0 or 1)
      end
    end
    if count == 0 then
      local near = argument ~= "" and check.near(argument, names())
      core.error((argument == "" and "no plugin is loaded from a file%s"
        or "no plugin %s is loaded%s"):format(argument ~= "" and check.show(argument)
        or "", near and ("; did you mean :reload %s?"):format(near) or ""))
    end
    if failed > 0 then error(("the old code goes on%s"):format(failed > 1
      and (" in %d plugins"):format(failed) or ""), 0) end
  end,
  complete = names,
}
