-- report.lua: the results of `make bench` as a table, for the terminal and for the manual. As a
-- program it writes the latter: moonwalk tests/bench/report.lua build/bench/results.json

local mw = require "moonwalk"
local measure = require "moonwalk.measure"

local report = {}

local TITLES = {torch = "PyTorch", onednn = "oneDNN", openblas = "OpenBLAS"}
local VERDICTS = {aim = "aim", required = "yes", missed = "no"}

local function number(x)
  if x < 1000 then return measure.digits(x) end
  local digits = ("%.0f"):format(x):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (digits:gsub("^,", ""))
end

local function percent(x, digits) return ("%%.%df %%%%"):format(digits or 0):format(100 * x) end

local function target(result, value)
  if not value then return "" end
  return result.limit and ("%g %s"):format(value, result.unit) or ("%gx"):format(value)
end

local HEADING = {"workload", "unit", "Moonwalk", "+-", "other", "", "+-", "GFLOP/s", "peak",
  "ratio", "rounds", "required", "aim", "met"}

-- One row, a cell for each of the heading's.
local function row_of(result)
  local theirs, ratio = result.theirs, result.ratio
  return {
    result.title, result.unit, number(result.ours.median), percent(result.ours.spread, 1),
    result.against and TITLES[result.against] or "", theirs and number(theirs.median) or "",
    theirs and percent(theirs.spread, 1) or "",
    result.gflops and measure.digits(result.gflops) or "",
    result.peak_share and percent(result.peak_share) or "",
    ratio and ("%.2fx"):format(ratio.median) or "",
    ratio and ("%.2f to %.2f"):format(ratio.least, ratio.most) or "",
    target(result, result.required), target(result, result.aim),
    result.verdict and VERDICTS[result.verdict] or "",
  }
end

local LOSS_HEADING = {"loss", "steps", "batch", "threads", "Moonwalk", "PyTorch",
  "checked with batch", "Moonwalk", "reference kernels", "agrees"}

local function loss_row(entry)
  local checked = entry.checked
  local row = {entry.title, tostring(entry.steps), tostring(entry.batch), tostring(entry.threads),
    ("%.5f"):format(entry.ours), entry.theirs and ("%.5f"):format(entry.theirs) or "",
    "", "", "", ""}
  if checked then
    table.move({tostring(checked.batch), ("%.5f"):format(checked.ours),
      ("%.5f"):format(checked.reference), checked.agrees and "yes" or "NO"}, 1, 4, 7, row)
  end
  return row
end

-- The rows of both tables; the second one may have none.
local function tables_of(results)
  local rows, losses = {HEADING}, {LOSS_HEADING}
  for _, result in ipairs(results.results) do rows[#rows + 1] = row_of(result) end
  for _, entry in ipairs(results.losses) do losses[#losses + 1] = loss_row(entry) end
  return rows, losses
end

local function heading_of(results)
  local parts = {results.machine, ("with all threads %.0f"):format(results.peak_gflops[2])}
  local others = {}
  for _, name in ipairs {"torch", "onednn", "openblas"} do
    local version = results.versions[name]
    if version then
      local kernels = version:match "(%S+) MAX_THREADS" -- OpenBLAS picks them by the processor
      others[#others + 1] = TITLES[name] .. " " .. version:match "%d[%d.]*"
        .. (kernels and (" with its kernels for %s"):format(kernels) or "")
    end
  end
  if #others > 0 then parts[#parts + 1] = table.concat(others, ", ") end
  return table.concat(parts, "; ")
end

---For the terminal.
---@param results table  what the JSON has
---@return string
function report.text(results)
  local rows, losses = tables_of(results)
  local text = ("%s\n\n%s"):format(heading_of(results), measure.table_text(rows, {1, 2, 5}))
  if #losses > 1 then text = text .. "\n\n" .. measure.table_text(losses) end
  return text
end

local function markdown_row(row)
  local cells = {}
  for i, cell in ipairs(row) do cells[i] = cell:gsub("|", "\\|") end
  return "| " .. table.concat(cells, " | ") .. " |"
end

local function markdown_table(rows)
  local lines = {markdown_row(rows[1]), "|" .. ("---|"):rep(#rows[1])}
  for i = 2, #rows do lines[#lines + 1] = markdown_row(rows[i]) end
  return table.concat(lines, "\n")
end

---For the manual: fewer columns.
---@param results table
---@return string
function report.markdown(results)
  local rows, losses = tables_of(results)
  local short = {{"workload", "unit", "Moonwalk", "other", "GFLOP/s", "of peak", "ratio (rounds)",
    "required", "aim", "met"}}
  for i = 2, #rows do
    local row = rows[i]
    short[i] = {row[1], row[2], ("%s ± %s"):format(row[3], row[4]),
      row[5] ~= "" and ("%s %s ± %s"):format(row[5], row[6], row[7]) or "", row[8], row[9],
      row[10] ~= "" and ("%s (%s)"):format(row[10], row[11]) or "", row[12], row[13], row[14]}
  end
  local text = ("%s.\n\n%s"):format(heading_of(results), markdown_table(short))
  if #losses > 1 then text = text .. "\n\n" .. markdown_table(losses) end
  return text
end

---@param path string
---@return table
function report.read(path)
  local file, problem = io.open(path)
  if not file then
    io.stderr:write(problem, ": `make bench` writes it\n")
    os.exit(1, true)
  end
  local text = file:read "a"
  file:close()
  return mw.json.decode(text)
end

if arg and arg[0] and arg[0]:find "report%.lua$" then
  print(report.markdown(report.read(arg[1] or "build/bench/results.json")))
end

return report
