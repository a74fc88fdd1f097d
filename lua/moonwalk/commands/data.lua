-- commands/data.lua: `moonwalk data`: which data sets there are, and getting them.
--
--   moonwalk data          lists them
--   moonwalk data mnist    downloads MNIST into the user's cache folder and checks it

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local mnist = require "moonwalk.data.mnist"
local shell = require "moonwalk.shell"

local MIRRORS = {
  "https://ossci-datasets.s3.amazonaws.com/mnist/",
  "https://storage.googleapis.com/cvdf-datasets/mnist/",
}

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

local function fail(message)
  io.stderr:write("moonwalk data: ", message, "\n")
  os.exit(1, true)
end

-- The md5 of what is compressed in a file, or nil when it cannot be had.
local function md5_inside(path)
  local pipe = io.popen(("{ gzip -dc <%s | md5sum; } 2>/dev/null"):format(shell.quote(path)))
  local digest = pipe and pipe:read("a"):match("^%x+")
  if pipe then pipe:close() end
  return digest
end

-- Gets one file from one mirror under its name in a folder; true, or nil and why.
local function fetch(mirror, file, folder)
  local path = folder .. "/" .. file.name
  local temporary = ("%s.%s.tmp"):format(path, ("%p"):format({}):gsub("^0x", ""))
  local command = ("curl --fail --location --proto =https --connect-timeout 15 --retry 2 %s %s %s")
    :format(core.terminal "stderr" and "--progress-bar" or "--silent",
      "--output " .. shell.quote(temporary), shell.quote(mirror .. file.name))
  local _, kind, status = os.execute(command)
  local why
  if kind ~= "exit" then
    os.remove(temporary)
    fail("interrupted")
  elseif status ~= 0 then
    why = REASONS[status] or ("curl ended with status %d"):format(status)
  elseif md5_inside(temporary) ~= file.md5 then
    why = "what came is damaged: its md5 is not the published one"
  else
    local renamed
    renamed, why = os.rename(temporary, path)
    if renamed then return true end
  end
  os.remove(temporary)
  return nil, ("%s%s: %s"):format(mirror, file.name, why)
end

local function get(file, folder)
  if md5_inside(folder .. "/" .. file.name) == file.md5 then
    print(("%s is there already"):format(file.name))
    return true
  end
  local reasons = {}
  for _, mirror in ipairs(MIRRORS) do
    local got, why = fetch(mirror, file, folder)
    if got then
      print(("%s downloaded and checked"):format(file.name))
      return true
    end
    reasons[#reasons + 1] = why
  end
  return nil, table.concat(reasons, "\n  ")
end

local function download_mnist()
  local cache = shell.cache_folder()
  if not cache then fail("there is no cache folder: neither HOME nor XDG_CACHE_HOME is set") end
  for _, name in ipairs {"curl", "gzip", "md5sum"} do
    if not shell.has(name) then
      fail(("the command %s is not there; install it (apt-get install %s), or put MNIST's four "
        .. "files into %s/mnist"):format(name, name == "md5sum" and "coreutils" or name, cache))
    end
  end
  local folder = cache .. "/mnist"
  if not os.execute("mkdir -p " .. shell.quote(folder)) then fail("cannot make " .. folder) end
  for _, file in ipairs(mnist.FILES) do
    local got, why = get(file, folder)
    if not got then
      fail(("%s could not be downloaded:\n  %s\nWithout MNIST, data.digits draws digits that need "
        .. "no download."):format(file.name, why))
    end
  end
  print("MNIST is in " .. folder)
end

local function list()
  local folder = mnist.folder()
  print("mnist    60,000 handwritten digits to learn from and 10,000 to test with: data.mnist")
  print("         " .. (folder and "in " .. folder
    or "not here; `moonwalk data mnist` downloads it (12 MB)"))
  print("digits   digits that Moonwalk draws, as many as wanted: data.digits")
  print("         nothing to download")
end

local what, extra = ...
if extra then
  fail(("one data set at a time; %s is too much"):format(check.show(extra)))
elseif what == nil then
  list()
elseif what == "--help" or what == "-h" then
  print("usage: moonwalk data         lists the data sets\n"
    .. "       moonwalk data mnist   downloads MNIST into the user's cache folder")
elseif what == "mnist" then
  download_mnist()
else
  fail(("there is no data set %q to download, only mnist"):format(what))
end
