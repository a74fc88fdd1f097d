-- foreign_examples.lua: the examples of foreign functions run, and find what is true.
local t = require "tap"

local moonwalk = os.getenv "MOONWALK_BUILD" .. "/moonwalk"

local function run(path)
  local pipe = assert(io.popen(("'%s' %s 2>&1"):format(moonwalk, path)))
  local output = pipe:read "a"
  return pipe:close(), output
end

local function lines_of_code(path)
  local n, said = 0, nil
  for line in io.lines(path) do
    if line:find "%S" and not line:find "^%s*%-%-" then n = n + 1 end
    said = said or line:match "^%-%- (%d+) lines of code"
  end
  return n, tonumber(said)
end

-- J_0, and its derivative -J_1, at 2, 4, ... to four digits (Abramowitz and Stegun, table 9.1).
local expected = {
  bessel = {"0.2239, -0.3971,  0.1506,  0.1717, -0.2459", "-0.5767,  0.0660,  0.2767, -0.2346",
    "Bessel's equation holds to 1e-12"},
  fft = {"the transform of the transform is n x, to 1e-12", "gradients are right: true",
    " 5 waves of height 1.00\n12 waves of height 0.50"},
  lbfgs = {"step  10  loss"},
}

for _, name in ipairs {"bessel", "fft", "lbfgs"} do
  local path = ("plugins/examples/%s.lua"):format(name)
  local n, said = lines_of_code(path)
  t.is(said, n, name .. ".lua says how many lines of code it has")
  local succeeded, output = run(path)
  local missing = output:match "the library cannot be opened: ([^\n]*)"
  if missing then
    t.skip(name .. ".lua", missing)
  else
    t.ok(succeeded, name .. ".lua runs")
    for _, text in ipairs(expected[name]) do
      local found = t.ok(output:find(text, 1, true), (text:gsub("\n", "; ")))
      if not found then print("# " .. output:gsub("\n", "\n# ")) end
    end
    if name == "lbfgs" then
      local loss, wrong = output:match "loss ([%d.]+) after %d+ steps; ([%d.]+) of 400"
      t.ok(loss and tonumber(loss) < 0.05, "L-BFGS finds weights with a small loss")
      t.ok(wrong and tonumber(wrong) <= 4, "and the moons apart")
    end
  end
end
t.done()
