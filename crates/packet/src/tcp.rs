//! TCP header (RFC 9293 §3.1): data offset, flags, and a strict walk over the options.

use crate::packet::{Tcp, TcpFlags};
use crate::parse::ParseError;

/// Length of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: u16 = 16;

/// RFC 7323 §2.3: a larger shift count is used as 14.
const MAX_WINDOW_SCALE: u8 = 14;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
const OPTION_TIMESTAMPS: u8 = 8;

/// Two no-operations and a timestamps option: what nearly every segment carries (RFC 7323 appendix A).
const ALIGNED_TIMESTAMPS: [u8; 4] = [OPTION_NOP, OPTION_NOP, OPTION_TIMESTAMPS, 10];

/// Options of a SYN.
#[derive(Default)]
struct SynOptions {
    window_scale: Option<u8>,
    mss: Option<u16>,
    sack_permitted: bool,
}

/// Reads the header at the start of `bytes`; `len` counts the bytes of the segment over all buffers. Answers the
/// header's values and its length.
#[inline(always)]
pub(crate) fn parse(bytes: &[u8], len: usize) -> Result<(Tcp, usize), ParseError> {
    let h = bytes.first_chunk::<MIN_HEADER_LEN>().ok_or(ParseError::Truncated)?;
    let header_len = usize::from(h[12] >> 4) * 4;
    let flags = TcpFlags(h[13]);
    if header_len < MIN_HEADER_LEN || !flags_make_sense(flags) {
        return Err(ParseError::InvalidL4);
    }
    if header_len > len {
        return Err(ParseError::Truncated);
    }
    let options = bytes.get(MIN_HEADER_LEN..header_len).ok_or(ParseError::Truncated)?;
    let plain = options.is_empty() || (options.len() == 12 && options[..4] == ALIGNED_TIMESTAMPS);
    let found = if plain { SynOptions::default() } else { read_options(options, flags.syn())? };
    let tcp = Tcp {
        src_port: u16::from_be_bytes([h[0], h[1]]),
        dst_port: u16::from_be_bytes([h[2], h[3]]),
        seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        flags,
        window: u16::from_be_bytes([h[14], h[15]]),
        payload_len: (len - header_len) as u32,
        window_scale: found.window_scale,
        mss: found.mss,
        sack_permitted: found.sack_permitted,
    };
    Ok((tcp, header_len))
}

/// Combinations that no stack sends and that receivers interpret differently.
#[inline]
fn flags_make_sense(flags: TcpFlags) -> bool {
    const CONTROL: u8 =
        TcpFlags::FIN | TcpFlags::SYN | TcpFlags::RST | TcpFlags::PSH | TcpFlags::ACK | TcpFlags::URG;
    flags.0 & CONTROL != 0 && !(flags.syn() && (flags.fin() || flags.rst()))
}

/// Walks all options. Lengths of those we know must be theirs; an option that fixes a connection's parameters may
/// appear once, because stacks differ in whether the first or the last counts.
#[inline(never)]
fn read_options(mut options: &[u8], syn: bool) -> Result<SynOptions, ParseError> {
    let mut found = SynOptions::default();
    while let [kind, rest @ ..] = options {
        match *kind {
            OPTION_END => break,
            OPTION_NOP => {
                options = rest;
                continue;
            }
            _ => {}
        }
        let len = usize::from(*rest.first().ok_or(ParseError::InvalidL4)?);
        let option = options.get(..len).ok_or(ParseError::InvalidL4)?;
        let known = match (*kind, option) {
            (OPTION_MSS, &[_, _, a, b]) => !syn || found.mss.replace(u16::from_be_bytes([a, b])).is_none(),
            (OPTION_WINDOW_SCALE, &[_, _, shift]) => {
                !syn || found.window_scale.replace(shift.min(MAX_WINDOW_SCALE)).is_none()
            }
            (OPTION_SACK_PERMITTED, &[_, _]) => {
                found.sack_permitted |= syn;
                true
            }
            (OPTION_TIMESTAMPS, _) => len == 10,
            (OPTION_SACK, _) => len >= 10 && len % 8 == 2,
            (OPTION_MSS | OPTION_WINDOW_SCALE | OPTION_SACK_PERMITTED, _) => false,
            _ => len >= 2,
        };
        if !known {
            return Err(ParseError::InvalidL4);
        }
        options = &options[len..];
    }
    Ok(found)
}
