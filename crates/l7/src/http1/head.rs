//! Heads of requests and responses, and what they say about framing (RFC 9112 §2 to §6).
//!
//! httparse takes the lines apart; where it or the RFC leaves room, this file does not.

use core::mem::MaybeUninit;

use crate::anomaly::Anomaly;
use crate::http::{Header, Version};

/// Most fields that any setting allows.
pub(super) const MOST_FIELDS: usize = 256;
/// Longest method, in bytes; the longest registered one has 17.
const MAX_METHOD: usize = 64;

/// What the fields of a head say about its message and its connection.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    /// The one `Host`.
    pub(super) host: Option<&'a [u8]>,
    /// The one `Content-Length`.
    pub(super) content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`, once and alone.
    pub(super) chunked: bool,
    /// What `Connection` lists.
    pub(super) connection: Listed,
    /// The protocols of `Upgrade`.
    pub(super) upgrade: Option<Upgrade>,
    /// `HTTP2-Settings`, and whether there are several.
    http2_settings: Option<&'a [u8]>,
    several_settings: bool,
    /// `grpc-status`.
    pub(super) grpc_status: Option<u32>,
}

impl<'a> Facts<'a> {
    /// The settings that come with an offer to go on in HTTP/2, if the offer is all that RFC 7540 §3.2 asks for, and the
    /// request ends with its head.
    pub(super) fn http2_offer(&self) -> Option<&'a [u8]> {
        let Listed { close, upgrade, http2_settings } = self.connection;
        let offered = self.upgrade == Some(Upgrade::Http2) && upgrade && http2_settings && !close;
        let empty = !self.chunked && self.content_length.unwrap_or(0) == 0;
        self.http2_settings.filter(|_| offered && empty && !self.several_settings)
    }
}

/// What `Connection` lists (RFC 9110 §7.6.1), as far as it matters here.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Listed {
    pub(super) close: bool,
    upgrade: bool,
    http2_settings: bool,
}

/// What a message wants its connection to become.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Upgrade {
    /// `websocket` and nothing else.
    WebSocket,
    /// `h2c` and nothing else.
    Http2,
    /// Anything else, or several.
    Other,
}

/// A request's head, taken apart.
#[derive(Copy, Clone, Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) version: Version,
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) headers: &'a [Header<'a>],
    pub(super) facts: Facts<'a>,
}

/// A response's head, taken apart.
#[derive(Copy, Clone, Debug)]
pub(super) struct ResponseHead<'a> {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) facts: Facts<'a>,
}

/// Calls `with` on the request whose whole head is `head`, of `lines` lines.
pub(super) fn request<T>(
    head: &[u8],
    lines: usize,
    with: impl FnOnce(&RequestHead<'_>) -> T,
) -> Result<T, Anomaly> {
    // Room for the fields is made for each head, so the usual ones get little.
    match lines {
        0..=8 => request_in::<8, T>(head, with),
        9..=16 => request_in::<16, T>(head, with),
        17..=64 => request_in::<64, T>(head, with),
        _ => request_in::<MOST_FIELDS, T>(head, with),
    }
}

fn request_in<const N: usize, T>(
    head: &[u8],
    with: impl FnOnce(&RequestHead<'_>) -> T,
) -> Result<T, Anomaly> {
    let mut raw = [const { MaybeUninit::uninit() }; N];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut raw) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(Anomaly::HttpHeader),
        Err(error) => return Err(anomaly(error)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Anomaly::HttpStartLine);
    };
    if method.len() > MAX_METHOD {
        return Err(Anomaly::HttpStartLine);
    }
    let facts = facts(request.headers)?;
    let mut headers = [Header::default(); N];
    for (header, field) in headers.iter_mut().zip(&*request.headers) {
        *header = Header { name: field.name.as_bytes(), value: field.value };
    }
    let count = request.headers.len().min(N);
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    if version == Version::Http10 && facts.chunked {
        return Err(Anomaly::HttpTransferEncoding);
    }
    Ok(with(&RequestHead {
        version,
        method: method.as_bytes(),
        target: target.as_bytes(),
        headers: &headers[..count],
        facts,
    }))
}

/// Calls `with` on the response whose whole head is `head`, of `lines` lines.
pub(super) fn response<T>(
    head: &[u8],
    lines: usize,
    with: impl FnOnce(&ResponseHead<'_>) -> T,
) -> Result<T, Anomaly> {
    match lines {
        0..=8 => response_in::<8, T>(head, with),
        9..=16 => response_in::<16, T>(head, with),
        17..=64 => response_in::<64, T>(head, with),
        _ => response_in::<MOST_FIELDS, T>(head, with),
    }
}

fn response_in<const N: usize, T>(
    head: &[u8],
    with: impl FnOnce(&ResponseHead<'_>) -> T,
) -> Result<T, Anomaly> {
    let mut raw = [const { MaybeUninit::uninit() }; N];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, head, &mut raw) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(Anomaly::HttpHeader),
        Err(error) => return Err(anomaly(error)),
    }
    let (Some(status @ 100..=599), Some(version)) = (response.code, response.version) else {
        return Err(Anomaly::HttpResponse);
    };
    let facts = facts(response.headers)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    if version == Version::Http10 && facts.chunked {
        return Err(Anomaly::HttpTransferEncoding);
    }
    Ok(with(&ResponseHead { version, status, facts }))
}

fn anomaly(error: httparse::Error) -> Anomaly {
    match error {
        httparse::Error::TooManyHeaders => Anomaly::HttpHeadTooLarge,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Anomaly::HttpHeader,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => Anomaly::HttpStartLine,
    }
}

/// Reads the fields that say how messages are framed.
fn facts<'a>(fields: &[httparse::Header<'a>]) -> Result<Facts<'a>, Anomaly> {
    let mut facts = Facts::default();
    for field in fields {
        let (name, value) = (field.name.as_bytes(), field.value);
        let is = |other: &str| field.name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => {
                let several = facts.host.is_some();
                facts.host = Some(value);
                if several {
                    return Err(Anomaly::HttpHost);
                }
            }
            7 if is("upgrade") => {
                let several = facts.upgrade.is_some();
                facts.upgrade = Some(if several { Upgrade::Other } else { upgrade(value) });
            }
            10 if is("connection") => facts.connection.read(value)?,
            11 if is("grpc-status") => facts.grpc_status = decimal(value).and_then(|n| u32::try_from(n).ok()),
            14 if is_like(name, b"content-length") => {
                // Some gateways take `_` for `-`.
                if name[7] != b'-' {
                    return Err(Anomaly::HttpHeader);
                }
                let length = decimal(value).ok_or(Anomaly::HttpContentLength)?;
                // RFC 9112 §6.3 would let equal ones pass.
                if facts.content_length.replace(length).is_some() {
                    return Err(Anomaly::HttpConflictingLength);
                }
            }
            14 if is("http2-settings") => {
                facts.several_settings = facts.http2_settings.replace(value).is_some();
            }
            17 if is_like(name, b"transfer-encoding") => {
                if name[8] != b'-' {
                    return Err(Anomaly::HttpHeader);
                }
                if facts.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Anomaly::HttpTransferEncoding);
                }
                facts.chunked = true;
            }
            _ => {}
        }
    }
    if facts.chunked && facts.content_length.is_some() {
        return Err(Anomaly::HttpConflictingLength);
    }
    Ok(facts)
}

/// Whether a name of the same length is `other`, with `-` or `_` where that has `-`.
fn is_like(name: &[u8], other: &[u8]) -> bool {
    name.iter().zip(other).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
}

/// Digits only, as many as cannot overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The members of a comma-separated list, without surrounding white space.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

impl Listed {
    /// Takes in a `Connection`. It may not take away the fields that messages are framed and routed by.
    fn read(&mut self, value: &[u8]) -> Result<(), Anomaly> {
        for member in members(value) {
            let is = |name: &str| member.eq_ignore_ascii_case(name.as_bytes());
            self.close |= is("close");
            self.upgrade |= is("upgrade");
            self.http2_settings |= is("http2-settings");
            if ["content-length", "host", "transfer-encoding"].into_iter().any(is) {
                return Err(Anomaly::HttpHeader);
            }
        }
        Ok(())
    }
}

fn upgrade(value: &[u8]) -> Upgrade {
    if value.eq_ignore_ascii_case(b"websocket") {
        Upgrade::WebSocket
    } else if value.eq_ignore_ascii_case(b"h2c") {
        Upgrade::Http2
    } else {
        Upgrade::Other
    }
}

/// A request's head without an offer to go on in HTTP/2 that is not let through. The server then does not take it, as
/// it is free to (RFC 9113 §3.1 deprecates the offer; Envoy takes it out as well).
pub(super) fn without_upgrade(request: &RequestHead<'_>, out: &mut Vec<u8>) {
    for part in [request.method, b" ", request.target, b" ", request.version.name().as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
    for header in request.headers {
        let is = |name: &[u8]| header.name.eq_ignore_ascii_case(name);
        if is(b"upgrade") || is(b"http2-settings") {
            continue;
        }
        if !is(b"connection") {
            for part in [header.name, b": ", header.value, b"\r\n"] {
                out.extend_from_slice(part);
            }
            continue;
        }
        let left = |member: &&[u8]| {
            !member.is_empty()
                && !member.eq_ignore_ascii_case(b"upgrade")
                && !member.eq_ignore_ascii_case(b"http2-settings")
        };
        for member in members(header.value).filter(left) {
            for part in [header.name, b": ", member, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
