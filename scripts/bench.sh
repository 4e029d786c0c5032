#!/bin/sh
# `make bench`: the criterion benches, then the comparisons in network namespaces where this user may make them.
#
#   scripts/bench.sh                 everything: some 25 minutes on two cores, once all is built
#   scripts/bench.sh --quick         instructions for a frame, which fail where there are 3 % more than before; then the
#                                    comparisons, fewer contenders, two rounds: 15 minutes
#   scripts/bench.sh NAME...         only these criterion benches, as long as criterion wants
#
# ROUNDS and SECONDS_EACH change the length of the comparisons. What they found goes to target/compare*.json and
# target/scaling/*.json, and from there with charts to bench-report.md in the folder REPORT (target;
# `REPORT=docs/measurements make bench` puts it there). What fails is named, the rest goes on, and the exit code is 1.
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh build
scripts/setup.sh bench || echo "NOTE: not everything could be installed; what needs it is skipped"

failed=""
# run NAME COMMAND...: runs it and notes if it fails.
run() {
    name=$1
    shift
    began=$(date +%s)
    printf '\n=== %s: %s\n' "$name" "$*"
    "$@" || failed="$failed
  $name"
    echo "=== $name took $(($(date +%s) - began)) s"
}

few=""
gates=""
if [ "${1:-}" = --quick ]; then
    : "${ROUNDS:=2}"
    few=--few
    gates="--contenders=L4 policy, adaptive|Envoy|nginx|HAProxy|bare"
elif [ $# -gt 0 ]; then
    for bench in "$@"; do cargo bench --locked -p sluice-micro --bench "$bench"; done
    exit 0
else
    : "${ROUNDS:=3}"
fi
: "${SECONDS_EACH:=1}" "${REPORT:=target}"
rm -rf target/compare.json target/compare_l7.json target/scaling

if [ -n "$few" ]; then
    if command -v valgrind >/dev/null 2>&1; then
        cargo build --locked --release -p sluice-micro --bin instructions
        run "instructions for a frame" target/release/instructions
    else
        echo "SKIPPED the count of instructions: valgrind is not installed"
    fi
    run "cost by number, in memory" cargo bench --locked -p sluice-micro --bench scaling
else
    run "criterion benches" cargo bench --locked --no-fail-fast -p sluice-micro --benches -- --warm-up-time 0.2 --measurement-time 0.5
fi

cargo build --locked --release -p sluice-micro --bin workers
run "two workers by one, in memory" target/release/workers

if [ "$(id -u)" = 0 ]; then
    cargo build --locked --release -p sluice -p sluice-benches
    run "cost by number, between pods" target/release/scaling --rounds "$ROUNDS" --seconds "$SECONDS_EACH"
    if command -v netperf >/dev/null 2>&1; then
        run "conversations" target/release/compare $few --rounds "$ROUNDS" --seconds "$SECONDS_EACH" --json target/compare.json
    else
        echo "SKIPPED the comparison with the kernel: netperf is not installed"
    fi
    if command -v wrk >/dev/null 2>&1 && command -v h2load >/dev/null 2>&1; then
        run "L7 gates" target/release/compare_l7 ${gates:+"$gates"} --rounds "$ROUNDS" --seconds "$SECONDS_EACH" --json target/compare_l7.json
    else
        echo "SKIPPED the comparison of L7 gates: wrk or h2load is not installed"
    fi
    run "report" target/release/bench_report --report "$REPORT" target/compare.json target/compare_l7.json
else
    echo "SKIPPED the comparisons between pods: not root (network namespaces and XDP need it)"
fi

if [ -n "$failed" ]; then
    echo "FAILED, in part or as a whole:$failed" >&2
    exit 1
fi
