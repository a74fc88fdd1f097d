-- What Tab completes at the prompt: as a function, and in a terminal.
local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"
local mw = require "moonwalk"
local check = require "moonwalk.check"
local complete = require "moonwalk.prompt.complete"
local session = require "moonwalk.prompt.session"

local s = session.new()
s.out = {write = function() end, flush = function() end}
for _, line in ipairs {
  "net = nn.Sequential {{'conv1', nn.Conv2d {1, 6, kernel = 5}}, nn.ReLU {}, nn.BatchNorm {6}}",
  "local image = mw.ones {1, 1, 28, 28}",
  "opt = optim.SGD(net:parameters(), {lr = 0.1})",
  "set = data.digits {n = 10}",
  "conf = {batch_size = 3, names = {first = 1}, [1] = {inner = 2}, run = print}",
  "Mine = nn.Module:extend 'Mine'",
  "function Mine:init(options) ran = true self.scale = 2 self.dense = nn.Dense {2, 3} end",
  "function Mine:polish() end",
  "mine = Mine {}",
  "ran = nil",
  "spy = setmetatable({plain = 1}, {__index = function(_, key) ran = key return {} end})",
  "looped = {}; setmetatable(looped, {__index = looped})",
  "conv = mw.conv2d",
} do
  if not s:run(line) then error(line) end
end

