-- batches.lua: going over a data set in batches, from any place, ahead of time if wanted.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Augment = require "moonwalk.data.augment"

---@class moonwalk.Batch
---@field x moonwalk.Tensor samples as floats; bytes are scaled from 0..255 to 0..1
---@field y moonwalk.Tensor? labels
---@field first integer the batch's first row counts from 1; its place in the order if shuffled
---@field epoch integer

---@class moonwalk.BatchOptions
---@field size integer? 64
---@field shuffle boolean? false; true where a seed is given
---@field seed integer? decides order and augmentation; else mw.seed's generator gives one
---@field epoch integer? 1; each epoch of a seed has an order and augmentation of its own
---@field drop_last boolean? false; leave a last batch out that would be smaller
---@field dtype "f32"|"f64"|nil "f32"; whole numbers of i32 and i64 stay what they are
---@field augment moonwalk.Augmentation? what is done to each sample
---@field prefetch integer? batches that are made ahead of time; 2 with augment, else 0
---@field workers integer? threads that make them, 1
---@field resume moonwalk.BatchState? go on where another iterator was, which gave its state()

---Where an iterator is: all that batches of the same data and options need to go on. Plain
---numbers, for a checkpoint.
---@class moonwalk.BatchState
---@field seed integer
---@field epoch integer
---@field position integer samples of the epoch that have been handed out
---@field samples integer in the data set
---@field shuffle boolean

---@class moonwalk.Batches
---@overload fun(): moonwalk.Batch?
local Batches = {}
Batches.__index = Batches
Batches.__name = "moonwalk.Batches"

local OPTIONS = {
  "size", "shuffle", "seed", "epoch", "drop_last", "dtype", "augment", "prefetch", "workers",
  "resume",
}

-- The state to go on from, checked against the data and the options.
local function read_state(where, options, samples)
  local state = options.resume
  if type(state) ~= "table" then
    check.fail(where, "resume", state, "a table, as iterator:state() gives it")
  end
  for _, name in ipairs {"seed", "epoch", "position", "samples"} do
    check.integer(where, "resume." .. name, state[name], math.mininteger)
  end
  check.boolean(where, "resume.shuffle", state.shuffle, false)
  if state.samples ~= samples then
    core.error(("%s: the state is of a data set of %d samples, this one has %d"):format(where,
      state.samples, samples))
  end
  if state.position < 0 or state.position > samples then
    core.error(("%s: resume.position is %d, expected 0 to %d"):format(where, state.position,
      samples))
  end
  for _, name in ipairs {"seed", "epoch", "shuffle"} do
    if options[name] ~= nil and options[name] ~= state[name] then
      core.error(("%s: %s is %s, but the state to resume is of %s = %s"):format(where, name,
        check.show(options[name]), name, check.show(state[name])))
    end
  end
  return state
end

-- What the iterator's state will be, before its first batch.
local function first_state(where, options, samples, draws)
  if options.resume ~= nil then
    local from = read_state(where, options, samples)
    return {
      seed = from.seed, epoch = from.epoch, position = from.position, samples = samples,
      shuffle = from.shuffle or false,
    }
  end
  local shuffle = check.boolean(where, "shuffle", options.shuffle, options.seed ~= nil)
  local seed = options.seed and check.integer(where, "seed", options.seed, math.mininteger)
  if not seed then seed = (shuffle or draws) and core.random_seed() or 0 end
  return {
    seed = seed, epoch = check.integer(where, "epoch", options.epoch, 1, 1), position = 0,
    samples = samples, shuffle = shuffle,
  }
end

local WHOLE = {i32 = true, i64 = true}

---@param x moonwalk.Tensor
---@param y moonwalk.Tensor?
---@param options moonwalk.BatchOptions?
---@return moonwalk.Batches
function Batches.new(x, y, options)
  local where = "batches"
  options = check.options(where, options, OPTIONS)
  local stages = Augment.stages(where, options.augment)
  local state = first_state(where, options, x.shape[1], #stages > 0)
  local dtype = check.choice(where, "dtype", options.dtype, {"f32", "f64"},
    WHOLE[x.dtype] and x.dtype or "f32")
  local prefetch = check.integer(where, "prefetch", options.prefetch, 0, #stages > 0 and 2 or 0)
  local workers = check.integer(where, "workers", options.workers, 1, 1)
  if prefetch > 63 then check.fail(where, "prefetch", prefetch, "0 to 63 batches") end
  if workers > 16 then check.fail(where, "workers", workers, "1 to 16 threads") end
  local loader = core.loader {
    x = x, y = y, stages = stages, dtype = dtype, scale = x.dtype == "u8" and 1 / 255 or 1,
    order = state.shuffle and core.order(state.samples, state.seed, state.epoch) or nil,
    seed = state.seed, epoch = state.epoch, first = state.position,
    size = check.integer(where, "size", options.size, 1, 64),
    drop_last = check.boolean(where, "drop_last", options.drop_last, false),
    prefetch = prefetch, workers = workers,
  }
  return setmetatable({loader = loader, at = state}, Batches)
end

---The next batch, or nil when the epoch is over.
---@return moonwalk.Batch?
local function next_batch(self)
  local x, y, first = self.loader:next()
  if not x then return nil end
  self.at.position = first - 1 + x.shape[1]
  return {x = x, y = y, first = first, epoch = self.at.epoch}
end
Batches.__call = next_batch

---Where it is, for `resume`: behind the batch that was handed out last.
---@return moonwalk.BatchState
function Batches:state()
  local copy = {}
  for name, value in pairs(self.at) do copy[name] = value end
  return copy
end

---Ends its threads and lets go of the data. A loop that is left does this, and so does the garbage
---collector.
function Batches:close()
  self.loader:close()
end
Batches.__close = Batches.close

function Batches:__tostring()
  local at = self.at
  return ("batches of epoch %d, %d of %d samples done"):format(at.epoch, at.position, at.samples)
end

return Batches
