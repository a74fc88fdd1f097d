-- gate.lua: the conformance gate: whether a plugin keeps the contract of moonwalk.h, found out in
-- processes of their own. What is looked at is in gate/checks.lua.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local shell = require "moonwalk.shell"

local gate = {}

local RULES = 2 -- grows when the gate's judgement changes: old verdicts count no more
-- Of the processor, that an op's tests may take; a kernel that does not come back takes them all.
local SECONDS = tonumber(os.getenv "MOONWALK_GATE_SECONDS") or 10

---@class gate.Check
---@field check string  "bounds"
---@field passed boolean
---@field skipped boolean?
---@field text string  what was found
---@field seconds number

---@class gate.Report
---@field path string?  of the library
---@field passed boolean
---@field cached boolean  whether the verdict is an earlier one, of the same file
---@field seconds number  that it took
---@field message string?  what failed first
---@field ops {op: string, kernel: string?, passed: boolean, checks: gate.Check[]}[]

-- Processes ---------------------------------------------------------------------------------------

-- "squareplus crashed with signal 11 (SIGSEGV) in forward on x f32[3]: it wrote past the end of y"
local function ending(name, finish, seconds)
  local who = finish.op or name
  local doing = finish.doing and " in " .. finish.doing or ""
  if finish.late then
    return ("%s did not come back within %g s%s"):format(who, seconds, doing)
  elseif finish.signal then
    return ("%s crashed with signal %d (%s)%s%s"):format(who, finish.signal,
      finish.signal_name or "?", doing, finish.fault and ": " .. finish.fault or "")
  elseif finish.status == 2 and finish.fault then
    return finish.fault
  end
  return ("%s ended the program with exit(%d)%s"):format(who, finish.status, doing)
end

-- The path spelt so as nobody does. A library of that name may be loaded here, from a file that has
-- been built anew since: the new process, which begins as a copy of this one, would be given it.
local function spelt_anew(path)
  local folder, name = path:match "^(.*/)([^/]*)$"
  return (folder or "./") .. ".//./" .. (name or path)
end

local function replace(text, what, by)
  return text and (text:gsub(what:gsub("%p", "%%%0"), (by:gsub("%%", "%%%%"))))
end

