//! What a response says: as little of it as is told. Whether it is well formed otherwise is for the client to say,
//! whom no policy protects from its own server.

use super::frame::Violation;
use super::hpack::Fields;

/// Status code of a response's head (RFC 9113 §8.3.2), which comes first.
pub(super) fn status(fields: &Fields) -> Result<u16, Violation> {
    let mut list = fields.iter();
    let (Some((b":status", &[a, b, c])), None) =
        (list.next(), list.find(|(name, _)| name.first() == Some(&b':')))
    else {
        return Err(Violation::MESSAGE);
    };
    let digits = [a, b, c];
    if !digits.iter().all(u8::is_ascii_digit) || a == b'0' {
        return Err(Violation::MESSAGE);
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    // RFC 9113 §8.6: there is no switching of protocols.
    if status == 101 { Err(Violation::MESSAGE) } else { Ok(status) }
}

/// RFC 9113 §8.1: trailers have no pseudo-headers.
pub(super) fn check_trailers(fields: &Fields) -> Result<(), Violation> {
    let pseudo = fields.iter().any(|(name, _)| name.first() == Some(&b':'));
    if pseudo { Err(Violation::MESSAGE) } else { Ok(()) }
}

/// `grpc-status`, where it is a number.
pub(super) fn grpc_status(fields: &Fields) -> Option<u32> {
    let (_, value) = fields.iter().find(|(name, _)| *name == b"grpc-status")?;
    core::str::from_utf8(value).ok()?.parse().ok()
}
