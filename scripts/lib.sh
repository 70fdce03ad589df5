# SPDX-License-Identifier: Apache-2.0
# What the scripts share. Sourced, never run.

set -euo pipefail
shopt -s inherit_errexit
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DORMOUSE_CACHE=${DORMOUSE_CACHE:-$HOME/.cache/dormouse}
mkdir -p "$DORMOUSE_CACHE/log"

say() { printf '[setup] %s\n' "$*" >&2; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

# hash_of TEXT FILE...: a key from a text, and the names (relative to the current folder) and contents of files.
hash_of() {
  local text=$1 sums
  shift
  sums=$(sha256sum "$@")
  printf '%s\n%s\n' "$text" "$sums" | sha256sum | cut -c1-16
}

# run_logged NAME COMMAND...: the command's output goes to a log; a line every 15 s says that it lives.
run_logged() {
  local name=$1 log=$DORMOUSE_CACHE/log/$1.log start=$SECONDS next=$((SECONDS + 15)) pid
  shift
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  trap "kill $pid 2>/dev/null" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ "$SECONDS" -ge "$next" ]; then
      say "$name: $((SECONDS - start)) s  $(tail -n1 "$log" | tr -d '\r' | cut -c1-100)"
      next=$((SECONDS + 15))
    fi
  done
  trap - INT TERM
  if ! wait "$pid"; then
    tail -n 30 "$log" >&2
    die "$name failed; the whole log is $log"
  fi
  say "$name: done in $((SECONDS - start)) s"
}

# with_lock NAME COMMAND...: two set-ups at once build a thing once; the second waits for the first.
with_lock() {
  local file=$DORMOUSE_CACHE/log/$1.lock
  shift
  (
    flock -n 9 || { say "another set-up is at work on this; waiting for it"; flock 9; }
    "$@" 9>&-
  ) 9>"$file"
}
