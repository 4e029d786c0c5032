//! ICMP and ICMPv6 messages, and the rules for when an error may be sent at all.

use super::{Envelope, l4};
use crate::addr::Addr;
use crate::icmp::{self, v4, v6};
use crate::packet::{L4, Packet, proto};
use crate::{ether, ipv4, ipv6};

/// Most bytes of an ICMPv4 error, IP header included (RFC 1812 §4.3.2.3).
const MAX_V4: usize = 576;
/// Most bytes of an ICMPv6 error, IP header included: the least MTU (RFC 4443 §2.4 (c)).
const MAX_V6: usize = 1_280;

/// An error that we report to the sender of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Destination unreachable with this code (of the packet's own family).
    Unreachable {
        /// ICMP or ICMPv6 code.
        code: u8,
    },
    /// TTL or hop limit exceeded in transit.
    TimeExceeded,
    /// Fragmentation needed (RFC 1191) or packet too big (RFC 4443 §3.2).
    TooBig {
        /// MTU of the link that the packet does not fit.
        mtu: u32,
    },
}

impl IcmpError {
    /// Type, code, and the four bytes behind the checksum.
    fn wire(self, is_v4: bool) -> (u8, u8, [u8; 4]) {
        match (self, is_v4) {
            (Self::Unreachable { code }, true) => (v4::UNREACHABLE, code, [0; 4]),
            (Self::Unreachable { code }, false) => (v6::UNREACHABLE, code, [0; 4]),
            (Self::TimeExceeded, true) => (v4::TIME_EXCEEDED, 0, [0; 4]),
            (Self::TimeExceeded, false) => (v6::TIME_EXCEEDED, 0, [0; 4]),
            (Self::TooBig { mtu }, true) => {
                let [_, _, a, b] = mtu.min(0xffff).to_be_bytes();
                (v4::UNREACHABLE, v4::CODE_FRAGMENTATION_NEEDED, [0, 0, a, b])
            }
            (Self::TooBig { mtu }, false) => (v6::PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
        }
    }
}

/// Whether an error may be sent about `packet` (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)): not about an error or a
/// redirect, not about a later fragment, not about what was sent to a group, not to what is no single host. We
/// use no exception that RFC 4443 grants for packet too big to groups: it amplifies.
#[must_use]
pub fn may_answer_with_error(packet: &Packet) -> bool {
    let about_error = match packet.l4_header {
        L4::Icmp(m) => {
            icmp::is_error(packet.proto, m.kind) || (packet.proto == proto::ICMPV6 && m.kind == v6::REDIRECT)
        }
        _ => false,
    };
    let later = packet.fragment.is_some_and(|f| f.offset != 0);
    let to_group = packet.eth_dst.is_multicast() || packet.dst.is_multicast_or_broadcast();
    let from_nobody =
        packet.src.0 == 0 || packet.src.is_multicast_or_broadcast() || packet.eth_src.is_multicast();
    !(about_error || later || to_group || from_nobody)
}

/// Bytes that [`icmp_error`] writes about `packet` when its first buffer has `head_len` bytes.
#[must_use]
pub fn icmp_error_len(packet: &Packet, head_len: usize) -> usize {
    let (header, limit) =
        if packet.src.is_v4() { (ipv4::MIN_HEADER_LEN, MAX_V4) } else { (ipv6::HEADER_LEN, MAX_V6) };
    let available = head_len.min(packet.end as usize).saturating_sub(usize::from(packet.l3));
    ether::HEADER_LEN + header + icmp::HEADER_LEN + available.min(limit - header - icmp::HEADER_LEN)
}

/// Writes an error about `packet`, whose first buffer is `head`, from `source` (the appliance's address towards
/// its sender). It quotes as much as fits. Ask [`may_answer_with_error`] first: `None` if it says no.
pub fn icmp_error(
    out: &mut [u8],
    source: Addr,
    head: &[u8],
    packet: &Packet,
    error: IcmpError,
) -> Option<usize> {
    if !may_answer_with_error(packet) {
        return None;
    }
    let envelope = Envelope { src: source, ..Envelope::answering(packet) };
    let is_v4 = packet.src.is_v4();
    let (kind, code, rest) = error.wire(is_v4);
    let header = if is_v4 { ipv4::MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let quote_len = icmp_error_len(packet, head.len()) - ether::HEADER_LEN - header - icmp::HEADER_LEN;
    let quote = head.get(usize::from(packet.l3)..usize::from(packet.l3) + quote_len)?;
    icmp_message(out, &envelope, kind, code, rest, quote)
}

/// Writes an echo request or reply (by `kind`, see [`icmp`](mod@crate::icmp)).
pub fn icmp_echo(
    out: &mut [u8],
    envelope: &Envelope,
    kind: u8,
    id: u16,
    sequence: u16,
    payload: &[u8],
) -> Option<usize> {
    let [a, b] = id.to_be_bytes();
    let [c, d] = sequence.to_be_bytes();
    icmp_message(out, envelope, kind, 0, [a, b, c, d], payload)
}

/// Writes any ICMP or ICMPv6 message; the family follows from the addresses.
pub fn icmp_message(
    out: &mut [u8],
    envelope: &Envelope,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    body: &[u8],
) -> Option<usize> {
    let l4_proto = if envelope.src.is_v4() { proto::ICMP } else { proto::ICMPV6 };
    let len = icmp::HEADER_LEN + body.len();
    l4(out, envelope, l4_proto, len, Some(icmp::CHECKSUM_OFFSET), |message| {
        message[..4].copy_from_slice(&[kind, code, 0, 0]);
        message[4..8].copy_from_slice(&rest);
        message[8..].copy_from_slice(body);
    })
}
