//! DNS in datagrams. There is no stream: each message is decided by itself.

use super::exchange::{self, Answered, Asked, Overflow, Terms};
use super::outstanding::Outstanding;
use crate::anomaly::Anomaly;
use crate::inspector::Context;

/// Questions that one connection may have without an answer; the oldest is forgotten for another one. Resolvers that
/// ask much use many ports: this is for those that ask all from one.
pub const MAX_DATAGRAM_QUESTIONS: usize = 64;

/// What is to happen to a datagram.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum DatagramStep {
    /// It goes on as it is.
    Pass,
    /// It goes nowhere. [`Context::to_client`] holds the payload of the datagram that answers it.
    Answer,
    /// It must wait until what it taught is in force: show it again later.
    Wait,
    /// It goes nowhere.
    Drop(Anomaly),
}

/// One connection (five-tuple), so that an answer can only come from the server that was asked, to the port that
/// asked. Holds no heap while no question is without an answer.
#[derive(Debug, Default)]
pub struct Udp {
    outstanding: Outstanding,
}

impl Udp {
    /// A connection without questions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The client sent `datagram`. A refusal is appended to [`Context::to_client`].
    pub fn query(&mut self, datagram: &[u8], cx: &mut Context<'_>) -> DatagramStep {
        let terms = Terms {
            most: MAX_DATAGRAM_QUESTIONS.min(cx.settings.max_outstanding),
            overflow: Overflow::ForgetOldest,
            nxdomain: cx.settings.dns_nxdomain,
            now: cx.now,
        };
        match exchange::ask(&mut self.outstanding, datagram, terms, cx.judge, cx.to_client) {
            Asked::Pass => DatagramStep::Pass,
            Asked::Refused => DatagramStep::Answer,
            Asked::Malformed => DatagramStep::Drop(Anomaly::DnsMalformed),
            Asked::Full => DatagramStep::Drop(Anomaly::DnsTooManyOutstanding),
        }
    }

    /// The server sent `datagram`. The answer of [`DatagramStep::Wait`] is shown again as it is.
    pub fn response(&mut self, datagram: &[u8], cx: &mut Context<'_>) -> DatagramStep {
        match exchange::answer(&mut self.outstanding, datagram, cx.now, cx.judge) {
            Answered::Pass => DatagramStep::Pass,
            Answered::Wait => DatagramStep::Wait,
            Answered::Unexpected => DatagramStep::Drop(Anomaly::DnsUnexpectedAnswer),
            Answered::Malformed => DatagramStep::Drop(Anomaly::DnsMalformed),
        }
    }

    /// Questions without an answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Forgets questions that are too old. Happens at each question too.
    pub fn expire(&mut self, now: u64) {
        self.outstanding.expire(now);
    }
}
