-- log.lua: what a run tells: lines of JSON, TensorBoard's curves, a line in the terminal.
--
-- A line of the log is an object with a `kind`: "start", "step" (step, epoch, loss, lr, and hashes
-- with fingerprints), "epoch" (what the history has, and seconds) or "end". What is no number to
-- JSON is a text: "nan", "inf", "-inf".

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local tensorboard = require "moonwalk.trainer.tensorboard"
local terminal = require "moonwalk.terminal"

---@class moonwalk.RunLog
local Log = {}
Log.__index = Log

local log = {}

-- ---- JSON -----------------------------------------------------------------------------------

local NAMES = {nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge}

---A value as JSON takes it.
function log.plain(value)
  if type(value) == "number" and (value ~= value or value - value ~= 0) then
    return value ~= value and "nan" or value > 0 and "inf" or "-inf"
  elseif type(value) == "table" then
    local copy = {}
    for key, item in pairs(value) do copy[key] = log.plain(item) end
    return copy
  end
  return value
end

---A row of numbers as it was before log.plain.
function log.numbers(row)
  local copy = {}
  for key, value in pairs(row) do copy[key] = NAMES[value] or value end
  return copy
end

-- The text of a log without what a run that goes on behind `step` will write again: the step's own
-- lines stay, and so does that of an epoch which ended with it.
local function kept_lines(text, step)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do -- a last line without an end was cut off
    local row = core.json_decode(line)
    local own = type(row) == "table" and math.tointeger(row.step)
    if not own or own > step then break end
    lines[#lines + 1] = line .. "\n"
  end
  return table.concat(lines)
end

-- Opens a log: a new one, or the one that is there, behind a step.
local function open(path, step)
  if step then
    local old = io.open(path, "rb")
    local text = old and kept_lines(old:read "a", step)
    if old then old:close() end
    if text then
      local temporary = path .. ".tmp"
      local file, why = io.open(temporary, "wb")
      if not file then return nil, why end
      local written = file:write(text)
      if not (file:close() and written) then return nil, temporary .. ": cannot be written" end
      local renamed, problem = os.rename(temporary, path)
      if not renamed then return nil, problem end
      return io.open(path, "ab")
    end
  end
  return io.open(path, "wb")
end

-- ---- what is told ---------------------------------------------------------------------------

---Opens what the options ask for; raises when it cannot be.
---@param where string
---@param o table the trainer's options
---@param step integer? the run goes on behind this step
---@return moonwalk.RunLog
function log.open(where, o, step)
  local self = setmetatable({quiet = o.quiet, every = o.log_every}, Log)
  local why
  if o.log then
    self.file, why = open(o.log, step)
    if not self.file then core.error(("%s: the log: %s"):format(where, why)) end
  end
  if o.tensorboard then
    self.events, why = tensorboard.open(o.tensorboard, step)
    if not self.events then core.error(("%s: tensorboard: %s"):format(where, why)) end
  end
  return self
end

function Log:line(row)
  if self.file then self.file:write(core.json_encode(log.plain(row)), "\n") end
end

---Tells of a step.
---@param row table step, epoch, loss, lr
---@param always boolean? whatever log_every is
function Log:step(row, always)
  if not (self.file or self.events) then return end
  if row.step % self.every ~= 0 and not always then return end
  row.kind = "step"
  self:line(row)
  if self.events then self.events:scalars(row.step, {loss = row.loss, lr = row.lr}) end
end

local FIRST = {epoch = 1, step = 2, loss = 3, valid_loss = 4}

---A row of the history as a text: "epoch 3/10  loss 0.0412  valid_loss 0.05  accuracy 0.9871".
function log.text(row, epochs)
  local names, parts = {}, {("epoch %d/%d"):format(row.epoch, epochs)}
  for name, value in pairs(row) do
    if type(value) == "number" and name ~= "epoch" and name ~= "step" then
      names[#names + 1] = name
    end
  end
  table.sort(names, function(a, b)
    local x, y = FIRST[a] or 9, FIRST[b] or 9
    if x ~= y then return x < y end
    return a < b
  end)
  for _, name in ipairs(names) do
    parts[#parts + 1] = name .. " " .. amounts.number(row[name], "%.5g")
  end
  return table.concat(parts, "  ")
end

---Tells of an epoch.
---@param row table of the history
---@param more table seconds, confusion
---@param epochs integer
function Log:epoch(row, more, epochs)
  local line, curves = {kind = "epoch"}, {["epoch/seconds"] = more.seconds}
  for name, value in pairs(row) do
    line[name] = value
    if name ~= "epoch" and name ~= "step" then curves["epoch/" .. name] = value end
  end
  for name, value in pairs(more) do line[name] = value end
  self:line(line)
  if self.events then self.events:scalars(row.step, curves) end
  self:flush()
  self:say(("%s  (%.1f s)"):format(log.text(row, epochs), more.seconds))
end

---Prints a line on standard error, and the progress again below it.
function Log:say(text)
  if self.quiet then return end
  if self.progress then return self.progress:say(text) end
  io.stderr:write(text, "\n")
  io.stderr:flush()
end

---Shows the progress where there is a terminal.
---@param total integer samples of the whole run
---@param done integer
---@param progress table?  what shows it in place of terminal.progress, by the same methods
function Log:begin(total, done, progress)
  if not self.quiet then self.progress = progress or terminal.progress(total, done) end
end

---@param samples integer
---@param loss number
function Log:advance(samples, loss)
  if self.progress then self.progress:add(samples, loss) end
end

---What the progress shows behind the loss.
function Log:note(text)
  if self.progress then self.progress.note = text end
end

function Log:pause()
  if self.progress then self.progress:close() end
  self.progress = nil
  self:flush()
end

function Log:flush()
  if self.file then self.file:flush() end
  if self.events then self.events:flush() end
end

return log
