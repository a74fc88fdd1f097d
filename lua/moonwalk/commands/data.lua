-- commands/data.lua: `moonwalk data`: which data sets there are, and getting them.
--
--   moonwalk data          lists them
--   moonwalk data mnist    downloads MNIST into the user's cache folder and checks it

local check = require "moonwalk.check"
local download = require "moonwalk.data.download"
local public = require "moonwalk.data.public"

local NAMES = {"mnist", "fashion-mnist", "cifar10"}

local function fail(message)
  io.stderr:write("moonwalk data: ", message, "\n")
  os.exit(1, true)
end

local function entry(name, about, where)
  print(("%-14s %s\n%-14s %s"):format(name, about, "", where))
end

local function list()
  for _, name in ipairs(NAMES) do
    local set = public.sets[name]
    local folder = public.folder(set)
    entry(name, set.about, folder and "in " .. folder
      or ("not here; `moonwalk data %s` downloads it (%d MB)"):format(name, set.megabytes))
  end
  entry("digits", "digits that Moonwalk draws, as many as wanted: data.digits",
    "nothing to download")
  entry("shapes", "shapes in colour that Moonwalk draws, in CIFAR-10's form: data.shapes",
    "nothing to download")
end

local what, extra = ...
local set = public.sets[what]
if extra then
  fail(("one data set at a time; %s is too much"):format(check.show(extra)))
elseif what == nil then
  list()
elseif what == "--help" or what == "-h" then
  print("usage: moonwalk data         lists the data sets\n"
    .. "       moonwalk data NAME    downloads one into the user's cache folder: "
    .. table.concat(NAMES, ", "))
elseif set then
  local folder, why = download.get(set, print)
  if not folder then
    fail(why .. "\ndata.digits and data.shapes draw pictures that need no download.")
  end
  print(("%s is in %s"):format(set.title, folder))
else
  local near = check.near(what, NAMES)
  fail(("there is no data set %q to download, only %s%s"):format(what, table.concat(NAMES, ", "),
    near and ("; did you mean %s?"):format(near) or ""))
end
