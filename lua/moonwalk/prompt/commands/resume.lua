-- resume.lua: `:resume` goes on with a training that stands still.

return {
  usage = ":resume",
  doc = "Goes on with the training that stands still.",
  run = function(session) return require("moonwalk.prompt.job").resume(session) end,
}
