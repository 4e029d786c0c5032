//! Policy: the verdict at three map sizes, the identity of an address among 100,000 prefixes, and building snapshots.
//!
//! `cargo bench -p sluice-micro --bench policy`

use criterion::{Criterion, criterion_group, criterion_main};
use packet::Addr;
use packet::packet::proto;
use policy::{Direction, Identity, PolicyMap, PolicySnapshot, RuleTable};
use sluice_micro::ratio;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

const FIRST: u32 = 1000;

fn map(entries: u32) -> PolicyMap {
    (0..entries)
        .fold(PolicyMap::builder().enforce(Direction::Ingress, &[]), |map, n| {
            let port = 1 + (n % 7) as u16;
            map.allow(Direction::Ingress, Identity(FIRST + n), proto::TCP, port..=port)
        })
        .build()
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/lookup");
    for (name, entries) in [("10", 10_u32), ("1k", 1_000), ("100k", 100_000)] {
        let map = map(entries);
        let mut n = 0_u32;
        let mut next = move || {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (n >> 8) % entries
        };
        let ask = |peer: u32, port: u16| {
            map.lookup(Direction::Ingress, Identity(FIRST + peer), proto::TCP, black_box(port))
        };
        group.bench_function(format!("allowed, {name} entries"), |b| {
            b.iter(|| {
                let n = next();
                ask(n, 1 + (n % 7) as u16)
            });
        });
        group.bench_function(format!("denied, {name} entries"), |b| b.iter(|| ask(next(), 9)));
        let ours = ratio::median_ns(50_000, || {
            let n = next();
            black_box(ask(n, 1 + (n % 7) as u16));
        });
        let plain: HashMap<(u32, u16), u32> =
            (0..entries).map(|n| ((FIRST + n, 1 + (n % 7) as u16), n)).collect();
        let theirs = ratio::median_ns(50_000, || {
            let n = next();
            black_box(plain.get(&(FIRST + n, 1 + (n % 7) as u16)));
        });
        ratio::print(&format!("allowed, {name} entries"), ours, "one exact lookup in a standard map", theirs);
    }
    group.finish();
}

fn ip_cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/ip_cache");
    let prefixes: Vec<(String, Identity)> = (0..100_000_u32)
        .map(|n| {
            let [_, b, c, d] = (n * 7).to_be_bytes();
            let prefix = match n % 4 {
                0 => format!("11.{b}.{c}.0/24"),
                1 => format!("12.{b}.{c}.{d}/28"),
                _ => format!("10.{b}.{c}.{d}"),
            };
            (prefix, Identity(FIRST + n))
        })
        .collect();
    let others: Vec<(&str, Identity)> = prefixes.iter().map(|(text, id)| (text.as_str(), *id)).collect();
    let snapshot = PolicySnapshot::for_tests(1, &[], &others, RuleTable::default());
    let mut n = 0_u32;
    let mut next = move || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, b, c, d] = ((n >> 8) % 100_000 * 7).to_be_bytes();
        (n, [b, c, d])
    };
    for (name, first) in [("host", 10), ("/24", 11), ("/28", 12), ("outside", 99)] {
        group.bench_function(format!("{name}, 100k prefixes"), |b| {
            b.iter(|| {
                let (_, [x, y, z]) = next();
                snapshot.ip_cache.lookup(Addr::v4([first, x, y, z]))
            });
        });
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/build");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("map of 1k entries", |b| b.iter(|| map(black_box(1_000))));
    group.finish();
}

criterion_group!(benches, lookup, ip_cache, build);
criterion_main!(benches);
