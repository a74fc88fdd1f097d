-- plugin.lua: loading ops from shared libraries, good and bad ones.
local t = require "tap"
local mw = require "moonwalk"

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
}
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

t.done()
