use super::edit::{decrement_ttl, set_eth, set_ttl};
use super::*;
use crate::icmp::{v4, v6};
use crate::packet::Parsed;
use crate::testing::{self, ToAddr, packet_of};
use crate::{ndp, parse};
use etherparse::{PacketBuilder, TransportSlice};

const A4: &str = "10.0.0.1";
const B4: &str = "10.0.0.2";
const A6: &str = "fd00::1";
const B6: &str = "fd00::2";

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = [0x55; 2_048];
    let len = write(&mut out).expect("written");
    out[..len].to_vec()
}

/// Checks the L4 checksum with another implementation.
fn sums_right(frame: &[u8]) -> bool {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let headers = etherparse::PacketHeaders::from_ethernet_slice(frame).unwrap();
    let payload = headers.payload.slice();
    match (headers.net.unwrap(), headers.transport.unwrap()) {
        (etherparse::NetHeaders::Ipv4(ip, _), etherparse::TransportHeader::Tcp(t)) => {
            t.checksum == t.calc_checksum_ipv4(&ip, payload).unwrap()
        }
        (etherparse::NetHeaders::Ipv6(ip, _), etherparse::TransportHeader::Tcp(t)) => {
            t.checksum == t.calc_checksum_ipv6(&ip, payload).unwrap()
        }
        (etherparse::NetHeaders::Ipv6(ip, _), etherparse::TransportHeader::Icmpv6(m)) => {
            m.checksum == m.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap()
        }
        (etherparse::NetHeaders::Ipv4(..), etherparse::TransportHeader::Icmpv4(m)) => {
            m.checksum == m.icmp_type.calc_checksum(payload)
        }
        other => panic!("{other:?} in {:?}", sliced.transport),
    }
}

#[test]
fn frames_equal_those_of_etherparse() {
    let (m, n) = (testing::mac_of(A4).0, testing::mac_of(B4).0);
    let mut expected = Vec::new();
    PacketBuilder::ethernet2(m, n)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(5, 6)
        .write(&mut expected, b"payload")
        .unwrap();
    assert_eq!(testing::udp(A4, B4, 5, 6, b"payload"), expected);

    let (m, n) = (testing::mac_of(A6).0, testing::mac_of(B6).0);
    let mut expected = Vec::new();
    PacketBuilder::ethernet2(m, n)
        .ipv6(A6.to_addr().0.to_be_bytes(), B6.to_addr().0.to_be_bytes(), 64)
        .tcp(5, 6, 7, 64_240)
        .syn()
        .ack(99)
        .write(&mut expected, b"payload")
        .unwrap();
    assert_eq!(testing::tcp(A6, B6, 5, 6, TcpFlags::SYN | TcpFlags::ACK, 7, 99, b"payload"), expected);
}

#[test]
fn a_reset_takes_its_numbers_from_the_offender() {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let cases = [
            (TcpFlags::ACK, &b"abc"[..], (900, 0, TcpFlags::RST)),
            (TcpFlags::SYN, b"", (0, 101, TcpFlags::RST | TcpFlags::ACK)),
            (TcpFlags::SYN, b"abc", (0, 104, TcpFlags::RST | TcpFlags::ACK)),
            (TcpFlags::FIN, b"abc", (0, 104, TcpFlags::RST | TcpFlags::ACK)),
        ];
        for (flags, payload, expected) in cases {
            let offender = packet_of(&testing::tcp(src, dst, 1000, 80, flags, 100, 900, payload));
            let frame = written(|out| tcp_reset_for(out, &offender));
            assert!(frame.len() <= MAX_RESET_LEN && sums_right(&frame));
            let answer = packet_of(&frame);
            let L4::Tcp(tcp) = answer.l4_header else { panic!() };
            assert_eq!((tcp.seq, tcp.ack, tcp.flags.0), expected);
            assert_eq!(answer.flow_key(), offender.flow_key().map(crate::FlowKey::reversed));
            assert_eq!((answer.eth_src, answer.eth_dst), (offender.eth_dst, offender.eth_src));
        }
        let reset = packet_of(&testing::tcp(src, dst, 1, 2, TcpFlags::RST, 0, 0, b""));
        assert_eq!(tcp_reset_for(&mut [0; 200], &reset), None, "a reset is never answered");
        let udp = packet_of(&testing::udp(src, dst, 1, 2, b""));
        assert_eq!(tcp_reset_for(&mut [0; 200], &udp), None);
    }
}

