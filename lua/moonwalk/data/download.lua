-- download.lua: gets a published data set into the user's cache folder and checks it.

local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local download = {}

-- What curl's exit status means (curl(1), EXIT CODES), where there is something to add.
local REASONS = {
  [5] = "the proxy's name cannot be resolved",
  [6] = "the name cannot be resolved: this machine seems to be offline",
  [7] = "no connection: this machine seems to be offline, or the server down",
  [22] = "the server does not have the file",
  [23] = "the file cannot be written",
  [28] = "it took too long: this machine seems to be offline",
  [35] = "no secure connection",
  [60] = "the server's certificate is not trusted",
}

-- The package of a command, where it is called otherwise.
local PACKAGES = {md5sum = "coreutils"}

-- Whether a file, or what is gzipped in it, has the published md5.
local function is_right(path, file)
  local command = file.md5 and "md5sum <%s 2>/dev/null"
    or "{ gzip -dc <%s | md5sum; } 2>/dev/null"
  local pipe = io.popen(command:format(shell.quote(path)))
  local digest = pipe and pipe:read("a"):match "^%x+"
  if pipe then pipe:close() end
  return digest == (file.md5 or file.md5_inside)
end

local function temporary_for(path)
  return ("%s.%s.tmp"):format(path, ("%p"):format({}):gsub("^0x", ""))
end

-- Unpacks an archive's folder beside it; true, or nil and why. It is there whole or not at all.
local function unpack_folder(archive, file, folder)
  local temporary = temporary_for(folder .. "/" .. file.unpacks)
  local done = os.execute(("mkdir %s && tar -xzf %s -C %s %s"):format(shell.quote(temporary),
    shell.quote(archive), shell.quote(temporary), shell.quote(file.unpacks)))
  local why = "tar cannot unpack it"
  if done then
    done, why = os.rename(temporary .. "/" .. file.unpacks, folder .. "/" .. file.unpacks)
  end
  os.execute("rm -rf " .. shell.quote(temporary))
  return done, why
end

-- Gets one file from one mirror into a folder; true, or nil and why.
local function fetch(mirror, file, folder)
  local path = folder .. "/" .. file.name
  local temporary = temporary_for(path)
  local command = ("curl --fail --location --proto =https --connect-timeout 15 --retry 2 %s %s %s")
    :format(core.terminal "stderr" and "--progress-bar" or "--silent",
      "--output " .. shell.quote(temporary), shell.quote(mirror .. file.name))
  local _, kind, status = os.execute(command)
  local done, why
  if kind ~= "exit" then
    why = "interrupted"
  elseif status ~= 0 then
    why = REASONS[status] or ("curl ended with status %d"):format(status)
  elseif not is_right(temporary, file) then
    why = "what came is damaged: its md5 is not the published one"
  elseif file.unpacks then
    done, why = unpack_folder(temporary, file, folder)
  else
    done, why = os.rename(temporary, path)
    if done then return true end
  end
  os.remove(temporary)
  if done then return true end
  return nil, ("%s%s: %s"):format(mirror, file.name, why), kind ~= "exit"
end

local function is_there(file, folder)
  local path = folder .. "/" .. (file.unpacks or file.name)
  if file.unpacks then return core.folder(path) ~= nil end
  return is_right(path, file)
end

local function get(set, file, folder, report)
  if is_there(file, folder) then
    report(("%s is there already"):format(file.name))
    return true
  end
  local reasons = {}
  for _, mirror in ipairs(set.mirrors) do
    local got, why, interrupted = fetch(mirror, file, folder)
    if got then
      report(("%s downloaded and checked"):format(file.name))
      return true
    end
    reasons[#reasons + 1] = why
    if interrupted then break end
  end
  return nil, ("%s could not be downloaded:\n  %s"):format(file.name,
    table.concat(reasons, "\n  "))
end

---Gets a set into the cache folder, unless it is there; the folder, or nil and why not.
---@param set moonwalk.PublicSet
---@param report fun(line: string)
---@return string?
---@return string? message
function download.get(set, report)
  local cache = shell.folder "cache"
  if not cache then
    return nil, "there is no cache folder: neither HOME nor XDG_CACHE_HOME is set"
  end
  local folder = cache .. "/" .. set.name
  for _, name in ipairs {"curl", "gzip", "md5sum", "tar"} do
    if not shell.has(name) then
      return nil, ("the command %s is not there; install it (apt-get install %s), or put the files "
        .. "of %s into %s"):format(name, PACKAGES[name] or name, set.title, folder)
    end
  end
  local made, problem = core.make_folder(folder)
  if not made then return nil, problem end
  for _, file in ipairs(set.files) do
    local got, why = get(set, file, folder, report)
    if not got then return nil, why end
  end
  return folder
end

return download
