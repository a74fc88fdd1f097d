-- hostile.lua: functions of the user's that do in the middle of a call what they had better not do:
-- they call themselves, yield, raise strange things, update, drop, and collect. There is a message,
-- and what is called afterwards works as before.
local mw = require "moonwalk"
local t = require "tap"

local x = mw.tensor {1, 2, 3}
local function refused(part, fn, ...)
  local good, message = pcall(fn, ...)
  t.ok(not good and tostring(message):find(part, 1, true),
    part .. (good and ": it went well" or ""))
  if not good and not tostring(message):find(part, 1, true) then
    print("# " .. tostring(message):sub(1, 300))
  end
end

---- functions that call themselves

mw.op {name = "h_selfish", define = function(v) return mw.h_selfish(v) end}
refused("h_selfish: ", mw.h_selfish, x)
mw.op {name = "h_threads", define = function(v)
  return coroutine.wrap(function() return mw.h_threads(v) end)()
end}
refused("h_threads: ", mw.h_threads, x)
local function again(v) return (v + 0):hook(again):eval() end
refused("hooked: ", function() return x:hook(again):eval() end)
local function deep(v)
  local function go(n)
    if n == 0 then return (v + 0):hook(deep):eval() end
    return coroutine.wrap(go)(n - 1)
  end
  return go(100)
end
refused("hooked: ", function() return x:hook(deep):eval() end)
local itself
itself = x:hook(function() return itself end)
refused("hooked: ", itself.eval, itself)

---- errors whose text is an error

local endless = {}
endless.__tostring = function() error(setmetatable({}, endless)) end
local strange = {
  h_table = {}, h_nil = false,
  h_text = setmetatable({}, {__tostring = function() error "the text" end}),
  h_number = setmetatable({}, {__tostring = function() return 5 end}),
  h_endless = setmetatable({}, endless),
}
for name, object in pairs(strange) do
  local function raise() error(object or nil) end
  mw.op {name = name, define = raise}
  refused(name .. ": ", function() return mw[name](x) end)
  refused("hooked: the hook raised an error that is no text", function()
    return x:hook(raise):eval()
  end)
end

---- yielding

mw.op {name = "h_yields", define = function(v) return coroutine.yield(v) end}
refused("attempt to yield", coroutine.wrap(function() return mw.h_yields(x) end))
refused("attempt to yield", coroutine.wrap(function() return x:hook(coroutine.yield):eval() end))

---- what hooks change under the program that runs

local w = mw.param {1, 2, 3}
local y = (w * 2):hook(function() mw.update({w}, {w + 1}); collectgarbage() end)
t.is((y + 1):totable(), {3, 5, 7}, "a hook that updates a parameter")
t.is(w:totable(), {2, 3, 4}, "which has its new value")
local input = mw.core.input({3}, "f32", "input")
mw.core.feed(input, x)
local fed = (input * 2):hook(function() mw.core.feed(input, mw.zeros {3}) end)
t.is(fed:totable(), {2, 4, 6}, "a hook that feeds the input")
local program
program = mw.core.program {(input + 1):hook(function()
  program = nil
  collectgarbage()
  collectgarbage()
end)}
t.is(mw.core.program_run(program)[1]:totable(), {1, 1, 1}, "a hook that drops its program")
program = mw.core.program {(input + 1):hook(function() mw.core.program_run(program) end)}
refused("one of its hooks asks for it again", mw.core.program_run, program)
local flood = (x + 0):hook(function()
  for i = 1, 200 do (mw.zeros {i} + 1):eval() end
  mw.kernel("conv2d", false) -- forgets all programs
  mw.threads(mw.threads() + 1)
end)
t.is((flood * 2):totable(), {2, 4, 6}, "a hook that fills and empties the cache")
t.is((x + 0):hook(function()
  mw.op {name = "h_born", define = function(v) return v * 3 end}
end):totable(), {1, 2, 3}, "a hook that registers an op")
t.is(mw.h_born(x):totable(), {3, 6, 9}, "which is there")
refused("interrupted", function() return (x:hook(mw.core.interrupt) + 1):eval() end)

---- what a definition gives back

local kept
mw.op {name = "h_keeps", define = function(v) kept = kept or v * 2; return kept end}
t.is(mw.h_keeps(x):totable(), {2, 4, 6}, "a definition that keeps its result")
t.is(mw.h_keeps(mw.zeros {5}):totable(), {2, 4, 6}, "and gives it again")
mw.op {name = "h_slope", define = function(v) return mw.grad((v * v * v):sum(), {v})[1] end}
t.is(mw.grad(mw.h_slope(x):sum(), {x})[1]:totable(), {6, 12, 18},
  "a definition that differentiates")
mw.op {name = "h_both", outputs = {"a", "b"}, define = function(v) return v, v end}
local a, b = mw.h_both(x)
t.is((a + b):totable(), {2, 4, 6}, "a definition that gives its input twice")
refused("op add exists already", mw.op, {name = "add", define = print})

---- the functions below the Lua modules, called with what those would not let through

for _, wrong in ipairs {{}, {name = "h_a", inputs = 3}, {name = "h_a", inputs = {}, outputs = {}},
  {name = "h_a", inputs = {}, outputs = {{name = "y"}}, attrs = {3}},
  {name = "h_a", inputs = {}, outputs = {{name = "y"}}, attrs = {{name = "p"}}},
  {name = "h_a", inputs = {}, outputs = {{name = "y"}}, attrs = {{name = "p", type = "none"}}},
  setmetatable({}, {__index = function() error "no field" end})} do
  t.ok(not pcall(mw.core.define, wrong, "here"), "core.define refuses it")
  t.ok(not pcall(mw.core.foreign, wrong, "here"), "so does core.foreign")
end
t.ok(not pcall(mw.core.define, nil, "here") and not pcall(mw.core.foreign, 3, "here"),
  "what is no table too")
local layer = mw.core.layer(function() return mw.zeros({1}).origin end, {[x] = io.stdout})
t.ok(layer(x):find "hostile.lua:%d+$", "a layer's origin that is none is left out")

refused("an attribute's name has a NUL character", mw.sum, x, {["axes\0"] = 1})

---- still there when the state is closed

KEPT = { -- luacheck: ignore
  itself, y, flood, program, mw.compile(function(v) return v:hook(again) end),
  setmetatable({}, {__gc = function() error "at the end" end}),
}
t.done()
