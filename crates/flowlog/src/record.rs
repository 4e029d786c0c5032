//! A record: one event with its names resolved, in the JSON shape of Hubble's `flow.Flow`.
//!
//! Fields stand in the order in which Hubble writes them; absent and default values are left out, as its own output
//! does. What Hubble has no field for stands under `extensions`. Records are also read back (`--input-file`), from
//! Hubble's files too, so unknown fields are ignored and every field has a default.

mod extensions;
mod json;
mod l4;
mod l7;
mod names;
mod parts;
mod resolve;

pub use extensions::{CloseInfo, DefaultDeny, Extensions, Rule};
pub(crate) use json::is_default;
pub use json::{Time, u64_string};
pub use l4::{Icmp, L4, Opaque, Ports, Tcp, TcpFlagSet};
pub use l7::{Dns, Http, HttpHeader, Kafka, L7Type, Layer7, Tls};
pub use names::{
    FlowType, IpVersion, PolicyMatch, TracePoint, TraceReasonName, TrafficDirection, Verdict, message_type,
};
pub use parts::{
    Endpoint, Ethernet, EventType, Interface, Ip, IpTraceId, PolicyRef, ServiceRef, TraceContext,
    TraceParent, WorkloadRef,
};
pub use resolve::{Resolver, Workload, workload_of};

use crate::detail::Message;
use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, FlowEvent, TraceReason, VerdictKind};
use crate::summary;
use packet::FlowKey;
use policy::{DenyReason, Direction, Provenance, RuleId};
use serde::{Deserialize, Serialize};

/// One flow record.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Names this record.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// What became of the packet.
    #[serde(skip_serializing_if = "Verdict::is_unknown")]
    pub verdict: Verdict,
    /// Number of the drop reason (deprecated by Hubble in favour of `drop_reason_desc`, still written).
    #[serde(skip_serializing_if = "is_default")]
    pub drop_reason: u32,
    /// Hardware addresses; only in what Hubble wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Box<Ethernet>>,
    /// Addresses.
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    /// Protocol and ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4: Option<L4>,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
    /// Layer of the record.
    #[serde(rename = "Type", skip_serializing_if = "is_default")]
    pub flow_type: FlowType,
    /// Node that saw it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// Labels of that node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_labels: Vec<String>,
    /// DNS names of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_names: Vec<String>,
    /// DNS names of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_names: Vec<String>,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l7: Option<Layer7>,
    /// Kind of event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// Service that the source's address belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_service: Option<Box<ServiceRef>>,
    /// Service that the destination's address belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_service: Option<Box<ServiceRef>>,
    /// Seen from the endpoint that decided.
    #[serde(skip_serializing_if = "is_default")]
    pub traffic_direction: TrafficDirection,
    /// [`PolicyMatch`] as a number.
    #[serde(skip_serializing_if = "is_default")]
    pub policy_match_type: u32,
    /// Where on its way the packet was seen.
    #[serde(skip_serializing_if = "is_default")]
    pub trace_observation_point: TracePoint,
    /// How it relates to its connection.
    #[serde(skip_serializing_if = "is_default")]
    pub trace_reason: TraceReasonName,
    /// Interface on which it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Box<Interface>>,
    /// Name of the drop reason.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub drop_reason_desc: String,
    /// Whether the packet answers; absent where Hubble does not say (drops).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_reply: Option<bool>,
    /// The distributed trace that a message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_context: Option<Box<TraceContext>>,
    /// Trace id in the packet's IP options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_trace_id: Option<Box<IpTraceId>>,
    /// One line for people.
    #[serde(rename = "Summary", skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// What only we say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
    /// Policies that allowed it, source side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_allowed_by: Vec<PolicyRef>,
    /// Policies that allowed it, destination side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress_allowed_by: Vec<PolicyRef>,
    /// Deny rules that hit it, source side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_denied_by: Vec<PolicyRef>,
    /// Deny rules that hit it, destination side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress_denied_by: Vec<PolicyRef>,
}

impl Record {
    /// Resolves `event`. `seq` numbers the records of this run and makes the `uuid` distinct.
    #[must_use]
    pub fn from_event(event: &FlowEvent, names: &dyn Resolver, seq: u64) -> Self {
        Self::from_message(event, None, names, seq)
    }

