//! Every way a packet can end without being forwarded.
//!
//! A drop reason is at the same time the pipeline's answer, a counter, a metric label and a log field. Reasons that
//! Hubble knows carry its number and name (`flow.DropReason`); the others are ours and carry numbers from 1000.

use l7::Anomaly;
use packet::ParseError;
use policy::DenyReason;

/// Why a packet was not forwarded.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// The frame is not an acceptable packet.
    Malformed(ParseError),
    /// Policy.
    Denied(DenyReason),
    /// A pod sent with an address that is not its own.
    InvalidSource,
    /// The L4 checksum is neither partial nor right.
    Checksum,
    /// TTL or hop limit used up here.
    TtlExceeded,
    /// Larger than the next hop's MTU and not to be fragmented.
    FragmentationNeeded,
    /// A later fragment whose first one was not seen.
    FragmentUnknown,
    /// Too many datagrams in fragments at once.
    FragmentTableFull,
    /// Overlapping or contradictory fragments.
    FragmentInconsistent,
    /// No port leads to the destination address.
    NoRoute,
    /// Multicast or broadcast that we do not carry.
    UnsupportedDestination,
    /// An L4 protocol that we do not carry.
    UnknownL4,
    /// A TCP segment that belongs to no connection and cannot start one.
    NotAConnection,
    /// A TCP segment outside of the window or state of its connection.
    InvalidTcpState,
    /// An ICMP error about a flow that we do not know.
    UnrelatedIcmp,
    /// An ICMP message of a kind we do not carry (redirects, router advertisements).
    ForbiddenIcmp,
    /// Connection table full of connections that may not be evicted.
    ConntrackFull,
    /// Too many half-open connections from one endpoint.
    TooManyHalfOpen,
    /// The destination port had no room.
    PortFull,
    /// The destination port went away.
    PortGone,
    /// No buffer for an answer of our own.
    NoBuffer,
    /// An ARP or neighbour-discovery message that is none of ours to answer.
    NeighbourRefused,
    /// The connection was cut because the policy that allowed it is gone.
    Revoked,
    /// The pod is not ready yet (no identity).
    EndpointNotReady,
    /// No room to hold more bytes of inspected connections back.
    L7Backpressure,
    /// An inspected connection is not what its protocol asks for.
    L7(Anomaly),
}

/// Reasons before the first anomaly.
const PLAIN: usize = 37;

impl DropReason {
    /// Number of distinct counter slots: [`DropReason::index`] is below it.
    pub const COUNT: usize = Self::ALL.len();

