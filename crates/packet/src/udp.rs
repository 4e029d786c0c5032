//! UDP header (RFC 768): ports and the length rule.

use crate::packet::L4;
use crate::parse::ParseError;

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: u16 = 6;

/// Reads the header at the start of `bytes`; `len` counts the bytes of the IP payload over all buffers.
///
/// The length field must cover exactly the IP payload (for a first fragment, more than it): bytes beyond it would
/// be seen by one receiver and not by another, and a zero length belongs to jumbograms, which we refuse.
#[inline(always)]
pub(crate) fn parse(bytes: &[u8], len: usize, first_fragment: bool) -> Result<L4, ParseError> {
    let &[s0, s1, d0, d1, l0, l1, _, _] = bytes.first_chunk().ok_or(ParseError::Truncated)?;
    let announced = usize::from(u16::from_be_bytes([l0, l1]));
    let fits = if first_fragment { announced > len } else { announced == len };
    if announced < HEADER_LEN || !fits {
        return Err(ParseError::InvalidL4);
    }
    Ok(L4::Udp { src_port: u16::from_be_bytes([s0, s1]), dst_port: u16::from_be_bytes([d0, d1]) })
}
