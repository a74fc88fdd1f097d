-- examples.lua: every script in lua/examples as a user runs it, with little to do and on data that
-- it makes itself: it says what it should, its loss falls, and the README lists it. Those with a
-- test of their own, lenet5.lua, are seen here briefly.
local t = require "tap"

local folder = require "folder"
local FOLDER = folder.path
local MOONWALK = arg[-1]
local NOWHERE = ("unset MOONWALK_DATA XDG_CACHE_HOME; export HOME='%s'; "):format(FOLDER)

-- Runs an example: what it printed, on standard error too, and its exit status.
local function run(name, arguments)
  local pipe = assert(io.popen(("%s'%s' lua/examples/%s.lua %s 2>&1"):format(NOWHERE, MOONWALK,
    name, arguments)))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

local EPOCH = "epoch %d+/%d+  loss (%S+)"
local STEP = "step %d+  loss (%S+)"

-- Of each: arguments; what its losses look like, of which the last has to be below `part` of the
-- first; and a pattern of the number that it ends with, which is between low and high.
local EXAMPLES = {
  lenet5 = {"--best --epochs 2 --n 1000", EPOCH, 0.95, "test error: (%S+) %%\n$", 0, 70},
  lenet5_classic = {"--epochs 3 --n 500", EPOCH, 0.95, "test error: (%S+) %%\n$", 0, 85},
  mlp = {"--epochs 3 --n 1000 --hidden 64", EPOCH, 0.95, "test error: (%S+) %%\n$", 0, 80},
  vgg = {"--epochs 3 --n 200 --width 4", EPOCH, 1, "test error: (%S+) %%\n$", 0, 95},
  resnet20 = {
    "--epochs 2 --n 64 --batch 16 --blocks 1", EPOCH, 1, "test error: (%S+) %%\n$", 0, 100,
  },
  autoencoder = {"--epochs 2 --n 1000", EPOCH, 0.95, "of a pixel: (%S+)\n$", 0, 0.5},
  vae = {"--epochs 2 --n 1000 --hidden 64", EPOCH, 0.95, "test images: (%S+) nats\n$", 50, 545},
  char_rnn = {"--epochs 3 --n 20000 --hidden 48", EPOCH, 0.95, "not read: (%S+)\n$", 0, 4.2},
  transformer = {
    "--steps 60 --digits 4 --width 32 --layers 1", STEP, 0.8, "mistake: (%S+) %%\n$", 0, 100,
  },
  logistic = {"--n 300 --steps 20", STEP, 0.9, "test error: (%S+) %%\n$", 0, 50},
  custom_loop = {"--steps 150 --hidden 16", STEP, 0.6, "difference: (%S+)\n$", 0, 1.5},
  vanishing = {"", false, false, "gets (%S+)\n\n?$", 0.01, 1000},
}

local function losses(output, pattern)
  local list = {}
  for text in output:gmatch(pattern) do list[#list + 1] = tonumber(text) end
  return list[1], list[#list], #list
end

local readme = folder.contents "README.md"
local listing = assert(io.popen "ls lua/examples")
for file in listing:lines() do
  local name = file:match "^(.*)%.lua$"
  local case = EXAMPLES[name]
  t.ok(case, file .. ": it is tested")
  t.ok(readme:find("](lua/examples/" .. file .. ")", 1, true), file .. ": the README lists it")
  if case then
    local arguments, pattern, part, ending, low, high = table.unpack(case)
    local output, status = run(name, arguments)
    local shown = output:sub(-1000)
    t.is(status, 0, ("%s %s"):format(file, arguments), shown)
    if pattern then
      local first, last, count = losses(output, pattern)
      t.ok(count > 1 and last < part * first, ("%s: its loss falls from %s to %s"):format(file,
        first, last))
    end
    local value = tonumber(output:match(ending))
    t.ok(value and value >= low and value <= high, ("%s: it ends with %s"):format(file,
      value or shown))
    t.ok(not output:find "[%s%p]%-?nan[%s%p]", file .. ": no NaN")
    local help
    help, status = run(name, "--help")
    t.ok(name == "vanishing" or status == 0 and help:find("^" .. file:gsub("%p", "%%%0") .. ": "),
      file .. " --help")
  end
end
listing:close()

-- What a few of them show.
do
  local output = run("resnet20", "--epochs 1 --n 8 --batch 8")
  t.ok(output:find "total +269,722 ", "ResNet-20 has 0.27 million parameters")
  output = run("lenet5_classic", "--epochs 1 --n 64 --full")
  t.ok(output:find "total +61,750 ", "the classic LeNet-5 with all connections")
end
do
  local rows = {"a,b,species"}
  for i = 1, 40 do rows[#rows + 1] = ("%d,%d,%s"):format(i % 7, i, i <= 20 and "x" or "y") end
  local path = folder.put("table.csv", table.concat(rows, "\n") .. "\n")
  local output = run("logistic", ("--csv '%s' --label species"):format(path))
  t.ok(output:find "32 samples of 2 features in 2 classes" and output:find "test error: 0.00 %%",
    "logistic.lua learns from a table")
  local status
  output, status = run("logistic", ("--csv '%s' --label kind"):format(path))
  t.ok(status == 1 and output:find "kind", "a column that is not there: " .. output:match "[^\n]*")
end
do
  local path = folder.put("text.txt", ("ab"):rep(1000))
  local output = run("char_rnn", ("--text '%s' --start a --write 20 --hidden 16 --length 16 "
    .. "--lr 0.02"):format(path))
  t.ok(output:find(("\na%s\n"):format(("ba"):rep(10)), 1, true),
    "char_rnn.lua learns a text by heart")
  local status
  output, status = run("char_rnn", ("--text '%s' --start xyz"):format(path))
  t.ok(status == 1 and output:find 'encode: piece 1, "x", is not in the vocabulary of 2'
    and not output:find "epoch", "a beginning that the text does not know, before it learns")
end
folder.remove()
t.done()
