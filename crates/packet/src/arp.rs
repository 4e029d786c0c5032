//! ARP for IPv4 over Ethernet (RFC 826), with the probe form of RFC 5227.

use crate::addr::{Addr, MacAddr};
use crate::ether::{self, HEADER_LEN};
use crate::packet::Arp;
use crate::parse::ParseError;

/// Length of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4: the only form we speak.
pub(crate) const FORM: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Operation: request.
pub(crate) const REQUEST: u16 = 1;
/// Operation: reply.
pub(crate) const REPLY: u16 = 2;

/// Reads the ARP packet behind an Ethernet header.
///
/// The sender's hardware address must be that of the frame: a difference is how caches get poisoned.
#[inline(never)]
pub(crate) fn parse(frame: &[u8], eth: &ether::Header) -> Result<Arp, ParseError> {
    let Some(arp) = frame.get(HEADER_LEN..).and_then(<[u8]>::first_chunk::<PACKET_LEN>) else {
        return Err(ParseError::Truncated);
    };
    let operation = u16::from_be_bytes([arp[6], arp[7]]);
    let request = operation == REQUEST;
    if arp[..6] != FORM || !(request || operation == REPLY) {
        return Err(ParseError::InvalidArp);
    }
    let sender_mac = MacAddr([arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]]);
    if sender_mac != eth.src || sender_mac.is_multicast() {
        return Err(ParseError::InvalidArp);
    }
    let sender = [arp[14], arp[15], arp[16], arp[17]];
    let target = [arp[24], arp[25], arp[26], arp[27]];
    // RFC 5227 §2.1.1: a probe asks with an all-zero sender address.
    let probe = request && sender == [0; 4];
    if !(probe || is_host(sender)) || !is_host(target) {
        return Err(ParseError::InvalidArp);
    }
    Ok(Arp {
        eth_src: eth.src,
        eth_dst: eth.dst,
        request,
        sender_mac,
        sender: Addr::v4(sender),
        target: Addr::v4(target),
    })
}

/// Whether an address may belong to a host on a link.
fn is_host(addr: [u8; 4]) -> bool {
    addr[0] != 0 && addr[0] != 127 && !Addr::v4(addr).is_multicast_or_broadcast()
}
