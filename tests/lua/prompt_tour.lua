-- The tour: each line of docs/tour.md does what the page shows, as :tour puts it in front of the
-- user; by 80 columns, and by more without a line editor.

local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"
local transcript = require "transcript"

if not terminal.available() then
  t.skip("the tour", "tmux is not there")
  return t.done()
end

local exchanges = transcript.read(folder.contents "docs/tour.md")
local PATIENCE = 120 -- seconds: it trains
local TOLERANCE = 0.02 -- of numbers that processors may compute differently

-- Waits until a text is what the user would run by Enter.
local function wait_for_offer(screen, typed)
  local last = typed:match "[^\n]*$"
  screen:poll("'" .. typed .. "' before the cursor", function(lines, _, row)
    return (lines[row] or ""):gsub("%s+$", ""):sub(-#last) == last
  end, PATIENCE)
end

local function check(screen, exchange)
  local got = transcript.answer(screen:all(), exchange.typed)
  local near = tonumber((exchange.note or ""):match "^near: ([%d.]+)$")
  local problem = got and transcript.difference(got, exchange.answer, near or TOLERANCE)
    or not got and "what was typed is not there"
  t.is(problem or "", "", exchange.section .. ": " .. exchange.typed:match "[^\n]*")
  if problem then print("# " .. table.concat(got or {}, "\n# ")) end
end

t.ok(#exchanges > 40, "there are more than 40 lines to type")

do
  local screen <close> = terminal.open {columns = 80, rows = 24, env = {NO_COLOR = "1"},
    folder = folder.path}
  screen:ready()
  screen:type ":tour"
  screen:key "Enter"
  for i, exchange in ipairs(exchanges) do
    wait_for_offer(screen, exchange.typed)
    screen:key "Enter"
    local follows = exchanges[i + 1]
    if follows then wait_for_offer(screen, follows.typed) else screen:ready("> ", PATIENCE) end
    check(screen, exchange)
  end
  t.ok(screen:text():find("Ctrl-D leaves", 1, true), "its last words")
  screen:run "tour_is_over = 1"
  t.ok(not screen:text():find(":tour goes on", 1, true), "and then it is over")

  screen:type ":tour digits"
  screen:key "Enter"
  screen:wait "4 of"
  wait_for_offer(screen, "digits = data.digits {n = 4000}")
  screen:key "C-c"
  screen:ready()
  screen:run "own = 5"
  screen:wait ":tour goes on with the tour"
  screen:type ":tour"
  screen:key "Enter"
  wait_for_offer(screen, "digits = data.digits {n = 4000}")
  screen:key("C-a", "C-k")
  screen:type ":tour digitz"
  screen:key "Enter"
  t.ok(screen:wait "did you mean :tour digits?", "a section that is not there")
end

do
  local screen <close> = terminal.open {columns = 120, rows = 40, locale = "C",
    folder = folder.path, env = {MOONWALK_EDITOR = "plain", NO_COLOR = "1"}}
  screen:ready()
  screen:type ":tour"
  screen:key "Enter"
  local errors = 0
  for _, exchange in ipairs(exchanges) do
    if (exchange.answer[1] or ""):find "^error: " then errors = errors + 1 end
    screen:wait(function(text)
      return text:find("Enter runs: " .. exchange.typed:match "[^\n]*", 1, true)
        and text:find "\n> *\n*$"
    end, PATIENCE)
    screen:key "Enter"
  end
  screen:wait("Ctrl-D leaves.\n", PATIENCE)
  local _, shown = screen:all():gsub("\nerror: ", "")
  -- :save does not write over the script of the first tour.
  t.is(shown, errors + 1, "without a line editor, Enter alone runs each line")
end

folder.remove()

t.done()
