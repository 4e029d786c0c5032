//! Chunked bodies (RFC 9112 §7.1).

use crate::anomaly::Anomaly;

/// The longest line with a size, extensions included.
const MAX_SIZE_LINE: usize = 256;
/// Largest size of a chunk that is believed.
const MAX_CHUNK: u64 = 1 << 60;
/// Bytes of a trailer section.
pub(super) const MAX_TRAILERS: usize = 8 * 1024;
/// Fields of a trailer section.
pub(super) const MAX_TRAILER_FIELDS: usize = 32;

/// Fields that say how a message is framed, routed, authenticated or read: in trailers they would come behind the
/// decisions that they belong to (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&str; 24] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "if-match",
    "if-none-match",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// A line with the size of a chunk: its length and that size, or `None` while it is not whole.
///
/// One to sixteen hexadecimal digits; extensions stand behind a semicolon right after them and hold no control
/// characters; CR LF. No white space before the semicolon: recipients differ.
pub(super) fn size_line(bytes: &[u8]) -> Result<Option<(usize, u64)>, Anomaly> {
    let mut size = 0u64;
    let mut digits = 0;
    let mut extension = false;
    for (at, &byte) in bytes.iter().enumerate() {
        if at >= MAX_SIZE_LINE {
            return Err(Anomaly::HttpChunk);
        }
        match byte {
            b'\r' if digits > 0 => {
                return match bytes.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((at + 2, size))),
                    Some(_) => Err(Anomaly::HttpChunk),
                };
            }
            b'\t' | b' '..=b'~' if extension => {}
            b';' if digits > 0 => extension = true,
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(Anomaly::HttpChunk)?;
                digits += 1;
                size = size << 4 | u64::from(digit);
                if digits > 16 || size > MAX_CHUNK {
                    return Err(Anomaly::HttpChunk);
                }
            }
        }
    }
    Ok(None)
}

/// The line end behind the bytes of a chunk: whether it is whole.
pub(super) fn data_end(bytes: &[u8]) -> Result<bool, Anomaly> {
    match bytes {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', ..] => Ok(true),
        _ => Err(Anomaly::HttpChunk),
    }
}

/// Looks at a whole trailer section, with the empty line at its end.
pub(super) fn check_trailers(section: &[u8]) -> Result<(), Anomaly> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err(Anomaly::HttpTrailer);
    };
    let refused =
        fields.iter().any(|field| NOT_IN_TRAILERS.iter().any(|no| field.name.eq_ignore_ascii_case(no)));
    if refused { Err(Anomaly::HttpTrailer) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (line, expected) in [
            (&b"0\r\n"[..], Ok(Some((3, 0)))),
            (b"1aF\r\nrest", Ok(Some((5, 0x1af)))),
            (b"5;a=b;c=\"d e\"\r\n", Ok(Some((15, 5)))),
            (b"1000000000000000\r\n", Ok(Some((18, 1 << 60)))),
            (b"", Ok(None)),
            (b"5", Ok(None)),
            (b"5\r", Ok(None)),
            (b"\r\n", Err(Anomaly::HttpChunk)),
            (b"5\n", Err(Anomaly::HttpChunk)),
            (b"5\rx", Err(Anomaly::HttpChunk)),
            (b"5 \r\n", Err(Anomaly::HttpChunk)),
            (b" 5\r\n", Err(Anomaly::HttpChunk)),
            (b"+5\r\n", Err(Anomaly::HttpChunk)),
            (b"-5\r\n", Err(Anomaly::HttpChunk)),
            (b"0x5\r\n", Err(Anomaly::HttpChunk)),
            (b";a\r\n", Err(Anomaly::HttpChunk)),
            (b"5;a\0\r\n", Err(Anomaly::HttpChunk)),
            (b"5;a\n\r\n", Err(Anomaly::HttpChunk)),
            (b"1000000000000001\r\n", Err(Anomaly::HttpChunk)),
            (b"00000000000000001\r\n", Err(Anomaly::HttpChunk)),
        ] {
            assert_eq!(size_line(line), expected, "{}", line.escape_ascii());
        }
        let mut long = b"5;".to_vec();
        long.resize(256, b'a');
        assert_eq!(size_line(&long), Ok(None));
        long.push(b'a');
        assert_eq!(size_line(&long), Err(Anomaly::HttpChunk));
    }

    #[test]
    fn trailers() {
        for (section, expected) in [
            (&b"\r\n"[..], Ok(())),
            (b"Digest: abc\r\nX-Time: 1\r\n\r\n", Ok(())),
            (b"Content-Length: 5\r\n\r\n", Err(Anomaly::HttpTrailer)),
            (b"a: b\r\nTRANSFER-ENCODING: chunked\r\n\r\n", Err(Anomaly::HttpTrailer)),
            (b"Host: other\r\n\r\n", Err(Anomaly::HttpTrailer)),
            (b"a : b\r\n\r\n", Err(Anomaly::HttpTrailer)),
            (b"a: b\r\n c\r\n\r\n", Err(Anomaly::HttpTrailer)),
            (b"GET / HTTP/1.1\r\n\r\n", Err(Anomaly::HttpTrailer)),
        ] {
            assert_eq!(check_trailers(section), expected, "{}", section.escape_ascii());
        }
    }
}
