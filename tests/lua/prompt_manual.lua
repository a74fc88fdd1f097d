-- The manual's chapter of the prompt: what is typed in it does what the page shows, and no command
-- is left out.

local t = require "tap"
local folder = require "folder"
local session = require "moonwalk.prompt.session"
local terminal = require "terminal"
local transcript = require "transcript"

local page = folder.contents "docs/prompt.md"
local TOLERANCE = 0.02 -- of numbers that processors may compute differently

for _, name in ipairs(session.commands()) do
  local mark = ({op = "?name", source = "??name"})[name] or ":" .. name
  t.ok(page:find("`" .. mark, 1, true), mark .. " is told of")
end
for name in pairs(getmetatable(session.new().env).lazy) do
  t.ok(page:find("`" .. name .. "[`({ ]"), name .. " too")
end

if not terminal.available() then
  t.skip("the manual's sessions", "tmux is not there")
  return t.done()
end

do
  local screen <close> = terminal.open {columns = 80, rows = 24, env = {NO_COLOR = "1"},
    folder = folder.path}
  screen:ready()
  for _, exchange in ipairs(transcript.read(page)) do
    for line, follows in (exchange.typed .. "\n"):gmatch "([^\n]*)\n()" do
      screen:run(line, follows <= #exchange.typed and ">> " or "> ", 60)
    end
    local got = transcript.answer(screen:all(), exchange.typed) or {}
    local problem = transcript.difference(got, exchange.answer, TOLERANCE)
    t.is(problem or "", "", exchange.section .. ": " .. exchange.typed:match "[^\n]*")
    if problem then print("# " .. table.concat(got, "\n# ")) end
  end
end

folder.remove()
t.done()
