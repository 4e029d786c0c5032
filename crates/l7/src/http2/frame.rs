//! Frames (RFC 9113 §4, §6): the header of each, the few that are written here, and what goes wrong with them.

use crate::anomaly::Anomaly;

/// Octets of a frame header.
pub(super) const HEADER: usize = 9;

/// Smallest, and until somebody says otherwise largest, payload that everybody must read (RFC 9113 §4.2).
pub(super) const MIN_MAX_FRAME: u32 = 16_384;

/// Largest value of SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2).
pub(super) const MAX_MAX_FRAME: u32 = (1 << 24) - 1;

/// Largest flow-control window (RFC 9113 §6.9.1).
pub(super) const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Flow-control window before anybody said otherwise (RFC 9113 §6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

/// Frame types (RFC 9113 §6; the last is RFC 9218 §7.1).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
    pub(in super::super) const PRIORITY_UPDATE: u8 = 16;
}

/// Flags.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113 §7).
pub(super) mod code {
    pub(in super::super) const NO_ERROR: u32 = 0;
    pub(in super::super) const PROTOCOL_ERROR: u32 = 1;
    pub(in super::super) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(in super::super) const STREAM_CLOSED: u32 = 5;
    pub(in super::super) const FRAME_SIZE_ERROR: u32 = 6;
    pub(in super::super) const REFUSED_STREAM: u32 = 7;
    pub(in super::super) const COMPRESSION_ERROR: u32 = 9;
    pub(in super::super) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Why a connection ends: what the log says, and what GOAWAY says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub(super) anomaly: Anomaly,
    pub(super) code: u32,
}

impl Violation {
    pub(super) const PREFACE: Self = Self::new(Anomaly::Http2Preface, code::PROTOCOL_ERROR);
    pub(super) const FRAME_SIZE: Self = Self::new(Anomaly::Http2FrameSize, code::FRAME_SIZE_ERROR);
    pub(super) const PROTOCOL: Self = Self::new(Anomaly::Http2Protocol, code::PROTOCOL_ERROR);
    pub(super) const STREAM_CLOSED: Self = Self::new(Anomaly::Http2Protocol, code::STREAM_CLOSED);
    pub(super) const COMPRESSION: Self = Self::new(Anomaly::Http2Compression, code::COMPRESSION_ERROR);
    pub(super) const MESSAGE: Self = Self::new(Anomaly::Http2Message, code::PROTOCOL_ERROR);
    pub(super) const HEAD_TOO_LARGE: Self = Self::new(Anomaly::Http2HeadTooLarge, code::ENHANCE_YOUR_CALM);
    pub(super) const FLOW_CONTROL: Self = Self::new(Anomaly::Http2FlowControl, code::FLOW_CONTROL_ERROR);
    pub(super) const FLOOD: Self = Self::new(Anomaly::Http2Flood, code::ENHANCE_YOUR_CALM);

    const fn new(anomaly: Anomaly, code: u32) -> Self {
        Self { anomaly, code }
    }
}

/// A frame header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    /// Octets of payload.
    pub(super) len: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Stream, without the reserved bit, which is ignored.
    pub(super) stream: u32,
}

impl FrameHeader {
    /// Reads one if it is there whole.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEADER>()?;
        Some(Self {
            len: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MAX_WINDOW,
        })
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Octets of header and payload.
    pub(super) const fn total(self) -> usize {
        HEADER + self.len as usize
    }

    /// The payload, if it is there whole.
    pub(super) fn payload(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(HEADER..self.total())
    }
}

/// Octets of a DATA frame in front of its data, and octets of data without padding; `None`: not there yet.
pub(super) fn data_len(head: FrameHeader, bytes: &[u8]) -> Result<Option<(usize, u32)>, Violation> {
    if head.stream == 0 {
        return Err(Violation::PROTOCOL);
    }
    if !head.has(flag::PADDED) {
        return Ok(Some((HEADER, head.len)));
    }
    let behind_length = head.len.checked_sub(1).ok_or(Violation::FRAME_SIZE)?;
    let Some(&padding) = bytes.get(HEADER) else { return Ok(None) };
    let data = behind_length.checked_sub(u32::from(padding)).ok_or(Violation::PROTOCOL)?;
    Ok(Some((HEADER + 1, data)))
}

/// A number of four octets, without its reserved bit.
pub(super) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets) & MAX_WINDOW)
}

/// Appends a frame header. No payload written here exceeds [`MIN_MAX_FRAME`].
pub(super) fn write_header(len: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Appends a header block as HEADERS and as many CONTINUATIONs as everybody must be able to read.
pub(super) fn write_headers(block: &[u8], end_stream: bool, stream: u32, out: &mut Vec<u8>) {
    let mut chunks = block.chunks(MIN_MAX_FRAME as usize).peekable();
    let mut kind = kind::HEADERS;
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    while let Some(chunk) = chunks.next() {
        if chunks.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        write_header(chunk.len(), kind, flags, stream, out);
        out.extend_from_slice(chunk);
        kind = kind::CONTINUATION;
        flags = 0;
    }
}

/// Appends RST_STREAM.
pub(super) fn write_reset(stream: u32, code: u32, out: &mut Vec<u8>) {
    write_header(4, kind::RST_STREAM, 0, stream, out);
    out.extend_from_slice(&code.to_be_bytes());
}

/// Appends WINDOW_UPDATE for the connection.
pub(super) fn write_window_update(increment: u32, out: &mut Vec<u8>) {
    write_header(4, kind::WINDOW_UPDATE, 0, 0, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends GOAWAY.
pub(super) fn write_goaway(last_stream: u32, code: u32, out: &mut Vec<u8>) {
    write_header(8, kind::GOAWAY, 0, 0, out);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
}
