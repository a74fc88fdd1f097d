-- plugin.lua: loading ops from shared libraries, good and bad ones.
local t = require "tap"
local mw = require "moonwalk"

local UNTESTED = {test = false} -- the code is not put to the gate, whose tests it would not pass
local folder = require "folder"

local build = os.getenv "MOONWALK_BUILD" or "build"
local hostile = build .. "/hostile/"

local function count_ops()
  local n = 0
  for _ in pairs(mw.core.ops()) do n = n + 1 end
  return n
end

---- The example plugin.

local before = count_ops()
t.is(mw.core.plugin_load(build .. "/plugins/squareplus.so"), {"squareplus"},
  "loading gives the names of the ops")
t.is(count_ops(), before + 1, "the registry has one op more")
t.is(mw.core.ops().squareplus.attrs[1].name, "b", "with its attributes")

local x = mw.tensor({{1, -2}, {0.5, 30}}, "f64")
local function want(v, b) return (v + math.sqrt(v * v + b)) / 2 end
t.near(mw.squareplus(x):totable(),
  {{want(1, 4), want(-2, 4)}, {want(0.5, 4), want(30, 4)}}, 1e-12, "it computes, b = 4")
t.near(x:squareplus{b = 1}:totable(),
  {{want(1, 1), want(-2, 1)}, {want(0.5, 1), want(30, 1)}}, 1e-12, "as a method, b = 1")
t.near(mw.squareplus(x:cast "f32"):totable()[1][1], want(1, 4), 1e-6, "in f32 too")

-- Central differences of the formula.
local function slope(v, b)
  local h = 1e-5
  return (want(v + h, b) - want(v - h, b)) / (2 * h)
end
local function curvature(v, b)
  return b / (2 * (v * v + b) ^ 1.5) -- by hand: (1 + v / r)' / 2 with r = sqrt(v^2 + b)
end
local p = mw.param(mw.tensor({1, -2, 0.5, 3}, "f64"))
local y = mw.squareplus(p, {b = 1})
local dy = mw.grad(y:sum(), {p})[1]
t.near(dy:totable(), {slope(1, 1), slope(-2, 1), slope(0.5, 1), slope(3, 1)}, 1e-9,
  "its gradient is that of finite differences")
t.near(mw.grad(dy:sum(), {p})[1]:totable(),
  {curvature(1, 1), curvature(-2, 1), curvature(0.5, 1), curvature(3, 1)}, 1e-12,
  "it is differentiated twice")

t.error(function() mw.core.plugin_load(build .. "/plugins/squareplus.so") end,
  "squareplus exists already", "loading it twice is refused")
t.near(mw.squareplus(x):totable()[1][1], want(1, 4), 1e-12, "and does no harm")

---- A shipped op's file built alone is a plugin, with the same results to the bit.

