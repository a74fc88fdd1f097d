-- options.lua: what mw.fit and mw.trainer are given, checked and completed.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local metrics = require "moonwalk.metrics"
local Module = require "moonwalk.nn.module"
local optim = require "moonwalk.optim"
local updates = require "moonwalk.updates"

local options = {}

---@class moonwalk.TrainerOptions
---@field epochs integer? 10; how often to go through the training set, from the run's beginning
---@field batch integer? 64; samples in a step
---@field valid moonwalk.Dataset? what to judge the network by after each epoch
---@field loss string|function|nil an op of (output, y) such as "mse", or fn(output, y, batch);
---  "cross_entropy" when left out, or "mse" where y are no whole numbers
---@field forward function? fn(net, batch) gives the output; net(batch.x) when left out
---@field optimizer any {"Adam", lr = 0.001} when left out; a name, a table like this one, a
---  function of the parameters, or an optimizer
---@field schedule any of optim.schedule, or "cosine", "linear" or "one_cycle" over the whole run
---@field metrics table? names and functions, see metrics.meter; {"accuracy"} with cross entropy
---@field monitor string? what says which epoch is best: "valid_loss", or "loss" without `valid`
---@field mode "min"|"max"|nil of the monitor; "max" for accuracy and its like
---@field early_stop {patience: integer, min_delta: number?, restore: boolean?}|integer|nil
---@field callbacks {batch: function?, step: function?, epoch: function?}?
---@field checkpoint string? a path
---@field every {steps: integer?, seconds: number?, epochs: integer?}? {epochs = 1}; when to save
---@field resume boolean? true goes on from the checkpoint where there is one, false replaces it
---@field log string? a path; lines of JSON
---@field log_every integer? 1; steps
---@field tensorboard string? a folder
---@field fingerprint boolean|"nodes"|nil
---@field quiet boolean? false
---@field shuffle boolean? true
---@field seed integer? of order and augmentation; drawn from mw.seed's generator when left out
---@field drop_last boolean?
---@field augment any? of the training set
---@field valid_augment any? of `valid`: its normalisation
---@field prefetch integer?
---@field workers integer?
---@field dtype "f32"|"f64"|nil

local KNOWN = {
  "epochs", "batch", "valid", "loss", "forward", "optimizer", "schedule", "metrics", "monitor",
  "mode", "early_stop", "callbacks", "checkpoint", "every", "resume", "log", "log_every",
  "tensorboard", "fingerprint", "quiet", "shuffle", "seed", "drop_last", "augment",
  "valid_augment", "prefetch", "workers", "dtype",
}

local LOSSES = {"cross_entropy", "mse", "bce_with_logits", "nll"} -- to guess from
local WHOLE = {i64 = true, i32 = true, u8 = true}

local function is_set(value)
  return type(value) == "table" and getmetatable(value) ~= nil and value.batches ~= nil
end

-- A function of (output, y, batch), and whether it is cross entropy.
local function loss_of(where, loss, train)
  if type(loss) == "function" then return loss, false end
  local y = train.y
  if loss == nil then
    if not y then
      core.error(where .. ": the data has no y; it takes a loss = function(output, y, batch), such "
        .. "as one of batch.x")
    end
    loss = WHOLE[y.dtype] and "cross_entropy" or "mse"
  end
  check.text(where, "loss", loss)
  if not core.op_info(loss) then
    local near = check.near(loss, LOSSES)
    core.error(("%s: there is no op %q for a loss%s"):format(where, loss,
      near and ("; did you mean %s?"):format(near) or ""))
  end
  return function(output, target) return core.call(loss, output, target) end,
    loss == "cross_entropy"
end

local HIGHER = {accuracy = true, precision = true, recall = true, f1 = true}

local function check_callbacks(where, callbacks)
  callbacks = check.options(where .. ": callbacks", callbacks, {"batch", "step", "epoch"})
  for name, fn in pairs(callbacks) do
    if type(fn) ~= "function" then check.fail(where, "callbacks." .. name, fn, "a function") end
  end
  return callbacks
end

local function check_stop(where, stop)
  if not stop then return nil end
  if type(stop) == "number" then stop = {patience = stop} end
  stop = check.options(where .. ": early_stop", stop, {"patience", "min_delta", "restore"})
  return {
    patience = check.integer(where, "early_stop.patience", stop.patience, 0),
    min_delta = check.number(where, "early_stop.min_delta", stop.min_delta, 0, math.huge, 0),
    restore = check.boolean(where, "early_stop.restore", stop.restore, false),
  }
end

local function check_every(where, every)
  if every == nil then return {epochs = 1} end
  every = check.options(where .. ": every", every, {"steps", "seconds", "epochs"})
  if next(every) == nil then
    core.error(where .. ": every is empty, expected {steps = 100}, {seconds = 60} or {epochs = 1}")
  end
  return {
    steps = every.steps and check.integer(where, "every.steps", every.steps, 1),
    seconds = every.seconds and check.number(where, "every.seconds", every.seconds, 0, math.huge),
    epochs = every.epochs and check.integer(where, "every.epochs", every.epochs, 1),
  }
end

local function file_path(where, name, value)
  if value == nil then return nil end
  check.path(where, name, value)
  if name == "checkpoint" and value:lower():find "%.np[yz]$" then
    check.fail(where, name, value, "a safetensors file: run.safetensors")
  end
  return value
end

