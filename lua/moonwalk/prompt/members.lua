-- members.lua: what is in a value, for completion: fields and methods by name, found without
-- running any code of the user's. A metatable of Moonwalk's own may have __names, a function that
-- gives the names of the fields or, for true, of the methods.

local core = require "moonwalk.core"
local Module = require "moonwalk.nn.module"

local members = {}

local TENSOR_FIELDS = {"dtype", "origin", "rank", "shape"}

---Whether a function is Moonwalk's own.
---@param fn any
---@return boolean
function members.is_own(fn)
  return type(fn) == "function" and debug.getinfo(fn, "S").source:find "^=moonwalk/" ~= nil
end

---Whether a value is a class of modules.
---@param value any
---@return boolean
function members.is_class(value)
  local depth = 0
  while type(value) == "table" and value ~= Module and depth < 32 do
    local meta = debug.getmetatable(value)
    value, depth = type(meta) == "table" and rawget(meta, "__index"), depth + 1
  end
  return value == Module
end

---The value of a field, or nil.
---@param value any
---@param key any
---@return any
function members.get(value, key)
  for _ = 1, 32 do
    if type(value) == "table" then
      local held = rawget(value, key)
      if held ~= nil then return held end
    elseif core.is_tensor(value) then
      local there, held = pcall(function() return value[key] end)
      return there and held or nil
    end
    local meta = debug.getmetatable(value)
    local index = type(meta) == "table" and rawget(meta, "__index")
    if members.is_own(index) then
      local there, held = pcall(index, value, key)
      return there and held or nil
    end
    if type(index) ~= "table" then return nil end
    value = index
  end
end

local function add(names, name)
  if type(name) == "string" and name:find "^%a[%w_]*$" then names[name] = true end
end

local function add_tensor(names, methods)
  for _, name in ipairs(TENSOR_FIELDS) do names[name] = not methods or nil end
  if not methods then return end
  for name in pairs(core.methods) do add(names, name) end
  for name, op in pairs(core.ops()) do
    if op.inputs[1] and not op.inputs[1].key then add(names, name) end
  end
end

-- Adds the fields of a module that a user knows of: of a shipped layer its parts.
local function add_module(names, module)
  for _, list in ipairs {module:own_parameters(), module:children()} do
    for _, each in ipairs(list) do add(names, each[1]:match "^[^.]*") end
  end
  local own = members.is_own(members.get(getmetatable(module), "init"))
  for key, value in pairs(Module.fields(module)) do
    local is_buffer = core.is_tensor(value) and core.is_param(value)
    if not own or is_buffer then add(names, key) end
  end
  names.training = true
end

-- Functions of Moonwalk's classes that are no methods, or not for users of their objects.
local HIDDEN = {}
for name in ("init build extend make lazy label is new read fields applying passing observe")
  :gmatch "%a+" do
  HIDDEN[name] = true
end

local function add_fields(names, value, methods)
  for key, held in next, value do
    local hidden = methods and (type(held) ~= "function" or HIDDEN[key] and members.is_own(held))
    if not hidden then add(names, key) end
  end
end

local function add_table(names, value, methods)
  for _ = 1, 32 do
    local meta = debug.getmetatable(value)
    meta = type(meta) == "table" and meta or {}
    local all, index = rawget(meta, "__names"), rawget(meta, "__index")
    if members.is_own(all) then
      for _, name in ipairs(all(methods)) do add(names, name) end
      return
    end
    if type(value) == "table" then add_fields(names, value, methods) end
    if members.is_own(index) and methods then add_fields(names, meta, true) end
    if type(index) ~= "table" then return end
    value = index
  end
end

---The names that may stand behind a value's dot, or its colon, as a set.
---@param value any
---@param methods boolean  behind a colon
---@return table<string, true>
function members.names(value, methods)
  local names = {}
  if core.is_tensor(value) then
    add_tensor(names, methods)
  elseif Module.is(value) then
    if methods then members.add_methods(names, getmetatable(value))
    else add_module(names, value) end
  elseif value ~= nil then
    add_table(names, value, methods)
  end
  return names
end

---The names of a tensor that is not there yet.
---@param methods boolean
---@return table<string, true>
function members.tensor_names(methods)
  local names = {}
  add_tensor(names, methods)
  return names
end

---Adds the methods of modules of a class.
---@param names table<string, true>
---@param class table
function members.add_methods(names, class)
  add_table(names, class, true)
  names.init, names.build = nil, nil
end

return members
