# tap.sh: what a shell test needs to speak TAP. Use: . tests/tap.sh; ...; done_testing

tap_count=0
tap_failures=0

pass() { # name
  tap_count=$((tap_count + 1))
  echo "ok $tap_count - $1"
}

fail() { # name, what is said about it
  tap_count=$((tap_count + 1))
  tap_failures=$((tap_failures + 1))
  echo "not ok $tap_count - $1"
  [ -z "$2" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

check() { # name, command...: passes when the command succeeds
  tap_name=$1
  shift
  if tap_said=$("$@" 2>&1); then pass "$tap_name"; else fail "$tap_name" "$tap_said"; fi
}

says() { # name, text, command...: passes when it succeeds and its output has the text
  tap_name=$1 tap_text=$2
  shift 2
  if ! tap_said=$("$@" 2>&1); then
    fail "$tap_name" "$tap_said"
  else
    case $tap_said in
    *"$tap_text"*) pass "$tap_name" ;;
    *) fail "$tap_name" "$tap_said" ;;
    esac
  fi
}

nothing() { # name, text: passes when the text is empty
  if [ -z "$2" ]; then pass "$1"; else fail "$1" "$2"; fi
}

skip() { # name, why
  tap_count=$((tap_count + 1))
  echo "ok $tap_count - $1 # SKIP $2"
}

skip_all() { # why
  echo "1..0 # SKIP $1"
  exit 0
}

done_testing() {
  echo "1..$tap_count"
  [ "$tap_failures" = 0 ]
  exit
}
