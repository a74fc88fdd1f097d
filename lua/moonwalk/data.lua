-- data.lua: data sets: published ones, drawn ones, those of files, and of one's own tensors.
--
--   local train = data.mnist {split = "train"}
--   for batch in train:batches {size = 64, shuffle = true} do
--     opt:step(net(batch.x):cross_entropy(batch.y))
--   end

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Augment = require "moonwalk.data.augment"
local csv = require "moonwalk.data.csv"
local Dataset = require "moonwalk.data.dataset"
local download = require "moonwalk.data.download"
local pictures = require "moonwalk.data.images"
local public = require "moonwalk.data.public"
local text = require "moonwalk.data.text"

---@class moonwalk.data
local data = {}

local SPLITS = {"train", "test"}
local SHAPES = {train = 10000, test = 2000}
local DIGITS = {train = 20000, test = 4000} -- how many, unless another number is asked for

-- Raises unless y holds labels 0 to classes - 1.
local function check_labels(where, y, classes)
  if not y or #y.shape ~= 1 or (y.dtype ~= "i64" and y.dtype ~= "i32") then
    check.fail(where, "y", y, "labels i64 [n] or i32 [n], for classes")
  end
  for i, label in ipairs(y:totable()) do
    if label < 0 or label >= classes then
      core.error(("%s: the label of sample %d is %d, expected 0 to %d"):format(where, i, label,
        classes - 1))
    end
  end
end

-- The first n pictures as a data set; images u8 [n,channels,height,width], labels u8 [n].
local function of_bytes(name, images, labels, n, classes)
  local have = images.shape[1]
  if n and n < have then images = core.rows(images, nil, 1, n) end
  n = images.shape[1]
  return Dataset.new(images, core.rows(labels, nil, 1, n, "i64"), name, {classes = classes})
end

-- One of the published sets.
local function published(where, set, load, options)
  options = check.options(where, options, {"split", "dir", "n", "download"})
  local split = check.choice(where, "split", options.split, SPLITS, "train")
  local n = options.n and check.integer(where, "n", options.n, 1)
  local dir = options.dir and check.path(where, "dir", options.dir)
  local folder, message = public.folder(set, dir)
  if not folder and check.boolean(where, "download", options.download, false) then
    folder, message = download.get(set, function(line) io.stderr:write(line, "\n") end)
  end
  if not folder then core.error(where .. ": " .. message) end
  local images, labels = load(folder, split)
  if not images then core.error(where .. ": " .. labels) end
  return of_bytes(set.title, images, labels, n, set.classes)
end

---@class moonwalk.PublicOptions
---@field split "train"|"test"|nil "train"
---@field dir string? the folder that has the files; else see data.mnist_folder
---@field n integer? the first n pictures
---@field download boolean? where it is not there, get it, as `moonwalk data NAME` does

---MNIST: handwritten digits, x u8 [n,1,28,28]. Raises when it is not there or damaged.
---@param options moonwalk.PublicOptions?
---@return moonwalk.Dataset
function data.mnist(options)
  return published("data.mnist", public.sets.mnist, public.load_idx, options)
end

---Fashion-MNIST: clothes, x u8 [n,1,28,28]. Raises when it is not there or damaged.
---@param options moonwalk.PublicOptions?
---@return moonwalk.Dataset
function data.fashion_mnist(options)
  return published("data.fashion_mnist", public.sets["fashion-mnist"], public.load_idx, options)
end

---CIFAR-10: things in colour, x u8 [n,3,32,32]. Raises when it is not there or damaged.
---@param options moonwalk.PublicOptions?
---@return moonwalk.Dataset
function data.cifar10(options)
  return published("data.cifar10", public.sets.cifar10, public.load_cifar, options)
end

-- data.mnist_folder and the like.
local function folder_of(where, name)
  return function(dir)
    return public.folder(public.sets[name], dir and check.path(where, "dir", dir))
  end
end

---The folder where MNIST is, or nil and a message that says where it was looked for. Without dir:
---MOONWALK_DATA/mnist, then moonwalk/mnist in the user's cache folder.
---@type fun(dir?: string): string?, string?
data.mnist_folder = folder_of("data.mnist_folder", "mnist")

---The same for Fashion-MNIST, in fashion-mnist.
---@type fun(dir?: string): string?, string?
data.fashion_mnist_folder = folder_of("data.fashion_mnist_folder", "fashion-mnist")

---The same for CIFAR-10, in cifar10.
---@type fun(dir?: string): string?, string?
data.cifar10_folder = folder_of("data.cifar10_folder", "cifar10")

