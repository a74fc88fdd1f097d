-- What newcomers type that is wrong: the prompt answers each with a message that fits the screen,
-- says what came and what helps, and goes on with all variables.

local t = require "tap"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("wrong inputs at the prompt", "tmux is not there")
  return t.done()
end

local SETUP = {
  "net = nn.Sequential {nn.Flatten {}, nn.Dense {784, 10}};",
  "digits = data.digits {n = 20}; batch = digits:batches {size = 10} ();",
  "x = mw.randn {1, 3, 8, 8}; y = mw.randn {2, 3}; opt = optim.SGD(net:parameters(), {lr = 0.1});",
  "w = mw.param(y); stale = (w * 2):sum(); mw.update({w}, {w * 2}); kept = 42",
}

-- A text, and what the answer to it says.
local WRONG = {
  -- ops, options, shapes, labels
  {"mw.sofmax(y)", "mw.sofmax does not exist; did you mean mw.softmax?"},
  {"y:sofmax()", "no field, method or op 'sofmax'; did you mean 'softmax'?"},
  {"softmax(y)", "there is no variable 'softmax'; did you mean mw.softmax?"},
  {"Dense {3, 4}", "did you mean nn.Dense?"},
  {"nn.Linear {3, 4}", "nn: there is no \"Linear\", did you mean nn.Dense?"},
  {"mw.Conv2d {1, 6}", "did you mean nn.Conv2d or mw.conv2d?"},
  {"x:conv2d(mw.randn {4, 3, 3, 3}, {strid = 2})",
    "unknown attribute 'strid'; did you mean 'stride'?"},
  {"nn.Conv2d {1, 6, kernel_size = 5}", "no option \"kernel_size\", did you mean \"kernel\"?"},
  {"optim.SGD(net:parameters(), {learning_rate = 0.1})", "did you mean \"lr\"?"},
  {"x:conv2d(mw.randn {4, 5, 3, 3})", "w is f32[4,5,3,3], expected f32[4,3,3,3]", "3 channels"},
  {"x:conv2d(mw.randn {4, 3, 9, 9})", "height 9 is larger than the padded image's 8",
    "pad by 1 more"},
  {"y:matmul(mw.randn {2, 3})", "a has 3 columns, but b has 2 rows", "transpose_b=true"},
  {"y + mw.randn {3, 2}", "a is f32[2,3] and b is f32[3,2], which do not broadcast"},
  {"nn.Dense {784, 10} (mw.randn {4, 28, 28})", "x has 28 columns, weight expects 784",
    "x:flatten()"},
  {"net(x)", "Dense (layer 2)", "x has 192 columns, weight expects 784"},
  {"y:cross_entropy(mw.tensor({1, 3}, 'i64'))", "labels[1] is 3, but x has 3 classes",
    "count from 0"},
  {"y:cross_entropy(mw.tensor {0, 1})", "labels is f32[2], expected i64", ":cast \"i64\""},
  {"y:cross_entropy {0, 1}", "labels is a table, expected a tensor", "mw.tensor"},
  {"opt:step(net(batch.x))", "the loss is a tensor f32[10,10], expected a scalar",
    ":mean() or :sum()"},
  {"optim.SGD {lr = 0.1}", "the list of parameters is empty; write net:parameters()"},
  {"optim.SGD(net, {lr = 0.1})", "expected a list of parameters: net:parameters()"},
  {"y:item()", "the tensor is f32[2,3], expected one element; t:totable() gives all"},
  {"y[0]", "index 0 is out of range: axis 1 of f32[2,3] has size 2, counted from 1"},
  {"y:slice {0}", "the index is 0, but the size is 2; it counts from 1"},
  {"stale:item()", "stale value: mul was built from a parameter", "build the expression again"},
  {"mw.tensor {{1, 2}, {3}}", "the table [2] has 1 elements, expected 2"},
  {"mw.zeros(2, 3)", "a shape is one table, such as {2, 3}"},
  {"mw.fit(net, digits, {epoch = 2})", "there is no option \"epoch\", did you mean \"epochs\"?"},
  {"mw.fit(net, {1, 2})", "the training set is a table, expected a data set, as data.digits {}"},
  {"data.mnist {split = 'trian'}", "split is \"trian\"", "did you mean \"train\"?"},
  {"y:backward()", "did you mean 'mw.grad(y, {x})'?"},
  {"mw.load 'nosuch.npy'", "nosuch.npy: No such file or directory"},

  -- too much of something
  {"mw.zeros {1e6, 1e6}", "f32[1000000,1000000] takes 4.0 TB; ", "memory"},
  {"(mw.ones {1000000, 1} * mw.ones {1, 1000000}):sum()",
    "mul: f32[1000000,1000000] takes 4.0 TB; "},
  {"function deep() return 1 + deep() end deep()", "stack overflow", "in function 'deep'",
    "calls itself without an end"},
  {"error(('too long '):rep(2000))", "error: too long too long", "bytes more"},
  {"error(('many\\n'):rep(2000))", "error: many", "bytes more"},
  {"mw.randn {1000, 1000}", "f32[1000,1000]"},
  {"many = {} for i = 1, 1e6 do many[i] = i end; many", "999"},
  {"('long'):rep(1e6)", "longlong"},
  {"cycle = {} cycle.of = cycle; cycle", "{of = "},
  {"mw.log(mw.tensor {-1}):sum()", "nan"},

  -- Lua's own
  {"nosuch()", "there is no variable 'nosuch'"},
  {"kpet + 1", "there is no variable 'kpet'; did you mean kept?"},
  {"kpet", "there is no variable 'kpet'; did you mean kept?"},
  {"net.parameters()", "a method is called with a colon: net:parameters(...)"},
  {"opt.step(y:sum())", "a method is called with a colon: opt:step(...)"},
  {"y.sum()", "a method is called with a colon: y:sum(...)"},
  {"x.shape()", "attempt to call a table value", "shape is a field: t.shape"},
  {"net:paramters()", "did you mean \"parameters\"?"},
  {"for item in {1, 2} do end", "for i, x in ipairs(list) do"},
  {"'a' + 'b'", "a .. b joins texts"},
  {"missing = mw.load 'nosuch.npy'; missing.a", "is nil", "assert(mw.load(path)) tells why",
    again = true},
  {"error {code = 5}", "a table was raised: {code = 5}"},
  {"error(setmetatable({}, {__tostring = error}))", "a table was raised"},
  {"error()", "nil was raised, without a message"},
  {"end", "there is one end too many"},
  {"print('open", "unfinished string", "quote that it begins with"},
  {"x = = 1", "unexpected symbol near '='", "^"},

  -- Python, C and shells
  {"x = [1, 2]", "unexpected symbol near '['", "a list is written in braces: {1, 2}"},
  {"mw.tensor([1, 2])", "a list is written in braces: {1, 2}"},
  {"y[1:2]", "t:slice {{1, 3}}"},
  {"import moonwalk as mw", "mw, nn, optim and data are there already"},
  {"from moonwalk import nn", "mw, nn, optim and data are there already"},
  {"for i in range(10): print(i)", "a block begins with do and ends with end"},
  {"for i in range(10):", "a block begins with do and ends with end"},
  {"if kept == 42:", "a block begins with then and ends with end"},
  {"def f(x): return x", "function f(x) return x end"},
  {"g = lambda x: x", "function(x) return x end"},
  {"kept # a comment", "a comment begins with --"},
  {"kept != 42", "not equal is ~="},
  {"kept += 1", "kept = kept + ..."},
  {"kept++", "kept = kept + 1"},
  {"kept ** 2", "a power is x ^ 2"},
  {"not kept && true", "it is x and y"},
  {"if kept = 42 then end", "== compares, = assigns"},
  {"z = None", "Lua calls it nil"},
  {"z = True", "Lua writes true"},
  {"len(y)", "#x is the length of x"},
  {"z = {'a': 1}", "a table's fields are {name = value}"},
  {"print(f'{kept}')", "(\"%.2f\"):format(x) puts a value into a text"},
  {"import torch", "mw, nn, optim and data are there already"},
  {"torch.zeros(2, 3)", "mw.zeros {2, 3}"},
  {"ls", "this is no shell"},
  {"ls -l", "this is no shell"},
  {"cd ..", "this is no shell"},
  {"exit", "Ctrl-D leaves the prompt"},
  {"quit()", "Ctrl-D leaves the prompt"},
  {"help", ":help lists the commands"},
  {"moonwalk lenet.lua", "dofile \"x.lua\" runs a script"},
  {"print(“hello”)", "“ is U+201C, which Lua does not know; write \"", utf8 = true},
  {"kept – 1", "– is U+2013, which Lua does not know; write -", utf8 = true},

  -- commands
  {":", ":help lists the commands"},
  {": help", "no blank behind its colon: :help"},
  {"edit relu", "a command begins with a colon: :edit relu"},
  {"who", "there is no variable 'who'; did you mean :who?"},
  {":quit", "Ctrl-D leaves the prompt"},
  {"error('\\27[31mred')", "error: \\027[31mred"},
  {":hlep", ":hlep is no command; did you mean :help?"},
  {"?sofmax", "softmax"},
  {"??sofmax", "softmax"},
}

