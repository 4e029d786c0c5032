use super::*;
use crate::addr::MacAddr;
use crate::checksum;
use crate::flow_key::FlowKey;
use crate::packet::{Arp, TcpFlags};
use crate::testing::{self, ToAddr};
use proptest::prelude::*;

const A4: &str = "10.0.0.1";
const B4: &str = "10.0.0.2";
const A6: &str = "fd00::1";
const B6: &str = "fd00::2";

fn verdict(frame: &[u8]) -> Result<Parsed, ParseError> {
    parse(frame, frame.len())
}

fn error(frame: &[u8]) -> ParseError {
    verdict(frame).expect_err("must be refused")
}

fn syn4() -> Vec<u8> {
    testing::tcp(A4, B4, 1000, 80, TcpFlags::SYN, 7, 0, b"")
}

/// The frame with some bytes of the IPv4 header changed and its checksum made right again.
fn v4_with(mut frame: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut frame[14..34]);
    frame[24..26].fill(0);
    let header_len = usize::from(frame[14] & 15) * 4;
    let sum = !checksum::sum(&frame[14..(14 + header_len).min(frame.len())]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// An IPv4 frame with options between header and payload.
fn v4_with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = syn4();
    frame.splice(34..34, options.iter().copied());
    let total = (frame.len() - 14) as u16;
    v4_with(frame, |h| {
        h[0] = 0x45 + options.len() as u8 / 4;
        h[2..4].copy_from_slice(&total.to_be_bytes());
    })
}

/// An IPv6 frame with extension headers; each is (type, content behind the next-header byte).
fn v6_with(extensions: &[(u8, Vec<u8>)], l4_proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (n, (_, content)) in extensions.iter().enumerate() {
        body.push(extensions.get(n + 1).map_or(l4_proto, |e| e.0));
        body.extend(content);
    }
    body.extend(l4);
    testing::ip(A6, B6, extensions.first().map_or(l4_proto, |e| e.0), &body)
}

/// An options header of eight bytes that only pads.
fn padding() -> Vec<u8> {
    vec![0, 1, 4, 0, 0, 0, 0]
}

const UDP_L4: [u8; 9] = [0, 1, 0, 2, 0, 9, 0, 0, b'x'];

#[test]
fn a_tcp_segment_gives_its_values_and_offsets() {
    let frame = testing::tcp(A4, B4, 1000, 80, TcpFlags::ACK | TcpFlags::PSH, 7, 9, b"hello");
    let packet = testing::packet_of(&frame);
    assert_eq!((packet.l3, packet.l4, packet.payload, packet.end), (14, 34, 54, 59));
    let L4::Tcp(tcp) = packet.l4_header else { panic!("{packet:?}") };
    assert_eq!((tcp.seq, tcp.ack, tcp.payload_len, tcp.window), (7, 9, 5, 64_240));
    let key =
        FlowKey { src: A4.to_addr(), dst: B4.to_addr(), src_port: 1000, dst_port: 80, proto: proto::TCP };
    assert_eq!(packet.flow_key(), Some(key));
    assert!(packet.dont_fragment && packet.fragment.is_none());
}

#[test]
fn ethernet_padding_lies_beyond_the_end() {
    let mut frame = syn4();
    frame.resize(60, 0xee);
    let packet = testing::packet_of(&frame);
    assert_eq!(packet.end, 54);
}

#[test]
fn every_truncation_is_refused() {
    for frame in [
        syn4(),
        testing::tcp(A6, B6, 1, 2, TcpFlags::SYN, 0, 0, b"abc"),
        testing::udp(A6, B6, 1, 2, b"abc"),
        testing::icmp_echo(A4, B4, false, 1, 1, b"x"),
        testing::sctp(A4, B4, 1, 2, 3, 1, b"abcd"),
        testing::arp_request(A4, B4),
    ] {
        for len in 0..frame.len() {
            assert!(verdict(&frame[..len]).is_err(), "{len} of {} bytes", frame.len());
        }
    }
}

#[test]
fn other_ether_types_have_their_errors() {
    for (ether_type, expected) in [
        (0x8100, ParseError::Vlan),
        (0x88a8, ParseError::Vlan),
        (0x9100, ParseError::Vlan),
        (0x88cc, ParseError::UnsupportedL2),
        (0x0026, ParseError::UnsupportedL2),
    ] {
        let mut frame = syn4();
        frame[12..14].copy_from_slice(&u16::to_be_bytes(ether_type));
        assert_eq!(error(&frame), expected, "{ether_type:#x}");
    }
}

