//! Whole frames for tests, here and in other crates (feature `testing`).
//!
//! Addresses may be given as text, as [`IpAddr`] or as [`Addr`]; both must be of one family. Ethernet addresses follow
//! from them ([`mac_of`]) unless [`with_macs`] sets others. All checksums are right; [`partial`] undoes that.
//!
//! # Panics
//! These builders panic on arguments that make no frame: they are for tests only.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "for tests only, as the module says")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pcap_file::TsResolution;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use crate::addr::{Addr, MacAddr};
use crate::checksum;
use crate::emit::{self, Envelope, Segment};
use crate::icmp::{v4, v6};
use crate::packet::{L4, Parsed, TcpFlags, proto};
use crate::{ether, ipv4, ipv6, sctp};

/// Room for the longest frame that the builders write.
const MAX_FRAME: usize = ether::HEADER_LEN + ipv6::HEADER_LEN + 65_535;

/// What can be given as an address.
pub trait ToAddr {
    /// The address.
    fn to_addr(&self) -> Addr;
}

impl ToAddr for &str {
    fn to_addr(&self) -> Addr {
        self.parse::<IpAddr>().expect("an IP address").into()
    }
}

impl ToAddr for IpAddr {
    fn to_addr(&self) -> Addr {
        (*self).into()
    }
}

impl ToAddr for Ipv4Addr {
    fn to_addr(&self) -> Addr {
        Addr::v4(self.octets())
    }
}

impl ToAddr for Addr {
    fn to_addr(&self) -> Addr {
        *self
    }
}

/// The Ethernet address that the builders give to the owner of `addr`: locally administered, with its low four bytes.
pub fn mac_of(addr: impl ToAddr) -> MacAddr {
    let [a, b, c, d] = (addr.to_addr().0 as u32).to_be_bytes();
    MacAddr([0x02, 0, a, b, c, d])
}

/// Ethernet and IP fields as the builders choose them: TTL 64.
pub fn envelope(src: impl ToAddr, dst: impl ToAddr) -> Envelope {
    let (src, dst) = (src.to_addr(), dst.to_addr());
    Envelope {
        eth_src: mac_of(src),
        eth_dst: mac_of(dst),
        src,
        dst,
        ttl: emit::DEFAULT_TTL,
        traffic_class: 0,
    }
}

/// A TCP segment without options and with a window of 64,240.
pub fn tcp(
    src: impl ToAddr,
    dst: impl ToAddr,
    src_port: u16,
    dst_port: u16,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: &[u8],
) -> Vec<u8> {
    let segment = Segment { src_port, dst_port, seq, ack, flags: TcpFlags(flags), window: 64_240 };
    tcp_with(&envelope(src, dst), &segment, &[], payload)
}

/// A TCP segment with every field chosen; `options` padded to a multiple of four bytes.
#[must_use]
pub fn tcp_with(envelope: &Envelope, segment: &Segment, options: &[u8], payload: &[u8]) -> Vec<u8> {
    written(|out| emit::tcp(out, envelope, segment, options, payload))
}

/// A UDP datagram.
pub fn udp(src: impl ToAddr, dst: impl ToAddr, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let envelope = envelope(src, dst);
    written(|out| emit::udp(out, &envelope, src_port, dst_port, payload))
}

/// An ICMP or ICMPv6 echo request, or with `reply` the reply.
pub fn icmp_echo(
    src: impl ToAddr,
    dst: impl ToAddr,
    reply: bool,
    id: u16,
    sequence: u16,
    payload: &[u8],
) -> Vec<u8> {
    let envelope = envelope(src, dst);
    let kind = match (envelope.src.is_v4(), reply) {
        (true, false) => v4::ECHO_REQUEST,
        (true, true) => v4::ECHO_REPLY,
        (false, false) => v6::ECHO_REQUEST,
        (false, true) => v6::ECHO_REPLY,
    };
    written(|out| emit::icmp_echo(out, &envelope, kind, id, sequence, payload))
}

/// Any ICMP or ICMPv6 message; `body` follows the eight bytes of header.
pub fn icmp(src: impl ToAddr, dst: impl ToAddr, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let envelope = envelope(src, dst);
    written(|out| emit::icmp_message(out, &envelope, kind, code, rest, body))
}

