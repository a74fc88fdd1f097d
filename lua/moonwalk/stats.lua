-- stats placeholder
return {stats = require "moonwalk.core".stats}
