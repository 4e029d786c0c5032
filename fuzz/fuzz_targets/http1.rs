//! Arbitrary bytes of both sides of an HTTP/1 connection: whole and cut input agree, and nothing reaches the server
//! but what was allowed.
//!
//! The first three bytes say where the client's bytes end and how they are cut. `crates/l7/tests/http1_fuzz_smoke.rs`
//! runs the same body on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| l7::http1::fuzzing::run(data));
