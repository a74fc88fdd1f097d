-- why_summary.lua: the sentence that tells of a gradient's way as a whole.

local amounts = require "moonwalk.amounts"
local marks = require "moonwalk.look.marks"
local words = require "moonwalk.look.words"

local why_summary = {}

-- The op that does more than half of what happens between two steps of the path, by logarithms: its
-- name, how often it is there, and its factor each time; or nil.
local function chief(steps, path, first, last)
  local kinds, best = {}, nil
  for k = first + 1, last do
    local from, to = steps[path[k - 1]], steps[path[k]]
    local kind = kinds[from.op] or {op = from.op, n = 0, log = 0}
    kinds[from.op] = kind
    kind.n, kind.log = kind.n + 1, kind.log + math.log(to.norm / from.norm)
  end
  local whole = math.log(steps[path[last]].norm / steps[path[first]].norm)
  for _, kind in pairs(kinds) do
    local share = kind.log / whole
    if share > 0.5 and (not best or share > best.share) then
      best = {op = kind.op, n = kind.n, each = math.exp(kind.log / kind.n), share = share}
    end
  end
  return best
end

-- Where a gradient is lost: the first step with a mark.
local function first_lost(steps, path)
  for k = 2, #path do
    local step = steps[path[k]]
    if step.mark == "nan" or step.mark == "infinite" or step.norm == 0 then
      return step, steps[path[k - 1]]
    end
  end
end

local function summarise_loss(lost, from)
  if lost.norm == 0 then return "no gradient arrives: none passes " .. words.place(from) end
  local at_prompt = require("moonwalk.prompt.session").current
  return ("the gradient becomes %s in the backward pass of %s%s"):format(
    lost.norm ~= lost.norm and "NaN" or "infinite", words.place(from),
    at_prompt and "; :nan shows its operands" or "")
end

-- Where a parameter is used several times, the path is that of one of them.
local function say_branches(last)
  local n = #last.branches
  if n < 2 then return "" end
  return ("; it comes by %d branches, which bring from %s down to %s of it"):format(n,
    words.percent(last.branches[1].share), words.percent(last.branches[n].share))
end

---The sentence: where the gradient is lost, or how much it grows or shrinks, and which op does most
---of it.
---@param steps moonwalk.GradientStep[]
---@param path integer[]
---@return string
function why_summary.of(steps, path)
  local lost, from = first_lost(steps, path)
  if lost then return summarise_loss(lost, from) end
  local near, first, last = marks.near_loss(steps, path), 1, steps[path[#path]]
  for k, i in ipairs(path) do
    if steps[i] == near then first = k end
  end
  -- The last step is to another kind of thing: how large it is depends on the layer's input.
  local stop = last.op == "parameter" and #path > first + 1 and #path - 1 or #path
  local final = steps[path[stop]]
  local ratio = final.norm / near.norm
  local way = ("from %s at %s to %s at %s"):format(words.number(near.norm), words.place(near),
    words.number(final.norm), words.place(final))
  local verb = ratio < 0.1 and "shrinks" or ratio > 10 and "grows"
  if not verb then
    return ("the gradient keeps its size: %s%s"):format(way, say_branches(last))
  end
  local kind = chief(steps, path, first, stop)
  return ("the gradient %s %s times, %s%s%s"):format(verb,
    words.number(ratio < 1 and 1 / ratio or ratio), way, kind
    and (", most of it in %s (%s%s)"):format(amounts.count(kind.n, kind.op),
      words.number(kind.each), kind.n > 1 and " each" or "") or "", say_branches(last))
end

return why_summary
