#!/bin/sh
# `make bench`: the criterion benches, then the comparisons in network namespaces where this user may make them.
#
#   scripts/bench.sh                 everything
#   scripts/bench.sh --quick         only the comparisons, with few and short rounds
#   scripts/bench.sh NAME...         only these criterion benches
#
# ROUNDS and SECONDS_EACH change the length of the comparisons; samples also go to target/compare*.json.
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh build bench
if [ "${1:-}" = --quick ]; then
    : "${ROUNDS:=3}" "${SECONDS_EACH:=1}"
elif [ $# -gt 0 ]; then
    for bench in "$@"; do cargo bench --locked -p sluice-micro --bench "$bench"; done
    exit 0
else
    cargo bench --locked -p sluice-micro --benches
fi
: "${ROUNDS:=7}" "${SECONDS_EACH:=2}"
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED the comparisons between pods: not root (network namespaces and XDP need it)"
    exit 0
fi
cargo build --locked --release -p sluice -p sluice-benches
if command -v netperf >/dev/null 2>&1; then
    target/release/compare --rounds "$ROUNDS" --seconds "$SECONDS_EACH" --json target/compare.json
else
    echo "SKIPPED the comparison with the kernel: netperf is not installed"
fi
if command -v wrk >/dev/null 2>&1 && command -v h2load >/dev/null 2>&1; then
    target/release/compare_l7 --rounds "$ROUNDS" --seconds "$SECONDS_EACH" --json target/compare_l7.json
else
    echo "SKIPPED the comparison of L7 gates: wrk or h2load is not installed"
fi
