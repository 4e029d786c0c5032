//! Questions and answers of one connection, whatever carries them.

use super::answer::Found;
use super::message::{Request, Response};
use super::name::Text;
use super::outstanding::Outstanding;
use super::{Answer, Query, refusal};
use crate::anomaly::Anomaly;
use crate::judge::{Judge, Learning};

/// What is to happen to a client's message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// It goes on.
    Pass,
    /// It goes nowhere, its refusal was written.
    Refused,
    /// It cannot be read.
    Malformed,
    /// There is no room to remember it; policy was not asked.
    Full,
}

/// What is to happen to a server's message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// It goes on.
    Pass,
    /// It must wait.
    Wait,
    /// It fits no question.
    Unexpected,
    /// It cannot be read.
    Malformed,
}

/// When there is no room for another question.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Overflow {
    /// The oldest is forgotten: its answer goes nowhere.
    ForgetOldest,
    /// The new one cannot be asked.
    Refuse,
}

/// How questions of a connection are treated.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Terms {
    /// Questions that are remembered.
    pub(crate) most: usize,
    pub(crate) overflow: Overflow,
    /// Code of refusals.
    pub(crate) nxdomain: bool,
    pub(crate) now: u64,
}

/// Judges a client's message. A question sent again is asked of policy again: rules may have changed; if it passes it
/// is still one question, and if it does not its first copy's answer teaches nothing any more.
pub(crate) fn ask(
    outstanding: &mut Outstanding,
    message: &[u8],
    terms: Terms,
    judge: &mut dyn Judge,
    out: &mut Vec<u8>,
) -> Asked {
    let mut text = Text::new();
    let (header, question, opt) = match Request::read(message, &mut text) {
        None => return Asked::Malformed,
        Some(Request::Unsupported(header, question, opt)) => {
            judge.oddity(Anomaly::DnsUnsupported);
            refusal::write(message, header, question, opt, false, out);
            return Asked::Refused;
        }
        Some(Request::Query(header, question, opt)) => (header, question, opt),
    };
    let name = text.as_str();
    outstanding.expire(terms.now);
    let full = outstanding.len() >= terms.most && !outstanding.contains(header.id, name, question);
    if full && terms.overflow == Overflow::Refuse {
        return Asked::Full;
    }
    if !judge.dns_query(&Query { id: header.id, name, qtype: question.qtype }) {
        outstanding.forget(header.id, name, question);
        refusal::write(message, header, Some(question), opt, terms.nxdomain, out);
        return Asked::Refused;
    }
    if full {
        judge.oddity(Anomaly::DnsTooManyOutstanding);
        outstanding.pop_oldest();
    }
    outstanding.insert(header.id, name, question, terms.now);
    Asked::Pass
}

/// Finds the question of a server's message and tells what it says. While that waits the question is kept, so that the
/// same message can be shown again.
pub(crate) fn answer(
    outstanding: &mut Outstanding,
    message: &[u8],
    now: u64,
    judge: &mut dyn Judge,
) -> Answered {
    let mut text = Text::new();
    let Some(response) = Response::read(message, &mut text) else { return Answered::Malformed };
    let (place, id, rcode) = match response {
        Response::Answer { id, question, rcode, .. } => {
            (outstanding.find(id, text.as_str(), question, now), id, rcode)
        }
        Response::BareError { id, rcode } => (outstanding.find_id(id, now), id, rcode),
    };
    let Some(place) = place else { return Answered::Unexpected };
    let Some(entry) = outstanding.get_mut(place) else { return Answered::Unexpected };
    let found = match response {
        Response::Answer { question, rcode: 0, records, count, .. } if count > 0 => {
            Found::read(question, &text, records, count)
        }
        _ => Some(Found::nothing()),
    };
    let Some(found) = found else { return Answered::Malformed };
    let latency_ns = entry.answer(now);
    let (cnames, chain) = found.cnames();
    let learning = judge.dns_answer(&Answer {
        query: Query { id, name: entry.name(), qtype: entry.qtype() },
        rcode,
        addresses: found.addresses.as_slice(),
        cnames: &cnames[..chain],
        ttl: found.ttl(),
        latency_ns,
    });
    if learning == Learning::Pending {
        return Answered::Wait;
    }
    outstanding.remove(place);
    Answered::Pass
}