local function same_bits(name, inputs, attrs, what)
  for _, dtype in ipairs {"f32", "f64"} do
    local leaves = {}
    for i, shape in ipairs(inputs) do leaves[i] = mw.param(mw.randn(shape, dtype)) end
    local function bits(op)
      local args = table.move(leaves, 1, #leaves, 1, {})
      args[#args + 1] = attrs
      local result = mw[op](table.unpack(args))
      local all = {mw.core.bytes(result)}
      if mw.core.ops()[name].outputs[1].doc ~= "i64" then
        for _, d in ipairs(mw.grad((result * result):sum(), leaves)) do
          all[#all + 1] = mw.core.bytes(d)
        end
      end
      return table.concat(all)
    end
    t.ok(bits(name) == bits("alone_" .. name), what .. " built alone: the same bits, " .. dtype)
  end
end

mw.seed(11)
t.is(mw.core.plugin_load(build .. "/alone/dense.so"), {"alone_dense"}, "dense.c is a plugin")
same_bits("dense", {{5, 7}, {3, 7}, {3}}, nil, "dense")
t.is(mw.core.plugin_load(build .. "/alone/pool.so"), {"alone_maxpool", "alone_maxpool_place",
  "alone_maxpool_take", "alone_meanpool"}, "pool.c is a plugin of four ops")
same_bits("maxpool", {{2, 3, 9, 8}}, {kernel = 3, stride = 2, padding = 1}, "maxpool")
same_bits("maxpool", {{2, 3, 8, 8}}, {kernel = 2}, "maxpool of 2 x 2")
same_bits("meanpool", {{2, 3, 9, 8}}, {kernel = 3, stride = 2, padding = 1}, "meanpool")
t.is(mw.core.plugin_load(build .. "/alone/argmax.so"), {"alone_argmax", "alone_argmin"},
  "argmax.c is a plugin of two")
same_bits("argmax", {{4, 5}}, {axis = 1}, "argmax")
for _, dtype in ipairs {"i32", "i64", "u8"} do
  t.is(mw.alone_argmax(mw.tensor({{3, 7, 7}, {9, 1, 2}}, dtype)):totable(), {1, 0},
    "a plugin serves " .. dtype .. " too")
end

---- An older plugin goes on working.

t.is(mw.core.plugin_load(hostile .. "older_struct.so"), {"old_copy"}, "an older op struct loads")
t.is(mw.old_copy(mw.tensor{1, 2}):totable(), {1, 2}, "and computes")

---- Libraries that are refused: each with its path and a reason, and none leaves an op behind.

local refused = {
  {"no_symbol", "does not define moonwalk_plugin"},
  {"undefined_symbol", "function_of_a_missing_library"},
  {"newer_abi", "99%.0.*" .. mw.core.version:gsub("%p", "%%%0")},
  {"short_struct", "8 bytes"},
  {"long_struct", "bytes"},
  {"null_op", "NULL"},
  {"null_infer", "hostile_null_infer.*infer"},
  {"null_forward", "hostile_null_forward.*forward"},
  {"null_texts", "hostile_null_texts"},
  {"no_name", "name"},
  {"bad_name", "Hostile op"},
  {"duplicate", "relu exists already"},
  {"twice", "hostile_twice.*twice"},
  {"half", "hostile_half_second"},
  {"silent", "gave no reason"},
  {"bad_schema", "hostile_schema.*size"},
  {"bad_default", "hostile_default.*mode"},
  {"lost_kernel", "no_such_op"},
}

before = count_ops()
for _, case in ipairs(refused) do
  local path = hostile .. case[1] .. ".so"
  local message = t.error(function() mw.core.plugin_load(path) end, case[2],
    case[1] .. " is refused with the reason")
  t.ok(message and message:find(path, 1, true), case[1] .. ": the message has the path")
  t.ok(message and message:find("plugin.lua:%d+:"), case[1] .. ": the message has the user's line")
  t.is(count_ops(), before, case[1] .. ": no op stays")
end
t.error(function() return mw.hostile_half end, "hostile_half", "a half registered op is unknown")
t.is(mw.tensor{-1, 2}:relu():totable(), {0, 2}, "the op with the contested name is the old one")
local q = mw.param(mw.tensor{3})
t.is(mw.grad((q * q):sum(), {q})[1]:totable(), {6}, "gradients are still added by the old adder")

---- Paths that are no libraries.

local function scratch(content)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
  return path
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read "a"
  file:close()
  return content
end

local good = read(build .. "/plugins/squareplus.so")
local files = {
  ["an empty file"] = scratch "",
  ["a text"] = scratch "this is a text and no library\n",
  ["half a library"] = scratch(good:sub(1, #good // 2)),
  ["an ELF header and nothing more"] = scratch(good:sub(1, 64)),
  -- e_machine, at byte 18 of the header: SPARC V9, which runs nothing of this
  ["a library of another architecture"] = scratch(good:sub(1, 18) .. "\43\0" .. good:sub(21)),
}
t.error(function() mw.core.plugin_load(files["a library of another architecture"]) end,
  "it is built for another processor %(ELF machine 43", "and the reason is given")
for what, path in pairs(files) do
  local message = t.error(function() mw.core.plugin_load(path) end, "", what .. " is refused")
  t.ok(message and message:find(path, 1, true), what .. ": the message has the path")
  os.remove(path)
end
t.error(function() mw.core.plugin_load "/nowhere/op.so" end, "/nowhere/op%.so.*No such file",
  "a missing file is refused")
t.error(function() mw.core.plugin_load "no-such-op.so" end, "no%-such%-op%.so.*No such file",
  "a bare name means a file of the current folder")
t.error(function() mw.core.plugin_load(build) end, "", "a folder is refused")
t.error(function() mw.core.plugin_load "" end, "", "an empty path is refused")
t.error(function() mw.core.plugin_load() end, "", "no path is refused")
t.error(function() mw.core.plugin_load {} end, "", "a table is refused")

---- Ops that register well and misbehave later.

mw.core.plugin_load(hostile .. "misbehaved.so")
local v = mw.tensor{1, 2, 3}
local function built(name, pattern)
  t.error(function() return mw[name](v) end, name .. ".*" .. pattern, name .. " fails when applied")
end
built("bad_rank", "")
built("bad_negative", "")
built("bad_huge", "")
built("bad_dtype", "")
built("bad_nothing", "")
built("bad_silent", "")

local function run(name, pattern)
  t.error(function() return mw[name](v):totable() end, name .. ".*" .. pattern,
    name .. " fails when it runs")
end
run("bad_forward", "out of luck")
run("bad_forward_silent", "")
run("bad_workspace", "")

local function differentiated(name, pattern)
  t.error(function()
    local leaf = mw.param(mw.tensor{1, 2, 3})
    return mw.grad(mw[name](leaf):sum(), {leaf})[1]:totable()
  end, pattern, name .. " fails when it is differentiated")
end
differentiated("bad_saved", "")
differentiated("bad_gradient_shape", "bad_gradient_shape")
differentiated("bad_gradient_unknown", "no_such_op")
differentiated("no_gradient", "no_gradient")

t.near((v * v):sum():item(), 14, 0, "the context works as before")

---- The example of a kernel for an op that exists.

mw.seed(12)
local function softmaxes(dtype)
  local results = {}
  for i, case in ipairs {
    {mw.randn({5, 7}, dtype) * 9, {}}, {mw.randn({2, 3, 4}, dtype), {axis = 3}},
    {mw.randn({2, 3, 4}, dtype), {axis = 2}}, {mw.randn({3000}, dtype), {}},
    {mw.randn({4, 1}, dtype), {}}, {mw.randn({0, 3}, dtype), {}}, {mw.randn({3, 0}, dtype), {}},
    {mw.tensor({{-1 / 0, 2, -1 / 0}, {-1 / 0, -1 / 0, -1 / 0}, {1, 0 / 0, 2}}, dtype), {}},
  } do
    local leaf = mw.param(case[1])
    local s = mw.softmax(leaf, case[2])
    results[2 * i - 1], results[2 * i] = s, mw.grad((s * s):sum(), {leaf})[1]
  end
  return results
end
local function values(list)
  local result = {}
  for i, tensor in ipairs(list) do result[i] = tensor:totable() end
  return result
end
local numbers = {}
for _, dtype in ipairs {"f32", "f64"} do
  mw.seed(13)
  numbers[dtype] = {plain = values(softmaxes(dtype))}
  mw.seed(13)
  numbers[dtype].waiting = softmaxes(dtype)
end
local kept = mw.compile(function(a) return a:softmax() end)
local row = mw.tensor {1, 2, 4}
local plain_bits = mw.core.bytes(kept(row))
t.is(mw.core.plugin_load(build .. "/plugins/softmax_online.so"), {}, "a plugin without an op")
t.ok(mw.kernel "softmax":find "^online f32 cpu 1 .-softmax_online.so\nonline f64.*\nplain f32",
  "its kernels come before the plain one")
for _, dtype in ipairs {"f32", "f64"} do
  local tolerance = dtype == "f32" and 1e-6 or 1e-15
  mw.seed(13)
  t.near(values(softmaxes(dtype)), numbers[dtype].plain, tolerance, "the same numbers, " .. dtype)
  t.near(values(numbers[dtype].waiting), numbers[dtype].plain, tolerance,
    "of tensors from before too, " .. dtype)
end
t.near(kept(row):totable(), row:softmax():totable(), 0, "and of a compiled function")
mw.kernel("softmax", "plain")
t.ok(mw.core.bytes(row:softmax()) == plain_bits, "the plain kernel is taken when it is preferred")
mw.kernel("softmax", false)

---- Finding plugins by name.

local function copy(from, to)
  local file = assert(io.open(to, "wb"))
  file:write(folder.contents(from))
  file:close()
end

t.error(function() mw.plugin.load "no_such_plugin" end,
  "no plugin 'no_such_plugin'; it was looked for as\n.*/moonwalk/plugins/no_such_plugin.so.*"
  .. "/lib/moonwalk/plugins/no_such_plugin.so", "a name that is not found: the places are listed")

-- Runs a script in a process of its own, with the folder of the test in the search path.
local function child(environment, script)
  local path = folder.put("child.lua", script)
  local pipe = assert(io.popen(("%s '%s/moonwalk' '%s' 2>&1"):format(environment, build, path)))
  local said = pipe:read "a"
  pipe:close()
  return said
end
os.execute(("mkdir -p '%s/data/moonwalk/plugins' '%s/one' '%s/two'"):format(folder.path,
  folder.path, folder.path))
copy(build .. "/plugins/squareplus.so", folder.path .. "/data/moonwalk/plugins/squareplus.so")
local load_it = [[
local mw = require "moonwalk"
print(table.concat(mw.plugin.load "squareplus", " "))
print(mw.plugin.list())]]
local both = ("MOONWALK_PLUGINS='%s/one:%s/two' XDG_DATA_HOME='%s/data'"):format(folder.path,
  folder.path, folder.path)
t.is(child(both, load_it), ("squareplus\nsquareplus  (%s/data/moonwalk/plugins/squareplus.so, for "
  .. "Moonwalk %s, ABI 1)\n  op squareplus, version 1\n"):format(folder.path, mw.version),
  "the user's folder")
copy(build .. "/plugins/squareplus.so", folder.path .. "/two/squareplus.so")
t.ok(child(both, load_it):find("squareplus  (" .. folder.path .. "/two/", 1, true),
  "the folders of MOONWALK_PLUGINS come first")
t.is(child("", "require 'moonwalk'; print(require 'moonwalk'.plugin.list())"),
  "no plugin is loaded\n", "without a plugin the list says so")

---- The Lua side of a plugin.

folder.put("two/squareplus.init.lua", [[
local mw, ops = ...
mw.data.squares = function(n) return mw.arange(n) * mw.arange(n) end
mw.optim.Still = function(parameters) return {parameters = parameters, op = ops[1]} end
function mw.plugin.commands.squareplus(...) print("command", ops[1], ...) end
]])
t.is(child(both, [[
local mw = require "moonwalk"
mw.plugin.load "squareplus"
print(mw.data.squares(3):totable()[3], mw.optim.Still({}).op)]]), "4.0\tsquareplus\n",
  "it brings a data source and an optimizer")
local function command(words)
  local pipe = assert(io.popen(("%s '%s/moonwalk' %s 2>&1"):format(both, build, words)))
  local said = pipe:read "a"
  pipe:close()
  return said
end
t.is(command "squareplus 1 two", "command\tsquareplus\t1\ttwo\n", "and a command")
t.ok(command "no_such":find "there is no command or file 'no_such'", "an unknown command")
folder.put("two/squareplus.init.lua", "")
t.ok(command "squareplus":find "brings no command", "a plugin that brings none")
folder.put("two/squareplus.init.lua", "error 'out of luck'")
t.is((child(both, [[
local mw = require "moonwalk"
print(pcall(mw.plugin.load, "squareplus"))
print(pcall(function() return mw.squareplus end))
print(mw.plugin.list())]]):gsub(folder.path, "")), "false\t"
  .. "/child.lua:2: plugin: the Lua side of /two/squareplus.so failed, and the plugin is not "
  .. "loaded: /two/squareplus.init.lua:1: out of luck\n"
  .. "false\t/child.lua:3: mw.squareplus does not exist; mw.help() lists the ops\n"
  .. "no plugin is loaded\n", "one that fails: nothing of the plugin stays")
folder.put("two/squareplus.init.lua", "this is no Lua")
t.ok(child(both, load_it):find "squareplus.init.lua:1: syntax error", "one that is no Lua")

folder.put("two/squareplus.init.lua", "")
t.is((child(both, ([[
local mw = require "moonwalk"
mw.plugin.load "squareplus"
local side = assert(io.open("%s/two/squareplus.init.lua", "w"))
side:write "error 'no luck'"
side:close()
print(pcall(mw.plugin.reload, "squareplus"))
print(mw.squareplus(mw.tensor {0}):item())]]):format(folder.path)):gsub(folder.path, "")), "false\t"
  .. "/child.lua:6: plugin.reload: the new code of /two/squareplus.so runs, but its Lua side "
  .. "failed: /two/squareplus.init.lua:1: no luck\n1.0\n", "one that fails on reload")

---- Reloading: kernels of others, and libraries that are refused.

local libraries = folder.path
local function put(name, from)
  os.remove(libraries .. "/" .. name)
  copy(from, libraries .. "/" .. name)
  return libraries .. "/" .. name
end
local compiler = require "moonwalk.compiler"
local function library(name, source)
  local cc = compiler.find()
  assert(compiler.build(cc, source, name, libraries .. "/" .. name))
  return libraries .. "/" .. name
end
local base = [[
#include <moonwalk.h>
static mw_status infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }
static mw_status times(const mw_call *call, int k) {
  for (int64_t i = 0; i < call->in[0].count; i++)
    ((real *)call->out[0].data)[i] = (real)k * ((const real *)call->in[0].data)[i];
  return MW_OK;
}
static mw_status forward(const mw_call *call) { return times(call, FACTOR); }
#define OP(op_name) {.name = op_name, .version = 1, .doc = "It.", .example = "mw.ones{1}", \
  .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = infer, .forward = forward, ATTRS}
]]
local function with(factor, rest, attrs)
  return (base:gsub("FACTOR", factor):gsub("ATTRS", attrs or ".data = 0")) .. rest
end
local op_text = "static const mw_op op = OP(\"r_op\");\nMW_PLUGIN(&op)\n"
local kernel_text = [[
static const mw_kernel kernel = {"r_op", "fast", .priority = PRIORITY, .forward = forward};
MW_PLUGIN_WITH_KERNELS((NULL), (&kernel))
]]
local one = mw.tensor {1}
local op_library = library("r_op.so", with(2, op_text))
mw.plugin.load(op_library)
local kernel_library = library("r_kernel.so", with(5, kernel_text:gsub("PRIORITY", "1"), nil))
local early = mw.r_op(one)
mw.plugin.load(kernel_library)
t.is({early:item(), mw.r_op(one):item()}, {5.0, 5.0}, "a kernel of another plugin is taken")
early = mw.r_op(one)
library("r_op.so", with(3, op_text))
mw.plugin.reload("r_op", UNTESTED)
t.is({early:item(), mw.r_op(one):item()}, {5.0, 5.0}, "it stays when the op's plugin is reloaded")
mw.kernel("r_op", "plain")
t.is(mw.r_op(one):item(), 3.0, "whose own kernel is the new one")
mw.kernel("r_op", false)
early = mw.r_op(one)
library("r_kernel.so", with(7, kernel_text:gsub("PRIORITY", "1"), nil))
mw.plugin.reload("r_kernel", UNTESTED)
t.is({early:item(), mw.r_op(one):item()}, {7.0, 7.0}, "the kernel's plugin is reloaded")
early = mw.r_op(one)
library("r_kernel.so", with(7, kernel_text:gsub("PRIORITY", "-1"), nil))
mw.plugin.reload(kernel_library, UNTESTED)
t.is({early:item(), mw.r_op(one):item()}, {3.0, 3.0}, "with another priority")

local function refused_reload(pattern, what)
  local list = tostring(mw.plugin.list())
  local n = count_ops()
  t.error(function() mw.plugin.reload(op_library, UNTESTED) end, pattern,
    what .. " is refused on reload")
  t.is(tostring(mw.plugin.list()), list, "... and what is loaded is what was")
  t.is({mw.r_op(one):item(), count_ops()}, {3.0, n}, "... and runs")
end
library("r_op.so", with(4, op_text,
  ".attrs_size = 8, .attrs = (const mw_attr[]){{\"n\", MW_INT, .initial = \"1\"}, {0}}"))
refused_reload("r_op has other attributes now, and the kernel fast from .*r_kernel.so",
  "an op with other attributes, while another plugin has a kernel for it,")
library("r_op.so", with(4, [[
static const mw_op op = OP("r_op"), half = OP("r_half"), bad = {.name = "r_bad"};
MW_PLUGIN(&op, &half, &bad)
]]))
refused_reload("r_bad lacks", "a plugin that fails after half of its ops")
library("r_op.so", with(4, [[
static const mw_op op = OP("r_op"), again = OP("r_op");
MW_PLUGIN(&op, &again)
]]))
refused_reload("registered twice", "an op that comes twice")
library("r_op.so", with(4, [[
static const mw_op op = OP("r_op"), other = OP("relu");
MW_PLUGIN(&op, &other)
]]))
refused_reload("relu exists already, from shipped", "an op of another")
library("r_op.so", with(4, [[
static const mw_op op = OP("r_op");
static const mw_kernel kernel = {"r_op", "fast", .forward = forward};
MW_PLUGIN_WITH_KERNELS((&op), (&kernel))
]]))
refused_reload("has a kernel fast", "a kernel of the name of another plugin's")
for _, name in ipairs {"no_symbol", "undefined_symbol", "newer_abi", "short_struct", "null_infer",
  "half", "silent", "lost_kernel", "duplicate"} do
  put("r_op.so", hostile .. name .. ".so")
  refused_reload("r_op.so: ", name)
end
put("r_op.so", build .. "/plugins/squareplus.so")
refused_reload("squareplus exists already", "a library that is loaded elsewhere")
os.remove(op_library)
refused_reload("No such file", "a file that is gone")
folder.put("r_op.so", "this is a text and no library\n")
refused_reload("r_op.so: ", "a text")
mw.plugin.unload "r_kernel"
library("r_op.so", with(4, op_text))
mw.plugin.reload("r_op", UNTESTED)
t.is({mw.r_op(one):item()}, {4.0}, "and a good one is taken")

-- A layer has its op with attributes that were checked once; that op is replaced, and goes.
do
  local Layer = mw.nn.Module:extend "Layer"
  function Layer:init(attributes) self.applied = mw.core.prepare("r_op", attributes) end
  Layer.forward = mw.nn.Module.applying()
  local layer, twin, wrong = Layer(), Layer():copy(), Layer {n = 3}
  t.is({layer(one):item(), twin(one):item()}, {4.0, 4.0}, "a layer of an op")
  t.error(function() wrong(one) end, "unknown attribute 'n'", "it checks attributes when called")
  library("r_op.so", with(6, op_text,
    ".attrs_size = 8, .attrs = (const mw_attr[]){{\"n\", MW_INT, .initial = \"1\"}, {0}}"))
  mw.plugin.reload("r_op", UNTESTED)
  t.is({layer(one):item(), twin(one):item(), wrong(one):item()}, {6.0, 6.0, 6.0},
    "it applies the op that is there now, whose attributes are others")
  mw.plugin.unload "r_op"
  t.error(function() layer(one) end, "there is no op 'r_op'", "or says that there is none")
end
folder.remove()

t.done()
