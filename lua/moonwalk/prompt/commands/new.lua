-- new.lua: `:new op NAME` begins an op in C.

local core = require "moonwalk.core"
local rework = require "moonwalk.prompt.rework"
local skeleton = require "moonwalk.skeleton"
local tell = require "moonwalk.prompt.tell"

-- Where one begins to change the skeleton: what it computes.
local function line_of_forward(path)
  local n = 0
  for line in io.lines(path) do
    n = n + 1
    if line:find "^static mw_status forward" then return n end
  end
  return 1
end

return {
  usage = ":new op NAME [folder]",
  doc = "Writes an op to begin with into a folder of its name, opens it, and loads what was saved.",
  run = function(session, argument)
    local kind, name, folder = argument:match "^(%S+)%s*(%S*)%s*(.-)$"
    if kind ~= "op" or name == "" then
      core.error(":new is followed by what it is and its name, as in :new op my_op")
    end
    local paths, problem = skeleton.write(name, folder ~= "" and folder or nil)
    if not paths then core.error((problem:gsub("moonwalk help (%S+)", "?%1"))) end
    tell(session, "written: " .. table.concat(paths, ", "))
    local path = ("%s/%s.c"):format(folder ~= "" and folder or name, name)
    if rework.edit(session, path, line_of_forward(path), {always = true}) then
      session.entries[#session.entries].script = ("mw.plugin.load(%q)"):format(path)
    end
  end,
  complete = function() return {"op"} end,
}
