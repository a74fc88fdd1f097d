-- shell.lua: what modules that call other programs share.

local shell = {}

---A word for the shell, whatever is in it.
function shell.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

---Whether there is a program of that name.
function shell.has(name)
  return (os.execute(("command -v %s >/dev/null 2>&1"):format(shell.quote(name))))
end

---Moonwalk's part of the user's cache folder, or nil when there is no home.
---@return string?
function shell.cache_folder()
  local cache, home = os.getenv "XDG_CACHE_HOME", os.getenv "HOME"
  if cache and cache:sub(1, 1) == "/" then return cache .. "/moonwalk" end
  return home and home ~= "" and home .. "/.cache/moonwalk" or nil
end

return shell
