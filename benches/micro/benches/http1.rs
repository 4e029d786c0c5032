//! Nanoseconds from the bytes of a request to its verdict, and of a response, beside httparse alone on the same bytes.
//!
//! `cargo bench -p sluice-micro --bench http1`

use core::mem::MaybeUninit;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use l7::http::{Http, HttpRequest, HttpResponse};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Context, Inspector, Judge, Learning, Settings, Side, Step, dns};
use sluice_micro::ratio;

/// As a browser or a service behind a mesh sends it: eleven fields.
const REQUEST: &[u8] = b"GET /api/v1/orders?customer=4711&limit=20 HTTP/1.1\r\n\
    Host: orders.shop.svc.cluster.local:8080\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcmRlcnMifQ\r\n\
    X-Request-Id: 7b1c0e0a-2f47-4f0e-9d55-3e1f7f0a9c11\r\n\
    Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    Cache-Control: no-cache\r\n\
    Cookie: session=0123456789abcdef; theme=dark\r\n\
    Connection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 0\r\n\
    Server: nginx\r\n\r\n";

/// A judge that looks at nothing.
struct Trivial(u64);

impl Judge for Trivial {
    fn http_request(&mut self, request: &HttpRequest<'_>) -> bool {
        self.0 += request.headers.len() as u64;
        true
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

struct Connection {
    http: Http,
    judge: Trivial,
    settings: Settings,
    said: (Vec<u8>, Vec<u8>),
}

impl Connection {
    fn new() -> Self {
        let settings = Settings::default();
        Self { http: Http::new(&settings), judge: Trivial(0), settings, said: Default::default() }
    }

    /// Feeds a message and what is behind it, as the splicer does.
    fn feed(&mut self, side: Side, bytes: &[u8]) {
        let (to_client, to_server) = (&mut self.said.0, &mut self.said.1);
        let (judge, settings) = (&mut self.judge, &self.settings);
        let mut cx = Context { judge, now: 1, settings, to_client, to_server };
        let step = self.http.feed(side, black_box(bytes), &mut cx);
        assert_eq!(step, Step::Pass { counted: bytes.len(), free: 0 });
        assert_eq!(self.http.feed(side, &[], &mut cx), Step::NeedMore);
    }
}

fn bare_request() -> usize {
    let mut fields = [const { MaybeUninit::uninit() }; 16];
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(black_box(REQUEST), &mut fields);
    black_box(request.headers.len());
    status.map_or(0, |status| if status.is_complete() { REQUEST.len() } else { 0 })
}

fn http1(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1");
    let mut connection = Connection::new();
    group.bench_function("exchange", |b| {
        b.iter(|| {
            connection.feed(Side::Client, REQUEST);
            connection.feed(Side::Server, RESPONSE);
        });
    });
    group.bench_function("httparse alone, the request", |b| b.iter(bare_request));
    group.finish();

    let bare = ratio::median_ns(20_000, || {
        black_box(bare_request());
    });
    // Requests alone: what is remembered of them is forgotten by answers that are not timed.
    const BATCH: usize = 200;
    let mut rounds: Vec<f64> = (0..400)
        .map(|_| {
            let start = std::time::Instant::now();
            for _ in 0..BATCH {
                connection.feed(Side::Client, REQUEST);
            }
            let each = start.elapsed().as_nanos() as f64 / BATCH as f64;
            for _ in 0..BATCH {
                connection.feed(Side::Server, RESPONSE);
            }
            each
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    ratio::print("request head judged", rounds[rounds.len() / 2], "httparse alone", bare);
    let exchange = ratio::median_ns(20_000, || {
        connection.feed(Side::Client, REQUEST);
        connection.feed(Side::Server, RESPONSE);
    });
    ratio::print("request and response", exchange, "httparse alone, the request", bare);
}

criterion_group!(benches, http1);
criterion_main!(benches);
