//! Arbitrary bytes as a frame: `parse` neither panics nor answers offsets outside, and what follows it copes.
//!
//! The first two bytes say how much of the frame its first buffer holds. `crates/packet/tests/fuzz_smoke.rs` runs the
//! same body on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((head_len, frame)) = data.split_first_chunk::<2>() else { return };
    packet::testing::assert_parse_holds(frame, usize::from(u16::from_le_bytes(*head_len)));
});
