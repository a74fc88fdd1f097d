-- files.lua: mw.save and mw.load: tensors in files, in the format that the file's name says.
--
--   assert(mw.save("net.safetensors", net:state()))
--   net:load(mw.load("net.safetensors"))
--   assert(mw.save("x.npy", x))
--   assert(mw.save("data.npz", {x = x, y = y}))
--
-- Files hold data, never code. Functions give nil and a message when a file cannot be read or
-- written or does not hold what it should.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local npy = require "moonwalk.files.npy"
local npz = require "moonwalk.files.npz"
local safetensors = require "moonwalk.files.safetensors"

local files = {}

local function is_npy(path)
  return path:lower():find("%.npy$") ~= nil
end

local function is_npz(path)
  return path:lower():find("%.npz$") ~= nil
end

---Writes a file so that at every moment either the old or the whole new one is there: a new file
---in the same folder, flushed to the disk, takes the name. write(file) gives true, or nil and why.
---@param path string
---@param write fun(file: file*): any, string?
---@return true?
---@return string? message
local function replace(path, write)
  local temporary = ("%s.%s.tmp"):format(path, ("%p"):format({}):gsub("^0x", ""))
  local file, why = io.open(temporary, "wb")
  if not file then return nil, why end
  local called, done
  called, done, why = pcall(write, file)
  if not called then done, why = nil, done end
  if done then done, why = file:flush() end
  if done then done, why = core.fsync(temporary) end
  local closed, close_why = file:close()
  if done and not closed then done, why = nil, close_why end
  if done then done, why = os.rename(temporary, path) end
  if not done then
    os.remove(temporary)
    if not called then error(why, 0) end
    return nil, why:find(path, 1, true) and why or ("%s: %s"):format(path, why)
  end
  core.fsync(path:match("^(.*/)[^/]*$") or ".") -- the folder; not every system can
  return true
end

files.replace = replace

---Writes tensors to a file: a table of them by name to .safetensors or .npz, a single one to .npy.
---The file is replaced as a whole, or left as it was.
---@param path string
---@param tensors table<string, moonwalk.Tensor>|moonwalk.Tensor
---@param metadata table<string, string>? safetensors only
---@return true?
---@return string? message
function files.save(path, tensors, metadata)
  check.path("save", "the path", path)
  if is_npy(path) then
    if not core.is_tensor(tensors) then
      check.fail("save", "what goes to .npy", tensors, "a tensor; several go to .npz")
    end
    return replace(path, function(file) return npy.write(file, tensors) end)
  end
  if type(tensors) ~= "table" then
    check.fail("save", "what to save", tensors, "a table of tensors by name: {weight = w}")
  end
  for name, tensor in pairs(tensors) do
    if type(name) ~= "string" or name == "__metadata__" then
      check.fail("save", "a name", name, "a string other than __metadata__")
    elseif not core.is_tensor(tensor) then
      check.fail("save", ("what is named %q"):format(name), tensor, "a tensor")
    end
  end
  if metadata ~= nil and type(metadata) ~= "table" then
    check.fail("save", "the metadata", metadata, "a table of strings by name")
  end
  for key, value in pairs(metadata or {}) do
    if type(key) ~= "string" or type(value) ~= "string" then
      check.fail("save", "metadata " .. check.show(key), value, "a string under a string")
    end
  end
  if is_npz(path) then
    if metadata ~= nil then core.error("save: .npz has no place for metadata") end
    return replace(path, function(file) return npz.write(file, tensors) end)
  end
  return replace(path, function(file) return safetensors.write(file, tensors, metadata) end)
end

---Reads a file: tensors by name, and the file's metadata, from .safetensors; tensors by name from
---.npz; a tensor from .npy.
---@param path string
---@return table<string, moonwalk.Tensor>|moonwalk.Tensor|nil
---@return table<string, string>|string message, or metadata
function files.load(path)
  check.path("load", "the path", path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local size = file:seek("end")
  if not size or size == math.maxinteger or not file:seek("set") then -- a folder, a pipe
    file:close()
    return nil, path .. ": not a regular file"
  end
  local called, result, more = pcall(is_npy(path) and npy.read
    or is_npz(path) and npz.read or safetensors.read, file, size)
  file:close()
  if not called then error(result, 0) end
  if result == nil then return nil, ("%s: %s"):format(path, more) end
  return result, more
end

return files
