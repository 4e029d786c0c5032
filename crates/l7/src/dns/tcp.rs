//! DNS over a stream (RFC 7766): each message behind its length in two bytes, any number of them without waiting,
//! answers in any order.
//!
//! Both streams are decided message by message, each when it is there whole, so the boundary of the server's stream
//! always stands between messages and a refusal can be written at once.

use super::exchange::{self, Answered, Asked, Overflow, Terms};
use super::outstanding::Outstanding;
use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, Side, Step};

const PREFIX_LEN: usize = 2;

/// One connection.
#[derive(Debug, Default)]
pub struct Tcp {
    outstanding: Outstanding,
}

impl Tcp {
    /// A connection without questions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Questions without an answer.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    fn client(&mut self, message: &[u8], cx: &mut Context<'_>) -> Step {
        let terms = Terms {
            most: cx.settings.max_outstanding,
            overflow: Overflow::Refuse,
            nxdomain: cx.settings.dns_nxdomain,
            now: cx.now,
        };
        let start = cx.to_client.len();
        cx.to_client.extend_from_slice(&[0; PREFIX_LEN]);
        let asked = exchange::ask(&mut self.outstanding, message, terms, cx.judge, cx.to_client);
        if asked == Asked::Refused {
            // Never longer than the question, which had room for an OPT of its own.
            let len = cx.to_client.len() - start - PREFIX_LEN;
            cx.to_client[start..start + PREFIX_LEN].copy_from_slice(&(len as u16).to_be_bytes());
            return Step::Swallow { len: framed(message) as u64 };
        }
        cx.to_client.truncate(start);
        match asked {
            Asked::Pass => Step::Pass { counted: framed(message), free: 0 },
            Asked::Full => Step::End(End::Anomaly(Anomaly::DnsTooManyOutstanding)),
            _ => Step::End(End::Anomaly(Anomaly::DnsMalformed)),
        }
    }

    /// An answer without a question is taken out: the connection may have outlived it.
    fn server(&mut self, message: &[u8], cx: &mut Context<'_>) -> Step {
        match exchange::answer(&mut self.outstanding, message, cx.now, cx.judge) {
            Answered::Pass => Step::Pass { counted: framed(message), free: 0 },
            Answered::Wait => Step::Wait,
            Answered::Unexpected => {
                cx.judge.oddity(Anomaly::DnsUnexpectedAnswer);
                Step::Swallow { len: framed(message) as u64 }
            }
            Answered::Malformed => Step::End(End::Anomaly(Anomaly::DnsMalformed)),
        }
    }
}

impl Inspector for Tcp {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else { return Step::NeedMore };
        let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*prefix))) else {
            return Step::NeedMore;
        };
        match side {
            Side::Client => self.client(message, cx),
            Side::Server => self.server(message, cx),
        }
    }

    /// A message cut short by the end goes nowhere; the end itself does.
    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}

const fn framed(message: &[u8]) -> usize {
    PREFIX_LEN + message.len()
}
