-- optim.lua: optimizers: rules that change parameters so that a loss falls.
--
--   local opt = optim.SGD(net:parameters(), {lr = 0.05, momentum = 0.9})
--   opt:step(loss)       -- the loss, its gradients and the update, as one program
--   opt.lr = 0.01        -- any option may change between steps
--
-- The rules are PyTorch's (torch.optim, version 1.13), and so are the options' names and
-- defaults. Below, g is the gradient, p the parameter, t the number of the step, from 1.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local base = require "moonwalk.optim.optimizer"

local optimizer, option = base.optimizer, base.option

-- x:axpy(y, a) is a x + y, in one pass.

-- g + weight_decay p
local function decayed(how, p, g, s)
  return how.decay and p:axpy(g, s.weight_decay) or g
end

-- b <- momentum b + g, and p + step b, or with nesterov p + step (g + momentum b), in one pass.
local function with_momentum(p, g, slots, s, nesterov)
  local moved
  moved, slots.momentum = p:momentum(slots.momentum, g, s.momentum, s.step, {nesterov = nesterov})
  return moved
end

---@class moonwalk.optim
---@field schedule moonwalk.schedules
local optim = {
  LBFGS = require "moonwalk.optim.lbfgs",
  schedule = require "moonwalk.optim.schedule",
}

---Stochastic gradient descent, with momentum and Nesterov's variant of it.
---     g <- g + weight_decay p
---     b <- momentum b + g
---     p <- p - lr b           or, with nesterov, p - lr (g + momentum b)
---Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum
---in deep learning", 2013, with the learning rate outside of b as in torch.optim.SGD.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.SGD = optimizer("SGD", {
  options = {
    option("lr", 0.001), option("momentum", 0), option("nesterov", false),
    option("weight_decay", 0),
  },
  structure = function(opt)
    return {decay = opt.weight_decay ~= 0, momentum = opt.momentum ~= 0, nesterov = opt.nesterov}
  end,
  slots = function(how) return how.momentum and {"momentum"} or {} end,
  scalars = function(opt)
    return {step = -opt.lr, momentum = opt.momentum, weight_decay = opt.weight_decay}
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    if not how.momentum then return g:axpy(p, s.step) end
    return with_momentum(p, g, slots, s, how.nesterov)
  end,
})

local function adam_structure(opt) return {decay = opt.weight_decay ~= 0} end

local function adam_slots() return {"mean", "square"} end

-- Both numbers of a decaying mean, and the corrections for its beginning.
local function adam_scalars(opt, t)
  return {
    beta1 = opt.beta1, rest1 = 1 - opt.beta1, beta2 = opt.beta2, rest2 = 1 - opt.beta2,
    rate = opt.lr / (1 - opt.beta1 ^ t), scale = 1 / math.sqrt(1 - opt.beta2 ^ t),
    eps = opt.eps, weight_decay = opt.weight_decay, kept = 1 - opt.lr * opt.weight_decay,
  }
end

-- Adam's step without weight decay: m / (1 - beta1^t) over sqrt(v / (1 - beta2^t)) + eps.
local function adam(p, g, slots, s)
  local m = slots.mean:axpy(g * s.rest1, s.beta1)
  local v = slots.square:axpy(g * g * s.rest2, s.beta2)
  slots.mean, slots.square = m, v
  return p - m * s.rate / (v:sqrt() * s.scale + s.eps)
end

---Adam.
---     g <- g + weight_decay p
---     m <- beta1 m + (1 - beta1) g
---     v <- beta2 v + (1 - beta2) g^2
---     p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
---Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.Adam = optimizer("Adam", {
  options = {
    option("lr", 0.001), option("beta1", 0.9, 0, 1 - 2^-53), option("beta2", 0.999, 0, 1 - 2^-53),
    option("eps", 1e-8), option("weight_decay", 0),
  },
  structure = adam_structure, slots = adam_slots, scalars = adam_scalars,
  update = function(how, p, g, slots, s)
    return adam(p, decayed(how, p, g, s), slots, s)
  end,
})

---Adam with the weight decay beside the gradient instead of in it: p <- (1 - lr weight_decay) p,
---then Adam's step.
---Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.AdamW = optimizer("AdamW", {
  options = {
    option("lr", 0.001), option("beta1", 0.9, 0, 1 - 2^-53), option("beta2", 0.999, 0, 1 - 2^-53),
    option("eps", 1e-8), option("weight_decay", 0.01),
  },
  structure = adam_structure, slots = adam_slots, scalars = adam_scalars,
  update = function(how, p, g, slots, s)
    return adam(how.decay and p * s.kept or p, g, slots, s)
  end,
})

