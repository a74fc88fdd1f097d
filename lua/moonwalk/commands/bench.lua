-- commands/bench.lua: `moonwalk bench`: how fast each kernel of an op is, for calls of any shape.

local mw = require "moonwalk"
local core = mw.core
local check = require "moonwalk.check"
local cases = require "moonwalk.gate.cases"
local measure = require "moonwalk.measure"

local USAGE = [[
usage: moonwalk bench OP [ARGUMENTS] [OPTIONS]

Measures the calls of an op, forward and backward, with each of its kernels in turn:

  moonwalk bench conv2d "mw.randn{16,64,56,56}, mw.randn{64,64,3,3}, {padding=1}"
  moonwalk bench relu "mw.randn{1e6 // 1}" --threads 1,2 --dtype f32,f64

ARGUMENTS are Lua, what stands between the brackets of mw.OP(...); without them it is the op's
own example. "d x" is the gradient in the input x alone, as a kernel is asked for it.

  --threads LIST  numbers of threads: 1, and one for each processor
  --dtype LIST    f32, f64: what tensors of f32 become; f32
  --seconds X     for each measurement, at least: 0.2
  --plugin FILE   a library to load first

GFLOP/s count what the op says that its definition takes, a multiply-add as two; GB/s the arrays
that are read and written; peak is the share of the multiply-adds that so many threads could do.]]

local function fail(format, ...)
  io.stderr:write("moonwalk bench: ", format:format(...), "\n")
  os.exit(1, true)
end

local function usage_error(format, ...)
  io.stderr:write("moonwalk bench: ", format:format(...), "; see moonwalk bench --help\n")
  os.exit(2, true)
end

-- ---- what is asked for --------------------------------------------------------------------------

