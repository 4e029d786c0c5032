//! Frames made here: neighbour answers, ICMP errors, resets.
//!
//! Each function writes into a buffer of [`MAX_LEN`] and answers the length, or `None` where no answer may be made.

use crate::ports::{Port, PortKind};
use crate::snapshot::Gateway;
use packet::emit::{self, Envelope, IcmpError};
use packet::{Addr, FlowKey, Packet, ndp};

/// Ethernet header plus the smallest IPv6 MTU: no answer of ours is longer (RFC 4443 §2.4 c).
pub(crate) const MAX_LEN: usize = 14 + 1280;

/// Says that the address asked for is here: the appliance is the neighbour of every address but the pod's own.
pub(crate) fn neighbour(buf: &mut [u8], head: &[u8], packet: &Packet, port: &Port) -> Option<usize> {
    let asked = ndp::solicitation(head, packet)?;
    let own = matches!(&port.kind, PortKind::Pod { addrs, .. } if addrs.contains(&asked.target));
    // Whoever asks from the very address it asks for is checking that nobody else has it.
    if own || asked.duplicate_detection || asked.target == packet.src {
        return None;
    }
    emit::neighbour_advertisement(buf, packet, &asked, port.mac, true)
}

/// An error about `packet`, from the address that its sender knows as gateway.
pub(crate) fn icmp_error(
    buf: &mut [u8],
    head: &[u8],
    packet: &Packet,
    error: IcmpError,
    gateway: &Gateway,
) -> Option<usize> {
    let source = if packet.src.is_v4() { gateway.v4 } else { gateway.v6 };
    emit::icmp_error(buf, source, head, packet, error)
}

/// A reset with chosen numbers towards `port`, in the name of `key`'s source.
pub(crate) fn reset_flow(buf: &mut [u8], key: &FlowKey, seq: u32, ack: u32, port: &Port) -> Option<usize> {
    let envelope = Envelope {
        eth_src: port.mac,
        eth_dst: port.peer_mac,
        src: key.src,
        dst: key.dst,
        ttl: emit::DEFAULT_TTL,
        traffic_class: 0,
    };
    emit::tcp_reset(buf, &envelope, (key.src_port, key.dst_port), seq, Some(ack))
}

/// "Host unreachable" (RFC 792) or "address unreachable" (RFC 4443 §3.1).
pub(crate) fn unreachable(dst: Addr) -> IcmpError {
    IcmpError::Unreachable { code: if dst.is_v4() { 1 } else { 3 } }
}

/// "Communication administratively prohibited" (RFC 1812 §5.2.7.1, RFC 4443 §3.1).
pub(crate) fn prohibited(dst: Addr) -> IcmpError {
    IcmpError::Unreachable { code: if dst.is_v4() { 13 } else { 1 } }
}
