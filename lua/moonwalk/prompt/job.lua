-- job.lua: trainings at the prompt. One runs in the coroutine of the line that began it, with
-- a live plot, until Ctrl-C lets it stand still between two steps. Any other key opens a line: what
-- is typed in it runs between two steps, while the training goes on between keystrokes.
--
-- The coroutine yields MARK, the job, and why: "key", "slice" (of the time between keystrokes),
-- "interrupted", "steps" (that were asked for were made), "over" (while a line is being typed).

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local input = require "moonwalk.prompt.input"
local live = require "moonwalk.look.live"
local output = require "moonwalk.prompt.output"
local screen = require "moonwalk.look.screen"

local job = {}

local MARK, INTERRUPTED = {}, {}
local SLICE, LOOK = 0.02, 0.01 -- seconds of steps between keystrokes, and until keys are looked for
local HINT = "Ctrl-C pauses, any other key opens a line"

---@class moonwalk.Job
---@field session moonwalk.Session
---@field task moonwalk.Task  in whose coroutine it runs
---@field trainer moonwalk.Trainer
---@field live moonwalk.Live?  where the terminal can show it
---@field outer moonwalk.Job?  a training that stood still when this one began
---@field paused boolean  it stands still, and the prompt is there
---@field pausing boolean?  it is to stand still
---@field reading boolean?  a line is being typed
---@field over boolean?  the training ended meanwhile
---@field ending table?  what the coroutine gave when it ended meanwhile
---@field stopping string?  why the training is to end
---@field left integer?  steps to make until it stands still
---@field slice_ends number?
---@field look_at number  when keys are looked for
---@field since number?  when it stood still
---@field loss number?  of the last step
---@field moved boolean?  something was printed above the line that is typed
---@field blank_rows integer?  below the plot when no line was typed
---@field parking string?  why a line was ended
---@field partial string  what was printed without a line's end
---@field asked integer?  entries there were when leaving was asked for

local function place(trainer)
  local epochs = trainer.options.epochs
  return ("step %d, in epoch %d of %d"):format(trainer.steps, math.min(trainer.epoch, epochs),
    epochs)
end

-- ---- what is printed ------------------------------------------------------------------------

-- Prints lines that a training or its callbacks have to say, clear of what is drawn.
local function print_lines(self, file, text)
  if self.reading then
    self.moved = true
    input.above(text)
  elseif self.live then
    self.live:say(text, file)
  else
    output.write(file, text .. "\n")
  end
end

local function take_output(self)
  output.through(function(file, text)
    text = self.partial .. text
    local whole, rest = text:match "^(.*)\n(.-)$"
    self.partial = rest or text
    if whole then print_lines(self, file, whole) end
  end)
end

local function release_output(self)
  output.through(nil)
  if self.partial ~= "" then output.write(io.stdout, self.partial .. "\n") end
  self.partial = ""
end

-- ---- in the training's coroutine ------------------------------------------------------------

-- Stands still; returns why the training is to end, or nil.
local function stand(self, why)
  core.stand(MARK, self, why) -- Ctrl-C is the prompt's meanwhile
  return self.stopping
end

local function poll(self)
  local idle = self.session:idle()
  local good, why = true, nil
  if idle then good, why = pcall(idle) end
  if not good then self.session:report(why) end
end

-- What happens between two steps.
local function between(self)
  if core.interrupted() then return stand(self, "interrupted") end
  if self.left then
    self.left = self.left - 1
    if self.left <= 0 then return stand(self, "steps") end
  end
  local now = core.clock()
  if self.reading then
    if now >= self.slice_ends then return stand(self, "slice") end
  elseif now >= self.look_at then
    self.look_at = now + LOOK
    poll(self)
    if input.typed() then return stand(self, "key") end
  end
  return self.stopping
end

-- Gives back what a training had of the terminal.
local function release(self)
  input.raw(false)
  release_output(self)
  if self.live then self.live:leave() end
  if self.session.job == self then self.session.job = self.outer end
end

local function ended(self)
  if self.reading then
    core.stand(MARK, self, "over")
    if self.live then
      self.live.frozen = false
      self.live:close(true)
    end
  end
  release(self)
  if self.outer then
    self.session:say(screen.paint("The training before it stands still after "
      .. place(self.outer.trainer) .. "; :resume goes on with it.", "dim"))
  end
