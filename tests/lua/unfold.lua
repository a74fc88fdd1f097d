-- unfold.lua: unfold and fold, upsample, and the convolutions of sequences and volumes against the
-- one of images.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(12)
local inf = 1 / 0

local function random(...) return mw.randn({...}, "f64"):eval() end

local function same(a, b, name)
  t.near(a:totable(), b:totable(), 1e-12, name)
end

local function bits_of(threads, fn)
  core.threads(threads)
  local bits = {}
  for i, tensor in ipairs(fn()) do bits[i] = core.bytes(tensor) end
  core.threads(1)
  return table.concat(bits)
end

local function fails(op, pattern, name, ...)
  local arguments = table.pack(...)
  t.error(function() mw[op](table.unpack(arguments, 1, arguments.n)) end, pattern,
    op .. ": " .. name)
end

-- unfold and fold ---------------------------------------------------------------------------------

t.is(mw.unfold(mw.tensor {{{{1, 2, 3}, {4, 5, 6}}}}, {kernel = 2}):totable(),
  {{{1, 2}, {2, 3}, {4, 5}, {5, 6}}}, "the rows are the kernel's elements, the columns the windows")
t.is(mw.fold(mw.ones {1, 4, 4}, {size = 3, kernel = 2}):totable(),
  {{{{1, 2, 1}, {2, 4, 2}, {1, 2, 1}}}}, "fold counts the windows that cover a pixel")
t.is(mw.fold(mw.ones {1, 1, 4}, {size = 4, kernel = 1, stride = 2}):totable(),
  {{{{1, 0, 1, 0}, {0, 0, 0, 0}, {1, 0, 1, 0}, {0, 0, 0, 0}}}}, "what no window covers is 0")
t.is(mw.unfold(mw.zeros {1, 1, 2, 2}, {kernel = 1, padding = 5, stride = 12}):totable(), {{{0}}},
  "a window within the padding sees zeros")

do
  local windows = {kernel = {3, 2}, stride = {2, 1}, padding = {1, 0, 2, 1}, dilation = {1, 2}}
  local folding = {size = {6, 7}}
  for name, value in pairs(windows) do folding[name] = value end
  local x, w = random(2, 3, 6, 7), random(4, 3, 3, 2)
  local columns = mw.unfold(x, windows)
  local y = mw.conv2d(x, w, nil, {stride = {2, 1}, padding = {1, 0, 2, 1}, dilation = {1, 2}})
  same(w:reshape {4, 18}:matmul(columns), y:reshape {2, 4, -1},
    "filters times the columns are the convolution")
  local c = random(table.unpack(columns.shape))
  same(mw.grad(columns, {x}, c)[1], mw.fold(c, folding), "fold is unfold's gradient")
  same(mw.grad(mw.fold(c, folding), {c}, x)[1], columns, "unfold is fold's gradient")
  local x32 = mw.randn {3, 5, 40, 41}
  local function run()
    local made = mw.unfold(x32, {kernel = 3})
    return {made, mw.fold(made, {size = {40, 41}, kernel = 3})}
  end
  t.ok(bits_of(1, run) == bits_of(2, run), "one and two threads give the same bits")
end

local image = mw.zeros {1, 2, 4, 5}
fails("unfold", "x is f32%[2,4,5%], expected rank 4.*x:reshape{1, 2, 4, 5}", "no batch",
  mw.zeros {2, 4, 5}, {kernel = 2})
fails("unfold", "kernel", "no kernel", image)
fails("unfold", "the window's height 5 %(dilated%) is larger than the padded image's 4",
  "a window that is too large", image, {kernel = 3, dilation = 2})
fails("unfold", "padding", "three paddings", image, {kernel = 2, padding = {1, 2, 3}})
fails("fold", "x is f32%[1,2,4,5%], expected rank 3", "images for columns", image,
  {size = 3, kernel = 2})
fails("fold", "its second size is not a multiple of the kernel's 4 elements", "another kernel",
  mw.zeros {1, 6, 4}, {size = 3, kernel = 2})
fails("fold", "x is f32%[1,4,5%], expected f32%[1,4,4%]: images of 3 x 3 have 2 x 2 windows",
  "another number of windows", mw.zeros {1, 4, 5}, {size = 3, kernel = 2})
fails("fold", "the window's width 2 is larger than the padded image's 1", "images too small",
  mw.zeros {1, 4, 4}, {size = {3, 1}, kernel = 2})

-- upsample ----------------------------------------------------------------------------------------

local square = mw.tensor {{{{1, 2}, {3, 4}}}}
t.is(mw.upsample(square, {scale = {1, 2}}):totable(), {{{{1, 1, 2, 2}, {3, 3, 4, 4}}}},
  "nearest repeats")
t.is(mw.upsample(mw.tensor {{{{1, 2, 3, 4, 5}}}}, {size = {1, 3}}):totable(), {{{{1, 2, 4}}}},
  "nearest to a smaller size takes floor(i 5 / 3)")
