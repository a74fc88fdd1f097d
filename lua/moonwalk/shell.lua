-- shell.lua: what modules share that call other programs, or keep something in the user's folders.

local shell = {}

---A word for the shell, whatever is in it.
function shell.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

---Whether there is a program of that name.
function shell.has(name)
  return (os.execute(("command -v %s >/dev/null 2>&1"):format(shell.quote(name))))
end

local BELOW_HOME = {CACHE = "/.cache", DATA = "/.local/share", STATE = "/.local/state"}

---Moonwalk's part of a folder of the user's (XDG Base Directory Specification), or nil when there
---is no home.
---@param kind "cache"|"data"|"state"
---@return string?
function shell.folder(kind)
  kind = kind:upper()
  local own, home = os.getenv(("XDG_%s_HOME"):format(kind)), os.getenv "HOME"
  if own and own:sub(1, 1) == "/" then return own .. "/moonwalk" end
  return home and home ~= "" and home .. BELOW_HOME[kind] .. "/moonwalk" or nil
end

return shell
