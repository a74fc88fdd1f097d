-- checkpoint.lua: a training run in one safetensors file, from which it goes on.
--
-- Tensors are named PART.NAME: "model.1.weight", "optimizer.1.weight.momentum", "best.1.weight".
-- The metadata are texts:
--   moonwalk   "checkpoint 1", by which the file is known, and the number of its form
--   run        JSON: where the run is (see Trainer:save)
--   ops        JSON: the versions of the ops that the loss is made of, by name
--   script     the text of the script that trains, and arguments: JSON, a list of its own
--   digest     of all the rest, so that damage is found
-- Numbers of 64 bits stand in JSON as text, which other readers would round.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local files = require "moonwalk.files"

local checkpoint = {}

local FORM = 1
local PARTS = {model = true, optimizer = true, best = true}

-- A digest of tensors and metadata, whatever order they stand in.
local function digest_of(tensors, metadata)
  local lines = {}
  for name, t in pairs(tensors) do
    lines[#lines + 1] = ("tensor %s %s %s"):format(name, core.spec(t), core.digest(core.bytes(t)))
  end
  for key, value in pairs(metadata) do
    if key ~= "digest" then
      lines[#lines + 1] = ("text %s %s"):format(key, core.digest(value))
    end
  end
  table.sort(lines)
  return core.digest(table.concat(lines, "\n"))
end

-- A text as safetensors takes it: UTF-8 without NUL.
local function storable(text)
  if utf8.len(text) and not text:find("\0", 1, true) then return text end
  return (text:gsub("[\0\x80-\xff]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

local MOST_SCRIPT = 1 << 20 -- bytes

---The text of the script that runs and its arguments; nil when it was no file.
---@return string? text
---@return string[] arguments
function checkpoint.script()
  local list = {}
  local given = rawget(_G, "arg")
  if type(given) ~= "table" then return nil, list end
  for i, value in ipairs(given) do list[i] = storable(tostring(value)) end
  local file = type(given[0]) == "string" and io.open(given[0], "rb")
  local text = file and file:read(MOST_SCRIPT)
  if file then file:close() end
  if text and text:find("\0", 1, true) then text = nil end -- the command itself, without a script
  return text and storable(text), list
end

---Writes a checkpoint, in place of the one that is there.
---@param path string
---@param parts table<string, table<string, moonwalk.Tensor>> model, optimizer and perhaps best
---@param run table what JSON takes
---@param about {ops: table<string, integer>, script: string?, arguments: string[]}
---@return true?
---@return string? message
function checkpoint.write(path, parts, run, about)
  local tensors = {}
  for part, list in pairs(parts) do
    for name, t in pairs(list) do tensors[part .. "." .. name] = t end
  end
  local metadata = {
    moonwalk = "checkpoint " .. FORM, version = core.version, run = core.json_encode(run),
    ops = core.json_encode(about.ops), script = about.script,
    arguments = #about.arguments > 0 and core.json_encode(about.arguments) or "[]",
  }
  metadata.digest = digest_of(tensors, metadata)
  return files.save(path, tensors, metadata)
end

---@class moonwalk.Checkpoint
---@field model table<string, moonwalk.Tensor> as net:load takes it
---@field optimizer table<string, moonwalk.Tensor> as opt:load_state takes it
---@field best table<string, moonwalk.Tensor>? the model of the best epoch, where one is kept
---@field run table epoch, step, history and the like
---@field ops table<string, integer> versions of the ops that the loss is made of
---@field script string?
---@field arguments string[]
---@field version string of Moonwalk

-- The JSON of a metadata entry, or nil and why.
local function decode(metadata, key)
  if metadata[key] == nil then return nil, ("it has no %q"):format(key) end
  local value, why = core.json_decode(metadata[key])
  if type(value) ~= "table" then
    return nil, ("its %q is bad: %s"):format(key, why or "no object")
  end
  return value
end

local FIELDS = { -- of `run`, see run_of() in trainer.lua
  network = "string", optimizer = "string", data = "string", samples = "number", batch = "number",
  shuffle = "boolean", drop_last = "boolean", epochs = "number", seed = "string", random = "table",
  epoch = "number", position = "number", step = "number", step_in_epoch = "number",
  loss_sum = "number", history = "table",
}

-- What is wrong with a run, or nil.
local function problem_of(run)
  for name, kind in pairs(FIELDS) do
    if type(run[name]) ~= kind then
      return ("its run's %s is %s, expected a %s"):format(name, check.show(run[name]), kind)
    end
  end
  if run.best ~= nil and type(run.best) ~= "table" then return "its run's best is no table" end
  for i, row in ipairs(run.history) do
    if type(row) ~= "table" then return ("row %d of its history is no table"):format(i) end
  end
end

local function parse(tensors, metadata)
  local form = (metadata.moonwalk or ""):match "^checkpoint (%d+)$"
  if not form then
    return nil, "not a checkpoint of a training run, but a file of tensors; mw.load reads it"
  elseif tonumber(form) > FORM then
    return nil, ("a checkpoint of form %s, by a newer Moonwalk; this one reads form %d"):format(
      form, FORM)
  end
  if metadata.digest ~= digest_of(tensors, metadata) then
    return nil, "damaged: its contents do not have the digest that was written with them"
  end
  local result = {model = {}, optimizer = {}, script = metadata.script, version = metadata.version}
  local why
  for _, key in ipairs {"run", "ops", "arguments"} do
    result[key], why = decode(metadata, key)
    if why then return nil, why end
  end
  why = problem_of(result.run)
  if why then return nil, why end
  for name, t in pairs(tensors) do
    local part, rest = name:match "^(%l+)%.(.+)$"
    if not PARTS[part] then return nil, ("it has an unknown tensor %q"):format(name) end
    result[part] = result[part] or {}
    result[part][rest] = t
  end
  return result
end

---Reads the checkpoint of a run: net:load(assert(mw.load_checkpoint(path)).model) takes the network
---from it. nil and a message when it cannot be read, is damaged, or is something else.
---@param path string
---@return moonwalk.Checkpoint?
---@return string? message
function checkpoint.read(path)
  check.path("load_checkpoint", "the path", path)
  local tensors, metadata = files.load(path)
  if not tensors then return nil, metadata end
  if type(metadata) ~= "table" then return nil, path .. ": not a safetensors file" end
  local result, why = parse(tensors, metadata)
  if not result then return nil, ("%s: %s"):format(path, why) end
  return result
end

local MOST_NAMED = 4

---What differs between two tables of tensors, as a text, or nil.
---@param there table<string, moonwalk.Tensor> the checkpoint's
---@param here table<string, moonwalk.Tensor>
---@return string?
function checkpoint.difference(there, here)
  local list = {}
  for name, t in pairs(here) do
    if not there[name] then
      list[#list + 1] = ("%s is %s here and not there"):format(name, core.spec(t))
    elseif core.spec(there[name]) ~= core.spec(t) then
      list[#list + 1] = ("%s is %s there and %s here"):format(name, core.spec(there[name]),
        core.spec(t))
    end
  end
  for name, t in pairs(there) do
    if not here[name] then
      list[#list + 1] = ("%s is %s there and not here"):format(name, core.spec(t))
    end
  end
  if #list == 0 then return nil end
  table.sort(list)
  local more = #list - MOST_NAMED
  local text = table.concat(list, "; ", 1, math.min(#list, MOST_NAMED))
  return more > 0 and ("%s; and %d more"):format(text, more) or text
end

return checkpoint
