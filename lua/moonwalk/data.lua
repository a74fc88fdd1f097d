-- data.lua: data sets: MNIST, drawn digits, IDX files, and one's own tensors.
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
local mnist = require "moonwalk.data.mnist"
local pictures = require "moonwalk.data.images"
local text = require "moonwalk.data.text"

---@class moonwalk.data
local data = {}

local SPLITS = {"train", "test"}
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

-- The first n images as a data set; images u8 [n,28,28], labels u8 [n].
local function of_bytes(name, images, labels, n)
  local have = images.shape[1]
  if n and n < have then
    images, labels = core.rows(images, nil, 1, n), core.rows(labels, nil, 1, n)
  end
  n = images.shape[1]
  local x = core.call("reshape", images, {shape = {n, 1, images.shape[2], images.shape[3]}})
  core.eval(x) -- so that nothing keeps a graph
  return Dataset.new(x, core.rows(labels, nil, 1, n, "i64"), name)
end

---MNIST (LeCun, Cortes and Burges), from a folder or from where it is looked for: see
---mnist_folder. Raises an error when it is not there or damaged.
---@param options {split: "train"|"test"?, dir: string?, n: integer?}? "train"; n takes the first n
---@return moonwalk.Dataset
function data.mnist(options)
  local where = "data.mnist"
  options = check.options(where, options, {"split", "dir", "n"})
  local split = check.choice(where, "split", options.split, SPLITS, "train")
  local n = options.n and check.integer(where, "n", options.n, 1)
  local dir = options.dir and check.path(where, "dir", options.dir)
  local folder, message = mnist.folder(dir)
  if not folder then core.error(where .. ": " .. message) end
  local images, labels = mnist.load(folder, split)
  if not images then core.error(where .. ": " .. labels) end
  return of_bytes("MNIST", images, labels, n)
end

---The folder where MNIST is, or nil and a message that says where it was looked for. Without dir:
---MOONWALK_DATA/mnist, then moonwalk/mnist in the user's cache folder.
---@param dir string? look in dir and dir/mnist only
---@return string?
---@return string? message
function data.mnist_folder(dir)
  return mnist.folder(dir and check.path("data.mnist_folder", "dir", dir))
end

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
  return of_bytes("drawn digits", images, labels)
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
