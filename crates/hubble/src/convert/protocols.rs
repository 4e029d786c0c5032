//! L4 and L7.

use super::names;
use crate::proto::flow as to;
use crate::proto::flow::layer4::Protocol;
use crate::proto::flow::layer7::Record as Message;
use flowlog::record as from;

pub(super) fn layer4(l4: &from::L4) -> to::Layer4 {
    let protocol = match l4 {
        from::L4::Tcp(tcp) => Protocol::Tcp(to::Tcp {
            source_port: tcp.source_port.into(),
            destination_port: tcp.destination_port.into(),
            flags: tcp.flags.map(|set| tcp_flags!(to::TcpFlags, set)),
        }),
        from::L4::Udp(ports) => Protocol::Udp(to::Udp {
            source_port: ports.source_port.into(),
            destination_port: ports.destination_port.into(),
        }),
        from::L4::Sctp(ports) => Protocol::Sctp(to::Sctp {
            source_port: ports.source_port.into(),
            destination_port: ports.destination_port.into(),
        }),
        from::L4::Icmpv4(icmp) => {
            Protocol::IcmPv4(to::IcmPv4 { r#type: icmp.kind.into(), code: icmp.code.into() })
        }
        from::L4::Icmpv6(icmp) => {
            Protocol::IcmPv6(to::IcmPv6 { r#type: icmp.kind.into(), code: icmp.code.into() })
        }
        from::L4::Vrrp(_) => Protocol::Vrrp(to::Vrrp::default()),
        from::L4::Igmp(_) => Protocol::Igmp(to::Igmp::default()),
    };
    to::Layer4 { protocol: Some(protocol) }
}

/// Flags of the protocol or of the flow log, out of the other's: they have the same names.
macro_rules! tcp_flags {
    ($into:ty, $set:expr) => {{
        let set = $set;
        type Into = $into;
        Into {
            fin: set.fin,
            syn: set.syn,
            rst: set.rst,
            psh: set.psh,
            ack: set.ack,
            urg: set.urg,
            ece: set.ece,
            cwr: set.cwr,
            ns: set.ns,
        }
    }};
}
pub(crate) use tcp_flags;

/// A message. One of a protocol that Hubble does not know (TLS), or bytes that are none, has no record: the client
/// prints its type and summary, and what it says is under the extensions.
pub(super) fn layer7(l7: &from::Layer7) -> to::Layer7 {
    let message = match l7 {
        from::Layer7 { dns: Some(dns), .. } => Some(Message::Dns(to::Dns {
            query: dns.query.clone(),
            ips: dns.ips.clone(),
            ttl: dns.ttl,
            cnames: dns.cnames.clone(),
            observation_source: dns.observation_source.clone(),
            rcode: dns.rcode,
            qtypes: dns.qtypes.clone(),
            rrtypes: dns.rrtypes.clone(),
        })),
        from::Layer7 { http: Some(http), .. } => Some(Message::Http(to::Http {
            code: http.code,
            method: http.method.clone(),
            url: http.url.clone(),
            protocol: http.protocol.clone(),
            headers: http
                .headers
                .iter()
                .map(|header| to::HttpHeader { key: header.key.clone(), value: header.value.clone() })
                .collect(),
        })),
        #[expect(deprecated, reason = "there is no other place for Kafka")]
        from::Layer7 { kafka: Some(kafka), .. } => Some(Message::Kafka(to::Kafka {
            error_code: kafka.error_code,
            api_version: kafka.api_version,
            api_key: kafka.api_key.clone(),
            correlation_id: kafka.correlation_id,
            topic: kafka.topic.clone(),
        })),
        _ => None,
    };
    to::Layer7 { r#type: names::l7_type(l7.kind).into(), latency_ns: l7.latency_ns, record: message }
}
