-- surgery.lua: the code of ops is replaced in tensors, programs and networks that exist.
local t = require "tap"
local mw = require "moonwalk"

local UNTESTED = {test = false} -- the code is not put to the gate, whose tests it would not pass
local folder = require "folder"

folder.own_cache()

-- An op y = k x, whose parts may be others.
local function op(parts)
  local text = [[
#include <moonwalk.h>
typedef struct s_attrs { ATTRS } s_attrs;
static const mw_attr attrs[] = {SCHEMA {0}};
static mw_status infer(mw_infer *it) { it->saved = SAVED; return INFER, MW_OK; }
static mw_status forward(const mw_call *call) {
  const s_attrs *a = call->attrs;
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = FORWARD;
  if (call->saved) for (int i = 0; i < SAVED; i++) ((char *)call->saved)[i] = FILL;
  return (void)a, MW_OK;
}
static mw_status backward(const mw_call *call) {
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = BACKWARD;
  return MW_OK;
}
static const mw_op op = {
    .name = "NAME", .version = VERSION, .doc = "y = k x.", .example = "mw.NAME(mw.randn{3})",
    .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = attrs, .attrs_size = sizeof(s_attrs),
    .infer = infer, .forward = forward, .backward = backward, .backward_needs = NEEDS};
MW_PLUGIN(&op)
]]
  local values = {NAME = "s_scale", VERSION = "1", ATTRS = "double k;", SAVED = "0", FILL = "0",
    SCHEMA = '{.name = "k", .type = MW_FLOAT, .offset = offsetof(s_attrs, k), .initial = "2"},',
    INFER = "it->out[0] = it->in[0]", FORWARD = "x[i] * (real)a->k", NEEDS = "0",
    BACKWARD = "dy[i] * (real)((const s_attrs *)call->attrs)->k"}
  for name, value in pairs(parts or {}) do values[name] = value end
  return (text:gsub("%u[%u]+", values))
end

local path = folder.put("s_scale.c", op())
local function save(parts) folder.put("s_scale.c", op(parts)) end
local function reload(parts)
  save(parts)
  return mw.plugin.reload("s_scale", UNTESTED)
end

---- What exists uses the new code.

t.is(mw.plugin.load(path), {"s_scale"}, "a C file is loaded")
local x = mw.param(mw.tensor({1, 2}, "f64"))
local before = mw.s_scale(x, {k = 3})
local waiting = mw.s_scale(x, {k = 3})
local dx = mw.grad(waiting:sum(), {x})[1]
local late = mw.s_scale(x, {k = 3})
local traces = 0
local compiled = mw.compile(function(a)
  traces = traces + 1
  return mw.s_scale(a, {k = 3})
end)
t.is(before:totable(), {3, 6}, "the old code runs")
t.is(compiled(x):totable(), {3, 6}, "compiled too")
local apply = mw.s_scale
t.is(reload {FORWARD = "x[i] * (real)a->k + 100", BACKWARD = "dy[i] * 1000", VERSION = "2"},
  {"s_scale"}, "it is replaced")
t.is(before:totable(), {3, 6}, "what is computed stays")
t.is(apply(x, {k = 3}):totable(), {103, 106}, "a function that was taken before uses the new code")
t.is(waiting:totable(), {103, 106}, "so does a tensor that was built before")
t.is(dx:totable(), {1000, 1000}, "and a gradient")
t.is(mw.grad(late:sum(), {x})[1]:totable(), {1000, 1000}, "and one that is taken later")
t.is(compiled(x):totable(), {103, 106}, "and a compiled function")
t.is(traces, 2, "which was built anew")
t.is(compiled(x):totable(), {103, 106}, "once")
t.is(traces, 2, "and for all")
t.is(mw.ops.s_scale.version, 2, "the version is the new one's")
t.is(mw.plugin.reload(path, UNTESTED), {"s_scale"}, "it is known by its path too")

---- Saved bytes, and what backward reads.

reload {SAVED = "0"}
local y = mw.s_scale(x)
dx = mw.grad(y:sum(), {x})[1]
reload {SAVED = "64", FILL = "7", NEEDS = "MW_NEEDS_SAVED",
  BACKWARD = "dy[i] * ((const char *)call->saved)[63]"}
