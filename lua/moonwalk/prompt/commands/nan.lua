-- nan.lua: `:nan` finds the op that made the first NaN or infinity.

local core = require "moonwalk.core"
local below = require "moonwalk.look.below"
local nan = require "moonwalk.look.nan"
local nan_text = require "moonwalk.look.nan_text"
local screen = require "moonwalk.look.screen"
local origin = require "moonwalk.prompt.origin"
local tell = require "moonwalk.prompt.tell"

local function is_odd(t)
  if t.dtype ~= "f32" and t.dtype ~= "f64" then return false end
  local facts = core.summary(t)
  return facts.nans + facts.infinities > 0
end

-- Which parameters of a network have one.
local function look_at_network(session, module)
  local lines, n = {}, 0
  local function look(name, t)
    n = n + 1
    if is_odd(t) then
      lines[#lines + 1] = ("  %s  %s"):format(name, require("moonwalk.look.tensor").head(t))
    end
  end
  for name, t in module:named_parameters() do look(name, t) end
  for name, t in module:named_buffers() do look(name, t) end
  if #lines == 0 then
    return tell(session, ("no NaN and no infinity in its %d parameters and buffers; :nan loss "
      .. "looks at what is computed with them"):format(n))
  end
  table.insert(lines, 1, screen.paint(("of %d parameters and buffers these have some:"):format(n),
    "bold"))
  session:say(table.concat(lines, "\n"))
end

-- The values of a graph that was built with parameters as they are no more.
local function explain_stale(t, message)
  local names = {}
  for _, parameter in ipairs(below.parameters(below.nodes(t))) do
    local name = core.name(parameter)
    if is_odd(parameter) then names[#names + 1] = name ~= "" and name or "one without a name" end
  end
  core.error((":nan: %s was updated after this was built, so that it cannot be computed again%s. "
    .. "Build it again and ask then: :nan net(x):cross_entropy(y)"):format(
    message:match "parameter ('[^']*')" or "a parameter", #names == 0 and ""
    or ("; now there is NaN or infinity in " .. table.concat(names, ", "))))
end

local function look_at(session, t, name)
  local good, odd, with_gradients = pcall(nan.find, t)
  if not good then
    if tostring(odd):find("stale value", 1, true) then explain_stale(t, odd) end
    error(odd, 0)
  end
  if not odd then return tell(session, nan_text.none(t, name, with_gradients)) end
  session:say(nan_text.of(odd, odd.origin and origin.line(odd.origin)))
end

return {
  usage = ":nan [expression]",
  doc = "Finds the op that made the first NaN or infinity in a value, by default the last one.",
  run = function(session, argument)
    local v, name = session.last, "the last value"
    if argument ~= "" then
      local good, result = session:value(argument)
      if not good then error(result, 0) end
      v, name = result, argument
    elseif v == nil then
      core.error ":nan looks at the last value, and there is none yet; :nan loss looks at loss"
    end
    if require("moonwalk.nn.module").is(v) then return look_at_network(session, v) end
    if not core.is_tensor(v) then
      core.error((":nan: %s is a %s, expected a tensor or a network%s"):format(name, type(v),
        type(v) == "number" and "; a number does not know what it was computed from" or ""))
    end
    look_at(session, v, name)
  end,
}
