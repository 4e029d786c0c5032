//! Why a packet gets its verdict: every rule that speaks about it, which decided, and what would change the answer.
//!
//! The verdict is the one of the compiled map, and the answer to a message that of its rule set. What is told beside
//! them comes from a walk over the documents, rule by rule, which is slow and meant for people.

mod change;
mod conditions;

use crate::conformance::{Flow, MessageAnswer, decide};
use crate::direction::Direction;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::l7::L7Kind;
use crate::label::LabelSet;
use crate::provenance::Provenance;
use crate::rule::DefaultDeny;
use crate::verdict::Verdict;
pub use conditions::MessageFit;

/// One side of a flow, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which side.
    pub direction: Direction,
    /// The subject, `namespace/name`.
    pub subject: String,
    /// Labels of the subject.
    pub subject_labels: LabelSet,
    /// The peer's identity.
    pub peer: Identity,
    /// Labels of the peer.
    pub peer_labels: LabelSet,
    /// The answer of the compiled map.
    pub verdict: Verdict,
    /// The protocol whose rules decide the rest.
    pub l7: Option<L7Kind>,
    /// The answer to the message, where this side inspects and the flow has one.
    pub message: Option<MessageAnswer>,
    /// The rules behind the answer: that to the message, if there is one.
    pub decided_by: Vec<Provenance>,
    /// Every element of every rule that selects the subject and speaks about this direction.
    pub considered: Vec<Considered>,
    /// What to add to, or take from, the policies for the opposite answer.
    pub change: String,
}

/// One rule element that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Considered {
    /// Where it stands.
    pub rule: Provenance,
    /// Whether it denies.
    pub deny: bool,
    /// Whether the peer is among its peers.
    pub peer: bool,
    /// Whether protocol and port are among its ports.
    pub port: bool,
    /// Its conditions on messages, as text; none means any message.
    pub conditions: Option<String>,
    /// How the message fits them, where packet and message are asked about them.
    pub message: Option<MessageFit>,
    /// Why what it would allow is denied.
    pub unsupported: Option<&'static str>,
    /// Whether its policy is in audit mode.
    pub audit: bool,
}

impl Considered {
    /// Whether it covers the packet.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.peer && self.port
    }

    /// Whether it covers the packet and the message.
    #[must_use]
    pub fn matches_message(&self) -> bool {
        self.matches() && self.message.is_none_or(|fit| fit == MessageFit::Fits)
    }
}

impl Engine {
    /// Explains the verdict of an endpoint about a peer, on the port and the message of `flow` (whose ends are not
    /// looked at); `None` if there is no such endpoint on this node.
    #[must_use]
    pub fn explain(
        &self,
        direction: Direction,
        (namespace, name): (&str, &str),
        peer: Identity,
        proto: u8,
        flow: &Flow,
    ) -> Option<Explanation> {
        let endpoint = self.endpoint(namespace, name)?;
        let snapshot = self.snapshot();
        let verdict = endpoint.map.lookup(direction, peer, proto, flow.port);
        let (rule, l7) = match verdict {
            Verdict::Allow(permit) => (permit.rule(), permit.l7()),
            Verdict::Deny(denial) => (denial.rule, None),
        };
        let labels = |identity| snapshot.directory.labels(identity).cloned().unwrap_or_default();
        let set = l7.and_then(|id| snapshot.l7.get(id));
        let kind = set.map(crate::l7::L7RuleSet::kind);
        let message = set.and_then(|set| decide(set, flow));
        let considered = self.considered(direction, (namespace, name), peer, proto, flow, kind);
        let decided_by = snapshot.rules.get(message.map_or(rule, |answer| answer.decision.rule)).to_vec();
        let peer_labels = labels(peer);
        let change = change::Question { direction, peer: &peer_labels, proto, flow, kind };
        let change = change.answer(verdict, message, &decided_by, &considered);
        Some(Explanation {
            direction,
            subject: format!("{namespace}/{name}"),
            subject_labels: self.subject_labels(namespace, name).unwrap_or_default(),
            peer,
            peer_labels,
            verdict,
            l7: kind,
            message,
            decided_by,
            considered,
            change,
        })
    }

    fn considered(
        &self,
        direction: Direction,
        subject: (&str, &str),
        peer: Identity,
        proto: u8,
        flow: &Flow,
        governing: Option<L7Kind>,
    ) -> Vec<Considered> {
        let mut list = Vec::new();
        self.selecting(subject, direction, |policy, rule, compiled, names| {
            let Some(half) = compiled.half(direction) else { return };
            // Elements without peers were left out when the rule was compiled; they are told of by their line.
            let mut compiled_entries = half.entries.iter();
            for entry in rule.entries(direction) {
                let compiled = match entry.peers {
                    crate::rule::Peers::None => None,
                    _ => compiled_entries.next(),
                };
                let covers = |line: &crate::compile::merge::Contribution| {
                    line.protos & crate::map::ProtoSlot::of(proto).bit() != 0
                        && (line.first..=line.last).contains(&flow.port)
                };
                let peer = compiled.is_some_and(|compiled| match &compiled.peers {
                    None => true,
                    Some(peers) => peers.iter().any(|id| self.is_member(*id, peer)),
                });
                let port = compiled.is_some_and(|one| one.contributions(false, names).iter().any(covers));
                list.push(Considered {
                    rule: policy.provenance(entry.line),
                    deny: entry.deny,
                    peer,
                    port,
                    conditions: conditions::text(entry),
                    message: (peer && port).then(|| conditions::fit(entry, flow, governing)).flatten(),
                    unsupported: entry.unsupported,
                    audit: policy.audit,
                });
            }
            if half.default == DefaultDeny::On && rule.entries(direction).is_empty() {
                list.push(Considered {
                    rule: policy.provenance(rule.line),
                    deny: false,
                    peer: false,
                    port: false,
                    conditions: None,
                    message: None,
                    unsupported: None,
                    audit: policy.audit,
                });
            }
        });
        list
    }
}
