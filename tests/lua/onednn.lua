-- onednn.lua: the kernels of plugins/onednn, against the plain ones in float64; where it was built.
local t = require "tap"
local mw = require "moonwalk"

local path = (os.getenv "MOONWALK_BUILD" or "build") .. "/plugins/onednn.so"
local file = io.open(path)
if not file then
  t.skip("kernels by oneDNN", "plugins/onednn is not built: it wants oneDNN 2 (libdnnl-dev)")
  t.done()
end
file:close()

local function kernels_of(op)
  return (mw.kernel(op):gsub("(%S+) (%S+) [^\n]*", "%1 %2"))
end

-- Without it, and with it unasked for, the bits are the same --------------------------------------

mw.seed(3)
local x, w = mw.randn {2, 8, 12, 12}:eval(), mw.randn {16, 8, 3, 3}:eval()
local before = x:conv2d(w):eval()
local loaded, problem = pcall(mw.plugin, path)
if not loaded then
  t.skip("kernels by oneDNN", tostring(problem))
  t.done()
end
t.ok(kernels_of "conv2d":find "onednn f32", "conv2d has it")
t.ok(kernels_of "dense":find "onednn f32", "dense has it")
t.ok(mw.kernel "conv2d":find "onednn [^\n]*$", "it is the last of all")
t.is(x:conv2d(w):totable(), before:totable(), "loading it changes no bit")

-- Against the plain kernels in f64 ----------------------------------------------------------------

-- The largest difference, in terms of the largest number of `want`.
local function distance(got, want)
  local scale = want:abs():max():item()
  return (got:cast "f64" - want):abs():max():item() / (scale > 0 and scale or 1)
end

local function with(op, kernel, fn)
  mw.kernel(op, kernel)
  local results = table.pack(fn())
  mw.eval(table.unpack(results, 1, results.n))
  mw.kernel(op, false)
  return results
end

-- apply(x, w, b): the same in f32 by oneDNN and in f64 by the plain kernel; y and what is wanted of
-- dx, dw, db.
local function agree(name, op, tensors, wanted, apply)
  local function results(dtype)
    local args, of = {}, {}
    for i = 1, 3 do args[i] = tensors[i] and tensors[i]:cast(dtype):eval() end
    for _, i in ipairs(wanted) do of[#of + 1] = args[i] end
    local y = apply(table.unpack(args, 1, 3))
    local dy = mw.linspace(-1, 1, y:reshape {-1}.shape[1], dtype):reshape(y.shape)
    return y, table.unpack(mw.grad(y, of, dy))
  end
  local got = with(op, "onednn", function() return results "f32" end)
  local want = with(op, "plain", function() return results "f64" end)
  local worst = 0
  for i = 1, want.n do worst = math.max(worst, distance(got[i], want[i])) end
  t.ok(got.n == want.n and worst < 2e-5, ("%s: %.1e"):format(name, worst))
end

local convolutions = {
  {"3 to 8 channels", {2, 3, 11, 9}, {8, 3, 3, 3}, {padding = 1}},
  {"one channel, 5 x 5", {4, 1, 28, 28}, {6, 1, 5, 5}, {padding = 2}},
  {"stride 2, unlike in height and width", {1, 8, 13, 14}, {16, 8, 3, 5}, {stride = {2, 3}}},
  {"padding on two sides only", {2, 4, 7, 7}, {5, 4, 3, 3}, {padding = {2, 0, 0, 1}}},
  {"dilation", {1, 6, 15, 15}, {7, 6, 3, 3}, {dilation = {2, 3}, padding = 2}},
  {"groups", {2, 16, 9, 9}, {32, 4, 3, 3}, {groups = 4, padding = 1}},
  {"a group for each channel", {2, 16, 9, 9}, {16, 1, 3, 3}, {groups = 16, padding = 1}},
  {"1 x 1", {3, 17, 5, 5}, {9, 17, 1, 1}, {}},
  {"one pixel", {1, 1, 1, 1}, {1, 1, 1, 1}, {}},
  {"what no window reaches", {1, 2, 8, 8}, {3, 2, 3, 3}, {stride = 3}},
  {"many channels", {2, 64, 14, 14}, {64, 64, 3, 3}, {padding = 1}},
}
local wishes = {{1, 2, 3}, {2, 3}, {1}, {3}, {2}}

for threads = 1, 2 do
  mw.threads(threads)
  for i, case in ipairs(convolutions) do
    local name, image, filter, attributes = table.unpack(case)
    local tensors = {mw.randn(image):eval(), mw.randn(filter):eval(), mw.randn {filter[1]}:eval()}
    local function apply(a, b, c) return mw.conv2d(a, b, c, attributes) end
    local label = ("conv2d, %d threads, %s"):format(threads, name)
    agree(label, "conv2d", tensors, wishes[(i - 1) % #wishes + 1], apply)
    agree(label .. ", no bias", "conv2d", {tensors[1], tensors[2]}, {1, 2}, apply)
  end
  for i, size in ipairs {{64, 400, 120}, {1, 3, 5}, {7, 1, 1}, {128, 84, 10}} do
    local n, c, o = table.unpack(size)
    local tensors = {mw.randn {n, c}:eval(), mw.randn {o, c}:eval(), mw.randn {o}:eval()}
    local function apply(a, b, d) return mw.dense(a, b, d) end
    local label = ("dense, %d threads, %d x %d to %d"):format(threads, n, c, o)
    agree(label, "dense", tensors, wishes[i], apply)
    agree(label .. ", no bias", "dense", {tensors[1], tensors[2]}, {1, 2}, apply)
  end
end
agree("dense, leading axes", "dense", {mw.randn {2, 3, 4}:eval(), mw.randn {5, 4}:eval()}, {1, 2},
  function(a, b) return mw.dense(a, b) end)

-- What it leaves to others ------------------------------------------------------------------------

agree("flipped filters", "conv2d", {x, w}, {1, 2},
  function(a, b) return mw.conv2d(a, b, nil, {flip = true}) end)
t.is(with("conv2d", "onednn", function() return mw.zeros {0, 8, 5, 5}:conv2d(w) end)[1].shape,
  {0, 16, 3, 3}, "no images")
t.ok(with("conv2d", "onednn", function() return x:cast "f64":conv2d(w:cast "f64") end)[1],
  "f64 goes to another kernel")

-- mw.tune may pick it -----------------------------------------------------------------------------

mw.tune {file = false}
x:conv2d(w):eval()
t.ok(select(1, mw.core.tuned()):find "\tonednn@[^\t\n]+=[-%d]", "the tuner measures it")
mw.tune(false)
t.done()
