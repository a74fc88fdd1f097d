-- autodiff.lua: derivatives of functions: products with Jacobians from either side, Jacobians,
-- Hessians; and checkpoints.
--
-- A function takes the tensors of `xs` as arguments and returns one tensor y. `xs` is a tensor or a
-- list of tensors; what belongs to xs is then a tensor, or a list in the same order. All results
-- are graph, which is computed when it is asked for and may be differentiated again.
--
--   local dx, y = mw.vjp(fn, x, dy)        -- J' dy, of the shape of x
--   local dy, y = mw.jvp(fn, x, dx)        -- J dx, of the shape of y
--   local j = mw.jacobian(fn, x)           -- [y's axes, x's axes]
--   local h = mw.hessian(fn, x)            -- [x's axes, x's axes]; y is a scalar
--   local hv, y = mw.hvp(fn, x, v)         -- H v, of the shape of x; y is a scalar

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local autodiff = {}

local MOST_AXES = 8

local function is_float(t)
  return core.is_tensor(t) and (t.dtype == "f32" or t.dtype == "f64")
end

-- The tensors of a tensor or a list, and whether it is a list.
local function read(where, name, value)
  if core.is_tensor(value) then return {value}, false end
  if type(value) ~= "table" or #value == 0 then
    check.fail(where, name, value, "a tensor or a list of tensors")
  end
  for i = 1, #value do
    if not core.is_tensor(value[i]) then
      check.fail(where, ("%s[%d]"):format(name, i), value[i], "a tensor")
    end
  end
  return table.move(value, 1, #value, 1, {}), true
end

local function read_xs(where, fn, value)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    check.fail(where, "fn", fn, "a function")
  end
  local xs, is_list = read(where, "x", value)
  for i, x in ipairs(xs) do
    if not is_float(x) then
      check.fail(where, is_list and ("x[%d]"):format(i) or "x", x, "a tensor of f32 or f64")
    end
  end
  return xs, is_list
end

-- Tensors of the specs of others, as vectors for products are.
local function read_alike(where, name, value, others, other, is_list)
  local list, given_list = read(where, name, value)
  if given_list ~= is_list or #list ~= #others then
    check.fail(where, name, value, is_list
      and ("a list of %d tensors, as %s"):format(#others, other) or "a tensor, as " .. other)
  end
  for i, t in ipairs(list) do
    if core.spec(t) ~= core.spec(others[i]) then
      local place = is_list and ("[%d]"):format(i) or ""
      core.error(("%s: %s%s is %s, expected %s as %s%s"):format(where, name, place, core.spec(t),
        core.spec(others[i]), other, place))
    end
  end
  return list
end

local function call(where, fn, xs, scalar)
  local y = fn(table.unpack(xs))
  if not is_float(y) then
    check.fail(where, "the function's result", y, "a tensor of f32 or f64")
  end
  if scalar and y.rank > 0 then
    local count = 1
    for _, size in ipairs(y.shape) do count = count * size end
    if count ~= 1 then
      check.fail(where, "the function's result", y, "a scalar; reduce it first")
    end
  end
  return y
end

-- All elements of a list as one vector, of the first one's dtype.
local function joined_up(list)
  local parts = {}
  for i, t in ipairs(list) do
    parts[i] = t:reshape {-1}
    if t.dtype ~= list[1].dtype then parts[i] = parts[i]:cast(list[1].dtype) end
  end
  return #parts == 1 and parts[1] or core.call("concat", parts, {axis = 1})
end

-- The sum of <a[i], b[i]>; the dtypes may differ from one i to another.
local function dot(a, b)
  local total
  for i = 1, #a do
    local term = (a[i] * b[i]):sum()
    if total and term.dtype ~= total.dtype then term = term:cast(total.dtype) end
    total = total and total + term or term
  end
  return total
end

local function as_given(list, is_list)
  if is_list then return list end
  return list[1]
end

---The product of a vector with the Jacobian: the gradients in x of <fn(x), dy>.
---@param fn fun(...: moonwalk.Tensor): moonwalk.Tensor
---@param xs moonwalk.Tensor|moonwalk.Tensor[]
---@param dy? moonwalk.Tensor  of y's shape; needed unless y is a scalar
---@return moonwalk.Tensor|moonwalk.Tensor[] dx  as xs
---@return moonwalk.Tensor y
function autodiff.vjp(fn, xs, dy)
  local list, is_list = read_xs("vjp", fn, xs)
  local y = call("vjp", fn, list, dy == nil)
  if dy ~= nil then read_alike("vjp", "dy", dy, {y}, "the result", false) end
  return as_given(core.grad(y, list, dy), is_list), y
end

---The product of the Jacobian with a vector: how y changes along dx. By two backward passes: the
---first is linear in its dy, and the second differentiates it there. It needs second derivatives of
---the ops in fn.
---@param fn fun(...: moonwalk.Tensor): moonwalk.Tensor
---@param xs moonwalk.Tensor|moonwalk.Tensor[]
---@param dxs moonwalk.Tensor|moonwalk.Tensor[]  as xs
---@return moonwalk.Tensor dy  as y
---@return moonwalk.Tensor y
function autodiff.jvp(fn, xs, dxs)
  local list, is_list = read_xs("jvp", fn, xs)
  local directions = read_alike("jvp", "dx", dxs, list, "x", is_list)
  local y = call("jvp", fn, list)
  local u = core.zeros(y.shape, y.dtype)
  return core.grad(dot(core.grad(y, list, u), directions), {u})[1], y
end

local function joined(a, b)
  local shape = table.move(a, 1, #a, 1, {})
  return table.move(b, 1, #b, #shape + 1, shape)
end

-- For each x the Jacobian of y in it: one backward pass for each element of y.
local function jacobians(where, y, xs)
  local count, rows = 1, {}
  for _, size in ipairs(y.shape) do count = count * size end
  for i, x in ipairs(xs) do
    if y.rank + x.rank > MOST_AXES then
      core.error(("%s: y is %s and x is %s: the Jacobian would have %d axes, at most %d are "
        .. "possible; reshape them first"):format(where, core.spec(y), core.spec(x),
        y.rank + x.rank, MOST_AXES))
    end
    rows[i] = {}
  end
  local form = y.dtype == "f64" and "<d" or "<f"
  local size = form:packsize()
  for k = 0, count - 1 do
    local one = core.from_bytes(("\0"):rep(k * size) .. form:pack(1)
      .. ("\0"):rep((count - 1 - k) * size), y.dtype, y.shape)
    for i, row in ipairs(core.grad(y, xs, one)) do
      rows[i][k + 1] = row:reshape(joined({1}, xs[i].shape))
    end
  end
  local result = {}
  for i, x in ipairs(xs) do
    local shape = joined(y.shape, x.shape)
    if count == 0 then result[i] = core.zeros(shape, x.dtype)
    else result[i] = core.call("concat", rows[i], {axis = 1}):reshape(shape) end
  end
  return result
end

---The Jacobian: element [i.., j..] is the derivative of y[i..] in x[j..]. Its shape is y's and then
---x's, and its dtype that of x. It takes a backward pass for each element of y.
---@param fn fun(...: moonwalk.Tensor): moonwalk.Tensor
---@param xs moonwalk.Tensor|moonwalk.Tensor[]
---@return moonwalk.Tensor|moonwalk.Tensor[] jacobian  one for each of xs
---@return moonwalk.Tensor y
function autodiff.jacobian(fn, xs)
  local list, is_list = read_xs("jacobian", fn, xs)
  local y = call("jacobian", fn, list)
  return as_given(jacobians("jacobian", y, list), is_list), y
end

---The Hessian of a scalar function: element [i.., j..] is the derivative in x[i..] and x[j..]. Of a
---list of tensors it is a table h, where h[a][b] has the axes of xs[a] and then those of xs[b].
---@param fn fun(...: moonwalk.Tensor): moonwalk.Tensor
---@param xs moonwalk.Tensor|moonwalk.Tensor[]
---@return moonwalk.Tensor|moonwalk.Tensor[][] hessian
---@return moonwalk.Tensor y
function autodiff.hessian(fn, xs)
  local list, is_list = read_xs("hessian", fn, xs)
  local y = call("hessian", fn, list, true)
  local rows = {}
  for i, dx in ipairs(core.grad(y, list)) do rows[i] = jacobians("hessian", dx, list) end
  if not is_list then return rows[1][1], y end
  return rows, y
end

---The product of the Hessian of a scalar function with a vector, without the Hessian. The vector is
---what it is: where it was computed from x, as a gradient is, that is not differentiated.
---@param fn fun(...: moonwalk.Tensor): moonwalk.Tensor
---@param xs moonwalk.Tensor|moonwalk.Tensor[]
---@param vs moonwalk.Tensor|moonwalk.Tensor[]  as xs
---@return moonwalk.Tensor|moonwalk.Tensor[] hv  as xs
---@return moonwalk.Tensor y
function autodiff.hvp(fn, xs, vs)
  local list, is_list = read_xs("hvp", fn, xs)
  local directions = read_alike("hvp", "v", vs, list, "x", is_list)
  local y = call("hvp", fn, list, true)
  -- The vector weighs the gradient and is no part of what is differentiated.
  local hv = core.grad(joined_up(core.grad(y, list)), list, joined_up(directions))
  return as_given(hv, is_list), y
end

local function finish(begin, ...)
  local results = table.pack(...)
  for i = 1, results.n do
    if core.is_tensor(results[i]) then results[i] = core.checkpoint(begin, results[i]) end
  end
  return table.unpack(results, 1, results.n)
end

---A function that computes what `fn` does, and the same gradients to the bit, but keeps nothing of
---what it computes in between: the backward pass computes that again, out of what fn took from
---outside (its arguments, parameters, and whatever else it found). Less memory for one more forward
---pass. Random numbers are the same in both, and hooks inside are called in both. Each tensor that
---fn returns is computed again for itself. A tensor made inside has no gradient outside.
---
---    local block = mw.checkpoint(function(x) return layer2(layer1(x)) end)
---    local y = block(x)
---@param fn function|moonwalk.Module
---@return function
function autodiff.checkpoint(fn)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    check.fail("checkpoint", "fn", fn, "a function")
  end
  return core.entry(function(...)
    return finish(core.checkpoint_begin(), fn(...))
  end)
end

return autodiff
