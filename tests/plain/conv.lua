-- conv.lua: convolutions, unfold and fold, and upsampling by their definitions.
local nd = require "plain.nd"

-- One number stands for all axes.
local function each_axis(list, axes)
  if type(list) == "number" then list = {list} end
  local result = {}
  for k = 1, axes do result[k] = #list == 1 and list[1] or list[k] end
  return result
end

-- Padding before and after along each axis: {p}, one for each axis, or all before and all after.
local function sides(padding, axes)
  if type(padding) == "number" then padding = {padding} end
  if #padding == 2 * axes then
    return {table.unpack(padding, 1, axes)}, {table.unpack(padding, axes + 1)}
  end
  local both = each_axis(padding, axes)
  return both, both
end

local function windows(size, before, after, kernel, dilation, stride)
  return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
end

-- The attributes of a window that moves along some axes.
local function window_of(attrs, axes)
  local before, after = sides(attrs.padding, axes)
  return {axes = axes, stride = each_axis(attrs.stride, axes), before = before, after = after,
    dilation = each_axis(attrs.dilation, axes), groups = attrs.groups, flip = attrs.flip}
end

-- Calls visit(x_index, w_index, y_index) for every product of a convolution of those shapes, by
-- the definition: y[n][o][at] meets x[n][c][at*stride + q*dilation - before] at w[o][c][q], where
-- x's channels are counted through all groups and w's within one.
local function each_product(a, x_shape, w_shape, y_shape, visit)
  local per_group, out_per_group = w_shape[2], w_shape[1] // a.groups
  local kernel = {table.unpack(w_shape, 3)}
  for y_index in nd.each(y_shape) do
    local n, o = y_index[1], y_index[2]
    for c = 1, per_group do
      for q in nd.each(kernel) do
        local x_index = {n, (o - 1) // out_per_group * per_group + c}
        local w_index, inside = {o, c}, true
        for k = 1, a.axes do
          local place = (y_index[2 + k] - 1) * a.stride[k] + (q[k] - 1) * a.dilation[k]
            - a.before[k] + 1
          inside = inside and place >= 1 and place <= x_shape[2 + k]
          x_index[2 + k] = place
          w_index[2 + k] = a.flip and kernel[k] + 1 - q[k] or q[k]
        end
        if inside then visit(x_index, w_index, y_index) end
      end
    end
  end
end

local function add(a, index, value)
  local place = nd.place(a.shape, index)
  a[place] = a[place] + value
end

-- The bias of the channel of each element, or zeros.
local function biased(shape, b)
  return nd.build(shape, function(index) return b and b[index[2]] or 0 end)
end

local function conv(axes)
  return function(args, attrs)
    local x, w, b = args[1], args[2], args[3]
    local a = window_of(attrs, axes)
    local shape = {x.shape[1], w.shape[1]}
    for k = 1, axes do
      shape[2 + k] = windows(x.shape[2 + k], a.before[k], a.after[k], w.shape[2 + k], a.dilation[k],
        a.stride[k])
    end
    local y = biased(shape, b)
    each_product(a, x.shape, w.shape, shape, function(x_index, w_index, y_index)
      add(y, y_index, nd.get(x, x_index) * nd.get(w, w_index))
    end)
    return y
  end
end

local function conv_transpose(axes)
  return function(args, attrs)
    local u, w, b = args[1], args[2], args[3]
    local a = window_of(attrs, axes)
    local extra = each_axis(attrs.output_padding, axes)
    local shape = {u.shape[1], w.shape[2] * attrs.groups}
    for k = 1, axes do
      shape[2 + k] = (u.shape[2 + k] - 1) * a.stride[k] + (w.shape[2 + k] - 1) * a.dilation[k] + 1
        - a.before[k] - a.after[k] + extra[k]
    end
    local y = biased(shape, b)
    each_product(a, shape, w.shape, u.shape, function(y_index, w_index, u_index)
      add(y, y_index, nd.get(u, u_index) * nd.get(w, w_index))
    end)
    return y
  end
end

local function conv2d_weight_gradient(args, attrs)
  local x, dy = args[1], args[2]
  local kernel = each_axis(attrs.kernel, 2)
  local dw = nd.full {dy.shape[2], x.shape[2] // attrs.groups, kernel[1], kernel[2]}
  each_product(window_of(attrs, 2), x.shape, dw.shape, dy.shape,
    function(x_index, w_index, y_index)
      add(dw, w_index, nd.get(x, x_index) * nd.get(dy, y_index))
    end)
  return dw
end

-- Calls visit(image_index, column_index) for each element of the columns that is in the image.
local function each_column(attrs, shape, visit)
  local a, kernel = window_of(attrs, 2), each_axis(attrs.kernel, 2)
  local count = {}
  for k = 1, 2 do
    count[k] = windows(shape[2 + k], a.before[k], a.after[k], kernel[k], a.dilation[k], a.stride[k])
  end
  for index in nd.each {shape[1], shape[2], kernel[1], kernel[2], count[1], count[2]} do
    local n, c, p, q, i, j = table.unpack(index)
    local row = (i - 1) * a.stride[1] + (p - 1) * a.dilation[1] - a.before[1] + 1
    local column = (j - 1) * a.stride[2] + (q - 1) * a.dilation[2] - a.before[2] + 1
    if row >= 1 and row <= shape[3] and column >= 1 and column <= shape[4] then
      visit({n, c, row, column},
        {n, ((c - 1) * kernel[1] + p - 1) * kernel[2] + q, (i - 1) * count[2] + j})
    end
  end
  return {shape[1], shape[2] * kernel[1] * kernel[2], count[1] * count[2]}
end

local function unfold(args, attrs)
  local x = args[1]
  local y = nd.full(each_column(attrs, x.shape, function() end))
  each_column(attrs, x.shape, function(image, column) nd.set(y, column, nd.get(x, image)) end)
  return y
end

local function fold(args, attrs)
  local x, kernel, size = args[1], each_axis(attrs.kernel, 2), each_axis(attrs.size, 2)
  local y = nd.full {x.shape[1], x.shape[2] // (kernel[1] * kernel[2]), size[1], size[2]}
  each_column(attrs, y.shape, function(image, column) add(y, image, nd.get(x, column)) end)
  return y
end

-- Linear interpolation is a sum over all pixels, each weighed by a tent around it.
local function upsample(args, attrs)
  local x, size, given = args[1], {}, attrs.size or {}
  if type(given) == "number" then given = {given} end
  for k = 1, 2 do
    size[k] = #given > 0 and each_axis(given, 2)[k] or x.shape[2 + k] * each_axis(attrs.scale, 2)[k]
  end
  local function weight(place, pixel, from, to)
    if attrs.mode == "nearest" then return pixel == math.floor(place * from / to) and 1 or 0 end
    local at = (place + 0.5) * from / to - 0.5
    if attrs.align_corners then at = to > 1 and place * (from - 1) / (to - 1) or 0 end
    at = math.max(0, math.min(from - 1, at))
    return math.max(0, 1 - math.abs(at - pixel))
  end
  return nd.build({x.shape[1], x.shape[2], size[1], size[2]}, function(index)
    local sum = 0
    for i = 1, x.shape[3] do
      for j = 1, x.shape[4] do
        sum = sum + nd.get(x, {index[1], index[2], i, j})
          * weight(index[3] - 1, i - 1, x.shape[3], size[1])
          * weight(index[4] - 1, j - 1, x.shape[4], size[2])
      end
    end
    return sum
  end)
end

return {
  conv1d = conv(1), conv2d = conv(2), conv3d = conv(3),
  conv_transpose1d = conv_transpose(1), conv_transpose2d = conv_transpose(2),
  conv2d_weight_gradient = conv2d_weight_gradient,
  unfold = unfold, fold = fold, upsample = upsample,
}
