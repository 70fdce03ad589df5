# SPDX-License-Identifier: Apache-2.0
# What the benchmarks' `run` programs share. Sourced, never run.

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"
cd "$REPO"
export CGO_ENABLED=0
export DORMOUSE=${DORMOUSE:-$REPO/build/bin/dormouse}
export TESTCLUSTER=${TESTCLUSTER:-$DORMOUSE_CACHE/testcluster/current/testcluster}
export GUESTS=${GUESTS:-$REPO/build/guests}
export EXAMPLES=${EXAMPLES:-$DORMOUSE_CACHE/examples}
export BENCH_CACHE=$DORMOUSE_CACHE/bench
mkdir -p "$BENCH_CACHE"

# bench_examples NAME...: the example operators, unless somebody gives a folder of them.
bench_examples() { [ "$EXAMPLES" != "$DORMOUSE_CACHE/examples" ] || [ -n "${BENCH_SKIP_BUILD:-}" ] || scripts/examples "$@" >&2; }

# bench_guests: the guests of bench/guests, compiled; sets BENCH_GUESTS.
bench_guests() {
  export BENCH_GUESTS=$BENCH_CACHE/guests
  cmake -S bench/guests -B "$BENCH_GUESTS" -G Ninja --log-level=WARNING -DCMAKE_TOOLCHAIN_FILE="$REPO/sdk/cpp/wasi-toolchain.cmake" -DCMAKE_BUILD_TYPE=Release >&2
  cmake --build "$BENCH_GUESTS" >&2
  local module
  for module in "$BENCH_GUESTS"/*.wasm; do "$DORMOUSE" compile "$module" "${module%wasm}cwasm" >&2; done
}

# bench_test NAME TEST [GO-TEST-ARGUMENT...]: runs the Go test that measures, shows its JSON line last, and keeps it as
# bench/results/NAME-DATE.json unless BENCH_QUICK is set.
bench_test() {
  local name=$1 test=$2 result
  shift 2
  BENCH_NAME=$name
  BENCH_OUT=$(mktemp)
  BENCH_MACHINE=$(jq -nc --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1)" --arg kernel "$(uname -r)" \
    --argjson cores "$(nproc)" --argjson memory "$(awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo)" \
    --argjson load "$(cut -d' ' -f1 /proc/loadavg)" --arg commit "$(git rev-parse --short HEAD)" \
    --arg dormouse "$("$DORMOUSE" --version)" --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    '{cpu: $cpu, cores: $cores, memory_bytes: $memory, kernel: $kernel, load_before: $load, dormouse: $dormouse, commit: $commit, date: $date}')
  export BENCH_NAME BENCH_OUT BENCH_MACHINE
  trap 'rm -f "$BENCH_OUT"' EXIT
  (cd "bench/$name" && go test -trimpath -count=1 -timeout 180m -run "^$test\$" "$@" >&2)
  if [ -z "${BENCH_QUICK:-}" ]; then
    result=bench/results/$name-$(date -u +%Y-%m-%d).json
    mkdir -p bench/results
    install -m 644 "$BENCH_OUT" "$result"
    say "kept as $result"
  fi
  cat "$BENCH_OUT"
}
