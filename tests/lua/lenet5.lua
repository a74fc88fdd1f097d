-- lenet5.lua: the example lua/examples/lenet5.lua as a user runs it, and the command data.
local mw = require "moonwalk"
local t = require "tap"

local folder = require "folder"
local FOLDER, contents = folder.path, folder.contents
local MOONWALK = arg[-1]
local EXAMPLE = "lua/examples/lenet5.lua"

-- Runs a command line in a shell: what it printed, its errors, and its exit status.
local function shell(format, ...)
  local run = assert(io.popen(("{ %s ; } 2>'%s/errors'"):format(format:format(...), FOLDER)))
  local output = run:read "a"
  local _, _, status = run:close()
  local file = assert(io.open(FOLDER .. "/errors"))
  local errors = file:read "a"
  file:close()
  return {output = output, errors = errors, status = status}
end

local function last_line(text)
  return text:match "([^\n]*)\n$"
end

do
  local lines = 0
  for _ in io.lines(EXAMPLE) do lines = lines + 1 end
  t.ok(lines < 60, "the example has " .. lines .. " lines, fewer than 60")
end

-- On drawn digits --------------------------------------------------------------------------------

local NOWHERE = ("unset MOONWALK_DATA XDG_CACHE_HOME; export HOME='%s'; "):format(FOLDER)