    /// All reasons, in the order of their counters.
    pub const ALL: &'static [Self] = &with_anomalies([
        Self::Malformed(ParseError::Truncated),
        Self::Malformed(ParseError::UnsupportedL2),
        Self::Malformed(ParseError::Vlan),
        Self::Malformed(ParseError::InvalidIp),
        Self::Malformed(ParseError::Ipv4Checksum),
        Self::Malformed(ParseError::InvalidAddress),
        Self::Malformed(ParseError::Ipv6Extension),
        Self::Malformed(ParseError::InvalidFragment),
        Self::Malformed(ParseError::InvalidL4),
        Self::Malformed(ParseError::InvalidArp),
        Self::Denied(DenyReason::NoRule),
        Self::Denied(DenyReason::DenyRule),
        Self::Denied(DenyReason::Unsupported),
        Self::Denied(DenyReason::InvalidPolicy),
        Self::InvalidSource,
        Self::Checksum,
        Self::TtlExceeded,
        Self::FragmentationNeeded,
        Self::FragmentUnknown,
        Self::FragmentTableFull,
        Self::FragmentInconsistent,
        Self::NoRoute,
        Self::UnsupportedDestination,
        Self::UnknownL4,
        Self::NotAConnection,
        Self::InvalidTcpState,
        Self::UnrelatedIcmp,
        Self::ForbiddenIcmp,
        Self::ConntrackFull,
        Self::TooManyHalfOpen,
        Self::PortFull,
        Self::PortGone,
        Self::NoBuffer,
        Self::NeighbourRefused,
        Self::Revoked,
        Self::EndpointNotReady,
        Self::L7Backpressure,
    ]);

    /// The reason's counter slot.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Malformed(e) => match e {
                ParseError::Truncated => 0,
                ParseError::UnsupportedL2 => 1,
                ParseError::Vlan => 2,
                ParseError::InvalidIp => 3,
                ParseError::Ipv4Checksum => 4,
                ParseError::InvalidAddress => 5,
                ParseError::Ipv6Extension => 6,
                ParseError::InvalidFragment => 7,
                ParseError::InvalidL4 => 8,
                ParseError::InvalidArp => 9,
            },
            Self::Denied(d) => match d {
                DenyReason::NoRule => 10,
                DenyReason::DenyRule => 11,
                DenyReason::Unsupported => 12,
                DenyReason::InvalidPolicy => 13,
            },
            Self::InvalidSource => 14,
            Self::Checksum => 15,
            Self::TtlExceeded => 16,
            Self::FragmentationNeeded => 17,
            Self::FragmentUnknown => 18,
            Self::FragmentTableFull => 19,
            Self::FragmentInconsistent => 20,
            Self::NoRoute => 21,
            Self::UnsupportedDestination => 22,
            Self::UnknownL4 => 23,
            Self::NotAConnection => 24,
            Self::InvalidTcpState => 25,
            Self::UnrelatedIcmp => 26,
            Self::ForbiddenIcmp => 27,
            Self::ConntrackFull => 28,
            Self::TooManyHalfOpen => 29,
            Self::PortFull => 30,
            Self::PortGone => 31,
            Self::NoBuffer => 32,
            Self::NeighbourRefused => 33,
            Self::Revoked => 34,
            Self::EndpointNotReady => 35,
            Self::L7Backpressure => 36,
            Self::L7(anomaly) => PLAIN + anomaly.index(),
        }
    }

    /// Name and number as in Hubble's `DropReason` enum; where Hubble has none, ours, numbered from 1000.
    #[must_use]
    pub const fn hubble(self) -> (&'static str, u32) {
        match self {
            Self::Malformed(e) => match e {
                ParseError::Truncated => ("INVALID_PACKET_DROPPED", 134),
                ParseError::UnsupportedL2 => ("UNSUPPORTED_L2_PROTOCOL", 166),
                ParseError::Vlan => ("VLAN_FILTERED", 182),
                ParseError::InvalidIp | ParseError::Ipv4Checksum | ParseError::InvalidArp => {
                    ("INVALID_PACKET_DROPPED", 134)
                }
                ParseError::InvalidAddress => ("INVALID_SOURCE_IP", 132),
                ParseError::Ipv6Extension => ("INVALID_IPV6_EXTENSION_HEADER", 156),
                ParseError::InvalidFragment => ("INVALID_PACKET_DROPPED", 134),
                ParseError::InvalidL4 => ("CT_TRUNCATED_OR_INVALID_HEADER", 135),
            },
            Self::Denied(d) => match d {
                DenyReason::NoRule => ("POLICY_DENIED", 133),
                DenyReason::DenyRule => ("POLICY_DENY", 181),
                DenyReason::Unsupported => ("AUTH_REQUIRED", 189),
                DenyReason::InvalidPolicy => ("POLICY_INVALID", 1000),
            },
            Self::InvalidSource => ("INVALID_SOURCE_IP", 132),
            Self::Checksum => ("INVALID_CHECKSUM", 1001),
            Self::TtlExceeded => ("TTL_EXCEEDED", 196),
            Self::FragmentationNeeded => ("FRAGMENTATION_NEEDED", 136),
            Self::FragmentUnknown => ("FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND", 175),
            Self::FragmentTableFull => ("FRAGMENT_TABLE_FULL", 1002),
            Self::FragmentInconsistent => ("FRAGMENT_INCONSISTENT", 1003),
            Self::NoRoute => ("STALE_OR_UNROUTABLE_IP", 151),
            Self::UnsupportedDestination => ("UNKNOWN_L3_TARGET_ADDRESS", 150),
            Self::UnknownL4 => ("CT_UNKNOWN_L4_PROTOCOL", 137),
            Self::NotAConnection => ("UNKNOWN_CONNECTION_TRACKING_STATE", 163),
            Self::InvalidTcpState => ("INVALID_TCP_STATE", 1004),
            Self::UnrelatedIcmp => ("UNRELATED_ICMP", 1005),
            Self::ForbiddenIcmp => ("FORBIDDEN_ICMPV6_MESSAGE", 176),
            Self::ConntrackFull => ("CT_MAP_INSERTION_FAILED", 155),
            Self::TooManyHalfOpen => ("TOO_MANY_HALF_OPEN", 1006),
            Self::PortFull => ("PORT_FULL", 1007),
            Self::PortGone => ("PORT_GONE", 1008),
            Self::NoBuffer => ("NO_BUFFER", 1009),
            Self::NeighbourRefused => ("NEIGHBOUR_REFUSED", 1010),
            Self::Revoked => ("POLICY_REVOKED", 1011),
            Self::EndpointNotReady => ("DROP_EP_NOT_READY", 203),
            Self::L7Backpressure => ("L7_BACKPRESSURE", 1012),
            Self::L7(anomaly) => {
                (ANOMALY_NAMES[anomaly.index()].as_str(), FIRST_ANOMALY + anomaly.index() as u32)
            }
        }
    }
}

