#!/bin/sh
# Builds every fuzz target with coverage and runs each for a short while: scripts/fuzz-smoke.sh [SECONDS]
#
# Works with the stable toolchain: coverage comes from LLVM's own pass and libFuzzer from its crate, so neither a
# nightly compiler nor cargo-fuzz is needed. Debug assertions and overflow checks are on. A find is left in
# fuzz/artifacts and fails the run.
set -eu
cd "$(dirname "$0")/../fuzz"

seconds=${1:-20}
host=$(rustc -vV | sed -n 's/^host: //p')
case "$host" in
    *-linux-gnu) ;;
    *) echo "SKIPPED fuzz: libFuzzer is set up for Linux only"; exit 0 ;;
esac
command -v c++ >/dev/null 2>&1 || { echo "SKIPPED fuzz: no C++ compiler (package g++)"; exit 0; }

# A target of its own: with --target, build scripts are not instrumented.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$(cd .. && pwd)/target}/fuzz"
export RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --release --quiet --target "$host"

count=0
mkdir -p artifacts
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    mkdir -p "corpus/$name"
    echo "fuzz: $name for $seconds s"
    log=$(mktemp)
    if ! "$CARGO_TARGET_DIR/$host/release/$name" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 \
        -artifact_prefix="artifacts/$name-" -print_final_stats=1 "corpus/$name" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        echo "fuzz: $name found something, see fuzz/artifacts" >&2
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: */  runs: /p' "$log"
    rm -f "$log"
    count=$((count + 1))
done
echo "fuzz: $count target(s) clean"
