-- commands/plugin.lua: `moonwalk plugin`: from a new C file to an op that every script finds.

local mw = require "moonwalk"
local core = mw.core
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"
local gate = require "moonwalk.gate"
local shell = require "moonwalk.shell"
local skeleton = require "moonwalk.skeleton"

local USAGE = [[
usage: moonwalk plugin new NAME [FOLDER]
       moonwalk plugin build FILE.c [-o FILE.so]
       moonwalk plugin test FILE.so [--again] [--seconds N] [--override]
       moonwalk plugin bench FILE.so
       moonwalk plugin info FILE.so
       moonwalk plugin install FILE.so [--untested]

  new      writes an op to begin with into FOLDER, or NAME: NAME.c, NAME.lua, and a Makefile
  build    compiles it with the system's C compiler, or with CC
  test     finds out whether its ops keep their contract: gradients, bounds, shapes, threads, ...
           Each runs in a process of its own, and may take 10 seconds, or N. The verdict is kept
           until the file is another one; --again tests it anew. --override lets it have ops of
           the names of shipped ones.
  bench    measures the calls of its ops
  info     shows what is in it
  install  tests it, but for --untested, and copies it into your plugin folder

For test, bench and info the file may be C, too; it is compiled into the cache folder then.]]

local function fail(format, ...)
  io.stderr:write("moonwalk plugin: ", format:format(...), "\n")
  os.exit(1, true)
end

local function usage_error(format, ...)
  io.stderr:write("moonwalk plugin: ", format:format(...), "; see moonwalk plugin --help\n")
  os.exit(2, true)
end

