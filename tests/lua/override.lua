-- override.lua: plugins whose ops and kernels take the place of shipped ones.
local t = require "tap"
local mw = require "moonwalk"
local folder = require "folder"

folder.own_cache()

local core, nn, plugin = mw.core, mw.nn, mw.plugin
local build = os.getenv "MOONWALK_BUILD" or "build"
local OVERRIDE = {override = true}

-- An op file: y = x / (1 + SLOPE |x|), which softsign is for the slope 1.
local softsign = [[
#include <math.h>
#include <moonwalk.h>
TYPES
static mw_status infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++)
    y[i] = x[i] / (1 + (real)SLOPE * (x[i] < 0 ? -x[i] : x[i]));
  return MW_OK;
}
static mw_status backward(const mw_call *call) {
  const real *x = call->in[0].data, *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) {
    const real r = 1 + (real)SLOPE * (x[i] < 0 ? -x[i] : x[i]);
    dx[i] = DX;
  }
  return MW_OK;
}
static const mw_op op = {
    .name = "softsign", .version = 1, .doc = "Steeper.", .example = "mw.softsign(mw.randn{3})",
    .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = infer, .forward = forward,
    .backward = backward, .backward_needs = MW_NEEDS_IN(0) ATTRS};
MW_PLUGIN(&op)
]]
local function with(slope, changes)
  local parts = {SLOPE = slope, DX = "dy[i] / (r * r)", TYPES = "", ATTRS = ""}
  for name, text in pairs(changes or {}) do parts[name] = text end
  local text = softsign
  for _, name in ipairs {"DX", "TYPES", "ATTRS", "SLOPE"} do
    text = text:gsub(name, (tostring(parts[name]):gsub("%%", "%%%%")))
  end
  return text
end

local function plugins() return tostring(plugin.list()) end

---- What is alive goes over to the new code, and back.

mw.seed(3)
local x = mw.tensor({1, -3, 0}, "f64")
local p = mw.param(mw.tensor({1, -3, 0}, "f64"))
local node = mw.softsign(x)
local waiting = mw.grad(mw.softsign(p):sum(), {p})[1]
local kept = mw.compile(function(a) return a:softsign() end)
local layer = nn.Softsign {}
local net = nn.Sequential {nn.Dense {3, 3}, nn.Softsign {}}
local weights = core.bytes(net[1].weight)
local input = mw.randn {2, 3}
local shipped = {core.bytes(kept(x)), core.bytes(layer(x)), core.bytes(net(input)),
  core.bytes(mw.softsign(x))}
t.near(kept(x):totable(), {1 / 2, -3 / 4, 0}, 1e-15, "the shipped op")

local path = folder.put("softsign.c", with(2))
t.error(function() plugin.load(path) end, "op softsign exists already, from shipped",
  "without a word about it a plugin cannot override")
t.is(plugins(), "no plugin is loaded", "and nothing is loaded then")
t.is(plugin.load(path, {override = true, test = true}), {"softsign"},
  "with `override` it is, after it has passed the gate")
local steeper, slopes = {1 / 3, -3 / 7, 0}, {1 / 9, 1 / 49, 1} -- by hand
t.near(node:totable(), steeper, 1e-15, "a tensor that was not computed yet")
t.near(kept(x):totable(), steeper, 1e-15, "a compiled function")
t.near(layer(x):totable(), steeper, 1e-15, "a layer")
t.near(mw.softsign(x):totable(), steeper, 1e-15, "the op by its name")
t.near(waiting:totable(), slopes, 1e-15, "a gradient that was not computed yet")
t.near(mw.grad(mw.softsign(p):sum(), {p})[1]:totable(), slopes, 1e-15, "and one from now")
t.ok(core.bytes(net(input)) ~= shipped[3], "a network computes something else")
t.ok(core.bytes(net[1].weight) == weights, "with the parameters that it had")
t.is(plugins():gsub("%(.-%)", "()"),
  "softsign  ()\n  op softsign, version 1, in place of the shipped one", "the list says so")
t.is(select(2, core.plugin_origin "softsign"), "unary", "the shipped file is still known")
t.ok(core.plugin_origin "softsign":find "%.so$", "and whose code runs")
t.error(function() plugin.compile(with(5), OVERRIDE) end,
  "op softsign exists already, from .*%.so", "two do not override the same op")

---- Reloading: what fails changes nothing.

local function refused(text, pattern, what)
  folder.put("softsign.c", text)
  local message = t.error(function() plugin.reload "softsign" end, pattern, what)
  t.near(layer(x):totable(), steeper, 1e-15, "... and the old code goes on")
  return message
