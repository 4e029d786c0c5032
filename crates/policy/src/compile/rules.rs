//! One rule, ready to be merged into maps: selectors replaced by numbers, ports by ranges.

use super::merge::{Contribution, Effect};
use super::sets::RuleSets;
use crate::direction::Direction;
use crate::engine::peers::{PeerId, PeerStore};
use crate::l7::{FragmentRules, L7Kind};
use crate::map::{PROTOS, ProtoSlot};
use crate::rule::{
    DefaultDeny, Entry, IcmpFamily, L7Rules, Peers, Policy, Port, PortRule, Ports, Protocol, Rule, Subject,
};
use std::sync::Arc;

/// All protocols.
const ALL: u8 = (1 << PROTOS) - 1;

/// A rule of a policy that is in force.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    /// Never used twice.
    pub(crate) uid: u64,
    pub(crate) subject: Subject,
    /// Ingress and egress, where the rule speaks about them.
    pub(crate) halves: [Option<RuleHalf>; 2],
    /// Whether its policy is in audit mode.
    pub(crate) audit: bool,
}

/// What a rule says about one direction.
#[derive(Debug)]
pub(crate) struct RuleHalf {
    pub(crate) default: DefaultDeny,
    /// Provenance of the rule as a whole.
    pub(crate) rule: u32,
    pub(crate) entries: Vec<CompiledEntry>,
}

/// One element of a rule.
#[derive(Debug)]
pub(crate) struct CompiledEntry {
    /// Peers it applies to; `None`: any.
    pub(crate) peers: Option<Vec<PeerId>>,
    pub(crate) ports: Vec<CompiledPort>,
    pub(crate) effect: Effect,
    pub(crate) rule: u32,
}

/// Ports of one entry.
#[derive(Debug)]
pub(crate) enum CompiledPort {
    /// Known numbers.
    Numbers { protos: u8, first: u16, last: u16 },
    /// Every port; not "exact" in the sense of [`Contribution`].
    Every { protos: u8 },
    /// Looked up by name.
    Named { protos: u8, name: Arc<str> },
}

/// Looks a named port up, per protocol.
pub(crate) trait NamedPorts {
    /// Its number, unless unknown or ambiguous.
    fn number(&self, name: &str, proto: ProtoSlot) -> Option<u16>;
}

impl CompiledRule {
    pub(crate) fn new(
        uid: u64,
        policy: &Policy,
        rule: &Rule,
        peers: &mut PeerStore,
        sets: &mut RuleSets,
    ) -> Self {
        let mut half = |direction: Direction| {
            let (entries, default) = (rule.entries(direction), rule.default_deny(direction));
            if entries.is_empty() && default == DefaultDeny::Untouched {
                return None;
            }
            let entries =
                entries.iter().filter_map(|entry| compile_entry(policy, entry, peers, sets)).collect();
            Some(RuleHalf { default, rule: sets.provenance(&policy.provenance(rule.line)), entries })
        };
        let halves = [half(Direction::Ingress), half(Direction::Egress)];
        Self { uid, subject: rule.subject.clone(), halves, audit: policy.audit }
    }

    pub(crate) fn half(&self, direction: Direction) -> Option<&RuleHalf> {
        match direction {
            Direction::Ingress => self.halves[0].as_ref(),
            Direction::Egress => self.halves[1].as_ref(),
        }
    }

    /// Every L7 fragment that the rule holds.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = u32> {
        self.halves
            .iter()
            .flatten()
            .flat_map(|half| &half.entries)
            .filter_map(|entry| entry.effect.fragment())
    }

    /// Every provenance that the rule holds.
    pub(crate) fn provenances(&self) -> impl Iterator<Item = u32> {
        let halves = self.halves.iter().flatten();
        halves.flat_map(|half| half.entries.iter().map(|entry| entry.rule).chain([half.rule]))
    }

    /// Every peer number that the rule holds.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.halves
            .iter()
            .flatten()
            .flat_map(|half| &half.entries)
            .filter_map(|e| e.peers.as_ref())
            .flatten()
            .copied()
    }
}

impl CompiledEntry {
    pub(crate) fn uses_names(&self) -> bool {
        self.ports.iter().any(|port| matches!(port, CompiledPort::Named { .. }))
    }

    /// Its contributions for an endpoint; names that mean nothing contribute nothing.
    pub(crate) fn contributions(&self, audit: bool, names: &dyn NamedPorts) -> Vec<Contribution> {
        let mut list = Vec::with_capacity(self.ports.len());
        let mut add = |protos, first, last, exact| {
            let (effect, rule) = (self.effect.clone(), Some(self.rule));
            list.push(Contribution { protos, first, last, effect, rule, audit, exact });
        };
        for port in &self.ports {
            match *port {
                CompiledPort::Numbers { protos, first, last } => add(protos, first, last, first == last),
                CompiledPort::Every { protos } => add(protos, 0, u16::MAX, false),
                CompiledPort::Named { protos, ref name } => {
                    for slot in (0..PROTOS).map(ProtoSlot).filter(|slot| protos & slot.bit() != 0) {
                        if let Some(number) = names.number(name, slot) {
                            add(slot.bit(), number, number, true);
                        }
                    }
                }
            }
        }
        list
    }
}

