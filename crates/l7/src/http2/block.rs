//! A header block as it travels: HEADERS and the CONTINUATIONs behind it, nothing between them (RFC 9113 §4.3).

use super::frame::{FrameHeader, HEADER, Violation, flag, kind};

/// CONTINUATIONs of one block (nghttp2: `NGHTTP2_DEFAULT_MAX_CONTINUATIONS`, 8). Without a limit a block of empty
/// frames never ends (CVE-2024-27316).
const MAX_CONTINUATIONS: usize = 8;

/// Octets that HEADERS may carry beside the block: padding with its length, and priority.
const BESIDE_BLOCK: usize = 1 + 255 + 5;

/// A block that is there whole.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Block<'a> {
    /// Octets of its frames.
    pub(super) len: usize,
    /// Its fragments behind one another.
    pub(super) octets: &'a [u8],
}

/// Looks for the end of the block that begins with the HEADERS frame `head` at the start of `bytes`.
///
/// `max_frame` is the payload that its receiver reads, `max_block` the most octets of a block that are waited for.
/// Fragments of several frames are put together in `joined`. `None`: not all there.
pub(super) fn collect<'a>(
    bytes: &'a [u8],
    head: FrameHeader,
    max_frame: u32,
    max_block: usize,
    joined: &'a mut Vec<u8>,
) -> Result<Option<Block<'a>>, Violation> {
    if head.len as usize > max_block + BESIDE_BLOCK {
        return Err(Violation::HEAD_TOO_LARGE);
    }
    let Some(payload) = head.payload(bytes) else { return Ok(None) };
    let first = first_fragment(head, payload)?;
    if head.has(flag::END_HEADERS) {
        return Ok(Some(Block { len: head.total(), octets: first }));
    }
    let Some(len) = find_end(bytes, head, first.len(), max_frame, max_block)? else { return Ok(None) };
    joined.clear();
    joined.extend_from_slice(first);
    let mut rest = bytes.get(head.total()..len).unwrap_or_default();
    while let Some(next) = FrameHeader::parse(rest) {
        joined.extend_from_slice(next.payload(rest).unwrap_or_default());
        rest = rest.get(next.total()..).unwrap_or_default();
    }
    Ok(Some(Block { len, octets: joined }))
}

/// Octets of the frames of a block that HEADERS does not end, if they are there. Copies nothing, because it is asked
/// again with each segment.
fn find_end(
    bytes: &[u8],
    head: FrameHeader,
    first: usize,
    max_frame: u32,
    max_block: usize,
) -> Result<Option<usize>, Violation> {
    let mut len = head.total();
    let mut size = first;
    for number in 0.. {
        let rest = bytes.get(len..).unwrap_or_default();
        let Some(next) = FrameHeader::parse(rest) else { break };
        if next.kind != kind::CONTINUATION || next.stream != head.stream {
            return Err(Violation::PROTOCOL);
        }
        if next.len > max_frame {
            return Err(Violation::FRAME_SIZE);
        }
        if number >= MAX_CONTINUATIONS {
            return Err(Violation::FLOOD);
        }
        size += next.len as usize;
        if size > max_block {
            return Err(Violation::HEAD_TOO_LARGE);
        }
        if next.payload(rest).is_none() {
            break;
        }
        len += next.total();
        if next.has(flag::END_HEADERS) {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

/// The fragment in HEADERS, without padding and priority (RFC 9113 §6.2).
fn first_fragment(head: FrameHeader, payload: &[u8]) -> Result<&[u8], Violation> {
    let mut fragment = payload;
    if head.has(flag::PADDED) {
        let (&padding, behind) = fragment.split_first().ok_or(Violation::FRAME_SIZE)?;
        let len = behind.len().checked_sub(usize::from(padding)).ok_or(Violation::PROTOCOL)?;
        fragment = &behind[..len];
    }
    if head.has(flag::PRIORITY) {
        fragment = fragment.get(5..).ok_or(Violation::FRAME_SIZE)?;
    }
    Ok(fragment)
}

/// The most octets that may stand undecided because of one block.
pub(super) const fn max_undecided(max_block: usize) -> usize {
    max_block + BESIDE_BLOCK + (1 + MAX_CONTINUATIONS) * HEADER
}