t.is(dx:totable(), {7, 7}, "a gradient whose op saves bytes now")
y = mw.s_scale(x)
dx = mw.grad(y:sum(), {x})[1]
reload {SAVED = "100000", FILL = "9", NEEDS = "MW_NEEDS_SAVED | MW_NEEDS_IN(0)",
  BACKWARD = "dy[i] * ((const char *)call->saved)[99999] + ((const real *)call->in[0].data)[i]"}
t.is(dx:totable(), {10, 11}, "and more of them, and reads its input")
y = mw.s_scale(x)
dx = mw.grad(y:sum(), {x})[1]
reload {SAVED = "0", NEEDS = "MW_NEEDS_OUT(0)",
  BACKWARD = "dy[i] * ((const real *)call->out[0].data)[i]"}
t.is(dx:totable(), {2, 4}, "and none, but reads its output")

---- Attributes go by their names.

reload {}
y = mw.s_scale(x, {k = 5})
reload {ATTRS = "int64_t add; bool on; double k;",
  SCHEMA = '{"add", MW_INT, offsetof(s_attrs, add), .initial = "10"}, '
    .. '{"on", MW_BOOLEAN, offsetof(s_attrs, on), .initial = "true"}, '
    .. '{"k", MW_FLOAT, offsetof(s_attrs, k), .initial = "1"},',
  FORWARD = "x[i] * (real)a->k + (a->on ? (real)a->add : 0)"}
t.is(y:totable(), {15, 20}, "a new attribute has its default, the old one its value")
y = mw.s_scale(x, {k = 5, add = 7, on = false})
local z = mw.s_scale(x, {k = 5.5})
reload {ATTRS = "int64_t k; int mode;",
  SCHEMA = '{"mode", MW_CHOICE, offsetof(s_attrs, mode), .initial = "low", .choices = "low|high"},'
    .. '{"k", MW_INT, offsetof(s_attrs, k), .initial = "1"},'}
t.is(y:totable(), {5, 10}, "an attribute may change its type")
t.error(function() return z:totable() end, "s_scale: .*k.*build the expression again",
  "where its value does not fit that is an error")
y = mw.s_scale(x, {k = 5, mode = "high"})
reload {ATTRS = "int64_t k; int mode;",
  SCHEMA = '{"k", MW_INT, offsetof(s_attrs, k), .initial = "1"},'
    .. '{"mode", MW_CHOICE, offsetof(s_attrs, mode), .initial = "low", .choices = "high|low|off"},',
  FORWARD = "x[i] * (real)a->k + (a->mode == 0 ? 1000 : 0)"}
t.is(y:totable(), {1005, 1010}, "a choice keeps its word")
y = mw.s_scale(x, {mode = "off"})
reload {ATTRS = "int64_t k; int mode;",
  SCHEMA = '{"mode", MW_CHOICE, offsetof(s_attrs, mode), .initial = "low", .choices = "low|high"},'
    .. '{"k", MW_INT, offsetof(s_attrs, k), .initial = "1"},'}
t.error(function() return y:totable() end, "mode.*off.*build", "one that is gone is an error")
y = mw.s_scale(x)
reload {ATTRS = "double need;",
  SCHEMA = '{"need", MW_FLOAT, offsetof(s_attrs, need), .doc = "it is new"},',
  FORWARD = "x[i] * (real)a->need", BACKWARD = "dy[i]"}
t.error(function() return y:totable() end, "'need' is missing.*build", "so is a required one")

---- What does not fit any more.

reload {}
y = mw.s_scale(x)
dx = mw.grad(mw.s_scale(x):sum(), {x})[1]
reload {INFER = "it->out[0] = it->in[0], it->out[0].dtype = MW_I64"}
t.error(function() return y:totable() end, "gives i64%[2%] now, which was f64%[2%].*build",
  "another result is an error")
t.error(function() return dx:totable() end, "s_scale was replaced", "in a gradient too")
reload {}
t.is(y:totable(), {2, 4}, "until the code is as it was")
t.is(dx:totable(), {2, 2}, "and the gradient too")

---- A training goes on with the new code, its weights and its optimizer's state.

