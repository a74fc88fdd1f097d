-- run.lua: `make bench`: measures Moonwalk and what is installed of PyTorch, oneDNN and OpenBLAS,
-- in turn and in processes of their own; prints a table and writes JSON. docs/performance.md tells
-- what is in it.

package.path = (arg[0]:match "^(.*/)" or "./") .. "?.lua;" .. package.path

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local measure = require "moonwalk.measure"
local shell = require "moonwalk.shell"
local asked = require "asked"
local networks = require "networks"
local report_of = require "report"
local workloads = require "workloads"

local args = cli.parse(arg, [[
run.lua: what `make bench` runs.
  --build FOLDER   where Moonwalk is built [build]
  --only TEXT      workloads whose names have one of these words in them, with commas between
  --rounds N       of each workload [7]
  --seconds X      of each round [0.3]
  --steps N        of training, to compare losses after [100]
  --out FILE       for the results, as JSON
  --recorded FILE  the reference kernels' losses [tests/bench/losses.json]
  --alone          nothing but Moonwalk
  --record         compute the reference kernels' losses, and nothing else]])

local FOLDER = arg[0]:match "^(.*)/" or "."
local HERE = args.build .. "/bench" -- where oneDNN's and OpenBLAS's programs are built
local TOLERANCE = 0.02 -- of a loss after 100 steps: float32 in another order

local function note(format, ...)
  io.stderr:write(format:format(...), "\n")
end

local temporary = os.tmpname() -- a folder for what PyTorch begins with
os.remove(temporary)
assert(os.execute("mkdir -m 700 " .. shell.quote(temporary)))

local function finish(status)
  os.execute("rm -rf " .. shell.quote(temporary))
  os.exit(status, true)
end

local function fail(format, ...)
  note("bench: " .. format, ...)
  finish(1)
end

-- ---- the processes ----------------------------------------------------------------------------

local function with_threads(threads, command)
  return ("env OMP_NUM_THREADS=%d OPENBLAS_NUM_THREADS=%d MOONWALK_THREADS=%d %s"):format(threads,
    threads, threads, command)
end

local function path_of(name) return shell.quote(FOLDER .. "/" .. name) end

local MOONWALK = shell.quote(args.build .. "/moonwalk")
local python -- the first one that has torch, found when it is first asked for
local starters = {}

function starters.ours(threads)
  return asked.start(with_threads(threads, MOONWALK .. " " .. path_of "ours.lua"))
end

function starters.torch(threads)
  for _, name in ipairs(python and {python} or {"python3", "/usr/bin/python3"}) do
    local process = asked.start(with_threads(threads, ("%s %s %s"):format(name,
      path_of "torch_side.py", shell.quote(temporary))))
    if process then
      python = name
      return process
    end
  end
end

for _, name in ipairs {"onednn", "openblas"} do
  starters[name] = function(threads)
    return asked.start(with_threads(threads, shell.quote(HERE .. "/" .. name)))
  end
end

local TITLES = {torch = "PyTorch", onednn = "oneDNN", openblas = "OpenBLAS"}
local HOW = {torch = "no python3 has the module torch (Debian: python3-torch)",
  onednn = "its header is not installed (Debian: libdnnl-dev)",
  openblas = "its header is not installed (Debian: libopenblas-dev)"}

local processes, versions, missing = {}, {}, {}

-- A process of a program with so many threads, or nil where it is not there.
local function process_of(program, threads)
  if args.alone and program ~= "ours" or missing[program] then return nil end
  local key = program .. threads
  processes[key] = processes[key] or starters[program](threads)
  local process = processes[key]
  if process then
    versions[program] = process.version
  else
    if program == "ours" then fail("Moonwalk's own process does not start") end
    note("%s is not measured: %s", TITLES[program], HOW[program])
    missing[program] = true
  end
  return process
end

local function ask(process, ...)
  local answer = process:ask(...)
  if answer.error then fail("%s: %s", (...):format(select(2, ...)), answer.error) end
  return answer
end

-- ---- measuring --------------------------------------------------------------------------------

local function network_of(workload)
  local name, kind, batch = workload.name:match "^([^.]+)%.([^.]+)%.(%d+)"
  return networks[name] and name, kind, math.tointeger(batch)
end

-- PyTorch begins with Moonwalk's weights and data.
local function share(workload, ours)
  local name, _, batch = network_of(workload)
  if not name then return end
  ask(ours, "write %s %s/%s.%d.safetensors", workload.name, temporary, name, batch)
end

local function rounds_of_processes(workload, result)
  local ours = process_of("ours", workload.threads)
  local theirs = workload.against and process_of(workload.against, workload.threads)
  if theirs then share(workload, ours) end
  for _, process in ipairs {ours, theirs} do ask(process, "setup %s", workload.name) end
  for i = 1, args.rounds do
    result.ours[i] = ask(ours, "round %s %g", workload.name, args.seconds).rate
    result.theirs[i] = theirs and ask(theirs, "round %s %g", workload.name, args.seconds).rate
  end
end

local function commands_of_first_step(option)
  local ours = with_threads(1, ("%s %s %s"):format(MOONWALK, path_of "first_step.lua", option))
  local theirs = process_of("torch", 1)
    and with_threads(1, ("%s %s %s"):format(python, path_of "first_step.py", option))
  return ours, theirs
end

local function seconds_of(command)
  local start = mw.core.clock()
  if not os.execute(command .. " >/dev/null") then fail("this fails: %s", command) end
  return mw.core.clock() - start
end

local function number_of(command)
  local pipe = assert(io.popen(command))
  local number = tonumber(pipe:read "a")
  pipe:close()
  return number or fail("this says no number: %s", command)
end

local special = {}

function special.start(_, result)
  local ours, theirs = commands_of_first_step ""
  seconds_of(ours)
  if theirs then seconds_of(theirs) end
  for i = 1, args.rounds do
    result.ours[i] = seconds_of(ours)
    result.theirs[i] = theirs and seconds_of(theirs)
  end
end

function special.memory(_, result)
  local ours, theirs = commands_of_first_step "memory"
  for i = 1, math.min(args.rounds, 3) do
    result.ours[i] = number_of(ours)
    result.theirs[i] = theirs and number_of(theirs)
  end
end

function special.graph(workload, result)
  rounds_of_processes(workload, result)
  for i, rate in ipairs(result.ours) do result.ours[i] = 1e6 / rate end
end

local function summary(list)
  if #list == 0 then return nil end
  return {median = measure.median(list), spread = measure.spread(list), rounds = list}
end

-- How many times better: of the medians, and between which numbers in the rounds.
local function ratio_of(workload, ours, theirs)
  if not theirs then return nil end
  local function better(a, b) return workload.lower and b / a or a / b end
  local each = {}
  for i, ours_now in ipairs(ours.rounds) do each[i] = better(ours_now, theirs.rounds[i]) end
  table.sort(each)
  return {median = better(ours.median, theirs.median), least = each[1], most = each[#each]}
end

local function verdict(workload, result)
  local value = workload.limit and result.ours.median or result.ratio and result.ratio.median
  if not value or not workload.required then return nil end
  local function reached(target)
    if workload.limit then return value <= target end
    return value >= target
  end
  return reached(workload.aim) and "aim" or reached(workload.required) and "required" or "missed"
end

local function measured(workload)
  local result = {ours = {}, theirs = {}}
  local run = special[workload.name] or rounds_of_processes
  run(workload, result)
  result.ours, result.theirs = summary(result.ours), summary(result.theirs)
  for _, field in ipairs {"name", "title", "unit", "threads", "against", "limit", "required",
    "aim"} do
    result[field] = workload[field]
  end
  if not result.theirs then result.against = nil end
  result.ratio = ratio_of(workload, result.ours, result.theirs)
  result.verdict = verdict(workload, result)
  if workload.flops then result.gflops = result.ours.median * workload.flops / 1e9 end
  return result
end

-- ---- losses -----------------------------------------------------------------------------------

local function read_recorded()
  local file = io.open(args.recorded)
  if not file then return {} end
  local text = file:read "a"
  file:close()
  return mw.json.decode(text)
end

local function training(name, batch)
  return ("%s.train.%d.1"):format(name, batch)
end

local function is_chosen(name)
  if not args.only or args.only == "" then return true end
  for word in args.only:gmatch "[^,%s]+" do
    if name:find(word, 1, true) then return true end
  end
  return false
end

local function record()
  local ours, losses = process_of("ours", 2), read_recorded()
  for _, name in ipairs {"lenet5", "mlp", "vgg"} do
    local start = mw.core.clock()
    if is_chosen(name) then
      losses[name] = {batch = networks[name].checked, steps = args.steps,
        loss = ask(ours, "loss %s plain %d", training(name, networks[name].checked),
          args.steps).loss}
      note("%s: %.7g, in %.0f s", name, losses[name].loss, mw.core.clock() - start)
    end
  end
  local file = assert(io.open(args.recorded, "w"))
  file:write(mw.json.encode(losses), "\n")
  file:close()
end

---The loss after 100 steps of training, for every network that is among the results, at each number
---of threads: of Moonwalk, of PyTorch, and of Moonwalk's reference kernels, as recorded.
local function losses_of(chosen)
  local recorded, list, seen = read_recorded(), {}, {}
  for _, workload in ipairs(chosen) do
    local name, kind, batch = network_of(workload)
    local key = name and ("%s.%d"):format(name, workload.threads)
    if name and kind == "train" and batch > 1 and not seen[key] then
      seen[key] = true
      local ours, theirs = process_of("ours", workload.threads), nil
      if workload.threads == 1 then theirs = process_of("torch", 1) end
      local entry = {network = name, title = networks[name].title, batch = batch,
        steps = args.steps, threads = workload.threads,
        ours = ask(ours, "loss %s fast %d", workload.name, args.steps).loss,
        theirs = theirs and ask(theirs, "loss %s %d", workload.name, args.steps).loss}
      local reference = recorded[name]
      if reference and reference.steps == args.steps then
        entry.checked = {batch = reference.batch, reference = reference.loss, tolerance = TOLERANCE}
        entry.checked.ours = reference.batch == batch and entry.ours
          or ask(ours, "loss %s fast %d", training(name, reference.batch), args.steps).loss
        local off = math.abs(entry.checked.ours - reference.loss)
        entry.checked.agrees = off <= TOLERANCE * math.abs(reference.loss)
      end
      list[#list + 1] = entry
    end
  end
  return list
end

-- ---- the whole --------------------------------------------------------------------------------

local function chosen_workloads()
  local chosen = {}
  for _, workload in ipairs(workloads) do
    if is_chosen(workload.name) then chosen[#chosen + 1] = workload end
  end
  if #chosen == 0 then
    local names = {}
    for i, workload in ipairs(workloads) do names[i] = workload.name end
    fail("ONLY=%s chooses nothing; there are\n  %s", args.only, table.concat(names, "\n  "))
  end
  return chosen
end

-- The best that was measured before and after: what else goes on only takes away.
local function take_peaks(peaks)
  for _, threads in ipairs {1, 2} do
    local answer = ask(process_of("ours", threads), "peak")
    peaks[threads] = math.max(peaks[threads] or 0, answer.peak)
    peaks.machine = answer.machine
  end
end

local function add_shares(results, peaks)
  for _, result in ipairs(results) do
    if result.gflops then result.peak_share = result.gflops * 1e9 / peaks[result.threads] end
  end
end

local function write(path, report)
  if not os.execute("mkdir -p " .. shell.quote(path:match "^(.*)/" or ".")) then
    fail("cannot make the folder of %s", path)
  end
  local file, problem = io.open(path, "w")
  if not file then fail("%s", problem) end
  file:write(mw.json.encode(report), "\n")
  file:close()
end

local function bench()
  local chosen, results, peaks, start = chosen_workloads(), {}, {}, mw.core.clock()
  take_peaks(peaks)
  for i, workload in ipairs(chosen) do
    note("[%d/%d] %s", i, #chosen, workload.title)
    results[i] = measured(workload)
  end
  local losses = losses_of(chosen)
  take_peaks(peaks)
  add_shares(results, peaks)
  versions.ours, versions.moonwalk = nil, mw.version
  local report = {format = 1, machine = peaks.machine, versions = versions,
    peak_gflops = {peaks[1] / 1e9, peaks[2] / 1e9}, rounds = args.rounds,
    seconds = mw.core.clock() - start, results = results, losses = losses}
  print(report_of.text(report))
  if args.out then write(args.out, report) end
  for _, entry in ipairs(losses) do
    if entry.checked and not entry.checked.agrees then return false end
  end
  return true
end

local agrees = true
if args.record then record() else agrees = bench() end
for _, process in pairs(processes) do process:close() end
if not agrees then fail("a loss does not agree with the reference kernels'") end
finish(0)
