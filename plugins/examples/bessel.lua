-- bessel.lua: a function of the C library as an elementwise op. The derivatives of Bessel's
-- functions J_n(x) are Bessel's functions again, so derivatives of every order follow.
-- 17 lines of code.
local mw = require "moonwalk"

mw.ffi.op {
  name = "bessel", doc = "Bessel's function of the first kind J_n(x), n a whole number.",
  library = "libm.so.6", symbol = "jn", signature = "f64(i32 n, f64 x)",
  example = "mw.bessel(1, mw.tensor({0.5, 2}, 'f64'))",
  gradient = function(n, x, _, dy)
    return nil, dy * (mw.bessel(n - 1, x) - mw.bessel(n + 1, x)) / 2
  end,
}

local x = mw.param(mw.linspace(0, 10, 6, "f64"))
print("J_0", mw.bessel(0, x))
print("J_0'", mw.grad(mw.bessel(0, x):sum(), {x})[1])

-- It solves x^2 y'' + x y' + (x^2 - n^2) y = 0.
local y = mw.bessel(3, x)
local dy = mw.grad(y:sum(), {x})[1]
local ddy = mw.grad(dy:sum(), {x})[1]
local residual = x * x * ddy + x * dy + (x * x - 9) * y
print(("Bessel's equation holds to %.0e"):format(math.max(1e-12, residual:abs():max():item())))
