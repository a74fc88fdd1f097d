-- command.lua: the command `moonwalk` as a user runs it.
local t = require "tap"

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

-- Runs a shell command line in which MOONWALK stands for the command. Gives standard output and
-- error together, and the exit status.
local function run(line)
  line = line:gsub("MOONWALK", function() return quote(moonwalk) end)
  local pipe <close> = assert(io.popen("{ " .. line .. "\n} 2>&1; echo \" status $?\""))
  local text, status = pipe:read "a":match "^(.*) status (%d+)\n$"
  return text, tonumber(status)
end

local function gives(line, want, status, name)
  local text, code = run(line)
  t.is({text, code}, {want, status}, name)
end

local function says(line, pattern, status, name)
  local text, code = run(line)
  if not t.ok(text:find(pattern) and code == status, name) then
    print(("# status %d, got %s"):format(code, (text:gsub("\n", "\n# "))))
  end
end

local function temporary(text)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  return path
end

-- Code on the command line ------------------------------------------------------------------------

gives("MOONWALK -e 'print(1)'", "1\n", 0, "-e")
gives("MOONWALK -e 'print(mw.tensor {1, 2} + 1)'", "f32[2] {2, 3}\n", 0, "mw is there in -e")
gives("MOONWALK -e 'x = 1' -e 'print(x)'", "1\n", 0, "-e twice")
gives("MOONWALK --threads 2 -e 'print(mw.threads())'", "2\n", 0, "--threads N")
gives("MOONWALK --threads=3 -e 'print(mw.threads())'", "3\n", 0, "--threads=N")
gives("MOONWALK -e 'error \"no\"'", "moonwalk: (command line):1: no\n", 1, "an error")
gives("MOONWALK -e 'mw.relu()'",
  "moonwalk: (command line):1: relu: argument 1 (x) is missing, expected a tensor\n", 1,
  "an error of an op")
gives("MOONWALK -e 'x ='", "moonwalk: (command line):1: unexpected symbol near <eof>\n", 1,
  "a syntax error")
says("MOONWALK -e 'local function f() error \"deep\" end f()'", "1: deep\nstack traceback:", 1,
  "a traceback where there were calls")
gives("MOONWALK -e 'error(setmetatable({}, {__tostring = function() return \"odd\" end}))'",
  "moonwalk: odd\n", 1, "an error object")
gives("MOONWALK -e 'error()'", "moonwalk: the error object is a nil value\n", 1, "an error of nil")
says("MOONWALK -e 'os.exit(3)'", "^$", 3, "os.exit")

-- Options -----------------------------------------------------------------------------------------

says("MOONWALK --version", "^moonwalk %d+%.%d+%.%d+\n$", 0, "--version")
says("MOONWALK --help", "^usage: moonwalk .*Commands: .*data", 0, "--help")
gives("MOONWALK --nonsense", "moonwalk: there is no option --nonsense; see moonwalk --help\n", 1,
  "an unknown option")
gives("MOONWALK --threads x",
  "moonwalk: --threads wants a number from 1 to 1024, not x; see moonwalk --help\n", 1,
  "--threads of letters")
gives("MOONWALK --threads",
  "moonwalk: --threads wants a number from 1 to 1024, not nothing; see moonwalk --help\n", 1,
  "--threads of nothing")
gives("MOONWALK -e", "moonwalk: -e wants code; see moonwalk --help\n", 1, "-e of nothing")

-- Scripts -----------------------------------------------------------------------------------------

local script = temporary [[
print(mw, arg[0] ~= nil, #arg, ...)
local moonwalk = require "moonwalk"
if ... == "fail" then
  local x = moonwalk.zeros {2}
  x:conv2d()
end
]]
gives("MOONWALK " .. script .. " a 'b c'", "nil\ttrue\t2\ta\tb c\n", 0,
  "a script has its arguments, and no global mw")
gives("MOONWALK " .. script .. " fail", "nil\ttrue\t1\tfail\nmoonwalk: " .. script
  .. ":5: conv2d: argument 2 (w) is missing, expected a tensor\n", 1,
  "an error names file and line")
says("MOONWALK /no/such/script.lua", "^moonwalk: cannot open /no/such/script.lua", 1,
  "a script that is not there")
says("MOONWALK nonsense", "there is no command or file 'nonsense'; the commands are: .*data", 1,
  "an unknown word")
gives("echo 'print(2, ...)' | MOONWALK - x", "2\tx\n", 0, "- reads standard input")
gives("echo 'print(3)' | MOONWALK", "3\n", 0, "so does a bare moonwalk that has no terminal")
gives("echo 'x x' | MOONWALK -", "moonwalk: stdin:1: syntax error near 'x'\n", 1,
  "a syntax error on standard input")
os.remove(script)

t.done()
