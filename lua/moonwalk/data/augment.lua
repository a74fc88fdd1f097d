-- augment.lua: random changes to the samples of a batch, and their normalisation.
--
--   local train = data.augment {rotate = 10, shift = 2, elastic = 1}
--   for batch in set:batches {shuffle = true, augment = train} do ... end

local core = require "moonwalk.core"
local check = require "moonwalk.check"

---@class moonwalk.Augment
---@field options moonwalk.AugmentOptions what it was made of
---@operator call: moonwalk.Tensor
local Augment = {}
Augment.__index = Augment
Augment.__name = "moonwalk.Augment"

---A number a stands for the range from -a to a; a pair is the range itself. What is drawn is drawn
---anew for each sample, uniformly.
---@alias moonwalk.Range number|number[]

---@alias moonwalk.Augmentation moonwalk.Augment|moonwalk.AugmentOptions|moonwalk.AugmentOptions[]

---@class moonwalk.AugmentOptions
---@field shift moonwalk.Range? pixels, to the right and down, drawn for each direction
---@field shift_x moonwalk.Range? to the right alone, instead
---@field shift_y moonwalk.Range? down alone, instead
---@field rotate moonwalk.Range? degrees, counter-clockwise
---@field scale moonwalk.Range? 0.1 stands for {0.9, 1.1}
---@field shear moonwalk.Range? degrees that vertical lines lean to the right, less than 90
---@field elastic number? pixels, the standard deviation of a smooth random displacement
---@field elastic_spacing number? pixels between that field's knots; a quarter of the longer side
---@field border "fill"|"edge"|nil what is seen outside of the image; "fill"
---@field fill number? 0
---@field pad integer? pixels of fill on every side before it is cropped
---@field crop integer|integer[]|nil {height, width}; with pad the image's own size
---@field center boolean? crop from the middle, not at random
---@field flip number|boolean|nil probability of a reflection left-right; true is 0.5
---@field flip_vertical number|boolean|nil and up-down
---@field noise number? standard deviation of normal noise
---@field normalise {mean: number|number[], std: number|number[]}? (x - mean) / std, per channel
---@field erase number? probability that a rectangle is set to 0
---@field erase_area number[]? {0.02, 0.2}, its share of the image

local WHERE = "data.augment"
local OPTIONS = {
  "shift", "shift_x", "shift_y", "rotate", "scale", "shear", "elastic", "elastic_spacing", "border",
  "fill", "pad", "crop", "center", "flip", "flip_vertical", "noise", "normalise", "erase",
  "erase_area",
}
local MOST = 1e4 -- pixels; no image is moved farther

-- A range as a pair of numbers between two bounds; around is what 0 stands for.
local function range(name, value, low, high, around)
  if value == nil then return nil end
  around = around or 0
  if type(value) == "number" then value = {around - math.abs(value), around + math.abs(value)} end
  if type(value) ~= "table" or #value ~= 2 then
    check.fail(WHERE, name, value, "a number or a pair {low, high}")
  end
  for i = 1, 2 do check.number(WHERE, ("%s[%d]"):format(name, i), value[i], low, high) end
  if value[1] > value[2] then
    core.error(("%s: %s is {%g, %g}, expected the lower number first"):format(WHERE, name,
      value[1], value[2]))
  end
  return {value[1], value[2]}
end

local function probability(name, value)
  if value == nil or value == false then return nil end
  if value == true then return 0.5 end
  return check.number(WHERE, name, value, 0, 1)
end

-- A number or a list of numbers as a list.
local function list(name, value, low)
  local numbers = type(value) == "table" and value or {value}
  if #numbers == 0 then check.fail(WHERE, name, value, "a number or one for each channel") end
  local copy = {}
  for i, number in ipairs(numbers) do
    copy[i] = check.number(WHERE, #numbers > 1 and ("%s[%d]"):format(name, i) or name, number, low,
      math.huge)
  end
  return copy
end

local function read_normalise(stage, value)
  if value == nil then return end
  if type(value) ~= "table" or value.mean == nil or value.std == nil then
    check.fail(WHERE, "normalise", value, "a table {mean = ..., std = ...}, as set:moments() gives")
  end
  stage.mean, stage.inverse = list("normalise.mean", value.mean, -math.huge), {}
  local std = list("normalise.std", value.std, 0)
  for i, deviation in ipairs(std) do
    -- A feature that never changes says nothing, and becomes 0.
    stage.inverse[i] = deviation > 0 and 1 / deviation or 1
  end
end

local function read_crop(stage, value)
  if value == nil then return end
  local height, width = value, value
  if type(value) == "table" then height, width = value[1], value[2] end
  stage.crop_height = check.integer(WHERE, "the height of crop", height, 1)
  stage.crop_width = check.integer(WHERE, "the width of crop", width, 1)
end

