//! Documents, valid and invalid, against their expected outcome: our own suite, and the shared one where it exists.

use std::path::{Path, PathBuf};

use policy::document::{EmptyList, Loaded, Options, Outcome, load, load_inventory};

/// Reads a file, or says which.
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !root.join("testdata").is_dir() {
        assert!(root.pop(), "the workspace has a testdata folder");
    }
    root
}

/// The shared cases: `SLUICE_POLICY_CASES`, or beside the workspace.
fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("SLUICE_POLICY_CASES") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("../shared/policy-cases"),
    };
    folder.is_dir().then_some(folder)
}

/// Files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

fn as_cilium() -> Options {
    Options { empty_list: EmptyList::Nothing, ..Options::default() }
}

fn report(loaded: &Loaded) -> String {
    loaded.diagnostics().map(|found| format!("{found}\n")).collect()
}

/// Each file of `testdata/policy/documents` says in comments of the form `# expect: …` what must come out:
/// `accepted`, `rejected`, `ignored` once per document, and `has TEXT` for each finding, in order of writing, where
/// TEXT is part of the finding as displayed. `# mode: nothing` reads empty lists as Cilium does.
#[test]
fn own_documents_come_out_as_they_say() {
    let files = files(&root().join("testdata/policy/documents"), ".yaml");
    assert!(files.len() >= 20, "the suite is there");
    let mut failures = Vec::new();
    for path in files {
        let text = text(&path);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let says = |what: &str| -> Vec<String> {
            text.lines().filter_map(|line| Some(line.trim().strip_prefix(what)?.trim().to_owned())).collect()
        };
        let options = if says("# mode:").iter().any(|mode| mode == "nothing") {
            as_cilium()
        } else {
            Options::default()
        };
        let loaded = load(&text, &name, &options);
        let outcomes: Vec<_> = loaded.documents.iter().map(|document| word(document.outcome)).collect();
        let expected = says("# expect:");
        let (has, expected): (Vec<_>, Vec<_>) =
            expected.into_iter().partition(|word| word.starts_with("has "));
        let found: Vec<String> = loaded.diagnostics().map(ToString::to_string).collect();
        let fits = |(found, wanted): (&String, &String)| found.contains(wanted.trim_start_matches("has "));
        let wanted_found = has.len() == found.len() && found.iter().zip(&has).all(fits);
        if outcomes != expected || !wanted_found {
            failures.push(format!(
                "{name}: is {outcomes:?}, not {expected:?}; wants {has:#?}; found\n{}",
                report(&loaded)
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Rejected => "rejected",
        Outcome::NotAPolicy => "ignored",
    }
}

/// Every accept and reject of the shared suite is as expected.
#[test]
fn shared_documents_come_out_as_expected() {
    let Some(folder) = shared() else { return };
    let cases: serde_json::Value =
        serde_json::from_str(&text(&folder.join("parse/parse.json"))).expect("valid JSON");
    let mut failures = Vec::new();
    for case in cases["own_docs"].as_array().expect("a list") {
        let file = case["file"].as_str().expect("a file");
        let loaded = load(&text(&folder.join("parse").join(file)), file, &as_cilium());
        let expected: Vec<bool> = case["objects"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|object| object["accepted"].as_bool().unwrap_or(false))
            .collect();
        let accepted: Vec<bool> = loaded.documents.iter().map(|document| document.accepted()).collect();
        if accepted != expected {
            failures.push(format!("{file}: {accepted:?}, expected {expected:?}\n{}", report(&loaded)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The policies and inventories of the shared verdict cases can be read.
#[test]
fn shared_policies_and_inventories_are_read() {
    let Some(folder) = shared() else { return };
    let mut failures = Vec::new();
    for group in ["probes", "random"] {
        for case in files(&folder.join(group), "") {
            let verdicts: serde_json::Value =
                serde_json::from_str(&text(&case.join("verdicts.json"))).expect("valid JSON");
            let loaded = load(&text(&case.join("policies.yaml")), &case.to_string_lossy(), &as_cilium());
            let expected: Vec<(String, String, bool)> = verdicts["policies"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|policy| {
                    let text = |key: &str| policy[key].as_str().unwrap_or_default().to_owned();
                    (text("kind"), text("name"), policy["accepted"].as_bool().unwrap_or(false))
                })
                .collect();
            let read: Vec<(String, String, bool)> = loaded
                .documents
                .iter()
                .map(|document| (document.kind.clone(), document.name.clone(), document.accepted()))
                .collect();
            if read != expected {
                failures.push(format!("{}:\n{}", case.display(), report(&loaded)));
            }
            if let Err(found) = load_inventory(&text(&case.join("identities.yaml")), "identities.yaml") {
                failures.push(format!("{}: {}", case.display(), found[0]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