end
local message = refused(with(3, {DX = "dy[i]"}), "the gradient",
  "a wrong gradient does not pass the gate")
t.ok(message and message:find(path, 1, true), "which names the file")
refused(with "nothing", "softsign.c:%d+:%d+: error: .-nothing", "code that is no C")
refused("#include <moonwalk.h>\n", "moonwalk_plugin", "a file without an op")
refused(with(3):gsub("{{\"y\"}}", "{{0}}"), "lacks an output", "an op that is not one")
refused((with(3):gsub("return it%->out.-MW_OK;", "return mw_fail(it, \"no luck\");")),
  "no luck", "an op that refuses its own example")
local taken = plugin.take(folder.put("softsign.c", with(3)), {test = true})
t.near(layer(x):totable(), {1 / 4, -3 / 10, 0}, 1e-15, "good code is taken")
t.is({taken.ops, taken.replaced}, {{"softsign"}, true}, "which plugin.take tells of")
t.ok(taken.compile > 0 and taken.test > 0 and taken.swap > 0, "with the time that it took")

---- An op with other attributes, inputs, or another nature.

local built = mw.softsign(x)
plugin.take(folder.put("softsign.c", with("((const attrs *)call->attrs)->slope", {
  TYPES = "typedef struct attrs { double slope; } attrs;",
  ATTRS = [[, .attrs_size = sizeof(attrs),
    .attrs = (const mw_attr[]){{"slope", MW_FLOAT, .initial = "4"}, {0}}]],
})), {test = true})
t.near(built:totable(), {1 / 5, -3 / 13, 0}, 1e-15, "a new attribute has its default")
t.near(mw.softsign(x, {slope = 1}):totable(), {1 / 2, -3 / 4, 0}, 1e-15, "and can be given")

built = mw.softsign(x)
plugin.take(folder.put("softsign.c", (with(1)
  :gsub('{{"x"}}', '{{"x"}, {"z"}}'):gsub("mw.randn{3}%)", "mw.randn{3}, mw.randn{3})"))))
t.error(function() built:totable() end, "softsign was replaced, and has other inputs now",
  "a call that the new op does not fit says so")
plugin.unload "softsign"
t.near(built:totable(), {1 / 2, -3 / 4, 0}, 1e-15, "and runs when it fits again")

local now = {core.bytes(kept(x)), core.bytes(layer(x)), core.bytes(net(input)),
  core.bytes(mw.softsign(x))}
t.ok(now[1] == shipped[1] and now[2] == shipped[2] and now[3] == shipped[3] and
  now[4] == shipped[4], "unloaded: everything gives the bits of the shipped op again")
t.is(plugins(), "no plugin is loaded", "of which nothing is left")
t.is(core.plugin_origin "softsign", "shipped", "and which is where it was")
t.near(waiting:totable(), slopes, 1e-15, "what was computed meanwhile stays")

built = mw.softsign(x)
plugin.load(folder.put("softsign.c", (with(2):gsub("%.infer = .-};",
  ".formula = \"x / (1 + 2 * abs(x))\"};"))), OVERRIDE)
t.near(mw.softsign(x):totable(), steeper, 1e-15, "a formula in place of a kernel")
t.error(function() built:totable() end, "is made of other ops now",
  "of which a call before says so")
plugin.unload "softsign"
t.near(built:totable(), {1 / 2, -3 / 4, 0}, 1e-15, "until the kernel is there again")

---- A dtype that the new op does not serve.

plugin.compile("/* real: f32 */\n" .. with(2), OVERRIDE)
t.near(mw.softsign(mw.tensor {1}):item(), 1 / 3, 1e-7, "for f32 alone")
t.error(function() return mw.softsign(x) end, "softsign: x is f64%[3%], but kernels exist for f32",
  "f64 is refused, for which there was a shipped kernel")
plugin.unload "softsign"

---- Kernels of other plugins for an op that is overridden.

