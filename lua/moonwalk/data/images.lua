-- images.lua: folders of pictures as data sets: a folder for each class.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Dataset = require "moonwalk.data.dataset"

local images = {}

---@class moonwalk.ImageOptions
---@field size integer|integer[]|nil {height, width}, to which each picture's middle is scaled
---@field channels integer? 1 for grey, 3 for colour; else as the first picture has
---@field classes string[]? the folders, in the order of their labels; else all, by name
---@field n integer? at most so many of each class

local WHERE = "data.images"
local ENDINGS = {png = true, jpg = true, jpeg = true}

-- What is in a folder: names of pictures, and of folders, sorted.
local function contents(path)
  local names, why = core.folder(path)
  if not names then return nil, why end
  local files, folders = {}, {}
  table.sort(names)
  for _, name in ipairs(names) do
    if name:sub(-1) == "/" then
      folders[#folders + 1] = name:sub(1, -2)
    elseif ENDINGS[(name:match "%.(%w+)$" or ""):lower()] then
      files[#files + 1] = name
    end
  end
  return files, folders
end

-- The files of all classes with their labels; without labels where there are no folders.
local function collect(folder, options)
  local files, folders = contents(folder)
  if not files then return nil, folders end
  local most, paths, labels = options.n or math.maxinteger, {}, {}
  local classes = options.classes or folders
  if #classes == 0 then
    for i = 1, math.min(#files, most) do paths[i] = folder .. "/" .. files[i] end
    return paths
  end
  for label, class in ipairs(classes) do
    local path = ("%s/%s"):format(folder, class)
    local found, why = contents(path)
    if not found then return nil, why end
    if #found == 0 then return nil, ("%s: it has no .png, .jpg or .jpeg file"):format(path) end
    for i = 1, math.min(#found, most) do
      paths[#paths + 1], labels[#labels + 1] = path .. "/" .. found[i], label - 1
    end
  end
  return paths, labels, table.move(classes, 1, #classes, 1, {})
end

---Reads all pictures of a folder: x u8 [n,channels,height,width]; y i64, the number of a picture's
---folder. Without folders there is no y. nil and a message, with the file, when one cannot be read.
---@param folder string
---@param options moonwalk.ImageOptions?
---@return moonwalk.Dataset?
---@return string? message
function images.read(folder, options)
  check.path(WHERE, "the folder", folder)
  options = check.options(WHERE, options, {"size", "channels", "classes", "n"})
  local height, width = options.size or 0, options.size or 0
  if type(height) == "table" then height, width = height[1], width[2] end
  if options.size ~= nil then
    check.integer(WHERE, "the height of size", height, 1)
    check.integer(WHERE, "the width of size", width, 1)
  end
  local channels = options.channels or 0
  if channels ~= 0 and channels ~= 1 and channels ~= 3 then
    check.fail(WHERE, "channels", channels, "1 or 3")
  end
  if options.n then check.integer(WHERE, "n", options.n, 1) end
  if options.classes ~= nil and (type(options.classes) ~= "table" or #options.classes == 0) then
    check.fail(WHERE, "classes", options.classes, "a list of folders' names")
  end
  for i, class in ipairs(options.classes or {}) do
    check.path(WHERE, ("classes[%d]"):format(i), class)
  end
  local paths, labels, classes = collect(folder, options)
  if not paths then return nil, labels end
  if #paths == 0 then
    return nil, ("%s: it has neither folders nor .png, .jpg or .jpeg files"):format(folder)
  end
  local x, why = core.images(paths, channels, height, width)
  if not x then return nil, why end
  return Dataset.new(x, labels and core.tensor(labels, "i64"), folder:match "([^/]+)/*$" or folder,
    {classes = classes})
end

return images
