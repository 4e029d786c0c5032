//! Hubble's metrics about packets and connections: flow, drop, policy, tcp, sctp, icmp, port-distribution,
//! flows-to-world.

use super::Seen;
use super::config::PluginConfig;
use super::contexts::Contexts;
use super::exposition::Page;
use super::family::{Count, Family, Value};
use super::messages::Messages;
use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, MessageVerdict, VerdictKind};
use crate::record::{PolicyMatch, Resolver, TrafficDirection, Verdict};
use crate::summary::icmp_type;
use foldhash::fast::RandomState;
use packet::packet::proto;
use packet::{Instant, TcpFlags};
use policy::{DenyReason, Identity};
use std::collections::{HashMap, HashSet};

/// Identities of which it is remembered whether they are outside of the cluster.
const WORLDS: usize = 65_536;

/// A plugin: what it counts, by whom.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) config: PluginConfig,
    contexts: Contexts,
    counts: Counts,
}

/// What it counts.
#[derive(Clone, Debug)]
enum Counts {
    Drop(Family<Count>),
    Flow(Family<Count>),
    Icmp(Family<Count>),
    Policy(Family<Count>),
    PortDistribution(Family<Count>),
    Sctp(Family<Count>),
    Tcp(Family<Count>),
    World(World),
    Messages(Messages),
}

impl Plugin {
    pub(super) fn new(config: &PluginConfig, most: usize) -> Option<Self> {
        let family = |name, help, labels: &[&'static str]| {
            Family::<Count>::new(name, help, labels.iter().copied(), most)
        };
        let counts = match config.name {
            "drop" => {
                Counts::Drop(family("hubble_drop_total", "Drops and denials.", &["reason", "protocol"]))
            }
            "flow" => Counts::Flow(family(
                "hubble_flows_processed_total",
                "Flow records.",
                &["type", "subtype", "verdict", "protocol"],
            )),
            "flows-to-world" => {
                let port = config.has("port").then_some("port");
                let labels: Vec<_> = ["protocol", "verdict"].into_iter().chain(port).collect();
                Counts::World(World {
                    family: family("hubble_flows_to_world_total", "Flows that leave the cluster.", &labels),
                    any_drop: config.has("any-drop"),
                    port: config.has("port"),
                    syn_only: config.has("syn-only"),
                    known: HashMap::default(),
                })
            }
            "icmp" => Counts::Icmp(family(
                "hubble_icmp_total",
                "ICMP packets that were passed on.",
                &["family", "type"],
            )),
            "policy" => Counts::Policy(family(
                "hubble_policy_verdicts_total",
                "What policy said about connections and messages.",
                &["direction", "match", "action"],
            )),
            "port-distribution" => Counts::PortDistribution(family(
                "hubble_port_distribution_total",
                "Packets that were passed on, by the port they go to.",
                &["protocol", "port"],
            )),
            "sctp" => Counts::Sctp(family(
                "hubble_sctp_chunk_types_total",
                "SCTP packets that were passed on, by their first chunk.",
                &["chunk_type", "family"],
            )),
            "tcp" => Counts::Tcp(family(
                "hubble_tcp_flags_total",
                "TCP packets with these flags that were passed on.",
                &["flag", "family"],
            )),
            _ => Counts::Messages(Messages::new(config, most)?),
        };
        let contexts = Contexts::new(config.contexts.clone(), most);
        Some(Self { config: config.clone(), contexts, counts })
    }

    /// Counts one event, if it is of interest.
    #[inline]
    pub(super) fn count(&mut self, seen: &Seen<'_>, names: &dyn Resolver) {
        let Self { contexts, counts, .. } = self;
        match counts {
            Counts::Flow(family) => {
                let context = contexts.of(seen, false, names);
                let (kind, subtype) = kinds(seen);
                family.add(context, [kind, subtype, seen.verdict.name(), seen.protocol].map(Value::from));
            }
            Counts::Drop(family) => {
                let Some(reason) = reason(seen) else { return };
                let context = contexts.of(seen, false, names);
                family.add(context, [reason.hubble().0, seen.protocol].map(Value::from));
            }
            Counts::Icmp(family) => {
                let proto = seen.event.key.proto;
                if passed_on(seen) && matches!(proto, proto::ICMP | proto::ICMPV6) {
                    let (kind, code) = seen.event.icmp;
                    let kind = icmp_type(proto == proto::ICMPV6, kind, code).unwrap_or(super::OTHER);
                    let context = contexts.of(seen, false, names);
                    family.add(context, [ip_family(seen), kind].map(Value::from));
                }
            }
            Counts::Tcp(family) => {
                if !passed_on(seen) || seen.event.key.proto != proto::TCP {
                    return;
                }
                let context = contexts.of(seen, false, names);
                for flag in tcp_flags(seen.event.tcp_flags) {
                    family.add(context, [flag, ip_family(seen)].map(Value::from));
                }
            }
            Counts::Sctp(family) => {
                if passed_on(seen) && seen.event.key.proto == proto::SCTP {
                    let context = contexts.of(seen, false, names);
                    family.add(context, [chunk_type(seen.event.icmp.0), ip_family(seen)].map(Value::from));
                }
            }
            Counts::PortDistribution(family) => {
                // A drop does not say whether it is a reply; what is a reply goes to whatever port was free.
                if passed_on(seen) && !seen.event.is_reply && has_ports_or_types(seen.event.key.proto) {
                    let context = contexts.of(seen, false, names);
                    let port = u32::from(seen.event.key.dst_port);
                    let port = if is_icmp(seen.event.key.proto) { 0 } else { port };
                    family.add(context, [seen.protocol.into(), Value::Number(port)]);
                }
            }
            Counts::Policy(family) => {
                let Some((matched, direction)) = policy_match(seen) else { return };
                // The host may always talk to its pods.
                if seen.event.src_identity == Identity::HOST {
                    return;
                }
                let context = contexts.of(seen, false, names);
                family.add(context, [direction, matched, action(seen.verdict)].map(Value::from));
            }
            Counts::World(world) => world.count(contexts, seen, names),
            Counts::Messages(messages) => messages.count(contexts, seen, names),
        }
    }

