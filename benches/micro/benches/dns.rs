//! Nanoseconds to judge a DNS question and to learn from its answer, beside simple-dns reading the same answer.
//!
//! `cargo bench -p sluice-micro --bench dns`

use criterion::{Criterion, criterion_group, criterion_main};
use l7::dns::{Answer, DatagramStep, Query, Udp};
use l7::http::{HttpRequest, HttpResponse};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Context, Judge, Learning, Settings};
use simple_dns::Packet;
use sluice_micro::ratio;
use std::hint::black_box;

/// Allows everything, and may look at what an answer says.
struct Open;

impl Judge for Open {
    fn dns_query(&mut self, query: &Query<'_>) -> bool {
        black_box(query);
        true
    }

    fn dns_answer(&mut self, answer: &Answer<'_>) -> Learning {
        assert_eq!(black_box(answer).addresses.len(), 2);
        Learning::Done
    }

    fn http_request(&mut self, _: &HttpRequest<'_>) -> bool {
        false
    }

    fn http_response(&mut self, _: &HttpResponse<'_>) {}

    fn kafka_request(&mut self, _: &KafkaRequest<'_>) -> bool {
        false
    }

    fn kafka_response(&mut self, _: &KafkaResponse<'_>) {}

    fn tls_hello(&mut self, _: &TlsHello<'_>) -> bool {
        false
    }

    fn oddity(&mut self, _: Anomaly) {}
}

/// `www.example.com` with OPT; a CNAME to `edge.example.com`, two addresses, OPT.
fn messages() -> (Vec<u8>, Vec<u8>) {
    let name = b"\x03www\x07example\x03com\0\0\x01\0\x01";
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let cname = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x07\x04edge\xc0\x10";
    let address = |last| [&b"\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02"[..], &[last]].concat();
    let query = [&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01"[..], name, opt].concat();
    let header = b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\x01";
    (query, [&header[..], name, cname, &address(1), &address(2), opt].concat())
}

fn exchange(udp: &mut Udp, query: Option<&[u8]>, answer: Option<&[u8]>) {
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let mut cx = Context {
        judge: &mut Open,
        now: 1,
        settings: &Settings::default(),
        to_client: &mut to_client,
        to_server: &mut to_server,
    };
    if let Some(query) = query {
        assert_eq!(udp.query(query, &mut cx), DatagramStep::Pass);
    }
    if let Some(answer) = answer {
        assert_eq!(udp.response(answer, &mut cx), DatagramStep::Pass);
    }
}

/// A question, which takes and frees a place, and with it its answer: the difference is the answer's part.
fn dns(c: &mut Criterion) {
    let (query, answer) = messages();
    let mut group = c.benchmark_group("dns");
    group.bench_function("question-cname-two-addresses", |b| {
        let mut udp = Udp::new();
        b.iter(|| exchange(&mut udp, Some(black_box(&query)), Some(black_box(&answer))));
    });
    group.finish();
    let mut udp = Udp::new();
    let both =
        ratio::median_ns(20_000, || exchange(&mut udp, Some(black_box(&query)), Some(black_box(&answer))));
    let question = ratio::median_ns(20_000, || {
        // The same question again takes no other place.
        exchange(&mut udp, Some(black_box(&query)), None);
    });
    let oracle = ratio::median_ns(20_000, || {
        assert_eq!(black_box(Packet::parse(black_box(&answer))).expect("an answer").answers.len(), 3);
    });
    ratio::print("question and answer", both, "simple-dns, answer", oracle);
    ratio::print("question sent again", question, "simple-dns, answer", oracle);
    ratio::print("answer (difference)", both - question, "simple-dns, answer", oracle);
}

criterion_group!(benches, dns);
criterion_main!(benches);
