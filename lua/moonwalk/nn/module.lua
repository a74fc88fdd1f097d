-- module.lua: Module, of which all layers and networks are made.
--
-- A module has parameters (mw.param), other modules, and tables of them, as fields, and a method
-- forward. One's own are made like the shipped ones:
--
--   local Residual = nn.Module:extend "Residual"
--   function Residual:init(channels)
--     self.conv = nn.Conv2d {channels, channels, kernel = 3, padding = 1}
--   end
--   function Residual:forward(x) return x + self.conv(x):relu() end
--
--   local block = Residual(16)
--   for name, p in block:named_parameters() do print(name, p) end   --> conv.weight, conv.bias

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local updates = require "moonwalk.updates"

---@class moonwalk.Module
---@field class string the name of its class
---@field training boolean whether it is in training mode: see train() and eval()
---@operator call: any
local Module = {class = "Module", training = true}

-- What a module keeps to itself: the order in which its fields were set, and the shape of its
-- last output.
local private = setmetatable({}, {__mode = "k"})

-- Where each module was made, "Dense at net.lua:9", as core.layer takes it: what its methods init
-- and forward build has that origin.
local origins = setmetatable({}, {__mode = "k"})
local places = setmetatable({}, {__mode = "k"}) -- the same as texts

local init = core.layer(function(module, ...) module:init(...) end, origins)

-- A class has no origin: its call is a layer's only so that it keeps the frame of who calls it.
local construct = core.layer(function(class, ...)
  local module = setmetatable({}, class)
  private[module] = {order = {}, absent = {}}
  places[module], origins[module] = core.origin(class.class)
  init(module, ...)
  for name, parameter in module:named_parameters() do core.set_name(parameter, name) end
  for name, buffer in module:named_buffers() do core.set_name(buffer, name) end
  return module
end, origins)