    /// Names changed.
    pub(super) fn renamed(&mut self) {
        self.contexts.renamed();
        if let Counts::World(world) = &mut self.counts {
            world.known.clear();
        }
    }

    /// Whether a series names a pod.
    pub(super) fn names_pods(&self) -> bool {
        self.contexts.names_pods()
    }

    /// Forgets series of pods that have been gone for a while.
    pub(super) fn sweep(&mut self, now: Instant, is_there: &dyn Fn(&super::PodName) -> bool) {
        let dead: HashSet<u32> = self.contexts.vanished(now, is_there);
        if dead.is_empty() {
            return;
        }
        match &mut self.counts {
            Counts::Messages(messages) => messages.forget(&dead),
            other => {
                if let Some(family) = other.family_mut() {
                    family.forget(&dead);
                }
            }
        }
    }

    /// Name, series and overflow of each of its metrics.
    pub(super) fn fill(&self) -> Vec<(&'static str, usize, u64)> {
        match &self.counts {
            Counts::Messages(messages) => messages.fill(),
            other => other.family().map(Family::fill).into_iter().collect(),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        match &self.counts {
            Counts::Messages(messages) => messages.write(page, &self.contexts),
            other => {
                if let Some(family) = other.family() {
                    family.write(page, &self.contexts);
                }
            }
        }
    }
}

impl Counts {
    fn family(&self) -> Option<&Family<Count>> {
        match self {
            Self::Drop(family)
            | Self::Flow(family)
            | Self::Icmp(family)
            | Self::Policy(family)
            | Self::PortDistribution(family)
            | Self::Sctp(family)
            | Self::Tcp(family)
            | Self::World(World { family, .. }) => Some(family),
            Self::Messages(_) => None,
        }
    }

    fn family_mut(&mut self) -> Option<&mut Family<Count>> {
        match self {
            Self::Drop(family)
            | Self::Flow(family)
            | Self::Icmp(family)
            | Self::Policy(family)
            | Self::PortDistribution(family)
            | Self::Sctp(family)
            | Self::Tcp(family)
            | Self::World(World { family, .. }) => Some(family),
            Self::Messages(_) => None,
        }
    }
}

/// Flows to the world.
#[derive(Clone, Debug)]
struct World {
    family: Family<Count>,
    any_drop: bool,
    port: bool,
    syn_only: bool,
    /// Whether an identity is outside of the cluster.
    known: HashMap<Identity, bool, RandomState>,
}

impl World {
    fn count(&mut self, contexts: &mut Contexts, seen: &Seen<'_>, names: &dyn Resolver) {
        let e = seen.event;
        let transport =
            matches!(e.kind, EventKind::Trace { .. } | EventKind::Verdict { .. } | EventKind::Drop { .. });
        if !transport || e.is_reply || !has_ports_or_types(e.key.proto) {
            return;
        }
        let other_drop = reason(seen).is_some_and(|r| r != DropReason::Denied(DenyReason::NoRule));
        if (other_drop && !self.any_drop) || !self.is_world(e.dst_identity, names) {
            return;
        }
        let syn = e.tcp_flags.0 & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN;
        if self.syn_only && (e.key.proto != proto::TCP || !syn) {
            return;
        }
        let context = contexts.of(seen, false, names);
        let (protocol, verdict) = (seen.protocol.into(), seen.verdict.name().into());
        if self.port {
            self.family.add(context, [protocol, verdict, Value::Number(u32::from(e.key.dst_port))]);
        } else {
            self.family.add(context, [protocol, verdict]);
        }
    }

