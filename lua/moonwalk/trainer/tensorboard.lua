-- tensorboard.lua: event files, from which TensorBoard draws curves.
--
-- A file is a row of records, as TensorFlow's RecordWriter frames them (tensorflow/core/lib/io/
-- record_writer.h): the length, 8 bytes, little-endian; its checksum; the data; its checksum. A
-- checksum is CRC-32C (Castagnoli), turned and shifted:
--   masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8  (modulo 2^32)
-- The data is a protobuf message Event (tensorflow/core/util/event.proto):
--   1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session_log
-- where Summary (tensorflow/core/framework/summary.proto) has the repeated field 1, of messages
--   1 tag string, 2 simple_value float.

local core = require "moonwalk.core"

local tensorboard = {}

-- ---- checksums ------------------------------------------------------------------------------

local CASTAGNOLI = 0x82f63b78 -- its bits reversed
local TABLE = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do crc = crc & 1 == 1 and crc >> 1 ~ CASTAGNOLI or crc >> 1 end
  TABLE[byte] = crc
end

---CRC-32C of a text, masked.
---@param text string
---@return integer
function tensorboard.checksum(text)
  local crc = 0xffffffff
  for i = 1, #text do crc = crc >> 8 ~ TABLE[(crc ~ text:byte(i)) & 0xff] end
  crc = crc ~ 0xffffffff
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff
end

---A record of a file.
---@param data string
---@return string
function tensorboard.record(data)
  local length = string.pack("<I8", #data)
  return length .. string.pack("<I4", tensorboard.checksum(length)) .. data
    .. string.pack("<I4", tensorboard.checksum(data))
end

-- ---- messages -------------------------------------------------------------------------------

local function varint(n)
  local bytes = {}
  repeat
    local rest = n >> 7
    bytes[#bytes + 1] = string.char(n & 0x7f | (rest ~= 0 and 0x80 or 0))
    n = rest
  until n == 0
  return table.concat(bytes)
end

-- A field's key is its number and its kind: 0 varint, 1 eight bytes, 2 length and bytes, 5 four.
local function double(field, x) return string.char(field << 3 | 1) .. string.pack("<d", x) end
local function integer(field, n) return string.char(field << 3) .. varint(n) end
local function bytes(field, text) return string.char(field << 3 | 2) .. varint(#text) .. text end
local function float(field, x) return string.char(field << 3 | 5) .. string.pack("<f", x) end

---The event of a file's beginning.
---@param time number seconds since 1970
---@return string
function tensorboard.version_event(time)
  return double(1, time) .. bytes(3, "brain.Event:2")
end

---Says that what was written for this step and later ones is taken back.
---@param time number
---@param step integer
---@return string
function tensorboard.start_event(time, step)
  return double(1, time) .. integer(2, step) .. bytes(7, integer(1, 1))
end

---@param time number
---@param step integer
---@param tag string "loss"
---@param value number
---@return string
function tensorboard.scalar_event(time, step, tag, value)
  return double(1, time) .. integer(2, step)
    .. bytes(5, bytes(1, bytes(1, tag) .. float(2, value)))
end

-- ---- files ----------------------------------------------------------------------------------

---@class moonwalk.EventFile
---@field file file*
local EventFile = {}
EventFile.__index = EventFile

---Begins an event file in a folder, which is made when it is not there. nil and a message when it
---cannot be.
---@param folder string
---@param step integer? a run goes on behind this step
---@return moonwalk.EventFile?
---@return string? message
function tensorboard.open(folder, step)
  core.make_folder(folder)
  local now, path = os.time(), nil
  for k = 0, 999 do -- several may begin within a second; none is written over
    path = ("%s/events.out.tfevents.%010d.moonwalk.%d"):format(folder, now, k)
    local there = io.open(path, "rb")
    if not there then break end
    there:close()
  end
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local self = setmetatable({file = file}, EventFile)
  self:write(tensorboard.version_event(now))
  if step then self:write(tensorboard.start_event(now, step + 1)) end
  return self
end

---@param event string
function EventFile:write(event)
  self.file:write(tensorboard.record(event))
end

---@param step integer
---@param values table<string, any> of which the numbers are written
function EventFile:scalars(step, values)
  local tags = {}
  for tag, value in pairs(values) do
    if type(value) == "number" then tags[#tags + 1] = tag end
  end
  table.sort(tags)
  for _, tag in ipairs(tags) do
    self:write(tensorboard.scalar_event(os.time(), step, tag, values[tag]))
  end
end

function EventFile:flush() self.file:flush() end

function EventFile:close() self.file:close() end

return tensorboard
