-- series.lua: what plot() is given, as series of numbers.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local series = {}

---@class moonwalk.Series
---@field name string?
---@field xs number[]?  1, 2, 3, ... when there are none
---@field ys number[]

local MOST = 8 -- series in a plot

-- What an option of plot() is; a list or a tensor of that name is a series.
local OPTIONS = {title = "string", width = "number", height = "number", log = "boolean",
  xlabel = "string", ylabel = "string", range = "table", file = "string"}

series.options = {"title", "width", "height", "log", "xlabel", "ylabel", "range", "file"}

local function is_option(name, value)
  if OPTIONS[name] ~= type(value) then return false end
  return name ~= "range" or #value == 2
end

-- ---- numbers --------------------------------------------------------------------------------

-- The numbers of a tensor of rank 1.
local function of_tensor(t)
  local list = t.dtype == "f64" and t:totable() or t:cast "f64":totable()
  return list
end

-- The numbers of a list, of which some may be scalar tensors, such as losses.
local function of_list(where, name, list)
  local numbers = {}
  for i = 1, #list do
    local value = list[i]
    if core.is_tensor(value) and #value.shape == 0 then value = value:item() end
    if type(value) ~= "number" then
      check.fail(where, ("%s[%d]"):format(name, i), list[i], "a number")
    end
    numbers[i] = value + 0.0
  end
  return numbers
end

-- Numbers of a tensor of rank 1 or a list.
local function numbers_of(where, name, value)
  if core.is_tensor(value) then
    if #value.shape ~= 1 then
      check.fail(where, name, value, "a tensor of rank 1, or a list of numbers")
    end
    return of_tensor(value)
  elseif type(value) ~= "table" or getmetatable(value) ~= nil then
    check.fail(where, name, value, "a tensor, or a list of numbers")
  end
  return of_list(where, name, value)
end

-- ---- series ---------------------------------------------------------------------------------

-- Whether a list is what mw.fit returns: rows of epochs.
local function is_history(list)
  return type(list) == "table" and type(list[1]) == "table" and not core.is_tensor(list[1])
    and type(list[1].epoch) == "number"
end

-- The losses of a history, by their names.
local function of_history(rows)
  local epochs, by_name = {}, {}
  for i, row in ipairs(rows) do
    epochs[i] = row.epoch + 0.0
    for name, value in pairs(row) do
      if type(name) == "string" and name:find "loss$" and type(value) == "number" then
        by_name[name] = by_name[name] or {}
      end
    end
  end
  local list = {}
  for name, ys in pairs(by_name) do
    for i, row in ipairs(rows) do ys[i] = row[name] and row[name] + 0.0 or 0 / 0 end
    list[#list + 1] = {name = name, xs = epochs, ys = ys}
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function too_many(where, name, value, count)
  core.error(("%s: %s is %s: %d series, of which %d at most can be told apart; %s"):format(where,
    name, core.is_tensor(value) and check.show(value) or "a table", count, MOST,
    core.is_tensor(value) and "t[1] is the first row, and show(t) draws it as an image"
    or "plot some of them at a time"))
end

-- A series for each row of a tensor or of a list of lists.
local function of_rows(where, name, value)
  local count = #value
  if count > MOST then too_many(where, name, value, count) end
  local list = {}
  for i = 1, count do
    list[i] = {name = ("%d"):format(i),
      ys = numbers_of(where, ("%s[%d]"):format(name, i), value[i])}
  end
  return list
end

-- The series of one value that has no name.
local function of_value(where, name, value)
  if is_history(value) then return of_history(value), true end
  if core.is_tensor(value) and #value.shape == 2 then return of_rows(where, name, value) end
  if core.is_tensor(value) and #value.shape > 2 then
    check.fail(where, name, value, "a tensor of rank 1, or of rank 2 with a series in each row; "
      .. "show(t) draws images, hist(t) tells how any tensor's elements are spread")
  end
  local first = type(value) == "table" and not core.is_tensor(value) and value[1]
  if first and (type(first) == "table" or core.is_tensor(first) and #first.shape > 0) then
    return of_rows(where, name, value)
  end
  return {{ys = numbers_of(where, name, value)}}
end

-- The series of a table {loss = ys, valid = ys}, and what of it are options.
local function of_names(where, given)
  local list, options = {}, {}
  for name, value in pairs(given) do
    if is_option(name, value) then
      options[name] = value
    elseif type(value) == "table" or core.is_tensor(value) then
      list[#list + 1] = {name = tostring(name), ys = numbers_of(where, tostring(name), value)}
    else
      if check.near(tostring(name), series.options) then
        check.options(where, {[name] = value}, series.options)
      end
      check.fail(where, tostring(name), value, OPTIONS[name] and "a " .. OPTIONS[name]
        or "a tensor, or a list of numbers")
    end
  end
  if #list > MOST then too_many(where, "the table", given, #list) end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list, options
end

-- Whether a table has names for its series or options, and no list.
local function is_named(value)
  return type(value) == "table" and not core.is_tensor(value) and getmetatable(value) == nil
    and #value == 0 and next(value) ~= nil
end

local function has_series(value)
  for name, item in pairs(value) do
    if not OPTIONS[name] and (type(item) == "table" or core.is_tensor(item)) then
      return true
    end
  end
  return false
end

local function merged(options, more)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  for name, value in pairs(more) do all[name] = value end
  return all
end

---The series and the options of plot(ys), plot(xs, ys), plot {loss = ys, valid = ys}, each with
---options behind them.
---@param where string
---@param first any
---@param second any
---@param third any
---@return moonwalk.Series[] list
---@return table options  not checked
---@return boolean? is_history
function series.read(where, first, second, third)
  local xs, ys, options = nil, first, second
  if second ~= nil and (core.is_tensor(second) or type(second) ~= "table" or #second > 0
    or is_named(second) and has_series(second)) then
    xs, ys, options = first, second, third
  end
  options = options or {}
  if type(options) ~= "table" or core.is_tensor(options) then
    check.options(where, options, series.options)
  end
  if ys == nil then
    core.error(where .. ": expected numbers: plot(ys), plot(xs, ys) or "
      .. "plot {loss = ys, valid = ys}")
  end
  local list, own, is_rows
  if is_named(ys) then
    list, own = of_names(where, ys)
    options = merged(options, own)
  else
    list, is_rows = of_value(where, "ys", ys)
  end
  if xs ~= nil then
    local numbers = numbers_of(where, "xs", xs)
    for _, one in ipairs(list) do
      if #numbers ~= #one.ys then
        core.error(("%s: xs has %d numbers and %s has %d"):format(where, #numbers,
          one.name or "ys", #one.ys))
      end
      one.xs = numbers
    end
  end
  return list, options, is_rows
end

return series
