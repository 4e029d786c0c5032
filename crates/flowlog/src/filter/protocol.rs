//! Protocols by name: those of packets, and those of messages.

use super::FilterError;
use crate::record::{Http, L4, Layer7, Record};

/// A protocol to look for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// ICMP of either version.
    Icmp,
    /// What the packet carries, by the name in its record.
    Packet(&'static str),
    /// HTTP of any version.
    Http,
    /// HTTP of one version.
    HttpVersion(String),
    /// gRPC over HTTP/2.
    Grpc,
    /// DNS.
    Dns,
    /// Kafka.
    Kafka,
    /// TLS hellos.
    Tls,
}

impl Protocol {
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        let name = text.to_ascii_lowercase();
        Ok(match name.as_str() {
            "icmp" => Self::Icmp,
            "icmpv4" => Self::Packet("ICMPv4"),
            "icmpv6" => Self::Packet("ICMPv6"),
            "tcp" => Self::Packet("TCP"),
            "udp" => Self::Packet("UDP"),
            "sctp" => Self::Packet("SCTP"),
            "vrrp" => Self::Packet("VRRP"),
            "igmp" => Self::Packet("IGMP"),
            "http" => Self::Http,
            "http/1.0" | "http/1.1" | "http/2" => Self::HttpVersion(name),
            "grpc" => Self::Grpc,
            "dns" => Self::Dns,
            "kafka" => Self::Kafka,
            "tls" => Self::Tls,
            _ => return Err(FilterError::value("protocol", text)),
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        let l4 = r.l4.as_ref();
        let l7 = r.l7.as_ref();
        let http = l7.and_then(|l7| l7.http.as_ref());
        match self {
            Self::Icmp => matches!(l4, Some(L4::Icmpv4(_) | L4::Icmpv6(_))),
            Self::Packet(name) => l4.is_some_and(|l4| l4.name() == *name),
            Self::Http => http.is_some(),
            Self::HttpVersion(version) => {
                http.is_some_and(|http| http.protocol.eq_ignore_ascii_case(version))
            }
            Self::Grpc => http.is_some_and(|http| is_grpc(http, r)),
            Self::Dns => matches!(l7, Some(Layer7 { dns: Some(_), .. })),
            Self::Kafka => matches!(l7, Some(Layer7 { kafka: Some(_), .. })),
            Self::Tls => r.extensions.as_ref().is_some_and(|e| e.tls.is_some()),
        }
    }
}

fn is_grpc(http: &Http, r: &Record) -> bool {
    let content = http
        .headers
        .iter()
        .any(|header| header.key == "content-type" && header.value.starts_with("application/grpc"));
    content || r.extensions.as_ref().is_some_and(|e| e.grpc_status.is_some())
}
