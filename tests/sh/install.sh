# install.sh: what `make install` leaves works without the source tree.
. tests/tap.sh

[ -z "$SANITIZE" ] || skip_all "a sanitized library needs the sanitizer in the program that loads it"

stage=$(mktemp -d) || exit 1
trap 'rm -rf "$stage"' EXIT
prefix=/opt/moonwalk
root=$stage$prefix

check "make install PREFIX=... DESTDIR=..." \
  make --no-print-directory BUILD="$MOONWALK_BUILD" PREFIX=$prefix DESTDIR="$stage" install
for file in bin/moonwalk include/moonwalk.h include/vector.h include/vector_math.h \
  lib/libmoonwalk.a lib/libmoonwalk.so lib/lua/5.4/moonwalk.so lib/pkgconfig/moonwalk.pc \
  share/moonwalk/lua/moonwalk/init.lua share/moonwalk/annotations/moonwalk.lua; do
  check "$file is there" test -e "$root/$file"
done
nothing "nothing was written outside of PREFIX" \
  "$(find "$stage" -type f ! -path "$root/*")"

cp docs/embed.c "$stage" && cp plugins/template/* "$stage"
cd "$stage" || exit 1
: "${CC:=cc}"
pc() { PKG_CONFIG_PATH="$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage" pkg-config "$@" moonwalk; }

# What docs/embed.c prints, by hand: loss = mean((wx - t)^2), dw = 2 mean((wx - t) x), w -= dw / 10;
# with x = 1 2 3 and t = 2 3 7 that is loss 2/3 and dw = 2/3 (2 - 3) at w = 2, so w becomes 2 + 1/15.
first="loss 0.6667  dw -0.6667  w 2.0667"
check "the C example compiles against the pkg-config file" \
  sh -c "$CC -std=c11 embed.c -o embed $(pc --cflags --libs)"
says "and runs" "$first" env LD_LIBRARY_PATH="$root/lib" ./embed
check "it links with the static library too" \
  sh -c "$CC -std=c11 embed.c -o embed-static $(pc --cflags) $root/lib/libmoonwalk.a -pthread -ldl -lm"
says "and runs" "$first" ./embed-static

says "the installed command runs" "3.0" "$root/bin/moonwalk" -e 'print(1.0 + 2)'
says "it has its Lua modules with it" "conv2d" \
  "$root/bin/moonwalk" -e 'local mw = require "moonwalk"; assert(mw.nn and mw.optim and mw.data)
    print(mw.ops.conv2d and "conv2d")'
says "a stock lua5.4 loads the installed module" "10.0" \
  env LUA_CPATH="$root/lib/lua/5.4/?.so" lua5.4 -e \
  'local mw = require "moonwalk"; print(mw.tensor{1, 2, 3, 4}:sum():item())'

export XDG_CACHE_HOME="$stage/cache"
: >nothing.lua
prompt() { printf '%s\n' "$@" | "$root/bin/moonwalk" -i nothing.lua; }
says "the prompt has the manual with it" "The checkpoint is the run" prompt ':doc checkpoint'
says "and the sources of the ops" 'static const mw_op gelu_op = {' prompt '??gelu'
cat >editor <<EOF
#!/bin/sh
for file; do :; done
sed -i s/gelu_erf/relu/ "\$file"
EOF
chmod +x editor
export XDG_DATA_HOME="$stage/data" EDITOR="$stage/editor" VISUAL=
says "which it compiles" "gelu.c: gelu is swapped in after" prompt ':edit gelu'

check "the plugin template builds" \
  make --no-print-directory CC="$CC" MOONWALK="$root/bin/moonwalk" scale.so
says "and its test passes" "dx = f32[3] {10, 10, 10}" \
  make --no-print-directory MOONWALK="$root/bin/moonwalk" test

done_testing
