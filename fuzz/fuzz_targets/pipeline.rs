//! The fuzzer's bytes as choices: which frames come on which port, how they are mutated, when time passes and policy
//! changes. `crates/datapath/tests/fuzz_smoke.rs` runs the same body on a stable toolchain.
#![no_main]

#[path = "../../crates/datapath/tests/support/mod.rs"]
mod support;

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
    support::hostile::drive(choose, data.len().div_ceil(10).min(MOST_STEPS) as u32);
});
