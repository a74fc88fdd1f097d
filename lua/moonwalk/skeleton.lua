-- skeleton.lua: the files that a new op begins with: C, a script that calls it, a Makefile.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"

local skeleton = {}

---Writes the files of a new op into a folder. They are the plugin template's, under the op's name.
---@param name string  of the op
---@param folder string?  else one of the op's name
---@return string[]? paths  of the files, in order; nil when nothing was written
---@return string? problem
function skeleton.write(name, folder)
  folder = folder or name
  if not name:find "^[a-z][a-z0-9_]*$" then
    return nil, ("the name is %s, expected small letters, digits and _, as in \"my_op\""):format(
      check.show(name))
  elseif core.op_info(name) then
    return nil, ("there is an op %s already; moonwalk help %s shows it"):format(name, name)
  end
  local made, why = core.make_folder(folder)
  if not made then return nil, why end
  local files, paths = {}, {}
  for i, file in ipairs(core.texts "templates") do
    local path = ("%s/%s"):format(folder, (file:gsub("scale", name)))
    files[i] = {path = path, text = (core.text("templates", file):gsub("scale", name))}
  end
  table.sort(files, function(a, b) return a.path < b.path end)
  for _, file in ipairs(files) do
    if core.file_stamp(file.path) then return nil, file.path .. " is there already" end
  end
  for i, file in ipairs(files) do
    local done, problem = compiler.write(file.path, file.text)
    if not done then return nil, problem end
    paths[i] = file.path
  end
  return paths
end

return skeleton
