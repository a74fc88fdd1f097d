-- prompt_edit.lua: ops that are changed at the prompt: :edit, :watch, :reload, :new.

local t = require "tap"

-- The editor is a script that changes the file by sed, as the file "change" says, and notes what it
-- was called with. The test runs itself with it, and with folders of its own.
if not os.getenv "MOONWALK_EDIT_TEST" then
  local folder = require "folder"
  folder.put("editor", [[
#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/called"
for file; do :; done
[ ! -e "$here/change" ] || sed -i -f "$here/change" "$file"
exit "$(cat "$here/status" 2>/dev/null || echo 0)"
]])
  local pipe = assert(io.popen "pwd")
  local tree = pipe:read "l"
  pipe:close()
  local command = ("chmod +x '%s/editor' && cd '%s' && VISUAL= EDITOR='%s/editor' "
    .. "XDG_CACHE_HOME='%s/cache' XDG_DATA_HOME='%s/data' MOONWALK_EDIT_TEST='%s' "
    .. "LUA_PATH='%s/tests/?.lua;;' '%s/moonwalk' '%s/%s'"):format(folder.path, folder.path,
    folder.path, folder.path, folder.path, folder.path, tree, os.getenv "MOONWALK_BUILD", tree,
    arg[0])
  local done = os.execute(command)
  folder.remove()
  os.exit(done or false)
end

local here = os.getenv "MOONWALK_EDIT_TEST"
local compiler = require "moonwalk.compiler"
local mw = require "moonwalk"
local session = require "moonwalk.prompt.session"
local terminal = require "terminal"
local core = mw.core

local function put(name, text)
  assert(compiler.write(here .. "/" .. name, text))
  return here .. "/" .. name
end

local function contents(name) return (compiler.read(here .. "/" .. name)) end

-- What the editor is to do when it is opened next: sed's commands.
local function change(commands) put("change", commands .. "\n") end

-- ---- without a terminal ---------------------------------------------------------------------

local said, s
s = session.new()
s.out = {write = function(_, ...) said = said .. table.concat {...} end, flush = function() end}

local function answer(...)
  said = ""
  for _, text in ipairs {...} do s:run(text) end
  return (said:gsub("\n$", ""))
end

-- Whether a text has another, wherever its lines end.
local function has(text, wanted, what)
  local found = text:gsub("%s+", " "):find(wanted:gsub("%s+", " "), 1, true) ~= nil
  t.ok(found, what)
  if not found then print("# " .. text:gsub("\n", "\n# ")) end
end

local copies = here .. "/data/moonwalk/ops/"

-- A shipped op.
answer("mw.seed(1)", "net = nn.Sequential {nn.Dense {3, 2}, nn.GELU {}}", "x = mw.randn {4, 3}",
  "before = net(x):eval()")
local net, x = s:get "net", s:get "x"
local weights = core.bytes(net[1].weight)
local inner = net[1](x)

local function gelu_of(f)
  local rows = inner:totable()
  for _, row in ipairs(rows) do
    for i, v in ipairs(row) do row[i] = f(v) end
  end
  return rows
end

change ""
has(answer ":edit gelu", "gelu.c is as it was; :watch gelu takes what is saved later",
  "an editor that changes nothing")
t.is(compiler.read(copies .. "gelu.c"), core.text("ops", "gelu.c"), "the source was copied")
has(contents "called", "+", "the editor is told a line")
t.is(core.plugin_origin "gelu", "shipped", "the shipped op goes on")

change [[s/approximate ? .*gelu_erf(x)/x * sigmoid(2 * x)/]]
local text = answer ":edit gelu"
has(text, "gelu.c: gelu is swapped in after ", ":edit takes what was saved")
t.ok(text:gsub("%s+", " "):find "%(compiled [%d.]+ %l+, tested [%d.]+ %l+, swapped [%d.]+ %l+%)",
  "with the time that it took")
has(text, 'mw.plugin.unload "gelu" gives the shipped code back',
  "and how to go back")
t.near(net(x):totable(), gelu_of(function(v) return v / (1 + math.exp(-2 * v)) end), 1e-6,
  "the network that is alive computes what the new code says")
t.ok(core.bytes(net[1].weight) == weights, "with the parameters that it had")
has(answer "?gelu", "in place of ops/gelu.c", "?gelu says whose code runs")
has(answer "??gelu", "x * sigmoid(2 * x)", "??gelu shows the new one")

change [[s/sigmoid(2 \* x)/sigmoid(3 * x)/]]
text = answer ":edit gelu"
has(text, "gelu is swapped in after", "another change replaces that")
t.ok(not text:find "this is your version", "which this session knows")
local threefold = gelu_of(function(v) return v / (1 + math.exp(-3 * v)) end)
t.near(net(x):totable(), threefold, 1e-6, "and runs")

