#!/bin/sh
# Builds crates/xdp-redirect/redirect.bpf.o from crates/xdp-redirect/ebpf.
#
#   scripts/build-ebpf.sh           rebuild and replace the committed object
#   scripts/build-ebpf.sh --check   rebuild and fail if instructions, maps or relocations differ from the committed one
#
# rustc emits LLVM bitcode for the whole program (one codegen unit, fat LTO); llc of the same LLVM version turns it
# into a BPF object. No other linker is involved. See scripts/install-ebpf-toolchain.sh for the packages.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd)
object=$root/crates/xdp-redirect/redirect.bpf.o
rustc=/usr/bin/rustc
check=no
case "${1:-}" in
    "") ;;
    --check) check=yes ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

unavailable() {
    if [ "$check" = yes ]; then echo "SKIPPED: $1 (run scripts/install-ebpf-toolchain.sh)"; exit 0; fi
    echo "$1; run scripts/install-ebpf-toolchain.sh" >&2
    exit 2
}
[ -x "$rustc" ] && [ -x /usr/bin/cargo ] || unavailable "no system rustc"
llvm=$("$rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
[ -d "$("$rustc" --print sysroot)/lib/rustlib/bpfel-unknown-none" ] || unavailable "no bpfel-unknown-none target"
[ -x "/usr/bin/llc-$llvm" ] || unavailable "no llc-$llvm"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

unset RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_TARGET
# RUSTC_BOOTSTRAP: aya-ebpf uses the unstable asm_experimental_arch. Paths are remapped so that no machine shows through.
(
    cd crates/xdp-redirect/ebpf
    RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/target \
        /usr/bin/cargo rustc -q --locked --release --target bpfel-unknown-none --bin redirect -- \
        --emit=obj="$work/redirect.bc" -C linker=/bin/true \
        --remap-path-prefix="$root=." --remap-path-prefix="${CARGO_HOME:-$HOME/.cargo}=cargo"
)
"/usr/bin/llc-$llvm" -march=bpf -mcpu=v3 -filetype=obj "$work/redirect.bc" -o "$work/redirect.bpf.o"
"/usr/bin/llvm-strip-$llvm" --strip-debug "$work/redirect.bpf.o"

# What the kernel and the loader see of an object: instructions with relocations, map definitions, symbols.
describe() {
    "/usr/bin/llvm-objdump-$llvm" -d -r --section=xdp.frags "$1" | sed 1,2d
    "/usr/bin/llvm-objdump-$llvm" -s --section=maps "$1" | sed 1,2d
    "/usr/bin/llvm-readelf-$llvm" --symbols "$1" | awk '$4 == "FUNC" || $4 == "OBJECT" { print $3, $4, $5, $8 }' | sort
}

if [ "$check" = yes ]; then
    describe "$object" >"$work/committed"
    describe "$work/redirect.bpf.o" >"$work/rebuilt"
    [ -s "$work/rebuilt" ] || { echo "the rebuilt object is empty" >&2; exit 1; }
    if ! diff -u "$work/committed" "$work/rebuilt"; then
        echo "redirect.bpf.o does not match its source: run scripts/build-ebpf.sh and commit the result" >&2
        exit 1
    fi
    echo "redirect.bpf.o matches its source ($(grep -c '^ *[0-9]*:' "$work/rebuilt") instructions)"
else
    install -m 0644 "$work/redirect.bpf.o" "$object"
    echo "wrote crates/xdp-redirect/redirect.bpf.o ($(wc -c <"$object") bytes)"
fi
