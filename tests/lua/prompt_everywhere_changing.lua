-- prompt_everywhere_changing.lua: ops that are changed while they are used, in all kinds of
-- terminals: :edit, :watch, :reload, :new.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"
local compiler = require "moonwalk.compiler"
local core = require "moonwalk.core"

folder.own_cache()

if not compiler.find() then
  t.skip("ops that are changed", "there is no C compiler")
  return t.done()
end

-- The editor of a prompt: it does what sed is told in the file "change" of the user's home.
local editor = folder.put("editor", [[
#!/bin/sh
for file; do :; done
sed -i -f "$HOME/change" "$file"
]])
os.execute(("chmod +x '%s'"):format(editor))

local shipped = core.text("ops", "gelu.c")
local begun = core.text("templates", "scale.c"):gsub("scale", "wobble")
local function gelu(formula) return (shipped:gsub("gelu_erf%(x%)", formula)) end
local function wobble(formula) return (begun:gsub("factor %* x%[i%]", formula)) end

-- What all prompts compile is found in the cache that they have in common.
for _, text in ipairs {gelu "3 * x", gelu "5 * x", wobble "factor * x[i] + 1",
  wobble "factor * x[i] + 3"} do
  compiler.library(text)
end

local function put(s, name, text)
  assert(compiler.write(("%s/%s"):format(s.home, name), text))
end

local function change(s, commands) put(s, "change", commands .. "\n") end

-- What is typed up to a question of the prompt, or its next line.
local function begin(s, line)
  s:clear()
  s:type(line)
  s:key "Enter"
end

-- An error of the compiler's is shown at its line, where the file is opened again.
local function editing(s)
  s:enter "layer, x = nn.GELU {}, mw.tensor {2}":is {}
  change(s, "s/mw_expect_float(it, 0)/mw_expect_flaot(it, 0)/")
  begin(s, ":edit gelu")
  s:wait "open it again at line 17? [Y/n]"
  local rows, _, _, styled = s:see()
  local text = table.concat(rows, "\n")
  s:check(text:find "\nerror: gelu%.c:17:%d+: .*mw_expect_flaot", "the compiler's message")
  s:check(text:find "\n17> static mw_status infer[^\n]*flaot[^\n]*\n *^\n", "the line and a mark")
  s:check(s.colour == (styled:find("\27[", 1, true) ~= nil), "colours, or none")
  s:check(s.utf8 or not styled:find "[\x80-\xff]", "nothing but ASCII in the C locale")
  change(s, "s/flaot/float/; s/gelu_erf(x)/3 * x/")
  s:key "Enter"
  s:wait "gelu.c: gelu is "
  s:ready()
  local told = s:text():gsub("%s+", " ")
  s:check(told:find "after [%d.]+ m?s %(compiled [^,]+, tested [^,]+, swapped [%d.]+ [mun]?s%)",
    "with the time that it took")
  s:enter "layer(x):item()":is {"6.0"}
  s:enter ":edit gleu":has "did you mean :edit gelu?"
end

-- A file that is saved in another window while a line is typed.
local function watching(s)
  s:enter ":watch gelu":has "gelu.c is watched"
  s:clear()
  s:type "layer(x):it"
  s:wait "layer(x):it"
  put(s, "data/moonwalk/ops/gelu.c", gelu "5 * x")
  s:wait "gelu.c: gelu is swapped in after"
  if not s.edits then s:ready() end -- what was typed is there, but not shown again
  s:type "em() + 1"
  s:key "Enter"
  s:wait "\n11.0"
  s:ready()
  s:enter ":watch":has("watched:", "gelu.c")
  s:enter ":watch off":is {"it is not watched any more"}
end

local function beginning(s)
  change(s, "s/factor \\* x\\[i\\]/factor * x[i] + 1/")
  s:enter((":new op wobble %s/wobble"):format(s.home)):has("wobble.c", "wobble is loaded after")
  s:enter "mw.wobble(x):item()":is {"5.0"} -- 2 * 2 + 1
  s:enter(":new op wobble"):has "there is an op wobble already"
  s:enter "?wobble":has "mw.wobble("
end

local function reloading(s)
  local source = ("%s/wobble/wobble.c"):format(s.home)
  put(s, "wobble/wobble.c", (compiler.read(source):gsub("x%[i%] %+ 1", "x[i] + 3")))
  s:enter ":reload wobble":has "wobble is swapped in after"
  s:enter "mw.wobble(x):item()":is {"7.0"}
  put(s, "wobble/wobble.c", (compiler.read(source):gsub("x%[i%] %+ 3", "x[j] + 3")))
  s:enter ":reload":has("error: wobble.c:", "the old code goes on")
  s:is_coloured("error:", "31")
  s:enter "mw.wobble(x):item() + 1":is {"8.0"}
end

everywhere.play({
  {":edit: what is wrong is shown, what is right runs in what is alive", editing},
  {":watch", watching},
  {":new op", beginning},
  {":reload: what is wrong leaves the old code", reloading},
}, {env = {XDG_CACHE_HOME = os.getenv "XDG_CACHE_HOME", EDITOR = editor}})

folder.remove()
t.done()
