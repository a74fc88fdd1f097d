-- fft.lua: a transform of FFTW (Debian: libfftw3-double3) as an op of whole tensors, with its
-- gradient. Hartley's transform H(x)_k = sum_j x_j (cos + sin)(2 pi j k / n) is a real Fourier
-- transform; its matrix is symmetric, so the gradient is the transform once more.
-- 45 lines of code.
local mw = require "moonwalk"

local LIBRARY, DHT = "libfftw3.so.3", 2
local UNALIGNED, PRESERVE_INPUT, ESTIMATE = 1 << 1, 1 << 4, 1 << 6
local make_plan = mw.ffi.fn {library = LIBRARY, symbol = "fftw_plan_many_r2r", signature = [[
  void*(i32 rank, const i32* n[rank], i32 howmany,
        f64* in, const i32* inembed, i32 istride, i32 idist,
        f64* out, const i32* onembed, i32 ostride, i32 odist, const i32* kind[rank], u32 flags)]]}
local destroy = mw.ffi.fn {library = LIBRARY, symbol = "fftw_destroy_plan",
  signature = "void(void* plan)"}

-- FFTW plans once for each size; a plan runs on any tensor of it.
local plans = setmetatable({}, {__gc = function(all)
  for _, plan in pairs(all) do destroy(plan) end
end})
local function plan_for(n, rows)
  local key = n .. "x" .. rows
  if not plans[key] then
    local x, y = mw.ffi.buffer("f64", n * rows), mw.ffi.buffer("f64", n * rows)
    local size, kind = mw.ffi.buffer("i32", {n}), mw.ffi.buffer("i32", {DHT})
    plans[key] = make_plan(1, size, rows, x, nil, 1, n, y, nil, 1, n, kind,
      UNALIGNED | PRESERVE_INPUT | ESTIMATE)
  end
  return plans[key]
end

mw.ffi.op {
  name = "hartley", doc = "Hartley's transform of the last axis, by FFTW.", library = LIBRARY,
  symbol = "fftw_execute_r2r", signature = "void(void* plan, const f64* x, f64* y)",
  example = "mw.hartley(mw.randn({2, 4}, 'f64'))",
  infer = function(x)
    local n = x.shape[#x.shape] or 1
    return {y = x.shape, plan = plan_for(n, x.count // math.max(n, 1))}
  end,
  gradient = function(_, _, dy) return mw.hartley(dy) end,
}

mw.seed(1)
local x = mw.randn({3, 1000}, "f64"):eval()
local back = mw.hartley(mw.hartley(x)) / 1000
print(("the transform of the transform is n x, to %.0e"):format(
  math.max(1e-12, (back - x):abs():max():item())))
print(("gradients are right: %s"):format(
  mw.gradcheck(function(t) return mw.hartley(t):tanh() end, {mw.randn({2, 7}, "f64")},
    {second = true}) < 1e-6))

-- Which waves is a signal made of? 5 and 12 of them.
local t = mw.arange(64, "f64") * (2 * math.pi / 64)
local spectrum = mw.hartley((t * 5):cos() + (t * 12):cos() * 0.5) / 32
for k, height in ipairs(spectrum:totable()) do
  if height > 0.1 and k <= 32 then print(("%2d waves of height %.2f"):format(k - 1, height)) end
end
