//! What an event and a message cost the worker that reports them.

use criterion::{Criterion, criterion_group, criterion_main};
use flowlog::{Detail, EventKind, EventRing, FlowEvent, MessageVerdict, TraceReason};
use l7::dns;
use l7::http::{Header, HttpRequest, HttpResponse, Version};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{Direction, EndpointId, Identity, RuleId};
use std::hint::black_box;

/// Events between two looks of the reader, which is not measured.
const ROUND: u64 = 1024;

fn event(kind: EventKind) -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(1),
        kind,
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 41234,
            dst_port: 8080,
            proto: 6,
        },
        icmp: (0, 0),
        tcp_flags: TcpFlags(TcpFlags::ACK),
        is_reply: false,
        src_identity: Identity(1001),
        dst_identity: Identity(1002),
        src_endpoint: Some(EndpointId(1)),
        dst_endpoint: Some(EndpointId(2)),
        in_port: PortId(3),
        len: 600,
        epoch: 7,
    }
}

fn measure(c: &mut Criterion, name: &str, event: FlowEvent, detail: Option<Detail<'_>>) {
    let (mut writer, mut reader) = EventRing::with_content(2048, 4 << 20);
    c.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut spent = std::time::Duration::ZERO;
            let mut left = rounds;
            while left > 0 {
                let now = left.min(ROUND);
                let start = std::time::Instant::now();
                for _ in 0..now {
                    match detail {
                        Some(detail) => writer.record_message(black_box(event), black_box(detail)),
                        None => writer.record(black_box(event)),
                    }
                }
                spent += start.elapsed();
                reader.drain(usize::MAX, |event| {
                    black_box(event);
                });
                left -= now;
            }
            spent
        });
    });
    assert_eq!(writer.shed(), 0, "what is shed costs nothing");
}

fn record(c: &mut Criterion) {
    let names = [
        "Host",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Authorization",
        "Cookie",
        "Content-Type",
        "X-Request-Id",
        "Traceparent",
        "Referer",
        "Connection",
    ];
    let value = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    let headers = names.map(|name| Header { name: name.as_bytes(), value });
    let request = HttpRequest {
        version: Version::Http11,
        method: b"GET",
        path: b"/v1/payments/7f3a?expand=customer&limit=20",
        normal_path: b"/v1/payments/7f3a?expand=customer&limit=20",
        host: b"payments.production.svc.cluster.local:8080",
        headers: &headers,
        stream: 0,
    };
    let response = HttpResponse {
        version: Version::Http11,
        status: 200,
        latency_ns: 4_200_000,
        method: request.method,
        path: request.path,
        host: request.host,
        grpc_status: None,
        stream: 0,
    };
    let query = dns::Query { id: 1, name: "payments.production.svc.cluster.local", qtype: 1 };
    let kind = EventKind::Message {
        verdict: MessageVerdict::Forwarded,
        direction: Some(Direction::Ingress),
        rule: RuleId(1),
    };
    measure(c, "record/packet", event(EventKind::Trace { reason: TraceReason::New }), None);
    measure(c, "record/http-request", event(kind), Some(Detail::HttpRequest(&request)));
    measure(c, "record/http-response", event(kind), Some(Detail::HttpResponse(&response)));
    measure(c, "record/dns-query", event(kind), Some(Detail::DnsQuery(&query)));
}

criterion_group!(benches, record);
criterion_main!(benches);
