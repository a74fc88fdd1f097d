-- zip.lua: archives of files, as .npz is one: their directory, and what is in them.
--
-- An archive ends with a record that says where its directory is; the directory lists the files,
-- and where each lies (PKWARE, "APPNOTE.TXT", 4.3). Files that are stored as they are, or deflated,
-- are read; sizes of 64 bits, as numpy writes them, too.

local core = require "moonwalk.core"

local zip = {}

local END, END64, LOCATOR64 = 0x06054b50, 0x06064b50, 0x07064b50
local ENTRY, FILE = 0x02014b50, 0x04034b50
local WIDE = 0xffffffff -- the size stands in an extra field

-- Reads bytes of the file from an offset, or nil.
local function take(file, offset, count)
  if offset < 0 or count < 0 or not file:seek("set", offset) then return nil end
  local bytes = count == 0 and "" or file:read(count)
  return bytes and #bytes == count and bytes or nil
end

-- Where the directory is and how many entries it has.
local function find_directory(file, size)
  local tail_size = math.min(size, 22 + 65535)
  local tail = take(file, size - tail_size, tail_size)
  local at
  for i = tail and #tail - 21 or 0, 1, -1 do -- behind it there may be a comment
    if string.unpack("<I4", tail, i) == END then
      at = i
      break
    end
  end
  if not at then return nil, "not a zip archive, or truncated" end
  local count, length, offset = string.unpack("<I2 I4 I4", tail, at + 10)
  local locator = at > 20 and tail:sub(at - 20, at - 1)
  if locator and string.unpack("<I4", locator) == LOCATOR64 then
    local record = take(file, string.unpack("<i8", locator, 9), 56)
    if not record or string.unpack("<I4", record) ~= END64 then
      return nil, "damaged: its end is not where it says"
    end
    count, length, offset = string.unpack("<i8 i8 i8", record, 33)
  end
  if offset < 0 or length < 0 or offset > size or length > size - offset then
    return nil, "damaged: its directory is not inside of it"
  end
  return {offset = offset, length = length, count = count}
end

-- Sizes of 64 bits from an entry's extra fields, in place of those that say so.
local function widen(entry, extra)
  local at = 1
  while at + 3 <= #extra do
    local kind, length = string.unpack("<I2 I2", extra, at)
    local field = extra:sub(at + 4, at + 3 + length)
    at = at + 4 + length
    if kind == 1 then
      local place = 1
      for _, name in ipairs {"size", "packed", "offset"} do
        if entry[name] == WIDE then
          if place + 7 > #field then return nil end
          entry[name] = string.unpack("<i8", field, place)
          place = place + 8
        end
      end
    end
  end
  return entry
end

---The entries of an open archive of a known size, by name.
---@param file file*
---@param size integer
---@return table<string, table>?
---@return string? message
function zip.directory(file, size)
  local place, why = find_directory(file, size)
  if not place then return nil, why end
  local bytes = take(file, place.offset, place.length)
  if not bytes then return nil, "truncated" end
  local entries, at = {}, 1
  while at + 45 <= #bytes do
    if string.unpack("<I4", bytes, at) ~= ENTRY then return nil, "damaged: its directory" end
    local flags, method = string.unpack("<I2 I2", bytes, at + 8)
    local crc, packed, whole, name, extra, comment = string.unpack("<I4 I4 I4 I2 I2 I2", bytes,
      at + 16)
    local entry = {
      method = method, crc = crc, packed = packed, size = whole, encrypted = flags & 1 == 1,
      offset = string.unpack("<I4", bytes, at + 42),
    }
    if at + 45 + name + extra + comment > #bytes then return nil, "damaged: its directory" end
    if not widen(entry, bytes:sub(at + 46 + name, at + 45 + name + extra)) then
      return nil, "damaged: its directory"
    end
    entries[bytes:sub(at + 46, at + 45 + name)] = entry
    at = at + 46 + name + extra + comment
  end
  return entries
end

---The bytes of an entry.
---@param file file*
---@param entry table
---@return string?
---@return string? message
function zip.read(file, entry)
  local header = take(file, entry.offset, 30)
  if not header or string.unpack("<I4", header) ~= FILE then return nil, "damaged: its header" end
  if entry.encrypted then return nil, "it is encrypted" end
  local name, extra = string.unpack("<I2 I2", header, 27)
  local size = file:seek "end"
  if entry.packed < 0 or entry.size < 0 or entry.packed > size then return nil, "truncated" end
  local bytes = take(file, entry.offset + 30 + name + extra, entry.packed)
  if not bytes then return nil, "truncated" end
  if entry.method == 8 then
    local why
    bytes, why = core.inflate(bytes, entry.size)
    if not bytes then return nil, why end
  elseif entry.method ~= 0 then
    return nil, ("its method of compression, %d, is not known"):format(entry.method)
  end
  if #bytes ~= entry.size then return nil, "damaged: its size" end
  if core.crc32(bytes) ~= entry.crc then return nil, "damaged: its checksum" end
  return bytes
end

---Writes an archive of files as they are, with sizes of 64 bits.
---@param file file*
---@param contents {name: string, bytes: string}[]
---@return true?
---@return string? message
function zip.write(file, contents)
  local offset, directory = 0, {}
  for i, item in ipairs(contents) do
    local name, size, crc = item.name, #item.bytes, core.crc32(item.bytes)
    -- Version 4.5 for the sizes; stored; 1 January 1980.
    local common = string.pack("<I2 I2 I2 I2 I2 I4 I4 I4 I2 I2", 45, 0x800, 0, 0, 0x21, crc, WIDE,
      WIDE, #name, 20)
    local head = string.pack("<I4", FILE) .. common .. name
      .. string.pack("<I2 I2 i8 i8", 1, 16, size, size)
    common = common:sub(1, -3) .. string.pack("<I2", 28)
    directory[i] = string.pack("<I4 I2", ENTRY, 45) .. common
      .. string.pack("<I2 I2 I2 I4 I4", 0, 0, 0, 0, WIDE) .. name
      .. string.pack("<I2 I2 i8 i8 i8", 1, 24, size, size, offset)
    local done, why = file:write(head, item.bytes)
    if not done then return nil, why end
    offset = offset + #head + size
  end
  local bytes, n = table.concat(directory), #contents
  local done, why = file:write(bytes,
    string.pack("<I4 i8 I2 I2 I4 I4 i8 i8 i8 i8", END64, 44, 45, 45, 0, 0, n, n, #bytes, offset),
    string.pack("<I4 I4 i8 I4", LOCATOR64, 0, offset + #bytes, 1),
    string.pack("<I4 I2 I2 I2 I2 I4 I4 I2", END, 0, 0, math.min(n, 0xffff), math.min(n, 0xffff),
      math.min(#bytes, WIDE), WIDE, 0))
  return done and true, why
end

return zip
