-- step.lua: `:step 10` makes some steps of a training that stands still.

local check = require "moonwalk.check"
local core = require "moonwalk.core"

return {
  usage = ":step [n]",
  doc = "Makes n steps, or one, of the training that stands still, which does so again then.",
  run = function(session, argument)
    local steps = argument == "" and 1 or math.tointeger(tonumber(argument))
    if not steps or steps < 1 then
      core.error((":step is followed by %s, expected a whole number of at least 1"):format(
        check.show(argument)))
    end
    return require("moonwalk.prompt.job").resume(session, steps)
  end,
}
