//! Nanoseconds to judge a ClientHello of a real client, beside rustls reading it.
//!
//! `cargo bench -p sluice-micro --bench tls`

use criterion::{Criterion, criterion_group, criterion_main};
use l7::dns::{Answer, Query};
use l7::http::{HttpRequest, HttpResponse};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::{Tls, TlsHello};
use l7::{Anomaly, Context, Inspector, Judge, Learning, Settings, Side, Step};
use rustls::server::Acceptor;
use sluice_micro::ratio;
use std::hint::black_box;

/// Allows one name.
struct Named;

impl Judge for Named {
    fn tls_hello(&mut self, hello: &TlsHello<'_>) -> bool {
        black_box(hello).server_name == Some("api.example.com")
    }

    fn http_request(&mut self, _: &HttpRequest<'_>) -> bool {
        false
    }

    fn http_response(&mut self, _: &HttpResponse<'_>) {}

    fn dns_query(&mut self, _: &Query<'_>) -> bool {
        false
    }

    fn dns_answer(&mut self, _: &Answer<'_>) -> Learning {
        Learning::Done
    }

    fn kafka_request(&mut self, _: &KafkaRequest<'_>) -> bool {
        false
    }

    fn kafka_response(&mut self, _: &KafkaResponse<'_>) {}

    fn oddity(&mut self, _: Anomaly) {}
}

/// The hello of curl: 517 bytes.
fn hello() -> Vec<u8> {
    let text = include_str!("../../../testdata/l7/tls/conversations.txt");
    let mut lines = text.lines().skip_while(|line| *line != "== a hello of curl");
    let hex = lines.nth(1).and_then(|line| line.strip_prefix("> ")).expect("a hello");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn judge(hello: &[u8]) {
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let mut cx = Context {
        judge: &mut Named,
        now: 1,
        settings: &Settings::default(),
        to_client: &mut to_client,
        to_server: &mut to_server,
    };
    let step = Tls::new().feed(Side::Client, hello, &mut cx);
    assert_eq!(black_box(step), Step::Pass { counted: hello.len(), free: 0 });
}

fn tls(c: &mut Criterion) {
    let hello = hello();
    c.bench_function("tls/hello-of-curl", |b| b.iter(|| judge(black_box(&hello))));
    let ns = ratio::median_ns(20_000, || judge(black_box(&hello)));
    let oracle = ratio::median_ns(5_000, || {
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut black_box(&hello[..])).expect("memory does not fail");
        let accepted = acceptor.accept().ok().flatten().expect("a hello");
        assert_eq!(black_box(accepted.client_hello().server_name()), Some("api.example.com"));
    });
    ratio::print("hello of curl", ns, "rustls", oracle);
}

criterion_group!(benches, tls);
criterion_main!(benches);
