-- killed.lua: a training run that is killed by SIGKILL at random moments, again and again, and goes
-- on from its checkpoint, ends with the same file as one that was left alone, byte for byte: with
-- each optimizer.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"

local MOONWALK = os.getenv "MOONWALK_BUILD" .. "/moonwalk"

-- What trains. Once `kill` is given, it is killed a random time after a random step.
local SCRIPT = [[
local mw = require "moonwalk"
local nn, optim, data = mw.nn, mw.optim, mw.data
local path, kind, kill = arg[1], "KIND", os.getenv "MOONWALK_KILLED_TEST"
mw.seed(3)
mw.threads(2)
local train = data.digits {n = 120}
local net = nn.Sequential {
  nn.MaxPool {4}, nn.Flatten {}, nn.Dense {16}, nn.BatchNorm {16}, nn.Tanh {}, nn.Dropout {0.3},
  nn.Dense {10},
}
local kinds = { -- others as they are
  SGD = {"SGD", lr = 0.05, momentum = 0.9, nesterov = true, accumulate = 3, clip_norm = 1},
  Adam = {"Adam", lr = 0.01, schedule = optim.schedule.warmup(5, optim.schedule.cosine(60))},
  RMSprop = {"RMSprop", lr = 0.01, momentum = 0.5, average = 0.9},
  Lion = {"Lion", lr = 0.01, schedule = optim.schedule.plateau {patience = 1}},
}
local trigger = math.random(1, 10)
local function callback(trainer)
  trigger = trigger - 1
  if kill and trigger == 0 then
    os.execute(("(sleep 0.%03d; kill -9 $PPID) &"):format(math.random(0, 15)))
  end
end
mw.fit(net, train, {
  epochs = 10, batch = 16, valid = data.digits {n = 20, split = "test"},
  optimizer = kinds[kind] or kind, checkpoint = path, resume = true, every = {steps = 5},
  augment = data.augment {rotate = 10, noise = 0.1}, prefetch = 2, workers = 2, quiet = true,
  early_stop = {patience = 1000, restore = true}, log = path .. ".jsonl",
  callbacks = {step = callback},
})
if kill and trigger <= 0 then os.execute "sleep 10" end
]]

local function run(script, path, kill)
  local _, _, status = os.execute(("%s'%s' '%s' '%s' 2>'%s/errors'"):format(
    kill and "MOONWALK_KILLED_TEST=1 " or "", MOONWALK, script, path, folder.path))
  if status ~= 0 and not kill then print("# " .. folder.contents(folder.path .. "/errors")) end
  return status
end

-- The lines of steps of a log.
local function steps_of(path)
  local lines = {}
  for line in io.lines(path .. ".jsonl") do
    if line:find('"kind":"step"', 1, true) then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

local names = {}
for name, optimizer in pairs(mw.optim) do
  if type(optimizer) == "function" then names[#names + 1] = name end
end
table.sort(names)

local KILLS = 3
local killed = 0
for _, name in ipairs(names) do
  local script = folder.put("train.lua", (SCRIPT:gsub("KIND", name)))
  local whole, parts = folder.path .. "/whole.safetensors", folder.path .. "/run.safetensors"
  os.remove(whole)
  os.remove(parts)
  t.is(run(script, whole), 0, name .. ": a run that is left alone")
  for _ = 1, KILLS do
    if run(script, parts, true) ~= 0 then killed = killed + 1 end
  end
  t.is(run(script, parts), 0, name .. ": the last run goes to the end")
  -- The path is one of the arguments that the file has.
  local a, b = folder.contents(whole), folder.contents(parts)
  local x, y = assert(mw.load_checkpoint(whole)), assert(mw.load_checkpoint(parts))
  local same = 0
  for _, part in ipairs {"model", "optimizer", "best"} do
    for key, tensor in pairs(x[part]) do
      if mw.core.bytes(tensor) == mw.core.bytes(y[part][key]) then same = same + 1
      else t.ok(false, ("%s: %s.%s"):format(name, part, key)) end
    end
  end
  t.ok(same > 12, ("%s: %d tensors have the same bits"):format(name, same))
  local function body(text) return text:sub(9 + string.unpack("<i8", text)) end
  t.ok(body(a) == body(b), name .. ": so do the files' data")
  t.is(mw.json.encode(x.run), mw.json.encode(y.run), name .. ": and all else that a run keeps")
  t.is(steps_of(whole), steps_of(parts), name .. ": the log has each step once")
  local left = io.popen(("ls '%s'"):format(folder.path))
  t.ok(not left:read("a"):find("tmp", 1, true), name .. ": nothing unfinished is left")
  left:close()
end
t.is(killed, #names * KILLS, ("killed %d times"):format(killed))
t.ok(killed >= 20, "at least 20")
folder.remove()
t.done()
