-- cli.lua: the options of a script, as its help text declares them.
--
--   local args = cli.parse(arg, [[
--   train.lua: trains a network.
--     --lr X       learning rate [0.05]
--     --save FILE  write the weights there
--     --quiet      print nothing ]])
--
-- Each line of the text that begins with -- declares an option. What it is given is called N for
-- a whole number, X for a number, anything else for text; without a name it is a switch. What
-- stands in brackets at the end is what it is when it is not given.

local check = require "moonwalk.check"

local cli = {}

-- The options that a help text declares, by name, and the list of names.
local function declared(help)
  local options, names = {["--help"] = {key = "help"}}, {"--help"}
  for name, rest in help:gmatch("\n%s*(%-%-[%w-]+)([^\n]*)") do
    local kind = rest:match("^ ([%u]+)%f[^%u]")
    options[name] = {
      key = name:sub(3):gsub("-", "_"),
      kind = kind,
      default = rest:match("%[([^%[%]]*)%]%s*$"),
    }
    names[#names + 1] = name
  end
  return options, names
end

-- A text as the value of an option; nil when it is none.
local function value_of(kind, text)
  if kind == "N" then return math.tointeger(tonumber(text)) end
  if kind == "X" then return tonumber(text) end
  return text
end

local EXPECTED = {N = "a whole number", X = "a number"}

---What a list of arguments says, or nil and a message.
---@param list string[]
---@param help string
---@return table<string, any>? values by the options' names, with _ for -
---@return string? message
function cli.read(list, help)
  local options, names = declared("\n" .. help)
  local values, i = {}, 1
  for _, option in pairs(options) do
    values[option.key] = option.default and value_of(option.kind, option.default)
  end
  while list[i] do
    local name, text = list[i]:match("^(%-%-[^=]+)=(.*)$")
    name = name or list[i]
    local option = options[name]
    if not option then
      local near = check.near(name, names)
      return nil, ("unknown argument %s%s"):format(name, near and ", did you mean " .. near .. "?"
        or "; --help lists what there is")
    elseif option.kind then
      if not text then
        i = i + 1
        text = list[i]
      end
      values[option.key] = text and value_of(option.kind, text)
      if values[option.key] == nil then
        return nil, ("%s is %s, expected %s"):format(name,
          text and ("%q"):format(text) or "without a value",
          EXPECTED[option.kind] or "a " .. option.kind:lower())
      end
    elseif text then
      return nil, ("%s takes no value"):format(name)
    else
      values[option.key] = true
    end
    i = i + 1
  end
  return values
end

---What a list of arguments says. Prints the help text and leaves when asked for it, prints what
---is wrong and leaves with status 2 when something is.
---@param list string[]
---@param help string
---@return table<string, any>
function cli.parse(list, help)
  local values, message = cli.read(list, help)
  if not values then
    io.stderr:write(message, "\n")
    os.exit(2, true)
  elseif values.help then
    print((help:gsub("%s+$", "")))
    os.exit(0, true)
  end
  return values
end

return cli
