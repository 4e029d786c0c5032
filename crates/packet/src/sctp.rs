//! SCTP common header and the type of the first chunk (RFC 9260 §3).

use crate::packet::Sctp;
use crate::parse::ParseError;

/// Length of the common header.
pub const HEADER_LEN: usize = 12;
/// Offset of the CRC32c field in the header.
pub const CHECKSUM_OFFSET: u16 = 8;

/// Length of a chunk header (RFC 9260 §3.2): a packet without any chunk says nothing.
const CHUNK_HEADER_LEN: usize = 4;

/// Reads the header at the start of `bytes`.
#[inline(never)]
pub(crate) fn parse(bytes: &[u8]) -> Result<Sctp, ParseError> {
    let h = bytes.first_chunk::<{ HEADER_LEN + CHUNK_HEADER_LEN }>().ok_or(ParseError::Truncated)?;
    let chunk_len = u16::from_be_bytes([h[14], h[15]]);
    if usize::from(chunk_len) < CHUNK_HEADER_LEN {
        return Err(ParseError::InvalidL4);
    }
    Ok(Sctp {
        src_port: u16::from_be_bytes([h[0], h[1]]),
        dst_port: u16::from_be_bytes([h[2], h[3]]),
        tag: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        first_chunk: h[12],
    })
}
