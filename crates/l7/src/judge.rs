//! The contract between a protocol and policy: facts of messages, and the answers.
//!
//! The implementation asks the rule sets of both sides of the connection and writes the flow log, so each message is
//! told exactly once, when its head is complete.

use crate::anomaly::Anomaly;
use crate::dns;
use crate::http::{HttpRequest, HttpResponse};
use crate::kafka::{KafkaRequest, KafkaResponse};
use crate::tls::TlsHello;

/// Whether what an answer taught is in force.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Learning {
    /// The answer may go on.
    Done,
    /// It must wait; ask again with the same answer.
    Pending,
}

/// Policy and flow log, as protocols see them. The questions are answered "may it pass?".
pub trait Judge {
    /// An HTTP request, of any version.
    fn http_request(&mut self, request: &HttpRequest<'_>) -> bool;

    /// The final response to an HTTP request that was passed on.
    fn http_response(&mut self, response: &HttpResponse<'_>);

    /// A DNS question.
    fn dns_query(&mut self, query: &dns::Query<'_>) -> bool;

    /// A DNS answer that fits a question which was passed on. Asked again while [`Learning::Pending`].
    fn dns_answer(&mut self, answer: &dns::Answer<'_>) -> Learning;

    /// A Kafka request.
    fn kafka_request(&mut self, request: &KafkaRequest<'_>) -> bool;

    /// The response to a Kafka request that was passed on.
    fn kafka_response(&mut self, response: &KafkaResponse<'_>);

    /// A TLS hello.
    fn tls_hello(&mut self, hello: &TlsHello<'_>) -> bool;

    /// Something odd that ends nothing.
    fn oddity(&mut self, anomaly: Anomaly);
}