-- The counts of the confusion matrix in what the example prints.
local function read_matrix(output)
  local matrix = {}
  for line in output:gmatch "\n +%d([ %d.]+)%f[\n]" do
    local counts = {}
    for count in line:gmatch "[%d.]+" do counts[#counts + 1] = tonumber(count) or 0 end
    if #counts == 10 then matrix[#matrix + 1] = counts end
  end
  return matrix
end

do
  local saved = {}
  for threads = 1, 2 do
    saved[threads] = ("%s/weights%d.safetensors"):format(FOLDER, threads)
    local run = shell("%s '%s' %s --epochs 1 --threads %d --save '%s'", NOWHERE, MOONWALK, EXAMPLE,
      threads, saved[threads])
    t.is(run.status, 0, ("it trains on drawn digits with %d threads"):format(threads))
    t.ok(run.errors:find "^epoch 1/1  loss [^\n]*\n$",
      "one line for the epoch on standard error when it is no terminal")
    t.ok(run.output:find("drawn digits", 1, true), "it says what it learns from")
    t.ok(not run.output:find "[\27\r]", "no control characters when output is no terminal")
    local share = tonumber(last_line(run.output):match "^test error: (%d+%.%d%d) %%$")
    t.ok(share and share < 15, "the last line: " .. last_line(run.output))
    local matrix, total, right = read_matrix(run.output), 0, 0
    t.is(#matrix, 10, "a confusion matrix of 10 by 10")
    for i, row in ipairs(matrix) do
      right = right + row[i]
      for _, count in ipairs(row) do total = total + count end
    end
    t.ok(share and math.abs(100 * (1 - right / total) - share) < 0.0051,
      "which agrees with the test error")
    t.ok(run.output:find "[█@]" and run.output:find "a %d, taken for %d",
      "misclassified digits are drawn")
  end
  t.ok(contents(saved[1]) == contents(saved[2]),
    "1 and 2 threads give the same weights, bit for bit")
  local state = mw.load(saved[1])
  t.is(state and state["1.weight"].shape, {6, 1, 5, 5}, "the weights can be loaded")
end

do -- A run that goes on, to longer settings.
  local path = FOLDER .. "/run.safetensors"
  local command = ("%s '%s' %s --n 500 --run '%s'"):format(NOWHERE, MOONWALK, EXAMPLE, path)
  local run = shell("%s --epochs 1", command)
  t.ok(run.status == 0 and run.errors:find "^epoch 1/1 ", "--run begins a run")
  run = shell("%s --epochs 2", command)
  t.ok(run.status == 0 and run.errors:find "goes on from there\nepoch 2/2 ", "and goes on with it")
  t.ok(run.output:find "\nepochs: 2, minutes: %d+%.%d\n", "it tells how long it took")
end

do
  local run = shell("%s '%s' %s --data '%s'", NOWHERE, MOONWALK, EXAMPLE, FOLDER)
  t.ok(run.status == 1 and run.errors:find("there is no MNIST in " .. FOLDER, 1, true),
    "--data with no MNIST in it is an error")
  t.ok(not run.output:find "test error", "and not a training on something else")
  assert(os.execute(("mkdir '%s/mnist' && echo rubbish >'%s/mnist/train-images-idx3-ubyte'")
    :format(FOLDER, FOLDER)))
  run = shell("MOONWALK_DATA='%s' '%s' %s", FOLDER, MOONWALK, EXAMPLE)
  t.ok(run.status == 1 and run.errors:find "not an IDX file", "a damaged MNIST is an error")
end

-- Its arguments ----------------------------------------------------------------------------------

for _, case in ipairs {
  {"--epoch 3", "unknown argument %-%-epoch, did you mean %-%-epochs%?"},
  {"--epochs", "%-%-epochs is without a value, expected a whole number"},
  {"--epochs=x", '%-%-epochs is "x", expected a whole number'},
  {"--lr 1e", '%-%-lr is "1e", expected a number'},
  {"digits", "unknown argument digits; %-%-help"},
} do
  local run = shell("'%s' %s %s", MOONWALK, EXAMPLE, case[1])
  t.ok(run.status == 2 and run.errors:find(case[2]), case[1] .. ": " .. run.errors:gsub("\n", ""))
end
do
  local run = shell("'%s' %s --help", MOONWALK, EXAMPLE)
  t.ok(run.status == 0 and run.output:find "%-%-epochs N .*%[%d+%]", "--help")
end

-- On MNIST ---------------------------------------------------------------------------------------

local mnist = os.getenv "MOONWALK_DATA" and mw.data.mnist_folder()
local sanitized = (os.getenv "SANITIZE" or "") ~= ""
if mnist and not sanitized then
  local run = shell("'%s' %s --epochs 1 --threads 1", MOONWALK, EXAMPLE)
  t.ok(run.status == 0 and run.errors:find "^epoch 1/1  loss [^\n]*\n$", "it trains on MNIST")
  t.ok(run.output:find "60000 images to learn from, 10000 to test with %(MNIST%)", "as it says")
  local share = tonumber(last_line(run.output):match "^test error: (%d+%.%d%d) %%$")
  t.ok(share and share <= 2.5, "after one epoch: " .. last_line(run.output))
else
  t.skip("LeNet-5 on MNIST", mnist and "it takes minutes with a sanitizer"
    or "MOONWALK_DATA is not set")
end

-- moonwalk data ----------------------------------------------------------------------------------

-- Runs `moonwalk data` with a folder of our own before the others in PATH.
local function moonwalk_data(words)
  return shell("unset MOONWALK_DATA; HOME='%s' XDG_CACHE_HOME='%s/a'\\''b' PATH='%s/bin':\"$PATH\" "
    .. "'%s' data %s", FOLDER, FOLDER, FOLDER, MOONWALK, words)
end

-- Puts a curl of our own there, so that the tests need no network.
assert(os.execute(("mkdir '%s/bin'"):format(FOLDER)))
local function put_curl(body)
  local path = FOLDER .. "/bin/curl"
  local file = assert(io.open(path, "w"))
  file:write("#!/bin/sh\n", body, "\n")
  file:close()
  assert(os.execute(("chmod +x '%s'"):format(path)))
end
local TO_OUTPUT = 'while [ "$1" != --output ]; do shift; done; '

do
  local run = moonwalk_data ""
  t.ok(run.status == 0 and run.output:find "mnist.*not here.*digits", "moonwalk data lists them")
  run = moonwalk_data "cifar"
  t.ok(run.status == 1 and run.errors:find 'no data set "cifar"', "a set that is unknown")
  put_curl "exit 6"
  run = moonwalk_data "mnist"
  t.ok(run.status == 1 and run.errors:find "offline" and run.errors:find "s3.amazonaws.com"
    and run.errors:find "storage.googleapis.com", "offline: both mirrors, and why")
  put_curl(TO_OUTPUT .. 'echo no | gzip >"$2"')
  run = moonwalk_data "mnist"
  t.ok(run.status == 1 and run.errors:find "md5", "what comes is not MNIST")
  local left = shell("find '%s' -name '*idx*.gz*'", FOLDER)
  t.is(left.output, "", "nothing of it stays")
end
do -- The same from a script.
  put_curl "exit 6"
  local path = FOLDER .. "/get.lua"
  local file = assert(io.open(path, "w"))
  file:write('require "moonwalk".data.fashion_mnist {download = true}\n')
  file:close()
  local run = shell("unset MOONWALK_DATA; XDG_CACHE_HOME='%s/c' PATH='%s/bin':\"$PATH\" '%s' '%s'",
    FOLDER, FOLDER, MOONWALK, path)
  t.ok(run.status ~= 0 and run.errors:find "get.lua:1: data.fashion_mnist: train%-images"
    and run.errors:find "offline", "download = true, offline")
end
do -- An archive, whose checksum is that of one of our own.
  local made = ("'%s/made'"):format(FOLDER)
  assert(os.execute(("mkdir -p %s/cifar-10-batches-bin && echo x >%s/cifar-10-batches-bin/a"
    .. " && tar -czf %s/x.tar.gz -C %s cifar-10-batches-bin"):format(made, made, made, made)))
  put_curl(TO_OUTPUT .. ("cp %s/x.tar.gz \"$2\""):format(made))
  local run = moonwalk_data "cifar10"
  t.ok(run.status == 1 and run.errors:find "md5", "what comes is not CIFAR-10")
  -- A md5sum of our own: the published sum, whatever comes.
  local path = FOLDER .. "/bin/md5sum"
  local file = assert(io.open(path, "w"))
  file:write("#!/bin/sh\necho c32a1d4ab5d03f1284b67883e8d87530 -\n")
  file:close()
  assert(os.execute(("chmod +x '%s'"):format(path)))
  run = moonwalk_data "cifar10"
  t.ok(run.status == 0 and run.output:find "CIFAR%-10 is in",
    "an archive is unpacked " .. run.errors)
  local left = shell("ls '%s'/a\\'b/moonwalk/cifar10", FOLDER)
  t.is(left.output, "cifar-10-batches-bin\n", "and nothing else stays")
  put_curl "exit 6"
  run = moonwalk_data "cifar10"
  t.ok(run.status == 0 and run.output:find "is there already", "it is not got again")
  os.remove(path)
  run = moonwalk_data "cifar1"
  t.ok(run.errors:find "did you mean cifar10", "a name that is nearly one")
end
if mnist then
  put_curl(TO_OUTPUT .. ('cp "%s/${3##*/}" "$2"'):format(mnist))
  local run = moonwalk_data "mnist"
  t.ok(run.status == 0 and run.output:find "MNIST is in", "a download " .. run.errors)
  put_curl "exit 6"
  run = moonwalk_data "mnist"
  t.ok(run.status == 0 and run.output:find "is there already", "what is there is not got again")
  run = moonwalk_data ""
  t.ok(run.output:find("a'b/moonwalk/mnist", 1, true), "moonwalk data says where it is")
else
  t.skip("moonwalk data mnist", "MOONWALK_DATA is not set")
end

folder.remove()
t.done()
