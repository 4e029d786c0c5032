//! What following the flow log costs, from the events of a worker to the lines that somebody reads.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowlog::api::{ObserveRequest, serve_observe, show_answer};
use flowlog::format::{Layout, Options, Printer};
use flowlog::{Drained, EventKind, EventRing, FlowEvent, Resolver, Store, TraceReason, Workload};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{EndpointId, Identity, Provenance, RuleId};
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Records of one answer.
const RECORDS: usize = 20_000;

struct Names;

impl Resolver for Names {
    fn labels(&self, _: Identity) -> Vec<String> {
        [
            "app=payments",
            "io.cilium.k8s.policy.cluster=default",
            "io.kubernetes.pod.namespace=production",
            "tier=backend",
        ]
        .map(|label| format!("k8s:{label}"))
        .to_vec()
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, _: EndpointId) -> Option<Workload> {
        let (namespace, pod_name) = ("production".to_owned(), "payments-7d9c5b8f6-x2x4z".to_owned());
        Some(Workload { namespace, pod_name, ..Workload::default() })
    }
    fn rules(&self, _: RuleId) -> Vec<Provenance> {
        Vec::new()
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        1_763_719_200_000_000_000
    }
    fn node_name(&self) -> &str {
        "node-1"
    }
}

fn event(n: u64) -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(n * 10_000),
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

/// Server and client on a socket, a thread each: events get their names, become JSON, are read and shown.
fn observe(c: &mut Criterion) {
    let store = Arc::new(Store::new(RECORDS));
    store.set_names(Arc::new(Names));
    let mut events = Drained::with_capacity(RECORDS);
    (0..RECORDS as u64).for_each(|n| events.push(event(n), &[]));
    store.push_events(&events);
    let mut group = c.benchmark_group("observe");
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(20);
    for (name, layout) in [("json", Layout::Json), ("compact", Layout::Compact)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let (client, server) = UnixStream::pair().expect("a pair of sockets");
                let serving = Arc::clone(&store);
                let server = std::thread::spawn(move || {
                    serve_observe(&serving, &ObserveRequest::default(), &mut BufWriter::new(server))
                        .expect("serves");
                });
                let options = Options { layout, ..Options::default() };
                let mut printer = Printer::new(std::io::sink(), options);
                let mut input = BufReader::with_capacity(256 << 10, client);
                show_answer(&mut input, &mut printer, &mut |_| ()).expect("an answer");
                server.join().expect("the server");
            });
        });
    }
    group.finish();
}

/// From the worker's ring into the store, both ends on one thread.
fn accept(c: &mut Criterion) {
    const BURST: usize = 1024;
    let (mut writer, mut reader) = EventRing::new(2 * BURST);
    let store = Store::new(4095);
    store.set_names(Arc::new(Names));
    let mut batch = Drained::with_capacity(BURST);
    let mut group = c.benchmark_group("accept");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("ring, drain, store", |b| {
        b.iter(|| {
            for n in 0..BURST as u64 {
                writer.record(black_box(event(n)));
            }
            batch.clear();
            reader.drain_messages(BURST, |event, said| batch.push(event, said));
            store.push_events(&batch);
        });
    });
    group.finish();
    assert_eq!(writer.shed(), 0, "what is shed costs nothing");
}

/// Counts lines.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Somebody follows while 100,000 events a second come, as on a node: ring, drained every 20 ms, store of the usual
/// size, socket, lines. How many were shown, and how many were not.
fn follow(_: &mut Criterion) {
    const RATE: u64 = 100_000;
    const TICKS: u64 = 200;
    for (name, layout) in [("json", Layout::Json), ("compact", Layout::Compact)] {
        let store = Arc::new(Store::default());
        store.set_names(Arc::new(Names));
        let (mut writer, mut reader) = EventRing::new(8192);
        let (client, server) = UnixStream::pair().expect("a pair of sockets");
        let serving = Arc::clone(&store);
        let server = std::thread::spawn(move || {
            let request = ObserveRequest { follow: true, ..ObserveRequest::default() };
            serve_observe(&serving, &request, &mut BufWriter::new(server)).expect("serves");
        });
        let log = Arc::clone(&store);
        let drain = std::thread::spawn(move || {
            let mut batch = Drained::with_capacity(1024);
            loop {
                batch.clear();
                let taken = reader.drain_messages(1024, |event, said| batch.push(event, said));
                log.push_events(&batch);
                if taken == 0 && reader.is_abandoned() {
                    log.close();
                    return;
                }
                if taken < 1024 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let begun = std::time::Instant::now();
        let worker = std::thread::spawn(move || {
            let pace = Duration::from_millis(5);
            for tick in 0..TICKS {
                let events = RATE * 5 / 1000;
                (0..events).for_each(|n| writer.record(event(tick * events + n)));
                std::thread::sleep((pace * (tick as u32 + 1)).saturating_sub(begun.elapsed()));
            }
            writer.shed()
        });
        let mut printer = Printer::new(Count(0), Options { layout, ..Options::default() });
        let mut input = BufReader::with_capacity(256 << 10, client);
        let mut lost = 0;
        show_answer(&mut input, &mut printer, &mut |answer| {
            lost += answer.lost_events.as_ref().map_or(0, |lost| lost.num_events_lost);
        })
        .expect("an answer");
        let (shed, taken) = (worker.join().expect("the worker"), begun.elapsed().as_secs_f64());
        drain.join().expect("the log");
        server.join().expect("the server");
        let shown = printer.into_inner().0;
        let total = RATE * 5 * TICKS / 1000;
        println!("follow/{name}: {total} events in {taken:.2} s: {shown} lines, {lost} lost, {shed} shed");
    }
}

criterion_group!(benches, observe, accept, follow);
criterion_main!(benches);
