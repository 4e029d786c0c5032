//! Nanoseconds a frame by header stack, beside copying as many bytes as the headers have.
//!
//! `cargo bench -p sluice-micro --bench parse`

use criterion::{Criterion, criterion_group, criterion_main};
use packet::TcpFlags;
use packet::testing;
use sluice_micro::ratio;
use std::hint::black_box;

const A4: &str = "10.0.0.1";
const B4: &str = "10.0.0.2";
const A6: &str = "fd00::1";
const B6: &str = "fd00::2";

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let tcp = |a, b| testing::tcp(a, b, 4000, 80, TcpFlags::ACK, 1, 1, &[0; 64]);
    let query = testing::udp(B4, A4, 53, 4000, &[0; 64]);
    vec![
        ("ipv4-tcp", tcp(A4, B4)),
        ("ipv4-udp", testing::udp(A4, B4, 4000, 53, &[0; 64])),
        ("ipv6-tcp", tcp(A6, B6)),
        ("ipv6-udp", testing::udp(A6, B6, 4000, 53, &[0; 64])),
        ("ipv4-icmp-echo", testing::icmp_echo(A4, B4, false, 7, 1, &[0; 56])),
        ("ipv4-icmp-error", testing::icmp(A4, B4, 3, 3, [0; 4], &query[14..])),
        ("ipv4-sctp", testing::sctp(A4, B4, 7, 8, 1, 1, &[0; 64])),
        ("ipv4-later-fragment", testing::fragments(&testing::udp(A4, B4, 1, 2, &[0; 200]), 96, 1).remove(1)),
    ]
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, frame) in frames() {
        group.bench_function(name, |b| b.iter(|| packet::parse(black_box(&frame), frame.len()).is_ok()));
        let ns = ratio::median_ns(20_000, || {
            let _ = black_box(packet::parse(black_box(&frame), frame.len()));
        });
        let mut copy = [0u8; 54];
        let baseline = ratio::median_ns(20_000, || {
            black_box(&mut copy).copy_from_slice(&black_box(&frame)[..54]);
        });
        ratio::print(name, ns, "copying 54 bytes", baseline);
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