local function list_of(option, text, read)
  local list = {}
  for word in text:gmatch "[^,%s]+" do
    local value = read(word)
    if value == nil then usage_error("%s is %s", option, check.show(text)) end
    list[#list + 1] = value
  end
  if #list == 0 then usage_error("%s is empty", option) end
  return list
end

local function read_threads(word)
  local n = math.tointeger(tonumber(word))
  return n and n >= 1 and n <= 256 and n or nil
end

local function read_dtype(word)
  return (word == "f32" or word == "f64") and word or nil
end

local OPTIONS = {
  ["--threads"] = function(ask, text) ask.threads = list_of("--threads", text, read_threads) end,
  ["--dtype"] = function(ask, text) ask.dtypes = list_of("--dtype", text, read_dtype) end,
  ["--plugin"] = function(ask, text) ask.plugin = text end,
  ["--seconds"] = function(ask, text)
    ask.seconds = tonumber(text)
    if not (ask.seconds and ask.seconds >= 0 and ask.seconds <= 3600) then
      usage_error("--seconds is %s, expected a number", check.show(text))
    end
  end,
}

local function read_arguments(list)
  local most = core.threads()
  local ask = {threads = most > 1 and {1, most} or {1}, dtypes = {"f32"}, seconds = 0.2}
  local words, i = {}, 1
  while list[i] do
    local name, text = list[i]:match "^(%-%-[^=]+)=(.*)$"
    name = name or list[i]
    if OPTIONS[name] then
      if not text then
        i = i + 1
        text = list[i]
      end
      if not text then usage_error("%s wants a value", name) end
      OPTIONS[name](ask, text)
    elseif name:sub(1, 2) == "--" then
      local names = {}
      for option in pairs(OPTIONS) do names[#names + 1] = option end
      local near = check.near(name, names)
      usage_error("there is no option %s%s", name, near and ", did you mean " .. near .. "?" or "")
    else
      words[#words + 1] = list[i]
    end
    i = i + 1
  end
  ask.op, ask.arguments = words[1], words[2]
  if not ask.op then usage_error("it wants the name of an op") end
  if words[3] then usage_error("%s is too much", check.show(words[3])) end
  return ask
end

-- ---- what is measured ---------------------------------------------------------------------------

-- The names of an op's kernels for a dtype, best first.
local function kernels_of(op, dtype)
  local list = {}
  for name, served in core.kernel_list(op):gmatch "([^\n ]+) (%w+) [^\n]*" do
    if served == dtype or served == "every" then list[#list + 1] = name end
  end
  return #list > 0 and list or {"composed"} -- of other ops, whose kernels run
end

-- Which calls of an op there are to measure: forward, and the gradient in each input. A direction
-- has the tensors of its program, and `counts`, which says whose steps of it are measured.
local function directions_of(case)
  local op, ys = case.op, cases.outputs(case)
  local list = {{name = "forward", tensors = ys, counts = function() return true end}}
  local y = ys[1]
  if not op.differentiable or (y.dtype ~= "f32" and y.dtype ~= "f64") then return list end
  local dy = core.normal(y.shape, 0, 1, y.dtype):eval()
  for i, x in ipairs(case.tensors) do
    if x.dtype == "f32" or x.dtype == "f64" then
      local tensors, backward, own = core.grad(y, {x}, dy), op.name .. ".backward", false
      for _, step in ipairs(core.costs(tensors).steps) do own = own or step.op == backward end
      list[#list + 1] = {name = "d " .. cases.input_name(case, i), tensors = tensors,
        by_formula = not own,
        counts = function(step)
          if own then return step.op == backward end
          return step.op ~= op.name -- what the derivative needs of forward is not its work
        end}
    end
  end
  return list
end

-- For how long at least one of the counted steps ran: where a program runs them part by part,
-- several threads do at once.
local function busy_seconds(profile, counted)
  local spans, order = profile.spans, {}
  for i = 1, #spans, 4 do
    if counted[spans[i]] then order[#order + 1] = i end
  end
  table.sort(order, function(i, j) return spans[i + 2] < spans[j + 2] end)
  local busy, reached = 0, 0
  for _, i in ipairs(order) do
    local begin, finish = math.max(spans[i + 2], reached), spans[i + 2] + spans[i + 3]
    busy, reached = busy + math.max(finish - begin, 0), math.max(finish, reached)
  end
  return busy
end

-- Seconds of the counted steps in each run of a program; and their FLOPs, bytes, and kernel.
local function time_steps(direction, seconds)
  local program = core.program(direction.tensors)
  local times, cost = {}, nil
  local function run()
    core.profile_start()
    local succeeded, message = pcall(core.program_run, program)
    local profile, counted = core.profile_stop(), {}
    if not succeeded then error(message, 0) end
    cost = {flops = 0, bytes = 0}
    for i, step in ipairs(profile.steps) do
      counted[i] = direction.counts(step)
      if counted[i] then
        cost.flops, cost.bytes = cost.flops + step.flops, cost.bytes + step.bytes
        cost.kernel = step.kernel
      end
    end
    times[#times + 1] = busy_seconds(profile, counted)
  end
  measure.times(run, seconds)
  table.remove(times, 1) -- it touches memory for the first time
  return times, cost
end

local function row_of(ask, direction, kernel, threads, dtype)
  core.threads(threads)
  local succeeded, times, cost = pcall(time_steps, direction, ask.seconds)
  local begin = {direction.name, kernel, tostring(threads), dtype}
  if not succeeded then
    begin[5] = times
    return begin
  end
  local own = kernel ~= "composed" and kernel ~= "formula"
  if own and cost.kernel ~= kernel then return nil end -- it does not serve this call
  local median, busy = measure.median(times), cost.flops > 0
  local peak = measure.peak(threads) / (dtype == "f64" and 2 or 1)
  return table.move({measure.time_text(median), ("%.1f %%"):format(100 * measure.spread(times)),
    busy and measure.digits(cost.flops / median / 1e9) or "-",
    measure.digits(cost.bytes / median / 1e9),
    busy and ("%.1f %%"):format(100 * cost.flops / median / peak) or "-"}, 1, 5, 5, begin)
end

local HEADING = {"", "kernel", "threads", "dtype", "median", "spread", "GFLOP/s", "GB/s", "peak"}

local function bench(ask)
  local op = core.op_info(ask.op)
  if not op then
    local near = core.near(ask.op)
    fail("there is no op %s%s", check.show(ask.op), near and (", did you mean %s?"):format(near)
      or "; mw.help() lists them")
  end
  local text = ask.arguments and ("mw.%s(%s)"):format(ask.op, ask.arguments) or op.example
  local rows = {HEADING}
  for _, dtype in ipairs(ask.dtypes) do
    local read, case = pcall(cases.read, op, text, dtype)
    if not read then fail("%s", case) end
    local built, directions = pcall(directions_of, case)
    if not built then fail("%s", directions) end
    for _, direction in ipairs(directions) do
      local kernels = direction.by_formula and {"formula"} or kernels_of(ask.op, dtype)
      for _, kernel in ipairs(kernels) do
        if kernel ~= "formula" and kernel ~= "composed" then
          core.kernel_prefer(ask.op, kernel)
        end
        for _, threads in ipairs(ask.threads) do
          rows[#rows + 1] = row_of(ask, direction, kernel, threads, dtype)
        end
      end
    end
  end
  print(text)
  print(measure.machine())
  print ""
  print(measure.table_text(rows, {1, 2}))
end

local list = {...}
for _, word in ipairs(list) do
  if word == "--help" or word == "-h" then
    print(USAGE)
    os.exit(0, true)
  end
end
local ask = read_arguments(list)
if ask.plugin then
  local loaded, problem = pcall(core.plugin_load, ask.plugin)
  if not loaded then fail("%s", problem) end
end
bench(ask)
