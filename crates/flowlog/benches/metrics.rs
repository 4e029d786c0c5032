//! What an event costs the thread that makes metrics of it, without contexts and with them; and what that thread has to
//! do for an HTTP request and its response.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowlog::metrics::{Metrics, MetricsConfig};
use flowlog::record::Workload;
use flowlog::{
    Detail, Drained, EventKind, EventRing, FlowEvent, MessageVerdict, Resolver, Store, TraceReason,
    VerdictKind, detail,
};
use l7::http::{Header, HttpRequest, HttpResponse, Version};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{Direction, EndpointId, Identity, Provenance, RuleId};
use std::hint::black_box;
use std::time::Duration;

/// Pairs of peers in turn: more than the tables of a small cluster, fewer than are remembered.
const PAIRS: u16 = 1024;

/// Names as a node resolves them: each answer is made anew.
struct Names;

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        vec![format!("k8s:app=app-{}", identity.0), "k8s:io.kubernetes.pod.namespace=production".into()]
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let pod_name = format!("pod-{}", id.0);
        Some(Workload { namespace: "production".into(), pod_name, ..Workload::default() })
    }
    fn rules(&self, _: RuleId) -> Vec<Provenance> {
        Vec::new()
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        0
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
}

/// What a short connection makes: a verdict, the first reply, and its end in both directions.
fn events() -> Vec<FlowEvent> {
    let reason = TraceReason::New;
    let verdict = VerdictKind::Allowed;
    let kinds = [
        (
            EventKind::Verdict { direction: Direction::Ingress, verdict, rule: RuleId(1), reason },
            TcpFlags::SYN,
        ),
        (EventKind::Trace { reason: TraceReason::Reply }, TcpFlags::SYN | TcpFlags::ACK),
        (EventKind::Trace { reason: TraceReason::Established }, TcpFlags::FIN | TcpFlags::ACK),
        (EventKind::Trace { reason: TraceReason::Reply }, TcpFlags::FIN | TcpFlags::ACK),
    ];
    let event = |pair: u16| {
        kinds.map(|(kind, flags)| FlowEvent {
            at: Instant::from_nanos(1),
            kind,
            key: FlowKey {
                src: Addr::v4([10, 0, (pair >> 8) as u8, pair as u8]),
                dst: Addr::v4([10, 1, 0, (pair % 16) as u8]),
                src_port: 40_000,
                dst_port: 8000 + pair % 16,
                proto: 6,
            },
            icmp: (0, 0),
            tcp_flags: TcpFlags(flags),
            is_reply: matches!(kind, EventKind::Trace { reason: TraceReason::Reply }),
            src_identity: Identity(1000 + u32::from(pair % 64)),
            dst_identity: Identity(2000 + u32::from(pair % 16)),
            src_endpoint: Some(EndpointId(pair)),
            dst_endpoint: Some(EndpointId(pair % 16)),
            in_port: PortId(3),
            len: 60,
            epoch: 7,
        })
    };
    (0..PAIRS).flat_map(event).collect()
}

fn count(c: &mut Criterion) {
    let events = events();
    let mut group = c.benchmark_group("metrics");
    group.throughput(Throughput::Elements(events.len() as u64));
    let plain = MetricsConfig::default();
    let contexts = "sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
    let with = |contexts: &str| {
        let list = ["drop", "flow", "flows-to-world", "policy", "port-distribution", "tcp"];
        MetricsConfig::parse(&list.map(|name| format!("{name}:{contexts}"))).expect("valid")
    };
    for (name, config) in [
        ("default list, no contexts", plain),
        ("six plugins, pod contexts", with(contexts)),
        ("six plugins, app contexts", with("labelsContext=source_app,destination_app,traffic_direction")),
    ] {
        let mut metrics = Metrics::new(&config, 100_000);
        group.bench_function(name, |b| {
            b.iter(|| {
                for event in &events {
                    metrics.count(black_box(event), None, &Names);
                }
            });
        });
    }
    group.finish();
}

/// Requests and responses from the worker's ring through the metrics into the store, both ends on one thread.
fn messages(c: &mut Criterion) {
    const EXCHANGES: usize = 512;
    let verdict = MessageVerdict::Forwarded;
    let kind = EventKind::Message { verdict, direction: Some(Direction::Ingress), rule: RuleId(1) };
    let request_event = FlowEvent { kind, ..events()[0] };
    let response_event = FlowEvent { key: request_event.key.reversed(), is_reply: true, ..request_event };
    let headers = [
        Header { name: b"User-Agent", value: b"curl/8.5.0" },
        Header { name: b"Accept", value: b"*/*" },
        Header { name: b"Content-Type", value: b"application/json" },
    ];
    let (method, path, host) = (&b"GET"[..], &b"/api/v1/orders/42"[..], &b"orders.production:8080"[..]);
    let version = Version::Http11;
    let request =
        HttpRequest { version, method, path, normal_path: path, host, headers: &headers, stream: 0 };
    let (status, latency_ns) = (200, 1_200_000);
    let response =
        HttpResponse { version, status, latency_ns, method, path, host, grpc_status: None, stream: 0 };
    let (mut writer, mut reader) = EventRing::new(4 * EXCHANGES);
    let (store, mut metrics) = (Store::new(4095), Metrics::default());
    let mut batch = Drained::with_capacity(2 * EXCHANGES);
    let mut group = c.benchmark_group("messages");
    group.throughput(Throughput::Elements(EXCHANGES as u64));
    group.bench_function("the worker's side", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let start = std::time::Instant::now();
                for _ in 0..EXCHANGES {
                    writer.record_message(black_box(request_event), Detail::HttpRequest(&request));
                    writer.record_message(black_box(response_event), Detail::HttpResponse(&response));
                }
                took += start.elapsed();
                reader.drain(usize::MAX, |_| ());
            }
            took
        });
    });
    group.bench_function("the thread's side", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                for _ in 0..EXCHANGES {
                    writer.record_message(request_event, Detail::HttpRequest(&request));
                    writer.record_message(response_event, Detail::HttpResponse(&response));
                }
                let start = std::time::Instant::now();
                batch.clear();
                reader.drain_messages(usize::MAX, |event, said| batch.push(event, said));
                for (event, said) in batch.iter() {
                    metrics.count(event, detail::decode(said).as_ref(), &Names);
                }
                store.push_events(&batch);
                took += start.elapsed();
            }
            took
        });
    });
    group.finish();
    assert_eq!(writer.shed(), 0, "what is shed costs nothing");
}

criterion_group!(benches, count, messages);
criterion_main!(benches);
