//! What a message said: references on the worker's side, a compact form on its way, text on the reader's.
//!
//! A worker lends a [`Detail`], which is written in a compact form of at most [`MAX_ENCODED`] bytes; whoever wants to know
//! makes a [`Message`] of it. Texts are cut to fixed lengths and marked where they are cut, lists are cut to fixed counts, and
//! only those header fields are kept that help to find a request again and are no secrets: credentials and cookies
//! never enter the log.

mod wire;

pub use wire::decode;
pub(crate) use wire::encode;

use l7::http::Version;
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, dns, http};
use std::borrow::Cow;
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

/// A message as the reader has it: text is borrowed from what the worker wrote where it can be. Text that was cut ends
/// with `…`; what is no UTF-8 has replacement characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// The head of an HTTP request.
    HttpRequest {
        /// Version.
        version: Version,
        /// Method.
        method: Cow<'a, str>,
        /// Authority.
        host: Cow<'a, str>,
        /// Path and query, as sent.
        path: Cow<'a, str>,
        /// Those of [`KEPT_HEADERS`] that it had, in its order.
        headers: Vec<(&'static str, Cow<'a, str>)>,
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
        method: Cow<'a, str>,
        /// Authority of the request.
        host: Cow<'a, str>,
        /// Path of the request.
        path: Cow<'a, str>,
        /// `grpc-status`.
        grpc_status: Option<u32>,
    },
    /// A DNS question.
    DnsQuery(Question<'a>),
    /// A DNS answer.
    DnsAnswer {
        /// The question.
        question: Question<'a>,
        /// Response code.
        rcode: u8,
        /// Addresses.
        addresses: Vec<IpAddr>,
        /// Names that CNAMEs lead to.
        cnames: Vec<Cow<'a, str>>,
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
        client_id: Cow<'a, str>,
        /// Topics.
        topics: Vec<Cow<'a, str>>,
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
        topic: Cow<'a, str>,
        /// Error code.
        error_code: i16,
        /// Nanoseconds since the request.
        latency_ns: u64,
    },
    /// A TLS hello.
    TlsHello {
        /// Server name.
        server_name: Option<Cow<'a, str>>,
        /// Whether it carries an encrypted hello.
        encrypted: bool,
    },
    /// Bytes that are no message.
    Anomaly(Anomaly),
}

/// A DNS question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// Name, without the final dot.
    pub name: Cow<'a, str>,
    /// Record type number.
    pub qtype: u16,
}

impl Message<'_> {
    /// The same with text of its own.
    #[must_use]
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::HttpRequest { version, method, host, path, headers } => Message::HttpRequest {
                version,
                method: owned(method),
                host: owned(host),
                path: owned(path),
                headers: headers.into_iter().map(|(name, value)| (name, owned(value))).collect(),
            },
            Self::HttpResponse { version, status, latency_ns, method, host, path, grpc_status } => {
                let [method, host, path] = [method, host, path].map(owned);
                Message::HttpResponse { version, status, latency_ns, method, host, path, grpc_status }
            }
            Self::DnsQuery(question) => Message::DnsQuery(question.into_owned()),
            Self::DnsAnswer { question, rcode, addresses, cnames, ttl, latency_ns } => Message::DnsAnswer {
                question: question.into_owned(),
                rcode,
                addresses,
                cnames: cnames.into_iter().map(owned).collect(),
                ttl,
                latency_ns,
            },
            Self::KafkaRequest { api_key, api_version, correlation_id, client_id, topics } => {
                let topics = topics.into_iter().map(owned).collect();
                Message::KafkaRequest {
                    api_key,
                    api_version,
                    correlation_id,
                    client_id: owned(client_id),
                    topics,
                }
            }
            Self::KafkaResponse { api_key, api_version, correlation_id, topic, error_code, latency_ns } => {
                let topic = owned(topic);
                Message::KafkaResponse { api_key, api_version, correlation_id, topic, error_code, latency_ns }
            }
            Self::TlsHello { server_name, encrypted } => {
                Message::TlsHello { server_name: server_name.map(owned), encrypted }
            }
            Self::Anomaly(anomaly) => Message::Anomaly(anomaly),
        }
    }
}

impl Question<'_> {
    fn into_owned(self) -> Question<'static> {
        Question { name: owned(self.name), qtype: self.qtype }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

#[cfg(test)]
mod tests;
