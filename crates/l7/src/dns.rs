//! DNS: questions and answers over UDP and TCP.

use core::net::IpAddr;

/// One question. Its name is lower-case, dotted, without the final dot; the root is empty.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// Message id.
    pub id: u16,
    /// Name asked for.
    pub name: &'a str,
    /// Record type number (RFC 1035 §3.2.2).
    pub qtype: u16,
}

/// The answer to a question that was passed on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Answer<'a> {
    /// The question.
    pub query: Query<'a>,
    /// Response code.
    pub rcode: u8,
    /// Addresses of the question's name: those of A and AAAA records that it owns or reaches over CNAMEs.
    pub addresses: &'a [IpAddr],
    /// Names that CNAMEs lead to, in order.
    pub cnames: &'a [&'a str],
    /// Least time to live of the records used, in seconds.
    pub ttl: u32,
    /// Nanoseconds since the question.
    pub latency_ns: u64,
}
