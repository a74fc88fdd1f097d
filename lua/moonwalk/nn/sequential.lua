-- sequential.lua: Sequential, a network of layers one after the other.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

---@class moonwalk.Sequential: moonwalk.Module
---@overload fun(layers: moonwalk.Module[]): moonwalk.Sequential
local Sequential = Module:extend "Sequential"

local function check_layer(layer, i)
  if Module.is(layer) then return end
  local class = type(layer) == "table" and rawget(layer, "class")
  if class then
    core.error(("nn.Sequential: item %d is the class %s, expected a layer: nn.%s {...}"):format(i,
      class, class))
  end
  check.fail("nn.Sequential", "item " .. i, layer, "a layer such as nn.ReLU {}")
end

function Sequential:init(layers)
  if Module.is(layers) then
    core.error(("nn.Sequential: its argument is the layer %s, expected a list: {layer, ...}")
      :format(layers.class))
  elseif type(layers) ~= "table" then
    check.fail("nn.Sequential", "its argument", layers, "a list of layers")
  end
  for key in pairs(layers) do
    if math.type(key) ~= "integer" or key < 1 or key > #layers then
      core.error(("nn.Sequential: the list of layers has a field %s"):format(check.show(key)))
    end
  end
  for i = 1, #layers do check_layer(layers[i], i) end
  for i, layer in ipairs(layers) do self[i] = layer end
end

-- The message of an error with the layer's name put between its place and its text.
local function name_layer(message, layer, i)
  if type(message) ~= "string" then return message end
  local place, text = message:match("^([^\n]-:%d+: )(.*)$")
  return ("%s%s (layer %d): %s"):format(place or "", layer.class, i, text or message)
end

function Sequential:forward(x)
  for i, layer in ipairs(self) do
    local succeeded, y = pcall(layer, x)
    if not succeeded then error(name_layer(y, layer, i), 0) end
    x = y
  end
  return x
end

return Sequential