/// An SCTP packet with one chunk of type `chunk` and the right CRC32c.
pub fn sctp(
    src: impl ToAddr,
    dst: impl ToAddr,
    src_port: u16,
    dst_port: u16,
    tag: u32,
    chunk: u8,
    body: &[u8],
) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(src_port.to_be_bytes());
    l4.extend(dst_port.to_be_bytes());
    l4.extend(tag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend([chunk, 0]);
    l4.extend((body.len() as u16 + 4).to_be_bytes());
    l4.extend(body);
    l4.resize(l4.len().next_multiple_of(4), 0);
    let at = usize::from(sctp::CHECKSUM_OFFSET);
    let crc = checksum::crc32c(&[&l4]);
    l4[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    ip(src, dst, proto::SCTP, &l4)
}

/// An IP packet of any protocol around the given bytes.
pub fn ip(src: impl ToAddr, dst: impl ToAddr, l4_proto: u8, l4: &[u8]) -> Vec<u8> {
    let envelope = envelope(src, dst);
    written(|out| {
        let start = emit::headers(out, &envelope, l4_proto, l4.len())?;
        out.get_mut(start..start + l4.len())?.copy_from_slice(l4);
        Some(start + l4.len())
    })
}

/// An ARP request.
pub fn arp_request(sender: impl ToAddr, target: impl ToAddr) -> Vec<u8> {
    let sender = sender.to_addr();
    written(|out| emit::arp_request(out, mac_of(sender), sender, target.to_addr()))
}

/// A neighbour solicitation; from `::` it is a duplicate address detection, sent by the owner of the target.
pub fn neighbour_solicitation(source: impl ToAddr, target: impl ToAddr) -> Vec<u8> {
    let (source, target) = (source.to_addr(), target.to_addr());
    let mac = mac_of(if source.0 == 0 { target } else { source });
    written(|out| emit::neighbour_solicitation(out, mac, source, target))
}

/// The same frame between other Ethernet addresses.
#[must_use]
pub fn with_macs(mut frame: Vec<u8>, src: MacAddr, dst: MacAddr) -> Vec<u8> {
    emit::edit::set_eth(&mut frame, src, dst);
    frame
}

/// The same frame with another TTL or hop limit.
#[must_use]
pub fn with_ttl(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    let packet = packet_of(&frame);
    assert!(emit::edit::set_ttl(&mut frame, &packet, ttl), "an IP header");
    frame
}

/// The same TCP, UDP or SCTP frame as a veth hands it over: with a partial checksum.
#[must_use]
pub fn partial(mut frame: Vec<u8>) -> Vec<u8> {
    let packet = packet_of(&frame);
    let l4 = usize::from(packet.l4);
    if let L4::Sctp(_) = packet.l4_header {
        let at = l4 + usize::from(sctp::CHECKSUM_OFFSET);
        frame[at..at + 4].fill(0);
        return frame;
    }
    let request = checksum::request(&packet).expect("TCP or UDP");
    let at = l4 + usize::from(request.offset);
    let sum = checksum::pseudo_header_sum(&packet, packet.end - u32::from(packet.l4));
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Cuts an unfragmented frame without IP options into fragments of at most `size` payload bytes (a multiple of 8).
#[must_use]
pub fn fragments(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    assert!(size > 0 && size.is_multiple_of(8), "fragments come in multiples of eight bytes");
    let packet = packet_of(frame);
    let payload = &frame[usize::from(packet.l4)..packet.end as usize];
    let last = payload.len().div_ceil(size) - 1;
    let piece = |(i, bytes): (usize, &[u8])| fragment(frame, i * size, bytes, i != last, id);
    payload.chunks(size).enumerate().map(piece).collect()
}

/// One fragment with the addresses and protocol of `frame` and any offset, content and flag.
#[must_use]
pub fn fragment(frame: &[u8], offset: usize, bytes: &[u8], more: bool, id: u32) -> Vec<u8> {
    let packet = packet_of(frame);
    let field = (offset as u16) | u16::from(more);
    if packet.src.is_v4() {
        let mut out = frame[..usize::from(packet.l4)].to_vec();
        let ip = &mut out[ether::HEADER_LEN..];
        ip[2..4].copy_from_slice(&((ipv4::MIN_HEADER_LEN + bytes.len()) as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
        let flags = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        ip[6..8].copy_from_slice(&flags.to_be_bytes());
        ip[10..12].fill(0);
        let sum = !checksum::sum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(bytes);
        return out;
    }
    let mut out = frame[..usize::from(packet.l3) + ipv6::HEADER_LEN].to_vec();
    let ip = &mut out[ether::HEADER_LEN..];
    ip[4..6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
    ip[6] = 44;
    out.extend([packet.proto, 0]);
    out.extend(field.to_be_bytes());
    out.extend(id.to_be_bytes());
    out.extend(bytes);
    out
}

/// What [`parse`](crate::parse()) says about a frame that must be an acceptable IP packet.
#[must_use]
pub fn packet_of(frame: &[u8]) -> crate::Packet {
    match crate::parse(frame, frame.len()) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("not an acceptable IP packet: {other:?}"),
    }
}

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = vec![0; MAX_FRAME];
    let len = write(&mut out).expect("addresses of one family and a payload that fits");
    out.truncate(len);
    out
}

/// What holds for any bytes at all: the body of the fuzz target `parse` and of its smoke test.
///
/// The first `head_len` bytes of `frame` are taken as the first buffer of it.
///
/// # Panics
/// If `parse` answers an offset outside the frame, or the stages behind it do not cope with the answer.
pub fn assert_parse_holds(frame: &[u8], head_len: usize) {
    let head = &frame[..head_len.min(frame.len())];
    let Ok(Parsed::Ip(packet)) = crate::parse(head, frame.len()) else { return };
    let (l3, l4, payload) = (usize::from(packet.l3), usize::from(packet.l4), usize::from(packet.payload));
    let end = packet.end as usize;
    assert!(l3 < l4 && l4 <= payload && payload <= head.len(), "offsets within the first buffer: {packet:?}");
    assert!(payload <= end && end <= frame.len(), "the end within the frame: {packet:?}");
    assert_eq!(packet.src.is_v4(), packet.dst.is_v4(), "one family");
    assert_eq!(packet.flow_key().is_none(), packet.l4_header == L4::Fragment);
    match packet.l4_header {
        L4::Tcp(tcp) => assert_eq!(payload + tcp.payload_len as usize, end),
        L4::Fragment => assert!(packet.fragment.is_some_and(|f| f.offset > 0)),
        _ => {}
    }
    let _ = crate::ndp::solicitation(head, &packet);
    // Each answer that we may give to it must itself be a packet.
    let mut out = [0; 1_500];
    let mut answers = vec![emit::tcp_reset_for(&mut out, &packet).map(|len| out[..len].to_vec())];
    if emit::may_answer_with_error(&packet) {
        let source = if packet.src.is_v4() { "192.0.2.1" } else { "2001:db8::1" }.to_addr();
        let error = emit::IcmpError::TimeExceeded;
        let len = emit::icmp_error(&mut out, source, head, &packet, error).expect("room for any error");
        answers.push(Some(out[..len].to_vec()));
    }
    for answer in answers.into_iter().flatten() {
        // Quotations of packets whose L4 is shorter than eight bytes are refused by our own parser too.
        let parsed = crate::parse(&answer, answer.len());
        let quoted_short = end - l4 < 8 || matches!(packet.l4_header, L4::Other);
        assert!(parsed.is_ok() || quoted_short, "{parsed:?} to {packet:?}");
    }
    let mut edited = head.to_vec();
    if emit::edit::decrement_ttl(&mut edited, &packet) {
        let again = crate::parse(&edited, frame.len());
        let expected = crate::Packet { ttl: packet.ttl - 1, ..packet };
        assert_eq!(again, Ok(Parsed::Ip(expected)), "only the TTL changed");
    }
}

/// One well-formed frame of each kind that `parse` knows: seeds for mutation.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![arp_request("10.0.0.1", "10.0.0.2"), neighbour_solicitation("fd00::1", "fd00::2")];
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let segment = Segment { flags: TcpFlags(TcpFlags::SYN), ..Segment::default() };
        let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        seeds.push(tcp_with(&envelope(a, b), &segment, &options, b""));
        seeds.push(tcp(a, b, 40_000, 80, TcpFlags::ACK, 1, 2, b"GET / HTTP/1.1\r\n\r\n"));
        let datagram = udp(a, b, 40_000, 53, &[0x5a; 200]);
        seeds.extend(fragments(&datagram, 104, 7));
        let unreachable = if a.contains(':') { v6::UNREACHABLE } else { v4::UNREACHABLE };
        seeds.push(icmp(b, a, unreachable, 1, [0; 4], &datagram[ether::HEADER_LEN..]));
        seeds.push(datagram);
        seeds.push(icmp_echo(a, b, false, 9, 1, b"ping"));
        seeds.push(sctp(a, b, 7, 8, 0, 1, &[0; 16]));
    }
    let extensions = [60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
    seeds.push(ip("fd00::1", "fd00::2", 0, &[&extensions[..], &[0, 1, 0, 2, 0, 9, 0, 0, 1]].concat()));
    seeds
}

/// A pcap file (nanoseconds, Ethernet) with these frames, one microsecond apart from second 1 on.
#[must_use]
pub fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let header = PcapHeader { ts_resolution: TsResolution::NanoSecond, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("memory can be written");
    for (n, frame) in frames.iter().enumerate() {
        let time = Duration::from_secs(1) + Duration::from_micros(n as u64);
        let record = PcapPacket::new(time, frame.len() as u32, frame);
        writer.write_packet(&record).expect("a frame within the snapshot length");
    }
    writer.into_writer()
}