---The options, complete.
---@param where string
---@param net moonwalk.Module
---@param train moonwalk.Dataset
---@param given moonwalk.TrainerOptions?
---@return table
function options.read(where, net, train, given)
  if not Module.is(net) then check.fail(where, "net", net, "a module") end
  if not is_set(train) then
    check.fail(where, "the training set", train, "a data set, as data.digits {} gives it")
  end
  given = check.options(where, given, KNOWN)
  local valid = given.valid
  if valid ~= nil and not is_set(valid) then check.fail(where, "valid", valid, "a data set") end
  local loss, is_class = loss_of(where, given.loss, train)
  local monitor = check.text(where, "monitor", given.monitor, valid and "valid_loss" or "loss")
  local batch = check.integer(where, "batch", given.batch, 1, 64)
  local o = {
    epochs = check.integer(where, "epochs", given.epochs, 0, 10),
    batch = batch,
    valid = valid, loss = loss,
    forward = given.forward or function(module, item) return module(item.x) end,
    metrics = given.metrics or (is_class and {"accuracy"} or {}),
    monitor = monitor,
    mode = check.choice(where, "mode", given.mode, {"min", "max"},
      (HIGHER[monitor] or monitor:find "^top%d+$") and "max" or "min"),
    early_stop = check_stop(where, given.early_stop),
    callbacks = check_callbacks(where, given.callbacks),
    checkpoint = file_path(where, "checkpoint", given.checkpoint),
    every = check_every(where, given.every),
    resume = given.resume,
    log = file_path(where, "log", given.log),
    log_every = check.integer(where, "log_every", given.log_every, 1, 1),
    tensorboard = file_path(where, "tensorboard", given.tensorboard),
    fingerprint = given.fingerprint or false,
    quiet = check.boolean(where, "quiet", given.quiet, false),
    batches = {
      size = batch, shuffle = check.boolean(where, "shuffle", given.shuffle, true),
      seed = given.seed, drop_last = given.drop_last, augment = given.augment,
      prefetch = given.prefetch, workers = given.workers, dtype = given.dtype,
    },
    valid_batches = {
      size = batch, shuffle = false, seed = 0, augment = given.valid_augment,
      prefetch = given.valid_augment and given.prefetch, workers = given.workers,
      dtype = given.dtype,
    },
  }
  if type(o.forward) ~= "function" then check.fail(where, "forward", o.forward, "a function") end
  metrics.meter(o.metrics, where)
  if o.fingerprint ~= false and o.fingerprint ~= true and o.fingerprint ~= "nodes" then
    check.fail(where, "fingerprint", o.fingerprint, 'true, false or "nodes"')
  end
  if o.resume ~= nil then check.boolean(where, "resume", o.resume, false) end
  if o.resume and not o.checkpoint then
    core.error(where .. ": resume wants the checkpoint's path: checkpoint = \"run.safetensors\"")
  elseif o.fingerprint and not o.log then
    core.error(where .. ": fingerprints go to the log: it takes log = \"run.jsonl\"")
  end
  return o
end

-- ---- the optimizer --------------------------------------------------------------------------

local FORMS = '"Adam", {"SGD", lr = 0.1}, a function of the parameters, or an optimizer'

-- The parameters, all of which are there once the network was called.
local function parameters_of(net, train, o)
  local first = {}
  for name, value in pairs(o.batches) do first[name] = value end
  first.prefetch, first.seed = 0, first.seed or 0
  local batches <close> = train:batches(first)
  local batch = batches()
  if batch then updates.trial(o.forward, net, batch) end
  return net:parameters()
end

local WHOLE_RUN = {"cosine", "linear", "one_cycle"}

-- A schedule by its name: one over all updates of the run.
local function schedule_of(where, schedule, steps, accumulate)
  if type(schedule) ~= "string" then return schedule end
  check.choice(where, "schedule", schedule, WHOLE_RUN)
  return optim.schedule[schedule](math.max(steps // accumulate, 1))
end

---The optimizer of a run that has so many steps.
---@param where string
---@param net moonwalk.Module
---@param train moonwalk.Dataset
---@param o table as read() gives it
---@param given moonwalk.TrainerOptions
---@param steps integer
function options.optimizer(where, net, train, o, given, steps)
  local wanted = given.optimizer
  if wanted == nil then wanted = {"Adam"} elseif type(wanted) == "string" then wanted = {wanted} end
  local opt = wanted
  if type(wanted) == "function" then
    opt = wanted(parameters_of(net, train, o))
  elseif type(wanted) == "table" and getmetatable(wanted) == nil then
    if type(wanted[1]) ~= "string" then check.fail(where, "optimizer", wanted, FORMS) end
    local make, own = optim[wanted[1]], {}
    if type(make) ~= "function" then check.fail(where, "optimizer", wanted[1], FORMS) end
    for name, value in pairs(wanted) do
      if name ~= 1 then own[name] = value end
    end
    opt = make(parameters_of(net, train, o), own)
  end
  if type(opt) ~= "table" or not (opt.step and opt.state and opt.load_state) then
    check.fail(where, "optimizer", opt, FORMS)
  end
  if given.schedule ~= nil then
    if rawget(opt, "schedule") == nil then
      core.error(("%s: %s takes no schedule"):format(where, tostring(opt)))
    end
    opt.schedule = schedule_of(where, given.schedule, steps, opt.accumulate or 1)
  end
  return opt
end

return options
