-- dropout.lua: Dropout, which sets random elements to 0 in training mode.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---In training mode y = x mask / (1 - p) with a new mask each time, in evaluation mode y = x, and no
---random number is drawn.
---@class moonwalk.Dropout: moonwalk.Module
---@overload fun(options: {p: number?}): moonwalk.Dropout
local Dropout = Module:extend "Dropout"

function Dropout:init(given)
  local where, known = "nn.Dropout", {"p"}
  options.table(where, given, 1, known)
  self.p = check.number(where, "p", options.first(where, given, "p"), 0, 1, 0.5)
  self.description = options.describe("Dropout", given, known)
end

function Dropout:forward(x)
  if not self.training or self.p == 0 then return x end
  return core.call("dropout", x, {p = self.p})
end

return Dropout
