-- trainer.lua: mw.fit and mw.trainer: what they train, tell, save and refuse.
local mw = require "moonwalk"
local metrics = require "moonwalk.metrics"
local tensorboard = require "moonwalk.trainer.tensorboard"
local t = require "tap"
local folder = require "folder"
local nn, optim, data = mw.nn, mw.optim, mw.data

local contents = folder.contents
-- Lua's os.execute has a signal ignored meanwhile.
local function press_ctrl_c() io.popen("kill -INT $PPID"):close() end

local function place(name) return folder.path .. "/" .. name end

local digits, test = data.digits {n = 100}, data.digits {n = 30, split = "test"}

local function network()
  return nn.Sequential {
    nn.MaxPool {4}, nn.Flatten {}, nn.Dense {12}, nn.BatchNorm {12}, nn.Tanh {}, nn.Dropout {0.2},
    nn.Dense {10},
  }
end

local function options(more)
  local o = {epochs = 3, batch = 16, quiet = true}
  for name, value in pairs(more or {}) do o[name] = value end
  return o
end

-- What mw.fit does is what a plain loop does -----------------------------------------------------

do
  mw.seed(5)
  local net = nn.Sequential {nn.Flatten {}, nn.Dense {784, 8}, nn.Tanh {}, nn.Dense {8, 10}}
  local same = net:copy()
  local opt = optim.SGD(same:parameters(), {lr = 0.1, momentum = 0.9})
  local losses = {}
  for epoch = 1, 2 do
    local sum = 0
    for batch in digits:batches {size = 16, seed = 9, epoch = epoch} do
      sum = sum + opt:step(same(batch.x):cross_entropy(batch.y)):item() * batch.x.shape[1]
    end
    losses[epoch] = sum / 100
  end
  local history, trainer = mw.fit(net, digits, options {epochs = 2, seed = 9, valid = test,
    optimizer = {"SGD", lr = 0.1, momentum = 0.9}})
  t.is({history[1].loss, history[2].loss}, losses, "the same losses as a plain loop")
  t.is(net[2].weight:totable(), same[2].weight:totable(), "and the same weights")
  t.is({#history, history.stopped, trainer.steps, history[1].step}, {2, "done", 14, 7}, "14 steps")
  t.near(history[2].accuracy, 1 - metrics.evaluate(same, test).error, 1e-15,
    "the validation's accuracy")
  local loss = 0
  for batch in test:batches {size = 30} do
    loss = same:eval()(batch.x):cross_entropy(batch.y):item()
  end
  t.near(history[2].valid_loss, loss, 1e-6, "and its loss")
  t.is(trainer:step(), false, "no step is left")
end

-- Interrupted and resumed: every optimizer -------------------------------------------------------

local function full(kind, path, more)
  mw.seed(4)
  local o = options {
    optimizer = kind, checkpoint = path, resume = true, valid = test, prefetch = 2,
    augment = data.augment {shift = 1, noise = 0.1}, every = {steps = 100},
  }
  for name, value in pairs(more or {}) do o[name] = value end
  return mw.fit(network(), digits, o)
end

do
  local kinds, expected = {}, 0
  for name, rule in pairs(optim) do
    if type(rule) == "function" then kinds[#kinds + 1], expected = name, expected + 1 end
  end
  t.ok(expected >= 8, "there are eight optimizers or more")
  table.sort(kinds)
  for _, name in ipairs(kinds) do
    local whole, parts = place(name .. ".whole"), place(name .. ".parts")
    local kind = {name}
    if name == "SGD" then kind = {name, momentum = 0.9, accumulate = 2, average = 0.9} end
    full(kind, whole)
    local stops = 0
    for _, at in ipairs {5, 7, 16} do -- in an epoch, at its end, in a later one
      local history = full(kind, parts, {callbacks = {step = function(trainer)
        if trainer.steps == at then trainer:stop() end
      end}})
      if history.stopped == "stopped" then stops = stops + 1 end
    end
    local history = full(kind, parts)
    t.is({stops, #history}, {3, 3}, name .. ": stopped three times")
    t.ok(contents(whole) == contents(parts), name .. ": the same file")
  end
end

-- Files that are refused -------------------------------------------------------------------------

do
  local path = place "run.safetensors"
  local function fit(more, net)
    local o = options {checkpoint = path, resume = true, epochs = 1, optimizer = {"Adam"}}
    for name, value in pairs(more or {}) do o[name] = value end
    return mw.fit(net or network(), digits, o)
  end
  fit()
  local good = contents(path)
  t.error(function() mw.fit(network(), digits, {checkpoint = path}) end,
    "trainer.lua:%d+: fit: .*run.safetensors is there already; resume = true goes on",
    "a checkpoint is not replaced unasked")
  t.is(contents(path), good, "and is as it was")
  t.refuses("the network's 7.bias is f32[10] there and f32[9] here; 7.weight is f32[10,12] there "
    .. "and f32[9,12] here;", function()
    fit(nil, nn.Sequential {nn.MaxPool {4}, nn.Flatten {}, nn.Dense {12}, nn.BatchNorm {12},
      nn.Tanh {}, nn.Dropout {0.2}, nn.Dense {9}})
  end)
  t.refuses("its optimizer is Adam, this one is SGD", fit, {optimizer = {"SGD"}})
  t.refuses("batch is 16 there and 20 here", fit, {batch = 20})
  t.refuses("shuffle is true there and false here", fit, {shuffle = false})
  t.is(contents(path), good, "what is refused changes nothing")

  local refused, tried = 0, 0
  local function try(bytes)
    folder.put("run.safetensors", bytes)
    local net = network()
    tried = tried + 1
    local done, why = pcall(fit, nil, net)
    if not done and tostring(why):find("cannot resume: .*run.safetensors: ") then
      refused = refused + 1
    else
      print("# " .. tried .. ": " .. tostring(why))
    end
  end
  local header = 8 + string.unpack("<i8", good)
  for _, length in ipairs {0, 5, 8, 100, header, header + 4, #good // 2, #good - 1} do
    try(good:sub(1, length))
  end
  mw.seed(8)
  for k = 1, 60 do -- a bit, of the first bytes, the header or the data
    local last = k < 8 and 8 or k < 50 and header or #good
    local at = k < 8 and k or math.floor(mw.uniform({}):item() * (last - 9)) + 9
    local flipped = string.char(good:byte(at) ~ 1 << k % 8)
    try(good:sub(1, at - 1) .. flipped .. good:sub(at + 1))
  end
  try(good .. "x")
  t.is(refused, tried, "what is cut off or has a wrong bit is refused")

  assert(mw.save(path, {x = mw.ones {2}}))
  t.refuses("not a checkpoint of a training run", fit)
  local checkpoint = require "moonwalk.trainer.checkpoint"
  for name, value in pairs {history = "x", random = mw.json.null, loss_sum = "1", seed = 5} do
    folder.put("run.safetensors", good)
    local one = mw.load_checkpoint(path)
    one.run[name] = value
    assert(checkpoint.write(path, {model = one.model, optimizer = one.optimizer}, one.run, one))
    t.refuses(("run.safetensors: its run's %s is "):format(name), fit)
  end
  folder.put("run.safetensors", good)
  t.is(#fit(), 1, "the good one is read")
  t.is({mw.load_checkpoint(place "none")}, {nil, place "none" .. ": No such file or directory"},
    "load_checkpoint of no file")
  local there = assert(mw.load_checkpoint(path))
  t.is({there.run.step, there.run.optimizer, there.ops.cross_entropy, #there.run.history},
    {7, "Adam", 1, 1}, "what a checkpoint tells")
  t.is(there.script, contents(arg[0]), "the script's text")
  local net = network()
  net(mw.zeros {2, 1, 28, 28})
  net:load(there.model)
  t.is(net[3].weight:totable(), there.model["3.weight"]:totable(), "its model")
  t.error(function() fit {checkpoint = place "no/folder/x"} end, "save: .*No such file",
    "a place that cannot be written")
end

-- A disk that takes nothing, for a while or to the end --------------------------------------------

do
  local path = place "moved/run.safetensors"
  assert(os.execute(("mkdir '%s'"):format(place "moved")))
  local function fit(back)
    return mw.fit(network(), digits, options {checkpoint = path, resume = false, callbacks = {
      epoch = function(trainer)
        if trainer.epoch == 2 then os.rename(place "moved", place "away") end
        if trainer.epoch == back then os.rename(place "away", place "moved") end
      end,
    }})
  end
  t.is(fit(3).stopped, "done", "a checkpoint that could not be written for a while")
  t.is(mw.load_checkpoint(path).run.step, 21, "the last one is there")
  t.refuses("fit: no checkpoint was written: " .. path, fit)
  os.rename(place "away", place "moved")
  t.is(mw.load_checkpoint(path).run.step, 0, "the one before is there still")
end

-- Ctrl-C -----------------------------------------------------------------------------------------

do
  local path = place "interrupted.safetensors"
  local function fit(at)
    mw.seed(6)
    local net = network()
    return net, mw.fit(net, digits, options {checkpoint = path, resume = true,
      callbacks = {step = function(trainer)
        if trainer.steps == at then press_ctrl_c() end
      end}})
  end
  local _, history, trainer = fit(9)
  t.is({history.stopped, trainer.steps, #history}, {"interrupted", 9, 1}, "the step is finished")
  t.is(mw.load_checkpoint(path).run.step, 9, "the checkpoint is of it")
  t.is({tostring(trainer), trainer:run().stopped}, {"trainer: epoch 2 of 3, step 9", "done"},
    "the trainer goes on")
  for _, when in ipairs {"batch", "step", "epoch"} do -- a second Ctrl-C, or any error
    mw.seed(6)
    local once, net = true, network()
    local run = mw.trainer(net, digits, options {valid = test, callbacks = {
      [when] = function(it)
        if it.steps >= 7 and once then
          once = false
          press_ctrl_c()
          press_ctrl_c()
          for _ = 1, 1e6 do math.abs(1) end
        end
      end}})
    t.refuses("interrupted", run.run, run)
    t.is({#run:run(), run.steps}, {3, 21}, "after two, while a " .. when .. " is told, it goes on")
  end
  local _, again = fit()
  t.is({#again, again.stopped}, {3, "done"}, "what is finished stays so")
  t.error(function()
    press_ctrl_c()
    for _ = 1, 1e6 do math.abs(1) end
  end, "interrupted", "afterwards a Ctrl-C is what it was")
end

-- Early stopping, schedules, callbacks -----------------------------------------------------------

do
  local values = {3, 2, 2.5, 1.9, 1.95, 1.92, 1.91, 1}
  local k = 0
  local function run(stop, more)
    k = 0
    mw.seed(2)
    local net, weights = network(), {}
    local o = options {epochs = 8, valid = test, monitor = "given", early_stop = stop,
      metrics = {given = function() return values[k] or 9 end},
      callbacks = {
        step = function(trainer) k = trainer.epoch end,
        epoch = function(_, row) weights[row.epoch] = net[3].weight:totable() end,
      },
      batch = 50}
    for name, value in pairs(more or {}) do o[name] = value end
    return mw.fit(net, digits, o), net, weights
  end
  local history = run {patience = 2}
  t.is({#history, history.stopped}, {7, "early stop"}, "three that are not better")
  history = run {patience = 0}
  t.is(#history, 3, "without patience the first one ends it")
  history = run {patience = 3}
  t.is({#history, history.stopped}, {8, "done"}, "with enough patience none does")
  history = run {patience = 1, min_delta = 0.5}
  t.is(#history, 4, "better by too little")
  local _, net, weights = run {patience = 2, restore = true}
  t.is(net[3].weight:totable(), weights[4], "the best epoch's weights")
  history = run({patience = 0}, {mode = "max"})
  t.is(#history, 2, "more is better")
  local plateau = optim.schedule.plateau {patience = 0, factor = 0.5, threshold = 0}
  history = run(nil, {schedule = plateau})
  t.is({history[1].lr, history[8].lr}, {0.001, 0.001 / 16}, "a plateau hears of the monitor")
  history = run(nil, {schedule = "linear"})
  t.near({history[1].lr, history[8].lr}, {0.001 * 14 / 16, 0}, 1e-12, "a schedule over the run")
  t.refuses('fit: there is no "loss_valid" to monitor, only ', run, nil, {monitor = "loss_valid"})
  history = run(nil, {callbacks = {batch = function(trainer) return trainer.steps < 3 end}})
  t.is({#history, history.stopped}, {2, "stopped"}, "a callback's false stops it")
end

do -- stopped by the last step of all
  local history, trainer = mw.fit(network(), digits, options {epochs = 1, callbacks = {
    step = function(trainer) if trainer.steps == 7 then trainer:stop() end end}})
  t.is({#history, history.stopped, trainer:step()}, {1, "done", false}, "the last step ends it")
  t.is(#mw.fit(network(), digits, options {epochs = 0}), 0, "a run of no epochs")
end

-- What a user may get wrong ----------------------------------------------------------------------

do
  local net = network()
  local function refuse(text, o, set) t.refuses(text, mw.fit, net, set or digits, o) end
  refuse('fit: there is no option "optimiser", did you mean "optimizer"?', {optimiser = "Adam"})
  refuse("fit: epochs is -1, expected a whole number of at least 0", {epochs = -1})
  refuse('optim: there is no "Adem", did you mean optim.Adam?', {optimizer = "Adem"})
  refuse("fit: the training set is a tensor", nil, mw.ones {2})
  refuse('did you mean cross_entropy?', {loss = "crossentropy"})
  refuse("fit: the loss is a tensor f32[16,10], expected a scalar tensor",
    {loss = function(output) return output end, batch = 16})
  refuse("fit: early_stop: there is no option", {early_stop = {patienc = 1}})
  refuse("resume wants the checkpoint's path", {resume = true})
  refuse('fit: checkpoint is "x.npz", expected a safetensors file', {checkpoint = "x.npz"})
  refuse("which make no batch of 200", {batch = 200, drop_last = true})
  refuse("fit: the data has no y", nil, data.dataset(mw.ones {4, 2}))
  refuse('fit: metric 1 is "acuracy", expected accuracy or', {metrics = {"acuracy"}})
  t.refuses("trainer: net is 1, expected a module", function() mw.trainer(1, digits) end)
  t.error(function()
    mw.fit(nn.Dense {2, 1}, data.dataset(mw.full({4, 2}, math.huge), mw.ones {4, 1}),
      {quiet = true})
  end, "trainer.lua:%d+: fit: the loss of step 1 %(epoch 1%) is %a+;", "a loss that is no number")
end

-- Logs -------------------------------------------------------------------------------------------

local function hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end))
end

do
  local path, events = place "log.jsonl", place "events/of/this"
  mw.seed(3)
  mw.fit(network(), digits, options {log = path, tensorboard = events, valid = test,
    metrics = {"accuracy", "confusion"}})
  local kinds, rows = {}, {}
  for line in io.lines(path) do
    local row = assert(mw.json.decode(line))
    kinds[row.kind] = (kinds[row.kind] or 0) + 1
    rows[#rows + 1] = row
  end
  t.is(kinds, {start = 1, step = 21, epoch = 3, ["end"] = 1}, "a line for each step and epoch")
  local epoch = rows[9]
  t.is({epoch.kind, epoch.epoch, epoch.step, #epoch.confusion, math.type(epoch.seconds)},
    {"epoch", 1, 7, 10, "float"}, "what an epoch's line has")

  -- Published values: CRC-32C of "123456789" is e3069283, and of 32 zeros 8a9136aa (RFC 3720).
  t.is(tensorboard.checksum "123456789", 0xc78ab0e5, "a masked CRC-32C")
  t.is(tensorboard.checksum(("\0"):rep(32)), (((0x8a9136aa >> 15 | 0x8a9136aa << 17) & 0xffffffff)
    + 0xa282ead8) & 0xffffffff, "and another")
  t.is(tensorboard.version_event(1), hex "09 00000000 0000F03F 1A 0D"
    .. "brain.Event:2", "the version")
  t.is(tensorboard.scalar_event(1, 300, "loss", 0.5), hex "09 00000000 0000F03F 10 AC02"
    .. hex "2A 0D 0A 0B 0A 04" .. "loss" .. hex "15 0000003F", "a scalar")
  t.is(tensorboard.start_event(1, 2), hex "09 00000000 0000F03F 10 02 3A 02 08 01", "a start")
  t.is(tensorboard.record "123456789", hex "09000000 00000000"
    .. string.pack("<I4", tensorboard.checksum(hex "09000000 00000000")) .. "123456789"
    .. hex "E5B08AC7", "a record")
  local list = io.popen(("ls '%s'"):format(events))
  local file = list:read "l"
  list:close()
  t.ok(file:find "^events%.out%.tfevents%.%d+%.moonwalk%.0$", "the event file's name")
  local bytes, at, n, whole = contents(events .. "/" .. file), 1, 0, true
  while at <= #bytes do
    local length = string.unpack("<I8", bytes, at)
    local content = bytes:sub(at + 12, at + 11 + length)
    whole = whole and tensorboard.record(content) == bytes:sub(at, at + 15 + length)
    at, n = at + 16 + length, n + 1
  end
  -- The version; loss and lr of 21 steps; loss, seconds, lr, accuracy, valid_loss of 3 epochs.
  t.is({whole, at, n}, {true, #bytes + 1, 1 + 42 + 15}, "the file's records")
  t.is(mw.json.decode(mw.json.encode {0.1 + 0.2, 1 / 3, 5e-324}), {0.1 + 0.2, 1 / 3, 5e-324},
    "JSON keeps all bits of a number")
end

-- Metrics, by hand -------------------------------------------------------------------------------

do
  -- Labels 0 0 0 1 1 2, taken for 0 0 1 1 2 2.
  local confusion = {{2, 1, 0}, {0, 1, 1}, {0, 0, 1}}
  t.near(metrics.accuracy(confusion), 4 / 6, 1e-15, "accuracy")
  t.near({metrics.precision(confusion, 0), metrics.precision(confusion, 1),
    metrics.precision(confusion, 2)}, {1, 1 / 2, 1 / 2}, 1e-15, "precision")
  t.near({metrics.recall(confusion, 0), metrics.recall(confusion, 1), metrics.recall(confusion, 2)},
    {2 / 3, 1 / 2, 1}, 1e-15, "recall")
  t.near({metrics.f1(confusion, 0), metrics.f1(confusion, 1), metrics.f1(confusion, 2)},
    {4 / 5, 1 / 2, 2 / 3}, 1e-15, "F1")
  t.near({metrics.precision(confusion), metrics.recall(confusion), metrics.f1(confusion)},
    {2 / 3, 13 / 18, 59 / 90}, 1e-15, "their means")
  t.is(metrics.precision {{1, 0}, {1, 0}}, 0.25, "a class that nothing is taken for")
  t.refuses("metrics.f1: class is 3, expected 0 to 2", metrics.f1, confusion, 3)

  local meter = metrics.meter {"accuracy", "top2", "confusion", "f1",
    half = function() return 0.5 end}
  meter:add(mw.tensor {{3, 2, 1}, {3, 2, 1}, {2, 3, 1}, {1, 3, 2}},
    mw.tensor({0, 0, 0, 1}, "i64"), 4)
  meter:add(mw.tensor {{1, 2, 3}, {1, 2, 3}, {9, 1, 1}}, mw.tensor({1, 2, -100}, "i32"), 3)
  local values = meter:values()
  t.is(values.confusion, confusion, "the confusion matrix, over two batches")
  t.near({values.accuracy, values.top2, values.f1, values.half}, {4 / 6, 1, 59 / 90, 0.5}, 1e-15,
    "accuracy, top 2, F1, and a function")
  local places = metrics.meter {"accuracy", "confusion"}
  places:add(mw.tensor {{{3, 1}, {1, 3}}}, mw.tensor({{0, 0}}, "i64"), 1)
  t.is({places:values().accuracy, places:values().confusion}, {0.5, {{1, 1}, {0, 0}}},
    "outputs [n,classes,length]")
  t.refuses("metrics: a label is 3, and there are 3 classes", function()
    metrics.meter({"f1"}):add(mw.ones {1, 3}, mw.tensor({3}, "i64"), 1)
  end)
  t.refuses("top5: the output has 3 classes", function()
    metrics.meter({"top5"}):add(mw.ones {1, 3}, mw.tensor({2}, "i64"), 1)
  end)
end

-- A part that stays in evaluation mode -----------------------------------------------------------

do
  local net = network()
  net(mw.zeros {2, 1, 28, 28})
  net[4]:eval()
  local before = net[4].running_mean:totable()
  mw.fit(net, digits, options {valid = test, epochs = 2})
  t.is(net[4].running_mean:totable(), before, "running statistics that were put to rest stay so")
  t.is({net.training, net[4].training, net[6].training}, {true, false, true}, "and so do the modes")
end

-- 0 / 0 is a NaN that printf writes with a sign.
t.is(require("moonwalk.trainer.log").text({epoch = 2, loss = 0 / 0, valid_loss = 1 / 0}, 3),
  "epoch 2/3  loss nan  valid_loss inf", "a loss that is no number is written without a sign")

folder.remove()
t.done()
