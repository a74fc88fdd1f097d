-- trainer.lua: mw.fit and mw.trainer: a training loop that logs, judges, saves and goes on.
--
--   local history = mw.fit(net, train, {valid = valid, epochs = 10,
--     optimizer = {"Adam", lr = 1e-3}, checkpoint = "run.safetensors", resume = true})
--
-- A trainer makes one step at a time, so that whoever calls it decides when the next one comes:
--
--   local trainer = mw.trainer(net, train, options)
--   while trainer:step() do ... end
--
-- All that decides what comes next is in the network, the optimizer, the generator and a few fields
-- of the trainer; save() writes them, and a run that reads them goes on with the same bits.

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local check = require "moonwalk.check"
local checkpoint = require "moonwalk.trainer.checkpoint"
local fingerprint = require "moonwalk.trainer.fingerprint"
local log = require "moonwalk.trainer.log"
local metrics = require "moonwalk.metrics"
local observer = require "moonwalk.trainer.observer"
local read_options = require "moonwalk.trainer.options"

---@class moonwalk.Trainer
---@field net moonwalk.Module
---@field train moonwalk.Dataset
---@field optimizer moonwalk.Optimizer
---@field history table[] a row for each epoch: epoch, step, loss, lr, valid_loss, and the metrics;
---  history.confusion is that of the last epoch, history.best the number of the best one, and
---  history.stopped why the run ended
---@field epoch integer the one that is under way, from 1
---@field steps integer that have been made
---@field options table
local Trainer = {}
Trainer.__index = Trainer
Trainer.__name = "moonwalk.Trainer"

-- ---- batches --------------------------------------------------------------------------------

-- The epoch's iterator, from where the run is.
local function open_batches(self)
  local options = {}
  for name, value in pairs(self.options.batches) do options[name] = value end
  options.seed, options.shuffle = nil, nil
  options.resume = {
    seed = self.seed, epoch = self.epoch, position = self.position, samples = #self.train,
    shuffle = self.options.batches.shuffle,
  }
  return self.train:batches(options)
end

local function close_batches(self)
  if self.batches then self.batches:close() end
  self.batches = nil
end

local function next_batch(self)
  local at = self.batches and self.batches.at
  if at and at.position ~= self.position then close_batches(self) end -- a step failed
  self.batches = self.batches or open_batches(self)
  local batch = self.batches()
  if not batch then core.error "trainer: the data set has become smaller" end
  return batch
end

local function steps_in_epoch(train, o)
  local n = #train // o.batch
  if not o.batches.drop_last and n * o.batch < #train then n = n + 1 end
  return n
end

-- ---- checkpoints ----------------------------------------------------------------------------

-- The ops that a loss is made of, and their versions.
local function versions_of(loss)
  local versions = {}
  for _, step in ipairs(core.costs({loss}).steps) do
    local info = core.op_info(step.op)
    if info then versions[step.op] = info.version end
  end
  return versions
end

local function kind_of(opt)
  return tostring(opt):match "^[%w_]+"
end

-- What the file's `run` has.
local function run_of(self)
  local seed, position = core.random_state()
  local best = self.best
  return log.plain {
    network = tostring(self.net), optimizer = kind_of(self.optimizer), data = self.train.name,
    samples = #self.train, batch = self.options.batch, shuffle = self.options.batches.shuffle,
    drop_last = self.options.batches.drop_last or false, epochs = self.options.epochs,
    seed = tostring(self.seed), random = {tostring(seed), tostring(position)},
    epoch = self.epoch, position = self.position, step = self.steps, step_in_epoch = self.in_epoch,
    loss_sum = self.loss_sum, history = {table.unpack(self.history)},
    confusion = self.history.confusion, stopped_early = self.stopped_early,
    best = best and {value = best.value, epoch = best.epoch, bad = best.bad},
  }
end

-- Writes a checkpoint: true, or nil and why.
local function write(self, path)
  self.log:flush() -- the log is never behind the checkpoint
  local parts = {model = self.net:state(), optimizer = self.optimizer:state(),
    best = self.best and self.best.state}
  return checkpoint.write(path, parts, run_of(self), self.about)
