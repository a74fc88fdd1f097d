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
local draws = require "moonwalk.draws"
local frozen = require "moonwalk.frozen"
local initialisers = require "moonwalk.nn.init"
local updates = require "moonwalk.updates"

---@class moonwalk.Module
---@field class string the name of its class
---@field training boolean whether it is in training mode: see train() and eval()
---@operator call: any
local Module = {class = "Module", training = true}

-- What a module has, but for what is in its class: its fields, in a table that is looked up at each
-- access; and with that what is asked for less often: `fields` again, their `order`, in which
-- they were first set; `labels`, further keys of items of its list; the shape of its last output;
-- whether its sizes are still `open`, and then what its `path` is in the network that it is part
-- of; by number what C keeps. The module itself stays empty, so that each field that is set goes
-- through set_field.
local fields_of = setmetatable({}, {__mode = "k"})
local private = setmetatable({}, {__mode = "k"})

-- Where each module was made, "Dense at net.lua:9", as core.layer takes it: what its methods init
-- and forward build has that origin.
local origins = setmetatable({}, {__mode = "k"})
local places = setmetatable({}, {__mode = "k"}) -- the same as texts

local function set_origin(module, place, origin)
  places[module], origins[module], private[module][2] = place, origin, origin
end

local init = core.layer(function(module, ...) module:init(...) end, origins)

local function new(class)
  local module = setmetatable({}, class)
  local fields = {}
  fields_of[module] = fields
  private[module] = {fields = fields, order = {}, labels = {}, absent = {}, path = ""}
  return module
end

local name_all

-- A class has no origin: its call is a layer's only so that it keeps the frame of who calls it.
local construct = core.layer(function(class, ...)
  local module = new(class)
  set_origin(module, core.origin(class.class))
  init(module, ...)
  name_all(module, "", {})
  return module
end, origins)

-- A parameter that another tensor takes the place of is one no more: nothing would train it.
local function check_parameter(module, key, held, value)
  if not core.is_tensor(held) or not core.is_param(held) or not value then return end
  if core.is_tensor(value) and core.is_param(value) then return end
  core.error(("%s: %s is a %s; %s is none. mw.param(t) makes a new one of a tensor; "
    .. "mw.update({p}, {t}) gives the one that is there new values"):format(module.class,
    tostring(key), updates.is_buffer(held) and "buffer" or "parameter", check.show(value)))
end

