//! Events and names that the tests of this crate share.

use crate::detail::{Detail, MAX_ENCODED, decode, encode};
use crate::event::{EventKind, FlowEvent, MessageVerdict, TraceReason};
use crate::record::{Record, Resolver, Workload};
use l7::http::{Header, HttpRequest, HttpResponse, Version};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, dns};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{Direction, EndpointId, Identity, Provenance, RuleId};

/// A forwarded SYN from production/frontend to production/api.
pub(crate) fn event() -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(123_000_000),
        kind: EventKind::Trace { reason: TraceReason::New },
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 41234,
            dst_port: 8080,
            proto: 6,
        },
        icmp: (0, 0),
        tcp_flags: TcpFlags(TcpFlags::SYN),
        is_reply: false,
        src_identity: Identity(1001),
        dst_identity: Identity(1002),
        src_endpoint: Some(EndpointId(1)),
        dst_endpoint: Some(EndpointId(2)),
        in_port: PortId(3),
        len: 60,
        epoch: 7,
    }
}

/// One message of each kind, by its name in the compact layout.
pub(crate) fn with_detail<R>(name: &str, f: impl FnOnce(Detail<'_>) -> R) -> R {
    let headers = [
        Header { name: b"User-Agent", value: b"curl/8" },
        Header { name: b"Authorization", value: b"Bearer secret" },
        Header { name: b"X-Request-Id", value: b"42" },
    ];
    let grpc = [
        Header { name: b"Content-Type", value: b"application/grpc+proto" },
        Header { name: b"Grpc-Timeout", value: b"2S" },
        Header { name: b"Authorization", value: b"Bearer secret" },
    ];
    let question = dns::Query { id: 1, name: "example.com", qtype: 1 };
    let answer = dns::Answer {
        query: question,
        rcode: 0,
        addresses: &["93.184.216.34".parse().expect("address"), "93.184.216.35".parse().expect("address")],
        cnames: &[],
        ttl: 30,
        latency_ns: 2_000_000,
    };
    match name {
        "http-request" => f(Detail::HttpRequest(&HttpRequest {
            version: Version::Http11,
            method: b"GET",
            path: b"/v1/pay?id=7",
            normal_path: b"/v1/pay?id=7",
            host: b"api:8080",
            headers: &headers,
            stream: 0,
        })),
        "grpc-request" => f(Detail::HttpRequest(&HttpRequest {
            version: Version::Http2,
            method: b"POST",
            path: b"/shop.Payments/Charge",
            normal_path: b"/shop.Payments/Charge",
            host: b"api:8080",
            headers: &grpc,
            stream: 1,
        })),
        "http-response" | "grpc-response" => f(Detail::HttpResponse(&HttpResponse {
            version: if name == "http-response" { Version::Http11 } else { Version::Http2 },
            status: 200,
            latency_ns: 4_200_000,
            method: if name == "http-response" { b"GET" } else { b"POST" },
            path: b"/v1/pay",
            host: b"api:8080",
            grpc_status: (name == "grpc-response").then_some(7),
            stream: 0,
        })),
        "dns-request proxy" => f(Detail::DnsQuery(&question)),
        "dns-response proxy" => f(Detail::DnsAnswer(&answer)),
        "dns-refused" => f(Detail::DnsAnswer(&dns::Answer { rcode: 3, addresses: &[], ttl: 0, ..answer })),
        "dns-cname" => f(Detail::DnsAnswer(&dns::Answer { cnames: &["a.net", "b.net"], ..answer })),
        "kafka-request" => f(Detail::KafkaRequest(&KafkaRequest {
            api_key: 1,
            api_version: 11,
            correlation_id: 5,
            client_id: "consumer",
            topics: &["orders", "events"],
        })),
        "kafka-response" => f(Detail::KafkaResponse(&KafkaResponse {
            api_key: 1,
            api_version: 11,
            correlation_id: 5,
            topic: "orders",
            error_code: 29,
            latency_ns: 3_000_000,
        })),
        "tls-hello" => f(Detail::TlsHello(&TlsHello { server_name: Some("example.com"), encrypted: false })),
        "anomaly" => f(Detail::Anomaly(Anomaly::HttpChunk)),
        other => panic!("no message {other}"),
    }
}

/// The event of a message from production/frontend to production/api, judged on ingress by the one rule.
pub(crate) fn message_event(verdict: MessageVerdict, is_reply: bool) -> FlowEvent {
    let kind = EventKind::Message { verdict, direction: Some(Direction::Ingress), rule: RuleId(1) };
    let e = FlowEvent { kind, ..event() };
    if !is_reply {
        return e;
    }
    FlowEvent {
        key: e.key.reversed(),
        is_reply: true,
        src_identity: e.dst_identity,
        dst_identity: e.src_identity,
        src_endpoint: e.dst_endpoint,
        dst_endpoint: e.src_endpoint,
        ..e
    }
}

/// The record of that message.
pub(crate) fn message_record(name: &str, verdict: MessageVerdict) -> Record {
    let mut buffer = vec![0; MAX_ENCODED];
    let len = with_detail(name, |detail| encode(detail, &mut buffer)).expect("has room");
    let message = decode(&buffer[..len]).expect("reads back");
    let is_reply = name.contains("response") || name.starts_with("dns-") && !name.contains("request");
    Record::from_message(&message_event(verdict, is_reply), Some(&message), &Names, 1)
}

/// Knows two pods and one rule.
pub(crate) struct Names;

fn pod(name: &str, app: &str) -> Workload {
    Workload {
        namespace: "production".to_owned(),
        pod_name: name.to_owned(),
        labels: vec![format!("k8s:app={app}"), "k8s:io.kubernetes.pod.namespace=production".to_owned()],
        workloads: Vec::new(),
    }
}

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        identity.reserved_name().map(|name| format!("reserved:{name}")).into_iter().collect()
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        match id.0 {
            1 => Some(pod("frontend", "frontend")),
            2 => Some(pod("api", "api-service")),
            _ => None,
        }
    }
    fn rules(&self, rule: RuleId) -> Vec<Provenance> {
        if rule == RuleId::NONE {
            return Vec::new();
        }
        vec![Provenance {
            kind: "CiliumNetworkPolicy".to_owned(),
            namespace: "production".to_owned(),
            name: "api".to_owned(),
            file: "policies/api.yaml".to_owned(),
            line: 12,
        }]
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        // 2025-11-21T10:00:00Z
        1_763_719_200_000_000_000
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
}
