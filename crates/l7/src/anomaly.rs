//! What can be wrong with the bytes of a connection, each by its name.

macro_rules! anomalies {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A violation of a protocol. The name is a log field and a metric label.
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Anomaly { $($(#[$doc])* $name,)+ }

        impl Anomaly {
            /// All of them, in the order of [`Anomaly::index`].
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

anomalies! {
    /// The first bytes are no HTTP request.
    HttpNotHttp = "http-not-http",
    /// Start line that RFC 9112 §3 does not allow.
    HttpStartLine = "http-start-line",
    /// Header field that RFC 9112 §5 does not allow: white space before the colon, control characters, a fold.
    HttpHeader = "http-header",
    /// A line that ends with a line feed alone.
    HttpBareLineFeed = "http-bare-line-feed",
    /// Head beyond the size or number of fields that are read.
    HttpHeadTooLarge = "http-head-too-large",
    /// Two lengths, or a length beside a transfer coding.
    HttpConflictingLength = "http-conflicting-length",
    /// A content length that is no number.
    HttpContentLength = "http-content-length",
    /// A transfer coding other than `chunked` alone, or in HTTP/1.0.
    HttpTransferEncoding = "http-transfer-encoding",
    /// A chunk that RFC 9112 §7.1 does not allow.
    HttpChunk = "http-chunk",
    /// A trailer field that may not stand there.
    HttpTrailer = "http-trailer",
    /// No host, several hosts, or one that is no authority or not that of the target.
    HttpHost = "http-host",
    /// A target that is no path, or that servers read in different ways.
    HttpTarget = "http-target",
    /// CONNECT, or an upgrade, where it is not carried.
    HttpUpgrade = "http-upgrade",
    /// A response that RFC 9112 does not allow.
    HttpResponse = "http-response",
    /// A response without a request.
    HttpUnexpectedResponse = "http-unexpected-response",
    /// The stream ended within a message.
    HttpTruncated = "http-truncated",
    /// More requests without an answer than are remembered.
    HttpTooManyOutstanding = "http-too-many-outstanding",
    /// HTTP/2: no preface, or no settings behind it.
    Http2Preface = "http2-preface",
    /// HTTP/2: a frame of the wrong size.
    Http2FrameSize = "http2-frame-size",
    /// HTTP/2: a frame where it may not stand.
    Http2Protocol = "http2-protocol",
    /// HTTP/2: a header block that cannot be decoded.
    Http2Compression = "http2-compression",
    /// HTTP/2: a malformed message.
    Http2Message = "http2-message",
    /// HTTP/2: a header block or list beyond the size that is read.
    Http2HeadTooLarge = "http2-head-too-large",
    /// HTTP/2: more streams than are remembered.
    Http2TooManyStreams = "http2-too-many-streams",
    /// HTTP/2: a flow-control window that overflows or is overrun.
    Http2FlowControl = "http2-flow-control",
    /// HTTP/2: a flood of resets, settings, pings or empty frames.
    Http2Flood = "http2-flood",
    /// Kafka: a frame of impossible size.
    KafkaFrameSize = "kafka-frame-size",
    /// Kafka: a request that cannot be read.
    KafkaRequest = "kafka-request",
    /// Kafka: an API or version that is not known.
    KafkaUnknownApi = "kafka-unknown-api",
    /// Kafka: a response that cannot be read or that answers no request.
    KafkaResponse = "kafka-response",
    /// Kafka: more requests without an answer than are remembered.
    KafkaTooManyOutstanding = "kafka-too-many-outstanding",
    /// Kafka: a TLS handshake where plain requests are to be read.
    KafkaTls = "kafka-tls",
    /// DNS: a message that cannot be read.
    DnsMalformed = "dns-malformed",
    /// DNS: an answer without a question, or to another one.
    DnsUnexpectedAnswer = "dns-unexpected-answer",
    /// DNS: more questions without an answer than are remembered.
    DnsTooManyOutstanding = "dns-too-many-outstanding",
    /// TLS: the first bytes are no handshake.
    TlsNotTls = "tls-not-tls",
    /// TLS: a hello that cannot be read.
    TlsHello = "tls-hello",
    /// TLS: a hello beyond the size that is read.
    TlsHelloTooLarge = "tls-hello-too-large",
    /// TLS: an encrypted hello where the name counts.
    TlsEncryptedHello = "tls-encrypted-hello",
    /// TCP: bytes sent again that differ from those that were judged.
    SegmentOverlapDiffers = "segment-overlap-differs",
    /// TCP: urgent data.
    SegmentUrgent = "segment-urgent",
    /// TCP: more undecided bytes than are kept.
    SegmentOverflow = "segment-overflow",
    /// TCP: data on a SYN.
    SegmentSynData = "segment-syn-data",
    /// TCP: the connection was joined in the middle, where the bytes cannot be read.
    MidStream = "mid-stream",
    /// TCP: the other end acknowledges nothing any more.
    Unacknowledged = "unacknowledged",
    /// DNS: a zone transfer, or an operation other than a query.
    DnsUnsupported = "dns-unsupported",
    /// TCP: a fragment of a segment, which cannot be read.
    SegmentFragment = "segment-fragment",
}

impl Anomaly {
    /// Its number.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
