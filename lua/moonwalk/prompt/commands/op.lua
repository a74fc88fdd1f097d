-- op.lua: `?conv2d` explains an op; `?mw.fit`, `?optim.SGD`, `?:edit` whatever else has a name.

local core = require "moonwalk.core"
local lookup = require "moonwalk.prompt.lookup"
local pager = require "moonwalk.prompt.pager"

return {
  usage = "?name",
  doc = "Explains an op, a function, a layer or a command: ?conv2d, ?mw.fit, ?optim.SGD.",
  run = function(session, argument)
    if argument == "" then
      core.error "? is followed by what is to be explained: ?conv2d, ?mw.fit, ?optim.SGD, ?:who"
    end
    pager.show(session, require("moonwalk.prompt.explain")(lookup.find(session, argument)))
  end,
  complete = lookup.words,
}