local softmax = [[
#include <moonwalk.h>
typedef struct attrs { int64_t axis; } attrs;
static mw_status infer(mw_infer *it) {
  it->out[0] = it->in[0];
  return mw_expect_axis(it, "axis", &((attrs *)it->attrs)->axis, it->in[0].rank);
}
static mw_status forward(const mw_call *call) {
  for (int64_t i = 0; i < call->out[0].count; i++) ((real *)call->out[0].data)[i] = (real)ALL;
  return MW_OK;
}
static const mw_attr schema[] = {
    {"axis", MW_AXIS, offsetof(attrs, axis), .initial = "-1", .doc = "It."}, {0}};
static const mw_op op = {
    .name = "softmax", .version = 1, .doc = "All the same.", .example = "mw.softmax(mw.randn{3})",
    .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = infer, .forward = forward,
    .attrs = schema, .attrs_size = sizeof(attrs)};
MW_PLUGIN(&op)
]]
local row = mw.tensor {0, 0}
plugin.load(build .. "/plugins/softmax_online.so")
local early = mw.softmax(row)
plugin.load(folder.put("softmax.c", (softmax:gsub("ALL", "7"))), OVERRIDE)
t.is({early:totable(), mw.softmax(row):totable()}, {{7.0, 7.0}, {7.0, 7.0}},
  "a faster kernel for the shipped op is not taken for the one in its place")
