-- conv.lua: conv2d and the ops that are its derivatives against plain loops, each of their kernels,
-- on one and two threads; their errors.
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
  -- Tiles of every size; images one column wide, shorter than a vector, with strides and dilation.
  {batch = 3, channels = 1, out = 6, groups = 1, height = 28, width = 28, kernel = {5, 5},
    stride = {1, 1}, dilation = {1, 1}, padding = {2, 2, 2, 2}, bias = true},
  {batch = 2, channels = 6, out = 16, groups = 1, height = 14, width = 14, kernel = {5, 5},
    stride = {1, 1}, dilation = {1, 1}, padding = {0, 0, 0, 0}, bias = true},
  {batch = 1, channels = 9, out = 19, groups = 1, height = 5, width = 5, kernel = {3, 3},
    stride = {1, 1}, dilation = {1, 1}, padding = {1, 1, 1, 1}, flip = true},
  {batch = 2, channels = 3, out = 11, groups = 1, height = 40, width = 1, kernel = {3, 1},
    stride = {1, 1}, dilation = {2, 1}, padding = {1, 0, 2, 0}, bias = true},
  {batch = 2, channels = 3, out = 13, groups = 1, height = 17, width = 19, kernel = {4, 3},
    stride = {3, 2}, dilation = {2, 3}, padding = {0, 4, 5, 1}, bias = true},
  {batch = 1, channels = 5, out = 10, groups = 5, height = 20, width = 21, kernel = {3, 3},
    stride = {2, 1}, dilation = {1, 1}, padding = {1, 1, 1, 1}, bias = true},
  {batch = 2, channels = 7, out = 7, groups = 7, height = 10, width = 33, kernel = {3, 5},
    stride = {1, 1}, dilation = {1, 1}, padding = {2, 30, 1, 3}, bias = true},
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

