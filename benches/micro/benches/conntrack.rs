//! The connection table: hash, hit, miss and create at three sizes, beside a plain hashbrown map of as many flows.
//!
//! Flows are asked in an order that no prefetcher guesses. `cargo bench -p sluice-micro --bench conntrack`

use criterion::{Criterion, criterion_group, criterion_main};
use datapath::conntrack::{Conntrack, ConntrackConfig, NewConn};
use hashbrown::HashMap;
use packet::packet::proto;
use packet::testing;
use packet::{Addr, FlowKey, Instant, Packet, PortId};
use policy::Identity;
use sluice_micro::ratio;
use std::hint::black_box;
use std::time::Duration;

const NOW: Instant = Instant::from_secs(1);
/// Flows asked one after the other.
const ORDER: usize = 1 << 16;

fn key(n: u32) -> FlowKey {
    let addr = |bits: u32| Addr::v4(bits.to_be_bytes());
    FlowKey {
        src: addr(0x0a00_0000 + n / 50_000),
        dst: addr(0x0a80_0001),
        src_port: (n % 50_000) as u16,
        dst_port: 53,
        proto: proto::UDP,
    }
}

fn packet() -> Packet {
    testing::packet_of(&testing::udp("10.0.0.1", "10.128.0.1", 1, 53, b"query"))
}

fn new(ct: &Conntrack, key: FlowKey) -> NewConn {
    NewConn {
        key,
        hash: ct.hash(&key),
        in_port: PortId(1),
        out_port: PortId(2),
        src_identity: Identity(1000),
        dst_identity: Identity(1001),
        src_endpoint: None,
        dst_endpoint: None,
        adopt: false,
    }
}

fn table(room: u32, flows: u32) -> Conntrack {
    let mut config = ConntrackConfig::with_max_entries(room);
    config.max_entries_per_port = room;
    config.max_half_open_per_port = room;
    let mut ct = Conntrack::new(config, 42);
    let packet = packet();
    for n in 0..flows {
        let new = new(&ct, key(n));
        ct.create(new, &packet, NOW, &mut |_, _| {}).expect("there is room");
    }
    ct
}

fn order(flows: u32) -> Vec<FlowKey> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(flows)) as u32
    };
    (0..ORDER).map(|_| key(next())).collect()
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("conntrack");
    let packet = packet();
    for (name, flows) in [("1k", 1_000_u32), ("100k", 100_000), ("1M", 1_000_000)] {
        let mut ct = table(flows, flows);
        let keys = order(flows);
        let absent: Vec<FlowKey> = keys.iter().map(|key| FlowKey { dst_port: 54, ..*key }).collect();
        let mut at = 0;
        let mut next = move || {
            at = (at + 1) % ORDER;
            at
        };
        if flows == 1_000 {
            group.bench_function("hash, IPv4", |b| b.iter(|| ct.hash(black_box(&keys[0]))));
            let six = FlowKey { src: Addr(0xfd << 120 | 1), dst: Addr(0xfd << 120 | 2), ..keys[0] };
            group.bench_function("hash, IPv6", |b| b.iter(|| ct.hash(black_box(&six))));
        }
        group.bench_function(format!("hit, {name} flows"), |b| {
            b.iter(|| {
                let key = &keys[next()];
                ct.lookup(key, ct.hash(key))
            });
        });
        group.bench_function(format!("hit and advance, {name} flows"), |b| {
            b.iter(|| {
                let key = &keys[next()];
                let (id, leg) = ct.lookup(key, ct.hash(key)).expect("it is there");
                ct.advance(id, leg, &packet, NOW)
            });
        });
        group.bench_function(format!("miss, {name} flows"), |b| {
            b.iter(|| {
                let key = &absent[next()];
                ct.lookup(key, ct.hash(key))
            });
        });
        let hit = ratio::median_ns(50_000, || {
            let key = &keys[next()];
            black_box(ct.lookup(key, ct.hash(key)));
        });
        let mut map = HashMap::with_hasher(std::hash::RandomState::new());
        map.extend((0..flows).map(|n| (key(n), [0_u8; 144])));
        let plain = ratio::median_ns(50_000, || {
            black_box(map.get(&keys[next()]).map(|value| value[0]));
        });
        ratio::print(&format!("hit, {name} flows"), hit, "hashbrown map with the standard hasher", plain);
    }
    group.finish();
}

/// Connections created into one table before it is replaced by an empty one.
const ROOM: u32 = 100_000;

/// One creation with its lookup, as the pipeline does it.
fn open(ct: &mut Conntrack, key: FlowKey, packet: &Packet) {
    let new = new(ct, key);
    if ct.lookup(&key, new.hash).is_none() {
        let _ = black_box(ct.create(new, packet, NOW, &mut |_, _| {}));
    }
}

fn create(c: &mut Criterion) {
    let mut group = c.benchmark_group("conntrack/create");
    group.sample_size(10);
    let packet = packet();
    group.bench_function("there is room", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            let mut left = rounds;
            while left > 0 {
                let now = left.min(u64::from(ROOM)) as u32;
                let mut ct = table(ROOM, 0);
                let start = std::time::Instant::now();
                (0..now).for_each(|n| open(&mut ct, key(n), &packet));
                took += start.elapsed();
                left -= u64::from(now);
            }
            took
        });
    });
    let mut ct = table(ROOM, ROOM);
    let mut number = ROOM;
    group.bench_function("the table is full, each evicts one", |b| {
        b.iter(|| {
            number = number.wrapping_add(1) % 50_000_000;
            open(&mut ct, key(number), &packet);
        });
    });
    group.finish();
}

criterion_group!(benches, lookups, create);
criterion_main!(benches);
