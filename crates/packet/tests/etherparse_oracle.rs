//! `parse` against etherparse on frames that etherparse built: both must see the same values.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, SlicedPacket, TransportSlice};
use packet::{Addr, L4, MacAddr, Packet, Parsed, parse};
use proptest::prelude::*;

fn packet_of(frame: &[u8]) -> Packet {
    match parse(frame, frame.len()) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("{other:?} for {frame:02x?}"),
    }
}

/// Addresses that may stand in a packet.
fn host4() -> impl Strategy<Value = [u8; 4]> {
    any::<[u8; 4]>().prop_map(|mut a| {
        a[0] = 1 + a[0] % 126;
        a
    })
}

fn host6() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>().prop_map(|mut a| {
        a[0] = 0x20 | (a[0] & 0x1f);
        a
    })
}

fn check_transport(frame: &[u8], packet: &Packet) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse reads what it wrote");
    match (sliced.transport.expect("TCP or UDP"), packet.l4_header) {
        (TransportSlice::Tcp(theirs), L4::Tcp(ours)) => {
            assert_eq!(ours.src_port, theirs.source_port());
            assert_eq!(ours.dst_port, theirs.destination_port());
            assert_eq!((ours.seq, ours.ack), (theirs.sequence_number(), theirs.acknowledgment_number()));
            assert_eq!(ours.window, theirs.window_size());
            assert_eq!(ours.payload_len as usize, theirs.payload().len());
            assert_eq!(ours.flags.syn(), theirs.syn());
            assert_eq!(ours.flags.ack(), theirs.ack());
            assert_eq!(&frame[usize::from(packet.payload)..packet.end as usize], theirs.payload());
        }
        (TransportSlice::Udp(theirs), L4::Udp { src_port, dst_port }) => {
            assert_eq!((src_port, dst_port), (theirs.source_port(), theirs.destination_port()));
            assert_eq!(&frame[usize::from(packet.payload)..packet.end as usize], theirs.payload());
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn ipv4_frames(
        macs: [[u8; 6]; 2], src in host4(), dst in host4(), ttl in 1_u8.., tos: u8, ports: [u16; 2],
        seq: u32, ack: u32, window: u16, syn: bool, udp: bool, payload in prop::collection::vec(any::<u8>(), 0..200),
        padding in 0_usize..20,
    ) {
        let mut header = Ipv4Header::new(0, ttl, IpNumber::TCP, src, dst).unwrap();
        header.dscp = (tos >> 2).try_into().unwrap();
        header.ecn = (tos & 3).try_into().unwrap();
        let ip = PacketBuilder::ethernet2(macs[0], macs[1]).ip(etherparse::IpHeaders::Ipv4(header, Default::default()));
        let mut frame = Vec::new();
        if udp {
            ip.udp(ports[0], ports[1]).write(&mut frame, &payload).unwrap();
        } else {
            let tcp = ip.tcp(ports[0], ports[1], seq, window).ack(ack);
            if syn { tcp.syn() } else { tcp }.write(&mut frame, &payload).unwrap();
        }
        let end = frame.len();
        frame.resize(end + padding, 0);
        let packet = packet_of(&frame);
        prop_assert_eq!((packet.eth_src, packet.eth_dst), (MacAddr(macs[0]), MacAddr(macs[1])));
        prop_assert_eq!((packet.src, packet.dst), (Addr::v4(src), Addr::v4(dst)));
        prop_assert_eq!((packet.ttl, packet.traffic_class, packet.end as usize), (ttl, tos, end));
        check_transport(&frame, &packet);
    }

    #[test]
    fn ipv6_frames(
        src in host6(), dst in host6(), hop_limit in 1_u8.., ports: [u16; 2], seq: u32, udp: bool,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(src, dst, hop_limit);
        let mut frame = Vec::new();
        if udp {
            ip.udp(ports[0], ports[1]).write(&mut frame, &payload).unwrap();
        } else {
            ip.tcp(ports[0], ports[1], seq, 1_000).fin().write(&mut frame, &payload).unwrap();
        }
        let packet = packet_of(&frame);
        prop_assert_eq!((packet.src, packet.dst, packet.ttl), (Addr::v6(src), Addr::v6(dst), hop_limit));
        check_transport(&frame, &packet);
    }

    #[test]
    fn ipv4_fragments(id: u16, units in 3_u16..8_000, more: bool, len in 1_usize..30) {
        let mut header = Ipv4Header::new((len * 8) as u16, 9, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.identification = id;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(units).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut frame = vec![0; 14];
        frame[12] = 8;
        header.write(&mut frame).unwrap();
        frame.resize(frame.len() + len * 8, 7);
        let fragment = packet_of(&frame).fragment.unwrap();
        prop_assert_eq!((fragment.id, fragment.offset, fragment.more), (u32::from(id), units * 8, more));
    }
}
