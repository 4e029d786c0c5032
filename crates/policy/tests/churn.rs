//! A long life under changes: what is compiled, numbered and named must not pile up. The only test of this process, so
//! that its memory is its own.

use policy::conformance::Flow;
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::{Direction, Engine, Options, RuleId, Verdict};

/// Changes, each a reload of one policy file; fewer in debug builds, but enough to fill what is kept.
const CHANGES: usize = if cfg!(debug_assertions) { 40_000 } else { 100_000 };

/// Most that memory may grow in the second half, in KiB: what an allocator leaves behind.
const GROWTH: usize = 4 << 10;

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

/// Resident memory in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn a_hundred_thousand_changes_leave_nothing_behind() {
    let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
    engine.set_inventory(load_inventory(INVENTORY, "inventory.yaml").expect("workloads"));
    let fixed = SourceFile { path: "fixed.yaml".into(), text: change(3).text.replace("p3", "fixed") };
    let api = engine.pod_identity("a", "api").expect("a pod");
    let mut numbers: Vec<RuleId> = Vec::new();
    let mut early = 0;
    for n in 0..CHANGES {
        assert!(engine.set_policies(vec![fixed.clone(), change(n)]).is_valid(), "{n}");
        if n == CHANGES / 2 {
            early = resident();
        }
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
    let (late, distinct) = (resident(), numbers.iter().collect::<std::collections::BTreeSet<_>>().len());
    println!("after {} changes {early} KiB, after {CHANGES} {late} KiB", CHANGES / 2);
    assert_eq!(distinct, numbers.len(), "no number means two things");
    assert!(late < early + GROWTH, "{early} KiB, then {late} KiB");
}
