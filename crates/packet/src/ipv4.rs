//! IPv4 header (RFC 791): lengths, checksum, options, fragment fields, addresses.

use crate::addr::Addr;
use crate::checksum;
use crate::packet::Fragment;
use crate::parse::{Ip, ParseError};

/// Length of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

/// Largest IP datagram, header included (16-bit total length).
const MAX_DATAGRAM: usize = 65_535;

const FLAG_RESERVED: u16 = 0x8000;
const FLAG_DONT_FRAGMENT: u16 = 0x4000;
const FLAG_MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LSRR: u8 = 131;
const OPTION_SSRR: u8 = 137;

/// Reads the header at `l3`. `frame_len` is the length over all buffers, `head` the first of them.
#[inline(always)]
pub(crate) fn parse(head: &[u8], l3: usize, frame_len: usize) -> Result<Ip, ParseError> {
    let h = first_20(head, l3)?;
    let header_len = usize::from(h[0] & 0x0f) * 4;
    check_lengths(h, header_len, l3, frame_len)?;
    let Some(whole) = head.get(l3..l3 + header_len) else {
        return Err(ParseError::Truncated);
    };
    if checksum::sum(whole) != 0xffff {
        return Err(ParseError::Ipv4Checksum);
    }
    check_options(&whole[MIN_HEADER_LEN..])?;
    let ip = fields(h, header_len, l3)?;
    let flags = flags(h);
    let fragment = if flags & (FLAG_MORE_FRAGMENTS | OFFSET_MASK) == 0 {
        None
    } else {
        let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
        Some(fragment_fields(flags, id, header_len, ip.end - l3)?)
    };
    Ok(Ip { fragment, ..ip })
}

/// [`parse`] for what nearly every packet has: no options and no fragment. `None`: this one is not like that.
#[inline(always)]
pub(crate) fn parse_plain(head: &[u8], l3: usize, frame_len: usize) -> Result<Option<Ip>, ParseError> {
    let h = first_20(head, l3)?;
    if h[0] != 0x45 || flags(h) & (FLAG_MORE_FRAGMENTS | OFFSET_MASK) != 0 {
        return Ok(None);
    }
    check_lengths(h, MIN_HEADER_LEN, l3, frame_len)?;
    if checksum::sum_20(h) != 0xffff {
        return Err(ParseError::Ipv4Checksum);
    }
    fields(h, MIN_HEADER_LEN, l3).map(Some)
}

#[inline(always)]
fn first_20(head: &[u8], l3: usize) -> Result<&[u8; MIN_HEADER_LEN], ParseError> {
    head.get(l3..).and_then(<[u8]>::first_chunk).ok_or(ParseError::Truncated)
}

#[inline(always)]
fn flags(h: &[u8; MIN_HEADER_LEN]) -> u16 {
    u16::from_be_bytes([h[6], h[7]])
}

#[inline(always)]
fn check_lengths(
    h: &[u8; MIN_HEADER_LEN],
    header_len: usize,
    l3: usize,
    frame_len: usize,
) -> Result<(), ParseError> {
    let total_len = usize::from(u16::from_be_bytes([h[2], h[3]]));
    let ttl = h[8];
    if h[0] >> 4 != 4
        || header_len < MIN_HEADER_LEN
        || total_len < header_len
        || total_len > frame_len - l3
        || flags(h) & FLAG_RESERVED != 0
        || ttl == 0
    {
        return Err(ParseError::InvalidIp);
    }
    Ok(())
}

/// The values of a header whose lengths and sum are right, as of a packet that is no fragment.
#[inline(always)]
fn fields(h: &[u8; MIN_HEADER_LEN], header_len: usize, l3: usize) -> Result<Ip, ParseError> {
    let src = u32::from_be_bytes([h[12], h[13], h[14], h[15]]);
    let dst = u32::from_be_bytes([h[16], h[17], h[18], h[19]]);
    check_addresses(src, dst)?;
    Ok(Ip {
        src: Addr::v4(src.to_be_bytes()),
        dst: Addr::v4(dst.to_be_bytes()),
        l4: l3 + header_len,
        end: l3 + usize::from(u16::from_be_bytes([h[2], h[3]])),
        ttl: h[8],
        traffic_class: h[1],
        proto: h[9],
        dont_fragment: flags(h) & FLAG_DONT_FRAGMENT != 0,
        fragment: None,
    })
}

/// RFC 1122 §3.2.1.3: what may not be a source, and what never appears on a link as a destination.
#[inline]
fn check_addresses(src: u32, dst: u32) -> Result<(), ParseError> {
    let this_net_or_loopback = |a: u32| matches!(a >> 24, 0 | 127);
    if this_net_or_loopback(src) || this_net_or_loopback(dst) || src >> 28 == 0xe || src == u32::MAX {
        return Err(ParseError::InvalidAddress);
    }
    Ok(())
}

/// Walks the options. Source routes would let the sender choose a path around the policy, so they are refused.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let [kind, rest @ ..] = options {
        match *kind {
            OPTION_END => return Ok(()),
            OPTION_NOP => options = rest,
            OPTION_LSRR | OPTION_SSRR => return Err(ParseError::InvalidIp),
            _ => {
                let len = usize::from(*rest.first().ok_or(ParseError::InvalidIp)?);
                if len < 2 {
                    return Err(ParseError::InvalidIp);
                }
                options = options.get(len..).ok_or(ParseError::InvalidIp)?;
            }
        }
    }
    Ok(())
}

#[cold]
fn fragment_fields(flags: u16, id: u32, header_len: usize, total_len: usize) -> Result<Fragment, ParseError> {
    let offset = usize::from(flags & OFFSET_MASK) * 8;
    let more = flags & FLAG_MORE_FRAGMENTS != 0;
    let len = total_len - header_len;
    // The reassembled datagram carries this header again, so its length counts against the limit.
    check_fragment(offset, len, more, MAX_DATAGRAM - header_len)?;
    Ok(Fragment { id, offset: offset as u16, more })
}

/// Rules that both families share. `limit` is the most payload a reassembled datagram may have.
pub(crate) fn check_fragment(offset: usize, len: usize, more: bool, limit: usize) -> Result<(), ParseError> {
    if len == 0 || offset + len > limit || (more && !len.is_multiple_of(8)) {
        return Err(ParseError::InvalidFragment);
    }
    Ok(())
}

/// Source, destination, protocol and L4 offset of the header quoted in an ICMP error; `None` for a later fragment.
pub(crate) struct Quoted {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) proto: u8,
    pub(crate) l4: usize,
    pub(crate) later_fragment: bool,
}

/// Reads a quoted header. Checksum, TTL and total length are not looked at: routers on the way changed them, and
/// the quotation is cut short.
pub(crate) fn parse_quoted(quote: &[u8]) -> Result<Quoted, ParseError> {
    let h = quote.first_chunk::<MIN_HEADER_LEN>().ok_or(ParseError::InvalidL4)?;
    let header_len = usize::from(h[0] & 0x0f) * 4;
    if h[0] >> 4 != 4 || header_len < MIN_HEADER_LEN {
        return Err(ParseError::InvalidL4);
    }
    let flags = u16::from_be_bytes([h[6], h[7]]);
    Ok(Quoted {
        src: Addr::v4([h[12], h[13], h[14], h[15]]),
        dst: Addr::v4([h[16], h[17], h[18], h[19]]),
        proto: h[9],
        l4: header_len,
        later_fragment: flags & OFFSET_MASK != 0,
    })
}
