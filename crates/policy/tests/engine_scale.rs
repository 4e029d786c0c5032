//! A large cluster: what a change costs, and that it recompiles what it touches only.
//!
//! Debug builds run a tenth of the size. Times are printed, not asserted; the benches hold the limits.

mod cluster;

use cluster::{LOCAL, PODS, POLICIES, SCALE, inventory, policy};
use packet::Addr;
use policy::engine::SourceFile;
use policy::fqdn::Answer;
use policy::{Direction, Engine, Identity, IpCache, Options, PolicyMap, Verdict};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = run();
    println!("{what}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    value
}

fn per_call(what: &str, calls: usize, mut run: impl FnMut(usize)) {
    let start = Instant::now();
    for n in 0..calls {
        run(n);
    }
    println!("{what}: {:.1} ns", start.elapsed().as_secs_f64() * 1e9 / calls as f64);
}

fn maps(engine: &Engine) -> Vec<Arc<PolicyMap>> {
    engine.snapshot().endpoints.iter().flatten().map(|endpoint| Arc::clone(&endpoint.map)).collect()
}

fn changed(before: &[Arc<PolicyMap>], after: &[Arc<PolicyMap>]) -> usize {
    before.iter().zip(after).filter(|(a, b)| !Arc::ptr_eq(a, b)).count()
}

#[test]
fn a_change_recompiles_what_it_touches() {
    let mut engine = Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    let files: Vec<_> = (0..POLICIES).map(|n| policy(n, 80 + n % 5)).collect();
    timed("inventory", || engine.set_inventory(inventory(PODS)));
    let report = timed("policies read and compiled", || engine.set_policies(files.clone()));
    assert!(report.is_valid());
    let before = maps(&engine);
    assert_eq!(before.len(), LOCAL + 1);
    let mut distinct: Vec<*const PolicyMap> = before.iter().map(Arc::as_ptr).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let bytes: usize = before.iter().map(|map| map.heap_size()).sum();
    println!("{} maps, {} KiB if none shared", distinct.len(), bytes / 1024);

    let mut fresh = Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    let (documents, groups) = (engine.policies(), Vec::new());
    fresh.set_inventory(inventory(PODS));
    timed("full build from documents", || fresh.set_documents(documents, groups, Vec::new()));

    let mut files = files;
    files[3] = policy(3, 9_999);
    let given = files.clone();
    timed("one policy of one pod changed", || engine.set_policies(given));
    let after = maps(&engine);
    assert_eq!(changed(&before, &after), 1);

    files[1] = policy(1, 9_999);
    let given = files.clone();
    timed("one policy of a tier changed", || engine.set_policies(given));
    println!("  {} maps changed", changed(&after, &maps(&engine)));

    let before = maps(&engine);
    let given = inventory(PODS + 1);
    timed("one pod elsewhere added", || engine.set_inventory(given));
    println!("  {} maps changed", changed(&before, &maps(&engine)));
    timed("a name learnt that no rule wants", || learn(&mut engine, "x.example.com", [9, 9, 9, 9].into()));
}

fn learn(engine: &mut Engine, name: &str, addr: std::net::IpAddr) {
    let answer = Answer { name, addresses: &[addr], cnames: &[], ttl: 60, endpoint: None };
    engine.learn_fqdns([answer], 0);
}

#[test]
fn lookups_stay_cheap() {
    let calls = 1_000_000 / SCALE;
    for (peers, ports) in [(1u32, 10u16), (100, 10), (1_000, 100)] {
        let mut builder = PolicyMap::builder().enforce(Direction::Ingress, &[]);
        for peer in 0..peers {
            for port in 0..ports {
                let port = port * 3 + (peer % 10) as u16;
                builder = builder.allow(Direction::Ingress, Identity(256 + peer), 6, port..=port);
            }
        }
        let map = builder.build();
        let mut allowed = 0usize;
        let mut ask = |peer: u32, port: u16| {
            let verdict = map.lookup(Direction::Ingress, Identity(256 + peer), 6, port);
            allowed += usize::from(matches!(black_box(verdict), Verdict::Allow(_)));
        };
        let entries = peers * u32::from(ports);
        per_call(&format!("lookup, {entries} entries, 64 hot keys"), calls, |n| {
            let n = n as u32 % 64;
            ask(n % peers, (n as u16 * 7) % (ports * 3));
        });
        per_call(&format!("lookup, {entries} entries, random keys"), calls, |n| {
            let n = (n as u32).wrapping_mul(0x9e37_79b9);
            ask((n >> 8) % peers, (n >> 3) as u16 % (ports * 3));
        });
        assert!(allowed > 0);
    }
}

#[test]
fn addresses_stay_cheap() {
    let count = 100_000 / SCALE as u32;
    let prefixes = (0..count).map(|n| {
        let bits = if n.is_multiple_of(4) { 24 } else { 32 };
        let addr = std::net::Ipv4Addr::from_bits(0x0a00_0000 | n.wrapping_mul(977) & 0x00ff_ffff);
        (ipnet::IpNet::new(addr.into(), bits).expect("a length").trunc(), Identity(256 + n % 5_000))
    });
    let prefixes: Vec<_> = prefixes.collect();
    let cache = timed("address table built", || IpCache::new(prefixes.iter().copied()));
    let one = Addr::v4([10, 9, 9, 9]);
    let cache = timed("one host added", || cache.with_hosts([(one, Some(Identity(7_000)))]));
    assert_eq!(cache.lookup(one), Identity(7_000));
    per_call("address lookup, random", 1_000_000 / SCALE, |n| {
        let n = (n as u32).wrapping_mul(0x9e37_79b9);
        black_box(cache.lookup(Addr::v4((0x0a00_0000 | n >> 8).to_be_bytes())));
    });
    let empty = IpCache::default();
    per_call("address lookup, empty table", 1_000_000 / SCALE, |_| {
        black_box(empty.lookup(black_box(one)));
    });
}

#[test]
fn a_hundred_path_patterns_stay_cheap() {
    let mut engine = Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    engine.set_inventory(inventory(1));
    let rules: String =
        (0..100).map(|n| format!("      - {{method: GET, path: \"/service{n}/[a-z]+/[0-9]+\"}}\n")).collect();
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: h, namespace: ns-0}}\nspec:\n  endpointSelector: {{}}\n  ingress:\n  - toPorts:\n    - ports: [{{port: \"80\", protocol: TCP}}]\n      rules:\n        http:\n{}",
        rules.replace("      - ", "        - "),
    );
    assert!(engine.set_policies(vec![SourceFile { path: "h.yaml".into(), text }]).is_valid());
    let snapshot = engine.snapshot();
    let endpoint = engine.endpoint("ns-0", "pod-0").expect("an endpoint");
    let verdict = endpoint.map.lookup(Direction::Ingress, Identity::WORLD_IPV4, 6, 80);
    let Verdict::Allow(permit) = verdict else { panic!("{verdict:?}") };
    let set = permit.l7().and_then(|id| snapshot.l7.get(id)).expect("L7 rules");
    let request = |path| ::policy::l7::HttpRequest { method: b"GET", path, host: b"api", headers: &() };
    assert!(set.http(&request(b"/service99/items/42")).allowed);
    assert!(!set.http(&request(b"/service99/items/x")).allowed);
    per_call("100 path patterns", 100_000 / SCALE, |_| {
        black_box(set.http(&request(black_box(b"/service99/items/42"))));
    });
}
