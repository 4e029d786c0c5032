//! Arbitrary bytes between a client and a server of TLS, whole and in pieces. `crates/l7/tests/tls/fuzz_smoke.rs` runs
//! the same body on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| l7::tls::testing::assert_holds(data));
