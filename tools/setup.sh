# setup.sh: installs the Debian or Ubuntu packages that are missing, or says which ones are.
# Usage: setup.sh [build] [test] [lint], with the compiler in CC.

: "${CC:=gcc}"
missing=""
need() { case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac; }
has() { command -v "$1" >/dev/null 2>&1; }
library() { # any of the pkg-config names
  for name; do pkg-config --exists "$name" 2>/dev/null && return 0; done
  return 1
}
compiles() {
  program='#include <omp.h>
    #include <stdio.h>
    int main(void) { return omp_get_max_threads() < 1; }'
  printf '%s\n' "$program" | $CC -fopenmp -x c - -o /dev/null 2>/dev/null
}

check() { # fills missing, from what was asked for
  missing=""
  for what; do
    case $what in
    build)
      compiles || case $CC in
      *clang*) need clang && need libomp-dev ;;
      *) need gcc && need libc6-dev ;;
      esac
      has pkg-config || need pkg-config
      library 'lua5.4 >= 5.4' 'lua-5.4' 'lua54' 'lua >= 5.4' || need liblua5.4-dev
      library zlib || need zlib1g-dev
      library libcjson || need libcjson-dev
      library libffi || need libffi-dev
      has curl || need curl # moonwalk data mnist
      ;;
    test)
      has prove || need perl
      has lua5.4 || need lua5.4
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

check "$@" && exit 0

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
install() { $root apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
install 2>/dev/null || { $root apt-get update -qq && install; } || exit 1
check "$@" && exit 0
echo "Still missing after installing:$missing" >&2
exit 1