local function train(replace)
  reload {}
  local w = mw.param(mw.tensor({1}, "f64"))
  local opt = mw.optim.SGD({w}, {lr = 0.125, momentum = 0.5})
  local losses = {}
  for step = 1, 6 do
    if replace then replace(step) end
    local d = mw.s_scale(w) - 4
    losses[step] = opt:step((d * d):sum()):item()
  end
  return losses, w:item()
end
-- d = k w - 4, dw = 2 k d, b <- b / 2 + dw, w <- w - b / 8, by hand
local function expected(factor)
  local w, b, losses = 1, 0, {}
  for step = 1, 6 do
    local k = factor(step)
    local d = k * w - 4
    losses[step] = d * d
    b = b / 2 + 2 * k * d
    w = w - b / 8
  end
  return losses, w
end
local losses, w = expected(function() return 2 end)
local got, weight = train()
t.near(got, losses, 1e-12, "a training")
t.near(weight, w, 1e-12, "and what it gives")
losses, w = expected(function(step) return step < 4 and 2 or 1 end)
got, weight = train(function(step)
  if step == 4 then
    reload {FORWARD = "x[i] * (real)a->k / 2", BACKWARD = "dy[i]"}
  end
end)
t.near(got, losses, 1e-12, "one whose op is replaced before the fourth step")
t.near(weight, w, 1e-12, "with its weights and its momentum")

---- Watching the source.

