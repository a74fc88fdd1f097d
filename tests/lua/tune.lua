-- tune.lua: mw.tune: kernels chosen by measuring, the table and its file, and each kernel by name.
local t = require "tap"
local mw = require "moonwalk"

local refused = t.refuses
local folder = os.tmpname()
os.remove(folder)
os.execute("mkdir " .. folder)
local function path(name) return folder .. "/" .. name end

local function write(name, text)
  local file = assert(io.open(path(name), "wb"))
  file:write(text)
  file:close()
  return path(name)
end

local function read(name)
  local file = io.open(path(name), "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

mw.seed(5)
local x, w = mw.randn {2, 3, 9, 9}:eval(), mw.param(mw.randn {4, 3, 3, 3}:eval())

-- y and dw of a small convolution, as numbers.
local function compute()
  local y = x:conv2d(w, nil, {padding = 1})
  local dw = mw.grad((y * y):sum(), {w})[1]
  mw.eval(y, dw)
  return y, dw
end

local function choices_of(op)
  local found = {}
  for _, c in ipairs(mw.tune()) do
    if c.op == op then found[#found + 1] = c end
  end
  return found
end

-- At first: by priority ---------------------------------------------------------------------------

t.is(mw.tune().mode, "off", "it is off at first")
local y, dw = compute()
t.is(#mw.tune(), 0, "and nothing is measured")

-- Measuring ---------------------------------------------------------------------------------------

mw.tune {file = path "kernels"}
local y2, dw2 = compute()
local found = choices_of "conv2d"
t.ok(#found >= 2, "forward and backward of a convolution were measured")
for _, c in ipairs(found) do
  t.ok(c.times.plain or c.times[c.kernel], ("%s: %s has a time"):format(c.direction, c.kernel))
  local least = math.huge
  for _, time in pairs(c.times) do least = math.min(least, time) end
  t.is(c.seconds, least, "the least of all times is that of the kernel which is chosen")
  t.ok(c.seconds > 0 and c.seconds < 10, "in seconds")
  t.ok(c.call:find("f32[2,3,9,9]", 1, true) and c.call:find "padding=1,1,1,1",
    "shapes and attributes tell calls apart")
  t.ok(c.machine:find("threads=" .. mw.threads(), 1, true), "and so do threads")
end
t.near(y2:totable(), y:totable(), 1e-5, "the value is the same within rounding")
t.near(dw2:totable(), dw:totable(), 1e-3, "and so is the gradient")
t.ok(tostring(mw.tune()):find "conv2d backward", "tostring shows the choices")
local text = read "kernels"
t.ok(text and text:find "^moonwalk kernels 1\n", "the file is written when a program was compiled")

-- A second time nothing is measured: the table is as it was, also read from the file.
mw.tune {file = path "kernels"}
t.is(#choices_of "conv2d", #found, "the file is read")
compute()
t.is(read "kernels", text, "what is in the table is not measured again")

-- What the table says is done: with a table that calls the slow kernel fast.
local function with_times(plain, others)
  return (text:gsub("([^\t\n=@]+@[^\t\n=]+)=[%d-]+", function(id)
    return id .. "=" .. (id:find "^plain@" and plain or others)
  end))
end
write("plain", with_times(1, 1000000))
mw.kernel("conv2d", "plain")
local plain_y, plain_dw = compute()
mw.kernel("conv2d", false)
mw.tune(path "plain")
local pinned_y, pinned_dw = compute()
t.is(pinned_y:totable(), plain_y:totable(), "a pinned table says plain: the bits of plain")
t.is(pinned_dw:totable(), plain_dw:totable(), "in the gradient, too")
t.is(mw.tune().mode, "pinned", "it says that it is pinned")

-- Pinned, nothing is measured; other machines' choices hold; preferring by name still wins.
local before = #mw.tune()
mw.randn {1, 3, 5, 5}:conv2d(w):eval()
t.is(#mw.tune(), before, "what is not in a pinned table is not measured")
t.is(read "plain", with_times(1, 1000000), "nor is the file written")
write("elsewhere", (with_times(1, 1000000):gsub("threads=%d+ [^\t]+", "threads=77 another")))
mw.tune(path "elsewhere")
t.is((compute()):totable(), plain_y:totable(), "a pinned table of another machine")
local fast
for line in mw.kernel "conv2d":gmatch "[^\n]+" do
  fast = fast or line:match "^(%S+) f32"
end
mw.kernel("conv2d", fast)
t.is((compute()):totable(), y:totable(), "mw.kernel wins over the table")
mw.kernel("conv2d", false)

-- Kernels that are gone, or new -------------------------------------------------------------------

write("gone", (with_times(1000, 1000000):gsub("(\tplain@)", "\tvanished@/no/such.so@9=1%1")))
mw.tune(path "gone")
t.is((compute()):totable(), plain_y:totable(), "a kernel that is gone: the best of the others")
write("new", (text:gsub("\tplain@[^\t\n]+", "")))
mw.tune {file = path "new"}
compute()
t.ok(choices_of "conv2d"[1].times.plain or read "new":find "plain@[^\t\n]+=%-",
  "a kernel that was not there then: measured again")

mw.tune(false)
t.is((compute()):totable(), y:totable(), "off: by priority again")

-- Files that are no tables ------------------------------------------------------------------------

local function survives(name, content, what, keeps)
  write(name, content)
  local result = mw.tune {file = path(name)}
  t.near((compute()):totable(), y:totable(), 1e-5, what)
  t.ok(result.note, what .. ": it says so: " .. tostring(result.note))
  if keeps then t.is(read(name), content, what .. ": the file is left alone") end
end
survives("script", "print 'hello'\n", "a file of something else", true)
survives("later", "moonwalk kernels 2\nx\ty\tz\n", "a file of a later version", true)
survives("binary", ("\0\1\2\255"):rep(1000), "bytes", true)
survives("cut", text:sub(1, -20), "a file that was cut off")
survives("garbage", table.concat({"moonwalk kernels 1", "", "\t\t", "conv2d\tm\tx",
  "conv2d\tm\tgemm@a@b=1e9", "a\tb\tc@d=" .. ("9"):rep(40), ("z"):rep(100000), "q\tr\ts@\0=1",
  ""}, "\n"), "lines of nonsense")
t.ok(read "garbage":find "^moonwalk kernels 1\nconv2d", "the nonsense is gone when it is written")
write("empty", "")
t.is(mw.tune {file = path "empty"}.note, nil, "an empty file is as good as none")
compute()
t.ok(read "empty" ~= "", "and is written")
mw.tune {file = path "no/folder/kernels"}
t.near((compute()):totable(), y:totable(), 1e-5, "a file that cannot be written")
t.ok(mw.tune().note:find "is not written: No such file", "it says so")
mw.tune {file = folder}
t.near((compute()):totable(), y:totable(), 1e-5, "a folder")
t.ok(mw.tune().note, "it says so: " .. tostring(mw.tune().note))

refused("missing: there is no such file", function() mw.tune(path "missing") end)
refused("its first line is not", function() mw.tune(path "script") end)
refused("table of options is 7", function() mw.tune(7) end)
refused("did you mean \"file\"", function() mw.tune {files = "x"} end)
refused("budget is -1", function() mw.tune {budget = -1} end)
refused("file is 3, expected a path", function() mw.tune {file = 3} end)

-- A budget ----------------------------------------------------------------------------------------

mw.tune {file = false, budget = 1e-9}
compute()
local spent = #mw.tune()
t.ok(spent <= 1, "a budget that is used up by the first call: " .. spent)

-- Ops whose backward reads what forward saved, or whole numbers
mw.tune {file = false}
local image = mw.param(mw.randn {2, 3, 8, 8}:eval())
local loss = image:maxpool {kernel = 2}:reshape {2, 48}:cross_entropy(mw.tensor({1, 2}, "i64"))
t.ok(mw.grad(loss, {image})[1]:eval(), "pooling, labels")
mw.tune(false)
os.execute("rm -r " .. folder)
t.done()
