//! HTTP of any version: what a message says, and which version a connection speaks.

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
