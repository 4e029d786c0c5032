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

/// Two data segments in order, whose checksums are open.
fn two_segments(v6: bool) -> [Vec<u8>; 2] {
    let l4 = if v6 { 54 } else { 34 };
    [0_u32, 1].map(|n| {
        let mut frame = vec![0; l4 + 32 + 600];
        let len = (frame.len() - l4) as u16;
        if v6 {
            frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            frame[18..22].copy_from_slice(&[(len >> 8) as u8, len as u8, 6, 64]);
        } else {
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            frame[16..18].copy_from_slice(&(len + 20).to_be_bytes());
            frame[18..24].copy_from_slice(&[0, n as u8, 0x40, 0, 64, 6]);
        }
        frame[l4 + 4..l4 + 8].copy_from_slice(&(n * 600).to_be_bytes());
        frame[l4 + 12..l4 + 14].copy_from_slice(&[0x80, 0x10]);
        frame
    })
}

/// Whatever is joined, the second frame can be told from the first one's headers.
#[test]
fn join_holds_on_mutated_segments() {
    let mut joined = 0;
    arbtest::arbtest(|u| {
        let v6 = u.arbitrary()?;
        let l4 = if v6 { 54 } else { 34 };
        let mut frames = two_segments(v6);
        for _ in 0..u.int_in_range(0..=3)? {
            let frame = &mut frames[u.int_in_range(0..=1)?];
            let at = u.int_in_range(0..=l4 + 40)?;
            match u.int_in_range(0..=3)? {
                0 => frame[at] = u.arbitrary()?,
                1 => frame[at] ^= 1 << u.int_in_range(0..=7)?,
                2 => frame.truncate(u.int_in_range(0..=frame.len())?),
                _ => frame.extend(vec![0; u.int_in_range(0..=100)?]),
            }
            if frame.len() <= l4 + 40 {
                break;
            }
        }
        let [first, second] = &frames;
        let head = |frame: &Vec<u8>, u: &mut arbtest::arbitrary::Unstructured<'_>| {
            if u.ratio(1, 8)? { u.int_in_range(0..=frame.len()) } else { Ok(frame.len()) }
        };
        let (head1, head2) = (head(first, u)?, head(second, u)?);
        let request = packet::ChecksumRequest { start: u16::try_from(l4).expect("small"), offset: 16 };
        let Some(mut run) = packet::join::Run::begin(&first[..head1], first.len(), request) else {
            return Ok(());
        };
        if !run.extend(&second[..head2], second.len(), request) {
            assert_eq!(run.segments(), 1);
            return Ok(());
        }
        joined += 1;
        let headers = run.headers_len();
        assert!(headers <= packet::join::MAX_HEADERS && run.headers()[..14] == first[..14]);
        let payload = |frame: &Vec<u8>| u32::try_from(frame.len() - headers).expect("small");
        assert!(payload(second) <= u32::from(run.mss()) && payload(first) == u32::from(run.mss()));
        // As it would be cut again; checksums, and numbers without a meaning, aside.
        let mut expected = first[..headers].to_vec();
        let seq = |frame: &[u8]| u32::from_be_bytes(frame[l4 + 4..l4 + 8].try_into().expect("four bytes"));
        expected[l4 + 4..l4 + 8].copy_from_slice(&seq(first).wrapping_add(payload(first)).to_be_bytes());
        expected[l4 + 13] |= second[l4 + 13] & 8;
        let length = if v6 { 18 } else { 16 };
        let below = if v6 { 54 } else { 14 };
        let len = u16::try_from(second.len() - below).expect("small");
        expected[length..length + 2].copy_from_slice(&len.to_be_bytes());
        let mut found = second[..headers].to_vec();
        for list in [&mut expected, &mut found] {
            list[l4 + 16..l4 + 18].fill(0);
            if !v6 {
                list[24..26].fill(0);
                if first[20] & 0x40 != 0 {
                    list[18..20].fill(0);
                }
            }
        }
        if !v6 && first[20] & 0x40 == 0 {
            let id = u16::from_be_bytes([first[18], first[19]]).wrapping_add(1);
            expected[18..20].copy_from_slice(&id.to_be_bytes());
        }
        assert_eq!(found, expected);
        Ok(())
    })
    .budget(BUDGET)
    .run();
    assert!(joined > 100, "{joined} were joined");
}