---RMSprop.
---     g <- g + weight_decay p
---     v <- alpha v + (1 - alpha) g^2
---     b <- momentum b + g / (sqrt(v) + eps)
---     p <- p - lr b
---Source: Hinton, lecture 6e of "Neural networks for machine learning", 2012, with the momentum
---of torch.optim.RMSprop.
---@type fun(parameters: moonwalk.Tensor[], options: table?): moonwalk.Optimizer
optim.RMSprop = optimizer("RMSprop", {
  options = {
    option("lr", 0.01), option("alpha", 0.99, 0, 1), option("eps", 1e-8), option("momentum", 0),
    option("weight_decay", 0),
  },
  structure = function(opt)
    return {decay = opt.weight_decay ~= 0, momentum = opt.momentum ~= 0}
  end,
  slots = function(how) return how.momentum and {"square", "momentum"} or {"square"} end,
  scalars = function(opt)
    return {
      step = -opt.lr, alpha = opt.alpha, rest = 1 - opt.alpha, eps = opt.eps,
      momentum = opt.momentum, weight_decay = opt.weight_decay,
    }
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    local v = slots.square:axpy(g * g * s.rest, s.alpha)
    slots.square = v
    local direction = g / (v:sqrt() + s.eps)
    if how.momentum then return with_momentum(p, direction, slots, s, false) end
    return direction:axpy(p, s.step)
  end,
})

---Adagrad: the rate of each number falls with the squares of its gradients so far.
---     g <- g + weight_decay p
---     v <- v + g^2
---     p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps)
---Source: Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011.
---@type fun(parameters: table, options: table?): moonwalk.Optimizer
optim.Adagrad = optimizer("Adagrad", {
  options = {
    option("lr", 0.01), option("lr_decay", 0), option("eps", 1e-10), option("weight_decay", 0),
  },
  structure = adam_structure,
  slots = function() return {"square"} end,
  scalars = function(opt, t)
    return {rate = opt.lr / (1 + (t - 1) * opt.lr_decay), eps = opt.eps,
      weight_decay = opt.weight_decay}
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    slots.square = slots.square + g * g
    return p - g * s.rate / (slots.square:sqrt() + s.eps)
  end,
})

---Adadelta: steps as large as those before.
---     g <- g + weight_decay p
---     v <- rho v + (1 - rho) g^2
---     d <- sqrt(u + eps) / sqrt(v + eps) g
---     u <- rho u + (1 - rho) d^2
---     p <- p - lr d
---Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
---@type fun(parameters: table, options: table?): moonwalk.Optimizer
optim.Adadelta = optimizer("Adadelta", {
  options = {
    option("lr", 1), option("rho", 0.9, 0, 1), option("eps", 1e-6), option("weight_decay", 0),
  },
  structure = adam_structure,
  slots = function() return {"square", "delta"} end,
  scalars = function(opt)
    return {lr = opt.lr, rho = opt.rho, rest = 1 - opt.rho, eps = opt.eps,
      weight_decay = opt.weight_decay}
  end,
  update = function(how, p, g, slots, s)
    g = decayed(how, p, g, s)
    slots.square = slots.square * s.rho + g * g * s.rest
    local delta = (slots.delta + s.eps):sqrt() / (slots.square + s.eps):sqrt() * g
    slots.delta = slots.delta * s.rho + delta * delta * s.rest
    return p - delta * s.lr
  end,
})

---Lion: steps by the sign of a mean of gradients, with the weight decay beside them.
---     p <- (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g)
---     m <- beta2 m + (1 - beta2) g
---Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.
---@type fun(parameters: table, options: table?): moonwalk.Optimizer
optim.Lion = optimizer("Lion", {
  options = {
    option("lr", 1e-4), option("beta1", 0.9, 0, 1), option("beta2", 0.99, 0, 1),
    option("weight_decay", 0),
  },
  structure = adam_structure,
  slots = function() return {"mean"} end,
  scalars = function(opt)
    return {lr = opt.lr, beta1 = opt.beta1, rest1 = 1 - opt.beta1, beta2 = opt.beta2,
      rest2 = 1 - opt.beta2, kept = 1 - opt.lr * opt.weight_decay}
  end,
  update = function(how, p, g, slots, s)
    local m = slots.mean
    slots.mean = m * s.beta2 + g * s.rest2
    return (how.decay and p * s.kept or p) - (m * s.beta1 + g * s.rest1):sign() * s.lr
  end,
})

return setmetatable(optim, {
  __index = function(_, name)
    local names = {}
    for known in pairs(optim) do names[#names + 1] = known end
    table.sort(names)
    local near = check.near(tostring(name), names)
    core.error(("optim: there is no %q%s"):format(tostring(name), near
      and (", did you mean optim.%s?"):format(near) or "; it has " .. table.concat(names, ", ")))
  end,
})
