//! The L4 part of a record.

use super::json::is_default;
use crate::event::FlowEvent;
use packet::TcpFlags;
use serde::{Deserialize, Serialize};

/// Protocol and ports, under the protocol's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum L4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Tcp),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(Ports),
    /// ICMP.
    #[serde(rename = "ICMPv4")]
    Icmpv4(Icmp),
    /// ICMPv6.
    #[serde(rename = "ICMPv6")]
    Icmpv6(Icmp),
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp(Ports),
    /// Virtual router redundancy: only ever refused, its content is not looked at.
    #[serde(rename = "VRRP")]
    Vrrp(Opaque),
    /// Multicast membership: likewise.
    #[serde(rename = "IGMP")]
    Igmp(Opaque),
}

/// A protocol of which nothing but the name is said. Fields that Hubble has are not kept.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Opaque {}

/// Ports of UDP and SCTP.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ports {
    /// Source.
    #[serde(skip_serializing_if = "is_default")]
    pub source_port: u16,
    /// Destination.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_port: u16,
}

/// Ports and flags of TCP.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tcp {
    /// Source.
    #[serde(skip_serializing_if = "is_default")]
    pub source_port: u16,
    /// Destination.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_port: u16,
    /// Flags of the packet; of all packets for a closed connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<TcpFlagSet>,
}

/// ICMP type and code.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Icmp {
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: u8,
    /// Code.
    #[serde(skip_serializing_if = "is_default")]
    pub code: u8,
}

/// TCP flags by name; those that are not set are left out.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "UPPERCASE", deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the flags'")]
pub struct TcpFlagSet {
    #[serde(skip_serializing_if = "is_default")]
    pub fin: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub syn: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub rst: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub psh: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ack: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub urg: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ece: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub cwr: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ns: bool,
}

impl From<TcpFlags> for TcpFlagSet {
    fn from(flags: TcpFlags) -> Self {
        let set = |bit: u8| flags.0 & bit != 0;
        Self {
            fin: set(TcpFlags::FIN),
            syn: set(TcpFlags::SYN),
            rst: set(TcpFlags::RST),
            psh: set(TcpFlags::PSH),
            ack: set(TcpFlags::ACK),
            urg: set(TcpFlags::URG),
            ece: set(0x40),
            cwr: set(0x80),
            ns: false,
        }
    }
}

impl TcpFlagSet {
    /// Flags with their names, in the order in which Hubble prints them.
    #[must_use]
    pub const fn named(self) -> [(&'static str, bool); 9] {
        [
            ("SYN", self.syn),
            ("ACK", self.ack),
            ("RST", self.rst),
            ("FIN", self.fin),
            ("PSH", self.psh),
            ("URG", self.urg),
            ("ECE", self.ece),
            ("CWR", self.cwr),
            ("NS", self.ns),
        ]
    }

    /// Whether every flag of `wanted` is set here.
    #[must_use]
    pub fn contains(self, wanted: Self) -> bool {
        self.named().iter().zip(wanted.named()).all(|(have, want)| have.1 || !want.1)
    }
}

impl L4 {
    pub(super) fn from_event(event: &FlowEvent) -> Option<Self> {
        let ports = Ports { source_port: event.key.src_port, destination_port: event.key.dst_port };
        let icmp = Icmp { kind: event.icmp.0, code: event.icmp.1 };
        Some(match event.key.proto {
            1 => Self::Icmpv4(icmp),
            6 => Self::Tcp(Tcp {
                source_port: ports.source_port,
                destination_port: ports.destination_port,
                flags: Some(event.tcp_flags.into()),
            }),
            17 => Self::Udp(ports),
            58 => Self::Icmpv6(icmp),
            132 => Self::Sctp(ports),
            2 => Self::Igmp(Opaque {}),
            112 => Self::Vrrp(Opaque {}),
            _ => return None,
        })
    }

    /// Source and destination port, where the protocol has ports.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Self::Udp(ports) | Self::Sctp(ports) => Some((ports.source_port, ports.destination_port)),
            Self::Icmpv4(_) | Self::Icmpv6(_) | Self::Vrrp(_) | Self::Igmp(_) => None,
        }
    }

    /// The protocol's name, as it stands in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "TCP",
            Self::Udp(_) => "UDP",
            Self::Icmpv4(_) => "ICMPv4",
            Self::Icmpv6(_) => "ICMPv6",
            Self::Sctp(_) => "SCTP",
            Self::Vrrp(_) => "VRRP",
            Self::Igmp(_) => "IGMP",
        }
    }
}
