-- compiler.lua: turns the C text of an op into a shared library, by the system's compiler.

local core = require "moonwalk.core"
local shell = require "moonwalk.shell"

local compiler = {}

local FLAGS = "-std=gnu11 -O3 -fPIC -fvisibility=hidden -ffp-contract=fast -fno-math-errno "
  .. "-fno-trapping-math -march=native -Wall -Wextra"

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

-- FNV-1a of 64 bits (Fowler, Noll and Vo), as hexadecimal digits.
local function hash(text)
  local h = 0xCBF29CE484222325
  for i = 1, #text do h = (h ~ text:byte(i)) * 0x100000001B3 end
  return ("%016x"):format(h)
end
compiler.hash = hash

local function read(path)
  local file, problem = io.open(path, "rb")
  if not file then return nil, problem end
  local text = file:read "a"
  file:close()
  if not text then return nil, path .. ": cannot be read" end
  return text
end

local function write(path, text)
  local file = io.open(path, "wb")
  local written = file and file:write(text)
  if file and not file:close() then written = nil end
  if not written then core.error("plugin.compile: cannot write " .. path) end
end

local function find_compiler()
  for _, name in ipairs {os.getenv "CC" or "cc", "cc", "gcc", "clang"} do
    if name ~= "" and shell.has(name:match "%S+") then return name end
  end
  core.error "plugin.compile: there is no C compiler: cc, gcc or clang (or set CC)"
end

-- Runs a command in the folder; raises what it said when it fails.
local function run(command, folder, label)
  local log = folder .. "/log"
  local done = os.execute(("cd %s && { %s; } >%s 2>&1"):format(shell.quote(folder), command,
    shell.quote(log)))
  if done then return end
  local said = read(log) or ""
  core.error(("plugin.compile: %s does not compile:\n%s"):format(label, (said:gsub("%s+$", ""))))
end

-- A new library at `path`, which appears only when it is whole.
local function build(cc, source, label, path)
  local pipe = io.popen "mktemp -d"
  local folder = pipe and pipe:read "l"
  if pipe then pipe:close() end
  if not folder then core.error "plugin.compile: mktemp cannot make a folder" end
  local done, problem = pcall(function()
    write(folder .. "/moonwalk.h", core.header())
    write(folder .. "/op.c", ("#line 1 %q\n%s\n"):format(label, source))
    local compile, link = {}, {cc, "-shared"}
    for i, real in ipairs(reals_of(source)) do
      compile[i] = ("%s %s -I. -DMW_REAL_%s -c op.c -o op.%s.o")
        :format(cc, FLAGS, real:upper(), real)
      link[#link + 1] = ("op.%s.o"):format(real)
    end
    run(table.concat(compile, " && "), folder, label)
    link[#link + 1] = "-lm -o op.so"
    run(table.concat(link, " "), folder, label)
    run(("mkdir -p %s && mv op.so %s"):format(shell.quote(path:match "(.*)/"),
      shell.quote(path .. ".new")), folder, label)
    assert(os.rename(path .. ".new", path))
  end)
  os.execute("rm -rf " .. shell.quote(folder))
  if not done then error(problem, 0) end
end

---Compiles C text, or a file of it, with the system's C compiler (CC, cc, gcc or clang). The
---library is kept in the cache folder ($XDG_CACHE_HOME or ~/.cache), found again by the text.
---@param source string  C text of several lines, or a path
---@param label? string  what the compiler's messages call it; the path, or "C text"
---@return string path  of the shared library
function compiler.library(source, label)
  if not source:find "\n" then
    local text, problem = read(source)
    if not text then core.error("plugin.compile: " .. problem) end
    source, label = text, label or source
  end
  local cc = find_compiler()
  local cache = shell.cache_folder()
  if not cache then
    core.error "plugin.compile: there is no cache folder: neither HOME nor XDG_CACHE_HOME is set"
  end
  local path = ("%s/plugins/%s.so"):format(cache,
    hash(table.concat({source, core.header(), cc, FLAGS}, "\0")))
  local file = io.open(path, "rb")
  if file then file:close() else build(cc, source, label or "C text", path) end
  return path
end

return compiler
