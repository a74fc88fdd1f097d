-- commands/compare.lua: `moonwalk compare A B`: the first step at which two runs differ.
--
-- A and B are logs of mw.fit, best with fingerprint = true or "nodes", or two checkpoints. The
-- status is 0 when they are the same, 1 when they differ, 2 when one cannot be read.

local core = require "moonwalk.core"
local checkpoint = require "moonwalk.trainer.checkpoint"
local fingerprint = require "moonwalk.trainer.fingerprint"

local USAGE = [[
usage: moonwalk compare A B    names the first step, and in it the first node or parameter, at which
                               two runs differ; A and B are logs of mw.fit with fingerprint = true
                               or "nodes", or two checkpoints]]

local function fail(message)
  io.stderr:write("moonwalk compare: ", message, "\n")
  os.exit(2, true)
end

local function differ(format, ...)
  print(format:format(...))
  os.exit(1, true)
end

-- The rows of a log's steps by their numbers, and the last number.
local function read_log(path)
  local file, why = io.open(path, "rb")
  if not file then fail(why) end
  local rows, last, n = {}, 0, 0
  for line in file:lines() do
    n = n + 1
    local row, problem = core.json_decode(line)
    if type(row) ~= "table" then
      fail(("%s:%d: no log of mw.fit: %s"):format(path, n, problem or "not an object"))
    end
    local step = math.tointeger(row.step)
    if row.kind == "step" and step then rows[step], last = row, math.max(last, step) end
  end
  file:close()
  if last == 0 then fail(path .. ": it has no steps") end
  return rows, last
end

local function compare_logs(path_a, path_b)
  local a, last_a = read_log(path_a)
  local b, last_b = read_log(path_b)
  local compared, with_digests = 0, 0
  for step = 1, math.min(last_a, last_b) do
    local x, y = a[step], b[step]
    if x and y then
      compared = compared + 1
      if x.digests and y.digests then with_digests = with_digests + 1 end
      local what = fingerprint.difference(x, y)
      if what then
        differ("step %d (epoch %s) differs: %s%s", step, tostring(x.epoch), what,
          x.nodes and y.nodes and "" or '; with fingerprint = "nodes" the op is named')
      end
    end
  end
  if compared == 0 then fail "the logs have no step in common" end
  local of = with_digests == compared and "" or "; only the losses of some, without fingerprints"
  if last_a ~= last_b then
    differ("the same in %d steps%s; then %s ends at step %d and the other goes on to %d", compared,
      of, last_a < last_b and path_a or path_b, math.min(last_a, last_b), math.max(last_a, last_b))
  end
  print(("the same in all %d steps%s"):format(compared, of))
end

local function compare_checkpoints(path_a, path_b)
  local a, why = checkpoint.read(path_a)
  if not a then fail(why) end
  local b
  b, why = checkpoint.read(path_b)
  if not b then fail(why) end
  if a.run.step ~= b.run.step then
    differ("one is of step %s, the other of step %s", tostring(a.run.step), tostring(b.run.step))
  end
  for _, part in ipairs {"model", "optimizer", "best"} do
    local x, y = a[part] or {}, b[part] or {}
    local shapes = checkpoint.difference(x, y)
    if shapes then differ("%s: %s", part, shapes) end
    local names = {}
    for name, t in pairs(x) do
      if core.bytes(t) ~= core.bytes(y[name]) then names[#names + 1] = name end
    end
    table.sort(names)
    if #names > 0 then differ("%s: %s differ", part, table.concat(names, ", ")) end
  end
  if core.json_encode(a.run) ~= core.json_encode(b.run) then
    differ("the tensors are the same; what else they keep of the run differs")
  end
  print(("the same, of step %d"):format(a.run.step))
end

local function is_checkpoint(path)
  return path:find "%.safetensors$" ~= nil
end

local a, b, extra = ...
if a == "--help" or a == "-h" then
  print(USAGE)
elseif not (a and b) or extra then
  fail("it takes two logs, or two checkpoints\n" .. USAGE)
elseif is_checkpoint(a) ~= is_checkpoint(b) then
  fail "one is a checkpoint and the other a log"
elseif is_checkpoint(a) then
  compare_checkpoints(a, b)
else
  compare_logs(a, b)
end
