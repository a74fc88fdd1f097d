-- lambda.lua: Lambda, a layer without parameters that applies an op by its name, or a function.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

---nn.Lambda {"snake", a = 2} applies an op, whose attributes are the other fields; a function,
---nn.Lambda(function(x) return x * x end), is called with the input.
---@class moonwalk.Lambda: moonwalk.Module
---@overload fun(what: string|function|table): moonwalk.Lambda
local Lambda = Module:extend "Lambda"

local WANTED = 'a function, or an op such as {"leaky_relu", negative_slope = 0.1}'

function Lambda:init(given)
  local form = type(given)
  if form == "string" or form == "function" then given = {given} end
  if type(given) ~= "table" or core.is_tensor(given) then
    check.fail("nn.Lambda", "its argument", given, WANTED)
  end
  local what, attributes = given[1], {}
  for key, value in pairs(given) do
    if key ~= 1 then attributes[check.text("nn.Lambda", "the attribute's name", key)] = value end
  end
  if type(what) == "function" then
    local key = next(attributes)
    if key then
      core.error(("nn.Lambda: %s goes with an op's name; a function has its own"):format(key))
    end
    self.call = what
  else
    self.op = check.text("nn.Lambda", "what it applies", what)
    core.op(self.op) -- raises for one that is unknown
    self.attributes = attributes
    self.description = ("Lambda %q"):format(what)
  end
end

function Lambda:forward(...)
  if self.call then return self.call(...) end
  if next(self.attributes) == nil then return core.call(self.op, ...) end
  local args = table.pack(...)
  args[args.n + 1] = self.attributes
  return core.call(self.op, table.unpack(args, 1, args.n + 1))
end

return Lambda
