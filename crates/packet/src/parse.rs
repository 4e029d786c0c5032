//! One frame → [`Parsed`] or [`ParseError`], in one forward pass.

use crate::addr::Addr;
use crate::ether::{self, EtherType};
use crate::packet::{Fragment, L4, Packet, Parsed, proto};
use crate::{arp, icmp, ipv4, ipv6, sctp, tcp, udp};

/// Why a frame is not an acceptable packet. Each is also a drop reason, a counter and a log field.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum ParseError {
    /// Shorter than the header it announces.
    #[error("truncated header")]
    Truncated,
    /// An EtherType that is neither IP nor ARP.
    #[error("unsupported L2 protocol")]
    UnsupportedL2,
    /// A VLAN tag.
    #[error("VLAN tag")]
    Vlan,
    /// Wrong version, header length, total length or reserved field in the IP header.
    #[error("invalid IP header")]
    InvalidIp,
    /// The IPv4 header checksum is wrong.
    #[error("invalid IPv4 header checksum")]
    Ipv4Checksum,
    /// Loopback, unspecified, multicast or IPv4-mapped address where none may be.
    #[error("invalid address")]
    InvalidAddress,
    /// Unknown, repeated, misordered or too many IPv6 extension headers, a routing header of type 0, or a
    /// chain beyond the first buffer.
    #[error("invalid IPv6 extension header")]
    Ipv6Extension,
    /// A fragment that is tiny, overlong, or splits the L4 header.
    #[error("invalid fragment")]
    InvalidFragment,
    /// Data offset, length or options that contradict each other.
    #[error("invalid L4 header")]
    InvalidL4,
    /// An ARP packet that is not IPv4 over Ethernet or contradicts itself.
    #[error("invalid ARP packet")]
    InvalidArp,
}

/// What both IP versions tell the rest of the parse. Offsets count from the start of the frame.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Ip {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) l4: usize,
    pub(crate) end: usize,
    pub(crate) ttl: u8,
    pub(crate) traffic_class: u8,
    pub(crate) proto: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) fragment: Option<Fragment>,
}

/// Reads a frame of `frame_len` bytes whose first buffer is `head` (at least 1,500 bytes, or all of it).
///
/// Does not verify L4 checksums: see [`checksum`](crate::checksum).
///
/// # Errors
/// See [`ParseError`]. Every offset in an `Ok` answer lies within `head`, except `end`, which lies within the frame.
#[inline]
pub fn parse(head: &[u8], frame_len: usize) -> Result<Parsed, ParseError> {
    let mut parsed = Err(ParseError::Truncated);
    parse_into(head, frame_len, &mut parsed);
    parsed
}

/// [`parse`] with its answer written where it stays: put together elsewhere and moved it takes some 70 instructions more.
#[inline(always)]
pub fn parse_into(head: &[u8], frame_len: usize, to: &mut Result<Parsed, ParseError>) {
    if let Err(error) = read(head, frame_len, to) {
        *to = Err(error);
    }
}

/// Writes what it read to `to` and answers `Ok`, or what is wrong.
#[inline(always)]
fn read(head: &[u8], frame_len: usize, to: &mut Result<Parsed, ParseError>) -> Result<(), ParseError> {
    let head = &head[..head.len().min(frame_len)];
    let eth = ether::parse(head)?;
    let l3 = ether::HEADER_LEN;
    match eth.ether_type {
        EtherType::Ipv4 => match ipv4::parse_plain(head, l3, frame_len)? {
            Some(ip) => finish(head, &eth, &ip, to),
            None => read_rare_ipv4(head, &eth, frame_len, to),
        },
        EtherType::Ipv6 => finish(head, &eth, &ipv6::parse(head, l3, frame_len)?, to),
        EtherType::Arp => {
            *to = Ok(Parsed::Arp(arp::parse(head, &eth)?));
            Ok(())
        }
    }
}

/// IPv4 with options, or a fragment of it.
#[cold]
fn read_rare_ipv4(
    head: &[u8],
    eth: &ether::Header,
    frame_len: usize,
    to: &mut Result<Parsed, ParseError>,
) -> Result<(), ParseError> {
    finish(head, eth, &ipv4::parse(head, ether::HEADER_LEN, frame_len)?, to)
}

