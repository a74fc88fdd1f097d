-- prompt_plots.lua: plots, histograms and a training's live plot on the screen of a terminal.

local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("plots at the prompt", "tmux is not there")
  return t.done()
end

local script = folder.put("train.lua", [[
local mw = require "moonwalk"
delay = 0.01
local function slow()
  local start = mw.core.clock()
  while mw.core.clock() < start + delay do end
end
mw.seed(7)
net = mw.nn.Sequential {mw.nn.Flatten {}, mw.nn.Dense {784, 10}}
options = {batch = 16, epochs = 50, valid = mw.data.digits {n = 64, split = "test"}, seed = 3,
  callbacks = {step = slow}}
set = mw.data.digits {n = 320}
ys = {}
for i = 1, 100 do ys[i] = math.sin(i / 10) end
]])

-- The lines of a screen without those behind the last that has something.
local function filled(s)
  local lines = s:lines()
  while lines[#lines] == "" do lines[#lines] = nil end
  return lines
end

local function widest(lines)
  local most = 0
  for _, line in ipairs(lines) do most = math.max(most, utf8.len(line) or #line) end
  return most
end

local BRAILLE = "\xe2[\xa0-\xa3][\x80-\xbf]" -- U+2800 to U+28FF

local variants = {
  {name = "80x24", columns = 80, rows = 24, colour = true, utf8 = true},
  {name = "120x40", columns = 120, rows = 40, colour = true, utf8 = true},
  {name = "80x24 without colours", columns = 80, rows = 24, utf8 = true, env = {NO_COLOR = "1"}},
  {name = "C locale", columns = 80, rows = 24, colour = true, locale = "C"},
  {name = "plain", columns = 80, rows = 24, colour = true, utf8 = true,
    env = {MOONWALK_EDITOR = "plain"}},
}

for _, variant in ipairs(variants) do
  local function named(what) return ("%s (%s)"):format(what, variant.name) end
  variant.args = "-i '" .. script .. "'"
  local s <close> = terminal.open(variant)
  s:ready()

  s:run "plot({sin = ys, half = mw.tensor(ys) / 2}, {title = 'Two', xlabel = 'i'})"
  local lines = filled(s)
  local text = table.concat(lines, "\n")
  t.is({#lines, widest(lines)}, {variant.rows * 3 // 4 + 2, variant.columns},
    named "a plot has three quarters of the lines, and all columns")
  t.is(text:find(BRAILLE) ~= nil, variant.utf8 or false, named "braille, or not")
  t.ok(variant.utf8 or not text:find "[\x80-\xff]", named "ASCII in the C locale")
  t.ok(text:find "Two" and text:find "half" and text:find "sin", named "title and legend")
  local styled = s:styled()
  t.is(styled:find "\27%[[%d;]*33m" ~= nil, variant.colour or false, named "colours, or none")

  s:run "hist(mw.tensor {1, 2, 2, 3, 3, 3, 0/0})"
  lines = filled(s)
  text = table.concat(lines, "\n")
  t.ok(text:find "7 elements, mean 2%.333, std 0%.745" and text:find "1 NaN not drawn",
    named "a histogram's numbers")
  t.ok(#lines <= variant.rows and widest(lines) <= variant.columns, named "and its size")

  s:type "h = mw.fit(net, set, options)"
  s:key "Enter"
  local pattern = "epoch 1/50  loss.-\nepoch 2/50  loss.-\n *[%d.]* [┤│+|].*step %d+/1000"
  text = s:wait(function(screen) -- between two pictures the screen may have none
    return screen:find(pattern) and screen
  end)
  t.is(select(2, text:gsub("step %d+/1000", "")), 1, named "one picture, below the epochs' lines")
  t.ok(text:find "valid_loss %d.*lr 0.001" and text:find "%d+ samples/s" and text:find "left",
    named "with its numbers")
  t.is(text:find(BRAILLE) ~= nil, variant.utf8 or false, named "live in braille, or not")
  s:key "C-c"
  s:wait "paused after step"
  s:ready()
  lines = filled(s)
  text = table.concat(lines, "\n")
  t.ok(text:find "step %d+/1000 .*\npaused after" and not text:find "Ctrl%-C",
    named "the last picture stays")
  t.ok(text:find " [┤+|]" and #lines <= variant.rows, named "with its axes")
end

do -- a terminal that is resized while the training runs
  local s <close> = terminal.open {columns = 100, rows = 30, args = "-i '" .. script .. "'"}
  s:ready()
  s:run "options.epochs = 1000"
  s:type "print 'before' h = mw.fit(net, set, options)"
  s:key "Enter"
  s:wait "epoch 1/1000  loss"
  for _, size in ipairs {{60, 30}, {120, 30}, {50, 20}, {90, 40}} do
    local columns, rows = size[1], size[2]
    s:resize(columns, rows)
    -- Until the axis has the new width: the terminal's but one column.
    local text = s:wait(function(screen)
      local axis = screen:match ".*\n( *└[─┬]+)\n"
      return axis and utf8.len(axis) == columns - 1 and screen:find "Ctrl%-C pauses" and screen
    end)
    if rows == 30 then -- else the top of a picture may have left the screen, out of reach
      t.is(select(2, text:gsub("Ctrl%-C pauses", "")), 1, ("one picture at %d"):format(columns))
    end
    t.ok(widest(filled(s)) <= columns, "no wider than that")
  end
  t.ok(s:all():find "before\nepoch 1/1000  loss", "what was printed before is there still")
  s:type ":stop"
  s:key "Enter"
  s:ready()
  s:run "h.stopped"
  t.ok(s:text():find "stopped", "a training is stopped while it runs")
end

do -- a script on a terminal has the progress line alone
  local s <close> = terminal.open {args = folder.put("fit.lua", [[
dofile(arg[1])
delay = 0
options.epochs = 2
require "moonwalk".fit(net, set, options)
print "done"]]) .. " " .. script}
  s:finish()
  local text = s:text()
  t.ok(text:find "epoch 1/2  loss.*\nepoch 2/2  loss.*\ndone" and not text:find(BRAILLE),
    "in a script nothing is drawn")
end

folder.remove()
t.done()
