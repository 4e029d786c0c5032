#!/bin/sh
# `make bench`: the criterion benches, then the comparison in network namespaces where this user may make them.
# Arguments name criterion benches (default: all).
set -eu
cd "$(dirname "$0")/.."

scripts/setup.sh build bench
if [ $# -gt 0 ]; then
    for bench in "$@"; do cargo bench --locked -p sluice-micro --bench "$bench"; done
else
    cargo bench --locked -p sluice-micro --benches
fi
if [ ! -x scripts/bench-netperf.sh ]; then
    echo "SKIPPED netperf comparison: there is no scripts/bench-netperf.sh"
elif [ "$(id -u)" = 0 ]; then
    scripts/bench-netperf.sh
else
    echo "SKIPPED netperf comparison: not root"
fi
