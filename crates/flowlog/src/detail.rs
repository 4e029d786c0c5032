//! What a message said: references on the worker's side, owned text on the reader's.
//!
//! A worker lends a [`Detail`], which is written in a compact form of at most [`MAX_ENCODED`] bytes; the reader makes a
//! [`Message`] of it. Texts are cut to fixed lengths and marked where they are cut, lists are cut to fixed counts, and
//! only those header fields are kept that help to find a request again and are no secrets: credentials and cookies
//! never enter the log.

mod wire;

pub use wire::decode;
pub(crate) use wire::encode;

use l7::http::Version;
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, dns, http};
use std::net::IpAddr;

/// The most bytes that one message takes: all texts and lists at their limits stay below it.
pub const MAX_ENCODED: usize = 8 * 1024;

/// Header fields that are kept, in lower case.
pub const KEPT_HEADERS: [&str; 8] = [
    "user-agent",
    "content-type",
    "content-length",
    "x-request-id",
    "x-forwarded-for",
    "traceparent",
    "x-b3-traceid",
    "grpc-timeout",
];

/// A message, lent for the length of a call.
#[derive(Copy, Clone, Debug)]
pub enum Detail<'a> {
    /// The head of an HTTP request.
    HttpRequest(&'a http::HttpRequest<'a>),
    /// The head of an HTTP response.
    HttpResponse(&'a http::HttpResponse<'a>),
    /// A DNS question.
    DnsQuery(&'a dns::Query<'a>),
    /// A DNS answer.
    DnsAnswer(&'a dns::Answer<'a>),
    /// A Kafka request.
    KafkaRequest(&'a KafkaRequest<'a>),
    /// A Kafka response.
    KafkaResponse(&'a KafkaResponse<'a>),
    /// A TLS hello.
    TlsHello(&'a TlsHello<'a>),
    /// Bytes that are no message.
    Anomaly(Anomaly),
}

/// A message as the reader has it. Text that was cut ends with `…`; what is no UTF-8 has replacement characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// The head of an HTTP request.
    HttpRequest {
        /// Version.
        version: Version,
        /// Method.
        method: String,
        /// Authority.
        host: String,
        /// Path and query, as sent.
        path: String,
        /// Those of [`KEPT_HEADERS`] that it had, in its order.
        headers: Vec<(String, String)>,
    },
    /// The head of an HTTP response.
    HttpResponse {
        /// Version.
        version: Version,
        /// Status code.
        status: u16,
        /// Nanoseconds since the request.
        latency_ns: u64,
        /// Method of the request.
        method: String,
        /// Authority of the request.
        host: String,
        /// Path of the request.
        path: String,
        /// `grpc-status`.
        grpc_status: Option<u32>,
    },
    /// A DNS question.
    DnsQuery(Question),
    /// A DNS answer.
    DnsAnswer {
        /// The question.
        question: Question,
        /// Response code.
        rcode: u8,
        /// Addresses.
        addresses: Vec<IpAddr>,
        /// Names that CNAMEs lead to.
        cnames: Vec<String>,
        /// Seconds.
        ttl: u32,
        /// Nanoseconds since the question.
        latency_ns: u64,
    },
    /// A Kafka request.
    KafkaRequest {
        /// API key.
        api_key: i16,
        /// API version.
        api_version: i16,
        /// Correlation id.
        correlation_id: i32,
        /// Client id.
        client_id: String,
        /// Topics.
        topics: Vec<String>,
    },
    /// A Kafka response.
    KafkaResponse {
        /// API key.
        api_key: i16,
        /// API version.
        api_version: i16,
        /// Correlation id.
        correlation_id: i32,
        /// First topic of the request.
        topic: String,
        /// Error code.
        error_code: i16,
        /// Nanoseconds since the request.
        latency_ns: u64,
    },
    /// A TLS hello.
    TlsHello {
        /// Server name.
        server_name: Option<String>,
        /// Whether it carries an encrypted hello.
        encrypted: bool,
    },
    /// Bytes that are no message.
    Anomaly(Anomaly),
}

/// A DNS question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Name, without the final dot.
    pub name: String,
    /// Record type number.
    pub qtype: u16,
}

#[cfg(test)]
mod tests;
