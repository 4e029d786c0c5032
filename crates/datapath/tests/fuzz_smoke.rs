//! Hostile frames through the whole pipeline on the stable toolchain: the body is `support/hostile.rs`, which
//! `fuzz/fuzz_targets/pipeline.rs` runs under a coverage-guided fuzzer.

mod support;

use support::hostile::drive;

#[test]
fn hostile_frames_neither_leak_nor_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let choose = move |below: u32| {
        // xorshift64*: reproducible, and good enough to choose with.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32) % below.max(1)
    };
    drive(choose, 30_000);
}
