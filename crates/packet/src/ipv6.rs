//! IPv6 header and a bounded walk over extension headers (RFC 8200).
//!
//! The walk accepts what hosts send in earnest and refuses the rest: every header it does not understand is a
//! place where our view of the L4 header and the receiver's could differ.

use crate::addr::Addr;
use crate::ipv4::{self, Quoted};
use crate::packet::{Fragment, proto};
use crate::parse::{Ip, ParseError};

/// Length of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Most extension headers we follow. RFC 8200 §4.1 recommends an order with seven.
const MAX_EXTENSIONS: usize = 8;
/// Most bytes of extension headers; keeps the L4 header well inside the first buffer.
const MAX_EXTENSION_BYTES: usize = 256;
/// Largest payload of a reassembled datagram (16-bit payload length).
const MAX_PAYLOAD: usize = 65_535;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

const OPTION_PAD1: u8 = 0;

/// Where the walk over extension headers ended.
struct Chain {
    proto: u8,
    l4: usize,
    fragment: Option<Fragment>,
}

/// Reads the header at `l3`. `frame_len` is the length over all buffers, `head` the first of them.
#[inline]
pub(crate) fn parse(head: &[u8], l3: usize, frame_len: usize) -> Result<Ip, ParseError> {
    let Some(h) = head.get(l3..).and_then(<[u8]>::first_chunk::<HEADER_LEN>) else {
        return Err(ParseError::Truncated);
    };
    let end = l3 + HEADER_LEN + usize::from(u16::from_be_bytes([h[4], h[5]]));
    let ttl = h[7];
    if h[0] >> 4 != 6 || end > frame_len || ttl == 0 {
        return Err(ParseError::InvalidIp);
    }
    let (src, dst) = addresses(h);
    let next = h[6];
    let l4 = l3 + HEADER_LEN;
    let chain = if is_extension(next) {
        walk(&head[..end.min(head.len())], l4, next, end)?
    } else {
        Chain { proto: next, l4, fragment: None }
    };
    check_addresses(src, dst, chain.proto)?;
    Ok(Ip {
        src,
        dst,
        l4: chain.l4,
        end,
        ttl,
        traffic_class: (h[0] << 4) | (h[1] >> 4),
        proto: chain.proto,
        dont_fragment: true,
        fragment: chain.fragment,
    })
}

fn addresses(h: &[u8; HEADER_LEN]) -> (Addr, Addr) {
    let mut src = [0; 16];
    let mut dst = [0; 16];
    src.copy_from_slice(&h[8..24]);
    dst.copy_from_slice(&h[24..40]);
    (Addr::v6(src), Addr::v6(dst))
}

/// RFC 4291 §2.5, §2.7. The unspecified source is left to neighbour discovery and MLD (RFC 4862 §5.4.2, RFC 3590).
#[inline]
fn check_addresses(src: Addr, dst: Addr, l4_proto: u8) -> Result<(), ParseError> {
    let never = |a: Addr| a.is_v4() || a.0 == 1;
    let unspecified_source = src.0 == 0 && l4_proto != proto::ICMPV6;
    if never(src) || never(dst) || dst.0 == 0 || unspecified_source || src.is_multicast_or_broadcast() {
        return Err(ParseError::InvalidAddress);
    }
    Ok(())
}

