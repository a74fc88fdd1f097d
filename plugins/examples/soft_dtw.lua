-- soft_dtw.lua: the cost of the best way to align two series, made smooth (Cuturi and Blondel,
-- 2017, arXiv:1703.01541): an op whose kernels are Lua. x[i,j] is the cost of pairing point i of
-- one series with point j of the other. A cell of the table needs the cells before it, step by
-- step, which is not said well by ops on whole tensors.
local mw = require "moonwalk"

-- r[i][j] is the cost of the best way to (i, j): x[i,j] plus the soft minimum of those before it.
local function table_of(x, gamma)
  local n, m, r = x.shape[1], x.shape[2], {}
  for i = 0, n do r[i] = {[0] = math.huge} end
  for j = 0, m do r[0][j] = math.huge end
  r[0][0] = 0
  for i = 1, n do
    for j = 1, m do
      local a, b, c = r[i - 1][j - 1], r[i - 1][j], r[i][j - 1]
      local least = math.min(a, b, c)
      local sum = math.exp((least - a) / gamma) + math.exp((least - b) / gamma)
        + math.exp((least - c) / gamma)
      r[i][j] = x:get(i, j) + least - gamma * math.log(sum)
    end
  end
  return r
end

return mw.op {
  name = "soft_dtw",
  doc = "The smoothed cost of the best alignment. x: [n, m], the costs of pairs; y: a scalar.",
  example = "mw.soft_dtw(mw.uniform({3,4}, 0, 1), {gamma=0.5})",
  cases = {"mw.soft_dtw(mw.uniform({1,5}, 0, 1))", "mw.soft_dtw(mw.uniform({4,1}, 0, 1))"},
  attrs = {{"gamma", default = 1, doc = "how smooth; near 0 it is the cost of the best alone"}},
  infer = function(x)
    assert(#x.shape == 2 and x.count > 0, "x is a matrix of costs, not empty")
    return {shape = {}}
  end,
  forward = function(x, y, attrs) y[1] = table_of(x, attrs.gamma)[x.shape[1]][x.shape[2]] end,
  backward_needs = {"x"},
  backward = function(x, _, dy, dx, attrs) -- dx[i,j]: how much of all ways goes through (i, j)
    local n, m, r = x.shape[1], x.shape[2], table_of(x, attrs.gamma)
    local function flow(i, j, k, l) -- from (i, j) on to (k, l)
      if k > n or l > m then return 0 end
      return dx:get(k, l) * math.exp((r[k][l] - r[i][j] - x:get(k, l)) / attrs.gamma)
    end
    for i = n, 1, -1 do
      for j = m, 1, -1 do
        local last = i == n and j == m
        dx:set(i, j, last and dy[1]
          or flow(i, j, i + 1, j) + flow(i, j, i, j + 1) + flow(i, j, i + 1, j + 1))
      end
    end
  end,
}
