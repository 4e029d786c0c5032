#!/bin/sh
# Builds and installs tansu, a Kafka broker in one program, for the tests that take a real broker where there is one.
#
#   scripts/install-tansu.sh
#
# It is compiled from its sources (some 400 crates: 10 minutes and more), which is why setup.sh leaves it out. The tests
# look for it in PATH and in the folder of the other peers; without it they say so and leave that part out.
set -eu

PEERS=${SLUICE_PEERS:-/opt/sluice-peers}
VERSION=0.6.0

if command -v tansu >/dev/null 2>&1 || [ -x "$PEERS/bin/tansu" ]; then
    echo "install-tansu: it is there already"
    exit 0
fi
command -v cargo >/dev/null 2>&1 || { echo "install-tansu: no Rust toolchain found" >&2; exit 2; }
if [ ! -w "$PEERS" ] && ! mkdir -p "$PEERS" 2>/dev/null; then
    echo "install-tansu: $PEERS cannot be written; set SLUICE_PEERS to a folder that can" >&2
    exit 2
fi
exec cargo install tansu --version "$VERSION" --features dynostore --locked --root "$PEERS"
