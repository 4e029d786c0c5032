//! One policy file of ten thousand changed: from the event to the snapshot that the worker reads.
//!
//! Debug builds run a tenth of the size. The time is printed; it is only held to the aim in release builds, and with a
//! margin, because other work on the machine counts too. The quiet time after a file event (50 ms) comes on top.

use policy::Direction;
use sluice::config::Config;
use sluice::run::files::Sources;
use sluice::run::rules::Rules;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Divides the sizes.
const SCALE: usize = if cfg!(debug_assertions) { 10 } else { 1 };
/// Policies, a file each.
const POLICIES: usize = 10_000 / SCALE;
/// Pods, each with labels of its own.
const PODS: usize = 10_000 / SCALE;
/// Pods of this node.
const LOCAL: usize = 110;
/// Most that a change may take.
const LIMIT: Duration = Duration::from_millis(20);
/// What a machine that does other things at the same time is forgiven.
const MARGIN: u32 = 5;

fn policy(n: usize, port: usize) -> String {
    let subject =
        if n.is_multiple_of(3) { format!("app: app-{}", n % PODS) } else { format!("tier: t{}", n % 7) };
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p{n}, namespace: ns-{}}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{{subject}}}}}\n  ingress:\n  - fromEndpoints: [{{matchLabels: {{app: app-{}}}}}]\n    \
         toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n  egress:\n  - toEntities: [all]\n  - toCIDR: [10.{}.0.0/16]\n",
        n % 100,
        (n * 7) % PODS,
        n % 200,
    )
}

fn inventory() -> String {
    let mut text =
        "nodes:\n- {name: n0, ips: [192.168.0.1]}\n- {name: n1, ips: [192.168.0.2]}\npods:\n".to_owned();
    for n in 0..PODS {
        let node = usize::from(n >= LOCAL);
        let _ = writeln!(
            text,
            "- {{name: pod-{n}, namespace: ns-{}, node: n{node}, labels: {{app: app-{n}, tier: t{}}}, ips: [10.1.{}.{}]}}",
            n % 100,
            n % 7,
            n >> 8,
            n & 255
        );
    }
    text
}

fn write(dir: &Path, n: usize, port: usize) -> std::path::PathBuf {
    let path = dir.join(format!("policies/p{n}.yaml"));
    std::fs::write(&path, policy(n, port)).expect("write");
    path
}

#[test]
fn one_policy_of_ten_thousand_is_in_force_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("policies")).expect("a folder");
    std::fs::create_dir(dir.path().join("inventory")).expect("a folder");
    std::fs::write(dir.path().join("inventory/all.yaml"), inventory()).expect("write");
    for n in 0..POLICIES {
        write(dir.path(), n, 80);
    }
    let mut rules = Rules::new(&Config::default(), "n0");
    let begun = Instant::now();
    let mut sources = Sources::read(dir.path());
    let read = begun.elapsed();
    rules.load(&sources);
    println!("{POLICIES} files read in {read:?}, in force after {:?}", begun.elapsed());
    assert!(rules.errors().is_empty(), "{:?}", rules.errors());

    let mut times = Vec::new();
    for round in 0..40 {
        // A policy of one pod, and one of a tier of pods, in turn.
        let n = if round % 2 == 0 { 3 } else { 1 };
        let path = write(dir.path(), n, 1_000 + round);
        let before = rules.snapshot().epoch;
        let begun = Instant::now();
        let touched = sources.refresh(dir.path(), &BTreeSet::from([path]));
        assert!(rules.update(&sources, &touched), "the workloads are left alone");
        let published = rules.snapshot();
        times.push(begun.elapsed());
        assert!(published.epoch > before, "round {round}");
    }
    let pod = rules.engine().endpoint("ns-3", "pod-3").expect("a local pod");
    assert!(pod.map.is_enforced(Direction::Ingress));
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("one policy changed among {POLICIES}: median {median:?}, most {most:?}");
    assert!(cfg!(debug_assertions) || median < LIMIT * MARGIN, "{median:?}");
}
