-- state.lua: an optimizer's state: all of it that changes, as tensors by name, and back.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local frozen = require "moonwalk.frozen"
local options = require "moonwalk.optim.options"
local slots = require "moonwalk.optim.slots"

local state = {}

-- Calls visit(name, holder, option) for the options that are numbers or booleans, by the name that
-- each has in the state: "option.lr", or of a group "option.2.lr" where it has one of its own.
local function each_option(opt, visit)
  for _, each in ipairs(opt.spec.options) do
    visit("option." .. each.name, opt, each)
    for k, group in ipairs(opt.groups) do
      visit(("option.%d.%s"):format(k, each.name), group, each)
    end
  end
  for _, each in ipairs(options.COMMON) do
    if each.name ~= "schedule" then visit("option." .. each.name, opt, each) end
  end
end

---What the optimizer keeps between steps, by name ("1.weight.momentum"), as mw.save takes it; its
---options, too, which may have changed, and what a schedule keeps.
---@param opt moonwalk.Optimizer
---@return table<string, moonwalk.Tensor>
function state.of(opt)
  local kept = {steps = core.tensor(opt.steps, "i64")}
  if opt.pending > 0 then kept.pending = core.tensor(opt.pending, "i64") end
  for i, own in pairs(opt.slots) do
    for name, value in pairs(own) do kept[slots.name(opt, i, name)] = value end
  end
  each_option(opt, function(name, holder, each)
    local value = rawget(holder, each.name)
    if type(value) == "boolean" then value = value and 1 or 0 end
    if value ~= nil then kept[name] = core.tensor(value, "f64") end
  end)
  if type(opt.schedule) == "table" and opt.schedule.state then
    for name, value in pairs(opt.schedule:state()) do
      kept["schedule." .. name] = core.tensor(value, "f64")
    end
  end
  return kept
end

-- A number of a state, checked; nil where it has none.
local function number_of(given, name)
  local value = given[name]
  if value == nil then return nil end
  if not core.is_tensor(value) or #value.shape > 0 then
    check.fail("load_state", ("%q"):format(name), value, "a scalar")
  end
  return value:item()
end

-- The names of the slots that a group's options want, and of others that a state may have besides:
-- those of a momentum that was on for a while.
local function names_of(opt, group)
  local how, most = opt.spec.structure(group), {}
  for key, value in pairs(how) do most[key] = type(value) == "boolean" or value end
  local wanted, possible = {table.unpack(opt.spec.slots(how))}, {slots.ADDED, slots.AVERAGE}
  if opt.average > 0 then wanted[#wanted + 1] = slots.AVERAGE end
  table.move(opt.spec.slots(most), 1, #opt.spec.slots(most), 3, possible)
  return wanted, possible
end

-- The names of the slots of parameter i that a state is read for, and whether it has any of them:
-- of a frozen parameter that has never been trained it has none.
local function names_in(opt, i, given, wanted, possible)
  local names, seen, has_any = {}, {}, false
  local function add(list, always)
    for _, name in ipairs(list) do
      local is_there = given[slots.name(opt, i, name)] ~= nil
      if not seen[name] and (always or is_there) then names[#names + 1] = name end
      seen[name] = true
      has_any = has_any or is_there
    end
  end
  add(wanted, true)
  add(possible, false)
  return names, has_any
end

-- The tensors of a state with what they are for; fills `known` with their names.
local function read_slots(opt, given, begun, known)
  local targets, values, wanted, possible = {}, {}, {}, {}
  for k, group in ipairs(opt.groups) do wanted[k], possible[k] = names_of(opt, group) end
  for i, p in ipairs(opt.parameters) do
    local k = opt.group_of[i]
    local names, has_any = names_in(opt, i, given, wanted[k], possible[k])
    for _, name in ipairs(names) do
      local target, key = slots.of(opt, i, names)[name], slots.name(opt, i, name)
      local value = given[key]
      if value == nil and (not begun or not has_any and frozen.is(p)) then
        value = name == slots.AVERAGE and core.tensor(p) or core.full(p.shape, 0, p.dtype)
      end
      if check.show(value) ~= check.show(target) then
        check.fail("load_state", ("%q"):format(key), value, check.show(target))
      end
      known[key] = true
      targets[#targets + 1], values[#values + 1] = target, value
    end
  end
  return targets, values
end

---Goes on from what state() gave, for the same parameters and kind of optimizer: with its options,
---its steps, and what it keeps. Nothing changes when the state does not fit.
---@param opt moonwalk.Optimizer
---@param given table<string, moonwalk.Tensor>
---@param message string? of a mw.load that failed: opt:load_state(mw.load(path)) raises it
---@return moonwalk.Optimizer opt
function state.load(opt, given, message)
  if given == nil and message then core.error(message) end
  if type(given) ~= "table" then
    check.fail("load_state", "the state", given, "a table of tensors")
  end
  local steps, pending = number_of(given, "steps"), number_of(given, "pending") or 0
  if steps == nil then check.fail("load_state", "\"steps\"", nil, "a scalar") end
  local known, before, schedule = {steps = true, pending = true}, {}, {}
  local function take_option(name, holder, each)
    known[name] = true
    local value = number_of(given, name)
    if value == nil then return end
    if type(each.default) == "boolean" then value = value ~= 0 end
    before[#before + 1] = {holder, each.name, rawget(holder, each.name)}
    rawset(holder, each.name, options.check("load_state", each, value))
  end
  local function read()
    each_option(opt, take_option)
    local targets, values = read_slots(opt, given, steps > 0 or pending > 0, known)
    for name in pairs(given) do
      local of_schedule = type(name) == "string" and name:match "^schedule%.(.+)"
      if of_schedule then
        schedule[of_schedule] = number_of(given, name)
      elseif not known[name] then
        core.error(("load_state: %q does not belong to this %s"):format(tostring(name),
          tostring(opt)))
      end
    end
    if next(schedule) and not (type(opt.schedule) == "table" and opt.schedule.load_state) then
      core.error("load_state: the state has that of a schedule, and this optimizer has none that "
        .. "keeps one")
    end
    return targets, values
  end
  local succeeded, targets, values = pcall(read)
  if not succeeded then
    for _, was in ipairs(before) do rawset(was[1], was[2], was[3]) end
    error(targets, 0)
  end
  if #targets > 0 then core.run({}, targets, values) end
  if next(schedule) then opt.schedule:load_state(schedule) end
  opt.steps, opt.pending = math.tointeger(steps), math.tointeger(pending)
  return opt
end

return state
