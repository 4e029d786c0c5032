//! What has a name in JSON and a number in Hubble's API.

use crate::drop_reason::DropReason;
use crate::event::{MessageVerdict, TraceReason, VerdictKind};
use policy::{DenyReason, Direction, RuleId};
use serde::{Deserialize, Serialize};

/// Kinds of event in [`EventType`](super::EventType): Cilium's monitor message types, and one of our own.
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

    /// The point as people read it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown-point",
            Self::ToEndpoint => "to-endpoint",
            Self::ToProxy => "to-proxy",
            Self::ToHost => "to-host",
            Self::ToStack => "to-stack",
            Self::ToOverlay => "to-overlay",
            Self::FromEndpoint => "from-endpoint",
            Self::FromProxy => "from-proxy",
            Self::FromHost => "from-host",
            Self::FromStack => "from-stack",
            Self::FromOverlay => "from-overlay",
            Self::FromNetwork => "from-network",
            Self::ToNetwork => "to-network",
            Self::FromCrypto => "from-crypto",
            Self::ToCrypto => "to-crypto",
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