    /// Resolves `event`, and what its message says if it is one.
    #[must_use]
    pub fn from_message(
        event: &FlowEvent,
        message: Option<&Message<'_>>,
        names: &dyn Resolver,
        seq: u64,
    ) -> Self {
        let FlowKey { src, dst, src_port, dst_port, proto } = event.key;
        let mut record = Self {
            time: Some(Time::from_nanos(names.wall_clock_offset_ns() + i128::from(event.at.as_nanos()))),
            uuid: uuid(names.run_id(), seq),
            ip: (event.key.proto != 0).then(|| Ip::new(event)),
            l4: L4::from_event(event),
            source: Some(endpoint(event, true, names)),
            destination: Some(endpoint(event, false, names)),
            flow_type: FlowType::L3L4,
            node_name: names.node_name().to_owned(),
            node_labels: names.node_labels().to_vec(),
            source_service: names.service(src, proto, src_port).map(Box::new),
            destination_service: names.service(dst, proto, dst_port).map(Box::new),
            interface: names.interface(event.in_port).map(Box::new),
            source_names: names.dns_names(event.key.src),
            destination_names: names.dns_names(event.key.dst),
            summary: summary::of_packet(event),
            ..Self::default()
        };
        let mut extra = Extensions {
            epoch: event.epoch,
            length: event.len,
            in_port: event.in_port.0,
            ..Extensions::default()
        };
        match event.kind {
            EventKind::Verdict { direction, verdict, rule, reason } => {
                record.policy_verdict(event, (direction, verdict, rule, reason), names, &mut extra);
            }
            EventKind::Trace { reason } => record.trace(event, reason),
            EventKind::Drop { reason, direction, rule } => {
                record.verdict = Verdict::Dropped;
                record.event_type =
                    Some(EventType { kind: message_type::DROP, sub_type: reason.hubble().1 as i32 });
                record.traffic_direction = direction.map_or_else(|| seen_from(event), TrafficDirection::from);
                record.denied(event, (reason, direction), rule, names, &mut extra);
            }
            EventKind::Message { verdict, direction, rule } => {
                record.message(event, message, (verdict, direction, rule), names, &mut extra);
            }
            EventKind::Close { reason, packets, bytes, duration_ns } => {
                let close = CloseInfo::new(reason, packets, bytes, duration_ns);
                record.verdict =
                    if reason == CloseReason::Revoked { Verdict::Dropped } else { Verdict::Traced };
                record.event_type =
                    Some(EventType { kind: message_type::CLOSE, sub_type: close_number(reason) });
                record.traffic_direction = seen_from(event);
                record.is_reply = Some(false);
                record.summary = summary::of_close(&close);
                extra.close = Some(close);
            }
        }
        record.extensions = Some(extra);
        record
    }

    fn policy_verdict(
        &mut self,
        event: &FlowEvent,
        (direction, verdict, rule, reason): (Direction, VerdictKind, RuleId, TraceReason),
        names: &dyn Resolver,
        extra: &mut Extensions,
    ) {
        self.event_type = Some(EventType { kind: message_type::POLICY_VERDICT, sub_type: 0 });
        self.traffic_direction = direction.into();
        self.trace_reason = reason.into();
        let rules = names.rules(rule);
        let matched = names.policy_match(rule).unwrap_or_else(|| PolicyMatch::of(verdict, rule));
        self.policy_match_type = matched as u32;
        match verdict {
            VerdictKind::Denied(drop) => {
                self.verdict = Verdict::Dropped;
                self.denied(event, (drop, Some(direction)), rule, names, extra);
            }
            VerdictKind::Allowed | VerdictKind::Redirected => {
                self.verdict =
                    if verdict == VerdictKind::Allowed { Verdict::Forwarded } else { Verdict::Redirected };
                self.is_reply = Some(false);
                extra.rules = rules.iter().map(Rule::from).collect();
                let by = policies(&rules, extra.epoch);
                match direction {
                    Direction::Ingress => self.ingress_allowed_by = by,
                    Direction::Egress => self.egress_allowed_by = by,
                }
            }
            VerdictKind::Audited => {
                self.verdict = Verdict::Audit;
                self.is_reply = Some(false);
                extra.default_deny = Some(DefaultDeny::new(event, direction, &rules, names));
            }
        }
    }