#[test]
fn contradictory_ipv4_headers_are_refused() {
    let cases: [(&str, fn(&mut [u8]), ParseError); 16] = [
        ("version", |h| h[0] = 0x65, ParseError::InvalidIp),
        ("header length", |h| h[0] = 0x44, ParseError::InvalidIp),
        ("header beyond total", |h| h[0] = 0x4b, ParseError::InvalidIp),
        ("total below header", |h| h[3] = 19, ParseError::InvalidIp),
        ("total beyond frame", |h| h[3] = 41, ParseError::InvalidIp),
        ("reserved flag", |h| h[6] = 0x80, ParseError::InvalidIp),
        ("TTL", |h| h[8] = 0, ParseError::InvalidIp),
        ("source 0.0.0.0", |h| h[12..16].fill(0), ParseError::InvalidAddress),
        ("source loopback", |h| h[12] = 127, ParseError::InvalidAddress),
        ("source multicast", |h| h[12] = 224, ParseError::InvalidAddress),
        ("source broadcast", |h| h[12..16].fill(255), ParseError::InvalidAddress),
        ("destination loopback", |h| h[16] = 127, ParseError::InvalidAddress),
        ("destination unspecified", |h| h[16..20].fill(0), ParseError::InvalidAddress),
        ("L4 beyond total", |h| h[3] = 39, ParseError::Truncated),
        ("ICMPv6 over IPv4", |h| h[9] = 58, ParseError::InvalidL4),
        ("tiny first fragment", |h| (h[3], h[6]) = (20 + 8, 0x20), ParseError::InvalidFragment),
    ];
    for (name, change, expected) in cases {
        assert_eq!(error(&v4_with(syn4(), change)), expected, "{name}");
    }
    let mut frame = syn4();
    frame[24] ^= 1;
    assert_eq!(error(&frame), ParseError::Ipv4Checksum);
}