end

local function can_draw(trainer)
  local kind = os.getenv "TERM" or ""
  return core.terminal "stdout" and kind ~= "" and kind ~= "dumb" and not trainer.options.quiet
end

-- Progress that is not shown.
local function silent(say)
  return {add = function() end, close = function() end, say = say}
end

---The observer of a training that begins at the prompt; nil where it cannot stand still: in a
---coroutine of the user's own, and where nobody could type.
---@param session moonwalk.Session
---@param trainer moonwalk.Trainer
---@return moonwalk.RunObserver?
function job.attach(session, trainer)
  local task, before = session.task, session.job
  if not task or coroutine.running() ~= task.thread or not core.terminal "stdin" then return nil end
  if before and not before.paused then
    if before.task ~= task then
      core.error "fit: a training is running; :pause lets it stand still, then another one can run"
    end
    return { -- in a callback of the other one
      progress = silent(function(_, text) print_lines(before, io.stderr, text) end),
      between = core.interrupted, ended = function() end,
    }
  end
  local self = {session = session, task = task, trainer = trainer, outer = before, paused = false,
    look_at = 0, partial = ""}
  if can_draw(trainer) then
    self.live = live.new(trainer, {hint = HINT, print = output.write,
      write = function(text) output.write(io.stdout, text) end})
  end
  session.job = self
  input.raw(true)
  take_output(self)
  return {
    progress = {
      add = function(_, samples, loss)
        self.loss = loss
        if self.live then self.live:add(samples, loss) end
      end,
      say = function(_, text) print_lines(self, io.stderr, text) end,
      close = function() if self.live then self.live:close() end end,
    },
    between = function() return between(self) end,
    ended = function() ended(self) end,
  }
end

-- ---- standing still -------------------------------------------------------------------------

local lent ---@type moonwalk.Trainer?  the last value of the variable `trainer` that is from here
local told_of_trainer = false

-- The chunk's local variables, which it hands over at its end only, and the trainer are there.
local function lend_variables(self)
  local session, task = self.session, self.task
  session.locals:rescue(task.thread, task.chunk.fn, task.chunk.names)
  local env = session.env
  if rawget(env, "trainer") == nil or rawget(env, "trainer") == lent then
    env.trainer, lent = self.trainer, self.trainer
  end
end

local function tell(self, why)
  local session, trainer = self.session, self.trainer
  if why == "steps" then
    local lr = trainer.optimizer.rate and trainer.optimizer:rate() or trainer.optimizer.lr
    session:say(("after %s%s%s"):format(place(trainer),
      self.loss and ": loss " .. amounts.number(self.loss, "%.5g") or "",
      type(lr) == "number" and (", lr %.4g"):format(lr) or ""))
    return
  end
  session:say("paused after " .. place(trainer))
  session:say(screen.paint(":resume goes on, :step 10 makes ten steps, :stop ends it", "dim"))
  if not told_of_trainer and rawget(session.env, "trainer") == trainer then
    told_of_trainer = true
    session:say(screen.paint("parameters and trainer.optimizer.lr may be changed", "dim"))
  end
end

-- Lets it stand still, and gives the prompt back.
local function park(self, why)
  if self.live then
    self.live.frozen = false
    self.live:close()
  end
  input.raw(false)
  release_output(self)
  self.paused, self.pausing, self.left, self.since = true, nil, nil, core.clock()
  lend_variables(self)
  tell(self, why)
end

local function skip(self, seconds)
  self.trainer.began = self.trainer.began + seconds
  if self.live then self.live:skip(seconds) end
end

-- Time in which the training stood still is not its own.
local function skip_time(self)
  if self.since then skip(self, core.clock() - self.since) end
  self.since = nil
end

local function go_on(self)
  skip_time(self)
  self.paused, self.asked = false, nil
  if self.live then self.live.frozen = false end
  input.raw(true)
  take_output(self)
  return self.session:advance(self.task)
end

-- ---- a line while it runs -------------------------------------------------------------------

