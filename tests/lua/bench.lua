-- bench.lua: what measures: the sums, `moonwalk bench`, and a short run of what `make bench` runs.
-- No number of it depends on how fast anything is.
local t = require "tap"
local mw = require "moonwalk"
local folder = require "folder"
local measure = require "moonwalk.measure"

package.path = "tests/bench/?.lua;" .. package.path
local report = require "report"

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"

-- What a command prints on both outputs, and its exit status.
local function run(format, ...)
  local pipe = assert(io.popen(format:format(...) .. " 2>&1"))
  local text = pipe:read "a"
  local _, _, status = pipe:close()
  return text, status
end

-- ---- measure.lua ------------------------------------------------------------------------------

t.is(measure.median {3, 1, 2}, 2, "the median of an odd number")
t.is(measure.median {4, 1, 2, 3}, 2.5, "and of an even one, between the two in the middle")
t.is(measure.quantile({10, 20, 30, 40, 50}, 0.25), 20.0, "a quartile")
t.is(measure.spread {10, 20, 30, 40, 50}, 1 / 3, "half the quartiles' distance, to the median")
t.is(measure.spread {7}, 0.0, "one number has no spread")
t.is({measure.time_text(1.5), measure.time_text(0.0123), measure.time_text(45.6e-6),
  measure.time_text(7.89e-9)}, {"1.50 s", "12.3 ms", "45.6 us", "7.89 ns"}, "times")
t.is({measure.digits(0.01234), measure.digits(1.234), measure.digits(12345.6), measure.digits(0)},
  {"0.0123", "1.23", "12346", "0"}, "three digits, and all before the point")
t.is(measure.table_text {{"a", "b"}, {"long", "1"}, {"c", "23"}}, "a      b\nlong   1\nc     23",
  "a table: the first column to the left, the others to the right")
