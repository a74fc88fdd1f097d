-- prompt_swap.lua: ops that are changed while a training runs, or stands still, at the prompt.

local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("ops that are changed at the prompt", "tmux is not there")
  return t.done()
end

local FACTORS = {forward = "3 * x[i]", backward = "3 * dy[i]"}
local op = [[
#include <moonwalk.h>
static mw_status infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = FORWARD;
  return MW_OK;
}
static mw_status backward(const mw_call *call) {
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) dx[i] = BACKWARD;
  return MW_OK;
}
static const mw_op op = {
    .name = "scaled", .version = 1, .doc = "So many times x.", .example = "mw.scaled(mw.randn{3})",
    .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = infer, .forward = forward,
    .backward = backward};
MW_PLUGIN(&op)
]]

local function text_of(forward, backward)
  local text = op:gsub("FORWARD", forward):gsub("BACKWARD", backward)
  return text
end

local function save(forward, backward) folder.put("scaled.c", text_of(forward, backward)) end

-- A training that changes nothing, whose loss is scaled(1): the factor that is in the file.
local script = folder.put("train.lua", [[
local mw = require "moonwalk"
mw.seed(1)
set = mw.data.digits {n = 640}
net = mw.nn.Sequential {mw.nn.Flatten {}, mw.nn.Dense {784, 4}}
options = {batch = 1, epochs = 100000, optimizer = {"SGD", lr = 0},
  loss = function(y) return mw.scaled(y * 0 + 1):mean() end,
  callbacks = {step = function(_, loss)
    if loss ~= last then print(("now %d."):format(loss)) end
    last = loss
    local start = mw.core.clock()
    while mw.core.clock() < start + 0.005 do end
  end}}
]])

-- An editor that changes the file by sed.
local editor = folder.put("editor", [[
#!/bin/sh
for file; do :; done
sed -i -f "$(dirname "$0")/change" "$file"
]])
os.execute("chmod +x '" .. editor .. "'")
local function change(commands) folder.put("change", commands .. "\n") end

-- A compiler that says that it is at work and takes its time over a file that is "slow".
local compiler = folder.put("compiler", ([[
#!/bin/sh
if grep -q slow op.c; then
  case "$*" in *MW_REAL_F64*) touch '%s/compiling' ;; esac
  sleep 30
fi
exec cc "$@"
]]):format(folder.path))
os.execute("chmod +x '" .. compiler .. "'")

local function open(variant, environment)
  local env = {XDG_CACHE_HOME = folder.path .. "/cache", EDITOR = editor}
  for name, value in pairs(variant.env or {}) do env[name] = value end
  for name, value in pairs(environment or {}) do env[name] = value end
  local s = terminal.open {columns = variant.columns, rows = variant.rows, folder = folder.path,
    locale = variant.locale, env = env, args = "-i '" .. script .. "'"}
  s:ready()
  return s
end

-- What is on the screen or was, since it was last asked, once that has a text. Lines that the
-- terminal has wrapped are one.
local function wait_all(s, wanted)
  s:wait(function() return s:all():find(wanted, 1, true) end)
  return s:all()
end

-- The plot's last line stands where it was drawn last, at the end.
local HINT = "Ctrl-C pauses, any other key opens a line"

-- Whether the line that begins with a text is there, and none that has it further on: behind a part
-- of the plot.
local function is_whole(text, first)
  local begins, other = false, false
  for line in text:gmatch "[^\n]+" do
    local at = line:find(first, 1, true)
    begins, other = begins or at == 1, other or at and at > 1
  end
  return begins and not other
end

local variants = {
  {name = "80x24", columns = 80, rows = 24, locale = "C.UTF-8"},
  {name = "80x24, plain", columns = 80, rows = 24, locale = "C.UTF-8",
    env = {MOONWALK_EDITOR = "plain"}},
  {name = "120x40 without colours", columns = 120, rows = 40, locale = "C.UTF-8",
    env = {NO_COLOR = "1"}},
  {name = "120x40, plain, C locale", columns = 120, rows = 40, locale = "C",
    env = {MOONWALK_EDITOR = "plain"}},
}

