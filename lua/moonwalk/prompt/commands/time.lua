-- time.lua: `:time on` shows what each line took.

local check = require "moonwalk.check"
local core = require "moonwalk.core"
local measure = require "moonwalk.prompt.measure"

return {
  usage = ":time on|off",
  doc = "Shows after each line its time, the bytes that it kept and took, and what was compiled.",
  run = function(session, argument)
    if argument == "" then argument = session.settings.time and "off" or "on" end
    if argument ~= "on" and argument ~= "off" then
      core.error((":time is followed by %s, expected on or off"):format(check.show(argument)))
    end
    session.settings.time = argument == "on" and measure.text or nil
    session:say("times are " .. (argument == "on" and "shown" or "not shown"))
  end,
  complete = function() return {"on", "off"} end,
}