do
  local calls = 0
  local times = measure.times(function() calls = calls + 1 end, 0)
  t.is({calls, #times >= 1}, {#times + 1, true}, "the first call does not count")
  t.ok(measure.peak(1) > 1e8 and measure.machine():find "FMA peak %d+ GFLOP/s",
    "the processor's peak is a number of operations a second")
end

-- ---- moonwalk bench ---------------------------------------------------------------------------

do
  local text, status = run("'%s' bench conv2d 'mw.randn{1,2,5,5}, mw.randn{3,2,3,3}, {padding=1}' "
    .. "--threads 1,2 --dtype f64 --seconds 0", moonwalk)
  t.is(status, 0, "moonwalk bench conv2d")
  for _, row in ipairs {"forward +plain +1 +f64", "forward +plain +2 +f64", "d x +plain +1 +f64",
    "d w +plain +2 +f64", "GFLOP/s"} do
    t.ok(text:find(row), "has a row " .. row)
  end
  text = run("'%s' bench relu --threads=1 --seconds=0", moonwalk)
  t.ok(text:find "forward +plain" and text:find "d x +%l+", "an op's own example, both directions")
  text = run("'%s' bench conv1d --threads=1 --seconds=0", moonwalk)
  t.ok(text:find "forward +composed", "an op that is made of others")
  text = run("'%s' bench argmax --threads=1 --seconds=0", moonwalk)
  t.ok(text:find "forward" and not text:find "d x", "one that has no gradient")
  for command, expected in pairs {
    ["bench"] = {"it wants the name of an op", 2},
    ["bench covn2d"] = {'there is no op "covn2d", did you mean conv2d?', 1},
    ["bench relu --thread 2"] = {"there is no option --thread, did you mean --threads?", 2},
    ["bench relu --threads 0"] = {'--threads is "0"', 2},
    ["bench relu --dtype f16"] = {'--dtype is "f16"', 2},
    ["bench relu --seconds x"] = {'--seconds is "x", expected a number', 2},
    ["bench relu a b"] = {'"b" is too much', 2},
    ["bench relu 'nothing('"] = {"mw.relu(nothing()", 1},
    ["bench conv2d 'mw.randn{1,2,5,5}, mw.randn{3,4,3,3}'"] = {"conv2d", 1},
  } do
    local said, code = run("'%s' %s", moonwalk, command)
    t.ok(said:find(expected[1], 1, true) and code == expected[2],
      ("moonwalk %s: %s"):format(command, expected[1]))
    if code ~= expected[2] then print("# " .. tostring(code) .. " " .. said:gsub("\n", "\n# ")) end
  end
end

-- ---- a short run of everything ----------------------------------------------------------------

local function bench(extra)
  return run("'%s' tests/bench/run.lua --build '%s' --alone --rounds 2 --seconds 0.001 --steps 2 "
    .. "--out '%s/out/results.json' %s", moonwalk, os.getenv "MOONWALK_BUILD", folder.path, extra)
end

local text, status = bench "--only lenet5.train.64,product.128,start"
t.is(status, 0, "a short run without other programs")
local file = io.open(folder.path .. "/out/results.json")
local results = file and mw.json.decode(file:read "a") or {results = {}, losses = {}}
if file then file:close() else print("# " .. text:gsub("\n", "\n# ")) end
local by_name = {}
for _, result in ipairs(results.results) do by_name[result.name] = result end
t.is(#results.results, 4, "the workloads that ONLY names")
local train = by_name["lenet5.train.64.1"] or {ours = {rounds = {}}}
t.is({#train.ours.rounds, train.unit, train.threads, train.required, train.aim, train.theirs},
  {2, "samples/s", 1, 3, 5, nil}, "a result has its rounds and what it should reach")
t.is(train.ours.median, measure.median(train.ours.rounds), "the median of the rounds")
t.near(train.gflops, train.ours.median * 2263920 / 1e9, 1e-9, "samples of 2,263,920 operations")
t.near(train.peak_share, train.gflops / results.peak_gflops[1], 1e-9, "and their share of the peak")
t.is({results.format, results.versions.moonwalk, results.rounds, #results.peak_gflops},
  {1, mw.version, 2, 2}, "what the run was")
t.ok(results.machine:find "^%d+ cores?, [%w-]+, FMA peak %d+ GFLOP/s a core$",
  "the machine by its features")
local loss = results.losses[1] or {}
t.is({#results.losses, loss.network, loss.steps, loss.threads, loss.checked},
  {2, "lenet5", 2, 1, nil}, "a loss for each number of threads; of two steps none is recorded")
t.is(loss.ours, results.losses[2] and results.losses[2].ours, "which is the same")

-- The loss is compared with what is recorded.
local function with_record(value)
  local path = folder.put("losses.json", mw.json.encode {lenet5 = {batch = 64, steps = 2,
    loss = value}})
  return bench("--only lenet5.train.64.1 --recorded " .. path)
end
text, status = with_record(loss.ours * 1.001)
t.ok(status == 0 and text:find "yes%s*$", "a loss that agrees")
text, status = with_record(loss.ours * 1.1)
t.ok(status == 1 and text:find "does not agree with the reference kernels'" and text:find "NO",
  "one that does not makes the run fail")

-- And with what the reference kernels give: few samples, for they are slow.
do
  local said, code = run("cd tests/bench && '%s' ours.lua <<'end'\nloss lenet5.train.4.1 plain 3\n"
    .. "loss lenet5.train.4.1 fast 3\nloss vgg.train.1.1 plain 2\nloss vgg.train.1.1 fast 2\n"
    .. "loss mlp.train.4.1 plain 3\nloss mlp.train.4.1 fast 3\nnonsense\nquit\nend", moonwalk)
  local answers = {}
  for line in said:gmatch "[^\n]+" do answers[#answers + 1] = mw.json.decode(line) end
  t.is({code, #answers, answers[1] and answers[1].ready}, {0, 8, true}, "the process that measures")
  for i, name in ipairs {"LeNet-5", "the VGG-like network", "the MLP"} do
    local plain, fast = answers[2 * i] or {}, answers[2 * i + 1] or {}
    t.near(fast.loss, plain.loss, 1e-4 * (plain.loss or 1), name .. ": fast as plain kernels")
  end
  t.ok(answers[8] and answers[8].error, "a question that it does not know is answered")
end

text, status = bench "--only nothing"
t.ok(status == 1 and text:find("chooses nothing; there are\n  lenet5.train.64.1", 1, true),
  "ONLY that chooses nothing lists what there is")

-- ---- tables and drawings ----------------------------------------------------------------------

do
  local function sum(median) return {median = median, spread = 0.01, rounds = {median}} end
  local made = {format = 1, machine = "2 cores, AVX2, FMA peak 95 GFLOP/s a core", rounds = 1,
    versions = {moonwalk = mw.version, torch = "1.13.0"}, peak_gflops = {95, 190}, seconds = 1,
    results = {
      {name = "a", title = "training <fast>", unit = "samples/s", threads = 1, against = "torch",
        ours = sum(20000), theirs = sum(5000), ratio = {median = 4, least = 3.5, most = 4.5},
        required = 3, aim = 5, verdict = "required", gflops = 45.2, peak_share = 0.476},
      {name = "b", title = "memory", unit = "MB", threads = 1, ours = sum(12.5), limit = true,
        required = 30, aim = 15, verdict = "aim"},
    },
    losses = {{network = "a", title = "A", batch = 64, steps = 100, threads = 1, ours = 0.5,
      checked = {batch = 4, ours = 0.25, reference = 0.26, tolerance = 0.01, agrees = false}}}}
  local markdown = report.markdown(made)
  t.ok(markdown:find("| training <fast> | samples/s | 20,000 ± 1.0 % | PyTorch 5,000 ± 1.0 % "
    .. "| 45.2 | 48 % | 4.00x (3.50 to 4.50) | 3x | 5x | yes |", 1, true), "a row for the manual")
  t.ok(markdown:find("| memory | MB | 12.5 ± 1.0 % |  |  |  |  | 30 MB | 15 MB | aim |", 1, true),
    "one without another program")
  t.ok(report.text(made):find "A +100 +64 +1 +0.50000 +4 +0.25000 +0.26000 +NO", "a loss")
  local from, to = folder.put("made.json", mw.json.encode(made)), folder.path .. "/made.svg"
  local said, code = run("'%s' tests/bench/plot.lua '%s' '%s'", moonwalk, from, to)
  t.is({said, code}, {to .. "\n", 0}, "a drawing is written")
  local svg = folder.contents(to)
  t.ok(svg:find "^<svg " and svg:find "</svg>%s*$" and svg:find("training &lt;fast&gt;", 1, true)
    and svg:find("4.00x PyTorch", 1, true) and not svg:find "memory",
    "of what there is a ratio of, with text that is safe")
  local _, opened = svg:gsub("<text[ >]", "")
  local _, closed = svg:gsub("</text>", "")
  t.is(opened, closed, "its elements are closed")
end

folder.remove()
t.done()
