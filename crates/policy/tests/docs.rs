//! The examples of `docs/policy.md`, executed: every YAML block is one of
//!
//! - `yaml inventory`: the workloads of all examples;
//! - `yaml settings`: keys under `policy` of the settings file, for the next example only;
//! - `yaml policy`: documents that are accepted, followed by a `text flows` block. A line there is
//!   `SRC -> DST PROTO/PORT [METHOD PATH [NAME=VALUE]… | dns NAME | kafka KEY TOPIC,…] => VERDICT` or `warning: TEXT`;
//! - `yaml mistake`: a document that is rejected, followed by a `text errors` block with a part of each finding.

use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts, Offline, TlsFacts};
use policy::document::{self, EmptyList, Severity, load_inventory};
use policy::engine::SourceFile;
use policy::inventory::Inventory;
use policy::{EnforcementMode, Options};
use std::path::Path;
use std::sync::Arc;

/// A fenced block: its line in the page, what follows the fence, and its text.
struct Block {
    line: usize,
    info: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (text.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { line, info: info.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(text);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Settings as the node's file has them under `policy`.
fn settings(text: &str) -> Options {
    let mut options = Options::default();
    for line in text.lines() {
        let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("no setting: {line}"));
        let list =
            || -> Vec<Arc<str>> { value.trim_matches(['[', ']']).split(", ").map(Arc::from).collect() };
        match (key, value) {
            ("emptyListMeans", "nothing") => options.empty_list = EmptyList::Nothing,
            ("enforcementMode", "always") => options.enforcement = EnforcementMode::Always,
            ("auditMode", "true") => options.audit = true,
            ("auditEndpoints", _) => options.audit_endpoints = list(),
            ("auditNamespaces", _) => options.audit_namespaces = list(),
            _ => panic!("unknown setting: {line}"),
        }
    }
    options
}

/// A flow and its verdict.
fn flow(line: &str) -> Option<(Flow, &str)> {
    let (question, verdict) = line.split_once(" => ")?;
    let mut words = question.split(' ');
    let (src, "->", dst) = (words.next()?, words.next()?, words.next()?) else { return None };
    let (proto, port) = words.next()?.split_once('/')?;
    let mut flow = Flow {
        id: line.into(),
        src: src.into(),
        dst: dst.into(),
        proto: proto.into(),
        port: port.parse().ok()?,
        ..Flow::default()
    };
    match words.next() {
        None => {}
        Some("dns") => flow.dns = Some(DnsFacts { name: words.next()?.into() }),
        Some("tls") => flow.tls = Some(TlsFacts { server_name: words.next().map(str::to_owned) }),
        Some("kafka") => {
            let api_key = words.next()?.parse().ok()?;
            let topics = words.next()?.split(',').map(str::to_owned).collect();
            flow.kafka = Some(KafkaFacts { api_key, topics, ..KafkaFacts::default() });
        }
        Some(method) => {
            let path = words.next()?.into();
            let headers = words.by_ref().map(|word| word.split_once('=')).collect::<Option<Vec<_>>>()?;
            let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            flow.http = Some(HttpFacts { method: method.into(), path, headers, ..HttpFacts::default() });
        }
    }
    words.next().is_none().then_some((flow, verdict))
}

/// What differs between the verdicts of an example and the lines below it.
fn differences(inventory: &Inventory, policy: &str, expected: &str, options: &Options) -> Vec<String> {
    let files = [SourceFile { path: "example.yaml".into(), text: policy.into() }];
    let offline = Offline::new(inventory, &files, options);
    let found: Vec<String> = offline.report().diagnostics().map(ToString::to_string).collect();
    let mut differences = Vec::new();
    if !offline.report().is_valid() {
        differences.push(format!("rejected: {found:?}"));
    }
    let warnings = expected.lines().filter(|line| line.starts_with("warning: "));
    let (warnings, flows): (Vec<_>, Vec<_>) =
        (warnings.collect(), expected.lines().filter(|l| !l.starts_with("warning: ")).collect());
    for found in &found {
        let stated = |line: &&str| found.contains(line.trim_start_matches("warning: "));
        if !warnings.iter().any(stated) {
            differences.push(format!("not on the page: {found}"));
        }
    }
    if warnings.len() != found.len() {
        differences.push(format!("{} warnings on the page, {} given", warnings.len(), found.len()));
    }
    assert!(!flows.is_empty(), "an example without flows");
    for line in flows {
        let (flow, wanted) = flow(line).unwrap_or_else(|| panic!("no flow: {line}"));
        match offline.verdicts(std::slice::from_ref(&flow)) {
            Ok(answer) if answer.verdicts.iter().all(|one| one.verdict == wanted) => {}
            Ok(answer) => differences.push(format!("{line}: is {:?}", answer.verdicts)),
            Err(error) => differences.push(error.to_string()),
        }
    }
    differences
}

/// What differs between the findings about a mistake and the lines below it.
fn mistakes(text: &str, expected: &str) -> Vec<String> {
    let loaded = document::load(text, "example.yaml", &document::Options::default());
    let found: Vec<String> = loaded
        .diagnostics()
        .filter(|found| found.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    let stated: Vec<&str> = expected.lines().collect();
    let same =
        found.len() == stated.len() && found.iter().zip(&stated).all(|(found, part)| found.contains(part));
    if same && !loaded.is_valid() { Vec::new() } else { vec![format!("found {found:#?}")] }
}

#[test]
fn every_example_of_the_page_does_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let blocks = blocks(&page);
    let (mut inventory, mut options, mut executed) = (Inventory::default(), Options::default(), 0);
    let mut failures = Vec::new();
    let mut rest = blocks.iter();
    while let Some(block) = rest.next() {
        let mut below = |info: &str| {
            let next = rest.next().filter(|next| next.info == info);
            next.unwrap_or_else(|| panic!("line {}: no `{info}` below", block.line))
        };
        let found = match block.info.as_str() {
            "yaml inventory" => {
                inventory = load_inventory(&block.text, "inventory.yaml").expect("workloads");
                continue;
            }
            "yaml settings" => {
                options = settings(&block.text);
                continue;
            }
            "yaml policy" => {
                let options = std::mem::take(&mut options);
                differences(&inventory, &block.text, &below("text flows").text, &options)
            }
            "yaml mistake" => mistakes(&block.text, &below("text errors").text),
            other => vec![format!("nobody executes `{other}`")],
        };
        executed += 1;
        failures.extend(found.into_iter().map(|found| format!("docs/policy.md:{}: {found}", block.line)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(executed >= 20, "{executed} examples");
}
