-- tune.lua: mw.tune, the choice among an op's kernels by what they take.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local shell = require "moonwalk.shell"

local current = {mode = "off"}

---@class moonwalk.Choice
---@field op string
---@field direction string  "forward", "forward+saved" (for a backward that follows), "backward"
---@field call string  op, version, direction, attributes, shapes; "!": not there, or not wanted
---@field machine string  instruction level, threads, processor
---@field kernel string  the fastest
---@field seconds number  what it took
---@field times table<string, number>  seconds by kernel; none for one not worth measuring

---@class moonwalk.Choices
---@field [integer] moonwalk.Choice
---@field mode "off"|"measure"|"pinned"
---@field file string?  of the table
---@field note string?  what of the file was ignored or could not be written, and why
local Choices = {}
Choices.__index = Choices
Choices.__name = "moonwalk.Choices"

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function read_choice(line)
  local call, machine, rest = line:match "^([^\t]+)\t([^\t]+)\t(.+)$"
  local choice = {call = call, machine = machine, times = {}}
  choice.op, choice.direction = call:match "^(%S+) %S+ (%S+)"
  for name, time in rest:gmatch "([^\t@]+)@[^\t=]*=([^\t]+)" do
    name = unescape(name)
    choice.times[name] = tonumber(time) and tonumber(time) * 1e-9
    choice.kernel = choice.kernel or name
  end
  choice.seconds = choice.times[choice.kernel]
  return choice
end

local function choices()
  local text, note = core.tuned()
  local list = setmetatable({mode = current.mode, file = current.file,
    note = note ~= "" and note or nil}, Choices)
  for line in text:gmatch "[^\n]+" do list[#list + 1] = read_choice(line) end
  return list
end

-- The shapes of a call that are there: "f32[64,1,28,28] f32[6,1,5,5]".
local function inputs_of(choice)
  return (choice.call:match " in (.-) out ":gsub(" ?!?none", ""):gsub("!", ""))
end

-- Others by time: "plain 812.0 us".
local function others_of(choice)
  local names, parts = {}, {}
  for name in pairs(choice.times) do names[#names + 1] = name end
  table.sort(names, function(a, b) return choice.times[a] < choice.times[b] end)
  for i = 2, #names do
    parts[#parts + 1] = ("%s %.1f"):format(names[i], choice.times[names[i]] * 1e6)
  end
  return table.concat(parts, ", ")
end

function Choices:__tostring()
  local first = {off = "kernels by priority", pinned = "kernels as pinned",
    measure = "kernels by measuring"}
  local lines = {("%s%s; %d calls known"):format(first[self.mode],
    self.file and " in " .. self.file or "", #self)}
  if self.note then lines[#lines + 1] = self.note end
  for _, c in ipairs(self) do
    local others = others_of(c)
    lines[#lines + 1] = ("%-8s %9.1f us  %s %s %s%s"):format(c.kernel, (c.seconds or 0) * 1e6, c.op,
      c.direction, inputs_of(c), others ~= "" and "  (" .. others .. ")" or "")
  end
  return table.concat(lines, "\n")
end

-- Where the table is unless the user says otherwise, in a folder that is there; nil without a home.
local function default_file()
  local cache = shell.folder "cache"
  if not cache then return nil end
  core.make_folder(cache)
  return cache .. "/kernels.txt"
end

local function options_of(on)
  if on == false then return {mode = "off"} end
  if on == true then return {mode = "measure", file = default_file()} end
  if type(on) == "string" then return {mode = "pinned", file = on} end
  local o = check.options("tune", on, {"file", "budget", "pinned"})
  if o.file ~= nil and o.file ~= false and type(o.file) ~= "string" then
    check.fail("tune", "file", o.file, "a path, or false for none")
  end
  if o.pinned ~= nil and type(o.pinned) ~= "boolean" then
    check.fail("tune", "pinned", o.pinned, "true or false")
  end
  local file = o.file
  if file == nil then file = default_file() end
  if o.pinned and not file then core.error "tune: there is no file to pin" end
  return {mode = o.pinned and "pinned" or "measure", file = file or nil,
    budget = check.number("tune", "budget", o.budget, 0, math.huge, 0)}
end

---Lets programs that are compiled from now on take, for each call, the kernel that is the fastest
---here: each kernel that supports it is timed once, on memory of its own, and the choice is kept in
---a file in the cache folder ($XDG_CACHE_HOME or ~/.cache). Kernels round differently, so that the
---last bits of results may depend on the choice, and the choice on the machine and on its mood; a
---file that is pinned keeps it.
---
---    mw.tune(true)                               -- measure what is not in the file yet
---    mw.tune {file = "net.kernels", budget = 5}  -- a file of its own; 5 seconds at most
---    mw.tune "net.kernels"                       -- pinned: as the file says, nothing is measured
---    mw.tune(false)                              -- by priority, as it is at first
---    print(mw.tune())                            -- what is known, with times
---
---@param on? boolean|string|{file?: string|false, budget?: number, pinned?: boolean}
---@return moonwalk.Choices
local function tune(on)
  if on ~= nil then
    local o = options_of(on)
    core.tune(o.mode, o.file or nil, o.budget)
    current = o
  end
  return choices()
end

return tune
