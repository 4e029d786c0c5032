//! The body of the fuzz target `parse`, for some seconds and on a stable toolchain.

use std::time::Duration;

use packet::testing;

/// Time for each of the two tests.
const BUDGET: Duration = Duration::from_millis(1_500);

#[test]
fn parse_holds_on_arbitrary_bytes() {
    arbtest::arbtest(|u| {
        let head_len = u.arbitrary_len::<u8>()?;
        let frame = u.bytes(u.len())?;
        testing::assert_parse_holds(frame, head_len.max(64));
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn parse_holds_on_mutated_frames() {
    let seeds = testing::seeds();
    arbtest::arbtest(|u| {
        let mut frame = u.choose(&seeds)?.clone();
        for _ in 0..u.int_in_range(1..=6)? {
            let at = u.choose_index(frame.len())?;
            match u.int_in_range(0..=5)? {
                0 => frame[at] = u.arbitrary()?,
                1 => frame[at] ^= 1 << u.int_in_range(0..=7)?,
                2 => frame.truncate(at + 1),
                3 => frame.insert(at, u.arbitrary()?),
                4 => frame.extend([0; 8]),
                // Headers are where the decisions are.
                _ => frame[at % 64 % at.max(1)] = u.arbitrary()?,
            }
        }
        repair_ipv4_checksum(&mut frame);
        let head_len = if u.ratio(1, 8)? { u.int_in_range(0..=frame.len())? } else { frame.len() };
        testing::assert_parse_holds(&frame, head_len);
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn parse_holds_on_every_seed() {
    for seed in testing::seeds() {
        assert!(packet::parse(&seed, seed.len()).is_ok(), "{seed:02x?}");
        for head_len in 0..=seed.len() {
            testing::assert_parse_holds(&seed, head_len);
        }
    }
}

/// Without it nearly every mutation of an IPv4 header would end at its checksum.
fn repair_ipv4_checksum(frame: &mut [u8]) {
    if frame.len() < 34 || frame[12..14] != [8, 0] {
        return;
    }
    let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len().max(34));
    frame[24..26].fill(0);
    let sum = !packet::checksum::sum(&frame[14..end]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
