//! HTTP of any version: what a message says, and which version a connection speaks.
//!
//! [`Http`] decides on the client's first bytes. Those of the HTTP/2 preface (RFC 9113 §3.4) are waited for while what
//! is at hand could still become it; everything else is HTTP/1, which refuses what it cannot read. Nothing passes
//! before that is decided; what a server says first waits. HTTP/1 may become HTTP/2 later, by upgrade.

use crate::http1::Http1;
use crate::http2::Http2;
use crate::inspector::{Context, End, Inspector, Settings, Side, Step};

/// What a client sends first when it knows that the server speaks HTTP/2 (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Version of a message.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As the flow log writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// One header field.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Header<'a> {
    /// Name, in any case.
    pub name: &'a [u8],
    /// Value, without surrounding white space.
    pub value: &'a [u8],
}

/// The head of a request.
#[derive(Copy, Clone, Debug)]
pub struct HttpRequest<'a> {
    /// Version.
    pub version: Version,
    /// Method, as sent.
    pub method: &'a [u8],
    /// Path and query as sent (origin form; of an absolute form, what stands behind the authority).
    pub path: &'a [u8],
    /// The same with dot segments removed, slashes merged and unreserved percent escapes decoded, as Envoy normalises
    /// before it matches. Where it differs from `path`, both must be allowed: the server may see either.
    pub normal_path: &'a [u8],
    /// Authority, with the port if one was sent.
    pub host: &'a [u8],
    /// Header fields in order, without pseudo-headers.
    pub headers: &'a [Header<'a>],
    /// HTTP/2 stream; 0 for HTTP/1.
    pub stream: u32,
}

/// The head of a final response, and the request it answers.
#[derive(Copy, Clone, Debug)]
pub struct HttpResponse<'a> {
    /// Version.
    pub version: Version,
    /// Status code.
    pub status: u16,
    /// Nanoseconds from the request's head to this one.
    pub latency_ns: u64,
    /// Method of the request.
    pub method: &'a [u8],
    /// Path of the request as sent; may be cut at 1,024 bytes.
    pub path: &'a [u8],
    /// Authority of the request; may be cut at 255 bytes.
    pub host: &'a [u8],
    /// `grpc-status`, where the response carries one.
    pub grpc_status: Option<u32>,
    /// HTTP/2 stream; 0 for HTTP/1.
    pub stream: u32,
}

/// One connection, of whichever version.
#[derive(Debug)]
pub struct Http(Version1Or2);

#[derive(Debug)]
enum Version1Or2 {
    Undecided,
    One(Http1),
    /// Apart, so that the many connections of HTTP/1 stay small.
    Two(Box<Http2>),
}

impl Http {
    /// A connection on which nothing was said yet.
    #[must_use]
    pub const fn new(_settings: &Settings) -> Self {
        Self(Version1Or2::Undecided)
    }

    /// Decides by the client's first bytes; `Err` is the answer while that cannot be said.
    fn decide(&mut self, side: Side, bytes: &[u8], settings: &Settings) -> Result<(), Step> {
        match side {
            _ if bytes.is_empty() => Err(Step::NeedMore),
            // Many HTTP/2 servers send their settings as soon as they are connected; whether that is right is known when
            // the client has spoken.
            Side::Server => Err(Step::NeedMore),
            Side::Client if bytes.starts_with(PREFACE) => {
                self.0 = Version1Or2::Two(Box::new(Http2::new(settings)));
                Ok(())
            }
            Side::Client if PREFACE.starts_with(bytes) => Err(Step::NeedMore),
            Side::Client => {
                self.0 = Version1Or2::One(Http1::new());
                Ok(())
            }
        }
    }
}

impl Inspector for Http {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        if matches!(self.0, Version1Or2::Undecided)
            && let Err(step) = self.decide(side, bytes, cx.settings)
        {
            return step;
        }
        match &mut self.0 {
            Version1Or2::Undecided => Step::NeedMore,
            Version1Or2::One(http1) => {
                let step = http1.feed(side, bytes, cx);
                if let Some(http2) = http1.upgraded() {
                    self.0 = Version1Or2::Two(http2);
                }
                step
            }
            Version1Or2::Two(http2) => http2.feed(side, bytes, cx),
        }
    }

    fn finish(&mut self, side: Side, undecided: usize, cx: &mut Context<'_>) -> Option<End> {
        match &mut self.0 {
            Version1Or2::Undecided => None,
            Version1Or2::One(http1) => http1.finish(side, undecided, cx),
            Version1Or2::Two(http2) => http2.finish(side, undecided, cx),
        }
    }

    fn is_at_rest(&self) -> bool {
        match &self.0 {
            Version1Or2::Undecided => true,
            Version1Or2::One(http1) => http1.is_at_rest(),
            Version1Or2::Two(http2) => http2.is_at_rest(),
        }
    }
}
