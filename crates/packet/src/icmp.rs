//! ICMP (RFC 792) and ICMPv6 (RFC 4443) headers, and the flow that an error message complains about.

use crate::flow_key::FlowKey;
use crate::packet::{Icmp, L4, Packet, proto};
use crate::parse::ParseError;
use crate::{ipv4, ipv6};

/// Length of the header: type, code, checksum and four bytes whose meaning depends on the type.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: u16 = 2;

/// Bytes of the L4 header that an error must quote (RFC 792; RFC 4443 quotes more).
const QUOTED_L4: usize = 8;

/// ICMPv4 types that we name.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Code of [`UNREACHABLE`]: fragmentation needed and DF set (RFC 1191).
    pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
    /// Code of [`UNREACHABLE`]: communication administratively prohibited (RFC 1812).
    pub const CODE_PROHIBITED: u8 = 13;
}

/// ICMPv6 types that we name.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect (RFC 4861).
    pub const REDIRECT: u8 = 137;
    /// Code of [`UNREACHABLE`]: communication administratively prohibited.
    pub const CODE_PROHIBITED: u8 = 1;
}

/// Whether a message of this protocol and type reports an error about another packet.
#[must_use]
pub const fn is_error(l4_proto: u8, kind: u8) -> bool {
    if l4_proto == proto::ICMPV6 {
        // RFC 4443 §2.1: the high bit tells informational messages from errors.
        kind < 128
    } else {
        matches!(
            kind,
            v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM
        )
    }
}

/// Whether a message of this protocol and type is an echo request or reply.
#[must_use]
pub const fn is_echo(l4_proto: u8, kind: u8) -> bool {
    if l4_proto == proto::ICMPV6 {
        matches!(kind, v6::ECHO_REQUEST | v6::ECHO_REPLY)
    } else {
        matches!(kind, v4::ECHO_REQUEST | v4::ECHO_REPLY)
    }
}

/// Whether a message of this protocol and type is an echo request.
#[must_use]
pub const fn is_echo_request(l4_proto: u8, kind: u8) -> bool {
    kind == if l4_proto == proto::ICMPV6 { v6::ECHO_REQUEST } else { v4::ECHO_REQUEST }
}

/// What stands for ports in the flow key of an echo message: the identifier, written so that a request's pair is never
/// a reply's. The high byte comes first and the low byte with a bit above it second, and a reply has them the other way
/// round: a reply reverses to its own request, and two hosts that ping each other with one identifier have two
/// flows. (No constant beside the identifier does that: the identifier could equal it.) Other messages have zeros.
#[must_use]
pub const fn echo_ports(l4_proto: u8, kind: u8, id: u16) -> (u16, u16) {
    if !is_echo(l4_proto, kind) {
        return (0, 0);
    }
    let (high, low) = (id >> 8, 0x100 | id & 0xff);
    if is_echo_request(l4_proto, kind) { (high, low) } else { (low, high) }
}

/// Reads the header at the start of `bytes`, which end with the datagram or with the first buffer.
#[inline(never)]
pub(crate) fn parse(bytes: &[u8], l4_proto: u8) -> Result<Icmp, ParseError> {
    let &[kind, code, _, _, id0, id1, _, _] = bytes.first_chunk().ok_or(ParseError::Truncated)?;
    let echo_id = if is_echo(l4_proto, kind) { u16::from_be_bytes([id0, id1]) } else { 0 };
    if is_error(l4_proto, kind) {
        quoted_flow(&bytes[HEADER_LEN..], l4_proto)?;
    }
    Ok(Icmp { kind, code, echo_id })
}

/// The flow of the packet that an error message complains about, in that packet's own direction. `head` is the
/// frame's first buffer. `None` where `packet` is no error, or quotes a later fragment, which has no ports.
///
/// Not part of [`Packet`], which every frame pays for: errors are rare and may be read twice.
#[must_use]
#[cold]
pub fn about(head: &[u8], packet: &Packet) -> Option<FlowKey> {
    let L4::Icmp(message) = packet.l4_header else { return None };
    if !is_error(packet.proto, message.kind) {
        return None;
    }
    let end = (packet.end as usize).min(head.len());
    quoted_flow(head.get(usize::from(packet.payload)..end)?, packet.proto).ok()?
}

/// The flow of the packet quoted in an error. `None` where the quotation is of a later fragment, which has no
/// ports. A quotation that contradicts itself or lacks the ports makes the whole message invalid.
fn quoted_flow(quote: &[u8], l4_proto: u8) -> Result<Option<FlowKey>, ParseError> {
    let quoted =
        if l4_proto == proto::ICMPV6 { ipv6::parse_quoted(quote)? } else { ipv4::parse_quoted(quote)? };
    if quoted.later_fragment {
        return Ok(None);
    }
    let l4 = quote.get(quoted.l4..).unwrap_or_default();
    let &[a0, a1, b0, b1, c0, c1, _, _] = l4.first_chunk::<QUOTED_L4>().ok_or(ParseError::InvalidL4)?;
    let (src_port, dst_port) = match quoted.proto {
        proto::TCP | proto::UDP | proto::SCTP => (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([b0, b1])),
        p @ (proto::ICMP | proto::ICMPV6) if p == l4_proto => echo_ports(p, a0, u16::from_be_bytes([c0, c1])),
        _ => (0, 0),
    };
    Ok(Some(FlowKey { src: quoted.src, dst: quoted.dst, src_port, dst_port, proto: quoted.proto }))
}
