-- What the prompt's session does with texts, without a terminal.

local t = require "tap"
local core = require "moonwalk.core"
local names = require "moonwalk.look.names"
local session = require "moonwalk.prompt.session"

-- What a session says to some texts, one after the other.
local said
local s = session.new()
s.out = {write = function(_, ...) said = said .. table.concat {...} end, flush = function() end}

local function answer(...)
  said = ""
  for _, text in ipairs {...} do s:run(text) end
  return (said:gsub("\n$", ""))
end

-- values
t.is(answer "1 + 1", "2", "the value of an expression")
t.is(answer "_ * 10", "20", "_ is the last one")
t.is(answer "_ + 1;", "", "a semicolon hides it")
t.is(answer "_", "21", "but it is the last one")
t.is(answer "x = 5", "", "an assignment has no value")
t.is(answer "print(x)", "", "a call without a value")
t.is(answer "calls = 0; function once() calls = calls + 1 return calls end", "", "statements")
t.is(answer("once()", "calls"), "1\n1", "an expression runs once")
t.is(answer "nil", "nil", "nil is shown")
t.is(answer "1, 'a'", "1\n\"a\"", "each of several values")
t.is(answer("  ", ""), "", "nothing")

-- statements and an expression
t.is(answer "x = 6; x + 1", "7", "an expression behind a semicolon is shown")
t.is(answer("local semi = 3; semi * 2;", "semi"), "3", "another one hides it, and locals persist")
t.is(answer("local semi = 4; local function f2() return semi end; semi + f2()", "f2()"), "8\n4",
  "what is declared before it is there")
s:run "x = 5"

-- local variables
t.is(answer("local n = 1", "n"), "1", "a local variable persists")
t.is(answer("local function up() n = n + 1 return n end", "up()", "n"), "2\n2",
  "a function's variable is the same one")
t.is(answer("n = 40", "up()"), "41", "and stays it when it is assigned")
t.is(answer("local n = 'new'", "n", "up()"), '"new"\n42', "a new one leaves the old one be")
t.is(answer("local a <const>, b = 3, 4", "a + b"), "7", "a constant persists too")
t.is(answer("do local inner = 1 end", "inner == nil"), "true", "a block's does not")
t.is(answer("local q = 7 return q + 1", "q"), "8\nnil", "nor one before a return")
t.is(answer("for i = 1, 2 do local k = i end  local function f() local z = 1 end  local w = 2",
  "k == nil", "z == nil", "w"), "true\ntrue\n2", "only those of the chunk itself")
t.is(answer("local r = 1\nlocal s2 = r + 1\nerror 'stop'", "r + s2"), "error: [" .. #s.entries - 1
  .. "]:3: stop\n3", "those that a failed chunk has made stay")
t.is(answer("local text = 'local fake = 1' -- local faker = 2", "fake == nil and faker == nil",
  "text"), 'true\n"local fake = 1"', "strings and comments declare nothing")
local many = {}
for i = 1, 250 do many[i] = ("local v%d = %d"):format(i, i) end
for _, line in ipairs(many) do s:run(line) end
t.is(answer "v1 + v250", "251", "more local variables than one function may have")

-- what could go on
for text, expected in pairs {
  ["for i = 1, 3 do"] = true, ["f("] = true, ["x = [["] = true, ["function f()"] = true,
  ["1 +"] = true, ["return"] = false, ["x ="] = true, ["x = 1"] = false, ["x = = 1"] = false,
  ["for _, m in ipairs(t) do m:train()"] = true, ["for b in d:batches {}"] = true,
  ["for i in range(3): print(i)"] = false, ["g = lambda x: x"] = false, ["lambda:item("] = true,
  ["while x do\n  goto done\n  ::done::"] = true,
  ["if x then\nif y:"] = false, ["x = [[if y:"] = true, ["ls .."] = false, ["'open"] = false,
  [":time on"] = false, ["?conv2d"] = false,
} do
  t.is(s:is_incomplete(text), expected, ("%q could go on: %s"):format(text, expected))
end

-- errors
local function match(text, pattern, name)
  local got = answer(text)
  t.ok(got:find(pattern), name .. ": " .. got)
end
match("conv2d(x)", "^error: there is no variable 'conv2d'; did you mean mw.conv2d%?$", "an op")
match("Conv2d {1, 2}", "did you mean nn.Conv2d%?$", "a layer")
match("prnt(1)", "did you mean print%?$", "a misspelt function")
match("x = = 1", "^error: unexpected symbol near '='\n  x = = 1\n      ^$", "a syntax error")
match("x = [[abc]] 5", "^error: unexpected symbol near '5'\n[^\n]*\n *%^$",
  "behind a long string")
local xs = ("x"):rep(200000)
match(xs .. "\n'" .. xs .. "' y )", "^error: %[%d+%]:2: syntax error near '%)'",
  "in a text of long lines, at once")
s:run "Own = {}; Own.__index = function() end; setmetatable(Own, Own)"
match("Own:missing()", "^error: attempt to call a nil value %(method 'missing'%)$",
  "a class that is its own metatable")
s:run "Own = setmetatable({}, {__index = setmetatable({}, {__metatable = 'locked'})})"
match("Own:missing()", "^error: attempt to call a nil value %(method 'missing'%)$",
  "a class whose metatable is hidden")
match("local function f()\n  error 'deep'\nend\nf()",
  "^error: %[%d+%]:2: deep\n  at %[%d+%]:2 in function 'f'\n  at %[%d+%]:4$", "the calls before it")
match("error {}", "^error: a table was raised: ", "an error that is no text")
match("mw.zeros {2, 3}:matmul(mw.zeros {2, 3})", "^error: matmul: a is f32%[2,3%]", "an op's error")
match("coroutine.yield(1)", "nothing to yield to", "yielding to the prompt")
match(":tiem", "^error: :tiem is no command; ", "a command that is not there")
t.ok(s.failure.message:find "tiem", "what failed is remembered")
t.is(answer "x", "5", "and all goes on")

-- commands
t.ok(answer(":help"):find(":time on|off", 1, true), ":help lists the commands")
t.is(answer ":help time", ":time on|off\nShows after each line its time, the bytes that it "
  .. "kept and took, and what was compiled.", "and explains one")
t.is(answer "?", answer ":help", "? alone is :help")

-- names
s:run "net = nn.Sequential {nn.Conv2d {1, 2, kernel = 3}, nn.ReLU {}}"
s:run "local w = net[1].weight"
local function name_of(tensor) return names.known()(names.key(tensor)) end
t.is(name_of(s:get "w"), "w", "a variable's name")
s:run "w = nil"
t.is(name_of(s:get("net"):parameters()[1]), "net[1].weight", "a parameter's, in its network")
s:run "batch = {x = mw.zeros {2}}"
t.is(name_of(s:get("batch").x), "batch.x", "that of a field of a table")
t.is(name_of(core.tensor {1}), nil, "no name")
local made = {}
for name in s:variables() do made[name] = true end
t.ok(made.net and made.x and made.n and not made.mw, "the variables that were made")

t.is({s:value "1 + 1"}, {true, 2}, "an expression's value")
t.is((s:value "x = "), false, "no expression")

t.done()
