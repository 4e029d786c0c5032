//! Ethernet II: which header follows. VLAN tags and LLC are refused here.

use crate::addr::MacAddr;
use crate::parse::ParseError;

/// Length of an Ethernet II header without tags.
pub const HEADER_LEN: usize = 14;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Tag protocol identifiers: 802.1Q, 802.1ad, and the QinQ value in use before 802.1ad.
const VLAN_TPIDS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// What an Ethernet frame carries, of the protocols that we handle.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum EtherType {
    Ipv4,
    Ipv6,
    Arp,
}

/// The Ethernet header's values.
#[derive(Copy, Clone)]
pub(crate) struct Header {
    pub(crate) dst: MacAddr,
    pub(crate) src: MacAddr,
    pub(crate) ether_type: EtherType,
}

/// Reads the header at the start of a frame.
#[inline(always)]
pub(crate) fn parse(frame: &[u8]) -> Result<Header, ParseError> {
    let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]) = frame.first_chunk() else {
        return Err(ParseError::Truncated);
    };
    let ether_type = match u16::from_be_bytes([t0, t1]) {
        IPV4 => EtherType::Ipv4,
        IPV6 => EtherType::Ipv6,
        ARP => EtherType::Arp,
        tpid if VLAN_TPIDS.contains(&tpid) => return Err(ParseError::Vlan),
        _ => return Err(ParseError::UnsupportedL2),
    };
    Ok(Header { dst: MacAddr([d0, d1, d2, d3, d4, d5]), src: MacAddr([s0, s1, s2, s3, s4, s5]), ether_type })
}
