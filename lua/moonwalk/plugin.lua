-- plugin.lua: mw.plugin: ops in C from shared libraries, and from C text that is compiled here.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local compiler = require "moonwalk.compiler"

local plugin = {}

---Loads a plugin.
---@param path string  a shared library
---@return string[]  the names of its ops
function plugin.load(path)
  return core.plugin_load(path)
end

local loaded = {} -- path of a library -> the names of its ops

---Compiles C text, or a file of it, with the system's C compiler (CC, cc, gcc or clang), and loads
---the ops that it registers: a whole op file, which includes <moonwalk.h> and ends with MW_PLUGIN.
---The library is kept in the cache folder ($XDG_CACHE_HOME or ~/.cache), found again by the text.
---@param source string  C text of several lines, or a path
---@return string[]  the names of its ops
function plugin.compile(source)
  source = check.text("plugin.compile", "the source", source)
  local path = compiler.library(source)
  loaded[path] = loaded[path] or plugin.load(path)
  return table.move(loaded[path], 1, #loaded[path], 1, {})
end

return setmetatable(plugin, {__call = function(_, path) return plugin.load(path) end})