    fn trace(&mut self, event: &FlowEvent, reason: TraceReason) {
        let point = if event.dst_endpoint.is_some() {
            TracePoint::ToEndpoint
        } else if event.dst_identity == policy::Identity::HOST {
            TracePoint::ToHost
        } else {
            TracePoint::ToStack
        };
        self.verdict = Verdict::Forwarded;
        self.event_type = Some(EventType { kind: message_type::TRACE, sub_type: point.sub_type() });
        self.trace_observation_point = point;
        self.trace_reason = reason.into();
        self.traffic_direction = seen_from(event);
        self.is_reply = Some(event.is_reply);
    }

    /// A refusal by policy or otherwise. `is_reply` stays open, as in Hubble.
    fn denied(
        &mut self,
        event: &FlowEvent,
        (reason, direction): (DropReason, Option<Direction>),
        rule: RuleId,
        names: &dyn Resolver,
        extra: &mut Extensions,
    ) {
        let rules = names.rules(rule);
        let (name, number) = reason.hubble();
        name.clone_into(&mut self.drop_reason_desc);
        self.drop_reason = number;
        let (DropReason::Denied(kind), Some(direction)) = (reason, direction) else {
            extra.rules = rules.iter().map(Rule::from).collect();
            return;
        };
        if kind == DenyReason::NoRule {
            extra.default_deny = Some(DefaultDeny::new(event, direction, &rules, names));
            extra.hint = summary::missing_rule(self, direction);
            return;
        }
        extra.rules = rules.iter().map(Rule::from).collect();
        let by = policies(&rules, extra.epoch);
        match direction {
            Direction::Ingress => self.ingress_denied_by = by,
            Direction::Egress => self.egress_denied_by = by,
        }
    }

    /// Kind number of the event, 0 when absent.
    #[must_use]
    pub fn event_kind(&self) -> i32 {
        self.event_type.map_or(0, |t| t.kind)
    }
}

/// Without a deciding side: relative to the local endpoint that the packet reaches or leaves, turned round for
/// replies, because the direction is that of the connection.
pub(crate) fn seen_from(event: &FlowEvent) -> TrafficDirection {
    match (event.dst_endpoint.is_some(), event.src_endpoint.is_some(), event.is_reply) {
        (true, _, false) | (false, true, true) => TrafficDirection::Ingress,
        (true, _, true) | (false, true, false) => TrafficDirection::Egress,
        (false, false, _) => TrafficDirection::Unknown,
    }
}

fn endpoint(event: &FlowEvent, source: bool, names: &dyn Resolver) -> Endpoint {
    let (addr, identity, id) = if source {
        (event.key.src, event.src_identity, event.src_endpoint)
    } else {
        (event.key.dst, event.dst_identity, event.dst_endpoint)
    };
    let workload = id.and_then(|id| names.endpoint(id)).or_else(|| names.address(addr)).unwrap_or_default();
    let labels = if workload.labels.is_empty() { names.labels(identity) } else { workload.labels };
    let mut workloads = workload.workloads;
    if workloads.is_empty() {
        workloads.extend(resolve::workload_of(&workload.pod_name));
    }
    let cluster = if workload.pod_name.is_empty() { "" } else { names.cluster_name() };
    Endpoint {
        id: id.map_or(0, |id| u32::from(id.0)),
        identity: identity.0,
        cluster_name: cluster.to_owned(),
        namespace: workload.namespace,
        labels,
        pod_name: workload.pod_name,
        workloads,
    }
}

/// One entry a policy, though several of its rules may have matched.
fn policies(rules: &[Provenance], revision: u64) -> Vec<PolicyRef> {
    let mut found: Vec<PolicyRef> = Vec::new();
    for rule in rules {
        let policy = PolicyRef::new(rule, revision);
        if !found.contains(&policy) {
            found.push(policy);
        }
    }
    found
}

const fn close_number(reason: CloseReason) -> i32 {
    match reason {
        CloseReason::Finished => 0,
        CloseReason::Reset => 1,
        CloseReason::TimedOut => 2,
        CloseReason::Evicted => 3,
        CloseReason::Revoked => 4,
        CloseReason::PortGone => 5,
    }
}

/// A version 8 UUID (RFC 9562 §5.8): the run's number and the record's.
fn uuid(run: u64, seq: u64) -> String {
    let low = (seq & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        run >> 32,
        (run >> 16) & 0xffff,
        run & 0xfff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests;
