//! Stage 4: may this connection exist?
//!
//! Resolves who speaks to whom and asks the policy map of each local side: egress at the source, ingress at the
//! destination. Pure: reads the snapshot, changes nothing.

use crate::ports::{Port, PortKind, Route};
use crate::snapshot::Snapshot;
use flowlog::DropReason;
use packet::packet::proto;
use packet::{Addr, FlowKey, L4, Packet, PortId};
use policy::{DenyReason, Direction, EndpointId, Identity, RuleId, Verdict};

/// One end of a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Party {
    /// Its identity.
    pub identity: Identity,
    /// The local endpoint, if it is one.
    pub endpoint: Option<EndpointId>,
    /// The port towards it.
    pub port: PortId,
}

/// Both ends, in the direction of the first packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Parties {
    /// Who speaks first.
    pub src: Party,
    /// To whom.
    pub dst: Party,
}

/// What one side said.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SideVerdict {
    /// Which side.
    pub direction: Direction,
    /// Its answer.
    pub verdict: Verdict,
    /// Whether that side enforces anything in that direction.
    pub enforced: bool,
}

/// The answer of all sides that have one.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Judgement {
    /// The source's egress policy, where the source is a local endpoint.
    pub egress: Option<SideVerdict>,
    /// The destination's ingress policy, where the destination is a local endpoint.
    pub ingress: Option<SideVerdict>,
}

/// A refusal: why, by which side, by which rules.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: DropReason,
    /// Which side.
    pub direction: Direction,
    /// Which rules.
    pub rule: RuleId,
}

impl Judgement {
    /// The first side that says no: egress before ingress, the way the packet travels.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.sides().find_map(|side| match side.verdict {
            Verdict::Allow(_) => None,
            Verdict::Deny(denial) => Some(Refusal {
                reason: DropReason::Denied(denial.reason),
                direction: side.direction,
                rule: denial.rule,
            }),
        })
    }

    /// The first side that allows nothing but messages, where messages cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> Option<Refusal> {
        self.sides().find_map(|side| match side.verdict {
            Verdict::Allow(permit) if permit.l7().is_some() => Some(Refusal {
                reason: DropReason::Denied(DenyReason::Unsupported),
                direction: side.direction,
                rule: permit.rule(),
            }),
            _ => None,
        })
    }

    /// The sides that have an answer, egress first.
    pub fn sides(&self) -> impl Iterator<Item = SideVerdict> {
        [self.egress, self.ingress].into_iter().flatten()
    }

    /// The rules behind each side's answer, egress and ingress.
    #[must_use]
    pub fn rules(&self) -> [RuleId; 2] {
        [self.egress, self.ingress].map(|side| match side.map(|s| s.verdict) {
            Some(Verdict::Allow(permit)) => permit.rule(),
            Some(Verdict::Deny(denial)) => denial.rule,
            None => RuleId::NONE,
        })
    }

    /// Whether audit mode let pass what a side denies.
    #[must_use]
    pub fn audited(&self) -> bool {
        self.sides().any(|side| matches!(side.verdict, Verdict::Allow(permit) if permit.audited()))
    }
}

/// Finds out who `src` and `dst` are and which ports lead to them.
///
/// # Errors
/// [`DropReason::NoRoute`] when an address leads nowhere, or both to the same port; [`DropReason::PortGone`] and
/// [`DropReason::EndpointNotReady`] when an end is not (or no longer) there.
pub fn parties(src: Addr, dst: Addr, snapshot: &Snapshot) -> Result<Parties, DropReason> {
    let port_of = |addr: Addr| match snapshot.ports.route(addr) {
        Route::Pod(id) | Route::Host(id) => snapshot.ports.get(id).ok_or(DropReason::PortGone),
        Route::None => Err(DropReason::NoRoute),
    };
    let (src_port, dst_port) = (port_of(src)?, port_of(dst)?);
    if src_port.id == dst_port.id {
        return Err(DropReason::NoRoute);
    }
    Ok(Parties { src: party(src, src_port, snapshot)?, dst: party(dst, dst_port, snapshot)? })
}

/// Identity comes from the port, never from the packet, where the port is a pod's; from the address otherwise.
///
/// A pod whose endpoint the policy does not know (yet) is refused: without a policy map nothing would be enforced.
fn party(addr: Addr, port: &Port, snapshot: &Snapshot) -> Result<Party, DropReason> {
    match &port.kind {
        PortKind::Pod { endpoint, .. } => {
            let known = endpoint.and_then(|id| snapshot.policy.endpoint(id));
            let endpoint = known.ok_or(DropReason::EndpointNotReady)?;
            Ok(Party { identity: endpoint.identity, endpoint: Some(endpoint.id), port: port.id })
        }
        PortKind::Host => {
            let identity = if snapshot.ports.is_host_addr(addr) {
                Identity::HOST
            } else {
                snapshot.policy.ip_cache.lookup(addr)
            };
            Ok(Party { identity, endpoint: None, port: port.id })
        }
    }
}

/// Asks each local side about a connection whose first packet has `key` and destination port `policy_port`.
#[must_use]
pub fn judge(key: &FlowKey, policy_port: u16, parties: &Parties, snapshot: &Snapshot) -> Judgement {
    let ask = |endpoint: Option<EndpointId>, direction: Direction, peer: Identity| {
        // `parties` has made sure that a local end is known to this very snapshot.
        let endpoint = snapshot.policy.endpoint(endpoint?)?;
        Some(SideVerdict {
            direction,
            verdict: endpoint.map.lookup(direction, peer, key.proto, policy_port),
            enforced: endpoint.map.is_enforced(direction),
        })
    };
    Judgement {
        egress: ask(parties.src.endpoint, Direction::Egress, parties.dst.identity),
        ingress: ask(parties.dst.endpoint, Direction::Ingress, parties.src.identity),
    }
}

/// What policy calls the port of a packet: the destination port, or the type of an ICMP message.
#[must_use]
pub fn policy_port(packet: &Packet) -> u16 {
    match packet.l4_header {
        L4::Tcp(tcp) => tcp.dst_port,
        L4::Udp { dst_port, .. } => dst_port,
        L4::Sctp(sctp) => sctp.dst_port,
        L4::Icmp(icmp) => u16::from(icmp.kind),
        L4::Fragment | L4::Other => 0,
    }
}

/// The same for a connection in the table, whose first packet is gone: only echo requests open ICMP connections.
#[must_use]
pub fn policy_port_of(key: &FlowKey) -> u16 {
    /// Echo request (RFC 792).
    const ECHO_V4: u16 = 8;
    /// Echo request (RFC 4443).
    const ECHO_V6: u16 = 128;
    match key.proto {
        proto::ICMP => ECHO_V4,
        proto::ICMPV6 => ECHO_V6,
        _ => key.dst_port,
    }
}
