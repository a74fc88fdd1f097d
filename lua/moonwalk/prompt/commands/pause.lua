-- pause.lua: `:pause` lets the training stand still that runs.

return {
  usage = ":pause",
  doc = "Lets the training stand still that runs; as Ctrl-C does.",
  run = function(session) require("moonwalk.prompt.job").pause(session) end,
}