-- Words and options of a command: takes {"-o" = "text", "--again" = "flag"}.
local function parse(command, list, takes, most)
  local words, options, i = {}, {}, 1
  while list[i] do
    local word = list[i]
    local kind = takes[word]
    if kind == "flag" then
      options[word] = true
    elseif kind then
      i = i + 1
      if not list[i] then usage_error("%s wants a value behind %s", command, word) end
      options[word] = list[i]
    elseif word:sub(1, 1) == "-" and #word > 1 then
      usage_error("%s has no option %s", command, word)
    else
      words[#words + 1] = word
    end
    i = i + 1
  end
  if #words == 0 then usage_error("%s wants %s", command, most > 1 and "a name" or "a file") end
  if #words > most then usage_error("%s: %s is too much", command, check.show(words[most + 1])) end
  return words, options
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- new ---------------------------------------------------------------------------------------------

local function new(list)
  local words = parse("new", list, {}, 2)
  local paths, problem = skeleton.write(words[1], words[2])
  if not paths then fail("new: %s", problem) end
  for _, path in ipairs(paths) do print(path) end
  print(("Next: moonwalk plugin test %s/%s.c"):format(words[2] or words[1], words[1]))
end

-- build -------------------------------------------------------------------------------------------

local function build_library(source_path, path)
  local source, problem = compiler.read(source_path)
  if not source then fail("build: %s", problem) end
  local cc, missing = compiler.find()
  if not cc then fail("build: %s", missing) end
  local done, said = compiler.build(cc, source, source_path, path)
  if not done then fail("build: %s", said) end
end

local function build(list)
  local words, options = parse("build", list, {["-o"] = "text"}, 1)
  local source = words[1]
  if not source:find "%.c$" then
    fail("build: the file is %s, expected one that ends in .c", check.show(source))
  end
  local path = options["-o"] or source:gsub("%.c$", ".so")
  build_library(source, path)
  print(path)
end

-- The library that a command is about: of a C file one that is compiled into the cache folder.
local function library_of(command, path)
  if not path:find "%.c$" then
    if not exists(path) then
      fail("%s: %s is not there%s", command, path,
        exists((path:gsub("%.so$", ".c"))) and "; moonwalk plugin build makes it" or "")
    end
    return path
  end
  local cache = shell.folder "cache"
  if not cache then fail("%s: there is no cache folder: neither HOME nor XDG_CACHE_HOME is set",
    command) end
  local source, problem = compiler.read(path)
  if not source then fail("%s: %s", command, problem) end
  local cc = compiler.find()
  local target = ("%s/plugins/%s.so"):format(cache, compiler.hash(table.concat(
    {source, compiler.headers(), cc or "", compiler.FLAGS, "build"}, "\0")))
  if not exists(target) then build_library(path, target) end
  return target
end

-- test --------------------------------------------------------------------------------------------

local function test(list)
  local words, options = parse("test", list, {["--again"] = "flag", ["--seconds"] = "text",
    ["--override"] = "flag"}, 1)
  local seconds = options["--seconds"] and tonumber(options["--seconds"])
  if options["--seconds"] and not (seconds and seconds >= 0.001 and seconds <= 86400) then
    usage_error("test: --seconds is %s, expected a number", check.show(options["--seconds"]))
  end
  local report = gate.test(library_of("test", words[1]), {again = options["--again"],
    seconds = seconds, override = options["--override"]})
  print(gate.text(report))
  os.exit(report.passed, true)
end

-- info --------------------------------------------------------------------------------------------

local function indented(text)
  return (("\n" .. text:gsub("%s+$", "")):gsub("\n([^\n])", "\n  %1"):sub(2))
end

local function info(list)
  local words = parse("info", list, {}, 1)
  local path = library_of("info", words[1])
  local content, problem = gate.list(path, nil, true)
  if not content then fail("info: %s", problem) end
  print(("%s: ABI %d, built against Moonwalk %s; this is %s"):format(words[1], content.abi,
    content.version, core.version))
  for _, op in ipairs(content.ops) do
    print(("\n%s, version %d, for %s"):format(op.name, op.version,
      table.concat(op.dtypes, ", ")))
    print(indented(op.help))
  end
  for _, kernel in ipairs(content.kernels) do
    print(("\n%s: another kernel for %s"):format(kernel.kernel, kernel.op))
  end
  if #content.ops + #content.kernels == 0 then print "it registers nothing" end
end

-- bench -------------------------------------------------------------------------------------------

local BENCH_SECONDS = 120

local function bench(list)
  local words = parse("bench", list, {}, 1)
  local said, problem = gate.run({bench = true, path = library_of("bench", words[1]),
    threads = core.threads()}, "it", BENCH_SECONDS)
  for _, item in ipairs(said) do
    if item.line then print(item.line) end
  end
  if problem then fail("bench: %s", problem) end
end

-- install -----------------------------------------------------------------------------------------

local function plugin_folder()
  local data = shell.folder "data"
  if data then return data .. "/plugins" end
  fail "install: there is no folder for plugins: neither HOME nor XDG_DATA_HOME is set"
end

local function install(list)
  local words, options = parse("install", list, {["--untested"] = "flag"}, 1)
  local path = words[1]
  if path:find "%.c$" then fail("install: %s is C; moonwalk plugin build makes a library of it",
    path) end
  library_of("install", path)
  if not options["--untested"] then
    local report = gate.test(path)
    if not report.passed then
      print(gate.text(report))
      fail("install: %s is not installed: it does not pass (--untested installs it all the same)",
        path)
    end
  end
  local folder, bytes = plugin_folder(), compiler.read(path)
  local target = ("%s/%s"):format(folder, path:match "[^/]*$")
  local made, why = core.make_folder(folder)
  if not made then fail("install: %s", why) end
  local done, problem = compiler.write(target .. ".new", bytes or "")
  if done then done, problem = os.rename(target .. ".new", target) end
  if not done then fail("install: %s", problem) end
  print(target)
end

-- The command -------------------------------------------------------------------------------------

local commands = {new = new, build = build, test = test, info = info, bench = bench,
  install = install}
local word = ...
if word == nil or word == "--help" or word == "-h" then
  print(USAGE)
elseif commands[word] then
  local list = {select(2, ...)}
  for _, option in ipairs(list) do
    if option == "--help" or option == "-h" then
      print(USAGE)
      os.exit(true, true)
    end
  end
  commands[word](list)
else
  local names = {}
  for name in pairs(commands) do names[#names + 1] = name end
  table.sort(names)
  local near = check.near(word, names)
  usage_error("there is no command %s%s", check.show(word),
    near and (", did you mean %s?"):format(near) or "")
end
