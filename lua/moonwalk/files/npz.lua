-- npz.lua: reads and writes NumPy's .npz format: a zip archive of .npy files, by name.

local npy = require "moonwalk.files.npy"
local zip = require "moonwalk.files.zip"

local npz = {}

-- Bytes as a file that is read.
local function reader(bytes)
  local at = 1
  return {
    read = function(_, count)
      local part = bytes:sub(at, at + count - 1)
      at = at + count
      return #part > 0 and part or nil
    end,
  }
end

---Reads an open file of a known size.
---@param file file*
---@param size integer
---@return table<string, moonwalk.Tensor>?
---@return string?
function npz.read(file, size)
  local entries, why = zip.directory(file, size)
  if not entries then return nil, why end
  local tensors = {}
  for name, entry in pairs(entries) do
    local bytes
    bytes, why = zip.read(file, entry)
    local tensor
    if bytes then tensor, why = npy.read(reader(bytes), #bytes) end
    if not tensor then return nil, ("%s: %s"):format(name, why) end
    tensors[name:gsub("%.npy$", "")] = tensor
  end
  return tensors
end

---Writes tensors by name to an open file.
---@param file file*
---@param tensors table<string, moonwalk.Tensor>
---@return true?
---@return string?
function npz.write(file, tensors)
  local contents = {}
  for name, tensor in pairs(tensors) do
    local parts = {}
    npy.write({
      write = function(self, ...)
        for _, part in ipairs {...} do parts[#parts + 1] = part end
        return self
      end,
    }, tensor)
    contents[#contents + 1] = {name = name .. ".npy", bytes = table.concat(parts)}
  end
  table.sort(contents, function(a, b) return a.name < b.name end)
  return zip.write(file, contents)
end

return npz
