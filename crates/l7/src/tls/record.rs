//! Handshake messages in records (RFC 8446 §5.1), found again where a stream was left.

use super::hello::MAX_HELLO;
use crate::anomaly::Anomaly;

/// Bytes of a record before its fragment.
pub(crate) const RECORD_HEADER: usize = 5;
/// Bytes of a handshake message before its body.
pub(crate) const MESSAGE_HEADER: usize = 4;
/// Record types.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
/// Most bytes of the records of a hello: [`MAX_HELLO`] and their headers, with room for a record of 16 bytes on
/// average, beyond which it is no client's work.
pub const MAX_HELLO_STREAM: usize = 18 * 1024;

/// Most bytes of a plain fragment.
const MAX_FRAGMENT: usize = 1 << 14;
const MAJOR_VERSION: u8 = 3;

/// The header of a record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    /// Bytes of the fragment.
    pub(crate) len: usize,
}

impl Header {
    /// Reads it at the start of `bytes`. `None`: it is not there whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [kind, _, _, high, low] = *bytes.first_chunk::<RECORD_HEADER>()?;
        Some(Self { kind, len: usize::from(u16::from_be_bytes([high, low])) })
    }
}

/// How far a handshake message at the start of a stream has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// It is there, in this many bytes of records.
    Complete(usize),
}

/// Waits for one handshake message at the start of a stream that is shown from its start again and again, without
/// looking twice at what it has seen.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Assembly {
    /// Behind the last whole record.
    at: usize,
    /// Bytes of the message in the records before.
    gathered: usize,
    /// The first bytes of the message: its type and length.
    header: [u8; MESSAGE_HEADER],
}

impl Assembly {
    /// Looks at what is new in `bytes`, the stream from the message's first record on. `kind` is the type that the
    /// message must have.
    pub(crate) fn advance(&mut self, bytes: &[u8], kind: u8) -> Result<Progress, Anomaly> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            plausible(rest)?;
            let Some(record) = Header::read(rest) else { return Ok(Progress::Incomplete) };
            if record.len == 0 || record.len > MAX_FRAGMENT {
                return Err(Anomaly::TlsHello);
            }
            if self.at + RECORD_HEADER + record.len > MAX_HELLO_STREAM {
                return Err(Anomaly::TlsHelloTooLarge);
            }
            let whole = rest.get(RECORD_HEADER..RECORD_HEADER + record.len);
            let fragment = whole.unwrap_or(&rest[RECORD_HEADER..]);
            let mut header = self.header;
            for (to, from) in header.iter_mut().skip(self.gathered).zip(fragment) {
                *to = *from;
            }
            let seen = self.gathered + fragment.len();
            if seen > 0 && header[0] != kind {
                return Err(Anomaly::TlsHello);
            }
            if seen >= MESSAGE_HEADER {
                let [_, length @ ..] = header;
                let len = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                if len > MAX_HELLO {
                    return Err(Anomaly::TlsHelloTooLarge);
                }
                let end = self.gathered + record.len;
                // Another message behind it, before the other side has answered, is nobody's work.
                if end > MESSAGE_HEADER + len {
                    return Err(Anomaly::TlsHello);
                }
                if whole.is_some() && end == MESSAGE_HEADER + len {
                    return Ok(Progress::Complete(self.at + RECORD_HEADER + record.len));
                }
            }
            if whole.is_none() {
                return Ok(Progress::Incomplete);
            }
            self.header = header;
            self.gathered = seen;
            self.at += RECORD_HEADER + record.len;
        }
    }
}

/// Runs `read` on the body of the handshake message in whole records, which needs a copy only if it spans several.
pub(crate) fn with_body<T>(records: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
    let first = Header::read(records).map_or(0, |header| RECORD_HEADER + header.len);
    if first == records.len() {
        return read(records.get(RECORD_HEADER + MESSAGE_HEADER..).unwrap_or_default());
    }
    let mut message = Vec::with_capacity(records.len());
    let mut rest = records;
    while let Some(header) = Header::read(rest) {
        let end = (RECORD_HEADER + header.len).min(rest.len());
        message.extend_from_slice(&rest[RECORD_HEADER..end]);
        rest = &rest[end..];
    }
    read(message.get(MESSAGE_HEADER..).unwrap_or_default())
}

/// Whether what is there of a record's header is one of a handshake record.
fn plausible(bytes: &[u8]) -> Result<(), Anomaly> {
    let right = match bytes {
        [] => true,
        [kind] => *kind == HANDSHAKE,
        [kind, major, ..] => *kind == HANDSHAKE && *major == MAJOR_VERSION,
    };
    if right { Ok(()) } else { Err(Anomaly::TlsNotTls) }
}
