//! The fuzzer's bytes as choices: a conversation in HTTP/2, whole and cut. `crates/l7/tests/http2_fuzz_smoke.rs` runs the
//! same body on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| l7::http2::fuzzing::run(data));
