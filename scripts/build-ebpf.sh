#!/bin/sh
# Builds the committed kernel programs from their sources:
#   crates/xdp-redirect/redirect.bpf.o   from crates/xdp-redirect/ebpf   (the appliance's)
#   benches/tc-policy/policy.bpf.o       from benches/tc-policy          (a contender of the comparisons)
#   benches/frame-program/generate.bpf.o from benches/frame-program      (makes the comparisons' small frames)
#
#   scripts/build-ebpf.sh           rebuild and replace the committed objects
#   scripts/build-ebpf.sh --check   rebuild and fail if instructions, maps or relocations differ from the committed ones
#
# rustc emits LLVM bitcode for the whole program (one codegen unit, fat LTO); llc of the same LLVM version turns it
# into a BPF object. No other linker is involved. See scripts/install-ebpf-toolchain.sh for the packages.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd)
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
{ [ -x "$rustc" ] && [ -x /usr/bin/cargo ]; } || unavailable "no system rustc"
llvm=$("$rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
[ -d "$("$rustc" --print sysroot)/lib/rustlib/bpfel-unknown-none" ] || unavailable "no bpfel-unknown-none target"
[ -x "/usr/bin/llc-$llvm" ] || unavailable "no llc-$llvm"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

unset RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_TARGET

# What the kernel and the loader see of an object: instructions with relocations, map definitions, symbols.
describe() {
    "/usr/bin/llvm-objdump-$llvm" -d -r --section="$1" "$2" | sed 1,2d
    "/usr/bin/llvm-objdump-$llvm" -s --section=maps "$2" | sed 1,2d
    "/usr/bin/llvm-readelf-$llvm" --symbols "$2" | awk '$4 == "FUNC" || $4 == "OBJECT" { print $3, $4, $5, $8 }' | sort
}

# build FOLDER PROGRAM SECTION OBJECT
build() {
    # RUSTC_BOOTSTRAP: aya-ebpf uses the unstable asm_experimental_arch. Paths are remapped so that no machine shows through.
    (
        cd "$1"
        RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/target \
            /usr/bin/cargo rustc -q --locked --release --target bpfel-unknown-none --bin "$2" -- \
            --emit=obj="$work/$2.bc" -C linker=/bin/true \
            --remap-path-prefix="$root=." --remap-path-prefix="${CARGO_HOME:-$HOME/.cargo}=cargo"
    )
    "/usr/bin/llc-$llvm" -march=bpf -mcpu=v3 -filetype=obj "$work/$2.bc" -o "$work/$2.bpf.o"
    "/usr/bin/llvm-strip-$llvm" --strip-debug "$work/$2.bpf.o"
    if [ "$check" = no ]; then
        install -m 0644 "$work/$2.bpf.o" "$4"
        echo "wrote $4 ($(wc -c <"$4") bytes)"
        return 0
    fi
    describe "$3" "$4" >"$work/committed"
    describe "$3" "$work/$2.bpf.o" >"$work/rebuilt"
    [ -s "$work/rebuilt" ] || { echo "the rebuilt $2 is empty" >&2; exit 1; }
    if ! diff -u "$work/committed" "$work/rebuilt"; then
        echo "$4 does not match its source: run scripts/build-ebpf.sh and commit the result" >&2
        exit 1
    fi
    echo "$(basename "$4") matches its source ($(grep -c '^ *[0-9]*:' "$work/rebuilt") instructions)"
}

build crates/xdp-redirect/ebpf redirect xdp.frags crates/xdp-redirect/redirect.bpf.o
build benches/tc-policy policy classifier benches/tc-policy/policy.bpf.o
build benches/frame-program generate xdp benches/frame-program/generate.bpf.o