-- Every kernel that there is, of which each takes what it supports; the op's own last.
local has, kernels = {}, {}
for _, op in ipairs {"conv2d", "conv_transpose2d", "conv2d_weight_gradient"} do
  has[op] = {}
  for name in core.kernel_list(op):gmatch "([^\n ]+)[^\n]*" do
    if not has[name] then kernels[#kernels + 1] = name end
    has[op][name], has[name] = true, true
  end
end

local function prefer(kernel)
  for _, op in ipairs {"conv2d", "conv_transpose2d", "conv2d_weight_gradient"} do
    core.kernel_prefer(op, has[op][kernel] and kernel or nil)
  end
end

-- The attributes of the three ops that belong together.
local function attributes_of(a)
  local shared = {stride = a.stride, dilation = a.dilation, padding = a.padding, groups = a.groups,
    flip = a.flip}
  local function with(name, value)
    local result = {[name] = value}
    for key, own in pairs(shared) do result[key] = own end
    return result
  end
  local rest = {}
  for k, size in ipairs {a.height, a.width} do
    rest[k] = size + a.padding[k] + a.padding[k + 2] - (a.kernel[k] - 1) * a.dilation[k] - 1
      - ((k == 1 and a.oh or a.ow) - 1) * a.stride[k]
  end
  return shared, with("output_padding", rest), with("kernel", a.kernel)
end

-- A case of each kind, its sizes completed, with random tensors.
local function tensors_of(a)
  a.oh = output_size(a.height, a.padding[1], a.padding[3], a.kernel[1], a.dilation[1], a.stride[1])
  a.ow = output_size(a.width, a.padding[2], a.padding[4], a.kernel[2], a.dilation[2], a.stride[2])
  local function random(...) return mw.randn({...}, "f64"):eval() end
  return random(a.batch, a.channels, a.height, a.width),
    random(a.out, a.channels // a.groups, a.kernel[1], a.kernel[2]),
    a.bias and random(a.out) or nil, random(a.batch, a.out, a.oh, a.ow)
end

-- Sums over all axes but the channels.
local function sums(images)
  local list = zeros(#images[1])
  for _, image in ipairs(images) do
    for c, plane in ipairs(image) do
      for _, row in ipairs(plane) do
        for _, value in ipairs(row) do list[c] = list[c] + value end
      end
    end
  end
  return list
end

for number = 1, 30 + #chosen do
  local a = chosen[number] or random_case()
  local x, w, b, dy = tensors_of(a)
  local want = {by_hand(a, x:totable(), w:totable(), b and b:totable(), dy:totable())}
  local bare = by_hand(a, x:totable(), w:totable(), nil, dy:totable())
  local _, transposed, weight = attributes_of(a)
  for _, kernel in ipairs(kernels) do
    prefer(kernel)
    local right = true
    local function compare(got, wanted, name)
      right = t.near(got:totable(), wanted, 1e-11,
        ("case %d, %s kernel: %s"):format(number, kernel, name)) and right
    end
    local got = {outputs(a, x, w, b, dy)}
    for i, name in ipairs {"y", "dx", "dw", "db"} do
      if got[i] then compare(got[i], want[i], name) end
    end
    -- The same sums are the values and the gradients of the other two ops.
    local zero = mw.zeros({a.channels}, "f64")
    local u = mw.conv_transpose2d(dy, w, zero, transposed)
    local back = mw.grad(u, {dy, w, zero}, x)
    compare(u, want[2], "conv_transpose2d")
    compare(back[1], bare, "conv_transpose2d's gradient in x")
    compare(back[2], want[3], "conv_transpose2d's gradient in w")
    compare(back[3], sums(x:totable()), "conv_transpose2d's gradient in b")
    local dw = mw.conv2d_weight_gradient(x, dy, weight)
    back = mw.grad(dw, {x, dy}, w)
    compare(dw, want[3], "conv2d_weight_gradient")
    compare(back[1], want[2], "conv2d_weight_gradient's gradient in x")
    compare(back[2], bare, "conv2d_weight_gradient's gradient in dy")
    if not right then print("# " .. describe(a)) end
  end
end
prefer(nil)

do
  local x, w = mw.zeros({1, 2, 2, 3}, "f64"), mw.zeros({2, 1, 2, 2}, "f64")
  t.is(mw.conv_transpose2d(x, w, mw.tensor({5, 7}, "f64"), {groups = 2}):totable(),
    {{{{5, 5, 5, 5}, {5, 5, 5, 5}, {5, 5, 5, 5}}, {{7, 7, 7, 7}, {7, 7, 7, 7}, {7, 7, 7, 7}}}},
    "each channel of conv_transpose2d gets its bias")
end

-- Adjoints: <conv2d(x, w), y> = <x, conv_transpose2d(y, w)> = <w, conv2d_weight_gradient(x, y)> ---

local function dot(x, y) return (x * y):sum():item() end

for _ = 1, 20 do
  local a = random_case()
  local x, w, _, y = tensors_of(a)
  local shared, transposed, weight = attributes_of(a)
  local along_y = dot(mw.conv2d(x, w, nil, shared), y)
  local along_x = dot(x, mw.conv_transpose2d(y, w, nil, transposed))
  local along_w = dot(w, mw.conv2d_weight_gradient(x, y, weight))
  -- Rounding grows with the sum of the products' sizes, not with what is left of it.
  local size = dot(mw.conv2d(mw.abs(x), mw.abs(w), nil, shared), mw.abs(y))
  t.ok(math.abs(along_y - along_x) <= 1e-12 * size and math.abs(along_y - along_w) <= 1e-12 * size,
    "the three are adjoints: " .. describe(a))
end

-- Higher derivatives, by central differences along random directions -----------------------------

local function slope(fn, at, direction)
  local eps = 1e-5
  local function moved(by)
    local list = {}
    for i, x in ipairs(at) do list[i] = (x + direction[i] * by):eval() end
    return fn(list):item()
  end
  return (moved(eps) - moved(-eps)) / (2 * eps)
end

local function directions(at)
  local list = {}
  for i, x in ipairs(at) do list[i] = mw.randn(x.shape, "f64"):eval() end
  return list
end

local function along(list, direction)
  local total
  for i, x in ipairs(list) do
    local term = (x * direction[i]):sum()
    total = total and total + term or term
  end
  return total
end

-- fn(list) is a scalar: its gradient, that of its slope along a direction, and so on.
local function check_orders(orders, fn, at, name)
  for order = 1, orders do
    local direction = directions(at)
    local got = along(mw.grad(fn(at), at), direction):item()
    local want = slope(fn, at, direction)
    t.ok(math.abs(got - want) <= 1e-6 * math.max(1, math.abs(want)),
      ("%s: derivative of order %d"):format(name, order))
    local inner, fixed = fn, directions(at)
    fn = function(list) return along(mw.grad(inner(list), list), fixed) end
  end
end

local curved = { -- stride with leftover rows and columns, dilation, groups, one element, padding
  {batch = 2, channels = 2, out = 2, groups = 1, height = 6, width = 7, kernel = {2, 3},
    stride = {3, 3}, dilation = {1, 1}, padding = {0, 0, 0, 0}, bias = true},
  {batch = 1, channels = 2, out = 4, groups = 2, height = 6, width = 5, kernel = {3, 2},
    stride = {2, 2}, dilation = {2, 3}, padding = {1, 0, 0, 2}, bias = true},
  {batch = 1, channels = 3, out = 3, groups = 3, height = 4, width = 4, kernel = {3, 3},
    stride = {1, 1}, dilation = {1, 1}, padding = {1, 1, 1, 1}, flip = true},
  {batch = 2, channels = 2, out = 3, groups = 1, height = 3, width = 2, kernel = {1, 1},
    stride = {1, 1}, dilation = {1, 1}, padding = {0, 0, 0, 0}, bias = true},
  {batch = 1, channels = 1, out = 1, groups = 1, height = 2, width = 2, kernel = {3, 4},
    stride = {2, 1}, dilation = {1, 1}, padding = {2, 3, 1, 2}},
}
for _, kernel in ipairs(kernels) do
  prefer(kernel)
  for _, a in ipairs(curved) do
    local x, w, b, dy = tensors_of(a)
    local shared, transposed, weight = attributes_of(a)
    local function cubed(y) return (y * y * y):mean() end
    check_orders(3, function(list) return cubed(mw.conv2d(list[1], list[2], list[3], shared)) end,
      {x, w, b}, kernel .. " conv2d, " .. describe(a))
    check_orders(3, function(list)
      return cubed(mw.conv_transpose2d(list[1], list[2], list[3], transposed))
    end, {dy, w, b and mw.randn({a.channels}, "f64"):eval()}, kernel .. " conv_transpose2d")
    check_orders(3, function(list)
      return cubed(mw.conv2d_weight_gradient(list[1], list[2], weight))
    end, {x, dy}, kernel .. " conv2d_weight_gradient")
  end
  local more = {output_padding = {5, 1}, stride = 2}
  check_orders(2, function(list)
    local y = mw.conv_transpose2d(list[1], list[2], nil, more)
    return (y * y * y):mean()
  end, {mw.randn({1, 2, 2, 3}, "f64"):eval(), mw.randn({2, 1, 2, 2}, "f64"):eval()},
    kernel .. " conv_transpose2d with more output_padding than a stride")
end
prefer(nil)

-- The same bits on one and two threads; only what is wanted --------------------------------------

local function bits_with(threads, a, ...)
  core.threads(threads)
  local bits = {}
  for i, tensor in ipairs {outputs(a, ...)} do bits[i] = core.bytes(tensor) end
  local x, w, _, dy = ...
  local same = {padding = a.padding, groups = a.groups}
  local u = mw.conv_transpose2d(dy, w, nil, same)
  bits[#bits + 1] = core.bytes(u)
  for _, tensor in ipairs(mw.grad(u, {dy, w}, x)) do bits[#bits + 1] = core.bytes(tensor) end
  same.kernel = a.kernel
  bits[#bits + 1] = core.bytes(mw.conv2d_weight_gradient(x, dy, same))
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
    for _, kernel in ipairs(kernels) do
      prefer(kernel)
      local one = bits_with(1, a, x, w, b, dy)
      t.ok(one == bits_with(2, a, x, w, b, dy) and one == bits_with(3, a, x, w, b, dy),
        ("1, 2 and 3 threads give the same bits: %s, %s, case %d"):format(kernel, dtype, number))
    end
    prefer(nil)
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

for _, kernel in ipairs(kernels) do
  prefer(kernel)
  local infinite = mw.tensor {{{{-1 / 0, 1}}}}
  local padded = mw.conv2d(mw.ones {1, 1, 1, 3}, infinite, nil, {padding = {0, 1}})
  padded = padded:totable()[1][1][1]
  t.ok(padded[1] ~= padded[1] and padded[2] == -1 / 0 and padded[4] == -1 / 0,
    "an infinite weight times the padding's 0 is NaN: " .. kernel)
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
  local nothing = mw.zeros({1, 0, 2, 2}, "f64")
  local spread = mw.conv_transpose2d(nothing, mw.zeros({0, 2, 1, 1}, "f64"), b)
  t.is(spread:totable(), {{{{1, 1}, {1, 1}}, {{1, 1}, {1, 1}}}},
    "conv_transpose2d without channels is the bias: " .. kernel)
  t.is(mw.grad(spread:sum(), {b})[1]:totable(), {4, 4}, "which has its gradient: " .. kernel)
  t.is(mw.conv2d_weight_gradient(empty, mw.zeros({0, 2, 3, 3}, "f64"), {kernel = 3}):totable(),
    zeros(2, 1, 3, 3), "a batch of none has no weight gradient: " .. kernel)
end
prefer(nil)

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

local failing = "conv2d"
local function fails(pattern, name, ...)
  local arguments = table.pack(...)
  local op = mw[failing]
  t.error(function() op(table.unpack(arguments, 1, arguments.n)) end, pattern,
    failing .. ": " .. name)
end

local x, w = mw.zeros {2, 3, 8, 8}, mw.zeros {4, 3, 3, 3}
fails("conv2d: w is f32%[4,2,3,3%], expected f32%[4,3,3,3%]: x has 3 channels in 1 group",
  "channels that differ", x, mw.zeros {4, 2, 3, 3})
fails("w is f32%[6,3,3,3%], expected f32%[6,1,3,3%]: x has 3 channels in 3 groups",
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

failing = "conv_transpose2d"
local spread = mw.zeros {3, 2, 3, 3}
fails("conv_transpose2d: w is f32%[4,2,3,3%], expected f32%[3,2,3,3%]: x has 3 channels",
  "channels that differ", x, mw.zeros {4, 2, 3, 3})
fails("its 3 channels cannot be cut into 2 groups", "groups", x, spread, {groups = 2})
fails("b is f32%[2%], expected %[6%]", "a bias of another length", x, spread, mw.zeros {2},
  {groups = 3})
fails("padding 6 %+ 6 cuts off more than the height 10 that there is: pad by 2 less",
  "padding beyond the image", x, spread, {padding = 6})
fails("its images are empty", "empty images", mw.zeros {1, 3, 0, 2}, spread)
fails("w has kernel width 0", "an empty kernel", x, mw.zeros {3, 2, 3, 0})
fails("would have height 399000003, expected at most 2^28", "a size that is too large",
  mw.zeros {1, 1, 400, 1}, mw.zeros {1, 1, 3, 1}, {stride = 1000000})
fails("w is f64.* but x is f32.*:cast", "dtypes that differ", x, mw.zeros({3, 2, 3, 3}, "f64"))
fails("output_padding", "negative output_padding", x, spread, {output_padding = -1})

failing = "conv2d_weight_gradient"
fails("kernel", "no kernel", x, x)
fails("dy is f32%[2,4,7,6%], expected f32%[2,4,6,6%]: that is what conv2d makes of x",
  "another size of the output", x, mw.zeros {2, 4, 7, 6}, {kernel = 3})
fails("dy is f32%[3,4,6,6%], expected f32%[2,4,6,6%]", "another batch", x, mw.zeros {3, 4, 6, 6},
  {kernel = 3})
fails("dy is .*: its 4 output channels cannot be cut into 3 groups", "groups", x,
  mw.zeros {2, 4, 6, 6}, {kernel = 3, groups = 3})

failing = "conv1d"
local sequence = mw.zeros {2, 3, 8}
fails("x is f32%[3,8%], expected rank 3 .*: x:reshape{1, 3, 8}", "a sequence without a batch",
  mw.zeros {3, 8}, mw.zeros {4, 3, 3})
fails("w is f32%[4,3%], expected rank 3 %[out, in/groups, kernel length%]", "filters of rank 2",
  sequence, mw.zeros {4, 3})
fails("^.*conv1d: w is f32%[4,2,3%], expected f32%[4,3,3%]: x has 3 channels in 1 group",
  "channels that differ", sequence, mw.zeros {4, 2, 3})
fails("the kernel's length 9 %(dilated%) is larger than the padded x's 8: pad by 1 more",
  "a kernel that is too large", sequence, mw.zeros {1, 3, 5}, {dilation = 2})
fails("b is f32%[3%], expected %[4%]", "a bias of another length", sequence, mw.zeros {4, 3, 1},
  mw.zeros {3})
fails("its kernel is empty", "an empty kernel", sequence, mw.zeros {4, 3, 0})
fails("i32", "integers", mw.zeros({1, 1, 3}, "i32"), mw.zeros({1, 1, 3}, "i32"))
fails("stride", "two strides", sequence, mw.zeros {4, 3, 1}, {stride = {1, 1}})

failing = "conv_transpose1d"
fails("w is f32%[4,2,3%], expected f32%[3,2,3%]", "channels that differ", sequence,
  mw.zeros {4, 2, 3})
fails("padding 6 %+ 6 cuts off more than the length 10 that there is: pad by 2 less",
  "padding beyond the sequence", sequence, mw.zeros {3, 1, 3}, {padding = 6})

failing = "conv3d"
local volume = mw.zeros {1, 2, 4, 5, 6}
fails("x is f32%[2,3,8%], expected rank 5 %[batch, channels, depth, height, width%]",
  "a sequence for a volume", sequence, mw.zeros {1, 2, 1, 1, 1})
fails("the kernel's depth 5 is larger than the padded x's 4", "a kernel that is too deep", volume,
  mw.zeros {1, 2, 5, 1, 1})
fails("padding", "four paddings", volume, mw.zeros {1, 2, 1, 1, 1}, {padding = {1, 1, 1, 1}})

t.done()