#[test]
fn icmp_errors_quote_what_fits_and_parse_back() {
    for (src, dst, router, limit) in [(A4, B4, "10.0.0.254", 576), (A6, B6, "fd00::fe", 1280)] {
        for len in [0, 100, 1_400] {
            let offender = testing::udp(src, dst, 5, 6, &vec![9; len]);
            let packet = packet_of(&offender);
            for (error, kinds) in [
                (IcmpError::Unreachable { code: 1 }, (v4::UNREACHABLE, v6::UNREACHABLE)),
                (IcmpError::TimeExceeded, (v4::TIME_EXCEEDED, v6::TIME_EXCEEDED)),
                (IcmpError::TooBig { mtu: 1_400 }, (v4::UNREACHABLE, v6::PACKET_TOO_BIG)),
            ] {
                let frame = written(|out| icmp_error(out, router.to_addr(), &offender, &packet, error));
                assert_eq!(frame.len(), icmp_error_len(&packet, offender.len()));
                assert!(frame.len() <= 14 + limit && sums_right(&frame));
                let answer = packet_of(&frame);
                let L4::Icmp(icmp) = answer.l4_header else { panic!() };
                let kind = if packet.src.is_v4() { kinds.0 } else { kinds.1 };
                assert_eq!((icmp.kind, crate::icmp::about(&frame, &answer)), (kind, packet.flow_key()));
                assert_eq!((answer.src, answer.dst), (router.to_addr(), packet.src));
                if let IcmpError::TooBig { mtu } = error {
                    let at = usize::from(answer.l4) + 4;
                    assert_eq!(frame[at..at + 4], mtu.to_be_bytes());
                }
                assert!(!may_answer_with_error(&answer), "an error is not answered with one");
            }
        }
    }
}

#[test]
fn errors_are_not_sent_where_rfc_1122_forbids() {
    assert!(may_answer_with_error(&packet_of(&testing::udp(A4, B4, 1, 2, b"x"))));
    assert!(may_answer_with_error(&packet_of(&testing::icmp_echo(A6, B6, false, 1, 1, b""))));
    for (src, dst) in [(A4, "224.0.0.1"), (A4, "255.255.255.255"), (A6, "ff02::1")] {
        assert!(!may_answer_with_error(&packet_of(&testing::udp(src, dst, 1, 2, b"x"))), "{dst}");
    }
    let parts = testing::fragments(&testing::udp(A4, B4, 1, 2, &[0; 100]), 64, 1);
    assert!(may_answer_with_error(&packet_of(&parts[0])));
    assert!(!may_answer_with_error(&packet_of(&parts[1])), "later fragment");
    let flooded =
        testing::with_macs(testing::udp(A4, B4, 1, 2, b"x"), testing::mac_of(A4), MacAddr::BROADCAST);
    assert!(!may_answer_with_error(&packet_of(&flooded)), "link-layer broadcast");
    assert!(!may_answer_with_error(&packet_of(&testing::neighbour_solicitation("::", A6))));
    let redirect = testing::icmp(A6, B6, v6::REDIRECT, 0, [0; 4], &[0; 32]);
    assert!(!may_answer_with_error(&packet_of(&redirect)));
}

#[test]
fn arp_requests_are_answered() {
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let request = testing::arp_request(A4, B4);
    let Ok(Parsed::Arp(asked)) = parse(&request, request.len()) else { panic!() };
    let frame = written(|out| arp_reply(out, &asked, mac));
    let Ok(Parsed::Arp(reply)) = parse(&frame, frame.len()) else { panic!() };
    assert!(!reply.request);
    assert_eq!((reply.sender_mac, reply.sender, reply.target), (mac, B4.to_addr(), A4.to_addr()));
    assert_eq!(reply.eth_dst, testing::mac_of(A4));
    assert_eq!(arp_reply(&mut [0; 60], &reply, mac), None, "a reply is not answered");
}