#[test]
fn ipv4_options_are_walked() {
    assert!(verdict(&v4_with_options(&[1, 1, 1, 0])).is_ok(), "padding");
    assert!(verdict(&v4_with_options(&[148, 4, 0, 0])).is_ok(), "router alert");
    assert_eq!(testing::packet_of(&v4_with_options(&[1, 1, 1, 0])).l4, 38);
    for options in [[131, 4, 4, 0], [137, 4, 4, 0], [7, 1, 0, 0], [7, 0, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        assert_eq!(error(&v4_with_options(&options)), ParseError::InvalidIp, "{options:?}");
    }
}

#[test]
fn ipv6_addresses_are_checked() {
    for (src, dst) in [
        ("::1", B6),
        ("::ffff:10.0.0.1", B6),
        ("ff02::1", B6),
        ("::", B6),
        (A6, "::1"),
        (A6, "::"),
        (A6, "::ffff:10.0.0.1"),
    ] {
        let mut frame = testing::udp(A6, B6, 1, 2, b"x");
        let octets = |a: &str| a.parse::<std::net::Ipv6Addr>().unwrap().octets();
        frame[22..38].copy_from_slice(&octets(src));
        frame[38..54].copy_from_slice(&octets(dst));
        assert_eq!(error(&frame), ParseError::InvalidAddress, "{src} to {dst}");
    }
    let probe = testing::packet_of(&testing::neighbour_solicitation("::", A6));
    assert_eq!(probe.src.0, 0, "duplicate address detection has no source");
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let good: [Vec<(u8, Vec<u8>)>; 4] = [
        vec![(0, padding())],
        vec![(0, padding()), (60, padding()), (43, vec![0, 4, 0, 0, 0, 0, 0]), (60, padding())],
        vec![(44, vec![0, 0, 0, 0, 0, 0, 9])],
        vec![(0, vec![0, 5, 2, 0, 0, 1, 0])],
    ];
    for chain in good {
        let packet = testing::packet_of(&v6_with(&chain, proto::UDP, &UDP_L4));
        assert_eq!(usize::from(packet.l4), 54 + 8 * chain.len(), "{chain:?}");
        assert_eq!((packet.fragment, packet.proto), (None, proto::UDP));
    }
    let bad: [(&str, Vec<(u8, Vec<u8>)>); 9] = [
        ("hop-by-hop second", vec![(60, padding()), (0, padding())]),
        ("hop-by-hop twice", vec![(0, padding()), (0, padding())]),
        ("routing type 0", vec![(43, vec![0, 0, 0, 0, 0, 0, 0])]),
        ("segments left", vec![(43, vec![0, 4, 1, 0, 0, 0, 0])]),
        ("authentication", vec![(51, vec![0; 7])]),
        ("mobility", vec![(135, vec![0; 7])]),
        ("jumbogram", vec![(0, vec![0, 0xc2, 4, 0, 1, 0, 0])]),
        ("option beyond header", vec![(60, vec![0, 1, 5, 0, 0, 0, 0])]),
        ("destination options thrice", vec![(60, padding()); 3]),
    ];
    for (name, chain) in bad {
        assert_eq!(error(&v6_with(&chain, proto::UDP, &UDP_L4)), ParseError::Ipv6Extension, "{name}");
    }
    let mut long = vec![32, 1, 255];
    long.resize(263, 0);
    assert_eq!(error(&v6_with(&[(60, long)], proto::UDP, &UDP_L4)), ParseError::Ipv6Extension, "too long");
    let cut = v6_with(&[(60, vec![4, 1, 4, 0, 0, 0, 0])], proto::UDP, &UDP_L4);
    assert_eq!(error(&cut), ParseError::Truncated, "header beyond the datagram");
}

#[test]
fn fragments_of_both_families() {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let whole = testing::udp(src, dst, 5, 6, &[1; 100]);
        let parts = testing::fragments(&whole, 64, 77);
        let first = testing::packet_of(&parts[0]);
        assert_eq!(first.fragment, Some(Fragment { id: 77, offset: 0, more: true }));
        assert_eq!(first.l4_header, L4::Udp { src_port: 5, dst_port: 6 });
        let last = testing::packet_of(&parts[1]);
        assert_eq!(last.fragment, Some(Fragment { id: 77, offset: 64, more: false }));
        assert_eq!((last.l4_header, last.proto, last.flow_key()), (L4::Fragment, proto::UDP, None));
        assert_eq!(last.payload, last.l4);

        let refused: [(&str, usize, usize, bool); 4] = [
            ("not a multiple of eight", 64, 63, true),
            ("empty", 64, 0, true),
            ("beyond 65,535", 65_528, 8, false),
            ("first without the whole header", 0, 8, true),
        ];
        let tcp = testing::tcp(src, dst, 1, 2, TcpFlags::SYN, 0, 0, b"");
        for (name, offset, len, more) in refused {
            let fragment = testing::fragment(&tcp, offset, &[0x50; 200][..len], more, 1);
            assert_eq!(error(&fragment), ParseError::InvalidFragment, "{name}");
        }
        for offset in [8, 16] {
            let overlap = testing::fragment(&tcp, offset, &[0; 8], false, 1);
            assert_eq!(error(&overlap), ParseError::InvalidFragment, "TCP fragment at {offset}");
        }
    }
    let mut extension_behind = v6_with(&[(44, vec![0, 0, 1, 0, 0, 0, 1])], 60, &[17, 0, 1, 4, 0, 0, 0, 0]);
    extension_behind[54] = 60;
    assert_eq!(error(&extension_behind), ParseError::Ipv6Extension);
}

