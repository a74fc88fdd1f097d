-- tour.lua: `:tour` shows around.

local tour = require "moonwalk.prompt.tour"

return {
  usage = ":tour [section]",
  doc = "Shows around, step by step: Enter runs the line that is offered.",
  run = function(session, argument)
    session.tour = session.tour or tour.new()
    if argument ~= "" then session.tour:go(argument) end
    session.tour:on(session)
  end,
  complete = function()
    local words = {}
    for _, title in ipairs(tour.new():titles()) do
      words[#words + 1] = title:match("%a+$"):lower()
    end
    return words
  end,
}
