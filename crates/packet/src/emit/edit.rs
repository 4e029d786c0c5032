//! Changing headers where they stand, with checksums kept right incrementally.
//!
//! `head` is always the first buffer of the frame that `packet` was parsed from.

use crate::addr::MacAddr;
use crate::checksum;
use crate::ether;
use crate::packet::Packet;

/// Offset of TTL and protocol, and of the header checksum, in an IPv4 header.
const V4_TTL: usize = 8;
const V4_CHECKSUM: usize = 10;
/// Offset of the hop limit in an IPv6 header.
const V6_HOP_LIMIT: usize = 7;

/// Sets both Ethernet addresses. A frame shorter than they are is left alone.
#[inline]
pub fn set_eth(head: &mut [u8], src: MacAddr, dst: MacAddr) {
    if let Some(h) = head.first_chunk_mut::<{ ether::HEADER_LEN }>() {
        h[0..6].copy_from_slice(&dst.0);
        h[6..12].copy_from_slice(&src.0);
    }
}

/// Takes one from TTL or hop limit; `false`, and nothing changed, if the packet must not be forwarded any more
/// (RFC 1812 §5.3.1).
#[inline]
#[must_use]
pub fn decrement_ttl(head: &mut [u8], packet: &Packet) -> bool {
    if packet.ttl <= 1 {
        return false;
    }
    let ttl = packet.ttl - 1;
    match head.get_mut(usize::from(packet.l3)..).and_then(<[u8]>::first_chunk_mut) {
        Some(h) if packet.src.is_v4() => {
            let h: &mut [u8; crate::ipv4::MIN_HEADER_LEN] = h;
            h[V4_TTL] = ttl;
            let field = u16::from_be_bytes([h[V4_CHECKSUM], h[V4_CHECKSUM + 1]]);
            h[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&one_hop_less(field).to_be_bytes());
            true
        }
        _ => set_ttl(head, packet, ttl),
    }
}

/// The header checksum after the TTL, the upper byte of its word, was counted down: RFC 1624, equation 3, with the numbers
/// put in.
const fn one_hop_less(field: u16) -> u16 {
    let sum = field as u32 + 0x0100;
    (sum + (sum >= 0xffff) as u32) as u16
}

/// Sets TTL or hop limit, and the IPv4 header checksum. `false` if the header is not there.
#[inline]
pub fn set_ttl(head: &mut [u8], packet: &Packet, ttl: u8) -> bool {
    let Some(ip) = head.get_mut(usize::from(packet.l3)..) else { return false };
    if !packet.src.is_v4() {
        return ip.get_mut(V6_HOP_LIMIT).map(|field| *field = ttl).is_some();
    }
    let Some(h) = ip.first_chunk_mut::<{ crate::ipv4::MIN_HEADER_LEN }>() else { return false };
    let old = u16::from_be_bytes([h[V4_TTL], h[V4_TTL + 1]]);
    h[V4_TTL] = ttl;
    let new = u16::from_be_bytes([h[V4_TTL], h[V4_TTL + 1]]);
    let field = u16::from_be_bytes([h[V4_CHECKSUM], h[V4_CHECKSUM + 1]]);
    h[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&checksum::update_u16(field, old, new).to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hop_less_is_an_update_of_the_word() {
        for field in 0..=u16::MAX {
            for word in [0x0111, 0x4006, 0xff06, 0x80ff] {
                assert_eq!(
                    one_hop_less(field),
                    checksum::update_u16(field, word, word - 0x0100),
                    "{field:x}"
                );
            }
        }
    }
}