end

---Writes a checkpoint now: to the path that the options have, or another one. Raises when it cannot
---be written; what was there is still there then.
---@param path string?
---@return moonwalk.Trainer self
function Trainer:save(path)
  path = path or self.options.checkpoint
  if not path then core.error "save: the trainer has no checkpoint's path, and none was given" end
  local written, why = write(self, path)
  if not written then core.error("save: " .. why) end
  return self
end
Trainer.save = core.entry(Trainer.save)

-- Writes the run's checkpoint. A disk that is full for a while ends no run: run() raises only when
-- the last one could not be written.
local function save_run(self)
  local written, why = write(self, self.options.checkpoint)
  self.saved = {clock = core.clock(), step = self.steps, epoch = self.epoch, problem = why}
  if not written then self.log:say("no checkpoint was written: " .. why) end
end

-- Whether a checkpoint is due; at the end of an epoch, or within one.
local function is_due(self, epoch_ended)
  local every, saved = self.options.every, self.saved
  if not self.options.checkpoint then return false end
  if epoch_ended and (every.epochs and self.epoch - saved.epoch >= every.epochs
    or self.reason) then
    return true
  end
  return every.steps and self.steps - saved.step >= every.steps
    or every.seconds and core.clock() - saved.clock >= every.seconds or false
end

local SAME = {"samples", "batch", "shuffle", "drop_last"}

-- Raises unless a checkpoint is of this network, optimizer and data.
local function compare(self, where, path, there)
  local run, here = there.run, run_of(self)
  local function refuse(format, ...)
    core.error(("%s: %s is of another run: "):format(where, path) .. format:format(...)
      .. "; resume = false begins anew and replaces it")
  end
  local different = checkpoint.difference(there.model, self.net:state())
  if different then refuse("the network's %s", different) end
  if run.optimizer ~= here.optimizer then
    refuse("its optimizer is %s, this one is %s", tostring(run.optimizer), here.optimizer)
  end
  for _, name in ipairs(SAME) do
    if run[name] ~= here[name] then
      refuse("%s is %s there and %s here", name, tostring(run[name]), tostring(here[name]))
    end
  end
end

-- A whole number of the run's JSON, given as such or as text.
local function whole(where, path, run, name)
  local value = math.tointeger(tonumber(run[name]))
  if not value then
    core.error(("%s: %s: its %s is %s, expected a whole number"):format(where, path, name,
      check.show(run[name])))
  end
  return value
end

-- Tells when an op computes otherwise than when the checkpoint was written.
local function warn_of_versions(self, path, ops)
  for name, version in pairs(ops) do
    local info = core.op_info(name)
    if info and info.version ~= version then
      self.log:say(("%s was written with version %s of the op %s, this is version %d: the run will "
        .. "not have the same bits"):format(path, tostring(version), name, info.version))
    end
  end
end

