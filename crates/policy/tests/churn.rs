//! A long life under changes: what is compiled, numbered and named must not pile up. The only test of this process, so
//! that its memory is its own.

use policy::conformance::Flow;
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::{Direction, Engine, Options, RuleId, Verdict};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes in use. Resident memory would also tell what the allocator keeps in reserve, which differs between
/// machines.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards everything to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changes, each a reload of one policy file; fewer in debug builds, but enough to fill what is kept.
const CHANGES: usize = if cfg!(debug_assertions) { 40_000 } else { 100_000 };

/// Most that the second half's peak of memory may exceed the first half's, in KiB.
const GROWTH: usize = 1 << 10;

const INVENTORY: &str = "
pods:
- {name: web, namespace: a, node: n1, labels: {app: web}, ips: [10.0.0.1]}
- {name: api, namespace: a, node: n1, labels: {app: api}, ips: [10.0.0.2]}
";

/// Another name, another port, other messages, other addresses each time.
fn change(n: usize) -> SourceFile {
    let port = 1 + n % 60_000;
    let rules =
        if n.is_multiple_of(7) { format!(", rules: {{http: [{{path: /v{n}}}]}}") } else { String::new() };
    let [_, b, c, d] = (n as u32).to_be_bytes();
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p{n}, namespace: a}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: web}}}}\n  ingress:\n  - fromEndpoints: [{{matchLabels: {{app: api}}}}]\n    \
         toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]{rules}}}]\n  egress:\n  - toCIDR: [20.{b}.{c}.{d}/32]\n"
    );
    SourceFile { path: "p.yaml".into(), text }
}

/// Memory in use, in KiB.
fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed) >> 10
}

#[test]
fn a_hundred_thousand_changes_leave_nothing_behind() {
    let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
    engine.set_inventory(load_inventory(INVENTORY, "inventory.yaml").expect("workloads"));
    let fixed = SourceFile { path: "fixed.yaml".into(), text: change(3).text.replace("p3", "fixed") };
    let api = engine.pod_identity("a", "api").expect("a pod");
    let mut numbers: Vec<RuleId> = Vec::new();
    let (mut early, mut late) = (0, 0);
    for n in 0..CHANGES {
        assert!(engine.set_policies(vec![fixed.clone(), change(n)]).is_valid(), "{n}");
        let peak = if n < CHANGES / 2 { &mut early } else { &mut late };
        *peak = in_use().max(*peak);
        if !n.is_multiple_of(CHANGES / 100) {
            continue;
        }
        let snapshot = engine.snapshot();
        let endpoint = engine.endpoint("a", "web").expect("an endpoint");
        let verdict = endpoint.map.lookup(Direction::Ingress, api, 6, 1 + (n % 60_000) as u16);
        let Verdict::Allow(permit) = verdict else { panic!("{n}: {verdict:?}") };
        let rules = snapshot.rules.get(permit.rule());
        assert!(rules.iter().any(|rule| rule.name == format!("p{n}")), "{n}: {rules:?}");
        let flow = Flow { port: 4, ..Flow::default() };
        let told = engine.explain(Direction::Ingress, ("a", "web"), api, 6, &flow).expect("an endpoint");
        assert!(told.decided_by.iter().any(|rule| rule.name == "fixed"), "{n}: {told:?}");
        // What a connection was judged by a moment ago can still be told.
        assert!(numbers.iter().rev().take(1).all(|id| !snapshot.rules.get(*id).is_empty()), "{n}");
        numbers.push(permit.rule());
        assert!(snapshot.rules.len() < 20_000, "{n}: {} sets of rules", snapshot.rules.len());
    }
    let distinct = numbers.iter().collect::<std::collections::BTreeSet<_>>().len();
    println!("{CHANGES} changes: in the first half at most {early} KiB, in the second {late} KiB");
    assert_eq!(distinct, numbers.len(), "no number means two things");
    assert!(late < early + GROWTH, "at most {early} KiB, then {late} KiB");
}