    fn is_world(&mut self, identity: Identity, names: &dyn Resolver) -> bool {
        if let Some(known) = self.known.get(&identity) {
            return *known;
        }
        let is = matches!(identity, Identity::WORLD | Identity::WORLD_IPV4 | Identity::WORLD_IPV6)
            || names.labels(identity).iter().any(|label| label == "reserved:world");
        if self.known.len() >= WORLDS {
            self.known.clear();
        }
        self.known.insert(identity, is);
        is
    }
}

/// Kind of the event, and what kind of that.
fn kinds(seen: &Seen<'_>) -> (&'static str, &'static str) {
    match seen.event.kind {
        EventKind::Drop { .. } => ("Drop", ""),
        EventKind::Trace { .. } if seen.event.dst_endpoint.is_some() => ("Trace", "to-endpoint"),
        EventKind::Trace { .. } if seen.event.dst_identity == Identity::HOST => ("Trace", "to-host"),
        EventKind::Trace { .. } => ("Trace", "to-stack"),
        EventKind::Verdict { .. } => ("PolicyVerdict", ""),
        EventKind::Message { .. } => {
            ("L7", if seen.protocol == super::UNKNOWN_L7 { "" } else { seen.protocol })
        }
        EventKind::Close { reason, .. } => (
            "Close",
            match reason {
                CloseReason::Finished => "finished",
                CloseReason::Reset => "reset",
                CloseReason::TimedOut => "timed-out",
                CloseReason::Evicted => "evicted",
                CloseReason::Revoked => "revoked",
                CloseReason::PortGone => "port-gone",
            },
        ),
    }
}

/// Why something was dropped or denied. The verdict about a packet that is dropped for it does not count again.
fn reason(seen: &Seen<'_>) -> Option<DropReason> {
    match seen.event.kind {
        EventKind::Drop { reason, .. } => Some(reason),
        EventKind::Message { verdict: MessageVerdict::Dropped(reason), .. } => {
            Some(DropReason::Denied(reason))
        }
        _ => None,
    }
}

/// Whether the event is about a packet that went on.
fn passed_on(seen: &Seen<'_>) -> bool {
    matches!(seen.event.kind, EventKind::Trace { .. } | EventKind::Verdict { .. })
        && matches!(seen.verdict, Verdict::Forwarded | Verdict::Redirected | Verdict::Audit)
}

fn is_icmp(proto: u8) -> bool {
    matches!(proto, proto::ICMP | proto::ICMPV6)
}

fn has_ports_or_types(proto: u8) -> bool {
    is_icmp(proto) || matches!(proto, proto::TCP | proto::UDP | proto::SCTP)
}

fn ip_family(seen: &Seen<'_>) -> &'static str {
    if seen.event.key.src.is_v4() { "IPv4" } else { "IPv6" }
}

fn tcp_flags(TcpFlags(flags): TcpFlags) -> impl Iterator<Item = &'static str> {
    let set = move |bit: u8| flags & bit != 0;
    let syn = if set(TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
    [(set(TcpFlags::FIN), "FIN"), (set(TcpFlags::SYN), syn), (set(TcpFlags::RST), "RST")]
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, name)| name)
}

/// The type of a chunk by its name (RFC 9260 §3.2).
fn chunk_type(number: u8) -> &'static str {
    match number {
        0 => "DATA",
        1 => "INIT",
        2 => "INIT_ACK",
        3 => "SACK",
        4 => "HEARTBEAT",
        5 => "HEARTBEAT_ACK",
        6 => "ABORT",
        7 => "SHUTDOWN",
        8 => "SHUTDOWN_ACK",
        9 => "ERROR",
        10 => "COOKIE_ECHO",
        11 => "COOKIE_ACK",
        14 => "SHUTDOWN_COMPLETE",
        _ => super::OTHER,
    }
}

/// What matched, and on which side; `None` for what is no answer of policy.
fn policy_match(seen: &Seen<'_>) -> Option<(&'static str, &'static str)> {
    let (matched, direction) = match seen.event.kind {
        EventKind::Verdict { verdict, direction, rule, .. } => {
            let matched = match PolicyMatch::of(verdict, rule) {
                PolicyMatch::None => "none",
                PolicyMatch::All => "all",
                _ => "l3-l4",
            };
            (matched, direction.into())
        }
        EventKind::Message { direction, .. } => {
            (super::messages::policy_match(seen.message)?, TrafficDirection::from(direction?))
        }
        _ => return None,
    };
    let direction = match direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
        TrafficDirection::Unknown => "unknown",
    };
    Some((matched, direction))
}

fn action(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forwarded => "forwarded",
        Verdict::Redirected => "redirected",
        Verdict::Audit => "audit",
        Verdict::Error => "error",
        _ => "dropped",
    }
}

/// What a verdict is called in records.
pub(super) fn shown(verdict: VerdictKind) -> Verdict {
    match verdict {
        VerdictKind::Allowed => Verdict::Forwarded,
        VerdictKind::Redirected => Verdict::Redirected,
        VerdictKind::Audited => Verdict::Audit,
        VerdictKind::Denied(_) => Verdict::Dropped,
    }
}