/// Number of the first anomaly; the others follow in the order of [`Anomaly::ALL`].
pub(crate) const FIRST_ANOMALY: u32 = 1100;

const fn with_anomalies(plain: [DropReason; PLAIN]) -> [DropReason; PLAIN + Anomaly::ALL.len()] {
    let mut all = [DropReason::L7Backpressure; PLAIN + Anomaly::ALL.len()];
    let mut slot = 0;
    while slot < all.len() {
        all[slot] = if slot < PLAIN { plain[slot] } else { DropReason::L7(Anomaly::ALL[slot - PLAIN]) };
        slot += 1;
    }
    all
}

/// A name in Hubble's manner: upper case, underscores.
#[derive(Copy, Clone)]
struct UpperName {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl UpperName {
    const MAX: usize = 48;

    const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(name.len() <= Self::MAX, "a name of an anomaly is too long");
        let mut upper = Self { bytes: [0; Self::MAX], len: name.len() };
        let mut at = 0;
        while at < name.len() {
            upper.bytes[at] = if name[at] == b'-' { b'_' } else { name[at].to_ascii_uppercase() };
            at += 1;
        }
        upper
    }

    const fn as_str(&'static self) -> &'static str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(name) => name,
            Err(_) => "UNKNOWN",
        }
    }
}

static ANOMALY_NAMES: [UpperName; Anomaly::ALL.len()] = {
    let mut names = [UpperName::new(""); Anomaly::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = UpperName::new(Anomaly::ALL[at].name());
        at += 1;
    }
    names
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_slot_at_which_it_stands() {
        for (slot, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), slot, "{reason:?}");
        }
    }

    #[test]
    fn anomalies_are_named_in_hubbles_manner() {
        assert_eq!(DropReason::L7(Anomaly::HttpNotHttp).hubble(), ("HTTP_NOT_HTTP", 1100));
        assert_eq!(DropReason::L7(Anomaly::HttpStartLine).hubble(), ("HTTP_START_LINE", 1101));
        let mut names: Vec<_> = Anomaly::ALL.iter().map(|a| DropReason::L7(*a).hubble()).collect();
        names.dedup();
        assert_eq!(names.len(), Anomaly::ALL.len());
        assert!(names.iter().all(|(name, _)| *name != "UNKNOWN" && *name == name.to_ascii_uppercase()));
    }
}
