-- files.lua: mw.save and mw.load: safetensors and .npy, damaged and hostile files, failed writes.
local mw = require "moonwalk"
local t = require "tap"

local folder = require "folder"
local FOLDER, put, contents = folder.path, folder.put, folder.contents

-- How many files the folder has.
local function file_count()
  local listing = assert(io.popen(("ls -A '%s' | wc -l"):format(FOLDER)))
  local count = math.tointeger(tonumber((listing:read "a")))
  listing:close()
  return count
end

local function container(header, data)
  return string.pack("<I8", #header) .. header .. (data or "")
end

-- Round trips ------------------------------------------------------------------------------------

local function sample(dtype)
  if dtype == "bool" then return mw.tensor({{true, false, true}, {false, false, true}}, "bool") end
  return mw.tensor({{0, 1, 2}, {3, 100, 7}}, dtype)
end

do
  local path = FOLDER .. "/all.safetensors"
  local tensors = {}
  for _, dtype in ipairs {"f32", "f64", "i32", "i64", "u8", "bool"} do
    tensors["matrix." .. dtype] = sample(dtype)
    tensors["empty." .. dtype] = mw.zeros({0, 3}, dtype)
    tensors["scalar." .. dtype] = mw.tensor(dtype == "bool" or 42, dtype)
  end
  tensors["a name\twith \"quotes\" \\ and \u{e9}\u{1F319}"] = mw.ones {2}
  tensors.big = mw.randn({50, 70}, "f64")
  tensors["not computed yet"] = mw.ones {3} * 2
  tensors.rank8 = mw.ones {1, 2, 1, 2, 1, 2, 1, 2}
  local nan = mw.tensor({0 / 0, math.huge, -math.huge, -0.0, 5e-324, 1.7976931348623157e308}, "f64")
  tensors.special = nan
  tensors.extremes = mw.tensor({math.maxinteger, math.mininteger, 2 ^ 53 + 1 | 0}, "i64")
  t.is(mw.save(path, tensors, {origin = "test", ["a\nb"] = "\"c\""}), true, "saved")
  local loaded, metadata = mw.load(path)
  t.ok(loaded, "loaded")
  t.is(metadata, {origin = "test", ["a\nb"] = "\"c\""}, "metadata come back")
  local names, wrong = 0, {}
  for name, tensor in pairs(tensors) do
    local other = loaded[name]
    if not other or other.dtype ~= tensor.dtype or table.concat(other.shape, ",")
      ~= table.concat(tensor.shape, ",") or mw.core.bytes(other) ~= mw.core.bytes(tensor) then
      wrong[#wrong + 1] = name
    end
    names = names + 1
  end
  for _ in pairs(loaded) do names = names - 1 end
  t.is({wrong, names}, {{}, 0}, "every dtype, shape and byte comes back, and no other tensor")

  local bytes = contents(path)
  local length = string.unpack("<I8", bytes)
  t.is(length % 8, 0, "the header's length is a multiple of 8")
  local header = assert(mw.json.decode(bytes:sub(9, 8 + length)))
  t.is(header["matrix.i64"].dtype, "I64", "dtypes are the format's")
  t.is(header["matrix.i64"].shape, {2, 3}, "so are shapes")
  local offsets = header["scalar.i32"].data_offsets
  t.is(bytes:sub(9 + length + offsets[1], 8 + length + offsets[2]), "\42\0\0\0",
    "little-endian bytes")
  local aligned = true
  local sizes = {F32 = 4, F64 = 8, I32 = 4, I64 = 8, U8 = 1, BOOL = 1}
  for name, entry in pairs(header) do
    if name ~= "__metadata__" then
      aligned = aligned and entry.data_offsets[1] % sizes[entry.dtype] == 0
    end
  end
  t.ok(aligned, "every tensor is aligned")
  mw.save(path, tensors, {origin = "test", ["a\nb"] = "\"c\""})
  t.ok(contents(path) == bytes, "the same tensors give the same file")

  t.is(mw.save(path, {}), true, "a file without tensors can be saved")
  loaded, metadata = mw.load(path)
  t.is({loaded, metadata}, {{}, {}}, "and loaded")
  t.is(file_count(), 1, "no temporary file stays")
end

do
  -- Written by hand, by the format's description.
  local path = put("hand.safetensors", container(
    '{"b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},'
    .. '"a":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]}}   ',
    "\1\2" .. string.pack("<ff", 1.5, -2)))
  local loaded = mw.load(path)
  t.is({loaded.a:totable(), loaded.b:totable()}, {{{1}, {2}}, {1.5, -2}}, "a file written by hand")
end

-- Hostile files ----------------------------------------------------------------------------------

local function entry(name, dtype, shape, first, last)
  return ('"%s":{"dtype":"%s","shape":%s,"data_offsets":[%s,%s]}'):format(name, dtype, shape,
    first, last)
end

local data8 = ("\0"):rep(8)
for i, case in ipairs {
  {"an empty file", "", "has only 0 bytes"},
  {"seven bytes", "\1\2\3\4\5\6\7", "has only 7 bytes"},
  {"a header longer than the file", string.pack("<I8", 1000) .. "{}", "would have 1000 bytes"},
  {"a header of 2^63 bytes and more", string.pack("<i8", -1) .. "{}", "more than 2%^63"},
  {"a header of 2^62 bytes", string.pack("<i8", 1 << 62) .. "{}", "would have 4611686018427387904"},
  {"a header of no bytes", string.pack("<i8", 0), "would have 0 bytes"},
  {"not JSON", container "this is no JSON", "its header is not JSON"},
  {"JSON cut", container '{"a":', "bad JSON"},
  {"JSON and then something", container '{} {}', "bad JSON"},
  {"a list", container '[1,2,3]', "its header is not JSON"},
  {"deep nesting", container('{"a":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}"), "JSON"},
  {"a name twice", container("{" .. entry("a", "U8", "[4]", 0, 4) .. ","
    .. entry("a", "U8", "[4]", 4, 8) .. "}", data8), "twice"},
  {"an entry that is a number", container '{"a":3}', 'tensor "a": its entry is not an object'},
  {"an entry that is null", container '{"a":null}', 'tensor "a": '},
  {"an entry that is a list", container '{"a":[]}', 'tensor "a": it has no dtype'},
  {"no dtype", container('{"a":{"shape":[1],"data_offsets":[0,1]}}', "x"), "no dtype"},
  {"no shape", container('{"a":{"dtype":"U8","data_offsets":[0,1]}}', "x"), "its shape is"},
  {"no offsets", container('{"a":{"dtype":"U8","shape":[1]}}', "x"), "not two positions"},
  {"one offset", container('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', "x"),
    "not two positions"},
  {"an unknown field",
    container('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', "x"),
    'unknown field "x"'},
  {"F16", container("{" .. entry("a", "F16", "[4]", 0, 8) .. "}", data8), 'its dtype is F16; Moon'},
  {"BF16", container("{" .. entry("a", "BF16", "[4]", 0, 8) .. "}", data8), "its dtype is BF16"},
  {"I8", container("{" .. entry("a", "I8", "[8]", 0, 8) .. "}", data8), "its dtype is I8"},
  {"a dtype of ours", container("{" .. entry("a", "f32", "[2]", 0, 8) .. "}", data8), "is f32"},
  {"a size below 0", container("{" .. entry("a", "U8", "[-8]", 0, 8) .. "}", data8), "its shape"},
  {"a fraction as size", container("{" .. entry("a", "U8", "[8.5]", 0, 8) .. "}", data8), "shape"},
  {"a shape that is no list", container("{" .. entry("a", "U8", "8", 0, 8) .. "}", data8), "shape"},
  {"text as size", container("{" .. entry("a", "U8", '["8"]', 0, 8) .. "}", data8), "its shape"},
  {"rank 9", container("{" .. entry("a", "U8", "[1,1,1,1,1,1,1,1,8]", 0, 8) .. "}", data8), "rank"},
  {"a shape larger than its data", container("{" .. entry("a", "F32", "[3]", 0, 8) .. "}", data8),
    "F32 %[3%] takes 12 bytes, its data has 8"},
  {"a shape smaller than its data", container("{" .. entry("a", "F32", "[1]", 0, 8) .. "}", data8),
    "takes 4 bytes, its data has 8"},
  {"a shape that overflows", container("{" .. entry("a", "U8", "[4294967296,4294967296,8]", 0, 8)
    .. "}", data8), "takes more than 2%^46 bytes"},
  {"an empty shape that overflows", container("{" .. entry("a", "U8",
    "[0,4294967296,4294967296]", 0, 0) .. "}"), "takes more than 2%^46 bytes"},
  {"a shape that overflows to its size", container("{" .. entry("a", "F64",
    "[2305843009213693953]", 0, 8) .. "}", data8), 'tensor "a"'},
  {"offsets in the wrong order", container("{" .. entry("a", "U8", "[8]", 8, 0) .. "}", data8),
    "its data is at 8 to 0"},
  {"offsets below 0", container("{" .. entry("a", "U8", "[8]", -8, 0) .. "}", data8), "positions"},
  {"offsets behind the end", container("{" .. entry("a", "U8", "[9]", 0, 9) .. "}", data8),
    "its data is at 0 to 9, the file's data goes from 0 to 8"},
  {"huge offsets", container("{" .. entry("a", "U8", "[8]", "9223372036854775800",
    "9223372036854775808") .. "}", data8), 'tensor "a"'},
  {"tensors that overlap", container("{" .. entry("a", "U8", "[5]", 0, 5) .. ","
    .. entry("b", "U8", "[4]", 4, 8) .. "}", data8), '"b": its data begins at 4, expected 5'},
  {"two tensors in one place", container("{" .. entry("a", "U8", "[8]", 0, 8) .. ","
    .. entry("b", "U8", "[8]", 0, 8) .. "}", data8), "tensors overlap"},
  {"a hole", container("{" .. entry("a", "U8", "[3]", 0, 3) .. ","
    .. entry("b", "U8", "[4]", 4, 8) .. "}", data8), "there is a hole"},
  {"data before the first", container("{" .. entry("a", "U8", "[7]", 1, 8) .. "}", data8), "hole"},
  {"data behind the last", container("{" .. entry("a", "U8", "[7]", 0, 7) .. "}", data8),
    "its tensors end at 7, its data at 8"},
  {"data without tensors", container("{}", data8), "its tensors end at 0, its data at 8"},
  {"metadata that is a number", container '{"__metadata__":3}', "__metadata__ are not strings"},
  {"metadata with a number", container '{"__metadata__":{"a":3}}', "__metadata__ are not strings"},
  {"a bool of 2", container("{" .. entry("a", "BOOL", "[8]", 0, 8) .. "}", "\0\1\2\0\0\0\0\0"),
    "a BOOL is neither 0 nor 1"},
} do
  local path = put(("hostile%d.safetensors"):format(i), case[2])
  local loaded, message = mw.load(path)
  t.ok(loaded == nil and type(message) == "string" and message:find(case[3]),
    ("%s: %s"):format(case[1], tostring(message):sub(#FOLDER + 2, #FOLDER + 200)))
end

do
  -- Damage everywhere in a good file: a result or a message, never an error or a crash.
  local good = container("{" .. entry("a", "F32", "[2]", 0, 8) .. "}", data8)
  local outcomes = 0
  for i = 1, #good do
    for _, byte in ipairs {0, 34, 45, 57, 255} do
      local damaged = good:sub(1, i - 1) .. string.char(byte) .. good:sub(i + 1)
      local called, loaded, message = pcall(mw.load, put("fuzz.safetensors", damaged))
      outcomes = outcomes + ((called and (loaded or message)) and 1 or 0)
    end
    local _, message = mw.load(put("fuzz.safetensors", good:sub(1, i - 1)))
    outcomes = outcomes + (type(message) == "string" and 1 or 0)
  end
  t.is(outcomes, 6 * #good, "damaged bytes give tensors or a message")
end

-- Files that cannot be read or written -----------------------------------------------------------

for _, case in ipairs {
  {"a file that is not there", FOLDER .. "/none.safetensors", "No such file"},
  {"a folder", FOLDER, "not a regular file"},
} do
  local loaded, message = mw.load(case[2])
  t.ok(loaded == nil and message:find(case[3]) and message:find(case[2], 1, true),
    "load " .. case[1] .. ": " .. message)
end
do
  t.is(mw.core.fsync(FOLDER), true, "fsync of a folder")
  local done, why = mw.core.fsync(FOLDER .. "/none")
  t.ok(done == nil and why:find "none: No such file", "fsync of what is not there")
  local saved, message = mw.save(FOLDER .. "/no/such/folder.safetensors", {a = mw.ones {2}})
  t.ok(saved == nil and message:find "No such file", "save into no folder: " .. tostring(message))
  assert(os.execute(("mkdir '%s/taken.safetensors'"):format(FOLDER)))
  local before = file_count()
  saved, message = mw.save(FOLDER .. "/taken.safetensors", {a = mw.ones {2}})
  t.ok(saved == nil and message:find "taken", "save over a folder: " .. tostring(message))
  t.is(file_count(), before, "no temporary file stays")

  -- A stale tensor cannot be computed: the error comes through, and the old file stays.
  local path = FOLDER .. "/kept.safetensors"
  assert(mw.save(path, {a = mw.ones {2}}))
  local old, p = contents(path), mw.param(mw.ones {2})
  local stale = p * 2
  mw.optim.SGD({p}, {lr = 1}):step(p:sum())
  before = file_count()
  t.error(function() mw.save(path, {a = stale}) end, "stale", "saving a stale tensor is an error")
  t.ok(contents(path) == old and file_count() == before, "and leaves all as it was")

  -- A disk that is full, played by a limit on the size of files.
  local script = put("full.lua", ([[
    local mw = require "moonwalk"
    print(mw.save(%q, {a = mw.zeros {100000}}))
  ]]):format(path))
  local command = ("trap '' XFSZ; ulimit -f 8; '%s' '%s' 2>&1"):format(arg[-1], script)
  local run = assert(io.popen(command))
  local said = run:read "a"
  run:close()
  t.ok(said:find "^nil\t.*kept.safetensors: File too large", "a full disk")
  t.ok(contents(path) == old, "the old file stays")
  t.is(file_count(), before + 1, "no temporary file stays")
end

-- .npy -------------------------------------------------------------------------------------------

do
  local path = FOLDER .. "/x.npy"
  for _, dtype in ipairs {"f32", "f64", "i32", "i64", "u8", "bool"} do
    local tensor = sample(dtype)
    t.is(mw.save(path, tensor), true, "npy: saved " .. dtype)
    local loaded, message = mw.load(path)
    t.is(loaded and {loaded.dtype, loaded.shape, loaded:totable()} or message,
      {dtype, {2, 3}, tensor:totable()}, "npy: loaded " .. dtype)
  end
  for _, tensor in ipairs {mw.tensor(1.5), mw.zeros {0}, mw.ones {7}, mw.ones {1, 2, 3, 4}} do
    assert(mw.save(path, tensor))
    local bytes = contents(path)
    t.is(bytes:find("\n", 1, true) % 64, 0, "npy: the data is aligned")
    t.is({mw.load(path).shape, mw.load(path):totable()}, {tensor.shape, tensor:totable()},
      "npy: rank " .. #tensor.shape)
  end
  -- As numpy 1.24 writes numpy.arange(3, dtype='<i4').reshape(1, 3).
  local header = "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 3), }"
  local function npy(text, rest)
    text = text .. (" "):rep(117 - #text) .. "\n"
    return "\x93NUMPY\1\0" .. string.pack("<s2", text) .. rest
  end
  local ints = string.pack("<i4i4i4", 0, 1, 2)
  t.is(mw.load(put("n.npy", npy(header, ints))):totable(), {{0, 1, 2}}, "npy: a file of numpy's")
  for _, case in ipairs {
    {"", "not an .npy file"},
    {"\x93NUMPX\1\0" .. ints, "not an .npy file"},
    {"\x93NUMPY\9\0" .. ints, "version 9"},
    {"\x93NUMPY\1\0", "truncated"},
    {"\x93NUMPY\1\0\255\255{", "truncated"},
    {"\x93NUMPY\2\0\255\255\0\0{", "truncated"},
    {"\x93NUMPY\2\0" .. string.pack("<s4", ("'shape':("):rep(200000)), "more than 65536"},
    {npy("{'descr': '<i4'}", ints), "header cannot be read"},
    {npy(header:gsub("%(1, 3%)", "(1, x)"), ints), "header cannot be read"},
    {npy(header:gsub("%(1, 3%)", "(-1, 3)"), ints), "header cannot be read"},
    {npy(header:gsub("<i4", "<u8"), ints), 'its elements are "<u8"'},
    {npy(header:gsub("<i4", "<f2"), ints), "takes 6 bytes, its data has 12"},
    {npy(header:gsub("<i4", "|O"), ints), 'its elements are "|O"'},
    {npy(header:gsub("False", "Maybe"), ints), "header cannot be read"},
    {npy(header:gsub("%(1, 3%)", "(1, 4)"), ints), "takes 16 bytes, its data has 12"},
    {npy(header:gsub("%(1, 3%)", "(1, 2)"), ints), "takes 8 bytes, its data has 12"},
    {npy(header:gsub("%(1, 3%)", "(4294967296, 4294967296)"), ints), "shape is too large"},
    {npy(header:gsub("%(1, 3%)", "(0, 4294967296, 4294967296)"), ""), "shape is too large"},
    {npy(header:gsub("%(1, 3%)", "(99999999999999999999,)"), ints), "header cannot be read"},
    {npy(header:gsub("%(1, 3%)", "(1,1,1,1,1,1,1,1,3)"), ints), "rank 9"},
    {npy(header:gsub("<i4", "|b1"), ints:sub(-4, -2)), "a bool is neither"},
  } do
    local loaded, message = mw.load(put("bad.npy", case[1]))
    t.ok(loaded == nil and tostring(message):find(case[2]),
      "npy: " .. tostring(message):match "[^/]*$")
  end
  -- Types that tensors have not, and Fortran's order.
  for _, case in ipairs {
    {"<i2", "<i2i2i2", {0, -1, 258}, "i32"}, {">i2", ">i2i2i2", {0, -1, 258}, "i32"},
    {"|i1", "i1i1i1", {0, -128, 127}, "i32"}, {"<u2", "<I2I2I2", {0, 65535, 258}, "i32"},
    {"<u4", "<I4I4I4", {0, 4294967295, 258}, "i64"}, {">f8", ">ddd", {0, 1.5, -1e300}, "f64"},
    {">f4", ">fff", {0, 1.5, -0.25}, "f32"}, {">i8", ">i8i8i8", {0, -2, 1 << 40}, "i64"},
  } do
    local bytes = npy(header:gsub("<i4", case[1]), string.pack(case[2], table.unpack(case[3])))
    local loaded, message = mw.load(put("t.npy", bytes))
    t.is(loaded and {loaded.dtype, loaded:totable()} or message, {case[4], {case[3]}},
      "npy: " .. case[1])
  end
  -- 16 bits: 1.5, -2, the largest, the least, and infinity (IEEE 754).
  local halves = string.pack("<I2I2I2I2I2", 0x3e00, 0xc000, 0x7bff, 0x0001, 0x7c00)
  local text = header:gsub("<i4", "<f2"):gsub("%(1, 3%)", "(5,)")
  t.is(mw.load(put("h.npy", npy(text, halves))):totable(), {1.5, -2, 65504, 2.0 ^ -24, math.huge},
    "npy: <f2")
  text = header:gsub("False", "True"):gsub("%(1, 3%)", "(2, 3)")
  t.is(mw.load(put("f.npy", npy(text, string.pack("<i4i4i4i4i4i4", 1, 2, 3, 4, 5, 6)))):totable(),
    {{1, 3, 5}, {2, 4, 6}}, "npy: Fortran's order")

  local good, tried = npy(header, ints), 0
  for i = 1, #good do
    for bit = 0, 7 do
      local flipped = string.char(good:byte(i) ~ (1 << bit))
      local loaded, message = mw.load(put("fuzz.npy", good:sub(1, i - 1) .. flipped
        .. good:sub(i + 1)))
      tried = tried + ((loaded or message) and 1 or 0)
    end
    mw.load(put("fuzz.npy", good:sub(1, i - 1)))
  end
  t.is(tried, 8 * #good, "npy: flipped bits give an error or a tensor")
end

-- .npz -------------------------------------------------------------------------------------------

do
  local path = FOLDER .. "/x.npz"
  local tensors = {x = mw.arange(0, 5, 1), ["a b"] = mw.tensor(3, "i64"), z = mw.zeros {0, 3}}
  t.is(mw.save(path, tensors), true, "npz: saved")
  local loaded = assert(mw.load(path))
  t.is({loaded.x:totable(), loaded["a b"]:item(), loaded.z.shape, loaded["a b"].dtype},
    {{0, 1, 2, 3, 4, 5}, 3, {0, 3}, "i64"}, "npz: loaded")
  if os.execute "command -v unzip >/dev/null" then
    t.ok(os.execute(("unzip -tq '%s' >/dev/null"):format(path)), "npz: unzip accepts it")
  else
    t.skip("npz: unzip accepts it", "unzip is not there")
  end
  -- numpy.savez_compressed(x = numpy.full((4, 5), 258, '<u2'), s = numpy.float32(1.5)), numpy 1.24
  local hex = ""
    .. "504b030414000000080000002100d5442d504a000000a800000005001400782e6e707901001000a800000000"
    .. "0000004a000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e536aa4aea3a09e965f5452"
    .. "9498179f5f94920a12774bcc294e058a17672416a402f91a263a0aa69a3a0ab50a64032e2646e22000504b03"
    .. "04140000000800000021002513e65d460000008400000005001400732e6e7079010010008400000000000000"
    .. "46000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f5452949817"
    .. "9f5f94920a12774bcc294e058a17672416a402f91a9a3a0ab50a14012e068603f600504b0102140314000000"
    .. "080000002100d5442d504a000000a8000000050000000000000000000000800100000000782e6e7079504b01"
    .. "021403140000000800000021002513e65d460000008400000005000000000000000000000080018100000073"
    .. "2e6e7079504b0506000000000200020066000000fe0000000000"
  local numpys = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
  loaded = assert(mw.load(put("n.npz", numpys)))
  t.is({loaded.x.dtype, loaded.x.shape, loaded.x:sum():item(), loaded.s:item(), loaded.s.dtype},
    {"i32", {4, 5}, 20 * 258, 1.5, "f32"}, "npz: a file of numpy's")

  for _, case in ipairs {
    {"", "not a zip archive"}, {("x"):rep(1000), "not a zip archive"},
    {numpys:sub(1, -2), "not a zip archive"},
    {numpys:sub(2), "damaged"}, -- every offset is off by one
    {numpys:sub(1, 60) .. "\0" .. numpys:sub(62), "x.npy: damaged"},
  } do
    local bad, message = mw.load(put("bad.npz", case[1]))
    t.ok(bad == nil and tostring(message):find(case[2], 1, true),
      "npz: " .. tostring(message):match "[^/]*$")
  end
  local tried = 0
  for i = 1, #numpys do
    for _, byte in ipairs {0, 255, numpys:byte(i) ~ 1} do
      local damaged = numpys:sub(1, i - 1) .. string.char(byte) .. numpys:sub(i + 1)
      local got, message = mw.load(put("fuzz.npz", damaged))
      tried = tried + ((got or message) and 1 or 0)
    end
    mw.load(put("fuzz.npz", numpys:sub(1, i - 1)))
  end
  t.is(tried, 3 * #numpys, "npz: damaged bytes give an error or tensors")
  t.error(function() mw.save(path, {}, {a = "b"}) end, "npz has no place for metadata",
    "npz: no metadata")
end

-- Wrong arguments --------------------------------------------------------------------------------

for _, case in ipairs {
  {function() mw.save(3, {}) end, "save: the path is 3, expected"},
  {function() mw.save(FOLDER .. "/a", mw.ones {2}) end, "expected a table of tensors by name"},
  {function() mw.save(FOLDER .. "/a", {a = 3}) end, 'what is named "a" is 3, expected a tensor'},
  {function() mw.save(FOLDER .. "/a", {mw.ones {2}}) end, "a name is 1, expected a string"},
  {function() mw.save(FOLDER .. "/a", {__metadata__ = mw.ones {2}}) end, "other than __meta"},
  {function() mw.save(FOLDER .. "/a", {}, {a = 3}) end, 'metadata "a" is 3, expected'},
  {function() mw.save(FOLDER .. "/a", {}, "text") end, "the metadata is .*, expected a table"},
  {function() mw.save(FOLDER .. "/a.npy", {a = mw.ones {2}}) end, "goes to .npy is a table"},
  {function() mw.load(nil) end, "load: the path is nil, expected a string"},
  {function() mw.load "a\0.npy" end, 'load: the path has a NUL character: "a'},
  {function() mw.save("a\0.npy", mw.ones {2}) end, 'save: the path has a NUL character: "a'},
} do
  local message = t.error(case[1], case[2], "error: " .. case[2])
  t.ok(message and message:find "^tests/lua/files.lua:%d+: ", "at the user's line")
end

do -- What a reader would refuse is not written.
  local path = FOLDER .. "/refused.safetensors"
  for _, case in ipairs {
    {{["a\0b"] = mw.ones {2}}, nil, 'the name "a\\0b" has a NUL character'},
    {{a = mw.ones {2}}, {note = "a\0b"}, 'the metadata "note" has a NUL character'},
    {{a = mw.ones {2}}, {note = "\255"}, 'the metadata "note" is not UTF-8'},
  } do
    local saved, message = mw.save(path, case[1], case[2])
    t.ok(saved == nil and tostring(message):find(case[3], 1, true), "refused: " .. case[3])
  end
  t.is(mw.load(path), nil, "nothing was written")
end

folder.remove()
t.done()
