-- custom_loop.lua: a training loop of one's own, by mw.grad and mw.update alone. A small network
-- u(t) learns to be an oscillator, u'' = -u with u(0) = 1 and u'(0) = 0, from the equation: the
-- loss has u'' in it, a derivative of a derivative, and is differentiated once more. The answer
-- is known, cos t, but not to the network.
--
-- Source: Raissi, Perdikaris and Karniadakis, "Physics-informed neural networks", 2019.
--
--   moonwalk lua/examples/custom_loop.lua --steps 5000

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local nn = mw.nn

local args = cli.parse(arg, [[
custom_loop.lua: a network learns to solve a differential equation.
  --hidden N    units of each hidden layer [32]
  --points N    at which the equation is looked at in each step [64]
  --steps N     of the training [2000]
  --lr X        learning rate at first, which falls to 0 [0.005]
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local END = 2 * math.pi
local body = nn.Sequential {
  nn.Dense {1, args.hidden, init = "xavier"}, nn.Tanh {},
  nn.Dense {args.hidden, args.hidden, init = "xavier"}, nn.Tanh {},
  nn.Dense {args.hidden, 1, init = "xavier"},
}

-- u(0) = 1 and u'(0) = 0 whatever the network says.
local function u(t) return 1 + (t / END):square() * body(t / END * 2 - 1) end

-- How far u is from the equation: the mean square of u'' + u.
local function loss_at(t)
  local value = u(t)
  local first = mw.grad(value:sum(), {t})[1]   -- each u depends on its own t alone
  local second = mw.grad(first:sum(), {t})[1]
  return (second + value):square():mean()
end

-- Adam, written out: a mean of the gradients and of their squares for each parameter.
local parameters = body:parameters()
local all, means, squares = {}, {}, {}
for i, p in ipairs(parameters) do
  means[i], squares[i] = mw.param(mw.zeros(p.shape)), mw.param(mw.zeros(p.shape))
  table.move({p, means[i], squares[i]}, 1, 3, #all + 1, all)
end

local function update(loss, rate)
  local values = {}
  for i, g in ipairs(mw.grad(loss, parameters)) do
    local mean, square = 0.9 * means[i] + 0.1 * g, 0.99 * squares[i] + 0.01 * g:square()
    local p = parameters[i] - rate * mean / (square:sqrt() + 1e-8)
    table.move({p, mean, square}, 1, 3, #values + 1, values)
  end
  mw.update(all, values, loss) -- all of it, the loss too, in one program
end

for step = 1, args.steps do
  local loss = loss_at(mw.uniform({args.points, 1}, 0, END))
  update(loss, args.lr * (1 - (step - 1) / args.steps))
  if step == 1 or step % math.max(args.steps // 8, 1) == 0 then
    print(("step %d  loss %.6f"):format(step, loss:item()))
  end
end

print "\n     t     u(t)    cos t"
local t = mw.linspace(0, END, 9):reshape(-1, 1)
local values, worst = u(t):reshape(-1):totable(), 0
for i, time in ipairs(t:reshape(-1):totable()) do
  worst = math.max(worst, math.abs(values[i] - math.cos(time)))
  print(("%6.3f  %7.4f  %7.4f"):format(time, values[i], math.cos(time)))
end
print(("largest difference: %.4f"):format(worst))
