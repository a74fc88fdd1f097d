-- char_rnn.lua: an LSTM reads a text, character by character, and then writes one. Without a text
-- it reads sentences that a small grammar makes.
--
--   moonwalk lua/examples/char_rnn.lua --text shakespeare.txt --hidden 256 --epochs 20

local mw = require "moonwalk"
local cli = require "moonwalk.cli"
local nn, data = mw.nn, mw.data

local args = cli.parse(arg, [[
char_rnn.lua: learns to continue a text.
  --text FILE      what to learn from; made-up sentences otherwise
  --hidden N       units of the LSTM [128]
  --layers N       of the LSTM [1]
  --length N       characters in a training sequence [64]
  --epochs N       how often to go through the text [5]
  --batch N        sequences in a step [32]
  --lr X           learning rate, which falls to 0 along a cosine [0.005]
  --n N            learn from the first N characters only
  --start TEXT     how the text that it writes begins [The ]
  --write N        characters to write [400]
  --temperature X  below 1 it dares less [0.7]
  --seed N         of all that is random [1]
  --threads N      threads to compute with
]])
mw.seed(args.seed)
mw.threads(args.threads)

-- Sentences such as "The old fox sees a bird, and the bird sings."
local function sentences(count)
  local NOUNS, VERBS = {"fox", "bird", "cat", "river", "child"}, {"sings", "waits", "sleeps"}
  local ADJECTIVES, SEES = {"", "old ", "red ", "quiet "}, {"sees", "likes", "follows"}
  local random = mw.uniform({count, 6}):totable()
  local function pick(list, u) return list[u * #list // 1 + 1] end
  local lines = {}
  for i, u in ipairs(random) do
    local noun, other = pick(NOUNS, u[2]), pick(NOUNS, u[4])
    lines[i] = ("The %s%s %s a %s, and the %s %s.\n"):format(pick(ADJECTIVES, u[1]), noun,
      pick(SEES, u[3]), other, u[5] < 0.5 and noun or other, pick(VERBS, u[6]))
  end
  return table.concat(lines)
end

local function contents(path)
  local file = assert(io.open(path, "rb"))
  local all = assert(file:read "a")
  file:close()
  return all
end

-- data.text reads a file, and so what is learned from is put into one.
local path = os.tmpname()
local file = assert(io.open(path, "wb"))
file:write(((args.text and contents(args.text) or sentences(3000)):sub(1, args.n or -1)))
file:close()
local text = assert(data.text(path, {by = "byte"}))
os.remove(path)
local train, valid = text:split(0.9)
local start = text:encode(args.start) -- which raises where it has what the text has not

local net = nn.Sequential {
  nn.Embedding {#text.vocabulary, 32},
  nn.LSTM {32, args.hidden, num_layers = args.layers},
  nn.Dense {args.hidden, #text.vocabulary},
}
print(("%d characters, %d different ones"):format(#text, #text.vocabulary))

-- One entry of the loss for each character: cross_entropy has the classes on axis 2.
local function forward(module, batch) return (module(batch.x):transpose {perm = {1, 3, 2}}) end
local history = mw.fit(net, train:sequences {length = args.length}, {
  forward = forward, valid = valid:sequences {length = args.length},
  epochs = args.epochs, batch = args.batch, schedule = "cosine",
  optimizer = {"Adam", lr = args.lr, clip_norm = 1},
})

-- Writes on from a beginning: the state that the LSTM is left in goes back in with each character.
local function write(count)
  net:eval()
  local embedding, lstm, dense = net[1], net[2], net[3]
  local written, h, c = {}, nil, nil
  local input = start:reshape(1, -1)
  for i = 1, count do
    local y, next_h, next_c = lstm(embedding(input), h, c)
    local logits = dense(y)[1][-1] / args.temperature
    -- The largest of logits with Gumbel noise is a sample from their softmax.
    local noise = -(-mw.uniform(logits.shape, 1e-9, 1):log()):log()
    local token = (logits + noise):argmax(1)
    h, c, token = mw.eval(next_h, next_c, token)
    written[i] = token:item()
    input = token:reshape(1, 1)
  end
  return args.start .. text:decode(written)
end

print("\n" .. write(args.write) .. "\n")
local last = history[#history] -- none after no epoch
if last then
  print(("bits for a character of text that it has not read: %.3f"):format(
    last.valid_loss / math.log(2)))
end