-- What the training does between keystrokes: steps for a while.
local function idle_of(self)
  return function()
    if self.over or self.ending then
      poll(self)
      return 0.2
    end
    self.slice_ends = core.clock() + SLICE
    local results = table.pack(self.session:go(self.task))
    if results[2] ~= MARK then self.ending = results
    elseif results[4] == "over" then self.over = true
    elseif results[4] ~= "slice" then
      self.parking = results[4]
      error(INTERRUPTED, 0) -- ends the line
    end
    return 0
  end
end

-- Reads a line below the plot; nil when none was typed. self.pausing: by Ctrl-C or Ctrl-D.
local function read_line(self)
  local options = {idle = idle_of(self)}
  if input.kind() == "plain" then
    local why
    options.first, why = input.ahead()
    if not options.first or why then
      self.blank_rows, self.pausing = 0, why ~= nil
      return nil
    end
  end
  input.raw(false)
  self.reading, self.moved = true, false
  local good, text = pcall(require("moonwalk.prompt").read, self.session, options)
  self.reading = false
  if not good and text ~= INTERRUPTED then error(text, 0) end
  if not good or not text then
    self.pausing = true
    return nil
  end
  if text == "" and not self.moved then self.blank_rows = 1 end
  return text
end

-- Reads a line and runs it, and goes on.
local function take_line(self)
  local session, drawn = self.session, self.live
  if drawn then drawn.frozen = true end
  lend_variables(self)
  self.parking = nil
  self.blank_rows = nil -- what stands below the plot when nothing was typed
  local text = read_line(self)
  if drawn and not self.blank_rows then drawn:leave() end
  if drawn and self.blank_rows == 1 then drawn:adopt(2) end
  release_output(self)
  if text and text:find "%S" then
    self.since = core.clock()
    input.remember(text)
    session:run(text)
    skip_time(self)
  end
  if self.ending then
    return session:arrived(self.task, table.unpack(self.ending, 1, self.ending.n))
  end
  if self.pausing and not self.over then return park(self, self.parking or "interrupted") end
  return go_on(self)
end

-- ---- for the session ------------------------------------------------------------------------

---Whether a chunk yielded because a training in it stands still.
---@param mark any
---@return boolean
function job.takes(mark) return mark == MARK end

---Goes on with a task whose training stands still, or lets it.
---@param session moonwalk.Session
---@param task moonwalk.Task
---@param mark any  this and what follows was yielded
---@param self moonwalk.Job
---@param why string
---@return boolean? ok
function job.step(session, task, mark, self, why) -- luacheck: no unused args
  if why == "key" then return take_line(self) end
  return park(self, why)
end

---Forgets the training of a task that is over, however it came to be.
---@param session moonwalk.Session
---@param task moonwalk.Task
function job.forget(session, task)
  while session.job and session.job.task == task do
    core.listen(false)
    release(session.job)
  end
end

---Says that so many seconds between two steps went to something else than the training that runs.
---@param session moonwalk.Session
---@param seconds number
function job.not_counted(session, seconds)
  local self = session.job
  if self and not self.paused then skip(self, seconds) end
end

-- The training that there is; raises when there is none.
local function current(session)
  if not session.job then
    core.error "no training is running or standing still; mw.fit(net, train) begins one"
  end
  return session.job
end

---Lets the training stand still that goes on when the line is done.
---@param session moonwalk.Session
function job.pause(session)
  local self = current(session)
  if self.paused then
    session:say("the training stands still already, after " .. place(self.trainer))
  end
  self.pausing = not self.paused
end

---Goes on with a training that stands still: a function to call when the command is done.
---@param session moonwalk.Session
---@param steps integer?  to make until it stands still again
---@return function?
function job.resume(session, steps)
  local self = current(session)
  self.left = steps
  if steps and self.live then self.live:wait(0.5) end
  return self.paused and function() return go_on(self) end or nil
end

---Ends a training where it stands: its line goes on as if it had been done.
---@param session moonwalk.Session
---@return function?
function job.stop(session)
  local self = current(session)
  self.stopping = "stopped"
  return job.resume(session)
end

---Whether the prompt may be left now: with a training that stands still only when asked twice.
---@param session moonwalk.Session
---@return boolean
function job.may_leave(session)
  local self = session.job
  if not self or self.asked == #session.entries then return true end
  self.asked = #session.entries
  session:say(("a training stands still after step %d: Ctrl-D again leaves, :resume goes on")
    :format(self.trainer.steps))
  return false
end

return job
