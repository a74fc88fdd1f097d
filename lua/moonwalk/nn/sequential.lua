-- sequential.lua: Sequential, a network of layers one after the other, and what is made of such
-- lists: Residual, which adds what went in, and Parallel, whose branches have the same input.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

---A list of layers, of which any may have a name: {"conv1", nn.Conv2d {...}}. Then it is net.conv1
---as well as net[1].
---@class moonwalk.Sequential: moonwalk.Module
---@overload fun(layers: table): moonwalk.Sequential
local Sequential = Module:extend "Sequential"

local function check_layer(where, layer, i)
  if Module.is(layer) then return end
  local class = type(layer) == "table" and rawget(layer, "class")
  if class then
    core.error(("%s: item %s is the class %s, expected a layer: nn.%s {...}"):format(where, i,
      class, class))
  end
  check.fail(where, ("item %s"):format(i), layer, "a layer such as nn.ReLU {}")
end

-- Whether an item is {"name", layer}.
local function is_named(item)
  return type(item) == "table" and not Module.is(item) and type(item[1]) == "string"
end

local function check_name(where, module, name, i, names)
  if not name:find "^[%a_][%w_]*$" then
    check.fail(where, ("the name of item %d"):format(i), name, "letters, digits and _")
  elseif names[name] then
    core.error(("%s: items %d and %d are both called %q"):format(where, names[name], i, name))
  elseif Module[name] ~= nil or getmetatable(module)[name] ~= nil then
    core.error(("%s: item %d is called %q, which is a method"):format(where, i, name))
  end
end

-- Makes the items of a list the module's own; options are what else it may have, by name.
local function adopt(where, module, layers, options)
  if Module.is(layers) then
    core.error(("%s: its argument is the layer %s, expected a list: {layer, ...}"):format(where,
      layers.class))
  elseif type(layers) ~= "table" or core.is_tensor(layers) then
    check.fail(where, "its argument", layers, "a list of layers")
  elseif rawget(layers, "class") then
    core.error(("%s: its argument is the class %s, expected a list: {nn.%s {...}}"):format(where,
      layers.class, layers.class))
  end
  for key in pairs(layers) do
    if type(key) == "string" and #options > 0 then
      check.options(where, {[key] = layers[key]}, options)
    elseif math.type(key) ~= "integer" or key < 1 or key > #layers then
      core.error(("%s: the list of layers has a field %s"):format(where, check.show(key))
        .. (type(key) == "string" and Module.is(layers[key])
          and (", and no place for it; a name goes with its layer: {%q, layer}"):format(key) or ""))
    end
  end
  local names = {}
  for i = 1, #layers do
    local item = layers[i]
    if is_named(item) then
      check_name(where, module, item[1], i, names)
      names[item[1]] = i
      check_layer(where, item[2], ("%d, %q,"):format(i, item[1]))
      module:label(i, item[1])
      item = item[2]
    end
    check_layer(where, item, i)
    module[i] = item
  end
end

function Sequential:init(layers)
  adopt("nn.Sequential", self, layers, {})
end

-- The message of an error with the layer's name put between its place and its text.
local function name_layer(message, layer, i)
  if type(message) ~= "string" then return message end
  local place, text = message:match("^([^\n]-:%d+: )(.*)$")
  return ("%s%s (layer %s): %s"):format(place or "", layer.class, i, text or message)
end

-- What a layer makes of x. Its name goes into an error.
local function pass(layer, x, i)
  local succeeded, y = pcall(layer, x)
  if not succeeded then error(name_layer(y, layer, i), 0) end
  return y
end

Sequential.forward = Module.passing(name_layer)

---y = x + f(x), where f are the layers of the list (He, Zhang, Ren and Sun, "Deep residual learning
---for image recognition", 2016). With a `shortcut`, y = shortcut(x) + f(x), for an f that changes
---the shape; with an `activation`, that of the sum.
---@class moonwalk.Residual: moonwalk.Sequential
---@field shortcut moonwalk.Module?
---@field activation moonwalk.Module?
---@overload fun(layers: table): moonwalk.Residual
local Residual = Sequential:extend "Residual"

function Residual:init(layers)
  local where, known = "nn.Residual", {"shortcut", "activation"}
  adopt(where, self, layers, known)
  if #self == 0 then core.error(where .. ": the list of layers is empty") end
  for _, name in ipairs(known) do
    if layers[name] ~= nil then check_layer(where, layers[name], name) end
    self[name] = layers[name]
  end
end

function Residual:forward(x)
  local y = Sequential.forward(self, x)
  local beside = self.shortcut and pass(self.shortcut, x, "shortcut") or x
  if check.show(y) ~= check.show(beside) then
    core.error(("nn.Residual: its layers make %s, and %s is %s; a shortcut, such as "
      .. "nn.Conv2d {16, 32, kernel = 1, stride = 2}, would make them alike"):format(check.show(y),
      self.shortcut and "what the shortcut makes" or "x", check.show(beside)))
  end
  y = y + beside
  return self.activation and pass(self.activation, y, "activation") or y
end

---Branches that have the same input, and whose results are joined: side by side along an axis
---(`join = "concat"`, which needs no mention, with axis = 2, the channels), as their sum or their
---product ("add", "mul"), or not at all ("list": net(x) has several results).
---@class moonwalk.Parallel: moonwalk.Sequential
---@overload fun(branches: table): moonwalk.Parallel
local Parallel = Sequential:extend "Parallel"

function Parallel:init(branches)
  local where = "nn.Parallel"
  adopt(where, self, branches, {"join", "axis"})
  if #self == 0 then core.error(where .. ": the list of branches is empty") end
  self.join = check.choice(where, "join", branches.join, {"concat", "add", "mul", "list"}, "concat")
  if branches.axis ~= nil and self.join ~= "concat" then
    core.error(("%s: axis goes with join = \"concat\", not %q"):format(where, self.join))
  end
  self.axis = branches.axis ~= nil and check.integer(where, "axis", branches.axis, -8) or 2
  self.description = self.join ~= "concat" and ("Parallel {join = %q}"):format(self.join)
    or self.axis ~= 2 and ("Parallel {axis = %d}"):format(self.axis) or nil
end

function Parallel:forward(x)
  local results = {}
  for i, branch in ipairs(self) do results[i] = pass(branch, x, i) end
  if self.join == "list" then return table.unpack(results) end
  if self.join == "concat" then return core.call("concat", results, {axis = self.axis}) end
  local y = results[1]
  for i = 2, #results do
    if check.show(results[i]) ~= check.show(y) then
      core.error(("nn.Parallel: branch %d makes %s, and branch 1 %s"):format(i,
        check.show(results[i]), check.show(y)))
    end
    y = core.call(self.join, y, results[i])
  end
  return y
end

return {Sequential = Sequential, Residual = Residual, Parallel = Parallel}
