//! The parts of a record and their JSON names.

use crate::drop_reason::DropReason;
use crate::event::{CloseReason, FlowEvent, MessageVerdict, TraceReason, VerdictKind};
use jiff::Timestamp;
use policy::{DenyReason, Direction, Provenance, RuleId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::IpAddr;

/// Kinds of event in [`EventType`]: Cilium's monitor message types, and one of our own.
pub mod message_type {
    /// A drop.
    pub const DROP: i32 = 1;
    /// A forwarded packet.
    pub const TRACE: i32 = 4;
    /// A policy verdict.
    pub const POLICY_VERDICT: i32 = 5;
    /// An L7 message.
    pub const L7: i32 = 129;
    /// The end of a connection. Ours: outside of the range that Cilium uses.
    pub const CLOSE: i32 = 1000;
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// protobuf's JSON writes 64-bit numbers as strings; both forms are read.
pub(crate) mod u64_string {
    use super::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        match Either::deserialize(d)? {
            Either::Number(n) => Ok(n),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A point in time, written as RFC 3339 with nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Time(pub Timestamp);

impl Time {
    /// From nanoseconds since 1970; held to what a timestamp can say (years -9999 to 9999).
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        let limit = if nanos < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Self(Timestamp::from_nanosecond(nanos).unwrap_or(limit))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:.9}", self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident, default $default:ident, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl Default for $name {
            fn default() -> Self { Self::$default }
        }
        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}
pub(super) use named_enum;

named_enum!(/// What became of a packet.
Verdict, default Unknown, {
    /// Not said.
    Unknown = "VERDICT_UNKNOWN",
    /// Passed on.
    Forwarded = "FORWARDED",
    /// Refused.
    Dropped = "DROPPED",
    /// Failed.
    Error = "ERROR",
    /// Let pass by audit mode though policy denies it.
    Audit = "AUDIT",
    /// Passed on under inspection.
    Redirected = "REDIRECTED",
    /// Only observed.
    Traced = "TRACED",
    /// Address translated.
    Translated = "TRANSLATED",
});

named_enum!(/// Layer of a record.
FlowType, default Unknown, {
    /// Not said.
    Unknown = "UNKNOWN_TYPE",
    /// Packets.
    L3L4 = "L3_L4",
    /// Messages.
    L7 = "L7",
    /// Sockets.
    Sock = "SOCK",
});

named_enum!(/// Relative to the endpoint that decided.
TrafficDirection, default Unknown, {
    /// Not known.
    Unknown = "TRAFFIC_DIRECTION_UNKNOWN",
    /// Into it.
    Ingress = "INGRESS",
    /// Out of it.
    Egress = "EGRESS",
});

named_enum!(/// Where a forwarded packet was seen.
TracePoint, default Unknown, {
    /// Not said.
    Unknown = "UNKNOWN_POINT",
    /// On its way to a proxy.
    ToProxy = "TO_PROXY",
    /// To the host.
    ToHost = "TO_HOST",
    /// To the kernel's stack.
    ToStack = "TO_STACK",
    /// To the overlay.
    ToOverlay = "TO_OVERLAY",
    /// To a local endpoint.
    ToEndpoint = "TO_ENDPOINT",
    /// From a local endpoint.
    FromEndpoint = "FROM_ENDPOINT",
    /// From a proxy.
    FromProxy = "FROM_PROXY",
    /// From the host.
    FromHost = "FROM_HOST",
    /// From the kernel's stack.
    FromStack = "FROM_STACK",
    /// From the overlay.
    FromOverlay = "FROM_OVERLAY",
    /// From the network.
    FromNetwork = "FROM_NETWORK",
    /// To the network.
    ToNetwork = "TO_NETWORK",
    /// From encryption.
    FromCrypto = "FROM_CRYPTO",
    /// To encryption.
    ToCrypto = "TO_CRYPTO",
});

impl TracePoint {
    /// The sub-type of a trace event: the order of Cilium's `TRACE_*` points.
    #[must_use]
    pub const fn sub_type(self) -> i32 {
        match self {
            Self::Unknown => -1,
            Self::ToEndpoint => 0,
            Self::ToProxy => 1,
            Self::ToHost => 2,
            Self::ToStack => 3,
            Self::ToOverlay => 4,
            Self::FromEndpoint => 5,
            Self::FromProxy => 6,
            Self::FromHost => 7,
            Self::FromStack => 8,
            Self::FromOverlay => 9,
            Self::FromNetwork => 10,
            Self::ToNetwork => 11,
            Self::FromCrypto => 12,
            Self::ToCrypto => 13,
        }
    }

    /// The point with that sub-type.
    #[must_use]
    pub fn from_sub_type(sub_type: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| *p != Self::Unknown && p.sub_type() == sub_type)
    }
}

named_enum!(/// How a packet relates to its connection.
TraceReasonName, default Unknown, {
    /// Not said.
    Unknown = "TRACE_REASON_UNKNOWN",
    /// First packet.
    New = "NEW",
    /// Later packet.
    Established = "ESTABLISHED",
    /// Reply.
    Reply = "REPLY",
    /// ICMP error about it.
    Related = "RELATED",
    /// A closed one used again.
    Reopened = "REOPENED",
    /// Segment routing.
    Srv6Encap = "SRV6_ENCAP",
    /// Segment routing.
    Srv6Decap = "SRV6_DECAP",
    /// Encrypted overlay.
    EncryptOverlay = "ENCRYPT_OVERLAY",
});

impl From<TraceReason> for TraceReasonName {
    fn from(reason: TraceReason) -> Self {
        match reason {
            TraceReason::New => Self::New,
            TraceReason::Established => Self::Established,
            TraceReason::Reply => Self::Reply,
            TraceReason::Related => Self::Related,
        }
    }
}

named_enum!(/// Version of the Internet Protocol.
IpVersion, default NotUsed, {
    /// No IP.
    NotUsed = "IP_NOT_USED",
    /// IPv4.
    V4 = "IPv4",
    /// IPv6.
    V6 = "IPv6",
});

impl From<Direction> for TrafficDirection {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

impl From<MessageVerdict> for Verdict {
    fn from(verdict: MessageVerdict) -> Self {
        match verdict {
            MessageVerdict::Forwarded => Self::Forwarded,
            MessageVerdict::Dropped(_) => Self::Dropped,
            MessageVerdict::Audited => Self::Audit,
            MessageVerdict::Error => Self::Error,
        }
    }
}

impl Verdict {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// What part of a policy entry matched, with Cilium's numbers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum PolicyMatch {
    /// Nothing.
    None = 0,
    /// The peer.
    L3Only = 1,
    /// Peer and port.
    L3L4 = 2,
    /// The port.
    L4Only = 3,
    /// Everything is allowed.
    All = 4,
    /// Peer and protocol.
    L3Proto = 5,
    /// The protocol.
    ProtoOnly = 6,
}

impl PolicyMatch {
    /// What must have matched for this verdict.
    #[must_use]
    pub fn of(verdict: VerdictKind, rule: RuleId) -> Self {
        match verdict {
            VerdictKind::Denied(DropReason::Denied(DenyReason::DenyRule)) => Self::L3L4,
            VerdictKind::Denied(_) | VerdictKind::Audited => Self::None,
            VerdictKind::Allowed | VerdictKind::Redirected if rule == RuleId::NONE => Self::All,
            VerdictKind::Allowed | VerdictKind::Redirected => Self::L3L4,
        }
    }
}

/// Addresses of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// Source address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Destination address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// Version.
    #[serde(rename = "ipVersion", skip_serializing_if = "is_default")]
    pub version: IpVersion,
}

impl Ip {
    pub(super) fn new(event: &FlowEvent) -> Self {
        let version = match event.key.src.to_ip() {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        };
        Self { source: event.key.src.to_string(), destination: event.key.dst.to_string(), version }
    }
}

/// Kind of event.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventType {
    /// See [`message_type`].
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: i32,
    /// Drop reason, observation point, or way of closing.
    #[serde(skip_serializing_if = "is_default")]
    pub sub_type: i32,
}

