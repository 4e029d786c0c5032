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
    /// No room on the way to the worker that the packet belongs to.
    HandoverFull,
    /// An inspected connection is not what its protocol asks for.
    L7(Anomaly),
}

/// Reasons before the first anomaly.
const PLAIN: usize = 38;

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
        Self::HandoverFull,
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
            Self::HandoverFull => 37,
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
            Self::HandoverFull => ("HANDOVER_FULL", 1013),
            Self::L7(anomaly) => {
                (ANOMALY_NAMES[anomaly.index()].as_str(), FIRST_ANOMALY + anomaly.index() as u32)
            }
        }
    }
}

/// The name of a reason by its number: Hubble's, or ours where Hubble has none.
#[must_use]
pub fn reason_name(number: u32) -> Option<&'static str> {
    let ours = || DropReason::ALL.iter().map(|reason| reason.hubble());
    if number >= FIRST_OWN {
        return ours().find(|(_, own)| *own == number).map(|(name, _)| name);
    }
    HUBBLE.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Whether a record can have this reason: one of ours, or one of Hubble's in a record that Hubble wrote.
#[must_use]
pub fn is_reason_name(name: &str) -> bool {
    let ours = || DropReason::ALL.iter().map(|reason| reason.hubble().0);
    HUBBLE.iter().any(|(_, known)| *known == name) || ours().any(|known| known == name)
}

/// Number of the first reason of our own.
const FIRST_OWN: u32 = 1000;

/// Hubble's reasons (`flow.DropReason`).
const HUBBLE: &[(u32, &str)] = &[
    (0, "DROP_REASON_UNKNOWN"),
    (130, "INVALID_SOURCE_MAC"),
    (131, "INVALID_DESTINATION_MAC"),
    (132, "INVALID_SOURCE_IP"),
    (133, "POLICY_DENIED"),
    (134, "INVALID_PACKET_DROPPED"),
    (135, "CT_TRUNCATED_OR_INVALID_HEADER"),
    (136, "CT_MISSING_TCP_ACK_FLAG"),
    (137, "CT_UNKNOWN_L4_PROTOCOL"),
    (138, "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
    (139, "UNSUPPORTED_L3_PROTOCOL"),
    (140, "MISSED_TAIL_CALL"),
    (141, "ERROR_WRITING_TO_PACKET"),
    (142, "UNKNOWN_L4_PROTOCOL"),
    (143, "UNKNOWN_ICMPV4_CODE"),
    (144, "UNKNOWN_ICMPV4_TYPE"),
    (145, "UNKNOWN_ICMPV6_CODE"),
    (146, "UNKNOWN_ICMPV6_TYPE"),
    (147, "ERROR_RETRIEVING_TUNNEL_KEY"),
    (148, "ERROR_RETRIEVING_TUNNEL_OPTIONS"),
    (149, "INVALID_GENEVE_OPTION"),
    (150, "UNKNOWN_L3_TARGET_ADDRESS"),
    (151, "STALE_OR_UNROUTABLE_IP"),
    (152, "NO_MATCHING_LOCAL_CONTAINER_FOUND"),
    (153, "ERROR_WHILE_CORRECTING_L3_CHECKSUM"),
    (154, "ERROR_WHILE_CORRECTING_L4_CHECKSUM"),
    (155, "CT_MAP_INSERTION_FAILED"),
    (156, "INVALID_IPV6_EXTENSION_HEADER"),
    (157, "IP_FRAGMENTATION_NOT_SUPPORTED"),
    (158, "SERVICE_BACKEND_NOT_FOUND"),
    (160, "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT"),
    (161, "FAILED_TO_INSERT_INTO_PROXYMAP"),
    (162, "REACHED_EDT_RATE_LIMITING_DROP_HORIZON"),
    (163, "UNKNOWN_CONNECTION_TRACKING_STATE"),
    (164, "LOCAL_HOST_IS_UNREACHABLE"),
    (165, "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION"),
    (166, "UNSUPPORTED_L2_PROTOCOL"),
    (167, "NO_MAPPING_FOR_NAT_MASQUERADE"),
    (168, "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE"),
    (169, "FIB_LOOKUP_FAILED"),
    (170, "ENCAPSULATION_TRAFFIC_IS_PROHIBITED"),
    (171, "INVALID_IDENTITY"),
    (172, "UNKNOWN_SENDER"),
    (173, "NAT_NOT_NEEDED"),
    (174, "IS_A_CLUSTERIP"),
    (175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND"),
    (176, "FORBIDDEN_ICMPV6_MESSAGE"),
    (177, "DENIED_BY_LB_SRC_RANGE_CHECK"),
    (178, "SOCKET_LOOKUP_FAILED"),
    (179, "SOCKET_ASSIGN_FAILED"),
    (180, "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL"),
    (181, "POLICY_DENY"),
    (182, "VLAN_FILTERED"),
    (183, "INVALID_VNI"),
    (184, "INVALID_TC_BUFFER"),
    (185, "NO_SID"),
    (186, "MISSING_SRV6_STATE"),
    (187, "NAT46"),
    (188, "NAT64"),
    (189, "AUTH_REQUIRED"),
    (190, "CT_NO_MAP_FOUND"),
    (191, "SNAT_NO_MAP_FOUND"),
    (192, "INVALID_CLUSTER_ID"),
    (193, "UNSUPPORTED_PROTOCOL_FOR_DSR_ENCAP"),
    (194, "NO_EGRESS_GATEWAY"),
    (195, "UNENCRYPTED_TRAFFIC"),
    (196, "TTL_EXCEEDED"),
    (197, "NO_NODE_ID"),
    (198, "DROP_RATE_LIMITED"),
    (199, "IGMP_HANDLED"),
    (200, "IGMP_SUBSCRIBED"),
    (201, "MULTICAST_HANDLED"),
    (202, "DROP_HOST_NOT_READY"),
    (203, "DROP_EP_NOT_READY"),
    (204, "DROP_NO_EGRESS_IP"),
    (205, "DROP_PUNT_PROXY"),
];

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
