-- lbfgs.lua: trains a network with the L-BFGS of liblbfgs (Debian: liblbfgs0), bound in Lua alone.
-- The objective and its gradient come from Moonwalk, the search from the library.
-- 69 lines of code.
local mw = require "moonwalk"
local nn, ffi = mw.nn, mw.ffi

-- The binding, after lbfgs.h --------------------------------------------------------------------

local lbfgs = ffi.fn {library = "liblbfgs.so.0", symbol = "lbfgs", signature = [[
  i32(i32 n, f64* x[n], f64* fx[1], fn evaluate, fn progress, void* instance, void* param)]]}
local set_defaults = ffi.fn {library = "liblbfgs.so.0", symbol = "lbfgs_parameter_init",
  signature = "void(void* param)"}
local lbfgs_parameter = ffi.struct [[
  i32 m, f64 epsilon, i32 past, f64 delta, i32 max_iterations, i32 linesearch, i32 max_linesearch,
  f64 min_step, f64 max_step, f64 ftol, f64 wolfe, f64 gtol, f64 xtol,
  f64 orthantwise_c, i32 orthantwise_start, i32 orthantwise_end]]
local REACHED_LIMIT = -997

local function flat(tensors)
  local parts = {}
  for i, tensor in ipairs(tensors) do parts[i] = tensor:reshape(-1) end
  return mw.concat(table.unpack(parts))
end

-- Lowers loss(), which depends on the f64 parameters given. Returns the loss and the steps taken.
local function minimize(parameters, loss, max_iterations)
  local x, fx = ffi.buffer(flat(parameters)), ffi.buffer("f64", 1)
  local options, steps = lbfgs_parameter(), 0
  set_defaults(options)
  options.max_iterations = max_iterations

  local function assign(values)
    local news, at = {}, 1
    for i, parameter in ipairs(parameters) do
      local count = #parameter:reshape(-1)
      news[i] = values:view(count, "f64", at):tensor(parameter.shape)
      at = at + count
    end
    mw.update(parameters, news)
  end
  local evaluate = ffi.callback(function(_, values, gradient)
    assign(values)
    local y = loss()
    local dy = flat(mw.grad(y, parameters))
    mw.eval(y, dy)
    gradient:copy(dy)
    return y:item()
  end, "f64(void* instance, const f64* x[n], f64* g[n], i32 n, f64 step)", {on_error = 0 / 0})
  local progress = ffi.callback(function(_, _, _, value, _, norm, _, _, k)
    steps = k
    if k % 10 == 0 then print(("step %3d  loss %.6f  gradient %.1e"):format(k, value, norm)) end
    return 0
  end, [[i32(void* instance, const f64* x, const f64* g, f64 fx, f64 xnorm, f64 gnorm, f64 step,
             i32 n, i32 k, i32 ls)]], {on_error = 1}) -- which ends the search

  local status = lbfgs(#x, x, fx, evaluate, progress, nil, options)
  if status < 0 and status ~= REACHED_LIMIT then error("lbfgs returned " .. status) end
  assign(x)
  return fx[1], steps
end

-- Two half moons, one in the other's arms -------------------------------------------------------

mw.seed(1)
local N = 200
local angle = mw.uniform({N, 1}, 0, math.pi, "f64")
local noise = mw.randn({2 * N, 2}, "f64") * 0.1
local upper = mw.concat(angle:cos(), angle:sin(), {axis = 2})
local lower = mw.concat(1 - angle:cos(), 0.5 - angle:sin(), {axis = 2})
local points = (mw.concat(upper, lower) + noise):eval()
local labels = mw.concat(mw.zeros({N}, "i64"), mw.ones({N}, "i64")):eval()

local net = nn.Sequential {
  nn.Dense {2, 16, dtype = "f64"}, nn.Tanh {}, nn.Dense {16, 2, dtype = "f64"},
}
local weights = net:parameters()
local value, steps = minimize(weights, function()
  local decay = 0
  for _, w in ipairs(weights) do decay = decay + (w * w):sum() * 1e-4 end
  return net(points):cross_entropy(labels) + decay
end, 100)
local wrong = net(points):argmax {axis = 2}:ne(labels):cast("f64"):sum():item()
print(("loss %.4f after %d steps; %d of %d points are on the wrong side"):format(
  value, steps, wrong, 2 * N))
