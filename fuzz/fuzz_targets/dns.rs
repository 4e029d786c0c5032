//! Arbitrary bytes between a client and a server of DNS: over TCP, whole and in pieces, and as datagrams.
//! `crates/l7/tests/dns/fuzz_smoke.rs` runs the same body on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| l7::dns::testing::assert_holds(data));
