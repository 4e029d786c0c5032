//! Hostile ends of an inspected connection, on the stable toolchain: the body is `splice/hostile.rs`, which
//! `fuzz/fuzz_targets/splice.rs` runs under a coverage-guided fuzzer.

mod splice;

#[test]
fn the_server_is_told_allowed_requests_only() {
    for seed in 1..=150_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let choose = |below: u32| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32) % below.max(1)
        };
        let played =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| splice::hostile::drive(choose, 120)));
        assert!(played.is_ok(), "seed {seed}");
    }
}
