-- data.lua: IDX files good and bad, drawn digits, MNIST's folder, batches.
local mw = require "moonwalk"
local t = require "tap"
local data = mw.data

local folder = require "folder"
local FOLDER, put, contents = folder.path, folder.put, folder.contents

-- The same bytes, gzipped.
local function put_gzipped(name, bytes)
  local path = put(name, bytes)
  assert(os.execute(("gzip -nf '%s'"):format(path)))
  return path .. ".gz"
end

-- An IDX file by its definition.
local function idx(code, shape, format, values)
  local parts = {string.pack("BBBB", 0, 0, code, #shape)}
  for _, size in ipairs(shape) do parts[#parts + 1] = string.pack(">I4", size) end
  for _, value in ipairs(values) do parts[#parts + 1] = string.pack(format, value) end
  return table.concat(parts)
end

-- Good IDX files ---------------------------------------------------------------------------------

for _, case in ipairs {
  {"u8", 0x08, "B", "u8", {0, 1, 127, 128, 254, 255}},
  {"i8", 0x09, "b", "i32", {0, 1, 127, -128, -2, -1}},
  {"i16", 0x0B, ">i2", "i32", {0, 1, 32767, -32768, -2, 258}},
  {"i32", 0x0C, ">i4", "i32", {0, 1, 2147483647, -2147483648, -2, 16909060}},
  {"f32", 0x0D, ">f", "f32", {0, 1.5, -2.25, 1e10, -0.125, 3}},
  {"f64", 0x0E, ">d", "f64", {0, 1.1, -2.2, 1e300, -0.1, 3}},
} do
  local name, code, format, dtype, values = table.unpack(case)
  local bytes = idx(code, {2, 3}, format, values)
  local want = {{table.unpack(values, 1, 3)}, {table.unpack(values, 4, 6)}}
  if name == "f32" then want[2][1] = string.unpack("f", string.pack("f", 1e10)) end
  for _, path in ipairs {put(name, bytes), put_gzipped(name .. "z", bytes)} do
    local x, message = data.idx(path)
    t.is({x and x.dtype, x and x.shape, x and x:totable()}, {dtype, {2, 3}, want},
      ("IDX %s, %s%s"):format(name, path:match "%.gz$" or "plain", message or ""))
  end
end

do
  -- More elements than are read at a time, of each width.
  local n = 40000
  for _, case in ipairs {{0x08, "B", 256}, {0x0B, ">i2", 32768}, {0x0E, ">d", 1e9}} do
    local values, sum = {}, 0
    for i = 1, n do
      values[i] = i * 7919 % case[3]
      sum = sum + values[i]
    end
    local x = data.idx(put_gzipped("long", idx(case[1], {n}, case[2], values)))
    local got = 0
    for _, v in ipairs(x:totable()) do got = got + v end
    t.is(got, sum, "a long IDX file")
  end
  t.is(data.idx(put("empty", idx(8, {0, 5}, "B", {}))).shape, {0, 5}, "an IDX file of no elements")
  t.is(data.idx(put("scalar", idx(8, {}, "B", {7}))):item(), 7, "an IDX file of rank 0")
end

-- Bad IDX files ----------------------------------------------------------------------------------

local good = idx(8, {4, 3}, "B", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
local good_gz = contents(put_gzipped("good", good))
local function size(n) return string.pack(">I4", n) end

for _, case in ipairs {
  {"an empty file", put("b1", ""), "truncated"},
  {"a file of three bytes", put("b2", "\0\0\8"), "truncated"},
  {"a header cut in the sizes", put("b3", good:sub(1, 9)), "truncated"},
  {"data cut", put("b4", good:sub(1, -2)), "truncated: its header promises 24 bytes, the"},
  {"a byte too many", put("b5", good .. "x"), "oversized: its header promises 24 bytes"},
  {"a first byte that is not 0", put("b6", "\1" .. good:sub(2)), "not an IDX file"},
  {"an unknown type", put("b7", "\0\0\10\1" .. size(1) .. "x"), "not an IDX file"},
  {"text", put("b8", ("hello "):rep(100)), "not an IDX file: it begins with 68 65 6c 6c"},
  {"rank 9", put("b9", "\0\0\8\9" .. size(1):rep(9) .. "x"), "rank 9, at most 8"},
  {"rank 255", put("b10", "\0\0\8\255" .. size(1):rep(255) .. "x"), "rank 255, at most 8"},
  {"sizes that overflow", put("b11", "\0\0\8\8" .. ("\255"):rep(32)), "overflow"},
  {"bytes that overflow", put("b12", "\0\0\14\3" .. size(2^31 | 0):rep(2) .. size(4)),
    "overflow"},
  {"a terabyte promised", put("b13", "\0\0\8\2" .. size(1 << 20):rep(2)), "truncated"},
  {"a terabyte promised, gzipped", put_gzipped("b14", "\0\0\8\2" .. size(1 << 20):rep(2)),
    "more than %d+ compressed bytes can hold"},
  {"data cut before it was gzipped", put_gzipped("b15", good:sub(1, -2)), "truncated"},
  {"a byte too many, gzipped", put_gzipped("b16", good .. "x"), "oversized"},
  {"garbage named .gz", put("b17.gz", ("\200garbage"):rep(50)), "not an IDX file"},
  {"a gzip header and then garbage", put("b18.gz", good_gz:sub(1, 10) .. ("\255"):rep(80)),
    "damaged gzip data"},
  {"gzip data cut", put("b19.gz", good_gz:sub(1, -12)), "truncated"},
  {"gzip data without its checksum", put("b20.gz", good_gz:sub(1, -9)), "truncated"},
  {"a wrong checksum", put("b21.gz", good_gz:sub(1, -9) .. ("\1"):rep(4) .. good_gz:sub(-4)),
    "damaged gzip data: incorrect data check"},
  {"a folder", FOLDER, "not a regular file"},
  {"a file that is not there", FOLDER .. "/none", "No such file"},
} do
  local x, message = data.idx(case[2])
  t.ok(x == nil and message and message:find(case[3]), case[1] .. ": " .. tostring(message))
  t.ok(message and message:find(case[2], 1, true), "the file is named")
end
t.error(function() data.idx(3) end, "data.idx: the path is 3, expected a string", "a path of 3")

do
  -- Every single damaged byte, and every length: an error or a tensor, never a crash.
  local tried = 0
  for i = 1, #good_gz do
    for _, byte in ipairs {0, 255, (good_gz:byte(i) + 1) % 256} do
      local path = put("fuzz", good_gz:sub(1, i - 1) .. string.char(byte) .. good_gz:sub(i + 1))
      local x, message = data.idx(path)
      tried = tried + ((x or message) and 1 or 0)
    end
    data.idx(put("fuzz", good_gz:sub(1, i - 1)))
  end
  t.is(tried, 3 * #good_gz, "damaged bytes give an error or a tensor")
end

-- Drawn digits -----------------------------------------------------------------------------------

do
  mw.seed(5)
  local seed, position = mw.core.random_state()
  local five, ten = data.digits {n = 5}, data.digits {n = 10}
  t.is({five.x.dtype, five.x.shape, five.y.dtype, five.y.shape, #five},
    {"u8", {5, 1, 28, 28}, "i64", {5}, 5}, "digits: types and shapes")
  t.is({mw.core.random_state()}, {seed, position}, "drawing leaves the generator where it was")
  local first = mw.core.rows(ten.x, nil, 1, 5)
  t.ok(mw.core.bytes(first) == mw.core.bytes(five.x), "image k depends on the seed and k alone")
  t.is({table.unpack(ten.y:totable(), 1, 5)}, five.y:totable(), "and so does label k")
  t.ok(mw.core.bytes(data.digits({n = 5}).x) == mw.core.bytes(five.x), "the same on each call")
  t.ok(mw.core.bytes(data.digits({n = 5, seed = 1}).x) ~= mw.core.bytes(five.x), "another seed")
  t.ok(mw.core.bytes(data.digits({n = 5, split = "test"}).x) ~= mw.core.bytes(five.x),
    "the test digits are others")

  local set = data.digits {n = 2000}
  local counts, labels = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, set.y:totable()
  for _, label in ipairs(labels) do counts[label + 1] = counts[label + 1] + 1 end
  local least, most = math.min(table.unpack(counts)), math.max(table.unpack(counts))
  t.ok(least > 150 and most < 250,
    ("every digit is there about as often: %d to %d"):format(least, most))
  local bytes, seen, doubles = mw.core.bytes(set.x), {}, 0
  local inked, edges = 0, 0
  for k = 0, 1999 do
    local image = bytes:sub(k * 784 + 1, k * 784 + 784)
    doubles, seen[image] = doubles + (seen[image] and 1 or 0), true
    for _ in image:gmatch "[\128-\255]" do inked = inked + 1 end
    for _ in image:sub(1, 28):gmatch "[\128-\255]" do edges = edges + 1 end
  end
  t.is(doubles, 0, "no digit is drawn twice")
  -- In MNIST about 105 pixels of an image are above 127.
  local mean = inked / 2000
  t.ok(mean > 60 and mean < 140, ("an image has %.0f dark pixels"):format(mean))
  t.ok(edges / 2000 < 0.5, "digits keep away from the edge")
  t.error(function() data.digits {n = 0} end, "n is 0, expected a whole number", "n = 0")
  t.error(function() data.digits {split = "valid"} end, 'split is "valid", expected train or test',
    "an unknown split")
  t.error(function() data.digits {sed = 3} end, 'did you mean "seed"', "a misspelt option")
end

-- Drawn shapes -----------------------------------------------------------------------------------

do
  mw.seed(5)
  local state = {mw.core.random_state()}
  local five, ten = data.shapes {n = 5}, data.shapes {n = 10}
  t.is({five.x.dtype, five.x.shape, five.y.dtype, #five.classes, #five},
    {"u8", {5, 3, 32, 32}, "i64", 10, 5}, "shapes: types and sizes")
  t.is({mw.core.random_state()}, state, "drawing leaves the generator where it was")
  t.ok(mw.core.bytes(ten:subset(1, 5).x) == mw.core.bytes(five.x), "picture k depends on k alone")
  t.ok(mw.core.bytes(data.shapes({n = 5, seed = 1}).x) ~= mw.core.bytes(five.x), "another seed")
  t.ok(mw.core.bytes(data.shapes({n = 5, split = "test"}).x) ~= mw.core.bytes(five.x),
    "the test pictures are others")
  local counts = data.shapes({n = 2000}):counts()
  local least, most = math.huge, 0
  for label = 0, 9 do
    least, most = math.min(least, counts[label]), math.max(most, counts[label])
  end
  t.ok(least > 150 and most < 250, ("every shape about as often: %d to %d"):format(least, most))
  -- The mean colour says nothing: that of each class is near that of all.
  local set = data.shapes {n = 3000}
  local all, worst = set:moments().mean, 0
  for label = 0, 9 do
    local rows = {}
    for i, y in ipairs(set.y:totable()) do if y == label then rows[#rows + 1] = i end end
    for c, mean in ipairs(set:subset(rows):moments().mean) do
      worst = math.max(worst, math.abs(mean - all[c]))
    end
  end
  t.ok(worst < 0.06, ("colours do not tell classes apart: %.3f"):format(worst))
  t.error(function() data.shapes {n = 0} end, "n is 0, expected a whole number", "n = 0")
end

-- Batches ----------------------------------------------------------------------------------------

local x = mw.core.call("reshape", mw.arange(0, 19, 1, "f32"), {shape = {10, 2}})
local set = data.dataset(x, mw.arange(10, 19, 1, "i64"))

local function labels_of(options)
  local list = {}
  for batch in set:batches(options) do
    list[#list + 1] = batch.y:totable()
  end
  return list
end

local function joined(lists)
  local all = {}
  for _, list in ipairs(lists) do table.move(list, 1, #list, #all + 1, all) end
  return all
end

do
  t.is(labels_of {size = 4}, {{10, 11, 12, 13}, {14, 15, 16, 17}, {18, 19}}, "batches in order")
  t.is(labels_of {size = 4, drop_last = true}, {{10, 11, 12, 13}, {14, 15, 16, 17}}, "drop_last")
  t.is(labels_of {size = 5}, {{10, 11, 12, 13, 14}, {15, 16, 17, 18, 19}}, "no rest")
  t.is(labels_of {size = 50}, {joined(labels_of {size = 4})}, "a batch larger than the set")
  t.is(#labels_of {size = 50, drop_last = true}, 0, "and left out with drop_last")
  for batch in set:batches {size = 3} do
    t.is(batch.x:totable()[1], {2 * batch.first - 2, 2 * batch.first - 1}, "x goes with y")
  end
  local sorted = joined(labels_of {size = 4})
  mw.seed(1)
  local first = joined(labels_of {size = 4, shuffle = true})
  local second = joined(labels_of {size = 4, shuffle = true})
  mw.seed(1)
  local again = joined(labels_of {size = 4, shuffle = true})
  t.is(again, first, "mw.seed decides the order")
  t.ok(table.concat(first) ~= table.concat(second), "the next epoch has another one")
  table.sort(first)
  t.is(first, sorted, "every sample comes once")
  local state = {mw.core.random_state()}
  local seeded = joined(labels_of {size = 4, seed = 7})
  t.is({mw.core.random_state()}, state, "a seed leaves the generator where it was")
  t.is(joined(labels_of {size = 3, seed = 7}), seeded, "a seed decides the order for any size")
  t.ok(table.concat(seeded) ~= table.concat(sorted), "and shuffles")
  for batch in set:batches {size = 10, seed = 7} do
    for i, row in ipairs(batch.x:totable()) do
      if row[1] ~= 2 * (seeded[i] - 10) then t.ok(false, "x goes with y when shuffled") end
    end
  end

  local digits = data.digits {n = 3}
  for batch in digits:batches {} do
    t.is({batch.x.dtype, batch.x.shape, batch.y.dtype}, {"f32", {3, 1, 28, 28}, "i64"},
      "a batch of images is f32, its labels i64")
    local worst, bytes = 0, mw.core.bytes(digits.x)
    local floats = mw.core.bytes(batch.x)
    for i = 1, #bytes do
      local value = string.unpack("<f", floats, 4 * i - 3)
      worst = math.max(worst, math.abs(value - bytes:byte(i) / 255))
    end
    t.ok(worst <= 3e-8, "pixels are scaled to 0..1")
  end
  for batch in digits:batches {dtype = "f64"} do t.is(batch.x.dtype, "f64", "batches as f64") end

  t.error(function() set:batches {size = 0} end, "size is 0, expected a whole number", "size = 0")
  t.error(function() set:batches {sice = 3} end, 'did you mean "size"', "a misspelt option")
  t.error(function() data.dataset(x, mw.zeros({9}, "i64")) end, "x has 10 rows and y 9",
    "rows that differ")
  t.error(function() data.dataset(x, 3) end, "y is 3, expected a tensor", "labels of 3")
end

do
  local core = mw.core
  t.is(core.rows(x, mw.tensor({9, 0}, "i64"), 1, 2):totable(), {{18, 19}, {0, 1}}, "rows by index")
  t.is(core.rows(x, nil, 10, 1, "f64", 0.5):totable(), {{9, 9.5}}, "rows converted and scaled")
  for _, case in ipairs {
    {function() core.rows(x, nil, 10, 2) end, "2 rows from 10 are asked for, there are 10"},
    {function() core.rows(x, nil, 0, 2) end, "2 rows from 0"},
    {function() core.rows(x, nil, 1, -1) end, "%-1 rows from 1"},
    {function() core.rows(x, nil, math.maxinteger, math.maxinteger) end, "are asked for"},
    {function() core.rows(x, mw.tensor({10}, "i64"), 1, 1) end, "holds 10, expected 0 to 9"},
    {function() core.rows(x, mw.tensor({-1}, "i64"), 1, 1) end, "the index holds %-1"},
    {function() core.rows(x, mw.tensor({1.0}), 1, 1) end, "the index is f32%[1%], expected i64"},
    {function() core.rows(mw.tensor(1), nil, 1, 1) end, "a scalar has no rows"},
    {function() core.rows(x, nil, 1, 1, "i32") end, "f32 cannot be brought to i32"},
    {function() core.permutation(-1) end, "n is %-1"},
  } do
    t.error(case[1], case[2], "rows: " .. case[2])
  end
end

-- MNIST's folder ---------------------------------------------------------------------------------

do
  local images = idx(8, {2, 28, 28}, "B", (function()
    local list = {}
    for i = 1, 2 * 784 do list[i] = i % 256 end
    return list
  end)())
  local found, message = data.mnist_folder(FOLDER)
  t.ok(found == nil and message:find(FOLDER, 1, true) and message:find(FOLDER .. "/mnist", 1, true)
    and message:find("moonwalk data mnist", 1, true), "where MNIST was looked for")
  t.error(function() data.mnist {dir = FOLDER} end, "data.mnist: there is no MNIST in",
    "data.mnist without the files")
  assert(os.execute(("mkdir '%s/mnist'"):format(FOLDER)))
  put_gzipped("mnist/t10k-images-idx3-ubyte", images)
  t.is(data.mnist_folder(FOLDER), FOLDER .. "/mnist", "the folder is found below the one given")
  t.is(data.mnist_folder(FOLDER .. "/mnist"), FOLDER .. "/mnist", "or is the one given")
  t.error(function() data.mnist {dir = FOLDER, split = "test"} end,
    "t10k%-labels%-idx1%-ubyte.gz: the file is missing", "one file of four")
  put("mnist/t10k-labels-idx1-ubyte", idx(8, {2}, "B", {3, 9}))
  local test = data.mnist {dir = FOLDER, split = "test"}
  t.is({#test, test.x.shape, test.y:totable()}, {2, {2, 1, 28, 28}, {3, 9}},
    "files may be gzipped or plain")
  t.ok(mw.core.bytes(test.x) == images:sub(17), "the pixels are the file's")
  t.is(#data.mnist({dir = FOLDER, split = "test", n = 1}), 1, "n takes the first")
  put("mnist/t10k-labels-idx1-ubyte", idx(8, {3}, "B", {3, 9, 1}))
  t.error(function() data.mnist {dir = FOLDER, split = "test"} end, "2 images and 3 labels",
    "labels that do not fit")
  put("mnist/t10k-labels-idx1-ubyte", idx(8, {2}, "B", {3, 10}))
  t.error(function() data.mnist {dir = FOLDER, split = "test"} end, "label is 10, expected 0 to 9",
    "a label out of range")
  put("mnist/t10k-labels-idx1-ubyte", idx(8, {2, 1}, "B", {3, 1}))
  t.error(function() data.mnist {dir = FOLDER, split = "test"} end, "expected u8 of rank 1",
    "labels of rank 2")
  put("mnist/t10k-labels-idx1-ubyte", "rubbish")
  t.error(function() data.mnist {dir = FOLDER, split = "test"} end, "not an IDX file",
    "a damaged file is an error")
  local misspelt = t.error(function() data.mnist {dirr = FOLDER} end, 'did you mean "dir"',
    "a misspelt option")
  t.ok(misspelt and misspelt:find "^tests/lua/data.lua:%d+: ", "at the user's line")
end

-- Fashion-MNIST and CIFAR-10 ---------------------------------------------------------------------

do
  t.error(function() data.fashion_mnist {dir = FOLDER .. "/none"} end,
    "data.fashion_mnist: there is no Fashion%-MNIST in .*moonwalk data fashion%-mnist", "not there")
  assert(os.execute(("mkdir '%s/fashion-mnist'"):format(FOLDER)))
  put("fashion-mnist/train-images-idx3-ubyte", idx(8, {1, 2, 2}, "B", {1, 2, 3, 4}))
  put("fashion-mnist/train-labels-idx1-ubyte", idx(8, {1}, "B", {9}))
  local clothes = data.fashion_mnist {dir = FOLDER}
  t.is({clothes.x:totable(), clothes.y:totable(), clothes.classes[10], clothes.name},
    {{{{{1, 2}, {3, 4}}}}, {9}, "ankle boot", "Fashion-MNIST"}, "Fashion-MNIST has MNIST's form")
  t.is(data.fashion_mnist_folder(FOLDER), FOLDER .. "/fashion-mnist", "its folder")

  -- A label, 1024 bytes of red, of green, and of blue, row by row.
  local function picture(label, r, g, b)
    return string.char(label) .. string.char(r):rep(1024) .. string.char(g):rep(1023) .. "\7"
      .. string.char(b):rep(1024)
  end
  t.error(function() data.cifar10 {dir = FOLDER} end, "there is no CIFAR%-10 in", "not there")
  assert(os.execute(("mkdir -p '%s/cifar10/cifar-10-batches-bin'"):format(FOLDER)))
  for i = 1, 5 do
    put(("cifar10/cifar-10-batches-bin/data_batch_%d.bin"):format(i),
      picture(i, 10 * i, 2, 3) .. picture(9, 4, 5, 6))
  end
  local train = data.cifar10 {dir = FOLDER}
  t.is({train.x.shape, train.y:totable(), train.classes[7], train.name},
    {{10, 3, 32, 32}, {1, 9, 2, 9, 3, 9, 4, 9, 5, 9}, "frog", "CIFAR-10"}, "CIFAR-10's five files")
  local pixels = train.x:totable()
  t.is({pixels[5][1][1][1], pixels[5][2][32][31], pixels[5][2][32][32], pixels[6][3][1][1]},
    {30, 2, 7, 6},
    "a picture's colours and rows")
  t.is(#data.cifar10 {dir = FOLDER .. "/cifar10", n = 3}, 3, "the first three")
  t.error(function() data.cifar10 {dir = FOLDER, split = "test"} end,
    "test_batch.bin: No such file", "a file that is missing")
  local test = "cifar10/cifar-10-batches-bin/test_batch.bin"
  for _, case in ipairs {
    {"", "it has 0 bytes, expected 3073 for each picture"},
    {picture(1, 1, 1, 1):sub(1, -2), "it has 3072 bytes"},
    {picture(10, 1, 1, 1), "a label is 10, expected 0 to 9"},
  } do
    put(test, case[1])
    t.error(function() data.cifar10 {dir = FOLDER, split = "test"} end, case[2], case[2])
  end
end

-- The real MNIST ---------------------------------------------------------------------------------

if data.mnist_folder() and os.getenv "MOONWALK_DATA" then
  local train, test = data.mnist {split = "train"}, data.mnist {split = "test"}
  t.is({#train, train.x.shape, #test, test.x.shape},
    {60000, {60000, 1, 28, 28}, 10000, {10000, 1, 28, 28}}, "MNIST's sizes")
  t.is({table.unpack(train.y:totable(), 1, 10)}, {5, 0, 4, 1, 9, 2, 1, 3, 1, 4},
    "MNIST's first labels, as published")
  t.is({table.unpack(test.y:totable(), 1, 10)}, {7, 2, 1, 0, 4, 1, 4, 9, 5, 9},
    "and of the test set")
else
  t.skip("MNIST", "MOONWALK_DATA is not set")
end

folder.remove()
t.done()
