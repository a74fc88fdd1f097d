-- gate.lua: the conformance gate: what it finds in plugins that break what they promise, each in
-- its way, and that it does not die of them.
local t = require "tap"
local mw = require "moonwalk"
local folder = require "folder"

-- The command is run again with a cache folder of the test's own.
if not os.getenv "MOONWALK_GATE_TEST" then
  local command = ("XDG_CACHE_HOME='%s/cache' MOONWALK_GATE_TEST='%s' '%s/moonwalk' '%s'"):format(
    folder.path, folder.path, os.getenv "MOONWALK_BUILD", arg[0])
  local done = os.execute(command)
  folder.remove()
  os.exit(done or false)
end

local compiler = require "moonwalk.compiler"
local gate = require "moonwalk.gate"
local core = mw.core
local scratch = os.getenv "MOONWALK_GATE_TEST"
local hostile = os.getenv "MOONWALK_BUILD" .. "/hostile/"
folder.remove() -- the one that this process made

local function tell(text) print("# " .. text:gsub("\n", "\n# ")) end

-- A library of a C file of this tree, for both element types.
local function build(path, name)
  local pwd = assert(io.popen "pwd")
  local here = pwd:read "l"
  pwd:close()
  local source = assert(compiler.read(path)):gsub('"hostile.h"',
    ('"%s/tests/hostile/hostile.h"'):format(here))
  local target = ("%s/%s.so"):format(scratch, name)
  local done, problem = compiler.build(assert(compiler.find()), source, path, target)
  if not done then tell(problem) end
  return target
end

local function find_op(report, name)
  for _, op in ipairs(report.ops) do
    if op.op == name or op.kernel == name then return op end
  end
end

local function find_check(op, name)
  for _, item in ipairs(op and op.checks or {}) do
    if item.check == name then return item end
  end
end

-- A good one --------------------------------------------------------------------------------------

local start = core.clock()
local path = build("plugins/examples/squareplus.c", "squareplus")
local compiled = core.clock()
local report = gate.test(path)
local tested = core.clock()
t.ok(report.passed, "squareplus passes")
if not report.passed then tell(gate.text(report)) end
t.is(report.message, nil, "without a message")
t.ok(not report.cached, "the first verdict is a new one")
t.is(find_check(report.ops[1], "gradient").passed, true, "its gradient was checked")
t.is(find_check(report.ops[1], "second order").skipped, nil, "to second order")
t.is(core.op_info "squareplus", nil, "it is not loaded here")
tell(("squareplus.c: compiled in %.2f s, all %d checks in %.2f s; from saving to a verified "
  .. "gradient: %.2f s"):format(compiled - start, #report.ops[1].checks, tested - compiled,
  tested - start))

core.plugin_load(path)
start = core.clock()
mw.gradcheck(mw.squareplus, {mw.randn {2, 3}}, {second = true})
tell(("its gradient alone, to second order: %.4f s"):format(core.clock() - start))

-- A library that is loaded here, and then built anew.
local wrong = scratch .. "/wrong.c"
compiler.write(wrong, (compiler.read "plugins/examples/squareplus.c":gsub("dy %* y /", "dy /")))
build(wrong, "squareplus")
local rebuilt = gate.test(path)
t.ok(not rebuilt.passed and rebuilt.message:find "the gradient is",
  "what is built anew under the name of a loaded library is tested as it is now")
t.ok(rebuilt.message:find(path .. ": ", 1, true) == 1, "the path is as it was given")
build("plugins/examples/squareplus.c", "squareplus")

