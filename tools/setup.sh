# setup.sh: installs the Debian or Ubuntu packages that are missing, or says which ones are.
# Usage: setup.sh [build] [test] [lint], with the compiler in CC.

: "${CC:=gcc}"
missing="" wanted=""
need() { case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac; }
want() { case " $wanted " in *" $1 "*) ;; *) wanted="$wanted $1" ;; esac; }
has() { command -v "$1" >/dev/null 2>&1; }
library() { # any of the pkg-config names
  for name; do pkg-config --exists "$name" 2>/dev/null && return 0; done
  return 1
}
shared() { # whether a program could load that library
  PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q "[[:space:]]$1 "
}
compiles() {
  program='#include <stdio.h>
    int main(void) { return puts("") < 0; }'
  printf '%s\n' "$program" | $CC -x c - -o /dev/null 2>/dev/null
}

check() { # fills missing, from what was asked for, and wanted: without it tests are skipped
  missing="" wanted=""
  for what; do
    case $what in
    build)
      compiles || case $CC in
      *clang*) need clang ;;
      *) need gcc && need libc6-dev ;;
      esac
      has pkg-config || need pkg-config
      library 'lua5.4 >= 5.4' 'lua-5.4' 'lua54' 'lua >= 5.4' || need liblua5.4-dev
      library zlib || need zlib1g-dev
      library libcjson || need libcjson-dev
      library libffi || need libffi-dev
      library libpng || need libpng-dev # data.images
      library libjpeg || need libjpeg-dev
      has curl || need curl # moonwalk data mnist
      ;;
    test)
      has prove || need perl
      has lua5.4 || need lua5.4
      has tmux || need tmux # the tests of the prompt
      shared libedit.so.2 || want libedit2
      has dot || want graphviz
      shared liblbfgs.so.0 || want liblbfgs0
      shared libfftw3.so.3 || want libfftw3-double3
      ;;
    lint)
      has clang-format || need clang-format
      has luacheck || need lua-check
      has cppcheck || need cppcheck
      ;;
    esac
  done
  [ -z "$missing" ]
}

install() { $root apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; }

# What only makes tests run that are skipped otherwise: no failure, and no password is asked for.
get_wanted() {
  [ -n "$wanted" ] && has apt-get || return 0
  if [ "$(id -u)" = 0 ]; then root=""
  elif has sudo && sudo -n true 2>/dev/null; then root=sudo
  else return 0; fi
  echo "Installing:$wanted"
  export DEBIAN_FRONTEND=noninteractive
  install $wanted || { $root apt-get update -qq >/dev/null 2>&1 && install $wanted; } ||
    echo "Not installed, tests that need it are skipped:$wanted"
}

check "$@" && { get_wanted; exit 0; }

if ! has apt-get; then
  echo "Moonwalk needs packages that are not installed. Their Debian names:$missing" >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  root=""
elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
  root=sudo
else
  echo "Moonwalk needs packages that only root may install. Please run" >&2
  echo "  sudo apt-get install --no-install-recommends$missing" >&2
  exit 1
fi

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
install $missing || { $root apt-get update -qq &&
  $root apt-get install -y -qq --no-install-recommends $missing >/dev/null; } || exit 1
check "$@" && { get_wanted; exit 0; }
echo "Still missing after installing:$missing" >&2
exit 1
