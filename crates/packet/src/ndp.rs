//! Neighbour discovery (RFC 4861): reading solicitations.

use crate::addr::{Addr, MacAddr};
use crate::icmp::v6;
use crate::packet::{L4, Packet};

/// Length of a solicitation or advertisement without options.
pub(crate) const MESSAGE_LEN: usize = 24;

/// Option: source link-layer address.
const SOURCE_LINK_LAYER: u8 = 1;

/// A neighbour solicitation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// The address asked for.
    pub target: Addr,
    /// What the sender says is its link-layer address; absent in duplicate address detection.
    pub source_mac: Option<MacAddr>,
    /// The sender has no address yet and asks whether the target is taken (RFC 4862 §5.4).
    pub duplicate_detection: bool,
}

/// The neighbour solicitation in a packet, if it is one and valid by RFC 4861 §7.1.1. The checksum must have been
/// [classified](crate::checksum::classify) before. `head` is the first buffer of the frame.
#[must_use]
pub fn solicitation(head: &[u8], packet: &Packet) -> Option<Solicitation> {
    let L4::Icmp(icmp) = packet.l4_header else { return None };
    let ours = !packet.src.is_v4() && icmp.kind == v6::NEIGHBOUR_SOLICITATION && icmp.code == 0;
    // A hop limit below 255 means that a router forwarded it: not from this link.
    if !ours || packet.ttl != 255 || packet.fragment.is_some() {
        return None;
    }
    let message = head.get(usize::from(packet.l4)..packet.end as usize)?;
    let target = message.get(8..MESSAGE_LEN)?.first_chunk().copied().map(Addr::v6)?;
    if target.is_multicast_or_broadcast() || target.is_v4() || target.0 <= 1 {
        return None;
    }
    let source_mac = source_link_layer(&message[MESSAGE_LEN..])?;
    let duplicate_detection = packet.src.0 == 0;
    if duplicate_detection && (source_mac.is_some() || !is_solicited_node(packet.dst)) {
        return None;
    }
    Some(Solicitation { target, source_mac, duplicate_detection })
}

/// Walks the options. The outer `None` means that they are invalid.
fn source_link_layer(mut options: &[u8]) -> Option<Option<MacAddr>> {
    let mut found = None;
    while let [kind, units, ..] = options {
        let len = usize::from(*units) * 8;
        // RFC 4861 §4.6: a message with a zero-length option is discarded.
        if len == 0 {
            return None;
        }
        let option = options.get(..len)?;
        if *kind == SOURCE_LINK_LAYER {
            let mac = MacAddr(*option[2..].first_chunk()?);
            if mac.is_multicast() {
                return None;
            }
            found = Some(mac);
        }
        options = &options[len..];
    }
    options.is_empty().then_some(found)
}

/// ff02::1:ff00:0/104 (RFC 4291 §2.7.1).
fn is_solicited_node(addr: Addr) -> bool {
    addr.0 >> 24 == 0xff02_0000_0000_0000_0000_0001_ff00_0000 >> 24
}
