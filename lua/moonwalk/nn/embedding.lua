-- embedding.lua: Embedding, a table of trained vectors.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---Takes indices, counted from 0, of any shape, and gives the vector of each along a new last axis.
---@class moonwalk.Embedding: moonwalk.Module
---@field weight moonwalk.Tensor [count, features]
---@overload fun(options: moonwalk.EmbeddingOptions): moonwalk.Embedding
local Embedding = Module:extend "Embedding"

---@class moonwalk.EmbeddingOptions
---@field [1] integer how many vectors
---@field [2] integer features of each
---@field init moonwalk.Initialiser|string? nn.init.normal(0, 1)
---@field dtype string? "f32"
local KNOWN = {"init", "dtype"}

function Embedding:init(given)
  local where = "nn.Embedding"
  options.table(where, given, 2, KNOWN)
  local count = check.integer(where, "the number of vectors, [1],", given[1], 1)
  local features = check.integer(where, "the number of features, [2],", given[2], 1)
  local dtype = check.choice(where, "dtype", given.dtype, {"f32", "f64"}, "f32")
  local initialiser = init.check(where, given.init, init.normal(0, 1))
  self.weight = init.parameter(where, initialiser, {count, features}, dtype, count, features)
  self.description = options.describe("Embedding", given, KNOWN)
end

function Embedding:forward(indices)
  return core.call("embedding", self.weight, indices)
end

return Embedding
