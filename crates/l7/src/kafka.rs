//! Kafka.

/// A request, as far as policy reads it.
#[derive(Copy, Clone, Debug)]
pub struct KafkaRequest<'a> {
    /// API key.
    pub api_key: i16,
    /// API version.
    pub api_version: i16,
    /// Correlation id.
    pub correlation_id: i32,
    /// Client id; empty if there is none.
    pub client_id: &'a str,
    /// Topics that the request names; empty for APIs without topics.
    pub topics: &'a [&'a str],
}

/// The response to a request that was passed on.
#[derive(Copy, Clone, Debug)]
pub struct KafkaResponse<'a> {
    /// API key of the request.
    pub api_key: i16,
    /// API version of the request.
    pub api_version: i16,
    /// Correlation id.
    pub correlation_id: i32,
    /// First topic of the request; empty if none.
    pub topic: &'a str,
    /// Error code of the response, where the API has one in a place that is read; else 0.
    pub error_code: i16,
    /// Nanoseconds since the request.
    pub latency_ns: u64,
}

use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, Settings, Side, Step};

/// Kafka on one connection.
#[derive(Debug)]
pub struct Kafka;

impl Kafka {
    /// A connection that is about to begin.
    #[must_use]
    pub fn new(_settings: &Settings) -> Self {
        Self
    }
}

impl Inspector for Kafka {
    fn feed(&mut self, _side: Side, _bytes: &[u8], _cx: &mut Context<'_>) -> Step {
        Step::End(End::Anomaly(Anomaly::KafkaUnknownApi))
    }

    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}
