-- conv.lua: conv2d against plain loops, each of its kernels, on one and two threads; its errors.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(11)
math.randomseed(11)

-- The definition, in loops -----------------------------------------------------------------------

local function zeros(n, ...)
  local list = {}
  for i = 1, n do list[i] = ... and zeros(...) or 0 end
  return list
end

-- Calls visit(n, o, i, j, c, row, column, p, q) for every product of the convolution `a`: output
-- [n][o][i][j] gets x[n][c][row][column] * w[o][c of its group][p][q], all counted from 1.
local function each_product(a, visit)
  local per_group = a.channels // a.groups
  for n = 1, a.batch do
    for o = 1, a.out do
      local first = (o - 1) // (a.out // a.groups) * per_group
      for i = 1, a.oh do
        for j = 1, a.ow do
          for c = 1, per_group do
            for p = 1, a.kernel[1] do
              for q = 1, a.kernel[2] do
                local row = (i - 1) * a.stride[1] + (p - 1) * a.dilation[1] - a.padding[1] + 1
                local column = (j - 1) * a.stride[2] + (q - 1) * a.dilation[2] - a.padding[2] + 1
                if row >= 1 and row <= a.height and column >= 1 and column <= a.width then
                  local wp, wq = p, q
                  if a.flip then wp, wq = a.kernel[1] + 1 - p, a.kernel[2] + 1 - q end
                  visit(n, o, i, j, c, first + c, row, column, wp, wq)
                end
              end
            end
          end
        end
      end
    end
  end
end

local function output_size(size, before, after, kernel, dilation, stride)
  return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
end

-- Forward and all gradients of a case, from tables.
local function by_hand(a, x, w, b, dy)
  local per_group = a.channels // a.groups
  local y = zeros(a.batch, a.out, a.oh, a.ow)
  local dx = zeros(a.batch, a.channels, a.height, a.width)
  local dw = zeros(a.out, per_group, a.kernel[1], a.kernel[2])
  local db = zeros(a.out)
  each_product(a, function(n, o, i, j, c, channel, row, column, p, q)
    local error = dy[n][o][i][j]
    y[n][o][i][j] = y[n][o][i][j] + x[n][channel][row][column] * w[o][c][p][q]
    dx[n][channel][row][column] = dx[n][channel][row][column] + error * w[o][c][p][q]
    dw[o][c][p][q] = dw[o][c][p][q] + error * x[n][channel][row][column]
  end)
  for n = 1, a.batch do
    for o = 1, a.out do
      for i = 1, a.oh do
        for j = 1, a.ow do
          y[n][o][i][j] = y[n][o][i][j] + (b and b[o] or 0)
          db[o] = db[o] + dy[n][o][i][j]
        end
      end
    end
  end
  return y, dx, dw, db
end

-- Random cases -----------------------------------------------------------------------------------

local function random_case()
  local a = {groups = math.random(1, 3), flip = math.random(3) == 1, bias = math.random(3) > 1}
  a.batch, a.channels = math.random(1, 3), a.groups * math.random(1, 3)
  a.out = a.groups * math.random(1, 4)
  a.kernel = {math.random(1, 4), math.random(1, 4)}
  a.stride = {math.random(1, 3), math.random(1, 3)}
  a.dilation = {math.random(1, 2), math.random(1, 2)}
  a.padding = {math.random(0, 3), math.random(0, 3), math.random(0, 3), math.random(0, 3)}
  a.height = math.random((a.kernel[1] - 1) * a.dilation[1] + 1, 12)
  a.width = math.random((a.kernel[2] - 1) * a.dilation[2] + 1, 24)
  return a
end

-- Cases that chance might miss: no padding and one element (the columns are x itself), rows longer
-- than a vector, a stride beyond the kernel, an image within its padding.
local chosen = {
  {batch = 2, channels = 4, out = 6, groups = 2, height = 5, width = 7, kernel = {1, 1},
    stride = {1, 1}, dilation = {1, 1}, padding = {0, 0, 0, 0}, bias = true},
  {batch = 1, channels = 2, out = 3, groups = 1, height = 9, width = 70, kernel = {3, 5},
    stride = {1, 1}, dilation = {1, 1}, padding = {1, 2, 1, 2}, bias = true},
  {batch = 2, channels = 1, out = 2, groups = 1, height = 11, width = 40, kernel = {2, 2},
    stride = {3, 5}, dilation = {1, 1}, padding = {0, 0, 0, 0}, bias = false},
  {batch = 1, channels = 1, out = 1, groups = 1, height = 1, width = 1, kernel = {3, 3},
    stride = {1, 1}, dilation = {1, 1}, padding = {4, 3, 2, 5}, bias = true},
  {batch = 19, channels = 1, out = 2, groups = 1, height = 4, width = 4, kernel = {3, 3},
    stride = {1, 1}, dilation = {1, 1}, padding = {1, 1, 1, 1}, bias = true},
}

