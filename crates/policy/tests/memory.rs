//! Memory of a large cluster. The only test of this process, so that the peak is its own.

mod cluster;

use cluster::{PODS, POLICIES, SCALE, inventory, policy};
use policy::{Engine, Options};

/// Most that the process may ever hold, in KiB.
const LIMIT: usize = 200 << 10;

/// Resident memory in KiB: `VmRSS` now, `VmHWM` at its peak.
fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
fn ten_thousand_policies_and_pods_stay_within_the_limit() {
    println!("before: {} KiB", resident("VmRSS"));
    let mut engine = Engine::new(Options { node_name: "n0".into(), ..Options::default() });
    let mut files: Vec<_> = (0..POLICIES).map(|n| policy(n, 80 + n % 5)).collect();
    engine.set_inventory(inventory(PODS));
    println!("workloads: {} KiB", resident("VmRSS"));
    assert!(engine.set_policies(files.clone()).is_valid());
    println!("policies: {} KiB, at most {} KiB", resident("VmRSS"), resident("VmHWM"));
    for round in 0..100 / SCALE {
        files[round * 7] = policy(round * 7, 9_000 + round);
        assert!(engine.set_policies(files.clone()).is_valid());
    }
    println!("after changes: {} KiB, at most {} KiB", resident("VmRSS"), resident("VmHWM"));
    assert!(resident("VmHWM") <= LIMIT, "{} KiB", resident("VmHWM"));
}
