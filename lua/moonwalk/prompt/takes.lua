-- takes.lua: the options that what is called takes in its table, for completion: an op's
-- attributes, or what a layer, an optimizer or a function of Moonwalk checks.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local members = require "moonwalk.prompt.members"

local takes = {}

---@class moonwalk.Callee  what is called
---@field value any?
---@field is_tensor boolean?  a tensor that is not there yet
---@field class table?        a module of that class that is not there yet
---@field base moonwalk.Callee?  of which it is a field or method
---@field name string?           and its name there

local UNKNOWN = {["\0"] = true} -- no function has such an option

-- What the functions that show things may be given before their options.
local SHOWN = {
  show = function(t) return t end, hist = function(t) return t end,
  plot = function() return {1, 2} end, draw = function(t) return t end,
  why = function(t) return t:sum(), t end,
}

-- Functions of mw that are given a network, data, or something to show, and options.
local function ask_mw(mw, name)
  if SHOWN[name] then
    local first, second = SHOWN[name](core.param(core.zeros {1}))
    if second ~= nil then return check.options_of(mw[name], first, second, {}) end
    return check.options_of(mw[name], first, {})
  end
  if name == "fit" or name == "trainer" then
    local net, set = mw.nn.Flatten {}, setmetatable({batches = true}, {})
    return check.options_of(require("moonwalk.trainer.options").read, name, net, set, {})
  elseif name == "gradcheck" then
    return check.options_of(mw.gradcheck, print, {}, {})
  elseif name == "tune" then
    return check.options_of(mw.tune, UNKNOWN)
  end
end

-- Functions of data: given options, or the path of a file, which is not there, and options.
local function ask_data(fn)
  return check.options_of(fn, UNKNOWN) or check.options_of(fn, "/dev/null/none", UNKNOWN)
end

local function ask_optim(fn)
  return check.options_of(fn, {core.param(core.zeros {1})}, {})
    or check.options_of(fn, UNKNOWN) or check.options_of(fn, 1, UNKNOWN)
end

-- The name of a value in a table of Moonwalk's, or nil.
local function name_in(part, value)
  for name, held in next, part do
    if rawequal(held, value) then return name end
  end
end

local METHODS = {"batches", "split"} -- of data sets, that take options

local function ask(value)
  local mw = require "moonwalk"
  if members.is_class(value) then
    local init = members.get(value, "init")
    return members.is_own(init) and check.options_of(init, {}, UNKNOWN)
  elseif name_in(mw, value) then return ask_mw(mw, name_in(mw, value))
  elseif name_in(mw.data, value) then return ask_data(value)
  elseif name_in(mw.optim, value) or name_in(mw.optim.schedule, value) then
    return ask_optim(value)
  end
  local Dataset = require "moonwalk.data.dataset"
  for _, name in ipairs(METHODS) do
    if rawequal(Dataset[name], value) then return check.options_of(value, {}, UNKNOWN) end
  end
  for _, name in ipairs {"summary", "infer"} do
    if rawequal(mw.nn.Module[name], value) then
      return check.options_of(value, mw.nn.Flatten {}, {1}, UNKNOWN)
    end
  end
end

---The op that a callee is: mw.conv2d, x:conv2d, or a variable that holds one.
---@param callee moonwalk.Callee
---@return table? schema as core.op_info gives it
function takes.op(callee)
  local base = callee.base
  if base and (base.is_tensor or core.is_tensor(base.value)) then
    return core.op_info(callee.name)
  end
  local name = callee.value and name_in(require "moonwalk", callee.value)
  return name and core.op_info(name)
end

---What a callee takes by name: its names, and for those that are one of some words these.
---@param callee moonwalk.Callee
---@return string[] names
---@return table<string, string[]> choices
function takes.options(callee)
  local names, choices, op = {}, {}, takes.op(callee)
  if op then
    for i, attr in ipairs(op.attrs) do names[i], choices[attr.name] = attr.name, attr.choices end
  elseif callee.value ~= nil then
    local there, known = pcall(ask, callee.value)
    names = there and known or names
  end
  return names, choices
end

return takes