-- A kill while a file is written leaves the unfinished one beside it.
local function remove_unfinished(path)
  local folder, name = path:match "^(.*/)([^/]*)$"
  folder, name = folder or "./", name or path
  for _, entry in ipairs(core.folder(folder) or {}) do
    if entry:sub(1, #name) == name and entry:sub(#name + 1):find "^%.%x+%.tmp$" then
      os.remove(folder .. entry)
    end
  end
end

-- Goes on from a checkpoint. Nothing changes when it does not fit.
local function resume(self, where, path)
  local there, why = checkpoint.read(path)
  if not there then core.error(("%s: cannot resume: %s"):format(where, why)) end
  compare(self, where, path, there)
  local run, at = there.run, {}
  for _, name in ipairs {"seed", "epoch", "position", "step", "step_in_epoch"} do
    at[name] = whole(where, path, run, name)
  end
  local seed, position = whole(where, path, run.random, 1), whole(where, path, run.random, 2)
  self.optimizer:load_state(there.optimizer)
  self.net:load(there.model)
  self.seed, self.epoch, self.position = at.seed, at.epoch, at.position
  self.steps, self.in_epoch, self.loss_sum = at.step, at.step_in_epoch, run.loss_sum + 0.0
  for i, row in ipairs(run.history) do self.history[i] = log.numbers(row) end
  self.history.confusion = run.confusion
  self.stopped_early = self.options.early_stop and run.stopped_early -- else it is told to go on
  if run.best then
    self.best = log.numbers(run.best)
    self.best.state = there.best
  end
  core.random_restore(seed, position)
  self.about.ops = there.ops
  remove_unfinished(path)
  return there
end

-- ---- steps ----------------------------------------------------------------------------------

local function compute_loss(self, batch)
  local output = self.options.forward(self.net, batch)
  local loss = self.options.loss(output, batch.y, batch)
  if not core.is_tensor(loss) or #loss.shape > 0 then
    check.fail("fit", "the loss", loss, "a scalar tensor")
  end
  return loss, output
end

-- The loss, a number, after a step by it.
local function train_on(self, batch)
  if self.takes_function then
    local loss = self.optimizer:step(function() return (compute_loss(self, batch)) end)
    return core.is_tensor(loss) and loss:item() or loss
  end
  local loss = compute_loss(self, batch)
  if not next(self.about.ops) and self.options.checkpoint then
    self.about.ops = versions_of(loss)
  end
  self.optimizer:step(loss)
  return loss:item()
end

-- The digests of the step's nodes where they are wanted, and the loss.
local function train_noted(self, batch)
  if self.options.fingerprint == "nodes" then return fingerprint.nodes(train_on, self, batch) end
  return nil, train_on(self, batch)
end

local function rate_of(self)
  return self.optimizer.rate and self.optimizer:rate() or self.optimizer.lr
end

local function call_back(self, name, ...)
  local fn = self.options.callbacks[name]
  if fn and fn(self, ...) == false then self:stop() end
end

-- The validation's loss and metrics.
local function judge(self)
  local o = self.options
  local meter, sum, n = metrics.meter(o.metrics), 0, 0
  local back = metrics.evaluating(self.net)
  local good, why = pcall(function()
    local batches <close> = o.valid:batches(o.valid_batches)
    for batch in batches do
      local loss, output = compute_loss(self, batch)
      if core.is_tensor(output) then core.eval(loss, output) end -- in one program
      local count = batch.x.shape[1]
      sum, n = sum + loss:item() * count, n + count
      meter:add(output, batch.y, count)
    end
  end)
  back()
  if not good then error(why, 0) end
  local values = meter:values()
  values.valid_loss = sum / n
  return values
end

-- Notes whether the epoch is the best so far, and whether there is no hope of a better one.
local function look_for_best(self, row)
  local o, stop = self.options, self.options.early_stop
  local value = row[o.monitor]
  if value == nil then
    local names = {}
    for name in pairs(row) do names[#names + 1] = name end
    table.sort(names)
    core.error(("fit: there is no %q to monitor, only %s"):format(o.monitor,
      table.concat(names, ", ")))
  end
  local sign, best, margin = o.mode == "max" and -1 or 1, self.best, stop and stop.min_delta or 0
  if not best or best.value ~= best.value or sign * value < sign * best.value - margin then
    self.best = {value = value, epoch = row.epoch, bad = 0}
    if stop and stop.restore then
      self.best.state = {}
      for name, t in pairs(self.net:state()) do self.best.state[name] = core.tensor(t) end
    end
  else
    best.bad = best.bad + 1
    if stop and best.bad > stop.patience then
      self.stopped_early, self.reason = true, "early stop"
      if best.state then self.net:load(best.state) end
    end
  end
  local schedule = rawget(self.optimizer, "schedule")
  if type(schedule) == "table" and schedule.report then schedule:report(value) end
end

local function end_epoch(self)
  local row = {epoch = self.epoch, step = self.steps, loss = self.loss_sum / self.position,
    lr = rate_of(self)}
  local seconds = core.clock() - self.began
  local confusion
  for name, value in pairs(self.options.valid and judge(self) or {}) do
    if type(value) == "number" then row[name] = value else confusion = value end
  end
  self.history[#self.history + 1], self.history.confusion = row, confusion
  close_batches(self)
  look_for_best(self, row)
  self.epoch, self.position, self.in_epoch, self.loss_sum = self.epoch + 1, 0, 0, 0.0
  if self.epoch > self.options.epochs and not self.stopped_early then self.reason = "done" end
  self.log:epoch(row, {seconds = seconds, confusion = confusion}, self.options.epochs)
  local monitor = self.options.monitor
  self.log:note(self.options.valid and ("%s %s  "):format(monitor,
    amounts.number(row[monitor], "%.4g")) or "")
  call_back(self, "epoch", row)
  if is_due(self, true) then save_run(self) end
  self.began = core.clock()
end

-- Raises when there is no way on from a loss.
local function check_loss(self, value)
  if value - value == 0 then return end
  local path = self.options.checkpoint
  core.error(("fit: the loss of step %d (epoch %d) is %s%s; mw.debug.nan() finds the op that it "
    .. "comes from, and a smaller lr or clip_norm may prevent it"):format(self.steps, self.epoch,
    log.plain(value), path and (", %s is of step %d"):format(path, self.saved.step) or ""))
end

local function make_step(self)
  local batch = next_batch(self)
  call_back(self, "batch", batch)
  local samples, lr = batch.x.shape[1], rate_of(self)
  local nodes, value = train_noted(self, batch)
  self.steps, self.in_epoch = self.steps + 1, self.in_epoch + 1
  self.position = self.position + samples
  check_loss(self, value)
  self.loss_sum = self.loss_sum + value * samples
  local row = {step = self.steps, epoch = self.epoch, loss = value, lr = lr}
  if self.options.fingerprint then fingerprint.add(row, self.net, nodes) end
  self.log:step(row, self.options.fingerprint)
  self.log:advance(samples, value)
  call_back(self, "step", value)
end

---Makes one step: takes a batch, updates the network, and ends the epoch with its last batch:
---judges by the validation set, tells, saves. After an error the next one goes on from there.
---@return boolean more false when the run is over
function Trainer:step()
  if self.epoch > self.options.epochs or self.stopped_early then return false end
  self.reason = nil
  if self.in_epoch < self.steps_in_epoch then make_step(self) end -- else the end failed before
  if self.in_epoch >= self.steps_in_epoch then
    end_epoch(self)
  elseif is_due(self, false) then
    save_run(self)
  end
  return self.reason == nil
end
Trainer.step = core.entry(Trainer.step)

---Ends run() after the step that is under way. A run that was stopped may go on.
---@param reason string? "stopped"
function Trainer:stop(reason)
  self.reason = self.reason or reason or "stopped"
end

-- ---- runs -----------------------------------------------------------------------------------

-- Tells where a run was left, and how it goes on.
local function tell_interrupted(self)
  local path = self.options.checkpoint
  self.log:say(("interrupted after step %d, in epoch %d of %d; %s"):format(self.steps,
    math.min(self.epoch, self.options.epochs), self.options.epochs,
    path and ("%s has it all: the same script goes on from it with resume = true"):format(path)
    or "the network is trained so far, and trainer:run() goes on: "
      .. "local history, trainer = mw.fit(...)"))
end

local function loop(self, between)
  while self:step() do
    local why = between(self)
    if why then
      self:stop(why == true and "interrupted" or why)
      break
    end
  end
  if self.reason == "interrupted" or self.reason == "stopped" then
    if self.options.checkpoint and self.saved.step < self.steps then save_run(self) end
  end
  local problem = self.saved.problem
  if problem then core.error("fit: no checkpoint was written: " .. problem) end
  if self.reason == "interrupted" then tell_interrupted(self) end
end

---Makes steps until the run is over, a callback stops it, or Ctrl-C: the step is finished then, the
---checkpoint written, and the network is trained so far. A second Ctrl-C ends the step too.
---@return table history
function Trainer:run()
  local watched = observer.of(self) -- which may refuse
  local listened = core.listen(true)
  self.began = core.clock()
  self.log:begin(self.options.epochs * #self.train,
    (self.epoch - 1) * #self.train + self.position, watched and watched.progress)
  local good, why = pcall(loop, self, watched and watched.between or core.interrupted)
  if not good then core.interrupted() end -- a Ctrl-C before the error ends no more than that has
  core.listen(listened)
  close_batches(self)
  self.log:line {kind = "end", step = self.steps, reason = good and self.reason or "error"}
  self.log:pause()
  if watched then watched.ended(self, not good and "error" or self.reason) end
  if not good then error(why, 0) end
  self.history.stopped, self.history.best = self.reason, self.best and self.best.epoch
  return self.history
end
Trainer.run = core.entry(Trainer.run)

function Trainer:__tostring()
  return ("trainer: epoch %d of %d, step %d"):format(math.min(self.epoch, self.options.epochs),
    self.options.epochs, self.steps)
end

-- ---- beginning ------------------------------------------------------------------------------

-- Whether to go on from a checkpoint that may be there. Never replaces one unless told to.
local function wants_resume(where, o)
  local file = o.checkpoint and io.open(o.checkpoint, "rb")
  if not file then return false end
  file:close()
  if o.resume == nil then
    core.error(("%s: %s is there already; resume = true goes on from it, resume = false begins "
      .. "anew and replaces it"):format(where, o.checkpoint))
  end
  return o.resume
end

local function new(where, net, train, given)
  local o = read_options.read(where, net, train, given)
  local goes_on = wants_resume(where, o)
  local per_epoch = steps_in_epoch(train, o)
  if per_epoch == 0 then
    core.error(("%s: the training set has %d samples, which make no batch of %d"):format(where,
      #train, o.batch))
  end
  local self = setmetatable({
    net = net, train = train, options = o, history = {}, epoch = 1, steps = 0, position = 0,
    in_epoch = 0, loss_sum = 0.0, steps_in_epoch = per_epoch, began = core.clock(),
    about = {ops = {}}, saved = {clock = core.clock(), step = 0, epoch = 1},
  }, Trainer)
  self.about.script, self.about.arguments = checkpoint.script()
  if not net.training then net:train() end
  self.optimizer = read_options.optimizer(where, net, train, o, given or {}, o.epochs * per_epoch)
  self.takes_function = rawget(self.optimizer, "evaluations") ~= nil -- LBFGS
  self.seed = o.batches.seed or core.random_seed()
  local there = goes_on and resume(self, where, o.checkpoint)
  self.log = log.open(where, o, there and self.steps)
  if self.stopped_early then self.reason = "early stop"
  elseif self.epoch > o.epochs then self.reason = "done" end
  if there then
    warn_of_versions(self, o.checkpoint, there.ops)
    self.log:say(("%s: %s, %s"):format(o.checkpoint, tostring(self),
      self.reason and "the run is over (" .. self.reason .. ")" or "goes on from there"))
  end
  self.saved.step, self.saved.epoch = self.steps, self.epoch
  self.log:line {kind = "start", step = self.steps, epochs = o.epochs, batch = o.batch,
    samples = #train, optimizer = tostring(self.optimizer), version = core.version}
  if o.checkpoint and not there then self:save() end -- raises where there is no way to write
  return self
end

local trainer = {load_checkpoint = checkpoint.read}

---A training run that makes a step when it is told to.
---@param net moonwalk.Module
---@param train moonwalk.Dataset
---@param options moonwalk.TrainerOptions?
---@return moonwalk.Trainer
function trainer.trainer(net, train, options)
  return new("trainer", net, train, options)
end

---Trains a network. Gives the history, a row for each epoch, and the trainer, which can go on.
---@param net moonwalk.Module
---@param train moonwalk.Dataset
---@param options moonwalk.TrainerOptions?
---@return table history
---@return moonwalk.Trainer trainer
function trainer.fit(net, train, options)
  local self = new("fit", net, train, options)
  return self:run(), self
end

return trainer
