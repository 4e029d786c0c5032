//! Policy: the verdict at three map sizes, the identity of an address among 100,000 prefixes, a request under 100 HTTP
//! rules, and building snapshots of a large cluster.
//!
//! `cargo bench -p sluice-micro --bench policy`

#[path = "../../../crates/policy/tests/cluster/mod.rs"]
mod cluster;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use packet::Addr;
use packet::packet::proto;
use policy::engine::SourceFile;
use policy::l7::HttpRequest;
use policy::re2::compile_full_match;
use policy::{
    Direction, Engine, Identity, Options, PolicyMap, PolicySnapshot, Provenance, RuleTable, Verdict,
};
use sluice_micro::ratio;
use std::hint::black_box;
use std::time::Duration;

const FIRST: u32 = 1000;

/// One allowed port for each of so many peers.
fn map(entries: u32) -> PolicyMap {
    (0..entries)
        .fold(PolicyMap::builder().enforce(Direction::Ingress, &[]), |map, n| {
            let port = port_of(n);
            map.allow(Direction::Ingress, Identity(FIRST + n), proto::TCP, port..=port)
        })
        .build()
}

/// The same with a rule behind each entry that no other entry has: nothing can be shared.
fn map_of_rules(entries: u32) -> PolicyMap {
    (0..entries)
        .fold(PolicyMap::builder().enforce(Direction::Ingress, &[]), |map, n| {
            let (port, name) = (port_of(n), format!("rule-{n}"));
            let rule = Provenance {
                kind: "CiliumNetworkPolicy".into(),
                namespace: "a".into(),
                name,
                file: "a.yaml".into(),
                line: n + 1,
            };
            map.because(&[rule]).allow(Direction::Ingress, Identity(FIRST + n), proto::TCP, port..=port)
        })
        .build()
}

fn port_of(n: u32) -> u16 {
    1 + (n % 7) as u16
}

/// Peers below `below`, in an order that no prefetcher guesses.
fn scattered(below: u32, count: usize) -> Vec<u32> {
    let mut n = 0_u32;
    let mut next = || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (n >> 8) % below
    };
    (0..count).map(|_| next()).collect()
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/lookup");
    let mut first = [0.0; 2];
    type Make = fn(u32) -> PolicyMap;
    for (shape, make) in [("", map as Make), (", a rule each", map_of_rules as Make)] {
        for (name, entries) in [("10", 10_u32), ("1k", 1_000), ("100k", 100_000)] {
            let map = make(entries);
            let keys =
                [("64 hot keys", scattered(entries, 64)), ("random keys", scattered(entries, 1 << 16))];
            for ((what, keys), first) in keys.into_iter().zip(&mut first) {
                let mut at = 0;
                let mut ask = || {
                    at = (at + 1) % keys.len();
                    let n = keys[at];
                    black_box(map.lookup(Direction::Ingress, Identity(FIRST + n), proto::TCP, port_of(n)))
                };
                group.bench_function(format!("{name} entries{shape}, {what}"), |b| b.iter(&mut ask));
                let ours = ratio::median_ns(50_000, || {
                    ask();
                });
                if entries == 10 {
                    *first = ours;
                }
                ratio::print(&format!("{name} entries{shape}, {what}"), ours, "10 entries", *first);
            }
            group.bench_function(format!("{name} entries{shape}, denied"), |b| {
                b.iter(|| map.lookup(Direction::Ingress, Identity(FIRST), proto::TCP, black_box(9)))
            });
        }
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

/// Rules with 100 path patterns, as a document of that many lines.
fn http_rules(pattern: impl Fn(usize) -> String) -> (Engine, Vec<String>) {
    let patterns: Vec<String> = (0..100).map(pattern).collect();
    let rules: String =
        patterns.iter().map(|path| format!("        - {{method: GET, path: \"{path}\"}}\n")).collect();
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: h, namespace: ns-0}}\nspec:\n  endpointSelector: {{}}\n  ingress:\n  - toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n      rules:\n        http:\n{rules}"
    );
    let mut engine = Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    engine.set_inventory(cluster::inventory(1));
    assert!(engine.set_policies(vec![SourceFile { path: "h.yaml".into(), text }]).is_valid());
    (engine, patterns)
}

fn http(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/http");
    type Pattern = fn(usize) -> String;
    let kinds: [(&str, Pattern, &[u8]); 2] = [
        ("classes", |n| format!("/service{n}/[a-z]+/[0-9]+"), b"/service99/items/42"),
        ("prefixes", |n| format!("/api/v1/resource{n}/.*"), b"/api/v1/resource99/a/long/way/down?with=query"),
    ];
    for (name, pattern, path) in kinds {
        let (engine, patterns) = http_rules(pattern);
        let snapshot = engine.snapshot();
        let endpoint = engine.endpoint("ns-0", "pod-0").expect("a local pod");
        let Verdict::Allow(permit) =
            endpoint.map.lookup(Direction::Ingress, Identity::WORLD_IPV4, proto::TCP, 80)
        else {
            panic!("the port is inspected");
        };
        let set = permit.l7().and_then(|id| snapshot.l7.get(id)).expect("L7 rules");
        let ask = |path| {
            let request = HttpRequest { method: b"GET", path, host: b"api.example.com", headers: &() };
            set.http(black_box(&request)).allowed
        };
        assert!(ask(path) && !ask(b"/elsewhere"));
        let apart: Vec<_> =
            patterns.iter().map(|one| compile_full_match(&[one]).expect("an expression")).collect();
        group.bench_function(format!("100 {name}, the last one matches"), |b| b.iter(|| ask(path)));
        group.bench_function(format!("100 {name}, none matches"), |b| b.iter(|| ask(b"/elsewhere/items/42")));
        let ours = ratio::median_ns(5_000, || {
            black_box(ask(path));
        });
        let theirs = ratio::median_ns(500, || {
            black_box(apart.iter().any(|one| one.is_match(black_box(path))));
        });
        ratio::print(
            &format!("100 {name}, the last one matches"),
            ours,
            "one expression after the other",
            theirs,
        );
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/build");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("map of 1k entries", |b| b.iter(|| map(black_box(1_000))));
    let fresh = || Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    let files: Vec<_> = (0..cluster::POLICIES).map(|n| cluster::policy(n, 80 + n % 5)).collect();
    group.bench_function("10k policies, 10k identities, 110 endpoints, from text", |b| {
        b.iter_batched(
            || (fresh(), files.clone(), cluster::inventory(cluster::PODS)),
            |(mut engine, files, inventory)| {
                engine.set_inventory(inventory);
                engine.set_policies(files);
                engine
            },
            BatchSize::PerIteration,
        );
    });
    let mut engine = fresh();
    engine.set_inventory(cluster::inventory(cluster::PODS));
    engine.set_policies(files.clone());
    for (name, changed) in [("one pod", 3), ("a tier of pods", 1)] {
        let mut port = 9_000;
        group.bench_function(format!("one policy of {name} changed among 10k"), |b| {
            b.iter_batched(
                || {
                    port = port % 60_000 + 1;
                    let mut files = files.clone();
                    files[changed] = cluster::policy(changed, port);
                    files
                },
                |files| engine.set_policies(files),
                BatchSize::PerIteration,
            );
        });
    }
    let mut pods = cluster::PODS;
    group.bench_function("one pod elsewhere added to 10k", |b| {
        b.iter_batched(
            || {
                pods += 1;
                cluster::inventory(pods)
            },
            |inventory| engine.set_inventory(inventory),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, lookup, ip_cache, http, build);
criterion_main!(benches);