-- The verdict is kept, by the file's content.
local again = gate.test(path)
t.ok(again.cached and again.passed, "the same file once more: the verdict is known")
t.is(#again.ops[1].checks, #report.ops[1].checks, "with all its checks")
t.ok(not gate.test(path, {again = true}).cached, "again = true tests it anew")
local copy = scratch .. "/copy.so"
compiler.write(copy, compiler.read(path))
t.ok(gate.test(copy).cached, "a copy is known too")
t.is(gate.test(copy).path, copy, "by its own name")
local bytes = compiler.read(path)
compiler.write(copy, bytes .. "\0")
t.ok(not gate.test(copy).cached, "a file with another content is not")
tell(gate.text(again))
t.ok(gate.text(again):find("\nok +squareplus +", 1) or gate.text(again):find "^ok +squareplus +",
  "the report is a line for each check")
t.ok(gate.text(again):find "passed; %d+ checks passed, 0 failed", "and a summary")

-- Those that break what they promise --------------------------------------------------------------

local library = build("tests/hostile/careless.c", "careless")
local careless = gate.test(library)
t.ok(not careless.passed, "careless.so does not pass")
t.ok(careless.message and careless.message:find(library, 1, true) == 1, "the message names it")

local function refuses(name, check, pattern)
  local op = find_op(careless, "careless_" .. name)
  local item = find_check(op, check)
  local passed = t.ok(item and not item.passed and item.text:find(pattern),
    ("%s: %s"):format(name, check))
  if not passed then tell(item and item.text or gate.text {ops = {op}, seconds = 0}) end
end

local x = "on x f32%[3,1,5%]"
t.ok(find_op(careless, "careless_nothing").passed, "one that is right passes among them")
refuses("null", "bounds", "^careless_null crashed with signal 11 %(SIGSEGV%) in forward " .. x
  .. ": it .* at the address 0x0: what is absent, or not wanted, is NULL$")
refuses("past", "bounds", "careless_past: it wrote past the end of y, in forward " .. x)
refuses("far", "bounds", "^careless_far crashed with signal 11 %(SIGSEGV%) in forward " .. x
  .. ": it .* past the end of y$")
refuses("before", "bounds", "it wrote before the start of y, in forward " .. x)
refuses("backward", "bounds", "it wrote past the end of dx, in backward " .. x)
refuses("lies", "bounds", "it wrote past the end of y, in forward " .. x)
refuses("input", "bounds", "signal 11 %(SIGSEGV%) in forward " .. x .. ": it .* its input x$")
refuses("divides", "bounds", "signal 8 %(SIGFPE%) in forward " .. x
  .. ": an integer was divided by zero")
refuses("aborts", "bounds", "signal 6 %(SIGABRT%) in forward " .. x)
refuses("exits", "bounds", "careless_exits ended the program with exit%(%d+%) in forward " .. x)
refuses("recursion", "bounds", "signal 11 %(SIGSEGV%) in forward " .. x)
refuses("reads_past", "written", "y%[1,1,1%] depends on bytes past the end")
refuses("unwritten", "written", "y%[3,1,5%] is not written")
refuses("adds", "written", "y%[1,1,1%] depends on what was in the output before")
refuses("impure", "purity", "the same input gives another y%[1,1,1%] the second time")
refuses("worker", "threads", "depends on the order of the chunks, or on which worker has them")
refuses("types", "f32, f64", "y%[1,1,1%] is .* in f32 and .* in f64")
refuses("gradient", "gradient", "the gradient is .*, differences give ")
refuses("moody", "cases", "infer says something else the second time")
refuses("example", "cases", "careless_example: x is 'three'")
if core.gate_sanitized() then
  t.skip("malloc: memory", "the address sanitizer's malloc cannot be made to fail")
else
  refuses("malloc", "memory", "careless_malloc, when malloc%(%) gave NULL, crashed with signal 11")
end
t.is(#find_op(careless, "careless_null").checks, 2, "after a crash nothing more is said")

-- Ops that loop or fail, and libraries that do so while they load.
local function is_refused(name, pattern, seconds)
  local result = gate.test(hostile .. name .. ".so", {seconds = seconds})
  local passed = t.ok(not result.passed and result.message and result.message:find(pattern),
    name .. ".so is refused")
  if not passed then tell(tostring(result.message)) end
  return result
end
is_refused("loops", "did not come back within 2 s in forward on x f32%[3,1,5%]", 2)
t.ok(not gate.test(hostile .. "loops.so", {seconds = 2}).cached,
  "that it took too long is tried again")
is_refused("waits", "^[^:]*waits.so: it did not come back within 1 s in its registration", 1)
is_refused("crashes",
  "^[^:]*crashes.so: it crashed with signal 11 %(SIGSEGV%) in its registration: ")
is_refused("half", "half.so: op hostile_half_second lacks an infer")
is_refused("newer_abi", "newer_abi.so: .*ABI")
is_refused("no_symbol", "no_symbol.so: ")
is_refused("order", "it falls from %S+ at %-%S+ to %S+ at %S+, and says that it rises")
is_refused("picks",
  "element %d+ of relu.s values is %S+, and relu of it %S+: it says that it picks")
is_refused("slices", "y%[2,%d%] is %S+ when it is computed slice by slice, and %S+ in one call")
is_refused("in_place", "less%[%d,%d%] is another one where inputs may be written over")
t.ok(gate.test(hostile .. "crashes.so").cached, "the verdict on a crash is kept")
local misbehaved = gate.test(hostile .. "misbehaved.so", {seconds = 60})
t.ok(not misbehaved.passed and #misbehaved.ops == 13, "each op of misbehaved.so is tested")

-- Other kernels for ops that exist.
local kernels = gate.test(hostile .. "kernels.so")
t.is(#kernels.ops, 3, "kernels.so has three kernels for relu")
t.ok(find_op(kernels, "good").passed, "the good one passes")
t.ok(find_check(find_op(kernels, "wrong"), "plain").text:find "by the kernel plain",
  "the wrong one is compared with the plain one")
t.ok(find_check(find_op(kernels, "never"), "bounds").skipped, "the one that is never used is not")

-- What is no library, and names of ops ------------------------------------------------------------

local missing = gate.test(scratch .. "/missing.so")
t.ok(not missing.passed and missing.message:find "missing.so: .*No such file", "a missing file")
local text = scratch .. "/text.so"
compiler.write(text, "no library")
t.ok(gate.test(text).message:find "text.so: ", "a file of text")
t.error(function() gate.test(3) end, "plugin.test: the path is 3, expected a string", "a number")
t.error(function() gate.test(path, {agian = true}) end, "did you mean \"again\"?", "an option")
t.error(function() gate.test({"rely"}) end, "there is no op 'rely'; did you mean 'relu'?",
  "a name that is none")
for _, names in ipairs {{"relu", "softplus"}, {"conv2d"}, {"squareplus"}} do
  local result = gate.test(names, {seconds = 120})
  t.ok(result.passed, table.concat(names, ", ") .. ": registered ops, by name")
  if not result.passed then tell(gate.text(result)) end
end
mw.op {name = "gate_twice", inputs = {"a"}, define = function(a) return 2 * a end, doc = "2 a.",
  example = "mw.gate_twice(mw.ones{2})"}
local made = gate.test {"gate_twice"}
t.ok(not made.passed and made.message:find "it was made at run time", "an op made in Lua")
core.plugin_load(library)
t.is(mw.careless_nothing(mw.tensor {1, -2}):totable(), {1, -2}, "this process is unharmed")
t.done()
