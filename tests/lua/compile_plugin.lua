-- compile_plugin.lua: mw.plugin.compile: ops from C text.
local t = require "tap"
local mw = require "moonwalk"
local folder = require "folder"

folder.own_cache()

local cube = [[
#include <moonwalk.h>
static mw_status infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] * x[i] * x[i];
  return MW_OK;
}
static const mw_op cube = {
    .name = "NAME", .version = 1, .doc = "y = x^3.", .example = "mw.NAME(mw.randn{3})",
    .inputs = {{"x"}}, .outputs = {{"y"}},
    .infer = infer, .forward = forward, .derivative = {"dy * 3 * x * x"}};
MW_PLUGIN(&cube)
]]
local function named(name) return (cube:gsub("NAME", name)) end

t.is(table.concat(mw.plugin.compile(named "c_cube"), " "), "c_cube", "it returns the ops' names")
t.is(mw.plugin.list()[1].name, "c_cube", "by which the list calls it")
local x = mw.param(mw.tensor({2, -1}, "f64"))
t.is(mw.c_cube(x):totable()[1], 8.0, "which compute")
local dx = mw.grad(mw.c_cube(x):sum(), {x})[1]
t.is(dx:totable()[1], 12.0, "and have derivatives")
t.is(mw.grad(dx:sum(), {x})[1]:totable()[1], 12.0, "of every order")
t.is(mw.c_cube(mw.tensor {2}).dtype, "f32", "for both element types")
t.is(table.concat(mw.plugin.compile(named "c_cube"), " "), "c_cube", "the same text once more")

local path = folder.put("other.c", named "c_other")
t.is(table.concat(mw.plugin.compile(path), " "), "c_other", "a file")
folder.put("other.c", (named("c_other"):gsub("x%[i%] %* x%[i%];", "x[i] + 1;")))
t.is(table.concat(mw.plugin.compile(path), " "), "c_other", "the file is another one")
t.is(mw.c_other(mw.tensor {3}):item(), 10.0, "its code takes the other's place")
t.is(table.concat(mw.plugin.load(path), " "), "c_other", "mw.plugin.load compiles a C file too")
local integers = "/* real: i32 */\n" .. named("c_integer"):gsub("derivative = {.-}", "cases = \"\"")
mw.plugin.compile(integers)
t.is(mw.c_integer(mw.tensor({3}, "i32")):totable()[1], 27, "for the types in its line `real:`")

-- The vectors of vector.h.
mw.plugin.compile((named("c_vector"):gsub("<moonwalk.h>", "<vector.h>"):gsub("  for .-\n", [[
  int64_t i = 0, n = call->in[0].count;
  for (; i + MW_LANES <= n; i += MW_LANES) {
    const mw_vector v = mw_load(x + i);
    mw_store(y + i, v * v * v);
  }
  for (; i < n; i++) y[i] = x[i] * x[i] * x[i];
]])))
local many = {}
for i = 1, 37 do many[i] = i - 20 end
for _, dtype in ipairs {"f32", "f64"} do
  local got = mw.c_vector(mw.tensor(many, dtype)):totable()
  local right = #got == 37
  for i, value in ipairs(many) do right = right and got[i] == value ^ 3 end
  t.ok(right, "a plugin may include vector.h: " .. dtype)
end

-- The library is found again: a second process needs no compiler.
local script = folder.put("again.lua", ([[
local mw = require "moonwalk"
mw.plugin.compile(%q)
print(mw.c_cube(mw.tensor {3}):item())]]):format(named "c_cube"))
local pipe = assert(io.popen(("'%s/moonwalk' '%s'"):format(os.getenv "MOONWALK_BUILD", script)))
t.is(pipe:read "a", "27.0\n", "another process")
pipe:close()
local list = assert(io.popen(("ls '%s/moonwalk/plugins' | wc -l")
  :format(os.getenv "XDG_CACHE_HOME")))
t.is(tonumber(list:read "a"), 5, "five libraries are kept, and nothing besides")
list:close()

local function refused(message, source) t.refuses(message, mw.plugin.compile, source) end
refused("C text:5:", (named("c_wrong"):gsub("real %*y", "real *y = oops, *z")))
refused("does not compile", (named("c_wrong"):gsub("MW_OK;\n}", "")))
refused("c_add_again lacks", (named("c_add_again"):gsub(".doc = \"y = x^3.\", ", "")))
refused("op c_cube exists already", named "c_cube" .. "\n/* another text */\n")
refused("no_such.c: No such file", "no_such.c")
refused("it does not define moonwalk_plugin", "#include <math.h>\nstatic const int none = 0;\n")
t.is(mw.c_cube(mw.tensor {2}):item(), 8.0, "and what was there is unharmed")
folder.remove()
t.done()
