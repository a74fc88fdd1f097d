-- prompt_jobs.lua: trainings at the prompt: paused, changed, gone on with, stepped, stopped.

local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("trainings at the prompt", "tmux is not there")
  return t.done()
end

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"

-- A training that takes as long as `delay` says. digest() tells of all bits of the network.
local script = folder.put("train.lua", [[
local mw = require "moonwalk"
delay = 0.01
local function slow()
  local start = mw.core.clock()
  while mw.core.clock() < start + delay do end
end
function new_net()
  mw.seed(7)
  return mw.nn.Sequential {mw.nn.Flatten {}, mw.nn.Dense {784, 16}, mw.nn.ReLU {},
    mw.nn.Dense {16, 10}}
end
net = new_net()
set = mw.data.digits {n = 640}
options = {batch = 16, epochs = 10, valid = mw.data.digits {n = 64, split = "test"}, seed = 3,
  optimizer = {"SGD", lr = 0.05}, callbacks = {step = slow}}
function digest()
  local parts = {}
  for name, p in net:named_parameters() do
    parts[#parts + 1] = name .. mw.core.digest(mw.core.bytes(p))
  end
  return mw.core.digest(table.concat(parts))
end
]])

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local REST = "delay = 0; local h = mw.fit(net, set, options); print(#h, trainer, digest())"

-- What an uninterrupted training makes, in a script that comes through a pipe.
local reference = output(("{ cat '%s'; echo '%s'; } | '%s' - 2>&1"):format(script,
  'mw = require "moonwalk" ' .. REST, moonwalk)):match "10\tnil\t(%x+)"
t.ok(reference, "a training runs through where nobody types")

-- Opens the prompt with the script's variables.
local function open(options)
  options.args = "-i '" .. script .. "'"
  local s = terminal.open(options)
  s:ready()
  return s
end

-- What a screen shows behind the last occurrence of a text, up to the line's end.
local function shown(s, pattern)
  return s:wait(function(text)
    local found
    for match in text:gmatch(pattern) do found = match end
    return found
  end)
end

-- Waits until a training runs: an older one's last picture may be on the screen, but not last.
local function runs(s)
  s:wait(function(screen) return screen:find "Ctrl%-C pauses, any other key opens a line%s*$" end)
end

local function step_paused(s)
  return tonumber(shown(s, "paused after step (%d+), in epoch %d+ of 10"))
end

local variants = {
  {name = "80x24", columns = 80, rows = 24},
  {name = "120x40 without colours", columns = 120, rows = 40, env = {NO_COLOR = "1"}},
  {name = "C locale", locale = "C"},
  {name = "plain", env = {MOONWALK_EDITOR = "plain"}},
}

for _, variant in ipairs(variants) do
  local function named(what) return ("%s (%s)"):format(what, variant.name) end
  do -- paused, stepped and gone on with, it gives the same bits
    local s <close> = open(variant)
    s:type "local h = mw.fit(net, set, options) print('epochs:', #h, digest())"
    s:key "Enter"
    runs(s)
    s:wait "epoch 1/10  loss"
    s:key "C-c"
    local n = step_paused(s)
    s:ready()
    t.ok(n >= 40 and n < 400, named "Ctrl-C lets it stand still")
    s:run "trainer.steps"
    t.ok(s:text():find(("\n%d\n"):format(n)), named "after the step that it tells")
    s:run ":step 10"
    s:wait(("after step %d, in epoch %d of 10: loss "):format(n + 10, (n + 10) // 40 + 1))
    s:run "'made ' .. trainer.steps"
    t.ok(s:text():find(("made %d"):format(n + 10), 1, true), named ":step 10 makes ten steps")
    s:run ":step"
    s:wait(("after step %d, in epoch "):format(n + 11))
    s:run "1 + 41"
    t.ok(s:text():find "\n42\n", named "all else works meanwhile")
    s:run "delay = 0"
    s:type ":resume"
    s:key "Enter"
    local bits = shown(s, "epochs:%s+10%s+(%x+)")
    t.is(bits, reference, named "and then it has the bits of one that was never paused")
    s:ready()
    s:run "h[10].epoch + 0.5"
    t.ok(s:text():find "\n10.5\n", named "the chunk's locals are there when it is over")
    s:run ":resume"
    t.ok(s:text():find "no training is running or standing still", named "then there is none")
  end

  do -- a line that is typed while it runs
    local s <close> = open(variant)
    s:type "mw.fit(net, set, options)"
    s:key "Enter"
    s:wait "epoch 1/10  loss"
    s:type "seen = trainer.steps; trainer.optimizer.lr = 0"
    s:wait(variant.name == "plain" and "> s" or "trainer.optimizer.lr = 0")
    s:key "Enter"
    s:wait "lr 0 "
    s:type ":pause"
    s:key "Enter"
    local n = step_paused(s)
    s:ready()
    s:run "seen < trainer.steps and seen >= 40"
    t.ok(s:text():find "\ntrue\n", named "what is typed runs between two steps")
    s:run "before = digest()"
    s:run ":step 3"
    s:run "before == digest() and 'unchanged'"
    t.ok(s:text():find "\n\"?unchanged", named "with a learning rate of 0 steps change nothing")
    s:run "trainer.optimizer.lr = 0.1"
    s:run ":step 3"
    t.ok(s:text():find(("after step %d, in epoch %%d+ of 10: loss %%d[%%d.e-]*, lr 0.1")
      :format(n + 6)), named "steps and the new rate are told")
    s:run "before ~= digest() and 'differs'"
    t.ok(s:text():find "\n\"?differs", named "with another one they do")
    s:run "for _, p in net:named_parameters() do mw.update({p}, {p * 0}) end"
    s:run ":step"
    t.ok(s:text():find("after step %d+, in epoch %d+ of 10: loss 2%.3026,"),
      named "parameters that were set to 0 are used: the loss is ln 10")
    s:key "C-d"
    s:wait "Ctrl-D again leaves"
    s:ready()
    s:run "'still here'"
    s:key "C-d"
    s:wait(function(text) return select(2, text:gsub("Ctrl%-D again leaves", "")) == 2 end)
    s:ready()
    s:key "C-d"
    t.is(s:finish(), 0, named "Ctrl-D leaves when it is pressed again")
  end
end

do -- several, and errors
  local s <close> = open {}
  s:type "first = mw.fit(net, set, options)"
  s:key "Enter"
  s:wait "epoch 1/10  loss"
  s:type "mw.fit(new_net(), set, options)"
  s:key "Enter"
  s:wait "error: fit: a training is running; :pause lets it stand still"
  s:wait "epoch 2/10  loss"
  t.ok(true, "a second one is refused while the first one runs, which goes on")
  s:key "C-c"
  local n = step_paused(s)
  s:ready()
  s:run "second = mw.fit(new_net(), set, {epochs = 1, batch = 16})"
  t.ok(s:text():find(("The training before it stands still after step %d"):format(n)),
    "one may run while another stands still")
  s:run "#second"
  t.ok(s:text():find "\n1\n", "and is over before that")
  s:run ":stop"
  s:run "first.stopped .. ' ' .. #first"
  t.ok(s:text():find(("stopped %d"):format(n // 40)), ":stop ends a training where it is")

  s:type "mw.fit(net, set, {epochs = 3, batch = 16, optimizer = {'SGD', lr = 1e30}}) print 'no'"
  s:key "Enter"
  s:wait "error: "
  s:ready()
  t.ok(s:text():find "the loss of step %d+ %(epoch 1%) is nan", "an error ends a training")
  s:run ":resume"
  t.ok(s:text():find "no training is running" and not s:text():find "\nno\n", "which is over then")
  s:run ":step x"
  t.ok(s:text():find('step is followed by "x", expected a whole number of at least 1', 1, true),
    "what :step is given")
  s:run ":pause"
  t.ok(s:text():find "mw.fit%(net, train%) begins one", "there is nothing to pause")
end

do -- the training ends while a line is typed; callbacks print; an error between keystrokes
  local s <close> = open {}
  s:run "options.epochs = 2"
  s:run "options.callbacks.epoch = function(_, row) print('epoch', row.epoch, '!') end"
  s:type "#mw.fit(net, set, options)"
  s:key "Enter"
  runs(s)
  s:type "'a lo"
  s:wait "> 'a lo"
  s:wait "epoch   2       !"
  s:type "ng line'"
  s:wait "'a long line'"
  s:key "Enter"
  s:wait "\n2\n"
  s:ready()
  local text = s:text()
  t.ok(text:find("a long line\"?\n.*\n2\n"), "the line is run, then the rest of what began it")
  t.ok(not text:find "lo.*epoch 2/2.*'a long line'" or text:find "epoch 2/2 .*> 'a long line'",
    "what is printed meanwhile stands above the line")

  s:run "options.callbacks.step = function(tr) if tr.steps == 40 then error 'no more' end end"
  s:run "options.callbacks.epoch = nil"
  s:type "mw.fit(net, set, options)"
  s:key "Enter"
  s:wait "no more"
  s:ready()
  s:run "'ok'"
  t.ok(true, "an error in a callback leaves the prompt")

  -- Ctrl-C while a line is typed gives the prompt back.
  s:run "options.callbacks.step, options.epochs = nil, 100000"
  s:run "net = new_net()"
  s:type "mw.fit(net, set, options)"
  s:key "Enter"
  s:wait "epoch 1/100000"
  s:type "half a line"
  s:wait "half a line"
  s:key "C-c"
  s:wait(function(screen) return screen:find "paused after step %d+, in epoch %d+ of 100000" end)
  s:ready()
  t.ok(true, "Ctrl-C on a line pauses")

  -- Ctrl-C comes just as the training hands over to the prompt.
  s:run "core = require 'moonwalk.core'; stand, press = core.stand, core.press_interrupt"
  s:run "function core.stand(...) press() return stand(...) end"
  s:type ":resume"
  s:key "Enter"
  runs(s)
  local function pauses() return select(2, s:all():gsub("paused after", "")) end
  local paused = pauses()
  s:type "x"
  s:wait(function(screen) return pauses() > paused and screen:find "\n> x%s*$" end)
  s:key "BSpace"
  s:ready()
  t.ok(true, "Ctrl-C between a step and the prompt pauses")
  s:run "core.stand = stand"
end

folder.remove()
t.done()