/// Headers that are not L4, whether or not we can walk over them.
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// Walks from `at` to the L4 header. `bytes` ends with the datagram or with the first buffer; `end` is where the
/// datagram ends in the frame.
#[cold]
fn walk(bytes: &[u8], mut at: usize, mut next: u8, end: usize) -> Result<Chain, ParseError> {
    let start = at;
    let mut fragment = None;
    let mut destination_options = 0;
    let mut routing_seen = false;
    let mut fragment_seen = false;
    for position in 0..=MAX_EXTENSIONS {
        if !is_extension(next) {
            return Ok(Chain { proto: next, l4: at, fragment });
        }
        // A real fragment must bring its L4 header right behind the fragment header: later fragments cannot say
        // what stands at the end of a longer chain (RFC 7112).
        if position == MAX_EXTENSIONS || fragment.is_some() {
            break;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let &[following, len_field, b2, b3, b4, b5, b6, b7] =
            rest.first_chunk().ok_or(ParseError::Truncated)?;
        let len = if next == FRAGMENT { 8 } else { (usize::from(len_field) + 1) * 8 };
        if at + len - start > MAX_EXTENSION_BYTES {
            break;
        }
        let header = rest.get(..len).ok_or(ParseError::Truncated)?;
        match next {
            HOP_BY_HOP if position == 0 => check_options(&header[2..])?,
            DESTINATION_OPTIONS if destination_options < 2 => {
                destination_options += 1;
                check_options(&header[2..])?;
            }
            // RFC 5095 deprecates type 0; any other type that still has somewhere to go would take the packet
            // past its destination address, which is what policy judged.
            ROUTING if !routing_seen && b2 != 0 && b3 == 0 => routing_seen = true,
            FRAGMENT if !fragment_seen => {
                fragment_seen = true;
                let id = u32::from_be_bytes([b4, b5, b6, b7]);
                let len = end - at - 8;
                fragment = fragment_fields(u16::from_be_bytes([b2, b3]), id, len, at + 8 - start)?;
            }
            _ => break,
        }
        next = following;
        at += len;
    }
    Err(ParseError::Ipv6Extension)
}

/// `None` for an atomic fragment (RFC 6946), which is a whole datagram.
fn fragment_fields(
    field: u16,
    id: u32,
    len: usize,
    unfragmentable: usize,
) -> Result<Option<Fragment>, ParseError> {
    let offset = usize::from(field & 0xfff8);
    let more = field & 1 == 1;
    if offset == 0 && !more {
        return Ok(None);
    }
    ipv4::check_fragment(offset, len, more, MAX_PAYLOAD - unfragmentable)?;
    Ok(Some(Fragment { id, offset: offset as u16, more }))
}

/// Walks the options of a hop-by-hop or destination options header (RFC 8200 §4.2). Accepted are those that a
/// node which does not know them skips, and that is not a jumbogram (RFC 2675, 0xc2), home address (0xc9), or
/// anything else that asks to be discarded when unknown.
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let [kind, rest @ ..] = options {
        if *kind == OPTION_PAD1 {
            options = rest;
            continue;
        }
        let len = usize::from(*rest.first().ok_or(ParseError::Ipv6Extension)?);
        if *kind >> 6 != 0 {
            return Err(ParseError::Ipv6Extension);
        }
        options = rest.get(1 + len..).ok_or(ParseError::Ipv6Extension)?;
    }
    Ok(())
}

/// Reads the header quoted in an ICMPv6 error; lenient about lengths, because the quotation is cut short.
pub(crate) fn parse_quoted(quote: &[u8]) -> Result<Quoted, ParseError> {
    let h = quote.first_chunk::<HEADER_LEN>().ok_or(ParseError::InvalidL4)?;
    if h[0] >> 4 != 6 {
        return Err(ParseError::InvalidL4);
    }
    let (src, dst) = addresses(h);
    if src.is_v4() || dst.is_v4() {
        return Err(ParseError::InvalidL4);
    }
    let next = h[6];
    let chain = if is_extension(next) {
        let end = HEADER_LEN + usize::from(u16::from_be_bytes([h[4], h[5]]));
        let shown = &quote[..end.min(quote.len())];
        walk(shown, HEADER_LEN, next, end).map_err(|_| ParseError::InvalidL4)?
    } else {
        Chain { proto: next, l4: HEADER_LEN, fragment: None }
    };
    let later_fragment = chain.fragment.is_some_and(|f| f.offset != 0);
    Ok(Quoted { src, dst, proto: chain.proto, l4: chain.l4, later_fragment })
}
