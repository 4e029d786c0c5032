//! Why a packet gets its verdict: every rule that speaks about it, which decided, and what would change the answer.
//!
//! The verdict is the one of the compiled map. What is told beside it comes from a walk over the documents, rule by
//! rule, which is slow and meant for people.

use crate::direction::Direction;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::l7::L7Kind;
use crate::label::LabelSet;
use crate::provenance::Provenance;
use crate::rule::DefaultDeny;
use crate::verdict::{DenyReason, Verdict};

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
    /// The rules behind the answer.
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
    /// Whether it has conditions on messages.
    pub l7: bool,
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
}

impl Engine {
    /// Explains the verdict of an endpoint about a peer; `None` if there is no such endpoint on this node.
    #[must_use]
    pub fn explain(
        &self,
        direction: Direction,
        (namespace, name): (&str, &str),
        peer: Identity,
        proto: u8,
        port: u16,
    ) -> Option<Explanation> {
        let endpoint = self.endpoint(namespace, name)?;
        let snapshot = self.snapshot();
        let verdict = endpoint.map.lookup(direction, peer, proto, port);
        let (rule, l7) = match verdict {
            Verdict::Allow(permit) => (permit.rule(), permit.l7()),
            Verdict::Deny(denial) => (denial.rule, None),
        };
        let labels = |identity| snapshot.directory.labels(identity).cloned().unwrap_or_default();
        let considered = self.considered(direction, (namespace, name), peer, proto, port);
        let decided_by = snapshot.rules.get(rule).to_vec();
        let change = change(verdict, direction, &labels(peer), proto, port, &decided_by);
        Some(Explanation {
            direction,
            subject: format!("{namespace}/{name}"),
            subject_labels: self.subject_labels(namespace, name).unwrap_or_default(),
            peer,
            peer_labels: labels(peer),
            verdict,
            l7: l7.and_then(|id| snapshot.l7.get(id)).map(crate::l7::L7RuleSet::kind),
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
        port: u16,
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
                        && (line.first..=line.last).contains(&port)
                };
                list.push(Considered {
                    rule: policy.provenance(entry.line),
                    deny: entry.deny,
                    peer: compiled.is_some_and(|compiled| match &compiled.peers {
                        None => true,
                        Some(peers) => peers.iter().any(|id| self.is_member(*id, peer)),
                    }),
                    port: compiled.is_some_and(|one| one.contributions(false, names).iter().any(covers)),
                    l7: entry.l7.is_some() || !entry.server_names.is_empty(),
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
                    l7: false,
                    unsupported: None,
                    audit: policy.audit,
                });
            }
        });
        list
    }
}

/// What would turn the answer round.
fn change(
    verdict: Verdict,
    direction: Direction,
    peer: &LabelSet,
    proto: u8,
    port: u16,
    decided_by: &[Provenance],
) -> String {
    let places: Vec<String> =
        decided_by.iter().map(|p| format!("{} ({}:{})", p.name, p.file, p.line)).collect();
    let places = places.join(", ");
    match verdict {
        Verdict::Allow(permit) if permit.audited() => {
            format!("switch audit mode off: {places} would deny it")
        }
        Verdict::Allow(_) if decided_by.is_empty() => {
            format!(
                "nothing is enforced here: any policy with `{direction}` rules that selects this endpoint"
            )
        }
        Verdict::Allow(_) => format!("take it out of {places}, or add a deny rule"),
        Verdict::Deny(denial) => match denial.reason {
            DenyReason::NoRule => missing_rule(direction, peer, proto, port),
            DenyReason::DenyRule => format!("take it out of {places}: no allow rule outweighs a deny"),
            DenyReason::Unsupported => format!("take the condition that cannot be honoured out of {places}"),
            DenyReason::InvalidPolicy => format!("correct {places}"),
        },
    }
}

/// The rule that is missing, as it would be written.
fn missing_rule(direction: Direction, peer: &LabelSet, proto: u8, port: u16) -> String {
    let (from, list) = match direction {
        Direction::Ingress => ("from", "ingress"),
        Direction::Egress => ("to", "egress"),
    };
    let cidr = peer.iter().find(|label| label.source == crate::label::Source::Cidr);
    let reserved = peer.iter().find(|label| label.source == crate::label::Source::Reserved);
    let who = match (cidr, reserved) {
        (Some(cidr), _) => format!("{from}CIDR: [\"{}\"]", cidr.key),
        (None, Some(reserved)) if reserved.key.starts_with("world") => format!("{from}Entities: [world]"),
        (None, Some(reserved)) => format!("{from}Entities: [{}]", reserved.key),
        (None, None) => {
            let own = peer.iter().filter(|label| !label.key.starts_with("io.cilium."));
            let own: Vec<String> =
                own.map(|label| format!("\"{}:{}\": \"{}\"", label.source, label.key, label.value)).collect();
            format!("{from}Endpoints: [{{matchLabels: {{{}}}}}]", own.join(", "))
        }
    };
    let ports = match proto {
        6 => format!("toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]"),
        17 => format!("toPorts: [{{ports: [{{port: \"{port}\", protocol: UDP}}]}}]"),
        132 => format!("toPorts: [{{ports: [{{port: \"{port}\", protocol: SCTP}}]}}]"),
        1 => format!("icmps: [{{fields: [{{family: IPv4, type: {port}}}]}}]"),
        58 => format!("icmps: [{{fields: [{{family: IPv6, type: {port}}}]}}]"),
        _ => return format!("{list}: [{{{who}}}]"),
    };
    format!("{list}: [{{{who}, {ports}}}]")
}
