-- prompt_everywhere_training.lua: trainings at the prompt, in all kinds of terminals: drawn live,
-- paused, stepped, changed, gone on with, stopped.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"

-- A training of 10 steps an epoch, between which it sleeps as long as `delay` is set.
local script = folder.put("train.lua", [[
local mw = require "moonwalk"
delay = true
local function rest() if delay then io.popen "sleep 0.05":close() end end
mw.seed(7)
net = mw.nn.Sequential {mw.nn.Flatten {}, mw.nn.Dense {784, 16}, mw.nn.ReLU {},
  mw.nn.Dense {16, 10}}
set = mw.data.digits {n = 160}
options = {batch = 16, epochs = 40, valid = mw.data.digits {n = 64, split = "test"}, seed = 3,
  optimizer = {"SGD", lr = 0.05}, callbacks = {step = rest}}
]])

local BRAILLE = "\xe2[\xa0-\xa3][\x80-\xbf]" -- U+2800 to U+28FF

-- What holds of a screen on which a training is drawn.
local function check_picture(s)
  local rows, _, _, styled = s:see()
  local text = table.concat(rows, "\n")
  s:check(s.utf8 == (text:find(BRAILLE) ~= nil), "braille, or not")
  s:check(s.utf8 or not text:find "[\x80-\xff]", "ASCII in the C locale")
  s:check(s.colour == (styled:find("\27[", 1, true) ~= nil), "colours, or none")
  s:check(text:find "loss %d" and text:find "valid_loss %d", "the numbers")
end

local function begin(s, line)
  s:clear()
  s:type(line)
  s:key "Enter"
end

-- Where a training stands still, which the screen tells.
local function paused(s)
  local step = s:wait(function(text)
    return text:match "paused after step (%d+), in epoch %d+ of"
  end)
  s:ready()
  return tonumber(step)
end

local function live(s)
  begin(s, "h = mw.fit(net, set, options)")
  s:wait(function(text)
    return text:find "epoch 1/40 .*loss %d.*step %d+/400" and text:find "lr 0.05"
  end)
  check_picture(s)
  s:key "C-c"
  s.stands_at = paused(s)
  s:enter("trainer.steps"):is {tostring(s.stands_at)}
end

local function steps(s)
  local n = s.stands_at
  s:enter ":step 10"
  s:has(("after step %d, in epoch %d of 40: loss "):format(n + 10, (n + 10) // 10 + 1))
  s:enter "trainer.steps":is {tostring(n + 10)}
  s:enter "trainer.optimizer.lr = 0.25":is {}
  s:enter ":step":has("after step " .. n + 11, "lr 0.25")
  -- Of ten classes that are all as likely the loss is ln 10.
  s:enter "for _, p in net:named_parameters() do mw.update({p}, {p * 0}) end":is {}
  s:enter ":step":has "loss 2.3026, lr 0.25"
  s:enter ":step none":has 'step is followed by "none"'
  s:enter ":who":has("net", "12,730 parameters", "trainer") -- 785 * 16 + 17 * 10
  s:enter ":pause":has "stands still already"
  s:key "C-d"
  s:wait "Ctrl-D again leaves"
  s:ready()
  s:enter "6 * 7":is {"42"}
end

-- A line that is typed while it runs, first with and then without the editor's keys.
local function meanwhile(s)
  begin(s, ":resume")
  s:wait(function(text) return text:find "step %d+/400" end)
  s:type "trainer.optimizer.lr = 0.125"
  s:wait "> t"
  s:key "Enter"
  s:wait "lr 0.125"
  s:type ":pause"
  s:key "Enter"
  paused(s)
  s:enter "trainer.optimizer.lr":is {"0.125"}
end

local function resizing(s)
  begin(s, ":resume")
  s:wait(function(text) return text:find "step %d+/400" end)
  for _, less in ipairs {20, 0} do
    local columns = s.columns - less
    s:resize(columns, s.rows)
    s:wait(function(text) -- the axis below is as wide as the terminal but for a column
      local axis = text:match(s.utf8 and ".*\n( *└[─┬]+)\n" or ".*\n( *%+[-+]+)\n")
      return axis and (utf8.len(axis) or 0) >= columns - 2 and utf8.len(axis) <= columns
    end)
  end
  s:key "C-c"
  paused(s)
end

local function ending(s)
  s:enter "delay = false":is {}
  begin(s, ":resume")
  s:wait "epoch 40/40"
  s:ready()
  s:enter "#h, h[40].epoch":is {"40", "40"}
  s:enter ":resume":has "no training is running or standing still"
  s:enter "options.epochs, delay = 1000, true":is {}
  begin(s, "h = mw.fit(net, set, options)")
  s:wait(function(text) return text:find "step %d+/10000" end)
  s:type ":stop"
  s:key "Enter"
  s:ready()
  s:enter "h.stopped":is {'"stopped"'}
end

everywhere.play({
  {"mw.fit draws its loss live; Ctrl-C lets it stand still", live},
  {":step; the learning rate and parameters are changed between steps", steps},
  {"a line that is typed while it runs; :resume, :pause", meanwhile},
  {"a terminal that is resized while it is drawn", resizing},
  {"it ends, or :stop ends it", ending},
}, {args = "-i '" .. script .. "'"})

folder.remove()
t.done()