-- The words that go on with a text, one after the other; where they begin is marked in it.
local function words(text)
  local list, start = complete.words(s, text, #text)
  return table.concat(list, "|"), text:sub(1, start - 1)
end

local function is(text, want, name)
  t.is((words(text)), want, name or text)
end

local function has(text, wanted, unwanted)
  local list = "|" .. words(text) .. "|"
  local good = true
  for word in wanted:gmatch "%S+" do good = good and list:find("|" .. word .. "|", 1, true) end
  for word in (unwanted or ""):gmatch "%S+" do
    good = good and not list:find("|" .. word .. "|", 1, true)
  end
  if not t.ok(good, text .. " has " .. wanted) then print("# got " .. list) end
end

-- variables
is("ima", "image")
is("x = conf.batch_size + ima", "image", "behind other text")
is("imag", "image", "a local variable")
is("pri", "print", "a global function")
is("whi", "while", "a keyword")
is("nosuch", "", "nothing")
is("local foo = 1; return fo", "foo|for", "a variable of the text itself")
is("for i, batch in set do\n  print(bat", "batch", "of several lines")
has("print(", "image net opt set conf", "while")
is("x = 12", "", "a number")
is("-- ima", "", "a comment")
is("--[[ ima", "", "a long one")
is("-- a comment\nima", "image", "behind a comment")
t.is(select(2, words "y = ima"), "y = ", "where the word begins")

-- fields and methods
is("conf.", "batch_size|names|run")
is("conf.names.", "first")
is("conf[1].in", "inner")
is("conf['names'].", "first")
is("conf:", "run", "only functions behind a colon")
is("looped.", "", "a table that inherits from itself")
is("mw.con", "concat|conv1d|conv2d|conv2d_weight_gradient|conv3d|conv_transpose1d|"
  .. "conv_transpose2d")
has("mw.", "conv2d zeros nn fit load", "core")
has("nn.Conv", "Conv1d Conv2d ConvTranspose2d")
has("optim.", "SGD AdamW schedule")
is("optim.schedule.one", "one_cycle")
is("table.con", "concat")
has("('x'):", "upper rep")
is("nosuch.", "")
has("image.", "shape dtype rank", "relu")
has("image:", "relu sum conv2d item totable", "shape")
is("image:sum", "sum|sum_to")
is("image:relu():soft", "softmax|softplus|softsign", "of a tensor that is not there yet")
has("mw.randn {2, 3}:", "softmax", "shape")
has("(image + 1):", "softmax")
has("net(image):", "cross_entropy")
has("image[1]:", "relu")
has("net:", "parameters forward freeze train", "init build applying extend conv1")
has("nn.Dense {2, 3}:", "parameters", "init")
is("net.", "conv1|training", "the parts of a network by name")
is("net.conv1.", "bias|training|weight")
is("net.conv1.w", "weight")
has("net.conv1.weight:", "sum", "conv1")
is("net[1].wei", "weight")
has("net[3].", "weight running_mean")
has("opt.", "lr momentum clip_norm", "step plans slots checked")
has("opt:", "step state", "lr")
has("set:", "batches split", "new is")
has("set.", "x y")
has("mine.", "scale dense training")
has("mine:", "polish parameters", "init")
is("io.stdout:wri", "write")

-- options
is("mw.conv2d(image, w, {str", "stride = ")
is("image:conv2d(w, {str", "stride = ", "of a method")
is("conv(image, w, {dil", "dilation = ", "of an op by another name")
is("mw.conv2d(image, w, b, {stride = 2, ", "dilation = |flip = |groups = |padding = ",
  "those that are not there already")
is("nn.Conv2d {1, 6, ker", "kernel = ")
is("net = nn.Sequential {\n  nn.Conv2d {1, 6, kernel = 5, pad", "padding = ", "within others")
is("nn.LeakyReLU {", "negative_slope = ")
is("nn.Parallel {", "axis = |join = ")
is("optim.SGD(p, {mo", "momentum = ")
is("optim.LBFGS(p, {", "history = |lr = |tolerance = ")
is("optim.schedule.plateau {pa", "patience = ")
is("optim.schedule.one_cycle(100, {", "first = |last = |rise = ")
is("mw.fit(net, set, {ear", "early_stop = ")
is("data.mnist {", "dir = |download = |n = |split = ")
is("data.csv('file.csv', {sep", "separator = ")
is("data.text('file.txt', {", "by = |like = ")
is("set:batches {shu", "shuffle = ")
is("net:summary({1}, {", "batch = |dtype = ")
is("show(image, {sc", "scale = ")
is("plot({1, 2}, {yl", "ylabel = ")
is("hist(image, {bi", "bins = ")
is("draw(net, {de", "depth = ")
is("why(loss, w, {", "full = ")
is("mw.gradcheck(f, {image}, {to", "tolerance = ")
is("{ker", "", "a table that nobody is given")
is("mw.zeros {im", "image", "an op without options")
is("nn.Conv2d {ima", "image", "a value")
is("nn.Conv2d {1, 6, kernel = ima", "image", "an option's value")
is("mw.cross_entropy(x, y, {reduction = \"", "mean|none|sum", "words that an option may be")
is("mw.cross_entropy(x, y, {reduction = 's", "sum'")
is("image:cast \"f", "f32|f64", "or an op's one attribute")

-- Whatever takes options is asked for them. Their names are those of the message that a wrong one
-- gets, which is another way to them.
for _, part in ipairs {"nn", "optim"} do
  for name, layer in pairs(mw[part]) do
    local given = {{["\1"] = true}}
    if part == "optim" then table.insert(given, 1, {mw.param(mw.zeros {1})}) end
    local _, message = pcall(layer, table.unpack(given))
    local known = type(layer) ~= "boolean" and tostring(message):match "it takes ([%w_, ]+)$"
    if known and known ~= "none" then
      local want, got = {}, {}
      for word in known:gmatch "[%w_]+" do want[#want + 1] = word end
      local text = part == "nn" and "nn.%s {" or "optim.%s(p, {"
      for word in words(text:format(name)):gmatch "([%w_]+) = " do got[#got + 1] = word end
      table.sort(want)
      t.is(got, want, ("%s.%s"):format(part, name))
    end
  end
end
t.is(check.options_of(rawlen, {}), nil, "a function that takes none")

-- nothing of the user's runs
words "spy."
words "spy.other."
words "spy.other.deep:"
words "spy("
words "Mine {"
words "Mine {1, opt"
words "mine.other."
t.is(s.env.ran, nil, "no function of the user's is run")
is("spy.pl", "plain")

-- files
folder.put("digits.csv", "")
folder.put("digits.npy", "")
os.execute(("mkdir '%s/deep'"):format(folder.path))
local here = folder.path .. "/"
is("mw.load '" .. here .. "dig", "digits.csv|digits.npy", "files in strings")
is("mw.load('" .. here .. "digits.n", "digits.npy'", "the only one, with the end of the string")
is('mw.load "' .. here .. "de", "deep/", "a folder")
is("mw.load '" .. here .. "nosuch/", "", "a folder that is not there")
t.is(select(2, words("mw.load '" .. here .. "dig")), "mw.load '" .. here, "where the name begins")

-- commands and ops
has(":", "help ops time")
is(":tim", "time ", "a command that takes an argument")
is(":time o", "off|on")
is(":full ima", "image", "the expression behind a command")
is(":nosuch x", "")
has("?conv", "conv1d conv2d")
has("??conv", "conv1d conv2d")
t.is(select(2, words "??conv"), "??", "behind the marks")

-- ---- in a terminal ---------------------------------------------------------------------------

if not terminal.available() then
  t.skip("Tab", "there is no tmux")
  folder.remove()
  return t.done()
end

for _, locale in ipairs {"C.UTF-8", "C"} do
  for _, size in ipairs {{80, 24}, {120, 40}} do
    local name = ("%s, %dx%d: "):format(locale, size[1], size[2])
    local term <close> = terminal.open {columns = size[1], rows = size[2], locale = locale,
      env = {NO_COLOR = locale == "C" and 1 or nil}}
    term:ready()
    term:run "net = nn.Sequential {{'conv1', nn.Conv2d {1, 6, kernel = 5}}}"
    term:run "kind = require('moonwalk.prompt.input').kind()"
    term:run "kind"
    if term:text():find('"plain"', 1, true) then
      t.skip(name .. "Tab", "libedit is not there")
      goto continue
    end
    term:type "print(net.co"
    term:key "Tab"
    term:wait "> print(net.conv1"
    term:type ".we"
    term:key "Tab"
    term:type ".shape[3])"
    term:wait "> print(net.conv1.weight.shape[3])"
    term:key "Enter"
    term:ready()
    t.ok(term:text():find "\n5\n", name .. "one word is put in")

    term:type "mw.conv2"
    term:key "Tab"
    term:wait "> mw.conv2d"
    term:key("Tab", "Tab")
    term:wait "\nconv2d"
    term:wait "conv2d_weight_gradient\n> mw.conv2d"
    t.ok(true, name .. "several are listed, below the line, which goes on")
    term:key "C-u"
    term:type "mw."
    term:key("Tab", "Tab")
    term:wait "more\n> mw."
    local shown = term:lines()
    local widest = 0
    for _, line in ipairs(shown) do widest = math.max(widest, utf8.len(line) or #line) end
    t.ok(shown[1] == "> mw." and widest < size[1], name .. "as many as the screen has room for")
    term:key "C-c"
    term:ready()

    term:run("net2 = nn.Sequential {", ">> ")
    term:type "nn.Conv2d {1, 6, ker"
    term:key "Tab"
    term:type "5}}"
    term:wait ">> nn.Conv2d {1, 6, kernel = 5}}"
    term:key "Enter"
    term:ready()
    term:run("do", ">> ")
    term:key "Tab"
    term:type "local inside = 1"
    term:wait ">>   local inside = 1"
    term:key "Enter"
    term:ready ">> "
    term:type "  print('inside is', insi"
    term:key "Tab"
    term:type ") end"
    term:wait ">>   print('inside is', inside) end"
    term:key "Enter"
    term:ready()
    t.ok(term:text():find "\ninside is%s+1\n", name .. "in lines that belong together")
    ::continue::
  end
end

folder.remove()
t.done()
