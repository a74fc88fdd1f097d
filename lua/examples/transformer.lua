-- transformer.lua: a small transformer that only looks back, as GPT does, learns to sort: after the
-- digits "3 1 4 1 =" it has to go on with "1 1 3 4". The data are made as it learns.
--
--   moonwalk lua/examples/transformer.lua --digits 12 --steps 2000

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local nn, optim = mw.nn, mw.optim

local args = cli.parse(arg, [[
transformer.lua: learns to sort digits, as a model of language does it.
  --digits N    digits in a row [8]
  --width N     features of a token [64]
  --heads N     of attention, in each block [4]
  --layers N    blocks [2]
  --steps N     batches to learn from [400]
  --batch N     rows in a batch [64]
  --lr X        learning rate at its highest [0.003]
  --seed N      of all that is random [1]
  --threads N   threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

local EQUALS <const>, n = 10, args.digits -- the token behind the digits

-- Rows of digits, "=", and the digits in order: i64 [count, 2 n + 1].
local function rows(count)
  local digits = mw.uniform({count, n}, 0, 10):floor():clip {min = 0, max = 9}
  local equals = mw.full({count, 1}, EQUALS)
  return mw.concat(digits, equals, (digits:sort()), {axis = 2}):cast("i64"):eval()
end

local net = nn.Sequential {nn.Embedding {11, args.width}, nn.Positions {2 * n, args.width}}
for i = 1, args.layers do
  net[2 + i] = nn.TransformerBlock {args.width, heads = args.heads, causal = true}
end
net[3 + args.layers] = nn.LayerNorm {args.width}
net[4 + args.layers] = nn.Dense {args.width, 11}

-- Each token predicts the next one; only what follows "=" can be known.
local function loss_of(row)
  local logits = net(row:slice {false, {1, -2}}):slice {false, {n + 1, -1}}
  return logits:reshape(-1, 11):cross_entropy(row:slice({false, {n + 2, -1}}):reshape(-1))
end

local schedule = optim.schedule
local opt = optim.AdamW(net:parameters(), {
  lr = args.lr, clip_norm = 1,
  schedule = schedule.warmup(args.steps // 10, schedule.cosine(args.steps)),
})
for step = 1, args.steps do
  local loss = opt:step(loss_of(rows(args.batch)))
  if step % math.max(args.steps // 8, 1) == 0 or step == 1 then
    print(("step %d  loss %.4f"):format(step, loss:item()))
  end
end

-- Writes what follows "=" token by token, each of which it is given back.
net:eval()
local test = rows(200)
local written = test:slice {false, {1, n + 1}}
for _ = 1, n do
  local logits = net(written)
  local token = logits:slice({false, -1}):argmax(2):reshape(-1, 1)
  written = mw.tensor(mw.concat(written, token, {axis = 2}))
end

print ""
for i = 1, 3 do
  print((table.concat(written[i]:totable(), " "):gsub("10", "=", 1)))
end
local right = written:eq(test):all {axes = 2}
print(("rows sorted without a mistake: %.1f %%"):format(100 * right:cast("f32"):mean():item()))