/// One end of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Local endpoint number; 0 for others.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: u32,
    /// Identity.
    #[serde(skip_serializing_if = "is_default")]
    pub identity: u32,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels with their source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// Owners of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadRef>,
}

/// An owner of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadRef {
    /// Name.
    pub name: String,
    /// `Deployment`, `DaemonSet`, …
    pub kind: String,
}

/// A policy as Hubble names it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRef {
    /// Name.
    pub name: String,
    /// Namespace; empty for clusterwide policies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Version of the policy that decided.
    #[serde(with = "u64_string", skip_serializing_if = "is_default")]
    pub revision: u64,
    /// Kind of the document.
    pub kind: String,
}

impl PolicyRef {
    pub(super) fn new(rule: &Provenance, revision: u64) -> Self {
        let mut labels = vec![
            format!("k8s:io.cilium.k8s.policy.derived-from={}", rule.kind),
            format!("k8s:io.cilium.k8s.policy.name={}", rule.name),
        ];
        if !rule.namespace.is_empty() {
            labels.push(format!("k8s:io.cilium.k8s.policy.namespace={}", rule.namespace));
        }
        Self {
            name: rule.name.clone(),
            namespace: rule.namespace.clone(),
            labels,
            revision,
            kind: rule.kind.clone(),
        }
    }
}

