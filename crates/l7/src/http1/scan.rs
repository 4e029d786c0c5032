//! The end of a head, found as its bytes come: each byte is looked at once.
//!
//! The scan is where lines are strict. A line ends with CR LF and with nothing else (RFC 9112 §2.2 lets recipients
//! take a bare LF; a recipient that does not would read another message), and holds no control character but tab.
//! What is wrong is said at the byte that is wrong, so it does not depend on how the bytes were cut into segments.

use crate::anomaly::Anomaly;

/// The shortest request line, `A / HTTP/1.1`.
const MIN_REQUEST_LINE: usize = 12;

/// What stands before the fields.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Start {
    Request,
    Response,
    /// Nothing: fields from the first line on (trailers).
    Nothing,
}

/// How much is read.
#[derive(Copy, Clone, Debug)]
pub(super) struct Caps {
    /// Bytes, with the empty line at the end.
    pub(super) bytes: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// Where a scan stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Scan {
    /// Everything before it was looked at.
    at: usize,
    /// Where its line began.
    line: usize,
    /// Lines that ended.
    lines: usize,
}

/// What was found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The end may still come.
    Partial,
    /// A head of `len` bytes with that many lines before the empty one. No lines: an empty line where a start line
    /// was expected, or no trailers.
    End { len: usize, lines: usize },
}

impl Scan {
    /// Before a head.
    pub(super) const START: Self = Self { at: 0, line: 0, lines: 0 };

    /// Goes on, in the same bytes and those behind them.
    pub(super) fn run(&mut self, bytes: &[u8], start: Start, caps: Caps) -> Result<Found, Anomaly> {
        let most = caps.fields.saturating_add(usize::from(start != Start::Nothing));
        let seen = &bytes[..bytes.len().min(caps.bytes)];
        loop {
            self.at += plain(&seen[self.at.min(seen.len())..]);
            match (seen.get(self.at), seen.get(self.at + 1)) {
                (None, _) | (Some(b'\r'), None) => break,
                (Some(b'\r'), Some(b'\n')) => {}
                (Some(b'\r' | b'\n'), _) => return Err(Anomaly::HttpBareLineFeed),
                (Some(_), _) if self.lines == 0 && start != Start::Nothing => {
                    return Err(Anomaly::HttpStartLine);
                }
                (Some(_), _) => return Err(Anomaly::HttpHeader),
            }
            let line = &seen[self.line..self.at];
            self.at += 2;
            if line.is_empty() {
                return Ok(Found::End { len: self.at, lines: self.lines });
            }
            if self.lines == 0 {
                start.check(line)?;
            }
            self.line = self.at;
            self.lines += 1;
            if self.lines > most {
                return Err(Anomaly::HttpHeadTooLarge);
            }
        }
        if bytes.len() >= caps.bytes { Err(Anomaly::HttpHeadTooLarge) } else { Ok(Found::Partial) }
    }
}

impl Start {
    /// Looks at the first line as soon as it is whole, since a peer that speaks something else may never send the
    /// empty line.
    fn check(self, line: &[u8]) -> Result<(), Anomaly> {
        let fits = match self {
            Self::Request => {
                line.len() >= MIN_REQUEST_LINE
                    && (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"))
            }
            Self::Response => line.starts_with(b"HTTP/1.1 ") || line.starts_with(b"HTTP/1.0 "),
            Self::Nothing => true,
        };
        if fits { Ok(()) } else { Err(Anomaly::HttpStartLine) }
    }
}

/// How many bytes from the first on are neither a line end nor a control character.
fn plain(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 255;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte below 0x20; a borrow can only spoil bytes behind the first such one.
        let low = word.wrapping_sub(EACH * 0x20) & !word & (EACH * 0x80);
        if low == 0 {
            at += 8;
            continue;
        }
        at += low.trailing_zeros() as usize / 8;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().take_while(|&&byte| byte >= 0x20 || byte == b'\t').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { bytes: 64, fields: 3 };

    fn whole(bytes: &[u8], start: Start) -> Result<Found, Anomaly> {
        let found = Scan::default().run(bytes, start, CAPS);
        let mut scan = Scan::default();
        let mut stepwise = Ok(Found::Partial);
        for len in 1..=bytes.len() {
            stepwise = scan.run(&bytes[..len], start, CAPS);
            if stepwise != Ok(Found::Partial) {
                break;
            }
        }
        assert_eq!(found, stepwise, "{}", bytes.escape_ascii());
        found
    }

    #[test]
    fn the_end_of_a_head_is_its_first_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost:\ta\r\n\r\n";
        assert_eq!(whole(head, Start::Request), Ok(Found::End { len: 27, lines: 2 }));
        assert_eq!(whole(&head[..26], Start::Request), Ok(Found::Partial));
        assert_eq!(whole(b"\r\nGET", Start::Request), Ok(Found::End { len: 2, lines: 0 }));
        assert_eq!(whole(b"HTTP/1.0 200 \r\n\r\n", Start::Response), Ok(Found::End { len: 17, lines: 1 }));
        assert_eq!(whole(b"\r\n", Start::Nothing), Ok(Found::End { len: 2, lines: 0 }));
        assert_eq!(whole(b"a: b\r\n\r\nrest", Start::Nothing), Ok(Found::End { len: 8, lines: 1 }));
    }

    #[test]
    fn the_byte_that_is_wrong_is_named() {
        for (bytes, start, anomaly) in [
            (&b"GET / HTTP/1.1\nHost: a\n\n"[..], Start::Request, Anomaly::HttpBareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Start::Request, Anomaly::HttpBareLineFeed),
            (b"GET /\0 HTTP/1.1\r\n", Start::Request, Anomaly::HttpStartLine),
            (b"GET / HTTP/1.1\r\nHost: a\x0b\r\n\r\n", Start::Request, Anomaly::HttpHeader),
            (b"GET / HTTP/1.2\r\n", Start::Request, Anomaly::HttpStartLine),
            (b" / HTTP/1.1\r\n", Start::Request, Anomaly::HttpStartLine),
            (b"SSH-2.0-OpenSSH_9.9\r\n", Start::Response, Anomaly::HttpStartLine),
            (b"\x16\x03\x01\x02\x00", Start::Request, Anomaly::HttpStartLine),
            (b"a: b\0\r\n\r\n", Start::Nothing, Anomaly::HttpHeader),
            (b"GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\n", Start::Request, Anomaly::HttpHeadTooLarge),
            (&[b'a'; 64], Start::Request, Anomaly::HttpHeadTooLarge),
        ] {
            assert_eq!(whole(bytes, start), Err(anomaly), "{}", bytes.escape_ascii());
        }
        assert_eq!(whole(&[b'a'; 63], Start::Request), Ok(Found::Partial));
    }

    #[test]
    fn every_byte_at_every_place_of_a_word_is_classed() {
        for at in 0..24 {
            for byte in 0..=255 {
                let mut bytes = [b'x'; 24];
                bytes[at] = byte;
                let stops = byte < 0x20 && byte != b'\t';
                assert_eq!(plain(&bytes), if stops { at } else { 24 }, "{byte:#x} at {at}");
            }
        }
    }
}
