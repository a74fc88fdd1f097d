-- safetensors.lua: reads and writes the safetensors format.
--
-- A file is the length of a header (8 bytes, little-endian), the header, and the data. The header
-- is JSON: for each tensor {"dtype", "shape", "data_offsets": [begin, end]}, the offsets counted
-- from the start of the data, and perhaps "__metadata__", strings by name. The tensors cover the
-- data without holes or overlaps (https://github.com/huggingface/safetensors, "Format"). A reader
-- believes nothing of this before it is checked.

local core = require "moonwalk.core"

local safetensors = {}

local MOST_HEADER = 100000000 -- bytes; the format's own bound
local MOST_RANK = 8

local FILE_NAMES = {f32 = "F32", f64 = "F64", i32 = "I32", i64 = "I64", u8 = "U8", bool = "BOOL"}
local DTYPES, SIZES = {}, {F32 = 4, F64 = 8, I32 = 4, I64 = 8, U8 = 1, BOOL = 1}
for dtype, name in pairs(FILE_NAMES) do DTYPES[name] = dtype end

-- ---- reading --------------------------------------------------------------------------------

local function is_list_of_sizes(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for key, item in pairs(value) do
    if math.type(key) ~= "integer" or math.type(item) ~= "integer" or item < 0 then return false end
    count = count + 1
  end
  return count == #value
end

local MOST_BYTES = 1 << 46 -- of any tensor; no shape of an empty one may be larger either

-- The number of bytes of a tensor, or nil when it is too large.
local function bytes_of(shape, size)
  local bytes, empty = size, false
  for _, length in ipairs(shape) do
    empty = empty or length == 0
    if length > MOST_BYTES // bytes then return nil end
    bytes = bytes * math.max(length, 1)
  end
  return empty and 0 or bytes
end

-- Checks what the header says of one tensor; gives a record, or nil and why.
local function parse_entry(name, entry, data_size)
  local function bad(format, ...)
    return nil, ("tensor %q: " .. format):format(name, ...)
  end
  if type(entry) ~= "table" then return bad("its entry is not an object") end
  for key in pairs(entry) do
    if key ~= "dtype" and key ~= "shape" and key ~= "data_offsets" then
      return bad("its entry has an unknown field %q", tostring(key))
    end
  end
  local dtype, shape, offsets = entry.dtype, entry.shape, entry.data_offsets
  if type(dtype) ~= "string" then return bad("it has no dtype") end
  if not DTYPES[dtype] then
    return bad("its dtype is %s; Moonwalk reads F32, F64, I32, I64, U8 and BOOL", dtype)
  end
  if not is_list_of_sizes(shape) then return bad("its shape is not a list of sizes") end
  if #shape > MOST_RANK then return bad("it has rank %d, at most 8 is possible", #shape) end
  if not is_list_of_sizes(offsets) or #offsets ~= 2 then
    return bad("its data_offsets are not two positions")
  end
  local first, last = offsets[1], offsets[2]
  if first > last or last > data_size then
    return bad("its data is at %d to %d, the file's data goes from 0 to %d", first, last,
      data_size)
  end
  local bytes = bytes_of(shape, SIZES[dtype])
  if bytes ~= last - first then
    return bad("%s [%s] takes %s bytes, its data has %d", dtype, table.concat(shape, ","),
      bytes or "more than 2^46", last - first)
  end
  return {name = name, dtype = DTYPES[dtype], shape = shape, first = first, last = last}
end

local function is_metadata(value)
  if type(value) ~= "table" then return false end
  for key, item in pairs(value) do
    if type(key) ~= "string" or type(item) ~= "string" then return false end
  end
  return true
end

-- The records of a header in the order of their data, and the metadata; or nil and why.
local function parse_header(text, data_size)
  if text:sub(1, 1) ~= "{" then return nil, "not a safetensors file: its header is not JSON" end
  local header, why = core.json_decode(text)
  if header == nil then return nil, "its header is bad JSON: " .. why end
  local records, metadata = {}, {}
  for name, entry in pairs(header) do
    if name == "__metadata__" then
      if not is_metadata(entry) then return nil, "its __metadata__ are not strings by name" end
      metadata = entry
    else
      records[#records + 1], why = parse_entry(name, entry, data_size)
      if why then return nil, why end
    end
  end
  table.sort(records, function(a, b)
    if a.first ~= b.first then return a.first < b.first end
    if a.last ~= b.last then return a.last < b.last end
    return a.name < b.name
  end)
  local position = 0
  for _, record in ipairs(records) do
    if record.first ~= position then
      return nil, ("tensor %q: its data begins at %d, expected %d: %s"):format(record.name,
        record.first, position, record.first < position and "tensors overlap" or "there is a hole")
    end
    position = record.last
  end
  if position ~= data_size then
    return nil, ("its tensors end at %d, its data at %d"):format(position, data_size)
  end
  return records, metadata
end

---Reads an open file of a known size.
---@param file file*
---@param size integer
---@return table<string, moonwalk.Tensor>?
---@return table<string, string>|string
function safetensors.read(file, size)
  local prefix = size >= 8 and file:read(8)
  if not prefix then return nil, ("not a safetensors file: it has only %d bytes"):format(size) end
  local length = string.unpack("<i8", prefix)
  if length < 2 or length > MOST_HEADER or length > size - 8 then
    return nil, ("not a safetensors file: its header would have %s bytes, the file has %d")
      :format(length >= 0 and length or "more than 2^63", size)
  end
  local text, why = file:read(length)
  if not text or #text ~= length then return nil, why or "truncated" end
  local records, metadata = parse_header(text, size - 8 - length)
  if not records then return nil, metadata end
  local tensors = {}
  for _, record in ipairs(records) do
    local bytes = record.last - record.first
    local data = ""
    if bytes > 0 then data, why = file:read(bytes) end
    if not data or #data ~= bytes then return nil, why or "truncated" end
    if record.dtype == "bool" and data:find("[^\0\1]") then
      return nil, ("tensor %q: a BOOL is neither 0 nor 1"):format(record.name)
    end
    tensors[record.name] = core.from_bytes(data, record.dtype, record.shape)
  end
  return tensors, metadata
end

-- ---- writing --------------------------------------------------------------------------------

-- JSON of a string. The header's other parts are numbers and known words.
local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}
local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return ESCAPES[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end

-- Why a text cannot stand in a header that every reader takes, or nil.
local function unwritable(text)
  if text:find("\0", 1, true) then return "has a NUL character" end
  return not utf8.len(text) and "is not UTF-8" or nil
end

---Writes tensors to an open file, those with the widest elements first, so that all are aligned.
---@param file file*
---@param tensors table<string, moonwalk.Tensor>
---@param metadata table<string, string>?
---@return true?
---@return string?
function safetensors.write(file, tensors, metadata)
  local names, sizes = {}, {}
  for name, tensor in pairs(tensors) do
    local why = unwritable(name)
    if why then return nil, ("the name %q %s"):format(name, why) end
    names[#names + 1], sizes[name] = name, SIZES[FILE_NAMES[tensor.dtype]]
  end
  table.sort(names, function(a, b)
    if sizes[a] ~= sizes[b] then return sizes[a] > sizes[b] end
    return a < b
  end)
  local parts, position = {}, 0
  local keys = {}
  for key, value in pairs(metadata or {}) do
    local why = unwritable(key) or unwritable(value)
    if why then return nil, ("the metadata %q %s"):format(key, why) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do keys[i] = quote(key) .. ":" .. quote(metadata[key]) end
  if #keys > 0 then parts[1] = '"__metadata__":{' .. table.concat(keys, ",") .. "}" end
  for _, name in ipairs(names) do
    local tensor = tensors[name]
    local last = position + bytes_of(tensor.shape, sizes[name])
    parts[#parts + 1] = ('%s:{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(
      quote(name), FILE_NAMES[tensor.dtype], table.concat(tensor.shape, ","), position, last)
    position = last
  end
  local header = "{" .. table.concat(parts, ",") .. "}"
  header = header .. (" "):rep(-#header % 8)
  local done, why = file:write(string.pack("<i8", #header), header)
  for _, name in ipairs(names) do
    if not done then return nil, why end
    done, why = file:write(core.bytes(tensors[name]))
  end
  return done and true, why
end

return safetensors
