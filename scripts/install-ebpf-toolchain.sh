#!/bin/sh
# Installs what is needed to rebuild the kernel program of crates/xdp-redirect from source: a Rust compiler with the
# precompiled bpfel target, and the LLVM back end of the same version. A plain `cargo build` does not need this.
# Exits 0 with `SKIPPED: why` where the packages cannot be had.
set -eu

PACKAGES="rustc-web cargo-web libstd-rust-web-dev-bpf"

skip() { echo "SKIPPED: $1"; exit 0; }

command -v apt-get >/dev/null 2>&1 || skip "no apt-get; needed: a rustc with the bpfel-unknown-none target and an llc of the same LLVM version"

llvm_of() { "$1" -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'; }

missing=""
for package in $PACKAGES; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || skip "not root; would install:$missing"
    for package in $missing; do
        if [ -z "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/.*Candidate: \([0-9].*\)/\1/p')" ]; then
            apt-get update -q >/dev/null 2>&1 || true
            [ -n "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/.*Candidate: \([0-9].*\)/\1/p')" ] ||
                skip "package $package is not available here (Debian 12 carries it in its security archive)"
        fi
    done
    echo "installing:$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >/dev/null ||
        skip "apt-get could not install:$missing"
fi

llvm=$(llvm_of /usr/bin/rustc)
[ -n "$llvm" ] || skip "/usr/bin/rustc does not tell its LLVM version"
if [ ! -x "/usr/bin/llc-$llvm" ]; then
    [ "$(id -u)" = 0 ] || skip "not root; would install: llvm-$llvm"
    echo "installing: llvm-$llvm"
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "llvm-$llvm" >/dev/null ||
        skip "apt-get could not install llvm-$llvm"
fi
echo "ready: $(/usr/bin/rustc -V), llc-$llvm"