#[test]
fn solicitations_are_answered() {
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let frame = testing::neighbour_solicitation(A6, B6);
    let packet = packet_of(&frame);
    let asked = ndp::solicitation(&frame, &packet).expect("a solicitation");
    assert_eq!((asked.target, asked.source_mac), (B6.to_addr(), Some(testing::mac_of(A6))));
    let answer = written(|out| neighbour_advertisement(out, &packet, &asked, mac, true));
    assert!(sums_right(&answer));
    let parsed = packet_of(&answer);
    assert_eq!((parsed.dst, parsed.ttl, parsed.eth_dst), (A6.to_addr(), 255, testing::mac_of(A6)));
    let message = &answer[usize::from(parsed.l4)..];
    assert_eq!((message[0], message[4]), (v6::NEIGHBOUR_ADVERTISEMENT, 0xe0));
    assert_eq!(message[24..], [2, 1, 2, 9, 9, 9, 9, 9]);

    let probe = testing::neighbour_solicitation("::", B6);
    let packet = packet_of(&probe);
    let asked = ndp::solicitation(&probe, &packet).expect("duplicate address detection");
    assert!(asked.duplicate_detection);
    let answer = packet_of(&written(|out| neighbour_advertisement(out, &packet, &asked, mac, false)));
    assert_eq!(answer.dst, "ff02::1".to_addr());
    assert_eq!(answer.eth_dst, MacAddr([0x33, 0x33, 0, 0, 0, 1]));
}

#[test]
fn solicitations_that_were_routed_or_contradict_themselves_are_ignored() {
    let frame = testing::neighbour_solicitation(A6, B6);
    let ignored = |frame: &[u8]| ndp::solicitation(frame, &packet_of(frame)).is_none();
    assert!(ignored(&testing::with_ttl(frame.clone(), 254)), "hop limit");
    for (name, at, value) in [("code", 55, 1), ("group target", 62, 0xff), ("option length", 79, 0)] {
        let mut frame = frame.clone();
        frame[at] = value;
        assert!(ignored(&frame), "{name}");
    }
    assert!(ignored(&testing::icmp_echo(A6, B6, false, 1, 1, b"")));
}

#[test]
fn ttl_and_addresses_are_edited_in_place() {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let mut frame = testing::udp(src, dst, 1, 2, b"x");
        for expected in (1..64).rev() {
            let packet = packet_of(&frame);
            assert!(decrement_ttl(&mut frame, &packet));
            assert_eq!(packet_of(&frame).ttl, expected, "and the header checksum is right");
        }
        let (packet, before) = (packet_of(&frame), frame.clone());
        assert!(!decrement_ttl(&mut frame, &packet), "one hop is the last");
        assert_eq!(frame, before);
        assert!(set_ttl(&mut frame, &packet, 255));
        let (m, n) = (MacAddr([2; 6]), MacAddr([4; 6]));
        set_eth(&mut frame, m, n);
        let packet = packet_of(&frame);
        assert_eq!((packet.ttl, packet.eth_src, packet.eth_dst), (255, m, n));
    }
}

#[test]
fn short_buffers_and_mixed_families_give_none() {
    let envelope = testing::envelope(A4, B4);
    for len in 0..54 {
        assert_eq!(tcp_reset(&mut vec![0; len], &envelope, (1, 2), 3, None), None, "{len} bytes");
    }
    let mixed = Envelope { dst: A6.to_addr(), ..envelope };
    assert_eq!(udp(&mut [0; 200], &mixed, 1, 2, b""), None);
    assert_eq!(udp(&mut [0; 80_000], &envelope, 1, 2, &[0; 65_508]), None, "longer than a datagram");
}

#[test]
fn etherparse_sees_the_ports() {
    let frame = testing::udp(A6, B6, 5, 6, b"x");
    let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!() };
    assert_eq!((udp.source_port(), udp.destination_port(), udp.length()), (5, 6, 9));
}
