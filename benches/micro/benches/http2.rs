//! Nanoseconds from the octets of an HTTP/2 request to its verdict: ten fields as a gRPC client sends them, beside a kept
//! decoder (`httlib-hpack`) alone on the same header blocks.
//!
//! `cargo bench -p sluice-micro --bench http2`

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use l7::http::{HttpRequest, HttpResponse, PREFACE};
use l7::http2::Http2;
use l7::http2::hpack::{Encoder, Fields, Limits};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Context, Inspector, Judge, Learning, Settings, Side, Step, dns};
use sluice_micro::ratio;

/// Requests of one connection.
const REQUESTS: u32 = 5_000;

/// Connections of which the median counts.
const ROUNDS: usize = 31;

const SETTINGS_FRAME: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A server that takes 100 streams at once: nothing has to be said in other words.
const SERVER_SETTINGS: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];

/// A judge that refuses one path.
struct OnePath(u64);

impl Judge for OnePath {
    fn http_request(&mut self, request: &HttpRequest<'_>) -> bool {
        self.0 += request.headers.len() as u64;
        request.path != b"/denied"
    }
    fn http_response(&mut self, response: &HttpResponse<'_>) {
        self.0 += u64::from(response.status);
    }
    fn dns_query(&mut self, _: &dns::Query<'_>) -> bool {
        false
    }
    fn dns_answer(&mut self, _: &dns::Answer<'_>) -> Learning {
        Learning::Done
    }
    fn kafka_request(&mut self, _: &KafkaRequest<'_>) -> bool {
        false
    }
    fn kafka_response(&mut self, _: &KafkaResponse<'_>) {}
    fn tls_hello(&mut self, _: &TlsHello<'_>) -> bool {
        false
    }
    fn oddity(&mut self, _: Anomaly) {}
}

/// The header blocks of one client: what differs from call to call is an id of its own and a trace.
fn blocks() -> Vec<Vec<u8>> {
    let limits = Limits { list: usize::MAX, fields: usize::MAX };
    let mut encoder = Encoder::new(4_096);
    let mut fields = Fields::default();
    (0..REQUESTS)
        .map(|number| {
            fields.clear();
            let id = format!("{:08x}-2f47-4f0e", number.wrapping_mul(2_654_435_761));
            let timeout = format!("{}m", 900 + number % 100);
            let path =
                ["/shop.Orders/Get", "/shop.Orders/List", "/shop.Payments/Authorize"][number as usize % 3];
            for (name, value) in [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "orders.shop.svc.cluster.local:8080"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", "grpc-rust/0.14.2"),
                ("grpc-accept-encoding", "identity, deflate, gzip"),
                ("grpc-timeout", timeout.as_str()),
                ("x-request-id", id.as_str()),
            ] {
                fields.push(name.as_bytes(), value.as_bytes(), false, &limits).expect("no limits");
            }
            let mut block = Vec::new();
            encoder.encode(&fields, &mut block);
            block
        })
        .collect()
}

fn frame(block: &[u8], stream: u32) -> Vec<u8> {
    let mut frame = (block.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([1, 5]);
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    frame
}

struct Connection {
    http2: Http2,
    judge: OnePath,
    settings: Settings,
    said: (Vec<u8>, Vec<u8>),
}

impl Connection {
    /// One of which both sides have said their settings.
    fn new() -> Self {
        let settings = Settings::default();
        let (http2, said) = (Http2::new(&settings), Default::default());
        let mut connection = Self { http2, judge: OnePath(0), settings, said };
        for (side, bytes) in
            [(Side::Client, &PREFACE[..]), (Side::Client, &SETTINGS_FRAME), (Side::Server, &SERVER_SETTINGS)]
        {
            assert_eq!(connection.feed(side, bytes), Step::Pass { counted: bytes.len(), free: 0 });
        }
        connection
    }

    /// Feeds a frame and what is behind it, as the splicer does.
    fn feed(&mut self, side: Side, bytes: &[u8]) -> Step {
        let (to_client, to_server) = (&mut self.said.0, &mut self.said.1);
        to_client.clear();
        to_server.clear();
        let (judge, settings) = (&mut self.judge, &self.settings);
        let mut cx = Context { judge, now: 1, settings, to_client, to_server };
        let step = self.http2.feed(side, black_box(bytes), &mut cx);
        assert_eq!(self.http2.feed(side, &[], &mut cx), Step::NeedMore);
        step
    }
}

/// Median nanoseconds for the head of a request, and for that with the response, over whole connections.
fn requests(blocks: &[Vec<u8>], refuse_first: bool) -> (f64, f64) {
    let first = if refuse_first { 3 } else { 1 };
    let stream = |number: usize| first + 2 * number as u32;
    let frames: Vec<Vec<u8>> =
        blocks.iter().enumerate().map(|(at, block)| frame(block, stream(at))).collect();
    // `:status 200` and END_STREAM.
    let answers: Vec<Vec<u8>> = (0..blocks.len()).map(|at| frame(&[0x88], stream(at))).collect();
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let mut connection = Connection::new();
            if refuse_first {
                let denied = [&[0x83, 0x86, 0x04, 0x07][..], b"/denied", &[0x01, 0x01, b'a']].concat();
                assert!(matches!(connection.feed(Side::Client, &frame(&denied, 1)), Step::Swallow { .. }));
            }
            let (mut heads, start) = (0, Instant::now());
            // As many at once as a busy client has.
            for (frames, answers) in frames.chunks(50).zip(answers.chunks(50)) {
                let started = Instant::now();
                for frame in frames {
                    let _ = black_box(connection.feed(Side::Client, frame));
                }
                heads += started.elapsed().as_nanos();
                for answer in answers {
                    assert_eq!(connection.feed(Side::Server, answer), Step::Pass { counted: 10, free: 0 });
                }
            }
            let each = |nanos: u128| nanos as f64 / frames.len() as f64;
            (each(heads), each(start.elapsed().as_nanos()))
        })
        .collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds[ROUNDS / 2]
}

/// Median nanoseconds that the kept decoder takes for a block.
fn kept(blocks: &[Vec<u8>]) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut decoder = httlib_hpack::Decoder::with_dynamic_size(4_096);
            let mut copies = blocks.to_vec();
            let mut list = Vec::new();
            let start = Instant::now();
            for block in &mut copies {
                list.clear();
                decoder.decode(block, &mut list).expect("a valid block");
                black_box(list.len());
            }
            start.elapsed().as_nanos() as f64 / blocks.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn http2(c: &mut Criterion) {
    let blocks = blocks();
    let mut group = c.benchmark_group("http2");
    // What a connection says again and again: every field in a table.
    let indexed = &blocks[..1];
    group.bench_function("first request of a connection", |b| {
        let request = frame(&indexed[0], 1);
        b.iter_batched_ref(
            Connection::new,
            |connection| connection.feed(Side::Client, &request),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();

    let bare = kept(&blocks);
    let (head, exchange) = requests(&blocks, false);
    ratio::print("request head of 10 fields decoded and judged", head, "httlib-hpack alone", bare);
    ratio::print("request and response", exchange, "httlib-hpack alone, the request", bare);
    let (head, _) = requests(&blocks, true);
    ratio::print("request head behind a refusal, re-encoded", head, "httlib-hpack alone", bare);
}

criterion_group!(benches, http2);
criterion_main!(benches);
