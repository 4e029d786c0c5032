//! DNS: questions and answers over UDP and TCP.
//!
//! Every question is asked of policy before it leaves; every answer must fit a question that left, and what it teaches
//! is told before it goes on. Rules of this reader, all on the strict side:
//!
//! * A message holds exactly one question, in plain form. A question carries no records but additional ones, of which
//!   at most one is an OPT (RFC 6891); an answer fills its message to the last byte.
//! * A name has at most 255 bytes on the wire, and [`MAX_POINTERS`] compression pointers, each to an earlier place.
//!   Text is lower-case; bytes other than letters, digits, `-` and `_` are written `\DDD` (RFC 1035 §5.1), so that none
//!   can stand for a separator or a pattern. A name with a dot *inside* a label is malformed.
//! * Zone transfers (AXFR, IXFR) and operations other than a query (UPDATE, NOTIFY, ...) are refused whatever the rules
//!   say, and noted as [`Anomaly::DnsUnsupported`](crate::Anomaly::DnsUnsupported): rules name what may be asked, not
//!   zones.
//! * An answer fits if message id, name (in any case), type and class are those of a question without an answer. A
//!   bare error without a question section (old servers that know no OPT) fits by its id, and teaches nothing.
//! * Addresses are those of the question's own name or of a name that its CNAMEs lead to, of the type that was asked
//!   for, in the answer section. The time to live is the least of the records used.
//!
//! A question without an answer is remembered for [`QUESTION_LIFETIME_NS`].

mod answer;
mod exchange;
mod message;
mod name;
mod outstanding;
mod refusal;
mod spill;
mod tcp;
#[cfg(feature = "testing")]
pub mod testing;
mod udp;

pub use name::MAX_POINTERS;
pub use outstanding::QUESTION_LIFETIME_NS;
pub use tcp::Tcp;
pub use udp::{DatagramStep, MAX_DATAGRAM_QUESTIONS, Udp};

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
