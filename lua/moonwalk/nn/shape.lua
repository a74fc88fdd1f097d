-- shape.lua: layers that put the elements of each sample in another order or frame.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local apply = require "moonwalk.nn.apply"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

local Flatten = Module:extend "Flatten"

function Flatten:init(given)
  options.table("nn.Flatten", given, 0, {})
  self.applied = core.prepare "flatten"
end

Flatten.forward = Module.applying()

local Reshape = Module:extend "Reshape"

function Reshape:init(given)
  local where = "nn.Reshape"
  options.table(where, given, #given, {})
  if #given == 0 then check.fail(where, "[1]", nil, "the sizes of a sample, such as {8, 7, 7}") end
  for i, size in ipairs(given) do
    check.integer(where, ("size %d"):format(i), size, -1)
  end
  self.sizes = options.copy(given)
  self.description = options.describe("Reshape", given, {})
end

function Reshape:forward(x)
  if not core.is_tensor(x) or x.rank < 1 then
    check.fail("nn.Reshape", "x", x, "a tensor whose first axis counts samples")
  end
  return core.call("reshape", x, {shape = {x.shape[1], table.unpack(self.sizes)}})
end

return {
  ---One row of all that belongs to a sample.
  ---@type fun(options: {}): moonwalk.Module
  Flatten = Flatten,
  ---Samples of another shape: Reshape {8, 7, 7} makes [n, 8, 7, 7]. One size may be -1: what is
  ---left.
  ---@type fun(sizes: integer[]): moonwalk.Module
  Reshape = Reshape,
  ---A border: Pad {pads = {1, 1, 1, 1}, mode = "reflect"}; see the op pad.
  ---@type fun(options: {pads: integer[], mode: string?, value: number?}): moonwalk.Module
  Pad = apply("Pad", "pad"),
  ---The windows of images as columns; see the op unfold.
  ---@type fun(options: table): moonwalk.Module
  Unfold = apply("Unfold", "unfold"),
  ---The sum of windows that are columns; see the op fold.
  ---@type fun(options: table): moonwalk.Module
  Fold = apply("Fold", "fold"),
}
