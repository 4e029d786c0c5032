//! The policy cases: every flow of every case against the compiled maps and against the oracle.
//!
//! A case is a folder with `identities.yaml`, `policies.yaml`, `flows.json` and `verdicts.json`. Our own are in
//! `testdata/policy/engine`; the shared ones are found through `SLUICE_POLICY_CASES`, or beside the workspace.

mod oracle;

use oracle::World;
use policy::conformance::{Flow, verdicts};
use policy::document::{self, EmptyList, load_inventory};
use policy::engine::{Options, SourceFile};
use policy::inventory::Inventory;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a case must be compared in: rules and error texts are ours alone.
const COMPARED: [&str; 6] = ["egress", "ingress", "egress_l7", "ingress_l7", "l4", "verdict"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        if folder.join("verdicts.json").is_file() {
            found.push(folder);
            continue;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found.sort();
    found
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The number of flows, and what differs.
fn run(case: &Path) -> (usize, Vec<String>) {
    let inventory = match load_inventory(&read(case.join("identities.yaml")), "identities.yaml") {
        Ok(inventory) => inventory,
        Err(errors) => {
            return (0, errors.iter().map(|error| format!("{}: {error}", case.display())).collect());
        }
    };
    let policies = [SourceFile { path: "policies.yaml".into(), text: read(case.join("policies.yaml")) }];
    let flows: Vec<Flow> = serde_json::from_str(&read(case.join("flows.json"))).expect("flows");
    let expected: Value = serde_json::from_str(&read(case.join("verdicts.json"))).expect("verdicts");
    let options = Options { empty_list: EmptyList::Nothing, ..Options::default() };
    let actual = match verdicts(&inventory, &policies, &flows, &options) {
        Ok(actual) => serde_json::to_value(&actual).expect("verdicts are plain data"),
        Err(error) => return (0, vec![format!("{}: {error}", case.display())]),
    };
    let mut differences = Vec::new();
    let name = case.file_name().unwrap_or_default().to_string_lossy();
    let lists = |key: &str| {
        let list = |value: &Value| value[key].as_array().cloned().unwrap_or_default();
        (list(&expected), list(&actual))
    };
    let (expected_policies, actual_policies) = lists("policies");
    if expected_policies.len() != actual_policies.len() {
        differences.push(format!(
            "{name}: {} documents, not {}",
            actual_policies.len(),
            expected_policies.len()
        ));
    }
    for (expected, actual) in expected_policies.iter().zip(&actual_policies) {
        for key in ["kind", "namespace", "name", "accepted"] {
            if expected[key] != actual[key] {
                differences.push(format!("{name}: {key} of document is {actual}, expected {expected}"));
            }
        }
    }
    let (expected_flows, actual_flows) = lists("verdicts");
    assert_eq!(expected_flows.len(), actual_flows.len(), "{name}");
    for ((expected, actual), flow) in expected_flows.iter().zip(&actual_flows).zip(&flows) {
        for key in COMPARED {
            if expected[key] != actual[key] {
                let flow = serde_json::to_string(flow).unwrap_or_default();
                let (is, wanted, rules) = (&actual[key], &expected[key], &actual["rules"]);
                differences.push(format!("{name}: {flow}: {key} is {is}, expected {wanted}; {rules}"));
            }
        }
    }
    differences.extend(ask_oracle(&name, &inventory, &policies[0].text, &flows, &expected_flows));
    (flows.len(), differences)
}

/// What the oracle says otherwise.
fn ask_oracle(
    name: &str,
    inventory: &Inventory,
    text: &str,
    flows: &[Flow],
    expected: &[Value],
) -> Vec<String> {
    let read = document::Options { empty_list: EmptyList::Nothing, ..document::Options::default() };
    let loaded = document::load(text, "policies.yaml", &read);
    let options = Options { empty_list: EmptyList::Nothing, ..Options::default() };
    let world =
        World { inventory, policies: &loaded.policies, groups: &loaded.cidr_groups, options: &options };
    let mut differences = Vec::new();
    for (flow, expected) in flows.iter().zip(expected) {
        let [egress, ingress] = world.flow(flow);
        for (key, answer) in [("egress", egress), ("ingress", ingress)] {
            let l7 = &expected[format!("{key}_l7")];
            let same_l7 = l7.as_str() == answer.l7.map(|allowed| if allowed { "allowed" } else { "denied" });
            if expected[key] != answer.word || !same_l7 {
                let flow = serde_json::to_string(flow).unwrap_or_default();
                differences.push(format!("{name}: oracle: {flow}: {key} is {answer:?}, expected {expected}"));
            }
        }
    }
    differences
}

fn run_all(root: &Path) -> usize {
    let cases = folders(root);
    let (mut flows, mut differences) = (0, Vec::new());
    for case in &cases {
        let (count, more) = run(case);
        flows += count;
        differences.extend(more);
    }
    println!("{}: {} cases, {flows} flows, {} differences", root.display(), cases.len(), differences.len());
    assert!(
        differences.is_empty(),
        "{}",
        differences.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
    cases.len()
}

#[test]
fn own_cases() {
    let count = run_all(&workspace().join("testdata/policy/engine"));
    assert!(count >= 12, "only {count} cases");
}

#[test]
fn shared_cases() {
    let root = std::env::var_os("SLUICE_POLICY_CASES")
        .map_or_else(|| workspace().join("../shared/policy-cases"), PathBuf::from);
    run_all(&root);
}