---Digits that look handwritten, drawn by Moonwalk: no download, and as many as one likes. The
---same seed and split give the same digits on every call.
---@param options {split: "train"|"test"?, n: integer?, seed: integer?}?
---@return moonwalk.Dataset
function data.digits(options)
  local where = "data.digits"
  options = check.options(where, options, {"split", "n", "seed"})
  local split = check.choice(where, "split", options.split, SPLITS, "train")
  local n = check.integer(where, "n", options.n, 1, DIGITS[split])
  local seed = check.integer(where, "seed", options.seed, math.mininteger, 0)
  -- The splits take their digits from different generators.
  local images, labels = core.digits(n, seed ~ (split == "test" and 1 << 62 or 0))
  images = core.call("reshape", images, {shape = {n, 1, 28, 28}})
  core.eval(images) -- so that nothing keeps a graph
  return of_bytes("drawn digits", images, labels, nil, public.sets.mnist.classes)
end

---Pictures of shapes in colour, drawn by Moonwalk in CIFAR-10's form: x u8 [n,3,32,32], and ten
---classes. The same seed and split give the same pictures on every call.
---@param options {split: "train"|"test"?, n: integer?, seed: integer?}?
---@return moonwalk.Dataset
function data.shapes(options)
  local where = "data.shapes"
  options = check.options(where, options, {"split", "n", "seed"})
  local split = check.choice(where, "split", options.split, SPLITS, "train")
  local n = check.integer(where, "n", options.n, 1, SHAPES[split])
  local seed = check.integer(where, "seed", options.seed, math.mininteger, 0)
  local images, labels, names = core.shapes(n, seed ~ (split == "test" and 1 << 62 or 0))
  return of_bytes("drawn shapes", images, labels, nil, names)
end

---The tensor of an IDX file, gzipped or not; nil and a message when it cannot be read.
---@param path string
---@return moonwalk.Tensor?
---@return string? message
function data.idx(path)
  return core.idx(check.path("data.idx", "the path", path))
end

---A data set of one's own: x [n,...] and y, which is labels [n], targets [n,...] or nothing. With
---classes, a number or a list of names, labels are checked.
---@param x moonwalk.Tensor
---@param y moonwalk.Tensor?
---@param options {classes: integer|string[]|nil, name: string?}?
---@return moonwalk.Dataset
function data.dataset(x, y, options)
  local where = "data.dataset"
  options = check.options(where, options, {"classes", "name"})
  for name, value in pairs {x = x or false, y = y} do
    if not core.is_tensor(value) or #value.shape == 0 then
      check.fail(where, name, value or nil, "a tensor of rank 1 or more")
    end
  end
  if y and x.shape[1] ~= y.shape[1] then
    core.error(("%s: x has %d rows and y %d, expected as many"):format(where, x.shape[1],
      y.shape[1]))
  end
  local function own(t) -- a parameter's value may change
    return t and core.is_param(t) and core.rows(t, nil, 1, t.shape[1]) or t
  end
  local classes = options.classes
  if classes ~= nil then
    local count = type(classes) == "table" and #classes
      or check.integer(where, "classes", classes, 1)
    check_labels(where, y, count)
    if type(classes) ~= "table" then classes = nil end
  end
  return Dataset.new(own(x), own(y), check.text(where, "name", options.name, "data set"),
    {classes = classes})
end

---A table of text as a data set, with features, a label, and classes for texts. nil and a message,
---with the line, when it cannot be read.
---@param path string
---@param options moonwalk.CsvOptions?
---@return moonwalk.Dataset?
---@return string? message
function data.csv(path, options)
  return csv.read(path, options)
end

---Pictures in a folder, PNG or JPEG, those of each class in a folder of its own. nil and a message
---when they cannot be read.
---@param folder string
---@param options moonwalk.ImageOptions?
---@return moonwalk.Dataset?
---@return string? message
function data.images(folder, options)
  return pictures.read(folder, options)
end

---Text as numbers, for models of language. nil and a message when it cannot be read.
---@param path string
---@param options moonwalk.TextOptions?
---@return moonwalk.Text?
---@return string? message
function data.text(path, options)
  return text.read(path, options)
end

---Random changes to the samples of a batch, and their normalisation.
---@param options moonwalk.AugmentOptions
---@return moonwalk.Augment
function data.augment(options)
  return Augment.new(options)
end

-- Called through C, so that an error keeps its line: `return data.digits {...}` is a tail call.
for name, fn in pairs(data) do data[name] = core.entry(fn) end

return setmetatable(data, {
  __index = function(_, name)
    local names = {}
    for known in pairs(data) do names[#names + 1] = known end
    table.sort(names)
    local near = check.near(tostring(name), names)
    core.error(("data: there is no %q%s"):format(tostring(name),
      near and (", did you mean data.%s?"):format(near)
      or "; it has " .. table.concat(names, ", ")))
  end,
})
