-- nan_text.lua: what nan.lua found, in words.

local core = require "moonwalk.core"
local operands = require "moonwalk.look.operands"
local screen = require "moonwalk.look.screen"
local words = require "moonwalk.look.words"

local nan_text = {}

local SIGNS = {add = "+", sub = "-", mul = "*", div = "/", pow = "^"}
local LOGARITHMS = {log = true, log2 = true, log10 = true}
local LARGEST = {f32 = "3.4e38", f64 = "1.8e308"}
local HIGHEST_EXPONENT = {f32 = "88.7", f64 = "709"}

local function at(place)
  return #place > 0 and (" at {%s}"):format(table.concat(place, ",")) or ""
end

local function dtype_of(value) return value.spec:match "^%w+" end

-- "log of -0.3", "0 / 0"; nil where the op is not one of numbers.
local function said(odd)
  local a, b = odd.operands[1], odd.operands[2]
  if not (a and a.element) or odd.kind ~= "op" then return nil end
  local x, y = words.number(a.element), b and b.element and words.number(b.element)
  if not b then return ("%s of %s"):format(odd.op, x) end
  if y and SIGNS[odd.op] then return ("%s %s %s"):format(x, SIGNS[odd.op], y) end
  return y and ("%s of %s and %s"):format(odd.op, x, y)
end

-- ---- what helps -----------------------------------------------------------------------------

local function help_op(odd)
  local x = odd.operands[1] or {}
  local is_log = LOGARITHMS[odd.op]
  if is_log and x.op == "softmax" then
    return "log_softmax of what softmax is given, or cross_entropy of it, is never so"
  elseif is_log and x.op == "sigmoid" then
    return "bce_with_logits of what sigmoid is given is never so"
  elseif is_log then return "keep it above 0: (x + 1e-8):log(), or x:clip {min = 1e-8}"
  elseif odd.op == "sqrt" or odd.op == "rsqrt" then return "keep it above 0: (x + 1e-8):sqrt()"
  elseif odd.op == "div" then return "add a small number to the divisor: a / (b + 1e-8)"
  elseif odd.op:find "^exp" then
    local dtype = dtype_of(odd.made)
    return ("exp of more than %s is beyond the largest %s"):format(HIGHEST_EXPONENT[dtype], dtype)
  elseif odd.made.summary.infinities > 0 then
    return ("the result is beyond the largest %s, %s"):format(dtype_of(odd.made),
      LARGEST[dtype_of(odd.made)])
  end
end

local function help_gradient(odd)
  if odd.op == "sqrt" then
    return "the slope of sqrt at 0 is infinite: (x + 1e-8):sqrt()"
  elseif odd.op == "norm" then
    return "the norm has no slope at 0: add a small number below the root"
  elseif odd.op == "pow" then
    return "a power below 1 has an infinite slope at 0"
  end
end

local function help_leaf(odd)
  if odd.op == "parameter" then
    return "an update made it so; mw.debug.nan() before training stops at the first one"
  end
  return "it was given so: look at where the data comes from"
end

local HELP = {op = help_op, gradient = help_gradient, leaf = help_leaf}

-- ---- lines ----------------------------------------------------------------------------------

local function headline(odd)
  local what = odd.made.summary.nans > 0 and "NaN" or "infinity"
  if odd.kind == "leaf" then
    local name = odd.made.name and " " .. odd.made.name or ""
    return ("the first %s is in %s%s itself"):format(what,
      odd.op == "parameter" and "the parameter" or "what was given,", name)
  elseif odd.kind == "gradient" then
    return ("the values are finite; the first %s is in a gradient: the backward pass of %s"):format(
      what, odd.op)
  end
  return ("the first %s is made by %s"):format(what, odd.op)
end

---What was found, as lines.
---@param odd moonwalk.Odd
---@param source string?  the line of Lua that built the op
---@return string
function nan_text.of(odd, source)
  local columns = screen.size()
  local lines = words.wrap(headline(odd) .. (odd.origin and ", at " .. odd.origin or ""), columns)
  for i, line in ipairs(lines) do lines[i] = screen.paint(line, "bold") end
  if source then
    lines[#lines + 1] = screen.paint(screen.cut("  | " .. source, columns), "dim")
  end
  local first = said(odd)
  lines[#lines + 1] = screen.paint("  " .. (first and first .. at(odd.place)
    or ("%s is %s%s"):format(odd.made.label, words.number(odd.made.element), at(odd.place))),
    "bold red")
  local values = table.move(odd.operands, 1, #odd.operands, 2, {odd.made})
  for _, line in ipairs(operands.lines(values, columns)) do lines[#lines + 1] = line end
  local help = HELP[odd.kind](odd)
  if help then
    for _, line in ipairs(words.wrap(help, columns - 2)) do lines[#lines + 1] = "  " .. line end
  end
  return table.concat(lines, "\n")
end

---What is said where there is none.
---@param t moonwalk.Tensor
---@param name string
---@param with_gradients boolean
---@return string
function nan_text.none(t, name, with_gradients)
  return ("no NaN and no infinity in %s (%s)%s"):format(name, core.spec(t),
    with_gradients and ", nor in its gradients" or ", nor in what it is computed from")
end

return nan_text