fn compile_entry(
    policy: &Policy,
    entry: &Entry,
    peers: &mut PeerStore,
    sets: &mut RuleSets,
) -> Option<CompiledEntry> {
    let peers = match &entry.peers {
        Peers::None => return None,
        Peers::Any => None,
        Peers::List(list) if list.iter().any(PeerStore::is_everyone) => None,
        Peers::List(list) => Some(list.iter().map(|peer| peers.intern(peer)).collect()),
    };
    let rule = sets.provenance(&policy.provenance(entry.line));
    let ports = compile_ports(&entry.ports);
    Some(CompiledEntry { peers, ports, effect: effect(entry, rule, sets), rule })
}

fn effect(entry: &Entry, rule: u32, sets: &mut RuleSets) -> Effect {
    let fragment = match message_rules(entry) {
        MessageRules::None => None,
        // HTTP inside TLS is out of sight, whatever the server name.
        MessageRules::OutOfSight if entry.deny => return Effect::Deny,
        MessageRules::OutOfSight => return Effect::Unsupported,
        MessageRules::Of(kind, rules) => Some((kind, rules)),
    };
    match (entry.deny, fragment) {
        (true, None) => Effect::Deny,
        (true, Some((kind, rules))) => Effect::DenyL7(kind, sets.fragment(rules, rule)),
        (false, _) if entry.unsupported.is_some() => Effect::Unsupported,
        (false, None) => Effect::Allow,
        (false, Some((kind, rules))) => Effect::Redirect(kind, sets.fragment(rules, rule)),
    }
}

/// What an entry asks of messages.
pub(crate) enum MessageRules {
    /// Nothing.
    None,
    /// One of these.
    Of(L7Kind, FragmentRules),
    /// Server names and application rules together, which takes ending TLS.
    OutOfSight,
}

pub(crate) fn message_rules(entry: &Entry) -> MessageRules {
    match (&entry.l7, entry.server_names.is_empty()) {
        (None, true) => MessageRules::None,
        (None, false) => MessageRules::Of(L7Kind::Tls, FragmentRules::Tls(entry.server_names.clone())),
        (Some(_), false) => MessageRules::OutOfSight,
        (Some(L7Rules::Http(rules)), true) => {
            MessageRules::Of(L7Kind::Http, FragmentRules::Http(rules.clone()))
        }
        (Some(L7Rules::Dns(rules)), true) => MessageRules::Of(L7Kind::Dns, FragmentRules::Dns(rules.clone())),
        (Some(L7Rules::Kafka(rules)), true) => {
            MessageRules::Of(L7Kind::Kafka, FragmentRules::Kafka(rules.clone()))
        }
    }
}

fn compile_ports(ports: &Ports) -> Vec<CompiledPort> {
    match ports {
        Ports::Any => vec![CompiledPort::Every { protos: ALL }],
        Ports::List(list) => list.iter().map(compile_port).collect(),
        Ports::Icmp(types) => types
            .iter()
            .map(|icmp| {
                let slot = match icmp.family {
                    IcmpFamily::V4 => ProtoSlot::ICMP,
                    IcmpFamily::V6 => ProtoSlot::ICMPV6,
                };
                match u16::from(icmp.kind) {
                    // The type stands where the port stands, and port 0 is every port, as in Cilium.
                    0 => CompiledPort::Every { protos: slot.bit() },
                    kind => CompiledPort::Numbers { protos: slot.bit(), first: kind, last: kind },
                }
            })
            .collect(),
    }
}

fn compile_port(rule: &PortRule) -> CompiledPort {
    let protos = match rule.protocol {
        Protocol::Any => ProtoSlot::TCP.bit() | ProtoSlot::UDP.bit() | ProtoSlot::SCTP.bit(),
        Protocol::Tcp => ProtoSlot::TCP.bit(),
        Protocol::Udp => ProtoSlot::UDP.bit(),
        Protocol::Sctp => ProtoSlot::SCTP.bit(),
    };
    match &rule.port {
        Port::Any => CompiledPort::Every { protos },
        Port::Numbers(numbers) => {
            CompiledPort::Numbers { protos, first: *numbers.start(), last: *numbers.end() }
        }
        Port::Named(name) => CompiledPort::Named { protos, name: Arc::clone(name) },
    }
}
