-- batches.lua: batches made ahead of time, from any place of an epoch, with the same bits; data
-- sets made of others.
local mw = require "moonwalk"
local t = require "tap"
local data, core = mw.data, mw.core

local function numbers(n, first)
  return mw.arange(first, first + n - 1, 1, "i64")
end

local images = data.digits {n = 103}
local set = data.dataset(mw.arange(0, 205, 1, "f32"):reshape {103, 2}:eval(), numbers(103, 0))

-- All bytes that an iterator hands out, batch for batch.
local function bytes_of(batches)
  local list = {}
  for batch in batches do
    list[#list + 1] = core.bytes(batch.x) .. (batch.y and core.bytes(batch.y) or "")
  end
  return list
end

local function labels_of(of, options)
  local list = {}
  for batch in of:batches(options) do
    table.move(batch.y:totable(), 1, batch.x.shape[1], #list + 1, list)
  end
  return list
end

-- The same bits -----------------------------------------------------------------------------------

local everything = {
  shift = 2, rotate = 10, scale = 0.1, shear = 5, elastic = 1, pad = 2, flip = true,
  flip_vertical = 0.3, noise = 0.1, normalise = {mean = 0.13, std = 0.3}, erase = 0.5,
}
for name, augment in pairs {plain = {}, augmented = everything, two = {everything, {noise = 1}}} do
  local function options(more)
    local all = {size = 10, shuffle = true, seed = 5, epoch = 3, augment = augment}
    for key, value in pairs(more) do all[key] = value end
    return all
  end
  mw.threads(1)
  local want = bytes_of(images:batches(options {prefetch = 0}))
  t.is(#want, 11, name .. ": eleven batches")
  mw.threads(2)
  t.is(bytes_of(images:batches(options {prefetch = 0})), want, name .. ": with two threads")
  for _, ahead in ipairs {1, 2, 5, 63} do
    for _, workers in ipairs {1, 3} do
      local got = bytes_of(images:batches(options {prefetch = ahead, workers = workers}))
      t.is(got, want, ("%s: %d ahead, %d workers"):format(name, ahead, workers))
    end
  end
  local joined = table.concat(bytes_of(images:batches(options {size = 7, prefetch = 0})))
  t.is(#joined, #table.concat(want), name .. ": as many bytes with another size")
  local other = table.concat(bytes_of(images:batches(options {epoch = 4})))
  t.ok(other ~= table.concat(want), name .. ": another epoch is another one")

  -- Resumed at every place, with and without threads.
  local equal = true
  for stop = 0, 11 do
    local first = images:batches(options {prefetch = stop % 3})
    for _ = 1, stop do first() end
    local state = first:state()
    first:close()
    equal = equal and state.position == math.min(10 * stop, 103) and state.samples == 103
    local rest = {table.unpack(want, stop + 1)}
    local resumed = {size = 10, augment = augment, resume = state, prefetch = (stop + 1) % 3}
    local got = bytes_of(images:batches(resumed))
    equal = equal and table.concat(got, "|") == table.concat(rest, "|")
  end
  t.ok(equal, name .. ": resumed anywhere, the rest is the same")
end

do -- A size does not change what a sample becomes, only where batches end.
  local function all(size)
    local xs = {}
    for batch in images:batches {size = size, seed = 9, augment = everything} do
      xs[#xs + 1] = core.bytes(batch.x)
    end
    return table.concat(xs)
  end
  t.ok(all(10) == all(64) and all(1) == all(200), "samples are the same in batches of any size")
end

do -- Through JSON, and without a seed of one's own.
  mw.seed(4)
  local it = images:batches {size = 20, shuffle = true, augment = {noise = 0.1}}
  it()
  local text = mw.json.encode(it:state())
  local want = bytes_of(it)
  mw.seed(77)
  local got = bytes_of(images:batches {size = 20, augment = {noise = 0.1},
    resume = mw.json.decode(text)})
  t.is(got, want, "a state that went through JSON")
  mw.seed(4)
  local again = images:batches {size = 20, shuffle = true, augment = {noise = 0.1}}
  again()
  t.is(bytes_of(again), want, "mw.seed decides, where no seed is given")
  t.ok(labels_of(set, {shuffle = true})[1] ~= nil, "a second epoch")
  mw.seed(4)
  local position = {mw.random_state()}
  labels_of(set, {})
  t.is({mw.random_state()}, position, "batches in order draw no random numbers")
end

do -- The order.
  local one, two = core.order(1000, 3, 1):totable(), core.order(1000, 3, 2):totable()
  local seen, moved = {}, 0
  for i, value in ipairs(one) do
    seen[value] = true
    moved = moved + (value ~= i - 1 and 1 or 0)
  end
  local complete = true
  for i = 0, 999 do complete = complete and seen[i] end
  t.ok(complete and moved > 950, "an order has each number once, elsewhere")
  t.ok(table.concat(one, ",") ~= table.concat(two, ","), "epochs differ")
  -- Each of the six orders of three comes up about as often: 1000 of 6000, standard deviation 29.
  local counts = {}
  for seed = 1, 6000 do
    local key = table.concat(core.order(3, seed, 1):totable())
    counts[key] = (counts[key] or 0) + 1
  end
  local least, most, kinds = math.huge, 0, 0
  for _, count in pairs(counts) do
    least, most, kinds = math.min(least, count), math.max(most, count), kinds + 1
  end
  t.ok(kinds == 6 and least > 880 and most < 1120,
    ("all six orders of three, %d to %d of 6000 times"):format(least, most))
end

-- Loops that are left -----------------------------------------------------------------------------

-- How many threads this process has.
local function threads()
  local file = io.open "/proc/self/status"
  local text = file and file:read "a"
  if file then file:close() end
  return text and tonumber(text:match "Threads:%s*(%d+)")
end

-- The same, once it is what is expected: a thread that has been joined is still listed while the
-- system takes it down, which it may do after others have had their turn.
local function settled(expected)
  local start = mw.core.clock()
  repeat
    local n = threads()
  until n == expected or mw.core.clock() - start > 10
  return threads()
end

if threads() then
  local options = {size = 5, seed = 1, prefetch = 4, workers = 3}
  local before = threads()
  local rounds = 0
  for _ in images:batches(options) do
    rounds = rounds + 1
    if rounds == 2 then break end
    t.is(threads(), before + 3, "three workers")
  end
  t.is(settled(before), before, "break ends the threads")
  pcall(function()
    for _ in images:batches(options) do error "stop" end
  end)
  t.is(settled(before), before, "an error ends them")
  do
    local it = images:batches(options)
    it()
  end
  collectgarbage()
  collectgarbage()
  t.is(settled(before), before, "the collector ends them")
  for _ in images:batches(options) do end
  t.is(settled(before), before, "the end of an epoch ends them")
  local it = images:batches(options)
  it()
  it:close()
  t.ok(it() == nil and it() == nil and settled(before) == before, "closed, there is no more")
  it:close()
  do
    local never = coroutine.wrap(function()
      for _ in images:batches(options) do coroutine.yield() end
    end)
    never()
  end
  collectgarbage()
  collectgarbage()
  t.is(settled(before), before, "and a loop in a coroutine that is never finished")
else
  t.skip("threads end", "there is no /proc")
end

-- What batches hold -------------------------------------------------------------------------------

do
  local it = set:batches {size = 50, drop_last = true}
  t.is({it().first, it().first, it()}, {1, 51}, "drop_last, with first")
  t.is(it:state().position, 100, "the state is behind what was handed out")
  local tokens = data.dataset(numbers(6, 5):reshape {3, 2}:eval(), numbers(3, 0))
  local batch = tokens:batches {size = 2} ()
  t.is({batch.x.dtype, batch.x:totable()}, {"i64", {{5, 6}, {7, 8}}}, "whole numbers stay whole")
  t.is(tokens:batches {dtype = "f32"} ().x.dtype, "f32", "unless a dtype is given")
  local alone = data.dataset(mw.ones {3, 2})
  t.ok(alone:batches {} ().y == nil and alone[1].y == nil, "a set without labels")
  local wide = data.dataset(mw.ones {3, 2}, mw.arange(0, 5, 1):reshape {3, 2})
  t.is(wide:batches {size = 2} ().y:totable(), {{0, 1}, {2, 3}}, "labels of more than one number")
  t.is(#bytes_of(data.dataset(mw.zeros {0, 2}, mw.zeros({0}, "i64")):batches {prefetch = 2}), 0,
    "an empty set has no batch")
  t.is(data.dataset(mw.zeros {3, 0}):batches {} ().x.shape, {3, 0}, "samples of no element")
  local w = mw.param(mw.ones {3, 2})
  t.is(data.dataset(w):batches {} ().x:totable(), {{1, 1}, {1, 1}, {1, 1}}, "a parameter is copied")
  t.is(#bytes_of(set:batches {size = math.maxinteger}), 1, "a size that is larger than any set")
  t.is(tostring(it), "batches of epoch 1, 100 of 103 samples done", "printed")
end

-- Items and other sets ----------------------------------------------------------------------------

do
  t.is({set[1].x:totable(), set[1].y, set[-1].y, set[103].x:totable()},
    {{0, 1}, 0, 102, {204, 205}}, "items")
  t.ok(set[104] == nil and set[0] == nil and set[-104] == nil, "beyond the end there is none")
  t.is({images[1].x.dtype, images[1].x.shape}, {"f32", {1, 28, 28}}, "an image as an item")
  local n = 0
  for i, one in ipairs(set:subset(1, 5)) do n = n + (one.y == i - 1 and 1 or 0) end
  t.is(n, 5, "ipairs goes over items")

  t.is(set:subset(2, 4).y:totable(), {1, 2, 3}, "rows from 2 to 4")
  t.is(set:subset(-2).y:totable(), {101, 102}, "from the last but one")
  t.is(set:subset({3, 1, -1}).y:totable(), {2, 0, 102}, "rows of a list")
  t.is(set:subset(mw.tensor({3, 1}, "i64")).y:totable(), {3, 1}, "rows of a tensor")
  t.is(#set:subset({}), 0, "no rows")
  t.is(#set:subset(5, 4), 0, "none in between")

  local a, b = set:split {0.9, 0.1, seed = 1}
  local all = table.move(b.y:totable(), 1, #b, #a + 1, a.y:totable())
  t.is({#a, #b}, {93, 10}, "90 and 10 per cent of 103")
  table.sort(all)
  t.is(all, set.y:totable(), "each row is in one part")
  t.is(set:split({0.9, seed = 1}).y:totable(), a.y:totable(), "a seed decides")
  t.ok(table.concat(set:split({0.9, seed = 2}).y:totable(), " ")
    ~= table.concat(a.y:totable(), " "), "another one, other rows")
  t.is({#set:split(100)}, {100}, "a number of rows")
  local x, y, z = set:split {50, 30, 10, shuffle = false}
  t.is({x.y:totable()[50], y.y:totable()[1], #z}, {49, 50, 10}, "cut without drawing")

  local labels = {}
  for i = 1, 90 do labels[i] = i <= 60 and 0 or i <= 87 and 1 or 2 end
  local uneven = data.dataset(mw.zeros {90, 1}, mw.tensor(labels, "i64"), {classes = 3})
  local train, test = uneven:split {2 / 3, 1 / 3, stratified = true, seed = 3}
  t.is({train:counts(), test:counts()},
    {{[0] = 40, [1] = 18, [2] = 2}, {[0] = 20, [1] = 9, [2] = 1}}, "stratified parts")

  t.is(a:concat(b).y:totable()[94], b.y:totable()[1], "sets one after the other")
  local doubled = set:subset(1, 3):map(function(x1, y1) return x1 * 2, y1 + 0.5 end)
  t.is({doubled.x:totable(), doubled.y:totable()},
    {{{0, 2}, {4, 6}, {8, 10}}, {0.5, 1.5, 2.5}}, "map")
  local kept = set:filter(function(_, label) return label % 50 == 0 end)
  t.is(kept.y:totable(), {0, 50, 100}, "filter")

  local pixels = data.dataset(mw.tensor({{{{0, 255}}, {{51, 51}}}, {{{0, 255}}, {{51, 51}}}}, "u8"))
  local moments = pixels:moments()
  t.near({moments.mean, moments.std}, {{0.5, 0.2}, {0.5, 0}}, 1e-12, "moments of channels")
  t.near(set:subset(1, 2):moments(), {mean = {1, 2}, std = {1, 1}}, 1e-12, "and of features")
  t.is(tostring(uneven), "data set: x a tensor f32[90,1], y a tensor i64[90]", "printed")
end

-- Errors ------------------------------------------------------------------------------------------

for _, case in ipairs {
  {'there is no option "prefech", did you mean "prefetch"', function()
    set:batches {prefech = 1}
  end},
  {"batches: prefetch is -1", function() set:batches {prefetch = -1} end},
  {"batches: prefetch is 64, expected 0 to 63", function() set:batches {prefetch = 64} end},
  {"batches: workers is 0", function() set:batches {workers = 0} end},
  {"batches: epoch is 0", function() set:batches {epoch = 0} end},
  {"batches: resume is 3, expected a table", function() set:batches {resume = 3} end},
  {"batches: resume.epoch is nil", function() set:batches {resume = {seed = 1}} end},
  {"the state is of a data set of 103 samples, this one has 3", function()
    set:subset(1, 3):batches {resume = set:batches {seed = 1}:state()}
  end},
  {"seed is 2, but the state to resume is of seed = 1", function()
    set:batches {seed = 2, resume = set:batches {seed = 1}:state()}
  end},
  {"resume.position is 104", function()
    local state = set:batches {seed = 1}:state()
    state.position = 104
    set:batches {resume = state}
  end},
  {"augment: x is f32[103,2]; moving", function() set:batches {augment = {rotate = 3}} end},
  {"batches: augment is 3", function() set:batches {augment = 3} end},
  {"subset: rows 5 to 104 are asked for, there are 103", function() set:subset(5, 104) end},
  {"subset: rows[2] is 104, there are 103", function() set:subset {1, 104} end},
  {"subset: the rows is a tensor f32[2]", function() set:subset(mw.ones {2}) end},
  {"the index holds 103, expected 0 to 102", function()
    set:subset(mw.tensor({103}, "i64"))
  end},
  {"split: the shares add up to 1.2, expected at most 1", function() set:split {0.9, 0.3} end},
  {"split: the shares add up to 130, expected at most the 103 rows", function()
    set:split {100, 30}
  end},
  {"split: the shares is a table", function() set:split {} end},
  {"split: y is nil, expected labels", function()
    data.dataset(mw.ones {3}):split {0.5, stratified = true}
  end},
  {"concat: x of set 2 is a tensor u8[103,1,28,28], expected one like a tensor f32[103,2]",
    function() set:concat(images) end},
  {"map: x of sample 2 is a tensor f32[2], that of the first one a tensor f32[1]", function()
    set:map(function(x, y) return x:slice {{1, math.min(y + 1, 2)}}, y end)
  end},
  {"the label of sample 3 is 2, expected 0 to 1", function()
    data.dataset(mw.ones {3}, mw.tensor({0, 1, 2}, "i64"), {classes = 2})
  end},
  {"data.dataset: y is a tensor f32[3], expected labels", function()
    data.dataset(mw.ones {3}, mw.ones {3}, {classes = 2})
  end},
  {'has no field or method "batchs"; did you mean "batches"', function() return set.batchs end},
} do
  local problem = t.refuses(case[1], case[2])
  if not (problem and tostring(problem):find "^tests/lua/batches.lua:%d+: ") then
    t.ok(false, "at the user's line: " .. tostring(problem))
  end
end

t.done()
