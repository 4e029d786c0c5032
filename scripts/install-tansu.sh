#!/bin/sh
# Builds and installs tansu, a Kafka broker in one program, for the tests that take a real broker.
#
#   scripts/install-tansu.sh
#
# Nobody packages it, so it is compiled from its sources: some 530 crates without optimisation or debug information, ten
# minutes on one core, five on two. That happens once; later runs find it. `scripts/setup.sh broker` calls this. The tests
# look for it in PATH and in the folder of the other peers; without it they say SKIPPED and leave that part out.
# SLUICE_PEERS is that folder (default /opt/sluice-peers), CARGO_TARGET_DIR where to build (default: a temporary folder).
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
# Without debug information the program has 80 MB, and without optimisation it still serves a test in milliseconds.
CARGO_PROFILE_DEV_DEBUG=false
CARGO_PROFILE_DEV_STRIP=symbols
export CARGO_PROFILE_DEV_DEBUG CARGO_PROFILE_DEV_STRIP
exec cargo install tansu --version "$VERSION" --features dynostore --locked --profile dev --root "$PEERS"