---Does a job in a process of its own.
---@param job table see checks.run
---@param name string who it was if it is not known better
---@param seconds number that it may take
---@return table[] said
---@return string? problem  how it ended, unless it did all its work
---@return boolean late  whether it took too long, which another time it may not
function gate.run(job, name, seconds)
  local path = job.path
  local spelling = path and spelt_anew(path)
  job.path = spelling
  local said, finish = core.gate_child(core.json_encode(job), seconds)
  if path then
    said, finish.fault = replace(said, spelling, path), replace(finish.fault, spelling, path)
  end
  local list, done = {}, false
  for line in said:gmatch "([^\n]*)\n" do
    local item = core.json_decode(line)
    list[#list + 1] = item
    done = done or item.done
  end
  return list, not done and ending(name, finish, seconds) or nil, finish.late
end

---What is in a library, without loading it here: {abi, version, ops, kernels}, or nil and why it
---cannot be loaded.
---@param path string
---@param seconds? number
---@param help? boolean  with the text that mw.help has for each op
function gate.list(path, seconds, help)
  local said, problem = gate.run({list = true, path = path, help = help}, "it",
    seconds or SECONDS)
  if problem then return nil, problem end
  return said[1]
end

-- The verdict on one op, or on one kernel of it.
local function test_one(path, overrides, target, seconds)
  local start = core.clock()
  local said, problem, late = gate.run({path = path, overrides = overrides, op = target.op,
    kernel = target.kernel}, target.op, seconds)
  local result = {op = target.op, kernel = target.kernel, passed = not problem, late = late,
    checks = {}}
  local begun, known = nil, 0
  for _, item in ipairs(said) do
    if item.passed ~= nil then
      result.checks[#result.checks + 1] = item
      result.passed = result.passed and item.passed
      begun, known = nil, known + item.seconds
    elseif item.check then
      begun = item.check
    end
  end
  if problem then
    table.insert(result.checks, {check = begun or "load", passed = false, text = problem,
      seconds = core.clock() - start - known})
  end
  return result
end

-- Verdicts ----------------------------------------------------------------------------------------

local function verdict_path(path, overrides, seconds)
  local cache, bytes = shell.folder "cache", compiler.read(path)
  if not cache or not bytes then return nil end
  local key = table.concat({bytes, core.version, compiler.hash(compiler.headers()), RULES, seconds,
    overrides and "overrides" or ""}, "\0")
  return ("%s/verdicts/%s.json"):format(cache, compiler.hash(key))
end

local function known_verdict(path)
  local text = path and compiler.read(path)
  local succeeded, report = pcall(core.json_decode, text or "")
  return succeeded and type(report) == "table" and report.ops and report or nil
end

-- It is no harm when it cannot be written.
local function keep_verdict(path, report)
  if not path or not core.make_folder(path:match "(.*)/") then return end
  local file = io.open(path .. ".new", "wb")
  if not file then return end
  local written = file:write(core.json_encode(report))
  if file:close() and written then os.rename(path .. ".new", path) end
end

-- Testing -----------------------------------------------------------------------------------------

local function finish_report(report)
  for _, op in ipairs(report.ops) do
    report.passed = report.passed and op.passed
    report.late = report.late or op.late
    for _, item in ipairs(op.checks) do
      if not item.passed and not report.message then
        report.message = ("%s: %s"):format(item.check, item.text)
      end
    end
  end
  return report
end

local function test_library(path, overrides, seconds, progress)
  local report = {passed = true, ops = {}}
  local said, problem, late = gate.run({list = true, path = path, overrides = overrides}, "it",
    seconds)
  if problem then
    report.passed, report.message, report.late = false, problem, late
    return report
  end
  local content = said[1]
  local targets = {}
  for i, op in ipairs(content.ops) do targets[i] = {op = op.name} end
  table.move(content.kernels, 1, #content.kernels, #targets + 1, targets)
  for i, target in ipairs(targets) do
    if progress then progress(target.op, i, #targets) end
    report.ops[i] = test_one(path, overrides, target, seconds)
  end
  return finish_report(report)
end

local function test_names(names, seconds)
  local report = {passed = true, ops = {}}
  for i, name in ipairs(names) do
    check.text("plugin.test", ("name %d"):format(i), name)
    if not core.op_info(name) then
      local near = core.near(name)
      core.error(("plugin.test: there is no op '%s'%s"):format(name,
        near and ("; did you mean '%s'?"):format(near) or ""))
    end
    local origin = core.plugin_origin(name)
    local is_library = origin ~= "shipped" and compiler.read(origin) ~= nil
    if origin ~= "shipped" and not is_library and not core.op_info(name).composed then
      core.error(("plugin.test: %s is from %s, which another process cannot load"):format(name,
        origin))
    end
    report.ops[i] = test_one(is_library and origin or nil, true, {op = name}, seconds)
  end
  return finish_report(report)
end

---Tests whether the ops of a plugin keep their contract, in processes of their own: what is wrong
---with them does no harm here. The plugin is not loaded. The verdict on a file is kept in the cache
---folder.
---
---    local report = mw.plugin.test "squareplus.so"
---    if not report.passed then print(report.message) end
---
---@param what string|string[]  a library, or names of ops that are registered
---@param options? {again: boolean?, seconds: number?, override: boolean?, progress: function?}
---  again: do not ask the cache; seconds: that each op may take (10); override: its ops may take
---  the place of shipped ones; progress: called before each op with its name, its number and how
---  many there are
---@return gate.Report
function gate.test(what, options)
  options = check.options("plugin.test", options, {"again", "seconds", "override", "progress"})
  local again = check.boolean("plugin.test", "again", options.again, false)
  local seconds = check.number("plugin.test", "seconds", options.seconds, 0.001, 86400, SECONDS)
  local overrides = check.boolean("plugin.test", "override", options.override, false)
  local start = core.clock()
  if type(what) == "table" then
    local report = test_names(what, seconds)
    report.cached, report.seconds = false, core.clock() - start
    return report
  end
  check.path("plugin.test", "the path", what)
  local kept = verdict_path(what, overrides, seconds)
  local report = not again and known_verdict(kept) or nil
  local cached = report ~= nil
  report = report or test_library(what, overrides, seconds, options.progress)
  if not cached and not report.late then keep_verdict(kept, report) end
  report.path, report.cached, report.seconds = what, cached, core.clock() - start
  local message = report.message
  if message and message:sub(1, #what + 1) ~= what .. ":" then
    report.message = what .. ": " .. message
  end
  return report
end

-- The report in words -----------------------------------------------------------------------------

local function name_of(op)
  return op.kernel and ("%s/%s"):format(op.op, op.kernel) or op.op
end

local function line_of(op, item, width)
  local verdict = item.skipped and "skip" or item.passed and "ok" or "FAIL"
  local name = name_of(op)
  return ("%-4s  %s%s  %-12s %7.1f ms  %s"):format(verdict, name, (" "):rep(width - #name),
    item.check, 1000 * item.seconds, item.text or "")
end

---A line for each check, and a summary.
---@param report gate.Report
---@return string
function gate.text(report)
  local lines, failed, passed, skipped, width = {}, 0, 0, 0, 0
  for _, op in ipairs(report.ops) do width = math.max(width, #name_of(op)) end
  for _, op in ipairs(report.ops) do
    for _, item in ipairs(op.checks) do
      lines[#lines + 1] = line_of(op, item, width)
      if not item.passed then failed = failed + 1
      elseif item.skipped then skipped = skipped + 1
      else passed = passed + 1 end
    end
  end
  if #report.ops == 0 then lines[1] = "FAIL  " .. (report.message or "it registers nothing") end
  lines[#lines + 1] = ("%s: %s; %d checks passed, %d failed, %d skipped, in %.2f s%s"):format(
    report.path or "ops", report.passed and "passed" or "FAILED", passed, failed, skipped,
    report.seconds, report.cached and " (known from an earlier test of the same file)" or "")
  return table.concat(lines, "\n")
end

return gate