-- Remembers fields in the order in which they are first set, which is the order of parameters.
-- All of them: what is a number now may become a parameter, and is not seen here then.
local function set_field(module, key, value)
  rawset(module, key, value)
  local own = private[module]
  own.order[#own.order + 1] = key
  own.absent[key] = nil
end

-- A field that a module lacks is nil, as in any table, so that layers can ask for optional parts;
-- but one that is nearly the name of a field or method that it has is an error.
local function missing_field(module, class, key)
  local own = private[module]
  if type(key) ~= "string" or not own or own.absent[key] then return nil end
  local names = {}
  for _, known in ipairs(own.order) do
    if type(known) == "string" and rawget(module, known) ~= nil then names[#names + 1] = known end
  end
  while class do
    for known in pairs(class) do names[#names + 1] = known end
    local meta = getmetatable(class)
    class = meta and meta.__index
  end
  check.misspelt(module.class, key, names)
  own.absent[key] = true
  return nil
end

-- Notes the shape of the first result, and passes all on.
local function noted(module, y, ...)
  private[module].output = core.is_tensor(y) and y.shape or nil
  return y, ...
end

local call = core.layer(function(module, ...)
  return noted(module, module:forward(...))
end, origins)

local function make_class(class, parent)
  class.__index = function(module, key)
    local value = class[key]
    if value == nil then return missing_field(module, class, key) end
    return value
  end
  class.__newindex = set_field
  class.__call = call
  class.__tostring = function(module) return module:summary() end
  class.__name = class.class
  return setmetatable(class, {__index = parent, __call = construct})
end
make_class(Module)

---A class of modules that inherits from this one.
---@param name string
---@return table class call it to make a module; the arguments go to its method init
function Module:extend(name)
  check.text("Module:extend", "name", name)
  return make_class({class = name}, self)
end

---Where it was made: "Dense at net.lua:9".
---@return string
function Module:origin()
  return places[self]
end

---Whether a value is a module (an object, not a class).
---@param value any
---@return boolean
function Module.is(value)
  return private[value] ~= nil
end

---Sets a new module up; classes give their own.
function Module:init() end -- luacheck: no unused args

---What the module computes; classes give their own.
function Module:forward()
  core.error(("%s has no method forward"):format(self.class))
end

---One line that says how the module was made.
---@return string
function Module:describe()
  return rawget(self, "description") or self.class
end

local function is_part(value)
  return core.is_tensor(value) or Module.is(value)
end

-- Calls visit(name, value) for what stands in a table: first its list, then what has a name, in
-- the names' order.
local function each_entry(prefix, entries, visit)
  for i, value in ipairs(entries) do
    if is_part(value) then visit(prefix .. i, value) end
  end
  local names = {}
  for name, value in pairs(entries) do
    if type(name) == "string" and is_part(value) then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do visit(prefix .. name, entries[name]) end
end

-- Calls visit(name, value) for each parameter and module that the module itself holds, in the
-- order in which they became fields.
local function each_member(module, visit)
  local visited = {}
  for _, key in ipairs(private[module].order) do
    local value = rawget(module, key)
    if visited[key] then -- luacheck: ignore
    elseif is_part(value) then
      visit(tostring(key), value)
    elseif type(value) == "table" and not getmetatable(value) then
      each_entry(key .. ".", value, visit)
    end
    visited[key] = true
  end
end

-- Fills a list with {name, tensor} of the parameters, or of the buffers; one that is used twice
-- stands in it once.
local function collect(module, buffers, prefix, list, seen)
  each_member(module, function(name, value)
    if seen[value] then return end
    seen[value] = true
    if Module.is(value) then
      collect(value, buffers, prefix .. name .. ".", list, seen)
    elseif core.is_param(value) and updates.is_buffer(value) == buffers then
      list[#list + 1] = {prefix .. name, value}
    end
  end)
  return list
end

local function each_named(module, buffers)
  local list, i = collect(module, buffers, "", {}, {}), 0
  return function()
    i = i + 1
    if list[i] then return list[i][1], list[i][2] end
  end
end

---The modules that this one holds itself, in order.
---@return {[1]: string, [2]: moonwalk.Module}[] pairs of name and module
function Module:children()
  local list = {}
  each_member(self, function(name, value)
    if Module.is(value) then list[#list + 1] = {name, value} end
  end)
  return list
end

---Goes over all parameters, its own and those of the modules in it: for name, parameter in ...
---The order is the one in which they were made fields, and so always the same.
---@return fun(): string?, moonwalk.Tensor?
function Module:named_parameters()
  return each_named(self, false)
end

---The same for buffers: what is saved but not trained, such as running statistics.
---@return fun(): string?, moonwalk.Tensor?
function Module:named_buffers()
  return each_named(self, true)
end

---All parameters as a list, in the order of named_parameters.
---@return moonwalk.Tensor[]
function Module:parameters()
  local list = {}
  for _, parameter in self:named_parameters() do list[#list + 1] = parameter end
  return list
end

---All buffers as a list, in the order of named_buffers.
---@return moonwalk.Tensor[]
function Module:buffers()
  local list = {}
  for _, buffer in self:named_buffers() do list[#list + 1] = buffer end
  return list
end

---The parameters and buffers by name, as mw.save takes them.
---@return table<string, moonwalk.Tensor>
function Module:state()
  updates.flush()
  local state = {}
  for name, parameter in self:named_parameters() do state[name] = parameter end
  for name, buffer in self:named_buffers() do state[name] = buffer end
  return state
end

---Gives the parameters and buffers the values of a table as state() and mw.load give it. Names,
---shapes and dtypes must be the module's; nothing changes when one is not.
---@param state table<string, moonwalk.Tensor>
---@param message string? of a mw.load that failed: net:load(mw.load(path)) raises it
---@return moonwalk.Module self
function Module:load(state, message)
  if state == nil and message then core.error(message) end
  if type(state) ~= "table" then check.fail("load", "the state", state, "a table of tensors") end
  local targets, values, known = {}, {}, {}
  local function add(name, target)
    local value = state[name]
    local here, given = check.show(target), check.show(value)
    if here ~= given then
      core.error(("load: %q is %s, expected %s"):format(name, given, here))
    end
    known[name] = true
    targets[#targets + 1], values[#values + 1] = target, value
  end
  for name, parameter in self:named_parameters() do add(name, parameter) end
  for name, buffer in self:named_buffers() do add(name, buffer) end
  for name in pairs(state) do
    if not known[name] then
      core.error(("load: %q is not a parameter of this %s"):format(tostring(name), self.class))
    end
  end
  updates.flush() -- what waits is computed from the parameters as they are
  if #targets > 0 then core.run({}, targets, values) end
  return self
end
Module.load = core.entry(Module.load)

local function set_training(module, training)
  rawset(module, "training", training)
  for _, child in ipairs(module:children()) do set_training(child[2], training) end
  return module
end

---Puts the module and all in it in training mode, where they are from the start.
---@return moonwalk.Module self
function Module:train()
  return set_training(self, true)
end

---Puts the module and all in it in evaluation mode. Running statistics are brought up to date.
---@return moonwalk.Module self
function Module:eval()
  updates.flush()
  return set_training(self, false)
end

---The shape of its last output; nil before the first call.
---@return integer[]?
function Module:output_shape()
  return private[self].output
end

return Module
