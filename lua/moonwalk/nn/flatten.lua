-- flatten.lua: Flatten, which makes one row of all that belongs to a sample.

local core = require "moonwalk.core"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---@class moonwalk.Flatten: moonwalk.Module
---@overload fun(options: {}): moonwalk.Flatten
local Flatten = Module:extend "Flatten"

function Flatten.init(_, given)
  options.table("nn.Flatten", given, 0, {})
end

function Flatten.forward(_, x)
  return core.call("flatten", x)
end

return Flatten