-- Remembers fields in the order in which they are first set, which is the order of parameters.
-- All of them: what is a number now may become a parameter.
local function set_field(module, key, value)
  local own = private[module]
  key = own.labels[key] or key
  check_parameter(module, key, own.fields[key], value)
  if own.fields[key] == nil then own.order[#own.order + 1] = key end
  own.fields[key] = value
  own.absent[key] = nil
  core.changed(own)
end

-- A field that a module lacks is nil, as in any table, so that layers can ask for optional parts;
-- but one that is nearly the name of a field or method that it has is an error.
local function missing_field(module, class, key)
  local own = private[module]
  if own.labels[key] then return own.fields[own.labels[key]] end
  if type(key) ~= "string" or own.absent[key] then return nil end
  local names = {}
  for known in pairs(own.fields) do
    if type(known) == "string" then names[#names + 1] = known end
  end
  for known in pairs(own.labels) do names[#names + 1] = known end
  while class do
    for known in pairs(class) do names[#names + 1] = known end
    local meta = getmetatable(class)
    class = meta and meta.__index
  end
  check.misspelt(module.class, key, names)
  own.absent[key] = true
  return nil
end

-- Gives a module whose sizes are open its parameters, by its first input.
local function close(module, own, ...)
  local function build(...)
    own.open = false
    module:build(...)
    name_all(module, own.path, {})
  end
  local succeeded, message = pcall(draws.for_good, build, ...)
  if succeeded then return end
  own.open = true
  core.changed(own)
  error(message, 0)
end

-- What forward does; who looks at calls may ask for the shape of its output at once.
local function forward(module, ...)
  local results = table.pack(module:forward(...))
  core.note_output(private[module], results[1])
  return table.unpack(results, 1, results.n)
end

-- Its field `call` is what a call of a module calls in place of its forward, while somebody looks.
local observer = {}
local call = core.module_call(private, close, observer)

---Calls fn(...) while each call of a module goes through see(module, forward, ...), which returns
---what forward(module, ...) does.
---@param see function
---@param fn function
---@param ... any
---@return any ... what fn returns
function Module.observe(see, fn, ...)
  local outer = observer.call
  observer.call = function(module, ...) return see(module, forward, ...) end
  local results = table.pack(pcall(fn, ...))
  observer.call = outer
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- How many items the module's list has.
local function length(module)
  local fields, n = private[module].fields, 0
  while fields[n + 1] ~= nil do n = n + 1 end
  return n
end

-- pairs(module): its fields, in order.
local function each_field(module)
  local own, i, seen = private[module], 0, {}
  return function()
    local key
    repeat
      i = i + 1
      key = own.order[i]
    until key == nil or own.fields[key] ~= nil and not seen[key]
    if key == nil then return nil end
    seen[key] = true
    return key, own.fields[key]
  end
end

local function make_class(class, parent)
  class.__index = function(module, key)
    local value = fields_of[module][key]
    if value ~= nil then return value end
    value = class[key]
    if value == nil then return missing_field(module, class, key) end
    return value
  end
  class.__newindex = set_field
  class.__len = length
  class.__pairs = each_field
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

---The table of a module's fields, to be read: it is gone through faster than the module is.
---@param module moonwalk.Module
---@return table
function Module.fields(module)
  return fields_of[module]
end

---A method forward(x) that applies the prepared op self.applied (see core.prepare) to x and to the
---fields of these names.
---@param ... string
---@return fun(self: moonwalk.Module, x: moonwalk.Tensor): moonwalk.Tensor
function Module.applying(...)
  return core.forward(fields_of, ...)
end

---A method forward(x) that passes x through the items of the module's list, one after the other.
---@param rename fun(message: any, layer: moonwalk.Module, i: integer): any of an item's error
---@return fun(self: moonwalk.Module, x: any): any
function Module.passing(rename)
  return core.sequence(private, rename, observer)
end

---Sets a new module up; classes give their own.
function Module:init() end -- luacheck: no unused args

---What the module computes; classes give their own.
function Module:forward()
  core.error(("%s has no method forward"):format(self.class))
end

---For a method `init` that knows no sizes yet: before the first call of the module, its method
---build(...) is called with the input, and makes the parameters that follow from it.
function Module:lazy()
  private[self].open = true
  core.changed(private[self])
end

---Whether it waits for its first input, which decides the sizes of its own parameters.
---@return boolean
function Module:is_lazy()
  return private[self].open == true
end

---Makes the parameters of a class that calls lazy(); the arguments are those of the first call.
function Module:build()
  core.error(("%s calls lazy(), but has no method build"):format(self.class))
end

---One line that says how the module was made.
---@return string
function Module:describe()
  return self.description or self.class
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
  local own = private[module]
  local names = {}
  for label, key in pairs(own.labels) do names[key] = label end
  for key, value in each_field(module) do
    local name = names[key] or tostring(key)
    if is_part(value) then
      visit(name, value)
    elseif type(value) == "table" and not getmetatable(value) then
      each_entry(name .. ".", value, visit)
    end
  end
end

-- Names the parameters and buffers by their place, and notes it in modules whose sizes are open.
function name_all(module, path, seen)
  private[module].path = path
  each_member(module, function(name, value)
    if seen[value] then return end
    seen[value] = true
    if Module.is(value) then
      name_all(value, path .. name .. ".", seen)
    elseif core.is_param(value) then
      core.set_name(value, path .. name)
    end
  end)
end

-- Fills a list with {name, tensor} of the parameters, or of the buffers; one that is used twice
-- stands in it once.
local function collect(module, buffers, prefix, list, seen)
  if private[module].open then
    core.error(("%s takes its sizes from its first input, and has had none: call the network, or "
      .. "net:infer {1, 28, 28} with the shape of a sample (%s)"):format(module:describe(),
      places[module]))
  end
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

---The parameters that this module holds itself, and not in a module of its own, in order.
---@return {[1]: string, [2]: moonwalk.Tensor}[] pairs of name and parameter
function Module:own_parameters()
  local list = {}
  each_member(self, function(name, value)
    if core.is_tensor(value) and core.is_param(value) and not updates.is_buffer(value) then
      list[#list + 1] = {name, value}
    end
  end)
  return list
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

---Gives an item of its list a name, by which it is a field, too, and by which its parameters are
---called.
---@param i integer
---@param name string
function Module:label(i, name)
  private[self].labels[name] = i
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

---Gives the weights new first values: net:initialise "xavier", or nn.init.normal(0, 0.02); or those
---parameters whose names match a pattern: net:initialise("zeros", "bias$").
---@param initialiser moonwalk.Initialiser|string
---@param pattern string?
---@return moonwalk.Module self
function Module:initialise(initialiser, pattern)
  return initialisers.all(self, initialiser, pattern)
end

---Leaves its parameters, or those whose names match a pattern, out of training: an optimizer passes
---over them, and no gradients of them are computed. They stay in parameters() and state(). What is
---not trained but follows the data, such as running statistics, goes on: eval() stops that.
---@param pattern string? "^1%." for those of the first layer
---@return moonwalk.Module self
function Module:freeze(pattern)
  return frozen.set("freeze", self, pattern, true)
end

---Has them trained again.
---@param pattern string?
---@return moonwalk.Module self
function Module:unfreeze(pattern)
  return frozen.set("unfreeze", self, pattern, false)
end

-- A copy of a field: parts and tables of them are copied, once each; other values do not change,
-- or are the user's own.
local function copy_of(value, copies)
  if type(value) ~= "table" and not core.is_tensor(value) then return value end
  if copies[value] then return copies[value] end
  local copy = value
  if core.is_tensor(value) then
    if core.is_param(value) then
      copy = updates.is_buffer(value) and updates.buffer(core.tensor(value))
        or core.param(core.tensor(value), core.name(value))
      frozen.like(copy, value)
      initialisers.like(copy, value)
    end
    copies[value] = copy
  elseif Module.is(value) then
    local own = private[value]
    copy = new(getmetatable(value))
    copies[value] = copy
    set_origin(copy, places[value], origins[value])
    private[copy].open, private[copy].path = own.open, own.path
    for label, key in pairs(own.labels) do private[copy].labels[label] = key end
    for key, field in each_field(value) do copy[key] = copy_of(field, copies) end
    rawset(copy, "training", value.training)
  elseif not getmetatable(value) then
    copy = {}
    copies[value] = copy
    for key, field in pairs(value) do copy[key] = copy_of(field, copies) end
  end
  return copy
end

---A network of its own with the same structure and values. What is shared within is shared within
---the copy, too; functions and objects in its fields are those of the original.
---@return moonwalk.Module
function Module:copy()
  updates.flush()
  return copy_of(self, {})
end

---The shape of its last output; nil before the first call.
---@return integer[]?
function Module:output_shape()
  return core.noted_output(private[self])
end

return Module
