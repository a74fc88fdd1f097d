-- tap.lua: what a Lua test needs to speak TAP, the protocol that prove reads.
--
--   local t = require "tap"
--   t.is(1 + 1, 2, "addition")
--   t.done()

local tap = {}

local count, failures = 0, 0

local function line(passed, name)
  count = count + 1
  if not passed then failures = failures + 1 end
  print(("%sok %d - %s"):format(passed and "" or "not ", count, tostring(name or "")))
  io.stdout:flush()
  return passed
end

local function note(...)
  local text = table.concat({...}, " ")
  print("# " .. text:gsub("\n", "\n# "))
end

local function show(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if math.type(value) == "float" then return ("%.17g"):format(value) end
  if type(value) ~= "table" or getmetatable(value) then return tostring(value) end
  local parts = {}
  for i, item in ipairs(value) do parts[i] = show(item) end
  for key, item in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      parts[#parts + 1] = tostring(key) .. " = " .. show(item)
    end
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

---Passes when `passed` is neither false nor nil.
---@param passed any
---@param name string
---@return boolean
function tap.ok(passed, name)
  return line(passed and true or false, name)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  if rawequal(a, b) then return true end
  if getmetatable(a) or getmetatable(b) then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

---Passes when both are equal; plain tables are compared by their contents.
---@param got any
---@param want any
---@param name string
---@return boolean
function tap.is(got, want, name)
  local passed = line(same(got, want), name)
  if not passed then note("got " .. show(got) .. "\nwant " .. show(want)) end
  return passed
end

-- The worst difference of two numbers or nested tables, and where; nil when shapes differ.
local function distance(got, want, place)
  if type(got) == "number" and type(want) == "number" then
    if got == want or (got ~= got and want ~= want) then return 0, place end
    local gap = math.abs(got - want)
    return gap == gap and gap or math.huge, place
  end
  if type(got) ~= "table" or type(want) ~= "table" or #got ~= #want then return nil, place end
  local worst, worst_place = 0, place
  for i = 1, #want do
    local gap, at = distance(got[i], want[i], place .. "[" .. i .. "]")
    if not gap then return nil, at end
    if gap > worst then worst, worst_place = gap, at end
  end
  return worst, worst_place
end

---Passes when numbers, or all numbers of nested tables, differ by `tolerance` at most.
---NaN is near NaN alone.
---@param got number|table
---@param want number|table
---@param tolerance number
---@param name string
---@return boolean
function tap.near(got, want, tolerance, name)
  local gap, place = distance(got, want, "")
  local passed = line(gap ~= nil and gap <= tolerance, name)
  if not gap then
    note("not of one form at " .. place .. "\ngot " .. show(got) .. "\nwant " .. show(want))
  elseif not passed then
    local a, b = got, want
    for index in place:gmatch("%d+") do a, b = a[tonumber(index)], b[tonumber(index)] end
    note(("at %s got %s, want %s, tolerance %g"):format(place, show(a), show(b), tolerance))
  end
  return passed
end

---Passes when fn raises an error whose message matches the Lua pattern. Gives the message back.
---@param fn function
---@param pattern string
---@param name string
---@return string? message
function tap.error(fn, pattern, name)
  local succeeded, message = pcall(fn)
  message = tostring(message)
  local passed = line(not succeeded and message:find(pattern) ~= nil, name)
  if succeeded then
    note("no error was raised")
  elseif not passed then
    note("got " .. message .. "\nwant " .. pattern)
  end
  if not succeeded then return message end
end

---Passes when fn(...) raises an error that has the text in it, which names the test too. Gives the
---error back.
---@param text string
---@param fn function
---@return any? problem
function tap.refuses(text, fn, ...)
  local succeeded, problem = pcall(fn, ...)
  local passed = line(not succeeded and tostring(problem):find(text, 1, true) ~= nil, text)
  if succeeded then
    note("no error was raised")
  elseif not passed then
    note("got " .. tostring(problem))
  end
  if not succeeded then return problem end
end

---Counts a test that cannot run here, and says why.
---@param name string
---@param why string
function tap.skip(name, why)
  count = count + 1
  print(("ok %d - %s # SKIP %s"):format(count, name, why))
end

---Prints the plan and leaves with the status that prove expects.
function tap.done()
  print("1.." .. count)
  os.exit(failures == 0, true)
end

return tap
