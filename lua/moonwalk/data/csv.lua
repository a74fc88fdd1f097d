-- csv.lua: tables of text as data sets: which columns are features, which one is the label, and how
-- texts become numbers.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Dataset = require "moonwalk.data.dataset"

local csv = {}

---@class moonwalk.CsvOptions
---@field label string|integer|nil the column of y, by name or number; -1 is the last one
---@field columns (string|integer)[]? the columns of x; all but the label
---@field types table<string|integer, "number"|"class">? of columns; else found out
---@field header boolean? true: the first row has the columns' names
---@field separator string? ","
---@field missing "error"|"mean"|"drop"|number|nil "error"
---@field like moonwalk.Dataset? take the columns, classes and means of this set, to test it

local OPTIONS = {"label", "columns", "types", "header", "separator", "missing", "like"}
local MOST_TEXTS = 1000 -- in a feature that nobody has called a class
local WHERE = "data.csv"

-- Raised inside of csv.read, which returns it; anything else is a bug and goes on.
local function refuse(format, ...)
  error(setmetatable({message = format:format(...)}, csv))
end

local function position(names, wanted, option)
  if math.type(wanted) == "integer" then
    local i = wanted < 0 and #names + 1 + wanted or wanted
    if i >= 1 and i <= #names then return i end
    refuse("%s is column %d, there are %d", option, wanted, #names)
  end
  for i, name in ipairs(names) do
    if name == wanted then return i end
  end
  local near = type(wanted) == "string" and check.near(wanted, names)
  refuse("there is no column %s for %s%s", check.show(wanted), option,
    near and (", did you mean %q?"):format(near) or "; there are " .. table.concat(names, ", "))
end

-- The columns with their names, in the order of the file.
local function read_table(path, options)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local text, read_why = file:read "a"
  file:close()
  if not text then return nil, ("%s: %s"):format(path, read_why) end
  local header = check.boolean(WHERE, "header", options.header, true)
  local contents
  contents, why = core.csv(text, options.separator or ",", header)
  if not contents then return nil, ("%s: %s"):format(path, why) end
  if contents.rows == 0 then return nil, path .. ": it has a header and no rows" end
  local names, known = contents.names or {}, {}
  for i, column in ipairs(contents.columns) do
    names[i] = names[i] or ("column %d"):format(i)
    if known[names[i]] then
      return nil, ("%s: two columns are called %q"):format(path, names[i])
    end
    known[names[i]] = true
    column.name, column.rows = names[i], contents.rows
  end
  contents.names = names
  return contents
end

-- A column of numbers as codes of their texts.
local function as_codes(column)
  if column.codes then return end
  local codes, known, texts = {}, {}, {}
  for i, value in ipairs(column.values:totable()) do
    if value ~= value then
      codes[i] = -1
    else
      local text = ("%.15g"):format(value)
      if not known[text] then
        texts[#texts + 1] = text
        known[text] = #texts
      end
      codes[i] = known[text] - 1
    end
  end
  column.codes, column.texts, column.lines = core.tensor(codes, "i64"), texts, {}
end

local function refuse_text(column)
  for i, text in ipairs(column.texts) do
    if not tonumber(text) then
      refuse("line %d: %s is %q, expected a number", column.lines[i], column.name, text)
    end
  end
end

local function sorted(texts)
  local list = table.move(texts, 1, #texts, 1, {})
  local numbers = true
  for _, text in ipairs(list) do numbers = numbers and tonumber(text) ~= nil end
  table.sort(list, numbers and function(a, b) return tonumber(a) < tonumber(b) end or nil)
  return list
end

-- Gives a column the type that is asked for, or that its fields have.
local function settle(column, type)
  if type == "class" then
    as_codes(column)
  elseif type == "number" and column.codes then
    refuse_text(column)
  elseif type == nil and column.codes and #column.texts > MOST_TEXTS then
    refuse("line %d: %s has %d different texts; leave it out of columns, or say types = {[%q] = "
      .. "\"class\"}", column.first_text, column.name, #column.texts, column.name)
  end
  return column.codes and "class" or "number"
end

-- The codes' places in a list of classes, as a tensor of a row for each code.
local function places(column, classes)
  local place = {}
  for i, class in ipairs(classes) do place[class] = i - 1 end
  local list = {}
  for i, text in ipairs(column.texts) do
    if not place[text] then
      refuse("%s%s is %q, which the set that it shall be like has not: %s",
        column.lines[i] and ("line %d: "):format(column.lines[i]) or "", column.name, text,
        table.concat(classes, ", ", 1, math.min(#classes, 10)))
    end
    list[i] = place[text]
  end
  return #list > 0 and core.tensor(list, "i64") or core.from_bytes("", "i64", {0})
end

-- How a feature becomes numbers; from its own fields, or as it was done before.
local function plan_feature(column, type, missing, before)
  local plan = {name = column.name, type = settle(column, before and before.type or type)}
  if plan.type ~= (before or plan).type then
    refuse("line %d: %s is text, expected a number as in the set that it shall be like",
      column.first_text, column.name)
  end
  if plan.type == "class" then
    plan.classes = before and before.classes or sorted(column.texts)
    places(column, plan.classes)
    return plan
  end
  local count, mean = core.column_summary(column.values)
  if before then mean = before.mean
  elseif count == 0 and missing == "mean" then
    refuse("%s has no value at all", column.name)
  end
  plan.mean = mean
  return plan
end

local function check_missing(column, missing)
  if column.missing > 0 and missing == "error" then
    refuse("line %d: %s has no value; missing = \"drop\" leaves such rows out, \"mean\" or a "
      .. "number fills in", column.first_missing, column.name)
  end
end

-- x [n, columns] and the columns' names.
local function features(columns, plans, missing, rows)
  local parts, names = {}, {}
  for i, column in ipairs(columns) do
    local plan = plans[i]
    if plan.type == "class" then
      local code = {}
      for k, text in ipairs(column.texts) do code[text] = k - 1 end
      for _, class in ipairs(plan.classes) do -- one of n; none where it is missing
        parts[#parts + 1] = {column.codes, code[class] or -2}
        names[#names + 1] = plan.name .. "=" .. class
      end
    else
      parts[#parts + 1] = {column.values, type(missing) == "number" and missing or plan.mean}
      names[#names + 1] = plan.name
    end
  end
  return core.columns(parts, rows), names
end

-- y: classes i64, whole numbers from 0 as they are, or targets f32.
local function labels(column, type, before)
  if settle(column, before and before.type or type) == "class" then
    local classes = before and before.classes or sorted(column.texts)
    local place = places(column, classes)
    return {type = "class", classes = classes}, function(index)
      local codes = core.rows(column.codes, index, 1, index.shape[1])
      return core.rows(place, codes, 1, codes.shape[1])
    end
  end
  local _, _, least, _, whole = core.column_summary(column.values)
  local plan = {type = "number", dtype = before and before.dtype
    or (type == nil and whole and least >= 0) and "i64" or "f32"}
  if plan.dtype == "i64" and not whole then
    refuse("%s has numbers that are not whole, expected labels as in the set that it shall be like",
      column.name)
  end
  return plan, function(index)
    local values = core.rows(column.values, index, 1, index.shape[1])
    local y = core.tensor(values, plan.dtype)
    core.eval(y)
    return y
  end
end

-- The columns that are wanted, of this file or as the set that it shall be like has them.
local function choose(contents, options)
  local names, like = contents.names, options.like and options.like.encoding
  local label, chosen, types = nil, {}, {}
  if like then
    for i, plan in ipairs(like.features) do
      chosen[i] = contents.columns[position(names, plan.name, "a feature")]
    end
    for _, name in ipairs(names) do
      if like.label and name == like.label.name then label = position(names, name, "label") end
    end
    return chosen, label and contents.columns[label], types
  end
  for key, type in pairs(options.types or {}) do
    types[contents.columns[position(names, key, "types")]] = check.choice(WHERE,
      ("types[%s]"):format(check.show(key)), type, {"number", "class"})
  end
  label = options.label ~= nil and position(names, options.label, "label") or nil
  if options.columns then
    for i, key in ipairs(options.columns) do
      chosen[i] = contents.columns[position(names, key, "columns")]
    end
  else
    for i, column in ipairs(contents.columns) do
      if i ~= label then chosen[#chosen + 1] = column end
    end
  end
  if #chosen == 0 then refuse("there is no column for x") end
  return chosen, label and contents.columns[label], types
end

local function build(path, contents, options)
  local missing = options.missing or "error"
  local chosen, label, types = choose(contents, options)
  local like = options.like and options.like.encoding
  local plans, tensors = {}, {}
  for i, column in ipairs(chosen) do
    check_missing(column, missing)
    plans[i] = plan_feature(column, types[column], missing, like and like.features[i])
    tensors[i] = column.codes or column.values
  end
  local plan, make_y
  if label then
    if label.missing > 0 and missing ~= "drop" then
      refuse("line %d: the label %s has no value; missing = \"drop\" leaves such rows out",
        label.first_missing, label.name)
    end
    plan, make_y = labels(label, types[label], like and like.label)
    plan.name = label.name
    tensors[#tensors + 1] = label.codes or label.values
  end
  local kept = core.complete(missing == "drop" and tensors or {}, contents.rows)
  if kept.shape[1] == 0 then refuse("every row misses a value") end
  local x, names = features(chosen, plans, missing, contents.rows)
  if kept.shape[1] < contents.rows then x = core.rows(x, kept, 1, kept.shape[1]) end
  return Dataset.new(x, make_y and make_y(kept), path:match "[^/]*$", {
    columns = names, classes = plan and plan.classes,
    encoding = {features = plans, label = plan or like and like.label},
  })
end

---Reads a file of separated values as a data set: x f32 [n, columns], in which a column of texts
---becomes one of 0 and 1 for each of its classes; y i64 where labels are classes or whole numbers,
---else f32. Options that are wrong raise; nil and a message, with the line, when the file cannot be
---read as they say.
---@param path string
---@param options moonwalk.CsvOptions?
---@return moonwalk.Dataset?
---@return string? message
function csv.read(path, options)
  check.path(WHERE, "the path", path)
  options = check.options(WHERE, options, OPTIONS)
  local separator = check.text(WHERE, "separator", options.separator, ",")
  if #separator ~= 1 or separator:find '[\n\r"]' then
    check.fail(WHERE, "separator", separator, "one character, such as \";\" or \"\\t\"")
  end
  local missing = options.missing
  if type(missing) ~= "number" then
    check.choice(WHERE, "missing", missing, {"error", "mean", "drop"}, "error")
  end
  for _, name in ipairs {"columns", "types"} do
    if options[name] ~= nil and type(options[name]) ~= "table" then
      check.fail(WHERE, name, options[name], "a table")
    end
  end
  if options.like and not (Dataset.is(options.like) and options.like.encoding) then
    check.fail(WHERE, "like", options.like, "a data set that data.csv has read")
  end
  local contents, why = read_table(path, options)
  if not contents then return nil, why end
  local done, result = pcall(build, path, contents, options)
  if done then return result end
  if getmetatable(result) == csv then return nil, ("%s: %s"):format(path, result.message) end
  error(result, 0)
end

return csv
