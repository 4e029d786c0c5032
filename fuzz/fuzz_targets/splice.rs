//! The fuzzer's bytes as choices: what hostile ends of an inspected connection say.
//! `crates/datapath/tests/splice_fuzz_smoke.rs` runs the same body on a stable toolchain.
#![no_main]

#[path = "../../crates/datapath/tests/splice"]
mod splice {
    #![allow(dead_code, unreachable_pub)]
    pub mod hostile;
    pub mod length;
    pub mod node;
    pub mod raw;
    pub mod rng;
    pub mod shift;
    pub mod stack;
}

use libfuzzer_sys::fuzz_target;

/// Steps for one input: each takes some ten choices.
const MOST_STEPS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.iter();
    let mut byte = || u32::from(bytes.next().copied().unwrap_or_default());
    let choose = |below: u32| {
        let number = if below <= 256 { byte() } else { byte() << 8 | byte() };
        number % below.max(1)
    };
    splice::hostile::drive(choose, data.len().div_ceil(8).min(MOST_STEPS) as u32);
});