local function describe(a)
  local function list(values) return table.concat(values, ",") end
  return ("x %d,%d,%d,%d, %d filters %s, groups %d, stride %s, dilation %s, padding %s%s%s"):format(
    a.batch, a.channels, a.height, a.width, a.out, list(a.kernel), a.groups, list(a.stride),
    list(a.dilation), list(a.padding), a.flip and ", flip" or "", a.bias and "" or ", no bias")
end

local function outputs(a, x, w, b, dy)
  local attributes = {stride = a.stride, dilation = a.dilation, padding = a.padding,
    groups = a.groups, flip = a.flip}
  local y = mw.conv2d(x, w, b, attributes)
  if not b then return y, table.unpack(mw.grad(y, {x, w}, dy)) end
  return y, table.unpack(mw.grad(y, {x, w, b}, dy))
end

for number = 1, 30 + #chosen do
  local a = chosen[number] or random_case()
  a.oh = output_size(a.height, a.padding[1], a.padding[3], a.kernel[1], a.dilation[1], a.stride[1])
  a.ow = output_size(a.width, a.padding[2], a.padding[4], a.kernel[2], a.dilation[2], a.stride[2])
  local x = mw.randn({a.batch, a.channels, a.height, a.width}, "f64"):eval()
  local w = mw.randn({a.out, a.channels // a.groups, a.kernel[1], a.kernel[2]}, "f64"):eval()
  local b = a.bias and mw.randn({a.out}, "f64"):eval() or nil
  local dy = mw.randn({a.batch, a.out, a.oh, a.ow}, "f64"):eval()
  local want = {by_hand(a, x:totable(), w:totable(), b and b:totable(), dy:totable())}
  for _, kernel in ipairs {"plain", "gemm"} do
    core.kernel_prefer("conv2d", kernel)
    local got = {outputs(a, x, w, b, dy)}
    local right = true
    for i, name in ipairs {"y", "dx", "dw", "db"} do
      if got[i] then
        right = t.near(got[i]:totable(), want[i], 1e-11,
          ("case %d, %s kernel: %s"):format(number, kernel, name)) and right
      end
    end
    if not right then print("# " .. describe(a)) end
  end
end
core.kernel_prefer("conv2d", nil)

-- The same bits on one and two threads; only what is wanted --------------------------------------

local function bits_with(threads, a, ...)
  core.threads(threads)
  local bits = {}
  for i, tensor in ipairs {outputs(a, ...)} do bits[i] = core.bytes(tensor) end
  core.threads(1)
  return table.concat(bits)
end

for _, dtype in ipairs {"f32", "f64"} do
  for number, a in ipairs {
    {batch = 37, channels = 3, out = 5, height = 13, width = 11, kernel = 3, padding = 1},
    {batch = 1, channels = 4, out = 4, height = 90, width = 90, kernel = 5, groups = 2},
    {batch = 64, channels = 1, out = 6, height = 28, width = 28, kernel = 5, padding = 2},
  } do
    local x = mw.randn({a.batch, a.channels, a.height, a.width}, dtype):eval()
    local w = mw.randn({a.out, a.channels // (a.groups or 1), a.kernel, a.kernel}, dtype):eval()
    local b = mw.randn({a.out}, dtype):eval()
    local dy = mw.randn(mw.conv2d(x, w, b, {padding = a.padding, groups = a.groups}).shape, dtype)
    dy:eval()
    t.ok(bits_with(1, a, x, w, b, dy) == bits_with(2, a, x, w, b, dy),
      ("one and two threads give the same bits: %s, case %d"):format(dtype, number))
  end
end

do
  local x, w = mw.randn({3, 2, 6, 6}, "f64"):eval(), mw.randn({4, 2, 3, 3}, "f64"):eval()
  local b, dy = mw.randn({4}, "f64"):eval(), mw.randn({3, 4, 4, 4}, "f64"):eval()
  local y = mw.conv2d(x, w, b)
  local all = mw.grad(y, {x, w, b}, dy)
  for i, alone in ipairs {x, w, b} do
    t.ok(core.bytes(mw.grad(mw.conv2d(x, w, b), {alone}, dy)[1]) == core.bytes(all[i]),
      "a gradient asked for alone is the same: " .. ({"dx", "dw", "db"})[i])
  end
end

-- Not finite, and empty --------------------------------------------------------------------------

for _, kernel in ipairs {"plain", "gemm"} do
  core.kernel_prefer("conv2d", kernel)
  local x = mw.tensor {{{{1, 1 / 0}, {0, 0}}}}
  local y = mw.conv2d(x, mw.tensor {{{{0}}}}):totable()[1][1]
  t.ok(y[1][1] == 0 and y[1][2] ~= y[1][2], "a weight of 0 times infinity is NaN: " .. kernel)

  local w, b = mw.randn({2, 1, 3, 3}, "f64"), mw.ones({2}, "f64")
  local empty = mw.zeros({0, 1, 5, 5}, "f64")
  local none = mw.conv2d(empty, w, b)
  t.is(none.shape, {0, 2, 3, 3}, "a batch of none gives none: " .. kernel)
  local d = mw.grad(none:sum(), {empty, w, b})
  t.near(d[2]:totable(), zeros(2, 1, 3, 3), 0, "and its dw is 0: " .. kernel)
  t.near(d[3]:totable(), {0, 0}, 0, "and its db is 0: " .. kernel)
  local blind = mw.conv2d(mw.zeros({1, 0, 3, 3}, "f64"), mw.zeros({2, 0, 3, 3}, "f64"), b)
  t.near(blind:totable(), {{{{1}}, {{1}}}}, 0, "without channels only the bias is left: " .. kernel)
  t.is(mw.conv2d(mw.zeros {2, 3, 4, 4}, mw.zeros {0, 3, 2, 2}):eval().shape, {2, 0, 3, 3},
    "without filters there is no output: " .. kernel)
end
core.kernel_prefer("conv2d", nil)

-- Attributes' forms ------------------------------------------------------------------------------

do
  local x, w = mw.randn {1, 1, 7, 8}, mw.randn {1, 1, 2, 3}
  local function same(a, b)
    return core.bytes(mw.conv2d(x, w, a)) == core.bytes(mw.conv2d(x, w, b))
  end
  t.ok(same({padding = 2}, {padding = {2, 2, 2, 2}}), "padding 2 is {2, 2, 2, 2}")
  t.ok(same({padding = {1, 2}}, {padding = {1, 2, 1, 2}}), "padding {h, w} is {h, w, h, w}")
  t.ok(same({stride = 2, dilation = 2}, {stride = {2, 2}, dilation = {2, 2}}),
    "a number stands for a pair")
end

-- Errors -----------------------------------------------------------------------------------------

local function fails(pattern, name, ...)
  local arguments = table.pack(...)
  t.error(function() mw.conv2d(table.unpack(arguments, 1, arguments.n)) end, pattern, name)
end

local x, w = mw.zeros {2, 3, 8, 8}, mw.zeros {4, 3, 3, 3}
fails("conv2d: w is f32%[4,2,3,3%], expected f32%[4,3,3,3%]: x has 3 channels in 1 group",
  "channels that differ", x, mw.zeros {4, 2, 3, 3})
fails("w is f32%[6,3,3,3%], expected f32%[6,1,3,3%]: x has 3 channels in 3 groups$",
  "channels of a group that differ", x, mw.zeros {6, 3, 3, 3}, {groups = 3})
fails("its 3 channels cannot be cut into 2 groups", "groups that do not divide the channels", x, w,
  {groups = 2})
fails("its 4 output channels cannot be cut into 3 groups", "groups that do not divide the filters",
  x, mw.zeros {4, 1, 3, 3}, {groups = 3})
fails("height 9 is larger than the padded image's 8: pad by 1 more", "a kernel that is too large",
  x, mw.zeros {4, 3, 9, 9})
fails("width 9 %(dilated%) is larger than the padded image's 8", "a dilated kernel too large", x,
  mw.zeros {4, 3, 3, 5}, {dilation = {1, 2}})
fails("b is f32%[3%], expected %[4%]", "a bias of another length", x, w, mw.zeros {3})
fails("x is f32%[3,8,8%], expected rank 4.*x:reshape{1, 3, 8, 8}", "an image without a batch",
  mw.zeros {3, 8, 8}, w)
fails("w is f32%[4,3%], expected rank 4", "filters of rank 2", x, mw.zeros {4, 3})
fails("w is f64.* but x is f32.*:cast", "dtypes that differ", x, mw.zeros({4, 3, 3, 3}, "f64"))
fails("conv2d: .*i32", "integers", mw.zeros({2, 3, 8, 8}, "i32"), mw.zeros({4, 3, 3, 3}, "i32"))
fails("stride", "a stride of 0", x, w, {stride = 0})
fails("padding", "negative padding", x, w, {padding = -1})
fails("padding", "three paddings", x, w, {padding = {1, 2, 3}})
fails("groups", "groups of 0", x, w, {groups = 0})
fails("strides.*stride", "a misspelt attribute", x, w, {strides = 2})
fails("kernel height 0", "an empty kernel", x, mw.zeros {4, 3, 0, 3})
fails("w", "no filters at all", x)

t.done()