-- These are the numbers of PyTorch's interpolate().
t.is(mw.upsample(square, {scale = 2, mode = "bilinear"}):totable(),
  {{{{1, 1.25, 1.75, 2}, {1.5, 1.75, 2.25, 2.5}, {2.5, 2.75, 3.25, 3.5}, {3, 3.25, 3.75, 4}}}},
  "bilinear: half of a pixel in from the edges")
t.near(mw.upsample(square, {size = {2, 4}, mode = "bilinear", align_corners = true}):totable(),
  {{{{1, 4 / 3, 5 / 3, 2}, {3, 10 / 3, 11 / 3, 4}}}}, 1e-6, "bilinear: from corner to corner")
t.is(mw.upsample(mw.tensor {{{{1, 2, 3, 4}}}}, {size = {1, 2}, mode = "bilinear"}):totable(),
  {{{{1.5, 3.5}}}}, "bilinear to a smaller size")
for _, mode in ipairs {"nearest", "bilinear"} do
  local x = mw.tensor {{{{inf, 1, 0 / 0, 2}}}}
  local y = mw.upsample(x, {scale = 1, mode = mode}):totable()[1][1][1]
  t.ok(y[1] == inf and y[2] == 1 and y[3] ~= y[3] and y[4] == 2,
    mode .. ": the same size leaves infinity and NaN where they were")
  local function run()
    local big = mw.randn {2, 9, 30, 31}
    local dy = mw.randn {2, 9, 60, 62}
    core.random_restore(3, 0)
    return {mw.upsample(big, {scale = 2, mode = mode}),
      mw.grad(mw.upsample(big, {scale = 2, mode = mode}), {big}, dy)[1]}
  end
  core.random_restore(3, 0)
  local one = bits_of(1, run)
  core.random_restore(3, 0)
  t.ok(one == bits_of(2, run), mode .. ": one and two threads give the same bits")
  t.is(mw.upsample(mw.zeros {1, 0, 2, 2}, {scale = 2, mode = mode}):eval().shape, {1, 0, 4, 4},
    mode .. ": no channels")
  t.is(mw.upsample(mw.zeros {1, 1, 2, 0}, {size = {4, 0}, mode = mode}):eval().shape, {1, 1, 4, 0},
    mode .. ": no columns")
  local none = mw.upsample(image, {size = {3, 0}, mode = mode})
  t.near(mw.grad(none:sum(), {image})[1]:sum():item(), 0, 0, mode .. ": to no columns at all")
end
fails("upsample", "neither scale nor size", "nothing given", image)
fails("upsample", "both scale and size", "too much given", image, {scale = 2, size = 3})
fails("upsample", "its images are empty", "something from nothing", mw.zeros {1, 1, 0, 2},
  {size = 2})
fails("upsample", "align_corners has no meaning for the mode nearest", "align_corners", image,
  {scale = 2, align_corners = true})
fails("upsample", "nearest", "an unknown mode", image, {scale = 2, mode = "cubic"})
fails("upsample", "at most 2%^28", "images too large", mw.zeros {0, 1, 1000, 1}, {scale = 1000000})
fails("upsample", "scale", "a scale of 0", image, {scale = 0})
fails("upsample", "expected rank 4", "no batch", mw.zeros {2, 4, 5}, {scale = 2})

-- Sequences and volumes ---------------------------------------------------------------------------

do
  local x, w, b = random(2, 4, 9), random(6, 2, 3), random(6)
  local wide, filters = x:reshape {2, 4, 1, 9}, w:reshape {6, 2, 1, 3}
  same(mw.conv1d(x, w, b, {stride = 2, padding = {1, 2}, dilation = 2, groups = 2}):reshape {-1},
    mw.conv2d(wide, filters, b, {stride = {1, 2}, padding = {0, 1, 0, 2}, dilation = {1, 2},
      groups = 2}):reshape {-1}, "a sequence is an image of one row")
  local dy = random(2, 6, 5)
  local attributes = {stride = 2, padding = 1, groups = 2}
  same(mw.grad(mw.conv1d(x, w, nil, attributes), {x}, dy)[1],
    mw.conv_transpose1d(dy, w, nil, attributes), "conv_transpose1d is conv1d's gradient")
end

-- A volume's convolution is the sum of those of its slices.
do
  local x, w = random(2, 4, 5, 4, 3), random(2, 2, 2, 3, 2)
  local flat = {stride = {1, 2}, padding = {1, 0}, dilation = {1, 2}, groups = 2}
  local y = mw.conv3d(x, w, nil, {stride = {2, 1, 2}, padding = {0, 1, 0}, dilation = {3, 1, 2},
    groups = 2})
  t.is(y.shape, {2, 2, 1, 4, 1}, "conv3d's shape")
  local function slice(tensor, k)
    local n, c, _, height, width = table.unpack(tensor.shape)
    return core.call("slice", tensor, {start = {1, 1, k, 1, 1}, count = {n, c, 1, height, width}})
      :reshape {n, c, height, width}
  end
  local sum = mw.conv2d(slice(x, 1), slice(w, 1), nil, flat)
    + mw.conv2d(slice(x, 4), slice(w, 2), nil, flat)
  same(y:reshape {-1}, sum:reshape {-1}, "conv3d adds the convolutions of slices")
end

t.done()