-- What the screen shows below the line that was typed, on one line; nil when that is not there.
local function answer(screen, text)
  local lines, from = screen:lines(), nil
  local head = "> " .. text:sub(1, 60)
  for i, line in ipairs(lines) do
    if line:sub(1, #head) == head then from = i end
  end
  return from and table.concat(lines, "\n", from):gsub("%s*\n%s*", " ")
end

local function try(screen, case, where)
  local text, missing = case[1], {}
  screen:run(text)
  if case.again then screen:run "missing.b" end
  local shown = answer(screen, text)
  for i = 2, #case do
    if shown and not shown:find(case[i], 1, true) then missing[#missing + 1] = case[i] end
  end
  t.is({shown and "" or "the line has left the screen", missing}, {"", {}}, where .. text)
  if not shown or #missing > 0 then print("# " .. screen:text():gsub("\n", "\n# ")) end
end

local function try_all(where, options)
  local screen <close> = terminal.open(options)
  screen:ready()
  for _, line in ipairs(SETUP) do screen:run(line) end
  for _, case in ipairs(WRONG) do
    if not (case.utf8 and options.locale == "C") then try(screen, case, where) end
  end
  screen:run "kept, #net, #digits, y.shape[2]"
  t.ok(answer(screen, "kept, #net"):find "42 2 20 3", where .. "all variables are still there")
end

try_all("80x24: ", {columns = 80, rows = 24})
try_all("120x40, without colour, ASCII: ", {columns = 120, rows = 40, locale = "C",
  env = {NO_COLOR = "1"}})

-- What is not one line with an answer.
for _, editor in ipairs {"libedit", "plain"} do
  local screen <close> = terminal.open {env = {MOONWALK_EDITOR = editor}}
  local function shows(text, name) t.ok(screen:wait(text), editor .. ": " .. name) end
  screen:ready()
  screen:run "kept = 42"

  screen:run("for i = 1, 3 do", ">> ")
  screen:run("print(i", ">> ")
  screen:key "Enter"
  shows("hint: ')' is missing for '('; Ctrl-C gives it up", "an empty line asks what is missing")
  screen:key "C-c"
  screen:ready()
  screen:run("mw.tensor({1, 2}", ">> ")
  screen:run ")"
  shows("f32[2]", "a missing bracket is asked for")

  screen:type "while true do end"
  screen:key "Enter"
  os.execute "sleep 0.3"
  screen:key "C-c"
  shows("error: interrupted", "Ctrl-C ends an endless loop")
  screen:ready()
  screen:type "while true do pcall(error) end"
  screen:key "Enter"
  os.execute "sleep 0.3"
  screen:key "C-c"
  os.execute "sleep 0.1"
  screen:key "C-c"
  screen:ready()
  t.ok(true, editor .. ": also one that catches errors")

  screen:type "unfinished"
  screen:key "C-d"
  screen:key "C-c"
  screen:ready()
  t.ok(true, editor .. ": Ctrl-D in the middle of a line leaves nothing")

  screen:paste "\x7fELF\xff\xfe\x80\x01\x02 \xc3\x28 \xe2\x82"
  screen:key "Enter"
  os.execute "sleep 0.2"
  screen:key "C-c"
  screen:ready()
  screen:paste(("long = '%s'"):format(("x"):rep(3000)))
  screen:key "Enter"
  screen:wait(function(text) return text:find "xx'\n> *\n*$" end)
  screen:run "#long"
  shows("\n3000\n", "a long line")

  screen:run "kept"
  shows("\n42\n", "the variables are there")
  screen:key "C-d"
  t.is(screen:finish(), 0, editor .. ": Ctrl-D leaves")
end

t.done()
