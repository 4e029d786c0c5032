#!/bin/sh
# `make demo`: installs what is missing, builds the binary, and runs the demo as root where that is possible.
# Arguments go to `sluice demo`.
set -eu
cd "$(dirname "$0")/.."

# Without the packages the demo still runs, on the memory backend, and says what is missing.
scripts/setup.sh build demo || [ $? -ne 2 ] || command -v cc >/dev/null || exit 2
cargo build --locked --release -p sluice
binary=${CARGO_TARGET_DIR:-target}/release/sluice
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1; then
    exec sudo "$binary" demo "$@"
fi
exec "$binary" demo "$@"
