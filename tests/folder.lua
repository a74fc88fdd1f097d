-- folder.lua: a folder of a test's own for its files, which the test removes at the end.
local folder = {}

local pipe = assert(io.popen "mktemp -d")
folder.path = pipe:read "l"
pipe:close()

---Writes a file into the folder.
---@return string path
function folder.put(name, bytes)
  local path = folder.path .. "/" .. name
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
  return path
end

---All bytes of a file anywhere.
function folder.contents(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

---Runs the test that calls it again, and ends, unless it has a cache folder of its own.
function folder.own_cache()
  if os.getenv "MOONWALK_CACHE_TEST" then return end
  local done = os.execute(("XDG_CACHE_HOME='%s' MOONWALK_CACHE_TEST=1 '%s/moonwalk' '%s'"):format(
    folder.path, os.getenv "MOONWALK_BUILD", arg[0]))
  folder.remove()
  os.exit(done or false)
end

function folder.remove()
  os.execute(("rm -rf '%s'"):format(folder.path))
end

return folder
