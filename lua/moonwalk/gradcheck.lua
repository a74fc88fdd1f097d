-- gradcheck.lua: mw.gradcheck, which compares gradients with central differences in float64.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local function is_float(t)
  return core.is_tensor(t) and (t.dtype == "f32" or t.dtype == "f64")
end

-- Every float64 tensor among the inputs, with its bytes and where it is.
local function prepare(inputs)
  local args, checked = {n = #inputs}, {}
  for i, value in ipairs(inputs) do
    args[i] = value
    if is_float(value) then
      local x = core.tensor(value, "f64")
      args[i] = x
      checked[#checked + 1] = {position = i, tensor = x, bytes = core.bytes(x), shape = x.shape}
    end
  end
  return args, checked
end

-- Sums the float results of fn(args), each weighed by its entry of `weights`, which is filled on
-- the first call. Random numbers that fn draws are the same in each call.
local function objective(fn, args, weights, random)
  core.random_restore(random[1], random[2])
  local results = table.pack(fn(table.unpack(args, 1, args.n)))
  local total
  for i = 1, results.n do
    local y = results[i]
    if is_float(y) then
      weights[i] = weights[i] or core.normal(y.shape, 0, 1, y.dtype)
      local term = (y * weights[i]):sum()
      if y.dtype == "f32" then term = term:cast "f64" end
      total = total and total + term or term
    end
  end
  if not total then core.error("gradcheck: the function returned no tensor of f32 or f64") end
  return total
end

-- The objective with element k (from 0) of an input moved by `delta`.
local function moved(fn, args, input, k, delta, weights, random)
  local value = ("<d"):unpack(input.bytes, 8 * k + 1)
  local bytes = input.bytes:sub(1, 8 * k) .. ("<d"):pack(value + delta)
    .. input.bytes:sub(8 * k + 9)
  local nudged = table.move(args, 1, args.n, 1, {n = args.n})
  nudged[input.position] = core.from_bytes(bytes, "f64", input.shape)
  return objective(fn, nudged, weights, random):item()
end

-- "2,3": where element k (from 0) is, counted from 1
local function place(shape, k)
  local parts = {}
  for axis = #shape, 1, -1 do
    table.insert(parts, 1, tostring(k % shape[axis] + 1))
    k = k // shape[axis]
  end
  return table.concat(parts, ",")
end

local function compare(fn, inputs, eps, tolerance, random)
  local args, checked = prepare(inputs)
  if #checked == 0 then core.error("gradcheck: no input is a tensor of f32 or f64") end
  local weights, tensors = {}, {}
  for i, input in ipairs(checked) do tensors[i] = input.tensor end
  local gradients = core.grad(objective(fn, args, weights, random), tensors)
  local worst, message = -1, nil
  for i, input in ipairs(checked) do
    local gradient = core.bytes(gradients[i])
    for k = 0, #gradient // 8 - 1 do
      local analytic = ("<d"):unpack(gradient, 8 * k + 1)
      local numeric = (moved(fn, args, input, k, eps, weights, random)
        - moved(fn, args, input, k, -eps, weights, random)) / (2 * eps)
      local gap = math.abs(analytic - numeric)
        / math.max(1, math.abs(analytic), math.abs(numeric))
      if gap ~= gap then gap = math.huge end
      if gap > worst then
        worst = gap
        message = ("gradcheck: input %d, element [%s]: the gradient is %.10g, differences give "
          .. "%.10g; the error %.3g is above %g"):format(input.position, place(input.shape, k),
          analytic, numeric, gap, tolerance)
      end
    end
  end
  if worst > tolerance then core.error(message) end
  return math.max(worst, 0)
end

---Compares the gradients of `fn` with central differences, in float64, in every element of every
---float input; outputs are weighed by random numbers. Raises an error that names the worst element
---when it is off by more than `tolerance`, relative to the gradient where that is above 1.
---@param fn fun(...: moonwalk.Tensor): ...
---@param inputs moonwalk.Tensor[]
---@param options? {eps?: number, tolerance?: number}  1e-6 each
---@return number error  the largest
local function gradcheck(fn, inputs, options)
  if type(fn) ~= "function" then
    check.fail("gradcheck", "fn", fn, "a function")
  elseif type(inputs) ~= "table" then
    check.fail("gradcheck", "the list of inputs", inputs, "one such as {x, w}")
  end
  options = check.options("gradcheck", options, {"eps", "tolerance"})
  local eps = check.number("gradcheck", "eps", options.eps, 2^-1022, math.huge, 1e-6)
  local tolerance = check.number("gradcheck", "tolerance", options.tolerance, 0, math.huge, 1e-6)
  -- The generator goes on afterwards as if nothing had been drawn.
  local random = {core.random_state()}
  local succeeded, result = pcall(compare, fn, inputs, eps, tolerance, random)
  core.random_restore(random[1], random[2])
  if not succeeded then error(result, 0) end
  return result
end

return gradcheck