#[test]
fn tcp_flags_and_options_are_checked() {
    for flags in [0, 0xc0, 0x03, 0x06, 0x07, 0x3f] {
        let frame = testing::tcp(A4, B4, 1, 2, flags, 0, 0, b"");
        assert_eq!(error(&frame), ParseError::InvalidL4, "flags {flags:#x}");
    }
    let with = |flags, options: &[u8]| {
        let segment = crate::emit::Segment { flags: TcpFlags(flags), ..Default::default() };
        verdict(&testing::tcp_with(&testing::envelope(A4, B4), &segment, options, b""))
    };
    let Ok(Parsed::Ip(packet)) = with(TcpFlags::SYN, &[2, 4, 5, 180, 4, 2, 1, 3, 3, 99, 0, 0]) else {
        panic!()
    };
    let L4::Tcp(tcp) = packet.l4_header else { panic!() };
    assert_eq!((tcp.mss, tcp.window_scale, tcp.sack_permitted), (Some(1460), Some(14), true));
    let Ok(Parsed::Ip(packet)) = with(TcpFlags::ACK, &[2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0]) else {
        panic!()
    };
    let L4::Tcp(tcp) = packet.l4_header else { panic!() };
    assert_eq!((tcp.mss, tcp.window_scale, tcp.sack_permitted), (None, None, false), "only a SYN counts");
    for options in [
        &[2, 3, 0, 0][..],
        &[2, 0, 0, 0],
        &[9, 1, 0, 0],
        &[3, 4, 1, 0],
        &[4, 3, 1, 0],
        &[8, 4, 0, 0],
        &[5, 4, 0, 0],
        &[99, 9, 0, 0],
        &[1, 1, 1, 99],
        &[2, 4, 5, 180, 2, 4, 1, 0],
    ] {
        assert_eq!(with(TcpFlags::SYN, options), Err(ParseError::InvalidL4), "{options:?}");
    }
    let mut short_offset = syn4();
    short_offset[46] = 0x40;
    assert_eq!(error(&short_offset), ParseError::InvalidL4);
    let mut long_offset = syn4();
    long_offset[46] = 0x60;
    assert_eq!(error(&long_offset), ParseError::Truncated);
}

#[test]
fn udp_length_must_match() {
    for announced in [0_u16, 7, 8, 10, 200] {
        let mut frame = testing::udp(A4, B4, 1, 2, b"x");
        frame[38..40].copy_from_slice(&announced.to_be_bytes());
        assert_eq!(error(&frame), ParseError::InvalidL4, "length {announced}");
    }
}

fn about_of(frame: &[u8]) -> Option<FlowKey> {
    icmp::about(frame, &testing::packet_of(frame))
}

#[test]
fn an_echo_reply_reverses_to_its_request_and_to_no_other() {
    let key = |src, dst, reply, id| {
        testing::packet_of(&testing::icmp_echo(src, dst, reply, id, 1, b"")).flow_key().unwrap()
    };
    for (a, b) in [(A4, B4), (A6, B6)] {
        for id in [0, 1, 0xff, 0x100, 0x101, 0xfffe, u16::MAX] {
            assert_eq!(key(a, b, false, id), key(b, a, true, id).reversed());
            assert_ne!(key(a, b, false, id), key(a, b, false, id ^ 1));
        }
    }
    let pairs = |kind| (0..=u16::MAX).map(move |id| icmp::echo_ports(proto::ICMP, kind, id));
    let all: std::collections::HashSet<_> = pairs(8).chain(pairs(0)).collect();
    assert_eq!(all.len(), 2 << 16, "no pair stands for two messages");
    assert!(!all.contains(&(0, 0)), "nor for one that is no echo");
}

#[test]
fn icmp_errors_name_the_flow_they_are_about() {
    for (src, dst, kind) in [(A4, B4, 3), (A6, B6, 1)] {
        let about = testing::tcp(dst, src, 80, 1000, TcpFlags::ACK, 1, 1, b"data");
        let key = testing::packet_of(&about).flow_key();
        let l4 = usize::from(testing::packet_of(&about).l4);
        for quote in [&about[14..], &about[14..l4 + 8]] {
            let frame = testing::icmp(src, dst, kind, 1, [0; 4], quote);
            let L4::Icmp(icmp) = testing::packet_of(&frame).l4_header else { panic!() };
            assert_eq!((icmp.kind, icmp.code, about_of(&frame)), (kind, 1, key));
        }
        let short = testing::icmp(src, dst, kind, 1, [0; 4], &about[14..l4 + 7]);
        assert_eq!(error(&short), ParseError::InvalidL4, "seven bytes of L4");
        let echo = testing::icmp_echo(dst, src, false, 4242, 1, b"");
        let frame = testing::icmp(src, dst, kind, 1, [0; 4], &echo[14..]);
        assert_eq!(about_of(&frame), testing::packet_of(&echo).flow_key());
        let reply = testing::icmp_echo(src, dst, true, 4242, 1, b"");
        assert_eq!(about_of(&frame), testing::packet_of(&reply).flow_key().map(FlowKey::reversed));
        let later = &testing::fragments(&testing::udp(dst, src, 1, 2, &[0; 100]), 64, 1)[1];
        let frame = testing::icmp(src, dst, kind, 1, [0; 4], &later[14..]);
        assert_eq!(about_of(&frame), None, "a later fragment has no ports");
        assert_eq!(about_of(&about), None, "not an error");
        let wrong_family = testing::icmp(src, dst, kind, 1, [0; 4], &[0x55; 80]);
        assert_eq!(error(&wrong_family), ParseError::InvalidL4);
    }
}