for _, variant in ipairs(variants) do
  local function named(what) return ("%s (%s)"):format(what, variant.name) end
  save(FACTORS.forward, FACTORS.backward)
  local s <close> = open(variant)
  s:run ":watch scaled.c"
  s:type "mw.fit(net, set, options)"
  s:key "Enter"
  s:wait "now 3."
  s:wait(HINT)

  -- Between two steps of a training, with its plot.
  save("5 * x[i]", "5 * dy[i]")
  local text = wait_all(s, "now 5.")
  t.ok(is_whole(text, "scaled.c was saved: compiling and testing it ..."),
    named "what was saved is told of above the plot")
  t.ok(is_whole(text, "scaled.c: scaled is swapped in after "), named "and that it was taken")
  s:wait(HINT)
  s:wait(function(screen) return screen:find "loss 4%.9" end)
  t.ok(true, named "the training goes on with the new code, and its plot")

  save("5 * z[i]", "5 * dy[i]")
  text = wait_all(s, "the old code goes on")
  t.ok(is_whole(text, "error: scaled.c:6:"), named "what the compiler says is told above the plot")
  t.ok(text:find "\n%s*6> [^\n]*y%[i%] = 5 %* z%[i%];", named "with the line")
  save("7 * x[i]", "8 * dy[i]")
  text = wait_all(s, "it does not pass the gate: gradient")
  t.ok(is_whole(text, "error: scaled.c: it does not pass the gate"), named "and what the gate does")
  s:wait(HINT)
  t.ok(not s:all():find "now 7%.", named "the old code goes on then")

  -- While a line is typed.
  s:type "'"
  s:wait "> '"
  s:type "one' .. "
  s:wait "> 'one' .."
  save("7 * x[i]", "7 * dy[i]")
  wait_all(s, "now 7.")
  s:type "'two'"
  s:key "Enter"
  s:wait(function() return s:all():find "\n\"?onetwo" end)
  t.ok(true, named "it is swapped in while a line is typed, which stays whole")
  s:wait(HINT)

  -- :edit on such a line, and while the training stands still.
  change "s/7 \\*/9 */"
  s:type ":edit scaled"
  s:key "Enter"
  text = wait_all(s, "now 9.")
  t.ok(text:find "\nscaled.c: scaled is swapped in after [^\n]*\n", named ":edit while it runs")
  local _, swaps = text:gsub("is swapped in after ", "")
  t.is(swaps, 3, named "takes a file once that is watched, too")
  s:wait(HINT)
  s:key "C-c"
  s:wait "paused after step "
  s:ready()
  change "s/9 \\*/4 */"
  s:run ":edit scaled"
  t.ok(s:text():find "scaled is swapped in after ", named ":edit while it stands still")
  s:run ":step 2"
  t.ok(s:all():find "now 4%." and s:text():find "after step %d+, in epoch %d+ of 100000: loss 4,",
    named "is what the steps compute that are made then")
  s:run ":watch off"
  s:run ":stop"
  s:run "'over'"
  t.ok(s:text():find "\n\"?over", named "the prompt is there afterwards")
end

-- Ctrl-C while code is compiled, and while it is tested: what runs goes on.
local function touched(name)
  local file = io.open(folder.path .. "/" .. name)
  if file then file:close() end
  return file ~= nil
end

local function wait_touched(s, name)
  s:wait(function() return touched(name) end)
  os.remove(folder.path .. "/" .. name)
end

-- Code that says that it is at work and takes its time, once it is tested.
local function save_slow()
  local text = "#include <stdio.h>\n#include <unistd.h>\n" .. text_of("6 * x[i]", "6 * dy[i]")
  local work = ('fclose(fopen("%s/testing", "w")), sleep(9);'):format(folder.path)
  folder.put("scaled.c", (text:gsub("for %(int64_t", work .. "\n  %0", 1)))
end

for _, variant in ipairs {variants[1], variants[4]} do
  local function named(what) return ("%s (%s)"):format(what, variant.name) end
  save(FACTORS.forward, FACTORS.backward)
  local s <close> = open(variant, {CC = compiler})
  s:run ":watch scaled.c"
  change "s/3 \\*/5 */; 1s/^/\\/* slow *\\/\\n/"
  s:type ":edit scaled.c"
  s:key "Enter"
  s:wait "compiling scaled.c ..."
  wait_touched(s, "compiling")
  s:key "C-c"
  s:wait "error: interrupted"
  s:ready()
  t.ok(s:text():find "\nscaled.c is not taken\n", named "Ctrl-C ends the compiler")
  t.ok(not s:text():find "compiling scaled", named "what it was at is gone")
  s:run "mw.scaled(mw.ones {1}):item()"
  t.ok(s:text():find "\n3", named "the old code is there")

  s:run ":watch off"
  save_slow()
  s:type ":reload"
  s:key "Enter"
  s:wait "testing scaled ..."
  wait_touched(s, "testing")
  s:key "C-c"
  s:wait(function(text) return select(2, text:gsub("error: interrupted", "")) == 2 end)
  s:ready()
  t.ok(not s:text():find "testing scaled" and not s:text():find "come back",
    named "Ctrl-C ends the gate")
  s:run "mw.scaled(mw.ones {1}):item() + 1"
  t.ok(s:text():find "\n4", named "the old code is there")

  -- While something trains: it stands still then.
  save(FACTORS.forward, FACTORS.backward)
  s:run ":watch scaled.c"
  s:type "mw.fit(net, set, options)"
  s:key "Enter"
  s:wait(HINT)
  folder.put("scaled.c", "/* slow */\n" .. text_of("6 * x[i]", "6 * dy[i]"))
  wait_touched(s, "compiling")
  s:key "C-c"
  s:wait "paused after step "
  s:ready()
  t.ok(s:all():find "scaled.c is not taken; save it again, or :reload\n",
    named "Ctrl-C ends the compiler in a training")
  s:type ":resume"
  s:key "Enter"
  s:wait(HINT)
  save_slow()
  wait_touched(s, "testing")
  s:key "C-c"
  s:wait(function() return select(2, s:all():gsub("paused after step ", "")) == 2 end)
  s:ready()
  local _, n = s:all():gsub("scaled.c is not taken; save it again, or :reload\n", "")
  t.is(n, 2, named "or the gate")
  t.ok(not s:all():find "now 6", named "and the old code goes on")
end

folder.remove()
t.done()
