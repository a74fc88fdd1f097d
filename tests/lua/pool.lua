-- pool.lua: maxpool and meanpool against plain loops with PyTorch's rules; the other pools' edges;
-- derivatives beyond the first; errors.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

mw.seed(13)
math.randomseed(13)

local NAN <const> = 0 / 0

-- The definition, in loops -----------------------------------------------------------------------

local function zeros(n, ...)
  local list = {}
  for i = 1, n do list[i] = ... and zeros(...) or 0 end
  return list
end

-- Number of windows along an axis (the formula of PyTorch's documentation).
local function windows(size, a, axis)
  local room = size + 2 * a.padding[axis] - a.dilation[axis] * (a.kernel[axis] - 1) - 1
  local count = room // a.stride[axis] + 1
  if a.ceil_mode then
    count = math.ceil(room / a.stride[axis]) + 1
    -- "sliding windows that would start in the right padded region are ignored"
    if (count - 1) * a.stride[axis] >= size + a.padding[axis] then count = count - 1 end
  end
  return count
end

-- The cells of window k along an axis, in order, counted from 1; those outside the image too.
local function cells(k, a, axis)
  local list = {}
  for p = 1, a.kernel[axis] do
    list[p] = (k - 1) * a.stride[axis] - a.padding[axis] + (p - 1) * a.dilation[axis] + 1
  end
  return list
end

local function max_of_window(plane, rows, columns)
  local best, best_row, best_column
  for _, row in ipairs(rows) do
    for _, column in ipairs(columns) do
      local value = plane[row] and plane[row][column]
      -- A NaN beats every number, and the first of equals stays.
      if value and (not best or (best == best and (value > best or value ~= value))) then
        best, best_row, best_column = value, row, column
      end
    end
  end
  return best, best_row, best_column
end

-- y and dx of one plane.
local function maxpool_by_hand(plane, a, dy)
  local height, width = #plane, #plane[1]
  local y, dx = zeros(#dy, #dy[1]), zeros(height, width)
  for i, errors in ipairs(dy) do
    for j, error in ipairs(errors) do
      local best, row, column = max_of_window(plane, cells(i, a, 1), cells(j, a, 2))
      y[i][j] = best or -math.huge
      if best then dx[row][column] = dx[row][column] + error end
    end
  end
  return y, dx
end

local function meanpool_by_hand(plane, a, dy)
  local height, width = #plane, #plane[1]
  local y, dx = zeros(#dy, #dy[1]), zeros(height, width)
  for i, errors in ipairs(dy) do
    for j, error in ipairs(errors) do
      local sum, divisor, inside = 0, 0, {}
      for _, row in ipairs(cells(i, a, 1)) do
        for _, column in ipairs(cells(j, a, 2)) do
          local here = plane[row] and plane[row][column]
          -- Cells of the padding count (or not), cells beyond the padded image never do.
          local padded = row <= height + a.padding[1] and column <= width + a.padding[2]
          if here then
            sum = sum + here
            inside[#inside + 1] = {row, column}
          end
          if here or (a.count_include_pad and padded) then divisor = divisor + 1 end
        end
      end
      y[i][j] = sum / divisor
      for _, place in ipairs(inside) do
        dx[place[1]][place[2]] = dx[place[1]][place[2]] + error / divisor
      end
    end
  end
  return y, dx
end

local by_hand = {maxpool = maxpool_by_hand, meanpool = meanpool_by_hand}

-- Random cases -----------------------------------------------------------------------------------

local function random_case(op)
  local a = {kernel = {math.random(1, 4), math.random(1, 4)}, ceil_mode = math.random(2) == 1}
  a.stride = {math.random(1, 4), math.random(1, 4)}
  a.padding = {math.random(0, a.kernel[1] // 2), math.random(0, a.kernel[2] // 2)}
  a.dilation = op == "maxpool" and {math.random(1, 2), math.random(1, 2)} or {1, 1}
  a.height = math.random((a.kernel[1] - 1) * a.dilation[1] + 1, 11)
  a.width = math.random((a.kernel[2] - 1) * a.dilation[2] + 1, 40)
  a.dtype = math.random(2) == 1 and "f32" or "f64"
  a.count_include_pad = math.random(2) == 1
  return a
end

-- Windows of 2 x 2 side by side have kernels of their own, which take several windows at once: rows
-- narrower and wider than that, images with rows and columns to spare.
local chosen = {}
for width = 2, 38 do
  chosen[#chosen + 1] = {kernel = {2, 2}, stride = {2, 2}, padding = {0, 0}, dilation = {1, 1},
    height = 2 + width % 6, width = width, ceil_mode = width % 2 == 0 and width % 8 ~= 0,
    count_include_pad = true, dtype = width % 4 < 2 and "f32" or "f64"}
end
for _, a in ipairs {table.unpack(chosen)} do
  local other = {}
  for key, value in pairs(a) do other[key] = value end
  other.dtype, other.height = a.dtype == "f32" and "f64" or "f32", 9 - a.height
  chosen[#chosen + 1] = other
end

local function attributes(op, a)
  local list = {kernel = a.kernel, stride = a.stride, padding = a.padding,
    ceil_mode = a.ceil_mode}
  if op == "maxpool" then list.dilation = a.dilation end
  if op == "meanpool" then list.count_include_pad = a.count_include_pad end
  return list
end

-- Values with ties and, for maxpool, now and then a NaN or an infinity.
local function awkward(shape, dtype)
  local count, values = shape[1] * shape[2] * shape[3] * shape[4], {}
  for i = 1, count do
    local kind = math.random(30)
    values[i] = math.random(-2, 2) + 0.0
    if kind == 1 then values[i] = NAN elseif kind == 2 then values[i] = -math.huge end
  end
  return mw.tensor(values, dtype):reshape(shape):eval()
end

-- The same sources with vectors that are wider than this processor's may be.
for _, name in ipairs {"pool_2x2", "pool_vectors"} do
  core.plugin_load(("%s/wide/%s.so"):format(os.getenv "MOONWALK_BUILD" or "build", name))
end

local function check_cases(op, count, kernel)
  core.kernel_prefer(op, kernel)
  for number = 1, count do
    local a = chosen[number] or random_case(op)
    local shape = {2, 2, a.height, a.width}
    local ties, dtype = op == "maxpool" and number % 3 > 0, a.dtype
    local close = dtype == "f64" and 1e-13 or 4e-6
    local x = ties and awkward(shape, dtype) or mw.randn(shape, dtype):eval()
    local y = mw[op](x, attributes(op, a))
    local name = ("%s%s case %d: "):format(op, kernel and " by " .. kernel or "", number)
    t.is(y.shape, {2, 2, windows(a.height, a, 1), windows(a.width, a, 2)}, name .. "shape")
    local dy = mw.randn(y.shape, dtype):eval()
    local dx = mw.grad(y, {x}, dy)[1]
    local planes, errors, want_y, want_dx = x:totable(), dy:totable(), {}, {}
    for n = 1, 2 do
      want_y[n], want_dx[n] = {}, {}
      for c = 1, 2 do want_y[n][c], want_dx[n][c] = by_hand[op](planes[n][c], a, errors[n][c]) end
    end
    t.near(y:totable(), want_y, close, name .. "values")
    t.near(dx:totable(), want_dx, close, name .. "gradient")
    t.near(mw[op](x, attributes(op, a)):totable(), want_y, close,
      name .. "values without a gradient")
  end
  core.kernel_prefer(op, nil)
end

for _, op in ipairs {"maxpool", "meanpool"} do
  check_cases(op, #chosen + 60)
  check_cases(op, #chosen, "wide_2x2")
  check_cases(op, #chosen + 20, "wide_vectors")
end

-- What is said of maxpool ------------------------------------------------------------------------

do
  local x = mw.tensor {{{{1, NAN, 3, 3}, {NAN, 2, 3, 3}}}}
  local y = mw.maxpool(x, {kernel = 2})
  local dx = mw.grad(y, {x}, mw.tensor {{{{5, 7}}}})[1]
  local values = y:totable()[1][1][1]
  t.ok(values[1] ~= values[1] and values[2] == 3, "a NaN is the largest")
  t.near(dx:totable()[1][1], {{0, 5, 7, 0}, {0, 0, 0, 0}}, 0,
    "the gradient goes to the first NaN and to the first of equals")
  local x1 = mw.tensor {{{{4}}}}
  local hole = mw.maxpool(x1, {kernel = 2, padding = 1, dilation = 2})
  t.near(hole:totable(), {{{{-math.huge}}}}, 0, "a window without a cell of the image is -inf")
  t.near(mw.grad(hole, {x1}, mw.ones {1, 1, 1, 1})[1]:totable(), {{{{0}}}}, 0,
    "and gives no gradient")
end

for _, op in ipairs {"maxpool", "meanpool"} do
  local x = mw.randn {1, 1, 6, 9}
  t.ok(core.bytes(mw[op](x, {kernel = {2, 3}})) ==
    core.bytes(mw[op](x, {kernel = {2, 3}, stride = {2, 3}})),
    op .. "'s stride is the kernel's size if it is left out")
  t.is(mw[op](mw.zeros {0, 3, 4, 4}, {kernel = 2}):eval().shape, {0, 3, 2, 2},
    op .. " of a batch of none")
end

t.ok(core.bytes(mw.meanpool(mw.ones {1, 1, 4, 4}, {kernel = 3, padding = 1})) ==
  core.bytes(mw.meanpool(mw.ones {1, 1, 4, 4}, {kernel = 3, padding = 1,
    count_include_pad = true})), "meanpool counts the padding unless told otherwise")

-- The same bits on one and two threads -----------------------------------------------------------

local function bytes_of(op, x, attrs, threads)
  core.threads(threads)
  local y = mw[op](x, attrs)
  mw.seed(3)
  local all = core.bytes(y) .. core.bytes(mw.grad(y, {x}, mw.randn(y.shape):eval())[1])
  core.threads(1)
  return all
end

for _, op in ipairs {"maxpool", "meanpool"} do
  for _, case in ipairs {{40, {kernel = 3, stride = 2, padding = 1}}, {40, {kernel = 2}},
    {10, {kernel = 2}}, {11, {kernel = 2}}} do
    local x = mw.randn({16, 30, case[1], case[1]}):eval()
    local one = bytes_of(op, x, case[2], 1)
    t.ok(one == bytes_of(op, x, case[2], 2) and one == bytes_of(op, x, case[2], 3),
      ("%s, %d wide: one, two and three threads give the same bits"):format(op, case[1]))
    for _, kernel in ipairs {"plain", "vectors"} do
      core.kernel_prefer(op, kernel)
      t.ok(one == bytes_of(op, x, case[2], 1), "and so does the kernel " .. kernel)
    end
    core.kernel_prefer(op, nil)
  end
end

-- Errors -----------------------------------------------------------------------------------------

for _, op in ipairs {"maxpool", "meanpool"} do
  local function fails(pattern, name, x, a)
    t.error(function() mw[op](x, a) end, pattern, op .. ": " .. name)
  end
  local x = mw.zeros {1, 2, 5, 6}
  fails(op .. ": x is f32%[2,5,6%], expected rank 4.*x:reshape{1, 2, 5, 6}",
    "an image without a batch", mw.zeros {2, 5, 6}, {kernel = 2})
  fails("x is f32%[5%], expected rank 4", "a vector", mw.zeros {5}, {kernel = 2})
  fails("kernel", "no kernel", x, {})
  fails("kernel", "a kernel of 0", x, {kernel = 0})
  fails("stride", "a stride of 0", x, {kernel = 2, stride = 0})
  fails("padding is 2 along the height, expected at most half the kernel %(1%)",
    "more padding than half the kernel", x, {kernel = 3, padding = 2})
  fails("height 6 is larger than the padded image's 5", "a window that is too large", x,
    {kernel = 6})
  fails("its images are empty", "empty images", mw.zeros {1, 2, 0, 6}, {kernel = 1})
  fails("kernal.*kernel", "a misspelt attribute", x, {kernal = 2})
end

-- Derivatives beyond the first -------------------------------------------------------------------

local function dot(a, b) return (a * b):sum() end

-- Backward of a linear op is its transpose, and what is differentiated again is forward.
for _, case in ipairs {
  {"meanpool", {2, 2, 7, 6}, {kernel = {3, 2}, stride = 2, padding = 1}},
  {"meanpool", {1, 2, 6, 5}, {kernel = 3, stride = 2, padding = 1, ceil_mode = true}},
  {"meanpool", {1, 2, 6, 5}, {kernel = 3, stride = 2, padding = 1, ceil_mode = true,
    count_include_pad = false}},
  {"meanpool", {1, 2, 6, 4}, {kernel = 2}},
  {"meanpool1d", {2, 2, 7}, {kernel = 3, stride = 2, padding = 1, count_include_pad = false}},
  {"adaptive_meanpool", {2, 1, 7, 5}, {size = {3, 2}}},
  {"adaptive_meanpool", {2, 3, 4}, {size = 6}},
  {"global_meanpool", {2, 3, 4, 3}, {keepdims = true}},
} do
  local op, a = case[1], case[3]
  local x = mw.randn(case[2], "f64")
  local y = mw[op](x, a)
  local dy, v = mw.randn(y.shape, "f64"), mw.randn(case[2], "f64")
  local dx = mw.grad(y, {x}, dy)[1]
  t.near(dot(mw[op](v, a), dy):item(), dot(v, dx):item(), 1e-12, op .. ": <A v, dy> = <v, A' dy>")
  t.near(mw.grad(dot(dx, v), {dy})[1]:totable(), mw[op](v, a):totable(), 1e-13,
    op .. ": the derivative of its gradient in dy is forward")
  t.near(mw.grad(dot(dx, v), {x})[1]:totable(), (v * 0):totable(), 0, op .. ": ... and in x is 0")
end

do
  local x, dy = mw.randn({2, 3, 4, 6}, "f64"), mw.randn({2, 3, 2, 2}, "f64")
  local dx = mw.grad(mw.meanpool(x, {kernel = {2, 3}}), {x}, dy)[1]
  t.near(dx:totable(), mw.kron(dy, mw.full({1, 1, 2, 3}, 1 / 6, "f64")):totable(), 1e-15,
    "windows side by side: meanpool's gradient is a Kronecker product")
end

do
  local x = mw.tensor({{{{1, NAN, 3, 3}, {NAN, 2, 3, 3}}}}, "f64")
  local dy, v = mw.tensor({{{{5, 7}}}}, "f64"), mw.arange(1, 8, 1, "f64"):reshape {1, 1, 2, 4}
  local dx = mw.grad(mw.maxpool(x, {kernel = 2}), {x}, dy)[1]
  t.is(mw.grad(dot(dx, v), {dy})[1]:totable(), {{{{2.0, 3.0}}}},
    "maxpool's second derivative takes the first NaN and the first of equals too")
  local hole = mw.tensor({{{{4}}}}, "f64")
  local a = {kernel = 2, padding = 1, dilation = 2}
  t.is(mw.maxpool_take(hole, hole, a):totable(), {{{{0.0}}}}, "a window without a cell takes 0")
  t.is(mw.maxpool_place(hole, hole, a):totable(), {{{{0.0}}}}, "... and places nothing")
  t.error(function() return mw.maxpool_place(x, v, {kernel = 2}) end,
    "maxpool_place: v is f64%[1,1,2,4%], expected f64%[1,1,1,2%]", "maxpool_place of another shape")
end

-- The other pools --------------------------------------------------------------------------------

do
  local x = mw.tensor {{{1, NAN, 3, 3, NAN, NAN}}}
  local dy = mw.tensor {{{1, 2, 4}}}
  for name, y in pairs {
    maxpool1d = mw.maxpool1d(x, {kernel = 2}),
    adaptive_maxpool = mw.adaptive_maxpool(x, {size = 3}),
  } do
    t.near(y:totable(), {{{NAN, 3, NAN}}}, 0, name .. ": a NaN is the largest")
    t.is(mw.grad(y, {x}, dy)[1]:totable(), {{{0.0, 1.0, 2.0, 0.0, 4.0, 0.0}}},
      name .. ": the gradient goes to the first NaN, and to the first of equals")
  end
  t.near(mw.global_maxpool(x):totable(), {{NAN}}, 0, "global_maxpool: a NaN is the largest")
  t.near(mw.global_meanpool(x):totable(), {{NAN}}, 0, "global_meanpool: NaN stays")
  t.near(mw.meanpool1d(x, {kernel = 2}):totable(), {{{NAN, 3, NAN}}}, 0, "meanpool1d: NaN stays")
end
t.is(mw.adaptive_meanpool(mw.tensor {{{1, 2, 3, 4, 5}}}, 2):totable(), {{{2.0, 4.0}}},
  "adaptive windows overlap where the size does not divide")
t.is(mw.maxpool1d(mw.zeros {2, 3, 9}, {kernel = 2}).shape, {2, 3, 4},
  "maxpool1d's stride is the kernel's size if it is left out")

for _, op in ipairs {"adaptive_maxpool", "adaptive_meanpool"} do
  local x, dy = mw.randn {16, 8, 41, 40}, mw.randn {16, 8, 6, 7}
  x:eval()
  dy:eval()
  local function bits(threads)
    core.threads(threads)
    local y = mw[op](x, {size = {6, 7}})
    local all = core.bytes(y) .. core.bytes(mw.grad(y, {x}, dy)[1])
    core.threads(1)
    return all
  end
  t.ok(bits(1) == bits(2), op .. ": one and two threads give the same bits")
  local function fails(pattern, name, input, size)
    t.error(function() mw[op](input, {size = size}) end, op .. ": " .. pattern, op .. ": " .. name)
  end
  fails("x is f32%[3%], expected %[batch, channels, height", "a vector", mw.zeros {3}, 1)
  fails("size has 2 entries, but x is f32%[1,2,5%]", "two sizes for one axis", mw.zeros {1, 2, 5},
    {1, 2})
  fails("x is f32%[1,2,0%]: there is nothing to pool", "an empty sequence", mw.zeros {1, 2, 0}, 1)
  fails("size is 0", "a size of 0", mw.zeros {1, 2, 5}, 0)
end
for _, op in ipairs {"maxpool1d", "meanpool1d"} do
  local function fails(pattern, name, x, a)
    t.error(function() mw[op](x, a) end, op .. ": " .. pattern, op .. ": " .. name)
  end
  local x = mw.zeros {1, 2, 5}
  fails("x is f32%[1,2,5,5%], expected rank 3 %[batch, channels, length%]", "an image",
    mw.zeros {1, 2, 5, 5}, {kernel = 2})
  fails("padding is 2, expected at most half the kernel %(1%)", "too much padding", x,
    {kernel = 3, padding = 2})
  fails("the window's 6 is larger than the padded length 5", "a long window", x, {kernel = 6})
  fails("x is f32%[1,2,0%]: its sequences are empty", "an empty sequence", mw.zeros {1, 2, 0},
    {kernel = 1})
  fails(".*kernel", "no kernel", x, {})
end
t.error(function() mw.maxpool1d(mw.zeros {1, 2, 5}, {kernel = 3, dilation = 3}) end,
  "the window's 7 %(dilated%) is larger than the padded length 5", "a dilated window")
for _, op in ipairs {"global_maxpool", "global_meanpool"} do
  t.error(function() mw[op](mw.zeros {2, 3}) end,
    op .. ": x is f32%[2,3%], expected %[batch, channels, ..%] with an axis", op .. ": no axis")
  t.error(function() mw[op](mw.zeros {2, 3, 0}) end, op .. ": x is f32%[2,3,0%]: there is nothing",
    op .. ": an empty axis")
end

t.done()
