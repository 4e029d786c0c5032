#!/bin/sh
# `make bench`: the criterion benches, then the comparison in network namespaces where this user may make them.
#
#   scripts/bench.sh                 everything
#   scripts/bench.sh NAME...         only these criterion benches
#
# ROUNDS and SECONDS_EACH change the length of the comparison; its samples also go to target/compare.json.
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh build bench
if [ $# -gt 0 ]; then
    for bench in "$@"; do cargo bench --locked -p sluice-micro --bench "$bench"; done
    exit 0
fi
cargo bench --locked -p sluice-micro --benches
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED the comparison with the kernel: not root (network namespaces and XDP need it)"
elif ! command -v netperf >/dev/null 2>&1; then
    echo "SKIPPED the comparison with the kernel: netperf is not installed"
else
    cargo build --locked --release -p sluice -p sluice-benches
    target/release/compare --rounds "${ROUNDS:-7}" --seconds "${SECONDS_EACH:-2}" --json target/compare.json
fi
