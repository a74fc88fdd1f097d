# readme.sh: what the README and the manual print is true. Runs their sh and lua blocks as they
# stand. A line <!-- skip: why --> before a block leaves it out; <!-- file: PATH --> says that the
# block is that file, <!-- write: PATH --> that the reader writes it there.
. tests/tap.sh

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# The blocks run in a copy of this folder's face, where build/ is the build that is being tested.
mkdir "$scratch/tree"
for entry in *; do
  [ "$entry" = build ] || ln -s "$PWD/$entry" "$scratch/tree/$entry"
done
ln -s "$MOONWALK_BUILD" "$scratch/tree/build"

# Blocks that make plugins, use those that others made, or load the module elsewhere.
built_otherwise='^(cc|make|moonwalk plugin|LUA_CPATH)|plugin.load "'

# What they install, and compile on the way, is gone with the folder.
export XDG_DATA_HOME="$scratch/data" XDG_CACHE_HOME="$scratch/cache" PATH="$MOONWALK_BUILD:$PATH"

# Writes each block to a file: number.language; and number.note with the comment before it.
split() {
  awk -v folder="$scratch/blocks" '
    /^```/ && inside { inside = 0; close(file); next }
    /^```/ { inside = 1; language = substr($0, 4); if (language == "") language = "text"
      file = sprintf("%s/%02d.%s", folder, ++n, language); printf "" >file
      print note >(folder "/" sprintf("%02d", n) ".note"); note = ""; next }
    inside { print >file; next }
    /^<!--/ { note = $0; sub(/^<!-- */, "", note); sub(/ *-->.*/, "", note) }' "$1"
}

run_block() { # language, file
  cd "$scratch/tree" || return 1
  case $1 in
  sh) sh -e "$2" ;;
  lua) build/moonwalk "$2" ;;
  esac
}

for page in README.md CONTRIBUTING.md docs/*.md; do
  mkdir "$scratch/blocks"
  split "$page"
  for block in "$scratch/blocks"/*; do
    language=${block##*.}
    number=${block##*/} number=${number%.*}
    note=$(cat "$scratch/blocks/$number.note")
    name="$page, block $number ($language)"
    case $language:$note in
    note:*) ;;
    *:write:*) mkdir -p "$scratch/tree/$(dirname "${note#write: }")" &&
      cp "$block" "$scratch/tree/${note#write: }" ;;
    esac
    case $language:$note in
    note:* | text:*) ;;
    *:file:*) check "$name is ${note#file: }" diff "${note#file: }" "$block" ;;
    c:*) check "$name compiles" "${CC:-cc}" -std=gnu11 -Igraph -include moonwalk.h \
      -fsyntax-only -x c "$block" ;;
    sh:skip:* | lua:skip:*) skip "$name" "${note#skip: }" ;;
    sh:* | lua:*)
      if [ "$page" = CONTRIBUTING.md ]; then
        skip "$name" "it builds and tests"
      elif [ -n "$SANITIZE" ] && grep -qE "$built_otherwise" "$block"; then
        skip "$name" "under a sanitizer plugins and modules are built in another way"
      else
        check "$name runs" run_block "$language" "$block"
      fi
      ;;
    esac
  done
  rm -rf "$scratch/blocks"

  # Links to files of the tree.
  nothing "$page: links lead somewhere" "$(grep -o '](\([^)#:]*\)' "$page" | sed 's/^](//' |
    while read -r link; do [ -e "$(dirname "$page")/$link" ] || echo "$link"; done)"
done

done_testing
