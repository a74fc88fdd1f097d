-- dataset.lua: samples with their labels, and the batches that they are taken in.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.Dataset
---@field x moonwalk.Tensor samples [n,...]; images are kept as u8 [n,1,height,width]
---@field y moonwalk.Tensor labels [n]
---@field name string
---@operator len: integer
local Dataset = {}
Dataset.__index = function(_, key)
  if Dataset[key] ~= nil then return Dataset[key] end
  local names = {"x", "y", "name"}
  for method in pairs(Dataset) do names[#names + 1] = method end
  check.misspelt("a data set", key, names)
end
Dataset.__name = "moonwalk.Dataset"

---@param x moonwalk.Tensor
---@param y moonwalk.Tensor
---@param name string
---@return moonwalk.Dataset
function Dataset.new(x, y, name)
  return setmetatable({x = x, y = y, name = name}, Dataset)
end

function Dataset:__len()
  return self.x.shape[1]
end

function Dataset:__tostring()
  return ("%s: x %s, y %s"):format(self.name, check.show(self.x), check.show(self.y))
end

-- A random order of n rows: the context's generator gives it, or a seed and nothing else.
local function permutation(n, seed)
  if not seed then return core.permutation(n) end
  local kept, position = core.random_state()
  core.seed(seed)
  local order = core.permutation(n)
  core.random_restore(kept, position)
  return order
end

---@class moonwalk.Batch
---@field x moonwalk.Tensor samples as floats; bytes are scaled from 0..255 to 0..1
---@field y moonwalk.Tensor labels
---@field first integer the batch's first row counts from 1; its place in the order if shuffled

---@class moonwalk.BatchOptions
---@field size integer? 64
---@field shuffle boolean? false; the order comes from the generator that mw.seed sets
---@field seed integer? shuffle by this seed instead
---@field drop_last boolean? false; leave a last batch out that would be smaller
---@field dtype string? "f32"

---Goes over the samples in batches: for batch in set:batches {size = 64} do ... end
---@param options moonwalk.BatchOptions?
---@return fun(): moonwalk.Batch?
function Dataset:batches(options)
  local where = "batches"
  options = check.options(where, options, {"size", "shuffle", "seed", "drop_last", "dtype"})
  local size = check.integer(where, "size", options.size, 1, 64)
  local shuffle = check.boolean(where, "shuffle", options.shuffle, options.seed ~= nil)
  local seed = options.seed and check.integer(where, "seed", options.seed, math.mininteger)
  local drop_last = check.boolean(where, "drop_last", options.drop_last, false)
  local dtype = check.choice(where, "dtype", options.dtype, {"f32", "f64"}, "f32")
  local scale = self.x.dtype == "u8" and 1 / 255 or 1
  local n = #self
  local order = shuffle and permutation(n, seed) or nil
  local first = 1
  return function()
    local count = math.min(size, n - first + 1)
    if count < (drop_last and size or 1) then return nil end
    local batch = {
      x = core.rows(self.x, order, first, count, dtype, scale),
      y = core.rows(self.y, order, first, count),
      first = first,
    }
    first = first + count
    return batch
  end
end
Dataset.batches = core.entry(Dataset.batches)

return Dataset