/// What only we say about a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extensions {
    /// Rules that allowed or denied it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// For a default deny: who switched it on, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_deny: Option<DefaultDeny>,
    /// What rule is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Final counters of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseInfo>,
    /// `grpc-status` of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// Client id of a Kafka request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kafka_client_id: String,
    /// Topics of a Kafka request that has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka_topics: Vec<String>,
    /// A TLS hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<super::l7::Tls>,
    /// What is wrong with the bytes of a connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub anomaly: String,
    /// Version of the policy that decided.
    #[serde(with = "u64_string")]
    pub epoch: u64,
    /// Length of the IP datagram in bytes.
    pub length: u32,
    /// Port on which it arrived.
    pub in_port: u16,
}

/// Where a rule stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Kind of the document.
    pub kind: String,
    /// Namespace of the policy; empty for clusterwide ones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the policy.
    pub name: String,
    /// File.
    pub file: String,
    /// Line in it, from 1.
    pub line: u32,
}

impl From<&Provenance> for Rule {
    fn from(rule: &Provenance) -> Self {
        Self {
            kind: rule.kind.clone(),
            namespace: rule.namespace.clone(),
            name: rule.name.clone(),
            file: rule.file.clone(),
            line: rule.line,
        }
    }
}

/// Why nothing was allowed: the policies that put one direction of an endpoint into default deny.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultDeny {
    /// Direction.
    pub direction: TrafficDirection,
    /// Which end of the flow is protected: `source` or `destination`.
    pub side: String,
    /// The policies.
    pub switched_on_by: Vec<Rule>,
}

impl DefaultDeny {
    pub(super) fn new(direction: Direction, rules: &[Provenance]) -> Self {
        let side = match direction {
            Direction::Ingress => "destination",
            Direction::Egress => "source",
        };
        Self {
            direction: direction.into(),
            side: side.to_owned(),
            switched_on_by: rules.iter().map(Rule::from).collect(),
        }
    }
}

/// Final counters of a connection; pairs are original and reply leg.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloseInfo {
    /// `finished`, `reset`, `timed-out`, `evicted`, `revoked`, `port-gone`.
    pub reason: String,
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes of IP datagrams.
    pub bytes: [u64; 2],
    /// Nanoseconds from first packet to end.
    pub duration_ns: u64,
}

impl CloseInfo {
    pub(super) fn new(reason: CloseReason, packets: [u64; 2], bytes: [u64; 2], duration_ns: u64) -> Self {
        let reason = match reason {
            CloseReason::Finished => "finished",
            CloseReason::Reset => "reset",
            CloseReason::TimedOut => "timed-out",
            CloseReason::Evicted => "evicted",
            CloseReason::Revoked => "revoked",
            CloseReason::PortGone => "port-gone",
        };
        Self { reason: reason.to_owned(), packets, bytes, duration_ns }
    }
}
