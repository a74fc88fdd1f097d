-- prompt_everywhere_telling.lua: what the prompt tells, in all kinds of terminals: of ops and
-- functions, of variables, the manual, what was typed; :save, :help and :tour.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"
local shell = require "moonwalk.shell"

local moonwalk = (os.getenv "MOONWALK_BUILD" or "build") .. "/moonwalk"

local function ops(s)
  s:enter ":ops pool":has("maxpool", "The largest value of each window")
  s:is_coloured("pool", "1")
  s:enter ":ops sofmax":has "did you mean :ops softmax?"
  s:enter_much ":ops":has("softmax", "?conv2d explains one, :ops pool finds some")
end

local function explanations(s)
  s:enter "?silu":has("mw.silu(x)", "y = x / (1 + exp(-x))", "Example: mw.silu(", "ops/unary.c")
  s:is_coloured("Example:", "33")
  s:enter_much "?conv2d":has("Example: mw.conv2d(", "ops/conv2d.c; ??conv2d shows it")
  s:enter "?nn.Dense":has("nn.Dense {...}", "Options")
  s:enter "?plot":has("plot {train = ys, valid = zs}", "Source")
  s:enter "?:watch":has(":watch file.c|op|off", "Swaps in an op")
  s:enter "?string.format":has "manual.html#pdf-string.format"
  s:enter "?covn2d":has "did you mean ?conv2d"
end

local function sources(s)
  s:enter "??relu":has("ops/unary.c", "RISE(relu, ", "??relu full shows all of it")
  s:check(#s.answer < s.rows, "it fits the screen")
  s:is_coloured("> ", "33")
  s:enter "??nn.Flatten":has("moonwalk/nn/", "Flatten")
  s:enter "??conv2d winograd":has "ops/conv2d_winograd.c"
  s:enter "??print":has "a function in C"
end

-- 784 * 100 + 100 + 100 * 10 + 10 parameters of 4 bytes
local function variables(s)
  s:enter "net = nn.Sequential {nn.Dense {784, 100}, nn.ReLU {}, nn.Dense {100, 10}}":is {}
  s:enter "x, waits = mw.zeros({50, 784}, 'u8'), mw.ones {3} * 2":is {}
  s:enter ":who":matches "net +Sequential +79,510 parameters +318 kB\n"
  s:matches "\nx +tensor +u8%[50,784%] +39.2 kB\n"
  s:matches "\nwaits +tensor +f32%[3%] +not computed\n"
  s:matches "\nin all: %d+ tensors alive, [%d.]+ kB; %d+ programs? kept$"
  s:is_coloured("net", "1")
end

local function manual(s)
  s:enter ":doc clip gradients":has("Clip gradients", "clip_norm")
  s:enter ":doc chekpoint":has "did you mean :doc checkpoint?"
  s:enter_much ":doc":has "training"
  s:enter_much ":doc recipes":lacks("```", "**")
end

local function history(s)
  s:enter "error 'no'"
  s:enter ":history error":matches "^%d+! error 'no'$"
  s:is_coloured("!", "31")
  s:enter ":history zork":is {'nothing that was typed has "zork"'}
end

local function saving(s)
  s:enter "local seven = 7":is {}
  s:enter "seven * 6":is {"42"}
  s:enter "x:sum():item();":is {}
  local path = s.folder .. "/saved.lua"
  s:enter(":save " .. path):matches "^%d+ lines are written to "
  s:enter(":save " .. path):has("is there already", ":save!")
  local pipe = assert(io.popen(("%s %s 2>&1"):format(shell.quote(moonwalk), shell.quote(path))))
  local output = pipe:read "a"
  s:check(pipe:close() and output == "42\n", "the script runs, and prints: " .. output)
end

local function help(s)
  s:enter ":help"
  for _, command in ipairs {":who", ":doc [topic]", ":time on|off", ":save session.lua", ":tour",
    "?name", "??name"} do
    s:has(command)
  end
  s:check(#s.answer < s.rows, "it fits the screen")
end

-- Waits until a line is offered. Without a line editor its text comes before the prompt, and what
-- is typed between the two would be shown in front of the prompt.
local function wait_for_offer(s, line)
  s:wait("\n" .. (s.edits and "> " or "Enter runs: ") .. line)
  if not s.edits then s:ready() end
end

-- The first steps: the lines that are offered are run by Enter.
local function tour(s)
  s:clear()
  s:type ":tour"
  s:key "Enter"
  wait_for_offer(s, "mw.seed(1)")
  s:check(s:text():find "\n1 of %d+  Tensors\n", "the first section")
  s:key "Enter"
  wait_for_offer(s, "x = mw.tensor {{1, 2, 3}, {4, 5, 6}}")
  s:key "Enter"
  wait_for_offer(s, "x\n")
  s:check(not s:text():find "error", "no error")
  if s.edits then
    s:key "C-u"
    s:ready()
  end
  s:enter "x:sum():item()":matches "^21%.0"
end

everywhere.play {
  {":ops", ops},
  {"?name", explanations},
  {"??name", sources},
  {":who", variables},
  {":doc", manual},
  {":history", history},
  {":save writes a script that runs", saving},
  {":help", help},
  {":tour", tour},
}

if shell.has "less" then
  everywhere.play({
    {"long texts are shown page by page", function(s)
      s:clear()
      s:type ":doc training"
      s:key "Enter"
      s:wait(function(text) return text:find "^ *Training\n" end)
      local _, _, _, styled = s:see()
      s:check(s.utf8 or not styled:find "[\x80-\xff]", "nothing but ASCII in the C locale")
      s:check(#s:lines() == s.rows and s:lines()[s.rows]:find "%S", "the screen is full")
      s:type "q"
      s:ready()
      s:enter "6 * 7":is {"42"}
    end},
  }, {env = {PAGER = "less"}})
else
  t.skip("long texts are shown page by page", "there is no less")
end

folder.remove()
t.done()
