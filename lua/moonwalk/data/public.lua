-- public.lua: the published data sets: what their files are called, where they are, what is in
-- them.

local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local public = {}

---@class moonwalk.PublicSet
---@field name string of its folder, and for the command
---@field title string
---@field about string
---@field files moonwalk.PublicFile[]
---@field mirrors string[] addresses that a file's name is put behind
---@field megabytes integer to be downloaded
---@field classes string[]

---@class moonwalk.PublicFile
---@field name string
---@field md5 string? of the file
---@field md5_inside string? of what is gzipped in it
---@field unpacks string? the folder that is packed in it

local DIGITS = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

-- The four files of MNIST and of the sets that took its form.
local function idx_files(kind, sums)
  local files = {}
  for i, name in ipairs {
    "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
  } do
    files[i] = {name = name, [kind] = sums[i]}
  end
  return files
end

---@type table<string, moonwalk.PublicSet>
public.sets = {
  -- Y. LeCun, C. Cortes and C. Burges.
  mnist = {
    name = "mnist", title = "MNIST", megabytes = 12, classes = DIGITS,
    about = "60,000 handwritten digits to learn from and 10,000 to test with: data.mnist",
    files = idx_files("md5_inside", {
      "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
      "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637",
    }),
    mirrors = {
      "https://ossci-datasets.s3.amazonaws.com/mnist/",
      "https://storage.googleapis.com/cvdf-datasets/mnist/",
    },
  },
  -- H. Xiao, K. Rasul and R. Vollgraf, 2017; the sums are those of its README,
  -- https://github.com/zalandoresearch/fashion-mnist
  ["fashion-mnist"] = {
    name = "fashion-mnist", title = "Fashion-MNIST", megabytes = 31,
    about = "clothes in the form of MNIST: data.fashion_mnist",
    classes = {
      "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
      "ankle boot",
    },
    files = idx_files("md5", {
      "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
      "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
    }),
    mirrors = {
      "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
      "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    },
  },
  -- A. Krizhevsky, 2009; the sum is that of https://www.cs.toronto.edu/~kriz/cifar.html
  cifar10 = {
    name = "cifar10", title = "CIFAR-10", megabytes = 162,
    about = "50,000 colour pictures of ten things, and 10,000 to test with: data.cifar10",
    classes = {
      "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    },
    files = {{
      name = "cifar-10-binary.tar.gz", md5 = "c32a1d4ab5d03f1284b67883e8d87530",
      unpacks = "cifar-10-batches-bin",
    }},
    mirrors = {"https://www.cs.toronto.edu/~kriz/"},
  },
}

local PREFIXES = {train = "train", test = "t10k"}
local CIFAR_FILES = {
  train = {
    "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
    "data_batch_5.bin",
  },
  test = {"test_batch.bin"},
}
local CIFAR_BYTES = 1 + 3 * 32 * 32 -- of a picture: its label, then red, green and blue

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

-- Whether one file of a set is in a folder. One is enough to say that the set is meant to be here;
-- one that is missing is an error.
local function has_any(set, folder)
  for _, file in ipairs(set.files) do
    if file.unpacks and core.folder(folder .. "/" .. file.unpacks)
      or not file.unpacks and find(folder, file.name) then return true end
  end
  return set.name == "cifar10" and exists(folder .. "/" .. CIFAR_FILES.test[1])
end

---The folder that has a set's files, or nil and a message that says where it was looked for.
---@param set moonwalk.PublicSet
---@param dir string? look in dir and in the set's folder below it only
---@return string?
---@return string? message
function public.folder(set, dir)
  local folders = {}
  if dir then
    folders = {dir, dir .. "/" .. set.name}
  else
    local given, cache = os.getenv "MOONWALK_DATA", shell.folder "cache"
    if given and given ~= "" then folders[#folders + 1] = given .. "/" .. set.name end
    if cache then folders[#folders + 1] = cache .. "/" .. set.name end
  end
  for _, folder in ipairs(folders) do
    if has_any(set, folder) then return folder end
  end
  return nil, ("there is no %s in %s; `moonwalk data %s` downloads it"):format(set.title,
    #folders > 0 and table.concat(folders, " or ") or "a cache folder (HOME is not set)", set.name)
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

local function check_labels(labels, place)
  local wrong = core.bytes(labels):match "[^\0-\9]"
  if wrong then
    return nil, ("%s: a label is %d, expected 0 to 9"):format(place, wrong:byte())
  end
  return true
end

---Pictures u8 [n,1,height,width] and labels u8 [n] of a set in MNIST's form, or nil and why.
---@param folder string
---@param split "train"|"test"
---@return moonwalk.Tensor?
---@return moonwalk.Tensor|string
function public.load_idx(folder, split)
  local prefix = folder .. "/" .. PREFIXES[split]
  local images, why = read(folder, PREFIXES[split] .. "-images-idx3-ubyte.gz", 3)
  if not images then return nil, why end
  local labels
  labels, why = read(folder, PREFIXES[split] .. "-labels-idx1-ubyte.gz", 1)
  if not labels then return nil, why end
  local n, height, width = images.shape[1], images.shape[2], images.shape[3]
  if n ~= labels.shape[1] then
    return nil, ("%s-*: there are %d images and %d labels"):format(prefix, n, labels.shape[1])
  end
  local fine
  fine, why = check_labels(labels, prefix .. "-labels")
  if not fine then return nil, why end
  images = core.call("reshape", images, {shape = {n, 1, height, width}})
  core.eval(images) -- so that nothing keeps a graph
  return images, labels
end

-- The bytes of one of CIFAR-10's files as a tensor [n, CIFAR_BYTES], or nil and why.
local function read_cifar(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local bytes = file:read "a" or ""
  file:close()
  if #bytes == 0 or #bytes % CIFAR_BYTES ~= 0 then
    return nil, ("%s: it has %d bytes, expected %d for each picture"):format(path, #bytes,
      CIFAR_BYTES)
  end
  return core.from_bytes(bytes, "u8", {#bytes // CIFAR_BYTES, CIFAR_BYTES})
end

---Pictures u8 [n,3,32,32] and labels u8 [n] of CIFAR-10's binary version, or nil and why.
---@param folder string
---@param split "train"|"test"
---@return moonwalk.Tensor?
---@return moonwalk.Tensor|string
function public.load_cifar(folder, split)
  local below = folder .. "/cifar-10-batches-bin"
  local place = core.folder(below) and below or folder
  local images, labels = {}, {}
  for i, name in ipairs(CIFAR_FILES[split]) do
    local path = place .. "/" .. name
    local rows, why = read_cifar(path)
    if not rows then return nil, why end
    local n = rows.shape[1]
    local function columns(first, last, shape)
      local t = core.call("slice", rows, {start = {1, first}, count = {n, last - first + 1}})
      t = core.call("reshape", t, {shape = shape})
      core.eval(t)
      return t
    end
    labels[i], images[i] = columns(1, 1, {n}), columns(2, CIFAR_BYTES, {n, 3, 32, 32})
    local fine
    fine, why = check_labels(labels[i], path)
    if not fine then return nil, why end
  end
  if #images == 1 then return images[1], labels[1] end
  local x = core.call("concat", images, {axis = 1})
  local y = core.call("concat", labels, {axis = 1})
  core.eval(x, y)
  return x, y
end

return public
