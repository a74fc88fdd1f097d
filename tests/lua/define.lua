-- define.lua: mw.op: ops that are written in Lua.
local t = require "tap"
local mw = require "moonwalk"

local refused = t.refuses

local function values(tensor)
  local list = tensor:totable()
  return type(list) == "table" and table.concat(list, " ") or tostring(list)
end

-- An op like any other --------------------------------------------------------------------------

local cube = mw.op {
  name = "lua_power", doc = "x to a whole power, times a factor.",
  inputs = {"x", {"w", optional = true, doc = "added"}},
  attrs = {
    {"n", default = 3, type = "int", doc = "the power"}, {"factor", default = 1},
    {"axes", default = {1}, type = "axes"}, {"mode", default = "plain", choices = {"plain", "sum"}},
    {"on", default = true}, {"note", default = "none"}, {"last", default = -1, type = "axis"},
  },
  cases = {"mw.lua_power(mw.randn{3})"},
  define = function(x, w, attrs)
    local y = x
    for _ = 2, attrs.n do y = y * x end
    if w then y = y + w end
    if attrs.mode == "sum" then y = y:sum {axes = attrs.axes} end
    t.seen = attrs
    return attrs.on and y * attrs.factor or x
  end,
}
local x = mw.param(mw.tensor({1, 2, -3}, "f64"))
t.is(values(cube(x)), "1.0 8.0 -27.0", "the function that mw.op returns")
t.is(values(mw.lua_power(x, {n = 2, factor = 0.5})), "0.5 2.0 4.5", "in mw, with attributes")
t.is(values(x:lua_power(mw.tensor({1, 1, 1}, "f64"))), "2.0 9.0 -26.0", "a method; two inputs")
t.is(values(x:lua_power {mode = "sum"}), "-18.0", "a choice, and axes as Lua counts them")
t.is(values(x:lua_power {on = false}), "1.0 2.0 -3.0", "a flag")
t.is(t.seen.note .. t.seen.axes[1] .. t.seen.last .. math.type(t.seen.n), "none1-1integer",
  "attributes arrive with their defaults")
local dx = mw.grad(x:lua_power():sum(), {x})[1]
t.is(values(dx), "3.0 12.0 27.0", "3 x^2")
t.is(values(mw.grad(dx:sum(), {x})[1]), "6.0 12.0 -18.0", "6 x")
t.is(values(mw.compile(function(v) return v:lua_power() end)(x)), "1.0 8.0 -27.0", "compiled")
t.ok(mw.help("lua_power", true):find("x to a whole power", 1, true), "mw.help shows it")
t.is(#mw.ops.lua_power.attrs, 7, "mw.ops has its schema")
t.is(values(coroutine.wrap(function() return cube(x) end)()), "1.0 8.0 -27.0", "in a coroutine")

local both = mw.op {name = "lua_both", outputs = {"low", "high"}, define = function(v)
  return v:minimum(0), v:maximum(0)
end}
local low, high = both(x)
t.is(values(low) .. ", " .. values(high), "0.0 0.0 -3.0, 1.0 2.0 0.0", "two outputs")
mw.op {name = "lua_nested", define = function(v)
  return coroutine.wrap(function() return v:lua_power {n = 2} end)() + v:lua_power {n = 1}
end}
t.is(values(mw.lua_nested(x)), "2.0 6.0 6.0", "ops in Lua inside each other, over a coroutine")

-- What is refused -------------------------------------------------------------------------------

local line = debug.getinfo(1, "l").currentline + 2
refused("define.lua:" .. line .. ": lua_power: unknown attribute 'm'",
  function() return x:lua_power {m = 1} end)
refused("lua_power: n is a number that is no integer", cube, x, {n = 1.5})
mw.op {name = "lua_number", define = function() return 3 end}
refused("lua_number: define returns 3 as y, expected a tensor", mw.lua_number, x)
mw.op {name = "lua_raises", define = function() error("no luck", 0) end}
refused("lua_raises: no luck", mw.lua_raises, x)
mw.op {name = "lua_table", define = function() error {} end}
refused("lua_table: table", mw.lua_table, x)
mw.op {name = "lua_endless", define = function(v) return mw.lua_endless(v) end}
refused("lua_endless", mw.lua_endless, x)
refused("op add exists already", mw.op, {name = "add", define = print})
refused("[a-z][a-z0-9_]*", mw.op, {name = "two words", define = print})
refused('op: name is nil, expected a name such as "swish"', mw.op, {define = print})
refused("op a: it has neither define nor forward", mw.op, {name = "a"})
refused("op a: define is 3, expected a function", mw.op, {name = "a", define = 3})
refused("op a: backward goes with forward", mw.op, {name = "a", define = print, backward = print})
refused('did you mean "define"', mw.op, {name = "a", defin = print})
refused("op a: attrs[1] (p) has neither a default nor a type", mw.op,
  {name = "a", define = print, attrs = {{"p"}}})
refused("op a: attrs[1].type is", mw.op,
  {name = "a", define = print, attrs = {{"p", type = "number"}}})
refused("op a: inputs[2] is nil, expected a name", mw.op,
  {name = "a", define = print, inputs = {"x", {}}})
refused("attribute p is declared twice", mw.op,
  {name = "a", define = print, attrs = {{"p", default = 1}, {"p", default = 2}}})
t.is(values(mw.add(x, 1)), "2.0 3.0 -2.0", "and nothing of them is left: add adds")
refused("there is no op 'a'", function() return mw.core.call("a", x) end)

-- A finalizer replaces the op in the midst of its call, and calls it ------------------------------

do
  local ones, left, replaced, wrong = mw.ones {2}, 2000, 0, 0
  local function define()
    replaced = replaced + 1
    local outputs = replaced % 2 == 0 and {"y"} or {"y", "z", "u"}
    mw.op {name = "lua_changing", inputs = {"x", "w"}, outputs = outputs,
      attrs = {{"note", default = ""}, {"sizes", default = {1}, type = "ints"}},
      define = function(a, b) return a + b, a, b end}
  end
  local function watch()
    setmetatable({}, {__gc = function()
      define()
      mw.lua_changing(ones, ones)
      if left > 0 then watch() end
    end})
  end
  define()
  watch()
  local mode = collectgarbage("incremental", 10, 1000)
  while left > 0 do
    left = left - 1
    local good, y = pcall(mw.lua_changing, ones, 2, {sizes = {1, 2}, note = "n" .. left})
    if good and y:sum():item() ~= 6 then wrong = wrong + 1 end
    if not good and not y:find "ops were replaced in the middle of a call" then wrong = y end
    good, y = pcall(mw.lua_changing, ones, ones)
    if good and y:sum():item() ~= 4 then wrong = wrong + 1 end
  end
  collectgarbage(mode, 200, 100)
  t.ok(replaced > 100, "an op is replaced in the midst of calls")
  t.is(wrong, 0, "which come to what they should, or say so")
end

t.done()
