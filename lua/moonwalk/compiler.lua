-- compiler.lua: making a library of an op's C file with the system's C compiler.

local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local compiler = {}

compiler.FLAGS = "-std=gnu11 -O3 -fPIC -fvisibility=hidden -ffp-contract=fast -fno-math-errno "
  .. "-fno-trapping-math -fopenmp-simd -march=native -Wall -Wextra -Wno-missing-field-initializers "
  .. "-Werror=implicit-function-declaration" -- else it is found when the library is opened

local reals = {f32 = true, f64 = true, i32 = true, i64 = true, u8 = true}

-- The element types to compile for: those of a comment line "real: f32 f64 i32", or f32 and f64.
-- The compilation for f32 has the plugin's entry, and is always there.
local function reals_of(source)
  local line = ("\n" .. source):match "\n%s*/?%*+ *real:([%w ]+)"
  local list = {"f32"}
  for word in (line or "f32 f64"):gmatch "%w+" do
    if not reals[word] then return {"f32", "f64"} end
    if word ~= "f32" then list[#list + 1] = word end
  end
  return list
end

---FNV-1a of 64 bits (Fowler, Noll and Vo), as hexadecimal digits.
---@param text string
---@return string
function compiler.hash(text)
  return ("%016x"):format(core.hash(text))
end

-- What is compiled lies beside copies of the headers as the files of ops/ do: paths and texts.
local function headers()
  local files = {}
  for _, name in ipairs(core.texts "headers") do
    files[#files + 1] = {"graph/" .. name, core.text("headers", name)}
  end
  for _, name in ipairs(core.texts "ops") do
    if name:find "%.h$" then files[#files + 1] = {"ops/" .. name, core.text("ops", name)} end
  end
  return files
end

---The texts of the headers, on which depends what is compiled with them.
---@return string
function compiler.headers()
  local texts = {}
  for i, file in ipairs(headers()) do texts[i] = file[2] end
  return table.concat(texts, "\0")
end

---All bytes of a file, or nil and why not.
---@param path string
---@return string? text, string? problem
function compiler.read(path)
  local file, problem = io.open(path, "rb")
  if not file then return nil, problem end
  local text = file:read "a"
  file:close()
  if not text then return nil, path .. ": cannot be read" end
  return text
end

---@return boolean? done, string? problem
function compiler.write(path, text)
  local file, problem = io.open(path, "wb")
  if not file then return nil, problem end
  local written = file:write(text)
  if not file:close() or not written then return nil, path .. ": cannot be written" end
  return true
end

---The C compiler: what CC says, or cc, gcc or clang; nil and why when there is none.
---@return string? command, string? problem
function compiler.find()
  for _, name in ipairs {os.getenv "CC" or "cc", "cc", "gcc", "clang"} do
    if name ~= "" and shell.has(name:match "%S+") then return name end
  end
  return nil, "there is no C compiler: cc, gcc or clang (or set CC)"
end

local SIGINT = 2
local INTERRUPTED = "interrupted" -- what is said of a command that Ctrl-C has ended

-- Runs a command in a folder; what it said when it failed.
local function run(command, folder)
  local log = folder .. "/log"
  local done, how, code = os.execute(("cd %s && { %s; } >%s 2>&1"):format(shell.quote(folder),
    command, shell.quote(log)))
  if done then return nil end
  if code == (how == "signal" and SIGINT or 128 + SIGINT) then return INTERRUPTED end
  return ((compiler.read(log) or ""):gsub("%s+$", ""))
end

-- Compiles side by side for each element type, and links. Of what is wrong for several types the
-- first one speaks.
local function compile(cc, source, folder)
  local parts, objects = {}, {}
  for i, real in ipairs(reals_of(source)) do
    objects[i] = ("op.%s.o"):format(real)
    parts[i] = ("%s %s -I../graph -DMW_REAL_%s -c op.c -o %s >log%d 2>&1 & all=\"$all $!\" p%d=$!")
      :format(cc, compiler.FLAGS, real:upper(), objects[i], i, i)
  end
  -- After Ctrl-C a shell lets what it has started side by side go on.
  parts[#parts + 1] = "trap 'kill $all; exit 130' INT"
  for i = 1, #objects do
    parts[#parts + 1] = ("wait $p%d || { cat log%d; wait; exit 1; }"):format(i, i)
  end
  return run(table.concat(parts, "\n"), folder)
    or run(("%s -shared %s -lm -o op.so"):format(cc, table.concat(objects, " ")), folder)
end

---Makes the library `path` of C text, for each element type of its line `real:`. It appears only
---when it is whole.
---@param cc string the compiler
---@param source string
---@param label string what messages call the source: a path
---@param path string
---@return boolean? done, string? problem what the compiler said
function compiler.build(cc, source, label, path)
  local pipe = io.popen "mktemp -d"
  local folder = pipe and pipe:read "l"
  if pipe then pipe:close() end
  if not folder then return nil, "mktemp cannot make a folder" end
  local place, done, problem = folder .. "/ops", true, nil
  os.execute(("mkdir -p %s/graph %s"):format(shell.quote(folder), shell.quote(place)))
  for _, file in ipairs(headers()) do
    if done then done, problem = compiler.write(folder .. "/" .. file[1], file[2]) end
  end
  if done then
    done, problem = compiler.write(place .. "/op.c", ("#line 1 %q\n%s\n"):format(label, source))
  end
  if done then
    local said = compile(cc, source, place)
    if said == INTERRUPTED then done, problem = nil, said
    elseif said then done, problem = nil, ("%s does not compile:\n%s"):format(label, said) end
  end
  if done then
    local target = shell.quote(path)
    local said = run(("cd - >/dev/null; mkdir -p %s && cp %s/op.so %s.$$ && mv %s.$$ %s"):format(
      shell.quote(path:match "(.*)/" or "."), shell.quote(place), target, target, target), place)
    if said then done, problem = nil, said end
  end
  os.execute("rm -rf " .. shell.quote(folder))
  if problem == INTERRUPTED then
    core.press_interrupt() -- for others who wait for Ctrl-C
    core.error(INTERRUPTED)
  end
  return done, problem
end

---The library of C text, or of a file of it. It is kept in the cache folder ($XDG_CACHE_HOME or
---~/.cache), found again by the text. Raises what the compiler says.
---@param source string  C text of several lines, or a path
---@param label? string  what messages call it; the path, or "C text"
---@return string path
function compiler.library(source, label)
  local function check(done, problem)
    if not done then core.error("plugin.compile: " .. problem) end
    return done
  end
  if not source:find "\n" then
    label = label or source
    source = check(compiler.read(source))
  end
  local cc = check(compiler.find())
  local cache = check(shell.folder "cache",
    "there is no cache folder: neither HOME nor XDG_CACHE_HOME is set")
  local path = ("%s/plugins/%s.so"):format(cache,
    compiler.hash(table.concat({source, compiler.headers(), cc, compiler.FLAGS}, "\0")))
  if not core.file_stamp(path) then check(compiler.build(cc, source, label or "C text", path)) end
  return path
end

return compiler