#[test]
fn sctp_needs_a_chunk() {
    let frame = testing::sctp(A4, B4, 7, 8, 0xdead_beef, 1, b"body");
    let L4::Sctp(sctp) = testing::packet_of(&frame).l4_header else { panic!() };
    assert_eq!((sctp.src_port, sctp.dst_port, sctp.tag, sctp.first_chunk), (7, 8, 0xdead_beef, 1));
    assert_eq!(error(&testing::ip(A4, B4, proto::SCTP, &[0; 12])), ParseError::Truncated);
    assert_eq!(error(&testing::ip(A4, B4, proto::SCTP, &[0; 16])), ParseError::InvalidL4);
}

#[test]
fn arp_must_be_what_it_says() {
    let frame = testing::arp_request(A4, B4);
    let expected = Arp {
        eth_src: testing::mac_of(A4),
        eth_dst: MacAddr::BROADCAST,
        request: true,
        sender_mac: testing::mac_of(A4),
        sender: A4.to_addr(),
        target: B4.to_addr(),
    };
    assert_eq!(verdict(&frame), Ok(Parsed::Arp(expected)));
    let bad: [(&str, usize, u8); 8] = [
        ("hardware type", 15, 6),
        ("protocol type", 16, 9),
        ("hardware length", 18, 8),
        ("protocol length", 19, 6),
        ("operation", 21, 3),
        ("sender differs from frame", 27, 99),
        ("sender loopback", 28, 127),
        ("target multicast", 38, 224),
    ];
    for (name, at, value) in bad {
        let mut frame = frame.clone();
        frame[at] = value;
        assert_eq!(error(&frame), ParseError::InvalidArp, "{name}");
    }
    let mut probe = frame.clone();
    probe[28..32].fill(0);
    assert!(verdict(&probe).is_ok(), "a probe has no sender address");
    probe[21] = 2;
    assert_eq!(error(&probe), ParseError::InvalidArp, "a reply has one");
}

#[test]
fn a_head_shorter_than_promised_is_no_panic() {
    let frame = testing::tcp(A6, B6, 1, 2, TcpFlags::ACK, 0, 0, &[0; 3_000]);
    for len in 0..100 {
        if let Ok(Parsed::Ip(packet)) = parse(&frame[..len], frame.len()) {
            assert!(usize::from(packet.payload) <= len);
        }
    }
    assert!(parse(&frame[..1_500], frame.len()).is_ok());
}

proptest! {
    /// The short way for plain IPv4 headers answers what the long one answers, or nothing.
    #[test]
    fn plain_ipv4_headers_are_read_alike(
        changes in prop::collection::vec((0usize..20, any::<u8>()), 0..3),
        bit in prop::option::of((0usize..20, 0u8..8)),
        right in any::<bool>(),
        cut in 0usize..60,
    ) {
        let change = |h: &mut [u8]| {
            changes.iter().for_each(|(at, to)| h[*at] = *to);
            if let Some((at, bit)) = bit {
                h[at] ^= 1 << bit;
            }
        };
        let mut frame = testing::tcp(A4, B4, 1000, 80, TcpFlags::ACK, 7, 9, b"0123456789");
        if right {
            frame = v4_with(frame, change);
        } else {
            change(&mut frame[14..34]);
        }
        frame.truncate(frame.len().saturating_sub(cut.saturating_sub(20)).max(14));
        let plain = ipv4::parse_plain(&frame, 14, frame.len());
        let whole = ipv4::parse(&frame, 14, frame.len());
        if changes.is_empty() && bit.is_none() && cut <= 20 {
            prop_assert!(matches!(plain, Ok(Some(_))), "plain, and read so");
        }
        match plain {
            Ok(None) => {}
            Ok(Some(ip)) => prop_assert_eq!(whole, Ok(ip)),
            Err(error) => prop_assert_eq!(whole, Err(error)),
        }
    }
}
