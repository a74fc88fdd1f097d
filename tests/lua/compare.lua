-- compare.lua: fingerprints of runs, and the commands compare and inspect.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local nn, data = mw.nn, mw.data

local MOONWALK = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
local function place(name) return folder.path .. "/" .. name end

-- What the command prints, and its status.
local function command(...)
  local words = {("'%s'"):format(MOONWALK)}
  for _, word in ipairs {...} do words[#words + 1] = ("'%s'"):format(word) end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1"))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

local train = data.digits {n = 64}

-- A run, which from a step on may go another way.
local function run(name, mark, more)
  mw.seed(4)
  local net = nn.Sequential {
    nn.MaxPool {4}, nn.Flatten {}, nn.Dense {8}, nn.Tanh {}, nn.Dropout {0.1}, nn.Dense {10},
  }
  local o = {epochs = 2, batch = 16, quiet = true, log = place(name), fingerprint = mark}
  for key, value in pairs(more or {}) do o[key] = value end
  return mw.fit(net, train, o)
end

local function nudge(at, fn)
  return {callbacks = {batch = function(trainer)
    if trainer.steps == at then fn(trainer) end
  end}}
end

t.is(mw.core.digest "abc" == mw.core.digest "abc", true, "equal bytes have equal digests")
do -- each single bit of 40 bytes matters, and the length
  local seen, n = {}, 0
  local base = ("\0"):rep(40)
  for i = 0, 319 do
    local k = i // 8 + 1
    local text = base:sub(1, k - 1) .. string.char(1 << i % 8) .. base:sub(k + 1)
    seen[mw.core.digest(text)] = true
  end
  for length = 0, 40 do seen[mw.core.digest(base:sub(1, length))] = true end
  seen[mw.core.digest(("\0\0\0\0\0\0\0\x80"):rep(5))] = true
  for _ in pairs(seen) do n = n + 1 end
  t.is(n, 320 + 41 + 1, "other bytes have other digests")
end

local plain = run("plain.jsonl", false)
local whole = run("a.jsonl", true)
t.is({whole[2].loss, #whole}, {plain[2].loss, 2}, "a fingerprint changes nothing")
local nodes = run("nodes.jsonl", "nodes")
t.is(nodes[2].loss, plain[2].loss, "nor does one of each node")
mw.threads(1)
run("b.jsonl", true)
run("nodes_b.jsonl", "nodes")
mw.threads(2)

local output, status = command("compare", place "a.jsonl", place "b.jsonl")
t.is({output, status}, {"the same in all 8 steps\n", 0}, "the same run, by 2 threads and by 1")
output, status = command("compare", place "nodes.jsonl", place "nodes_b.jsonl")
t.is({output, status}, {"the same in all 8 steps\n", 0}, "in each node")
output, status = command("compare", place "b.jsonl", place "nodes.jsonl")
t.is({output, status}, {"the same in all 8 steps\n", 0}, "one of them without the nodes")
output, status = command("compare", place "a.jsonl", place "plain.jsonl")
t.is({output, status},
  {"the same in all 8 steps; only the losses of some, without fingerprints\n", 0}, "or of losses")

-- Another value in the second layer before step 6.
local other = nudge(5, function(trainer)
  local bias = trainer.net[6].bias
  mw.update({bias}, {bias + mw.tensor {0, 0, 0, 2^-6, 0, 0, 0, 0, 0, 0}})
end)
run("c.jsonl", true, other)
run("nodes_c.jsonl", "nodes", other)
output, status = command("compare", place "a.jsonl", place "c.jsonl")
t.is(status, 1, "runs that differ")
t.ok(output:find "^step 6 %(epoch 2%) differs: the loss: [%d.]+ and [%d.]+; with", "the step")
output, status = command("compare", place "nodes.jsonl", place "nodes_c.jsonl")
t.is(status, 1, "runs that differ, with nodes")
-- After maxpool, dense, tanh and dropout.
t.ok(output:find "^step 6 %(epoch 2%) differs: node 5 of %d+, dense at Dense at [^ ]*lua:%d+",
  "the node")
-- Another learning rate at step 3: the loss of the step is the same, the parameters are not.
run("d.jsonl", true, nudge(2, function(trainer) trainer.optimizer.lr = 0.002 end))
output, status = command("compare", place "a.jsonl", place "d.jsonl")
t.is(status, 1, "another rate")
t.ok(output:find "^step 3 %(epoch 1%) differs: 3.bias, 3.weight, 6.bias, 6.weight after the step",
  "shows in the parameters")
run("e.jsonl", true, {epochs = 1})
output, status = command("compare", place "a.jsonl", place "e.jsonl")
t.is(status, 1, "a shorter run")
t.is(output, ("the same in 4 steps; then %s ends at step 4 and the other goes on to 8\n"):format(
  place "e.jsonl"), "is told of")
folder.put("bad.jsonl", "{}\nnot JSON\n")
output, status = command("compare", place "a.jsonl", place "bad.jsonl")
t.ok(status == 2 and output:find "bad.jsonl:2: no log of mw.fit", "what is no log")
output, status = command("compare", place "a.jsonl")
t.ok(status == 2 and output:find "it takes two logs", "one file")

-- Checkpoints.
run("f.jsonl", false, {checkpoint = place "one.safetensors"})
run("g.jsonl", false, {checkpoint = place "two.safetensors"})
local altered = {checkpoint = place "three.safetensors", callbacks = other.callbacks}
run("h.jsonl", false, altered)
output, status = command("compare", place "one.safetensors", place "two.safetensors")
t.is({output, status}, {"the same, of step 8\n", 0}, "checkpoints that are the same")
output, status = command("compare", place "one.safetensors", place "three.safetensors")
t.ok(status == 1 and output:find "^model: 3.bias, 3.weight, 6.bias, 6.weight differ",
  "and that are not")

output, status = command("inspect", place "one.safetensors")
t.is(status, 0, "inspect")
for _, text in ipairs {
  "epoch 2 of 2, step 8;", "Adam", "seed 4, position ", "drawn digits", "6.weight", "f32[10,8]",
  "6.weight.mean", "cross_entropy 1", "epoch 2/2  loss ", "model: 4 tensors, 490 numbers",
} do
  t.ok(output:find(text, 1, true), "it tells: " .. text)
end
output = command("inspect", place "one.safetensors", "--script")
t.is(output, folder.contents(arg[0]), "the script's text")
output = command("inspect", place "one.safetensors", "--network")
t.ok(output:find "Dense" and output:find "Dropout", "the network")
mw.save(place "x.npy", mw.tensor {1, 2, 6})
output = command("inspect", place "x.npy")
t.ok(output:find("f32[3]", 1, true) and output:find("1 to 6, mean 3", 1, true), "other files")
local good = folder.contents(place "one.safetensors")
folder.put("bad.safetensors", good:sub(1, -2) .. string.char(good:byte(-1) ~ 1))
output, status = command("inspect", place "bad.safetensors")
t.ok(status == 1 and output:find "damaged", "what is damaged is not shown as if it were not")
output, status = command("inspect", place "none")
t.ok(status == 1 and output:find "No such file", "no file")
folder.remove()
t.done()
