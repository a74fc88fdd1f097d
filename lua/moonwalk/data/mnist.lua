-- mnist.lua: MNIST's four files: what they are called, where they are, what is in them.

local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local mnist = {}

---The files as they are published, with the md5 of what is compressed in them.
---@type {name: string, md5: string}[]
mnist.FILES = {
  {name = "train-images-idx3-ubyte.gz", md5 = "6bbc9ace898e44ae57da46a324031adb"},
  {name = "train-labels-idx1-ubyte.gz", md5 = "a25bea736e30d166cdddb491f175f624"},
  {name = "t10k-images-idx3-ubyte.gz", md5 = "2646ac647ad5339dbf082846283269ea"},
  {name = "t10k-labels-idx1-ubyte.gz", md5 = "27ae3e4e09519cfbb04c329615203637"},
}

local PREFIXES = {train = "train", test = "t10k"}

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- The path of one of the files, gzipped or not; nil when it is not there.
local function find(folder, name)
  local path = folder .. "/" .. name
  if exists(path) then return path end
  path = path:gsub("%.gz$", "")
  return exists(path) and path or nil
end

---The folder that has MNIST's files, or nil and a message that says where it was looked for.
---@param dir string? look in dir and dir/mnist only
---@return string?
---@return string? message
function mnist.folder(dir)
  local folders = {}
  if dir then
    folders = {dir, dir .. "/mnist"}
  else
    local given, cache = os.getenv "MOONWALK_DATA", shell.cache_folder()
    if given and given ~= "" then folders[#folders + 1] = given .. "/mnist" end
    if cache then folders[#folders + 1] = cache .. "/mnist" end
  end
  for _, folder in ipairs(folders) do
    -- One file is enough to say that MNIST is meant to be here; one that is missing is an error.
    for _, file in ipairs(mnist.FILES) do
      if find(folder, file.name) then return folder end
    end
  end
  return nil, ("there is no MNIST in %s; `moonwalk data mnist` downloads it")
    :format(#folders > 0 and table.concat(folders, " or ") or "a cache folder (HOME is not set)")
end

-- A file's tensor of bytes of some rank, or nil and why.
local function read(folder, name, rank)
  local path = find(folder, name)
  if not path then return nil, ("%s/%s: the file is missing"):format(folder, name) end
  local t, why = core.idx(path)
  if not t then return nil, why end
  if t.dtype ~= "u8" or #t.shape ~= rank then
    return nil, ("%s: it holds %s[%s], expected u8 of rank %d"):format(path, t.dtype,
      table.concat(t.shape, ","), rank)
  end
  return t
end

---A split's images u8 [n,height,width] and labels u8 [n], or nil and why.
---@param folder string
---@param split "train"|"test"
---@return moonwalk.Tensor?
---@return moonwalk.Tensor|string
function mnist.load(folder, split)
  local prefix = folder .. "/" .. PREFIXES[split]
  local images, why = read(folder, PREFIXES[split] .. "-images-idx3-ubyte.gz", 3)
  if not images then return nil, why end
  local labels
  labels, why = read(folder, PREFIXES[split] .. "-labels-idx1-ubyte.gz", 1)
  if not labels then return nil, why end
  if images.shape[1] ~= labels.shape[1] then
    return nil, ("%s-*: there are %d images and %d labels"):format(prefix, images.shape[1],
      labels.shape[1])
  end
  local wrong = core.bytes(labels):match("[^\0-\9]")
  if wrong then
    return nil, ("%s-labels: a label is %d, expected 0 to 9"):format(prefix, wrong:byte())
  end
  return images, labels
end

return mnist