-- The stage as core.loader reads it.
local function read(options)
  check.options(WHERE, options, OPTIONS)
  local stage = {
    shift_x = range("shift_x", options.shift_x or options.shift, -MOST, MOST),
    shift_y = range("shift_y", options.shift_y or options.shift, -MOST, MOST),
    rotate = range("rotate", options.rotate, -36000, 36000),
    scale = range("scale", options.scale, 1e-3, 1e3, 1),
    shear = range("shear", options.shear, -89, 89),
    elastic = options.elastic and check.number(WHERE, "elastic", options.elastic, 0, MOST),
    edge = check.choice(WHERE, "border", options.border, {"fill", "edge"}, "fill") == "edge",
    fill = check.number(WHERE, "fill", options.fill, -math.huge, math.huge, 0),
    pad = check.integer(WHERE, "pad", options.pad, 0, 0),
    center = check.boolean(WHERE, "center", options.center, false),
    flip = probability("flip", options.flip),
    flip_vertical = probability("flip_vertical", options.flip_vertical),
    noise = options.noise and check.number(WHERE, "noise", options.noise, 0, math.huge),
    erase = probability("erase", options.erase),
    erase_area = range("erase_area", options.erase_area or {0.02, 0.2}, 0, 1),
  }
  if options.elastic_spacing then
    stage.elastic_spacing = check.number(WHERE, "elastic_spacing", options.elastic_spacing, 1, MOST)
  end
  stage.moves = (stage.shift_x or stage.shift_y or stage.rotate or stage.scale or stage.shear
    or stage.elastic) ~= nil
  if stage.pad > MOST then check.fail(WHERE, "pad", stage.pad, "0 to 10000 pixels") end
  read_crop(stage, options.crop)
  read_normalise(stage, options.normalise)
  return stage
end

---Random changes to images, and normalisation. In this order an image is moved (sheared, scaled,
---rotated, shifted and bent, by one bilinear resampling), cropped, reflected, made noisy,
---normalised, and partly erased. What a sample meets depends on seed, epoch and its place in the
---order alone.
---@param options moonwalk.AugmentOptions
---@return moonwalk.Augment
function Augment.new(options)
  if type(options) ~= "table" then
    check.fail(WHERE, "the table of options", options, "a table such as {rotate = 10}")
  end
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  return setmetatable({options = copy, stage = read(options)}, Augment)
end

---The stages of one augmentation, of its options, or of a list of these.
---@param where string
---@param value moonwalk.Augmentation?
---@return table[]
function Augment.stages(where, value)
  if value == nil then return {} end
  if type(value) ~= "table" then
    check.fail(where, "augment", value, "data.augment {...}, its options, or a list of these")
  end
  if getmetatable(value) == Augment then return {value.stage} end
  if #value == 0 then return next(value) and {read(value)} or {} end
  local stages = {}
  for i, item in ipairs(value) do
    if type(item) ~= "table" then
      check.fail(where, ("augment[%d]"):format(i), item, "data.augment {...} or its options")
    end
    stages[i] = getmetatable(item) == Augment and item.stage or read(item)
  end
  return stages
end

---Augments a tensor as a batch would: x [n,channels,height,width], bytes or floats.
---@param x moonwalk.Tensor
---@param options {seed: integer?, epoch: integer?, first: integer?}? 0, 1; the place of x[1], 1
---@return moonwalk.Tensor f32, or f64 of f64
local function apply(self, x, options)
  local where = "an augmentation"
  if not core.is_tensor(x) or #x.shape == 0 then
    check.fail(where, "x", x, "a tensor [n,channels,height,width]")
  end
  options = check.options(where, options, {"seed", "epoch", "first"})
  local bytes = x.dtype == "u8"
  local first = check.integer(where, "first", options.first, 1, 1)
  if x.shape[1] == 0 then check.fail(where, "x", x, "at least one row") end
  local loader = core.loader {
    x = x, size = x.shape[1], stages = {self.stage}, scale = bytes and 1 / 255 or 1,
    dtype = bytes and "f32" or x.dtype, place = first - 1,
    seed = check.integer(where, "seed", options.seed, math.mininteger, 0),
    epoch = check.integer(where, "epoch", options.epoch, 1, 1),
  }
  local augmented = loader:next()
  loader:close()
  return augmented
end
Augment.__call = core.entry(apply)

function Augment:__tostring()
  local parts = {}
  for _, name in ipairs(OPTIONS) do
    local value = self.options[name]
    if type(value) == "table" and #value > 0 then
      value = "{" .. table.concat(value, ", ") .. "}"
    elseif type(value) == "table" then
      value = "{...}"
    end
    if value ~= nil then parts[#parts + 1] = name .. " = " .. tostring(value) end
  end
  return "augment {" .. table.concat(parts, ", ") .. "}"
end

return Augment