/// Reads L4 and puts the packet together. Inlined once for each family, with TCP and UDP apart from the rest: each of them
/// writes its own answer, so that none is chosen from and copied.
#[inline(always)]
fn finish(
    head: &[u8],
    eth: &ether::Header,
    ip: &Ip,
    to: &mut Result<Parsed, ParseError>,
) -> Result<(), ParseError> {
    if ip.fragment.is_none() && matches!(ip.proto, proto::TCP | proto::UDP) {
        let bytes = head.get(ip.l4..ip.end.min(head.len())).ok_or(ParseError::Truncated)?;
        let len = ip.end - ip.l4;
        if ip.proto == proto::TCP {
            let (header, header_len) = tcp::parse(bytes, len)?;
            *to = Ok(Parsed::Ip(assemble(eth, ip, L4::Tcp(header), header_len)));
        } else {
            let header = udp::parse(bytes, len, false)?;
            *to = Ok(Parsed::Ip(assemble(eth, ip, header, udp::HEADER_LEN)));
        }
        return Ok(());
    }
    let (l4_header, len) = read_l4(head, ip)?;
    *to = Ok(Parsed::Ip(assemble(eth, ip, l4_header, len)));
    Ok(())
}

#[inline(always)]
fn assemble(eth: &ether::Header, ip: &Ip, l4_header: L4, l4_len: usize) -> Packet {
    Packet {
        eth_src: eth.src,
        eth_dst: eth.dst,
        src: ip.src,
        dst: ip.dst,
        l3: ether::HEADER_LEN as u16,
        l4: ip.l4 as u16,
        payload: (ip.l4 + l4_len) as u16,
        end: ip.end as u32,
        ttl: ip.ttl,
        traffic_class: ip.traffic_class,
        proto: ip.proto,
        dont_fragment: ip.dont_fragment,
        fragment: ip.fragment,
        l4_header,
    }
}

/// Reads the L4 header; answers it and its length (zero where there is none to read).
#[inline(always)]
fn read_l4(head: &[u8], ip: &Ip) -> Result<(L4, usize), ParseError> {
    let len = ip.end - ip.l4;
    let bytes = head.get(ip.l4..ip.end.min(head.len())).ok_or(ParseError::Truncated)?;
    match ip.fragment {
        None => l4_header(bytes, len, ip, false),
        Some(fragment) => fragment_l4(bytes, len, ip, fragment),
    }
}

/// Fragments: the first must bring the whole L4 header, a later one must not be able to overwrite it
/// (RFC 1858 §4, RFC 3128, RFC 8200 §5).
#[cold]
fn fragment_l4(bytes: &[u8], len: usize, ip: &Ip, fragment: Fragment) -> Result<(L4, usize), ParseError> {
    if fragment.offset == 0 {
        return match l4_header(bytes, len, ip, true) {
            Err(ParseError::Truncated) => Err(ParseError::InvalidFragment),
            other => other,
        };
    }
    let least_header = match ip.proto {
        proto::TCP => tcp::MIN_HEADER_LEN,
        proto::SCTP => sctp::HEADER_LEN,
        _ => 8,
    };
    if usize::from(fragment.offset) < least_header {
        return Err(ParseError::InvalidFragment);
    }
    Ok((L4::Fragment, 0))
}

#[inline(always)]
fn l4_header(bytes: &[u8], len: usize, ip: &Ip, first_fragment: bool) -> Result<(L4, usize), ParseError> {
    match ip.proto {
        proto::TCP => tcp::parse(bytes, len).map(|(header, n)| (L4::Tcp(header), n)),
        proto::UDP => udp::parse(bytes, len, first_fragment).map(|header| (header, udp::HEADER_LEN)),
        proto::ICMP | proto::ICMPV6 => {
            // Either one in the other's family has no meaning, and stacks differ in what they do with it.
            if (ip.proto == proto::ICMP) != ip.src.is_v4() {
                return Err(ParseError::InvalidL4);
            }
            icmp::parse(bytes, ip.proto).map(|header| (L4::Icmp(header), icmp::HEADER_LEN))
        }
        proto::SCTP => sctp::parse(bytes).map(|header| (L4::Sctp(header), sctp::HEADER_LEN)),
        _ => Ok((L4::Other, 0)),
    }
}

#[cfg(test)]
mod tests;