-- The names of an op's kernels, best first.
local function kernels(op)
  local list, seen = {}, {}
  for line in mw.kernel(op):gmatch "[^\n]+" do
    local name = line:match "^%S+" .. (line:find "%(set aside%)$" and " aside" or "")
    if not seen[name] then list[#list + 1] = name end
    seen[name] = true
  end
  return table.concat(list, ", ")
end
t.is(kernels "softmax", "plain, online aside",
  "it is set aside")
mw.kernel("softmax", "online")
t.is(mw.softmax(row):totable(), {0.5, 0.5}, "and is taken when it is asked for")
mw.kernel("softmax", false)
mw.tune {file = false}
t.is({mw.softmax(row):totable(), #mw.tune()}, {{7.0, 7.0}, 0}, "but no tuning considers it")
mw.tune(false)
plugin.reload("softmax_online", {test = false})
t.is(mw.softmax(row):totable(), {7.0, 7.0}, "nor when it is reloaded")
plugin.take(folder.put("softmax.c", (softmax:gsub("ALL", "8"))))
t.is(mw.softmax(row):totable(), {8.0, 8.0}, "nor when the op is")
plugin.unload "softmax"
t.is({kernels "softmax", mw.softmax(row):totable()},
  {"online, plain", {0.5, 0.5}},
  "with the shipped op it is back in its place")

plugin.load(folder.path .. "/softmax.c", OVERRIDE)
plugin.unload "softmax_online"
t.is(kernels "softmax", "plain", "its plugin is unloaded meanwhile")
plugin.unload "softmax"
t.is({kernels "softmax", mw.softmax(row):totable()}, {"plain", {0.5, 0.5}},
  "and it does not come back")

mw.kernel("softmax", "plain")
plugin.load(build .. "/plugins/softmax_online.so")
t.error(function()
  local other = softmax:gsub("attrs { int64_t axis", "attrs { int64_t more, axis")
  plugin.compile((other:gsub("ALL", "1")), OVERRIDE)
end, "softmax has other attributes now, and the kernel online .* is made for the old ones",
  "an op of other attributes, while another plugin has a kernel for it")
t.is(kernels "softmax", "online, plain", "nothing has changed")
plugin.unload "softmax_online"
mw.kernel("softmax", false)

---- A kernel in place of a shipped one.

local pool = [[
#include <moonwalk.h>
static mw_status forward(const mw_call *call) {
  for (int64_t i = 0; i < call->out[0].count; i++) ((real *)call->out[0].data)[i] = (real)ALL;
  return MW_OK;
}
static bool supports(const mw_call *call) { return call->out[0].spec.rank == 4; }
static const mw_kernel kernel = {
    .op = "maxpool", .name = "NAME", .priority = 10, .supports = supports, .forward = forward};
MW_PLUGIN_WITH_KERNELS((NULL), (&kernel))
]]
local image = mw.arange(16):reshape {1, 1, 4, 4}
local function maxpool() return image:maxpool {kernel = 2}:reshape {4}:totable() end
local pooled = {5.0, 7.0, 13.0, 15.0}
local pool_kernels = kernels "maxpool"
t.is(maxpool(), pooled, "maxpool")
t.error(function() plugin.compile((pool:gsub("ALL", "1"):gsub("NAME", "2x2"))) end,
  "maxpool has a kernel 2x2 for f32 already, from shipped", "a kernel of a shipped one's name")
local pool_path = folder.put("pool.c", (pool:gsub("ALL", "1"):gsub("NAME", "2x2")))
t.is(plugin.load(pool_path, OVERRIDE), {}, "overrides it if that is said")
t.is({maxpool(), kernels "maxpool"}, {{1.0, 1.0, 1.0, 1.0}, pool_kernels}, "and is taken")
t.is({core.plugin_origin("maxpool", "2x2")}, {plugin.list()[1].origin, "pool_2x2"},
  "whose shipped file is known")
plugin.take(folder.put("pool.c", (pool:gsub("ALL", "2"):gsub("NAME", "vectors"))))
t.is({kernels "maxpool", (core.plugin_origin("maxpool", "2x2"))},
  {"vectors, 2x2, plain", "shipped"},
  "one that the next version does not bring is there again")
t.is(maxpool(), {2.0, 2.0, 2.0, 2.0}, "after the one that it brings, which was there first")
plugin.unload(pool_path)
t.is({maxpool(), kernels "maxpool"}, {pooled, pool_kernels}, "all are there again")

---- What the graph itself relies on: the op that adds gradients.

local function twice()
  local q = mw.param(mw.tensor {3})
  return mw.grad((q * q + q):sum(), {q})[1]:item()
end
local added = twice()
local adder = core.text("ops", "accumulate.c")
t.is(plugin.compile(adder, OVERRIDE), {"accumulate"}, "a shipped file overrides itself")
t.is(twice(), added, "gradients are added")
plugin.unload "accumulate"
t.is(twice(), added, "and once more")

---- A gradient that was built before, of an op that has another kind of gradient now.

for _, kind in ipairs {
  {text = "", says = "was replaced after this gradient was built, and has no gradient now"},
  {text = ".gradient = gradient", says = "builds it out of other ops now: ask for it again"},
} do
  local before = mw.grad(mw.softsign(p):sum(), {p})[1]
  plugin.load(folder.put("softsign.c", (with(2):gsub("static mw_status backward.-\n}\n", [[
static inline mw_status gradient(mw_build *g) {
  g->din[0] = mw_make2(g, "add", g->dout[0], g->dout[0]);
  return MW_OK;
}
]]):gsub(".backward =.-}", kind.text .. "}"))), OVERRIDE)
  t.error(function() before:totable() end, kind.says, "the message says what is to be done")
  if kind.text ~= "" then
    t.near(mw.grad(mw.softsign(p):sum(), {p})[1]:totable(), {2, 2, 2}, 1e-15, "which works")
  end
  plugin.unload "softsign"
end

---- Many in a row leave nothing behind.

-- How many libraries of plugins are open: from the cache, or copies of them.
local function libraries()
  local n, seen = 0, {}
  for line in io.lines "/proc/self/maps" do
    local at = line:match "%S+/plugins/%x+%.so" or line:match "%S+/moonwalk%-%d+%-%d+%-%w+"
    if at and not seen[at] then n, seen[at] = n + 1, true end
  end
  return n
end
plugin.take(folder.put("softsign.c", with(2)), OVERRIDE)
local open = libraries()
t.ok(open > 0, "a library is open")
for round = 1, 50 do
  if round % 10 == 0 then plugin.unload "softsign" end
  plugin.take(folder.put("softsign.c", with(round % 2 + 2)), OVERRIDE)
  t.near(layer(x):totable()[1], 1 / (round % 2 + 3), 1e-15, "override " .. round)
end
t.ok(libraries() <= open + 1, "after 50 overrides one more is open at most")
plugin.unload "softsign"

---- The gate takes the shipped file of an op that is there to stop gradients.

local taken_anew = plugin.take(folder.put("identity.c", core.text("ops", "identity.c")),
  {override = true, test = true})
t.is(taken_anew.ops, {"identity", "stop_gradient"}, "identity.c passes the gate")
plugin.unload "identity"
t.error(function()
  plugin.take(folder.put("identity.c", (core.text("ops", "identity.c")
    :gsub("din%[0%] = g%->dout%[0%]", 'din[0] = mw_make2(g, "add", g->dout[0], g->dout[0])'))),
    {override = true, test = true})
end, "gradient", "with a wrong gradient it does not")

---- Not those of other plugins.

plugin.load(build .. "/plugins/squareplus.so")
t.error(function()
  plugin.compile((with(2):gsub('"softsign"', '"squareplus"')), OVERRIDE)
end, "op squareplus exists already, from .*squareplus.so", "another plugin's op is not overridden")
t.error(function() plugin.load(path, {override = 1}) end,
  "override is 1, expected true or false", "`override` is true or false")
t.error(function() plugin.reload(path, {override = true}) end, "there is no option \"override\"",
  "and no option of reloading, which does as it was loaded")
t.error(function() plugin.load("no_such.so", OVERRIDE) end, "No such file", "a missing library")
t.is(core.plugin_origin "no_such_op", nil, "an op that there is not comes from nowhere")

folder.remove()
t.done()
