-- check.lua: checks of what a user hands to a module's functions.
--
-- Each function takes `where`, the function that the user called ("nn.Conv2d"), and raises at the
-- user's line what came and what was expected.

local core = require "moonwalk.core"

local check = {}

---The word of a list that is nearest to a misspelt one, or nil when none is near.
---@param word string
---@param words string[]
---@return string?
function check.near(word, words)
  return core.nearest(word:match "^%Z*", words) -- C would take a NUL to end it
end

-- Whether two names may well stand side by side: conv1 and conv2, weight_v and weight_g.
local function are_siblings(a, b)
  return a:gsub("%d", "") == b:gsub("%d", "") or #a == #b and a:sub(1, -2) == b:sub(1, -2)
end

---For a field that is not there. It is nil as in any table, so that one can ask for it; but when it
---is nearly one of the names that there are, this raises.
---@param where string
---@param key any
---@param names string[]
function check.misspelt(where, key, names)
  if type(key) ~= "string" or #key < 3 or key:find "^__" then return end -- q is not kv
  table.sort(names)
  local near = check.near(key, names)
  if near and not are_siblings(near, key) then
    core.error(("%s has no field or method %q; did you mean %q?"):format(where, key, near))
  end
end

-- What some options are called elsewhere.
local ELSEWHERE = {
  learning_rate = "lr", batch_size = "batch", batchsize = "batch", num_epochs = "epochs",
  optim = "optimizer", criterion = "loss", pad = "padding", ksize = "kernel",
  decay = "weight_decay",
}

---The option that is meant by a name which is none, or nil.
---@param name string
---@param known string[]
---@return string?
function check.option_near(name, known)
  local whole = {}
  for _, option in ipairs(known) do whole[option] = true end
  if whole[ELSEWHERE[name]] then return ELSEWHERE[name] end
  local near = check.near(name, known)
  for part in name:gmatch "%a+" do
    if not near and whole[part] then near = part end -- kernel_size
  end
  return near
end

---A value as an error message shows it.
---@param value any
---@return string
function check.show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if value == nil or type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  end
  if core.is_tensor(value) then
    return ("a tensor %s[%s]"):format(value.dtype, table.concat(value.shape, ","))
  end
  return "a " .. type(value)
end

---Raises "WHERE: NAME is VALUE, expected EXPECTED".
---@param where string
---@param name string
---@param value any
---@param expected string
function check.fail(where, name, value, expected)
  core.error(("%s: %s is %s, expected %s"):format(where, name, check.show(value), expected))
end

local asked -- what check.options leaves by while somebody asks what it knows

---The options that a function checks before all else but its other arguments; nil when it checks
---none. Nothing else is done.
---@param fn function
---@param ... any  arguments, among them a table for the options
---@return string[]? known
function check.options_of(fn, ...)
  asked = {}
  local mark = asked
  pcall(fn, ...)
  asked = nil
  return mark.known
end

---An options table, or an empty one for nil, whose named fields are all known.
---@param where string
---@param options table?
---@param known string[]
---@param positional boolean? whether there may be values without a name, which the caller checks
---@return table
function check.options(where, options, known, positional)
  if asked then
    asked.known = asked.known or known
    error(asked, 0)
  end
  if options == nil then return {} end
  if type(options) ~= "table" or core.is_tensor(options) then
    check.fail(where, "the table of options", options, "a table such as {" .. known[1] .. " = ...}")
  end
  local is_known = {}
  for _, name in ipairs(known) do is_known[name] = true end
  for name, value in pairs(options) do
    if type(name) ~= "string" and not positional then
      core.error(("%s: [%s] is %s; options are given by name: %s"):format(where, check.show(name),
        check.show(value), #known > 0 and table.concat(known, ", ") or "there are none"))
    elseif type(name) == "string" and not is_known[name] then
      local near = check.option_near(name, known)
      core.error(("%s: there is no option %q%s %s"):format(where, name,
        near and (", did you mean %q? It takes"):format(near) or "; it takes",
        #known > 0 and table.concat(known, ", ") or "none"))
    end
  end
  return options
end

---A number between two bounds; `fallback` for nil, which is required when there is none.
---@param where string
---@param name string
---@param value any
---@param low number
---@param high number
---@param fallback number?
---@return number
function check.number(where, name, value, low, high, fallback)
  if value == nil and fallback then return fallback end
  if type(value) ~= "number" or not (value >= low and value <= high) then
    local range = high < math.huge and ("from %g to %g"):format(low, high)
      or low > -math.huge and ("of at least %g"):format(low)
    check.fail(where, name, value, "a number" .. (range and " " .. range or ""))
  end
  return value
end

---A whole number of at least `low`; `fallback` for nil.
---@param where string
---@param name string
---@param value any
---@param low integer
---@param fallback integer?
---@return integer
function check.integer(where, name, value, low, fallback)
  if value == nil and fallback then return fallback end
  local number = type(value) == "number" and math.tointeger(value)
  if not number or number < low then
    check.fail(where, name, value, ("a whole number of at least %d"):format(low))
  end
  return number
end

---True or false; `fallback` for nil.
---@param where string
---@param name string
---@param value any
---@param fallback boolean
---@return boolean
function check.boolean(where, name, value, fallback)
  if value == nil then return fallback end
  if type(value) ~= "boolean" then check.fail(where, name, value, "true or false") end
  return value
end

---One of some words; `fallback` for nil.
---@param where string
---@param name string
---@param value any
---@param words string[]
---@param fallback string?
---@return string
function check.choice(where, name, value, words, fallback)
  if value == nil and fallback then return fallback end
  for _, word in ipairs(words) do
    if value == word then return word end
  end
  local near = type(value) == "string" and check.near(value, words)
  check.fail(where, name, value, table.concat(words, " or ")
    .. (near and ("; did you mean %q?"):format(near) or ""))
  return words[1]
end

---A text; `fallback` for nil.
---@param where string
---@param name string
---@param value any
---@param fallback string?
---@return string
function check.text(where, name, value, fallback)
  if value == nil and fallback then return fallback end
  if type(value) ~= "string" then check.fail(where, name, value, "a string") end
  return value
end

---The path of a file. A NUL would end it for the system, whatever is behind.
---@param where string
---@param name string
---@param value any
---@return string
function check.path(where, name, value)
  check.text(where, name, value)
  if value:find("\0", 1, true) then
    core.error(("%s: %s has a NUL character: %s"):format(where, name, check.show(value)))
  end
  return value
end

return check
