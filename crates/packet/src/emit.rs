//! Writing frames of our own: headers, TCP resets, ICMP errors, ARP and neighbour answers.
//!
//! Every builder writes a whole frame, checksums included, to the start of `out` and answers its length. `None`
//! means that `out` is too short or that the addresses are not of one family; what `out` holds then is unspecified.
//! Nothing here allocates.

pub mod edit;
mod icmp;
mod neighbour;

pub use icmp::{IcmpError, icmp_echo, icmp_error, icmp_error_len, icmp_message, may_answer_with_error};
pub use neighbour::{arp_reply, arp_request, neighbour_advertisement, neighbour_solicitation};

use crate::addr::{Addr, MacAddr};
use crate::checksum;
use crate::packet::{L4, Packet, TcpFlags, proto};
use crate::{ether, ipv4, ipv6, tcp, udp};

/// TTL and hop limit of frames that we originate (the IANA default).
pub const DEFAULT_TTL: u8 = 64;

/// Longest frame that [`tcp_reset`] and [`tcp_reset_for`] write: Ethernet, IPv6, TCP.
pub const MAX_RESET_LEN: usize = ether::HEADER_LEN + ipv6::HEADER_LEN + tcp::MIN_HEADER_LEN;

/// Ethernet and IP header fields of a frame to write.
#[derive(Copy, Clone, Debug)]
pub struct Envelope {
    /// Ethernet source.
    pub eth_src: MacAddr,
    /// Ethernet destination.
    pub eth_dst: MacAddr,
    /// IP source.
    pub src: Addr,
    /// IP destination, of the same family.
    pub dst: Addr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Envelope {
    /// The way back to the sender of `packet`, in the name of its receiver.
    #[must_use]
    pub const fn answering(packet: &Packet) -> Self {
        Self {
            eth_src: packet.eth_dst,
            eth_dst: packet.eth_src,
            src: packet.dst,
            dst: packet.src,
            ttl: DEFAULT_TTL,
            traffic_class: 0,
        }
    }
}

/// TCP header fields of a segment to write.
#[derive(Copy, Clone, Debug, Default)]
pub struct Segment {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
}

/// Writes a TCP segment. `options` must be padded to a multiple of four bytes, at most forty.
pub fn tcp(
    out: &mut [u8],
    envelope: &Envelope,
    segment: &Segment,
    options: &[u8],
    payload: &[u8],
) -> Option<usize> {
    if !options.len().is_multiple_of(4) || options.len() > 40 {
        return None;
    }
    let header_len = tcp::MIN_HEADER_LEN + options.len();
    l4(out, envelope, proto::TCP, header_len + payload.len(), Some(tcp::CHECKSUM_OFFSET), |l4| {
        l4[0..2].copy_from_slice(&segment.src_port.to_be_bytes());
        l4[2..4].copy_from_slice(&segment.dst_port.to_be_bytes());
        l4[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        l4[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        l4[12] = (header_len as u8 / 4) << 4;
        l4[13] = segment.flags.0;
        l4[14..16].copy_from_slice(&segment.window.to_be_bytes());
        l4[16..20].fill(0);
        l4[20..header_len].copy_from_slice(options);
        l4[header_len..].copy_from_slice(payload);
    })
}

/// Writes a UDP datagram.
pub fn udp(
    out: &mut [u8],
    envelope: &Envelope,
    src_port: u16,
    dst_port: u16,
    payload: &[u8],
) -> Option<usize> {
    let len = udp::HEADER_LEN + payload.len();
    let announced = u16::try_from(len).ok()?;
    l4(out, envelope, proto::UDP, len, Some(udp::CHECKSUM_OFFSET), |l4| {
        l4[0..2].copy_from_slice(&src_port.to_be_bytes());
        l4[2..4].copy_from_slice(&dst_port.to_be_bytes());
        l4[4..6].copy_from_slice(&announced.to_be_bytes());
        l4[6..8].fill(0);
        l4[8..].copy_from_slice(payload);
    })
}

/// Writes a reset with chosen numbers: for cutting a connection whose state we know. With `ack` the segment also
/// acknowledges, as a reset to a SYN must.
pub fn tcp_reset(
    out: &mut [u8],
    envelope: &Envelope,
    ports: (u16, u16),
    seq: u32,
    ack: Option<u32>,
) -> Option<usize> {
    let flags = TcpFlags(TcpFlags::RST | if ack.is_some() { TcpFlags::ACK } else { 0 });
    let (src_port, dst_port) = ports;
    let segment = Segment { src_port, dst_port, seq, ack: ack.unwrap_or(0), flags, window: 0 };
    tcp(out, envelope, &segment, &[], &[])
}

/// Writes the reset that answers `packet`, from its receiver to its sender (RFC 9293 §3.10.7.1). `None` also where
/// there must be no answer: to a reset, to a fragment, to a group, and to anything but TCP.
pub fn tcp_reset_for(out: &mut [u8], packet: &Packet) -> Option<usize> {
    let L4::Tcp(segment) = packet.l4_header else { return None };
    let to_group = packet.eth_dst.is_multicast() || packet.dst.is_multicast_or_broadcast();
    if segment.flags.rst() || packet.fragment.is_some() || to_group {
        return None;
    }
    let ports = (segment.dst_port, segment.src_port);
    let envelope = Envelope::answering(packet);
    if segment.flags.ack() {
        return tcp_reset(out, &envelope, ports, segment.ack, None);
    }
    let occupied = segment.payload_len + u32::from(segment.flags.syn()) + u32::from(segment.flags.fin());
    tcp_reset(out, &envelope, ports, 0, Some(segment.seq.wrapping_add(occupied)))
}

/// Writes Ethernet and IP headers and `len` bytes of L4, which `fill` provides with a zero checksum field; then
/// puts the checksum at `checksum_at`. ICMP over IPv4 is summed without a pseudo-header.
fn l4(
    out: &mut [u8],
    envelope: &Envelope,
    l4_proto: u8,
    len: usize,
    checksum_at: Option<u16>,
    fill: impl FnOnce(&mut [u8]),
) -> Option<usize> {
    let start = headers(out, envelope, l4_proto, len)?;
    let l4 = out.get_mut(start..start + len)?;
    fill(l4);
    if let Some(at) = checksum_at {
        let mut total = match l4_proto {
            proto::ICMP => checksum::Sum::default(),
            _ => checksum::Sum::starting_with(checksum::pseudo_header_sum_of(
                envelope.src,
                envelope.dst,
                l4_proto,
                len as u32,
            )),
        };
        total.add(l4);
        let field = checksum::finish(total.folded(), l4_proto);
        l4.get_mut(usize::from(at)..)?.first_chunk_mut().map(|f| *f = field.to_be_bytes())?;
    }
    Some(start + len)
}

/// Writes Ethernet and IP headers for an L4 of `l4_len` bytes; answers where the L4 header starts.
pub fn headers(out: &mut [u8], envelope: &Envelope, l4_proto: u8, l4_len: usize) -> Option<usize> {
    let v4 = envelope.src.is_v4();
    if v4 != envelope.dst.is_v4() {
        return None;
    }
    let ether_type = if v4 { ether::IPV4 } else { ether::IPV6 };
    ethernet(out, envelope.eth_src, envelope.eth_dst, ether_type)?;
    let ip = out.get_mut(ether::HEADER_LEN..)?;
    let ip_len = match (envelope.src.as_v4(), envelope.dst.as_v4()) {
        (Some(src), Some(dst)) => ipv4_header(ip, envelope, (src, dst), l4_proto, l4_len)?,
        _ => ipv6_header(ip, envelope, l4_proto, l4_len)?,
    };
    Some(ether::HEADER_LEN + ip_len)
}

fn ethernet(out: &mut [u8], src: MacAddr, dst: MacAddr, ether_type: u16) -> Option<()> {
    let h = out.first_chunk_mut::<{ ether::HEADER_LEN }>()?;
    h[0..6].copy_from_slice(&dst.0);
    h[6..12].copy_from_slice(&src.0);
    h[12..14].copy_from_slice(&ether_type.to_be_bytes());
    Some(())
}

/// Don't-fragment is set and the identification zero: what we send is an atomic datagram (RFC 6864 §4.1).
fn ipv4_header(
    out: &mut [u8],
    envelope: &Envelope,
    (src, dst): (u32, u32),
    l4_proto: u8,
    l4_len: usize,
) -> Option<usize> {
    let total = u16::try_from(ipv4::MIN_HEADER_LEN + l4_len).ok()?;
    let h = out.first_chunk_mut::<{ ipv4::MIN_HEADER_LEN }>()?;
    h[0] = 0x45;
    h[1] = envelope.traffic_class;
    h[2..4].copy_from_slice(&total.to_be_bytes());
    h[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
    h[8] = envelope.ttl;
    h[9] = l4_proto;
    h[10..12].fill(0);
    h[12..16].copy_from_slice(&src.to_be_bytes());
    h[16..20].copy_from_slice(&dst.to_be_bytes());
    let field = !checksum::sum(h);
    h[10..12].copy_from_slice(&field.to_be_bytes());
    Some(ipv4::MIN_HEADER_LEN)
}

fn ipv6_header(out: &mut [u8], envelope: &Envelope, l4_proto: u8, l4_len: usize) -> Option<usize> {
    let payload = u16::try_from(l4_len).ok()?;
    let h = out.first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
    h[0] = 0x60 | (envelope.traffic_class >> 4);
    h[1] = envelope.traffic_class << 4;
    h[2..4].fill(0);
    h[4..6].copy_from_slice(&payload.to_be_bytes());
    h[6] = l4_proto;
    h[7] = envelope.ttl;
    h[8..24].copy_from_slice(&envelope.src.0.to_be_bytes());
    h[24..40].copy_from_slice(&envelope.dst.0.to_be_bytes());
    Some(ipv6::HEADER_LEN)
}

#[cfg(test)]
mod tests;