-- What is wrong: the compiler's message at its line, and the old code goes on.
change [[s/mw_expect_float(it, 0)/mw_expect_flaot(it, 0)/]]
text = answer ":edit gelu"
local lines = {}
for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
t.ok(lines[1]:find "^error: gelu.c:17:%d+: .*mw_expect_flaot", "the compiler's message at its line")
t.ok(lines[4] and lines[4]:find "^17> static mw_status infer", "the line, with those around it")
t.ok(lines[5] and lines[5]:find "^ +%^$", "and a mark below its column")
t.is(lines[5] and lines[4]:sub(#lines[5], #lines[5] + 14), "mw_expect_flaot", "which is right")
t.is(lines[#lines], "the old code goes on", "the old code goes on")
t.near(net(x):totable(), threefold, 1e-6, "which it does")

change [[s/flaot/float/; s/sigmoid(3 \* x)/sigmoid(3 * x, axis=0)/]]
text = answer ":edit gelu"
has(text, "error: gelu.c: it does not pass the gate: ", "code that does not pass the gate")
t.ok(not text:find "plugin:" and not text:find "cache", "without what nobody wants to know")
t.near(net(x):totable(), threefold, 1e-6, "the old code goes on")

-- Back.
change [[s/\.formula = .*/.formula = "approximate ? gelu_tanh(x) : gelu_erf(x)",/]]
has(answer ":edit gelu", "gelu.c is as it was shipped: the shipped code runs again",
  "the text as it was shipped")
t.is(core.plugin_origin "gelu", "shipped", "is the shipped op")
t.is(net(x):totable(), s:get "before":totable(), "whose results come back to the bit")

-- A version of an earlier session, and :edit!
change [[s/gelu_erf(x)/x/]]
answer ":edit gelu"
mw.plugin.unload "gelu"
change ""
text = answer ":edit gelu"
has(text, "this is your version of before, " .. copies .. "gelu.c; :edit! gelu begins again",
  "a version of before is opened")
has(text, "gelu is swapped in", "and taken as it is")
change [[s/gelu_erf(x)/2 * x/]]
text = answer ":edit! gelu"
has(text, "kept as " .. copies .. "gelu.c~", ":edit! keeps it aside")
has(text, "gelu is swapped in", "and begins again")
t.near(net(x):totable(), gelu_of(function(v) return 2 * v end), 1e-6, "from what is shipped")
mw.plugin.unload "gelu"

-- Kernels that are set aside, and a kernel in a file of its own.
change [[s/^static mw_status run_conv/\/* mine *\/ &/]]
text = answer ":edit conv2d"
has(text, "conv2d, conv2d_weight_gradient, conv_transpose2d are swapped in",
  "a file of several ops")
has(text, "the kernels depthwise, winograd, implicit, shifted, gemm, ",
  "the faster kernels are set aside")
local image, filter = mw.randn {1, 2, 6, 6}, mw.randn {3, 2, 3, 3}
local plain = mw.conv2d(image, filter):totable()
mw.plugin.unload "conv2d"
t.near(mw.conv2d(image, filter):totable(), plain, 1e-5, "what runs then is the op's own")
change [[s/\.priority = 10/.priority = 11/]]
has(answer ":edit maxpool/2x2", "pool_2x2.c: its kernels are swapped in",
  "a kernel, by the op and it")
has(mw.kernel "maxpool", "2x2 f32 cpu 11 ", "takes the place of the shipped one")
change [[s/\.priority = 11/.priority = 12/]]
has(answer ":edit pool_2x2", "its kernels are swapped in", "or by the name of the file")
mw.plugin.unload(copies .. "pool_2x2.c")
has(mw.kernel "maxpool", "2x2 f32 cpu 10 shipped", "which is there again")

-- The editor.
put("status", "1\n")
change [[s/gelu_erf/relu/]]
has(answer ":edit gelu", "the editor says by its exit status that nothing is to be done",
  "an editor that gives up")
t.is(core.plugin_origin "gelu", "shipped", "then nothing is done")
os.remove(here .. "/status")
change ""

-- What cannot be edited.
t.is(answer ":edit gleu", 'error: there is no op "gleu"; did you mean :edit gelu?', "a misspelt op")
has(answer ":edit", ":edit is followed by an op or a file", "nothing")
has(answer ":edit no/such.c", "there is no file no/such.c; :new op NAME begins one", "no file")
has(answer ":edit conv2d/winogard", 'conv2d has no kernel "winogard"', "no kernel")
mw.plugin.load((os.getenv "MOONWALK_BUILD") .. "/plugins/squareplus.so")
has(answer ":edit squareplus", "whose source is not known", "a library")
mw.plugin.unload "squareplus"

-- :new
change [[s/factor \* x\[i\]/factor * x[i] + 1/]]
text = answer ":new op wobble"
has(text, "written: wobble/Makefile, wobble/wobble.c, wobble/wobble.lua", ":new writes a skeleton")
has(text, "wobble.c: wobble is loaded after", "which is opened, and loaded when it was saved")
t.is(mw.wobble(mw.tensor {2, 3}):totable(), {5.0, 7.0}, "with what was changed: 2 x + 1")
t.ok(contents "called":find "%+%d+ wobble/wobble.c\n$", "at a line of it")
has(answer ":new op wobble", "there is an op wobble already; ?wobble shows it",
  "a name that is taken")
has(answer ":new op Wobble", 'the name is "Wobble"', "a name that is none")
has(answer ":new wobble", ":new is followed by what it is and its name", "nothing to make")

-- A plugin's op: a wrong gradient does not pass.
change [[s/"dy \* factor"/"dy"/]]
local node = mw.wobble(mw.tensor {4})
text = answer ":edit wobble"
has(text, "it does not pass the gate: gradient", "a wrong gradient")
has(text, "the old code goes on", "is not taken")
change [[s/"dy"/"dy * factor"/; s/x\[i\] + 1/x[i] + 2/]]
has(answer ":edit wobble", "wobble.c: wobble is swapped in", "a right one is")
t.is(node:totable(), {10.0}, "also in what was there")

-- :reload
put("wobble/wobble.c", (contents "wobble/wobble.c":gsub("x%[i%] %+ 2", "x[i] + 3")))
has(answer ":reload wobble", "wobble.c: wobble is swapped in", ":reload")
t.is(mw.wobble(mw.tensor {4}):item(), 11.0, "takes the file as it is")
put("wobble/wobble.c", (contents "wobble/wobble.c":gsub("x%[i%] %+ 3", "x[j] + 3")))
text = answer ":reload"
has(text, "wobble.c:38:", "of all, which says what is wrong")
has(text, "error: the old code goes on", "and that the old code goes on")
t.is(mw.wobble(mw.tensor {4}):item(), 11.0, "which it does")
has(answer ":reload wobbel", "did you mean :reload wobble?", "a misspelt plugin")

-- :watch without a terminal, where nobody waits for keys: between steps.
has(answer ":watch wobble/wobble.c", "wobble/wobble.c is watched", ":watch")
t.is(answer ":watch", "watched: wobble/wobble.c", "says what is watched")
put("wobble/wobble.c", (contents "wobble/wobble.c":gsub("x%[j%] %+ 3", "x[i] + 4")))
local p = mw.param(mw.ones {1})
local limit = os.time() + 20
while mw.wobble(mw.tensor {4}):item() ~= 12.0 and os.time() < limit do
  mw.update({p}, {p * 1})
end
t.is(mw.wobble(mw.tensor {4}):item(), 12.0, "what is saved is taken between two steps")
has(answer ":watch off", "it is not watched any more", ":watch off")
t.is(answer ":watch", "nothing is watched; :watch my/op.c begins to", "ends it")
has(answer ":watch geul", "did you mean :watch gelu?", "a misspelt op")
has(answer ":watch off gelu", "gelu is not watched", "what is not watched")

-- Ops in Lua.
has(answer [[mw.op {name = "cubed", inputs = {"a"}, define = function(a) return a ^ 3 end,
  example = "mw.cubed(mw.ones {2})"}]], "function", "an op in Lua")
change [[s/a ^ 3/a ^ 4/]]
has(answer ":edit cubed", "cubed is made anew", "is run again")
t.is(mw.cubed(mw.tensor {2}):item(), 16.0, "as it was changed")
change [[s/mw.op/print/]]
has(answer ":edit cubed", "cubed was not made anew: does the code still call mw.op?",
  "code that makes no op")

-- An op of C text that was typed gets a file.
change [[s/factor \* x\[i\]/4 * x[i]/]]
s:run(("mw.plugin.compile(%q)"):format((core.text("templates", "scale.c"):gsub("scale", "typed")
  :gsub('"dy %* factor"', '"dy * 4"'):gsub("%(real%)a%->factor %* x%[i%]", "4 * x[i]"))))
change [[s/4 \* x\[i\]/4 * x[i] + 1/]]
has(answer ":edit typed", "typed.c: typed is swapped in", "C text is edited in a file of its own")
t.is(mw.typed(mw.tensor {2}):item(), 9.0, "and taken")

-- What :save writes of all that.
change [[s/gelu_erf(x)/5 * x/]]
answer ":edit! gelu"
answer(":save! " .. here .. "/saved.lua")
local saved = contents "saved.lua"
has(saved, ('mw.plugin.load("%sgelu.c", {override = true})'):format(copies),
  "a script loads what was edited")
has(saved, 'mw.plugin.load("wobble/wobble.c")', "and what is new")

-- ---- in a terminal ----------------------------------------------------------------------------

if not terminal.available() then
  t.skip("the commands in a terminal", "tmux is not there")
  return t.done()
end

local function open(options)
  local env = {XDG_CACHE_HOME = here .. "/cache", XDG_DATA_HOME = here .. "/data2",
    EDITOR = here .. "/editor", NO_COLOR = options.NO_COLOR, MOONWALK_EDITOR = options.kind}
  os.execute("rm -rf " .. here .. "/data2")
  return terminal.open {columns = options.columns, rows = options.rows, locale = options.locale,
    env = env, folder = here}
end

-- What is wrong is opened again at its line, until it is right or the user has enough.
for _, options in ipairs {
  {columns = 80, rows = 24, locale = "C.UTF-8", NO_COLOR = "1"},
  {columns = 120, rows = 40, locale = "C", kind = "plain"},
} do
  local what = ("%dx%d, %s"):format(options.columns, options.rows, options.locale)
  local w <close> = open(options)
  w:ready()
  change [[s/mw_expect_float(it, 0)/mw_expect_flaot(it, 0)/]]
  w:type ":edit gelu"
  w:key "Enter"
  w:wait "open it again at line 17? [Y/n]"
  has(w:text(), "17> static mw_status infer", what .. ": the line is shown")
  t.is(w:styled():find "\27%[" ~= nil, options.NO_COLOR == nil, what .. ": colour")
  change [[s/flaot/float/; s/gelu_erf(x)/3 * x/]]
  w:key "Enter"
  w:wait "gelu.c: gelu is swapped in after"
  w:ready()
  t.ok(contents "called":find "%+17 [^\n]*gelu.c\n$", what .. ": the editor is told the line")
  t.ok(not w:text():find "compiling", what .. ": what it was at is gone")
  w:run "mw.gelu(mw.tensor {2}):item()"
  has(w:text(), "\n6", what .. ": and the new code runs")
  change [[s/3 \* x/3 * z/]]
  w:type ":edit gelu"
  w:key "Enter"
  w:wait "open it again? [Y/n]"
  w:type "n"
  w:key "Enter"
  w:ready()
  w:run "mw.gelu(mw.tensor {2}):item() + 1"
  has(w:text(), "\n7", what .. ": who has enough has the old code")
end

-- A file that is watched, while a line is typed and while something trains.
do
  local w <close> = open {columns = 80, rows = 24, locale = "C.UTF-8"}
  local path = here .. "/data2/moonwalk/ops/gelu.c"
  w:ready()
  w:run ":watch gelu"
  has(w:text(), path:sub(-20), "an op is watched by its name")
  w:type "mw.gelu(mw.ten"
  w:wait "mw.gelu(mw.ten"
  local shipped = core.text("ops", "gelu.c")
  assert(compiler.write(path, (shipped:gsub("gelu_erf%(x%)", "5 * x"))))
  w:wait "gelu.c: gelu is swapped in after"
  w:type "sor {2}):item()"
  w:key "Enter"
  w:wait "\n10"
  w:ready()
  t.ok(w:text():find("\n> mw.gelu(mw.tensor {2}):item()\n10", 1, true),
    "the line that was being typed is whole")
  w:run "p = mw.param(mw.ones {2})"
  w:run "opt = optim.SGD({p}, {lr = 0})"
  w:type "print 'on'; while true do loss = opt:step(mw.gelu(p):sum()) end"
  w:key "Enter"
  w:wait "\non"
  assert(compiler.write(path, (shipped:gsub("gelu_erf%(x%)", "7 * x"))))
  w:wait(function(shown) return select(2, shown:gsub("gelu is swapped in", "")) == 2 end)
  assert(compiler.write(path, (shipped:gsub("gelu_erf%(x%)", "7 * z"))))
  w:wait "the old code goes on"
  w:key "C-c"
  w:wait "interrupted"
  w:ready()
  w:run "loss:item()"
  has(w:text(), "\n14", "a training that runs has taken it: 7 (1 + 1)")
  w:run ":watch off"
  has(w:text(), "not watched any more", "and off")
end

-- Without an editor.
do
  local w <close> = terminal.open {env = {XDG_CACHE_HOME = here .. "/cache"}, folder = here}
  w:ready()
  w:run ":edit gelu"
  has(w:text(), "there is no editor: set EDITOR (or VISUAL), as in EDITOR=nano",
    "without an editor")
end
do
  local w <close> = terminal.open {env = {EDITOR = "no-such-editor"}, folder = here}
  w:ready()
  w:run ":edit gelu"
  has(w:text(), "the editor no-such-editor cannot be started", "one that is not there")
end

t.done()
