//! HTTP/2 by upgrade from HTTP/1.1 (RFC 7540 §3.2), which old clients and curl's `--http2` still use.

use super::Http2;
use super::peer::{MAX_SETTINGS, SETTING, Values, must_bound};
use super::request::Request;
use crate::http1::Remembered;
use crate::inspector::{Settings, Side};

/// The settings of an offer to upgrade, decoded, by the value of its HTTP2-Settings field. `None`: that is no offer that
/// can be let through. Settings that the server would have to be told otherwise are none, because an HTTP/1 head cannot be
/// said in other words without being said anew.
pub(crate) fn offered(value: &[u8]) -> Option<Box<[u8]>> {
    let payload = base64url(value)?;
    Values::default().changed(&payload, Side::Client).ok()?;
    (!must_bound(&payload, Side::Client, false)).then(|| payload.into_boxed_slice())
}

impl Http2 {
    /// A connection that becomes HTTP/2 behind the server's `101`: what the client sends next is its preface, what the
    /// server sends next is its first SETTINGS.
    ///
    /// `request` was judged, has passed whole and is now stream 1, which the client has ended. `offer` is what
    /// [`offered`] made of it.
    pub(crate) fn upgraded(settings: &Settings, request: Remembered<'_>, offer: &[u8]) -> Option<Self> {
        let mut http2 = Self::new(settings);
        http2.upgraded = true;
        // RFC 7540 §3.2.1: the 101 acknowledges them.
        let values = http2.client.adopt(offer, Side::Client).ok()?;
        // Servers differ in when they take the table's size from there; the client's SETTINGS say it again.
        http2.server.blocks.decoder().announced(values.header_table);
        let Remembered { at, method, path, host } = request;
        http2.streams.open(1, &Request { method, path, host, ..Request::default() }, at).client_open = false;
        http2.streams.last = 1;
        http2.streams.last_passed = 1;
        Some(http2)
    }
}

/// Decodes base64url without padding (RFC 4648 §5), at most a SETTINGS payload.
fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > (MAX_SETTINGS * SETTING).div_ceil(3) * 4 || text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let mut window = 0u32;
    let mut bits = 0;
    for &octet in text {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        window = window << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((window >> bits) as u8);
        }
    }
    (out.len() % SETTING == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::base64url;

    #[test]
    fn settings_of_an_upgrade() {
        assert_eq!(base64url(b""), Some(vec![]));
        assert_eq!(base64url(b"AAMAAABkAAQAAP__"), Some(vec![0, 3, 0, 0, 0, 100, 0, 4, 0, 0, 255, 255]));
        for wrong in [&b"AAMAAABkAAQAAP//"[..], b"A", b"AAMAAABk=", b"AAMAAABkAA", &[b'A'; 300]] {
            assert_eq!(base64url(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
