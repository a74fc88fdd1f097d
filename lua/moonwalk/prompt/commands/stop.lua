-- stop.lua: `:stop` ends a training before its time.

return {
  usage = ":stop",
  doc = "Ends the training where it stands: mw.fit returns what it has so far.",
  run = function(session) return require("moonwalk.prompt.job").stop(session) end,
}
