-- commands/inspect.lua: `moonwalk inspect FILE`: what is in a checkpoint, or a file of tensors.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local checkpoint = require "moonwalk.trainer.checkpoint"
local files = require "moonwalk.files"
local log = require "moonwalk.trainer.log"

local USAGE = [[
usage: moonwalk inspect FILE             what a checkpoint of mw.fit has: network, optimizer,
                                         history, tensors; or the tensors of another file
       moonwalk inspect FILE --script    the text of the script that trained
       moonwalk inspect FILE --network   the network]]

local function fail(message)
  io.stderr:write("moonwalk inspect: ", message, "\n")
  os.exit(1, true)
end

-- A tensor's numbers in short: the least, the largest and their mean, and what is no number.
local function range(t)
  local values = core.call("cast", t, {dtype = "f64"})
  if t.shape[1] == nil then return ("%.9g"):format(values:item()) end
  for _, size in ipairs(t.shape) do
    if size == 0 then return "empty" end
  end
  local flat = core.call("reshape", values, {shape = {-1}})
  local odd = core.call("sum", core.call("cast", (flat - flat):ne(core.full({}, 0, "f64")),
    {dtype = "i64"})):item()
  local text = ("%.4g to %.4g, mean %.4g"):format(core.call("min", flat):item(),
    core.call("max", flat):item(), core.call("mean", flat):item())
  return odd > 0 and ("%s; %d NaN or infinite"):format(text, odd) or text
end

local function list_tensors(title, tensors)
  local names, width, count, bytes = {}, 0, 0, 0
  for name, t in pairs(tensors) do
    names[#names + 1], width = name, math.max(width, #name)
    bytes = bytes + #core.bytes(t)
    count = count + amounts.elements(t)
  end
  table.sort(names)
  print(("%s: %d tensors, %d numbers, %s"):format(title, #names, count, amounts.bytes_text(bytes)))
  for _, name in ipairs(names) do
    local t = tensors[name]
    print(("  %-" .. math.min(width, 48) .. "s  %-16s %s"):format(name, core.spec(t), range(t)))
  end
end

local function show_run(path, there)
  local run = there.run
  local function entry(name, format, ...) print(("%-12s" .. format):format(name, ...)) end
  local function text(value) return tostring(value) end
  entry("checkpoint", "%s, written by Moonwalk %s", path, text(there.version))
  entry("progress", "epoch %s of %s, step %s; %s of %s samples of the epoch are done",
    text(math.min(run.epoch, run.epochs)), text(run.epochs), text(run.step), text(run.position),
    text(run.samples))
  if run.stopped_early then entry("", "stopped early") end
  entry("data", "%s, in batches of %s, %s", text(run.data), text(run.batch),
    run.shuffle and "shuffled by seed " .. text(run.seed) or "in order")
  entry("optimizer", "%s", text(run.optimizer))
  entry("generator", "seed %s, position %s", text(run.random[1]), text(run.random[2]))
  if run.best then
    entry("best", "epoch %s: %s", text(run.best.epoch), text(run.best.value))
  end
  local ops = {}
  for name, version in pairs(there.ops) do ops[#ops + 1] = ("%s %d"):format(name, version) end
  table.sort(ops)
  entry("ops", "%s", #ops > 0 and table.concat(ops, ", ") or "none noted")
  entry("script", "%s", there.script and ("%d bytes (--script prints it)"):format(#there.script)
    or "none")
  if #there.arguments > 0 then entry("arguments", "%s", table.concat(there.arguments, " ")) end
  for _, row in ipairs(run.history) do print(log.text(log.numbers(row), run.epochs)) end
  list_tensors("model", there.model)
  list_tensors("optimizer", there.optimizer)
  if there.best then list_tensors("best model", there.best) end
end

local path, what, extra = ...
if path == "--help" or path == "-h" then
  print(USAGE)
  return
elseif not path or extra or what and what ~= "--script" and what ~= "--network" then
  fail("it takes a file\n" .. USAGE)
end
local tensors, metadata = files.load(path)
if not tensors then fail(metadata) end
if type(metadata) == "table" and metadata.moonwalk then
  local there, why = checkpoint.read(path)
  if not there then fail(why) end
  if what == "--script" then
    if not there.script then fail(path .. ": no script was noted") end
    io.write(there.script)
  elseif what == "--network" then
    print(there.run.network)
  else
    show_run(path, there)
  end
elseif what then
  fail(path .. ": it is no checkpoint of a training run")
else
  list_tensors(path, core.is_tensor(tensors) and {tensor = tensors} or tensors)
  for key, value in pairs(type(metadata) == "table" and metadata or {}) do
    print(("%s = %s"):format(key, value))
  end
end