local said = {}
reload {}
local watch = mw.plugin.watch(path, {test = false,
  print = function(line) said[#said + 1] = line end})
t.is(watch:poll(), false, "nothing was saved")
w = mw.param(mw.tensor({1}, "f64"))
local opt = mw.optim.SGD({w}, {lr = 0})
local function step() return opt:step((mw.s_scale(w)):sum()):item() end
-- Steps until the watch has something to say.
local function steps()
  local n, last = #said, os.time() + 60
  while #said == n and os.time() < last do step() end
  return step()
end
t.is(step(), 2.0, "the old code")
save {FORWARD = "x[i] * 50"}
t.is(steps(), 50.0, "the source is saved: the new code runs")
t.ok(said[1]:find "s_scale.c: replaced after %d+%.%d%d s$", "and a line says so")
save {FORWARD = "x[i] * oops"}
t.is(steps(), 50.0, "a source that does not compile: the old code runs")
t.ok(said[2]:find "the old code goes on: .*oops", "and the compiler's message is there")
save {FORWARD = "x[i] * 60"}
t.is(steps(), 60.0, "until it does")
watch:stop()
save {FORWARD = "x[i] * 70"}
local stop = os.clock() + 0.3
while os.clock() < stop do step() end
t.is(step(), 60.0, "when it is stopped nothing is looked at")
t.is(#said, 3, "and nothing said")

-- With the gate, where it is built in.
if pcall(require, "moonwalk.gate") then
  save {FORWARD = "x[i] * (real)a->k * 3",
    BACKWARD = "3 * dy[i] * (real)((const s_attrs *)call->attrs)->k"}
  t.is(mw.plugin.reload "s_scale", {"s_scale"}, "code that passes the gate")
  save {BACKWARD = "dy[i] * 5"}
  t.error(function() mw.plugin.reload "s_scale" end,
    "it does not pass its tests: .*gradient", "code that does not")
  t.is(mw.s_scale(x):totable(), {6, 12}, "is not taken")
end

---- Failures leave everything as it was.

reload {}
y = mw.s_scale(x)
local function refused(pattern, parts, what)
  if type(parts) == "table" then save(parts) else folder.put("s_scale.c", parts) end
  t.error(function() mw.plugin.reload("s_scale", UNTESTED) end, pattern, what)
  t.is(mw.s_scale(x):totable(), {2, 4}, "... and the old code goes on")
end
refused("s_scale.c:%d+:.*oops", {FORWARD = "oops"}, "what does not compile")
refused("lacks a version", {VERSION = "0"}, "what is refused at registration")
refused("attribute k", {SCHEMA = '{"k", MW_FLOAT, 10000},'}, "a schema that does not fit")
refused("relu exists already, from shipped", {NAME = "relu"}, "the name of another op")
refused("is no Moonwalk plugin",
  "#include <moonwalk.h>\nstatic inline int none(void) { return MW_ABI; }\n", "what is no plugin")
refused("no_such_function",
  {FORWARD = "no_such_function()"}, "what lacks a function")
t.is(y:totable(), {2, 4}, "a tensor from before too")
t.error(function() mw.plugin.reload("s_scal", UNTESTED) end, "no plugin 's_scal' is loaded",
  "a plugin that is not there")
t.error(function() mw.plugin.reload("s_scale", {tests = true}) end, "tests", "an unknown option")

---- An op that goes away, and one that comes.

save {NAME = "s_other"}
y = mw.s_scale(x)
t.is(mw.plugin.reload("s_scale", UNTESTED), {"s_other"}, "another op in its place")
t.is(mw.s_other(x):totable(), {2, 4}, "is there")
t.is(y:totable(), {2, 4}, "a tensor of the op that is gone runs the old code")
t.error(function() return mw.s_scale(x) end, "s_scale", "which no new one can be made of")
reload {FORWARD = "x[i] * 11"}
t.is(mw.s_scale(x):totable(), {11, 22}, "and back")
mw.plugin.unload "s_scale"
t.error(function() return mw.s_scale(x) end, "s_scale", "a plugin that is unloaded is gone")
t.is(mw.plugin.load(path), {"s_scale"}, "and may be loaded again")

---- Ops that a script made.

local define = function(k)
  return {name = "s_lua", define = function(a) return a * k end}
end
mw.op(define(2))
y = mw.compile(function(a) return mw.s_lua(a) end)
t.is(y(x):totable(), {2, 4}, "an op in Lua")
mw.op(define(3))
t.is(mw.s_lua(x):totable(), {3, 6}, "is made again")
t.is(y(x):totable(), {3, 6}, "and a compiled function knows it")
t.error(function() mw.op {name = "s_scale", define = print} end, "s_scale exists already",
  "but not in the place of a plugin's")

---- Without growth.

local sources = {}
for i = 1, 2 do
  folder.put("s_scale.c", op {FORWARD = "x[i] * " .. i})
  mw.plugin.reload("s_scale", UNTESTED)
  for _, entry in ipairs(mw.plugin.list()) do
    if entry.name == "s_scale" then sources[i] = folder.contents(entry.origin) end
  end
end
mw.plugin.unload "s_scale"
local library = folder.put("s_many.so", sources[1])
mw.plugin.load(library)

local function count(command)
  local pipe = assert(io.popen(command))
  local n = tonumber(pipe:read "a")
  pipe:close()
  return n
end
local stat = assert(io.open "/proc/self/stat")
local pid = stat:read "n"
stat:close()
local function measure()
  collectgarbage()
  collectgarbage()
  local rss = 0
  for line in io.lines "/proc/self/status" do
    rss = tonumber(line:match "^VmRSS:%s+(%d+)") or rss
  end
  return count(("wc -l </proc/%d/maps"):format(pid)),
    count(("ls /proc/%d/fd | wc -l"):format(pid)), rss
end
local wrong = 0
local function many(n)
  for i = 1, n do
    os.remove(library) -- as linkers do: what runs is in the old file
    folder.put("s_many.so", sources[i % 2 + 1])
    local old = mw.s_scale(x)
    mw.plugin.reload(library, UNTESTED)
    local k = i % 2 + 1
    if old:totable()[2] ~= 2.0 * k or mw.s_scale(x):totable()[2] ~= 2.0 * k then
      wrong = wrong + 1
    end
  end
end
many(100)
local maps, files, rss = measure()
many(1000)
local maps_after, files_after, rss_after = measure()
t.is(wrong, 0, "1,000 reloads, after each of which the new code runs")
t.ok(maps_after <= maps + 5, ("mappings: %d and then %d"):format(maps, maps_after))
-- One more or less is the pipe that they are counted through.
t.ok(files_after <= files + 1, ("open files: %d and then %d"):format(files, files_after))
t.ok(rss_after <= rss * 1.05 + 2048 or (os.getenv "SANITIZE" or "") ~= "",
  ("memory: %d and then %d KiB"):format(rss, rss_after))
folder.remove()
t.done()
