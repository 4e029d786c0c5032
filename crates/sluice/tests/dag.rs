//! Dependencies between the crates of the tree point one way, and everything outside comes from the registry.
//!
//! The table is the drawing of `docs/architecture.md`: whoever needs a new arrow changes it here, in a commit that
//! says why.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate with those it may use; a crate that is not listed may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("l7", &[]),
    ("xdp-redirect", &[]),
    ("policy", &["packet", "l7"]),
    ("flowlog", &["packet", "l7", "policy"]),
    ("datapath", &["packet", "l7", "policy", "flowlog"]),
    ("afxdp", &["packet"]),
    ("archive", &["flowlog"]),
    ("hubble", &["packet", "l7", "policy", "flowlog"]),
    ("suggest", &["policy", "flowlog"]),
    ("ui", &["flowlog"]),
    (
        "sluice",
        &[
            "packet",
            "l7",
            "policy",
            "flowlog",
            "datapath",
            "afxdp",
            "xdp-redirect",
            "archive",
            "hubble",
            "suggest",
            "ui",
        ],
    ),
    ("sluice-micro", &["packet", "l7", "policy", "flowlog", "datapath"]),
    (
        "sluice-benches",
        &["packet", "l7", "policy", "flowlog", "datapath", "afxdp", "xdp-redirect", "sluice", "sluice-micro"],
    ),
];

/// What the tests of a crate may use on top: the program that fills the sockets under test.
const TESTS_MAY_USE: &[(&str, &str)] = &[("afxdp", "xdp-redirect")];

/// Every crate that is part of the product says `#![forbid(unsafe_code)]` in its root, but for this one.
const UNSAFE: &[&str] = &["afxdp"];

fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn in_tree_dependencies_follow_the_table() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let members: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    assert_eq!(members, allowed.keys().copied().collect(), "the crates of the tree and of the table differ");

    for package in packages {
        let name = text(package, "name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = text(dependency, "name");
            // A crate may switch features of its own on for its tests.
            if used == name {
                continue;
            }
            // Development dependencies obey the same table: a test that reaches upwards tests another crate.
            let for_tests = text(dependency, "kind") == "dev" && TESTS_MAY_USE.contains(&(name, used));
            if members.contains(used) {
                assert!(for_tests || allowed[name].contains(used), "{name} may not use {used}");
            } else {
                let source = text(dependency, "source");
                assert!(
                    source.starts_with("registry+"),
                    "{name} takes {used} from {source:?}, not from the registry"
                );
            }
        }
    }
}

#[test]
fn the_table_has_no_cycle() {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < MAY_USE.len() {
        let ready: Vec<&str> = MAY_USE
            .iter()
            .filter(|(name, uses)| !done.contains(name) && uses.iter().all(|used| done.contains(used)))
            .map(|(name, _)| *name)
            .collect();
        assert!(!ready.is_empty(), "a cycle among the crates that are not in {done:?}");
        done.extend(ready);
    }
}

#[test]
fn unsafe_code_stays_where_it_is_reviewed() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = text(package, "name");
        // Benches are not shipped, and counting allocations takes an allocator of their own.
        if text(package, "manifest_path").contains("/benches/") {
            continue;
        }
        for target in package["targets"].as_array().expect("targets") {
            let kinds = target["kind"].as_array().expect("kind");
            if UNSAFE.contains(&name) || !kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                continue;
            }
            let root = text(target, "src_path");
            let source = std::fs::read_to_string(root).expect("the crate root is readable");
            assert!(source.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
        }
    }
}

#[test]
fn every_member_inherits_the_lints_of_the_workspace() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = text(package, "manifest_path");
        let source = std::fs::read_to_string(manifest).expect("the manifest is readable");
        assert!(
            source.contains("[lints]\nworkspace = true"),
            "{manifest} does not inherit [workspace.lints]"
        );
    }
}
