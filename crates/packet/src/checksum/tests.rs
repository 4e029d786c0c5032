use super::*;
use crate::io::mem::{MemConfig, MemIo};
use crate::testing;
use crate::{Burst, PortId};
use proptest::prelude::*;

/// Word by word, as RFC 1071 §1 says it.
fn naive(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn state_of(frame: &[u8], buffer_size: usize, may_be_partial: bool) -> (ChecksumState, Vec<u8>) {
    let mut io = MemIo::new(MemConfig { buffer_size, ..MemConfig::default() });
    assert!(io.inject(PortId(0), frame));
    let mut burst = Burst::new();
    io.recv(&mut burst).unwrap();
    let mut handle = burst.drain().next().unwrap();
    let packet = testing::packet_of(frame);
    let state = classify(&io, &handle, &packet, may_be_partial);
    if state == ChecksumState::Partial {
        complete(&mut io, &mut handle, &packet);
    }
    io.send(PortId(1), handle).unwrap();
    io.flush().unwrap();
    (state, io.take_sent(PortId(1)).pop().unwrap())
}

/// One frame of each protocol and family, with `len` bytes of payload.
fn frames(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let payload: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
    let (a4, b4, a6, b6) = ("10.1.2.3", "10.9.8.7", "fd00::a:1", "fd00::b:2");
    vec![
        ("tcp/v4", testing::tcp(a4, b4, 1000, 80, 0x18, 1, 2, &payload)),
        ("tcp/v6", testing::tcp(a6, b6, 1000, 80, 0x18, 1, 2, &payload)),
        ("udp/v4", testing::udp(a4, b4, 53, 5353, &payload)),
        ("udp/v6", testing::udp(a6, b6, 53, 5353, &payload)),
        ("sctp/v4", testing::sctp(a4, b4, 1, 2, 9, 1, &payload)),
        ("sctp/v6", testing::sctp(a6, b6, 1, 2, 9, 1, &payload)),
        ("icmp", testing::icmp_echo(a4, b4, false, 7, 1, &payload)),
        ("icmpv6", testing::icmp_echo(a6, b6, true, 7, 1, &payload)),
    ]
}

#[test]
fn right_checksums_are_valid_in_one_buffer_and_in_many() {
    for len in [0, 1, 5, 1_400, 1_994, 4_055, 9_001, 64_001] {
        for (name, frame) in frames(len) {
            for buffer_size in [2_048, 2_049, 4_096] {
                let (state, _) = state_of(&frame, buffer_size, true);
                assert_eq!(state, ChecksumState::Valid, "{name} with {len} bytes in {buffer_size}");
            }
        }
    }
}

#[test]
fn one_flipped_bit_is_invalid() {
    for len in [1, 1_400, 9_001] {
        for (name, mut frame) in frames(len) {
            *frame.last_mut().unwrap() ^= 4;
            let (state, _) = state_of(&frame, 2_049, true);
            assert_eq!(state, ChecksumState::Invalid, "{name} with {len} bytes");
        }
    }
}

#[test]
fn partial_checksums_are_told_apart_and_completed() {
    for len in [0, 1, 1_400, 9_001] {
        for (name, right) in frames(len).into_iter().filter(|(name, _)| !name.starts_with("icmp")) {
            let partial = testing::partial(right.clone());
            for buffer_size in [2_049, 4_096] {
                let (state, sent) = state_of(&partial, buffer_size, true);
                assert_eq!(state, ChecksumState::Partial, "{name} with {len} bytes");
                assert!(sent == right, "{name} with {len} bytes is completed to what the sender meant");
            }
            let (state, _) = state_of(&partial, 4_096, false);
            assert_eq!(state, ChecksumState::Invalid, "{name} from a port that must sum itself");
        }
    }
}

#[test]
fn a_missing_udp_checksum_is_legal_over_ipv4_only() {
    for (src, dst, expected) in
        [("10.0.0.1", "10.0.0.2", ChecksumState::Absent), ("fd00::1", "fd00::2", ChecksumState::Invalid)]
    {
        let mut frame = testing::udp(src, dst, 1, 2, b"x");
        let at = usize::from(testing::packet_of(&frame).l4) + 6;
        frame[at..at + 2].fill(0);
        for may_be_partial in [false, true] {
            assert_eq!(state_of(&frame, 4_096, may_be_partial).0, expected);
        }
    }
}

#[test]
fn ethernet_padding_is_not_summed() {
    for (name, mut frame) in frames(1) {
        frame.extend([0xee; 30]);
        assert_eq!(state_of(&frame, 4_096, true).0, ChecksumState::Valid, "{name}");
        let mut frame = testing::partial(testing::tcp("10.0.0.1", "10.0.0.2", 1, 2, 2, 0, 0, b""));
        frame.extend([0xee; 6]);
        let (_, sent) = state_of(&frame, 4_096, true);
        assert_eq!(state_of(&sent, 4_096, false).0, ChecksumState::Valid);
    }
}

#[test]
fn fragments_are_left_to_the_receiver() {
    for fragment in testing::fragments(&testing::udp("10.0.0.1", "10.0.0.2", 1, 2, &[5; 100]), 64, 1) {
        assert_eq!(state_of(&fragment, 4_096, true).0, ChecksumState::Valid);
    }
}

#[test]
fn a_udp_checksum_that_comes_out_zero_is_written_as_ones() {
    assert_eq!(finish(0xffff, proto::UDP), 0xffff);
    assert_eq!(finish(0xffff, proto::TCP), 0);
}

#[test]
fn crc32c_of_the_standard_check_string() {
    // The check value that catalogues of CRCs give for CRC-32C.
    assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
}

#[test]
fn sum_of_every_short_length_agrees_with_the_naive_one() {
    let counted: Vec<u8> = (0..140_u32).map(|i| (i * 37 + 11) as u8).collect();
    for bytes in [&counted[..], &[0xff; 140], &[0; 140]] {
        for from in 0..9 {
            for to in from..bytes.len() {
                assert_eq!(sum(&bytes[from..to]), naive(&bytes[from..to]), "{from}..{to}");
            }
        }
    }
}

proptest! {
    #[test]
    fn sum_agrees_with_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        prop_assert_eq!(sum(&bytes), naive(&bytes));
    }

    #[test]
    fn sum_of_pieces_is_the_sum_of_the_whole(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
    ) {
        let mut total = Sum::default();
        pieces.iter().for_each(|p| total.add(p));
        prop_assert_eq!(total.folded(), naive(&pieces.concat()));
    }

    #[test]
    fn incremental_update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 40..200), new: u32, at in 0_usize..16) {
        // A first word that is never zero keeps the sum away from the two zeros of one's complement.
        bytes[0] = 0x45;
        let field = !sum(&bytes);
        let at = 4 + at * 2;
        let old32 = u32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
        let old16 = (old32 >> 16) as u16;
        let mut one = bytes.clone();
        one[at..at + 2].copy_from_slice(&(new as u16).to_be_bytes());
        prop_assert_eq!(update_u16(field, old16, new as u16), !sum(&one));
        bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update_u32(field, old32, new), !sum(&bytes));
    }

    #[test]
    fn address_update_equals_a_new_sum(old: u128, new: u128, rest in 1_u16..0xffff) {
        let whole = |a: u128| { let mut b = rest.to_be_bytes().to_vec(); b.extend(a.to_be_bytes()); !sum(&b) };
        prop_assert_eq!(update_addr(whole(old), Addr(old), Addr(new)), whole(new));
    }
}
