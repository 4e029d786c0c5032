//! Suggestions beside policies that are there, for refused flows, and of hostile records.

mod support;

use flowlog::Record;
use policy::conformance::Flow;
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::inventory::Inventory;
use suggest::{Options, Suggestion, for_flow, suggest};
use support::{Outcome, all_records, records, verdicts};

const INVENTORY: &str = r#"
namespaces: [{name: shop}, {name: kube-system}]
nodes: [{name: n1, ips: [192.168.0.1]}]
pods:
- {name: web, namespace: shop, node: n1, labels: {app: web}, ips: [10.0.0.1]}
- {name: api, namespace: shop, node: n1, labels: {app: api}, ips: [10.0.0.2]}
- {name: db, namespace: shop, node: n1, labels: {app: db}, ips: [10.0.0.3]}
- {name: dns, namespace: kube-system, node: n1, labels: {k8s-app: kube-dns}, ips: [10.0.0.9]}
external: [{name: pay, ip: 192.0.2.1, dnsNames: [pay.example.com]}]
"#;

const DEFAULT_DENY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: deny, namespace: shop}\n\
    spec: {endpointSelector: {}, ingress: [{}], egress: [{}]}\n";

fn inventory() -> Inventory {
    load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory")
}

fn flow(src: &str, dst: &str, port: u16) -> Flow {
    let end = |name: &str| if name == "pay" { "ext/pay".to_owned() } else { format!("pod/shop/{name}") };
    Flow {
        id: "f".to_owned(),
        src: end(src),
        dst: end(dst),
        proto: "TCP".to_owned(),
        port,
        ..Flow::default()
    }
}

fn existing(text: &str) -> Options {
    let file = SourceFile { path: "there.yaml".to_owned(), text: text.to_owned() };
    Options { existing: vec![file], ..Options::default() }
}

fn names(suggestion: &Suggestion) -> Vec<&str> {
    suggestion.documents.iter().map(|document| document.name.as_str()).collect()
}

#[test]
fn a_refused_flow_is_added_and_nothing_else_changes() {
    let (inventory, refused) = (inventory(), flow("web", "api", 80));
    let records = records(&inventory, &refused, Outcome::DefaultDeny, 1);
    assert!(suggest(&records, &Options::default()).documents.is_empty(), "only if asked for");
    let suggestion = for_flow(&records[0]);
    assert_eq!(names(&suggestion), ["api-suggested", "web-suggested"]);
    assert!(suggestion.documents.iter().all(suggest::Document::adds_only));
    let text = suggestion.to_yaml();
    let flows = [refused, flow("web", "db", 80), flow("db", "api", 80), flow("web", "api", 81)];
    assert_eq!(verdicts(&inventory, &[DEFAULT_DENY, &text], &flows), [true, false, false, false], "{text}");
    assert_eq!(
        verdicts(&inventory, &[&text], &flows),
        [true; 4],
        "without default deny nothing is refused: {text}"
    );
}

#[test]
fn a_name_outside_comes_with_the_dns_server() {
    let (inventory, refused) = (inventory(), flow("web", "pay", 443));
    let text = for_flow(&records(&inventory, &refused, Outcome::DefaultDeny, 1)[0]).to_yaml();
    assert!(text.contains("matchName: pay.example.com") && text.contains("k8s-app: kube-dns"), "{text}");
    let flows = [refused, flow("web", "pay", 80)];
    assert_eq!(verdicts(&inventory, &[DEFAULT_DENY, &text], &flows), [true, false]);
}

#[test]
fn what_a_deny_rule_refused_is_never_suggested() {
    let (inventory, refused) = (inventory(), flow("web", "api", 80));
    let mut all = records(&inventory, &refused, Outcome::DenyRule, 1);
    assert!(for_flow(&all[0]).documents.is_empty());
    all.extend(records(&inventory, &refused, Outcome::Passed, 2));
    let options = Options { include_denied: true, ..Options::default() };
    let suggestion = suggest(&all, &options);
    assert!(suggestion.documents.is_empty(), "not even if it once worked: {}", suggestion.to_yaml());
    assert!(
        suggestion.notes.iter().any(|note| note.contains("a deny rule refused")),
        "{:?}",
        suggestion.notes
    );
}

#[test]
fn only_what_is_missing_is_suggested_under_a_name_of_its_own() {
    let inventory = inventory();
    let seen = [flow("web", "api", 80), flow("api", "db", 5432)];
    let first = suggest(&all_records(&inventory, &seen[..1], Outcome::Passed), &Options::default()).to_yaml();
    let log = all_records(&inventory, &seen, Outcome::Passed);
    for (there, audit) in [
        (first.clone(), false),
        (first.replace("metadata:\n", "metadata:\n  annotations: {sluice.io/audit: 'true'}\n"), true),
    ] {
        let options = Options { audit, ..existing(&there) };
        let suggestion = suggest(&log, &options);
        let text = suggestion.to_yaml();
        assert_eq!(names(&suggestion), ["api-suggested-2", "db-suggested"], "{text}");
        assert!(!text.contains("app: web") && text.contains("sluice.io/audit") == audit, "{text}");
        assert_eq!(verdicts(&inventory, &[&there, &text], &seen), [true, true]);
        assert!(suggest(&log, &existing(&format!("{there}---\n{text}"))).documents.is_empty());
    }
}

#[test]
fn workloads_of_other_nodes_are_peers_only() {
    let inventory = inventory();
    let mut log = all_records(&inventory, &[flow("web", "api", 80)], Outcome::Passed);
    for record in &mut log {
        record
            .destination
            .iter_mut()
            .chain(&mut record.source)
            .filter(|end| end.pod_name == "api")
            .for_each(|end| end.id = 0);
    }
    assert_eq!(names(&suggest(&log, &Options::default())), ["web-suggested"]);
}

#[test]
fn hostile_records_are_bounded_and_written_safely() {
    let inventory = inventory();
    let mut request = flow("web", "api", 80);
    let mut log: Vec<Record> = Vec::new();
    let nasty =
        ["/a\n- fromEntities: [all]", "/x: {y}", "/'\"#&*!|>%@`", "/\u{2028}\u{85}", "/\\x00(", "/{{", "/…x"];
    for path in nasty {
        let facts = policy::conformance::HttpFacts {
            method: "GET".to_owned(),
            path: path.to_owned(),
            ..Default::default()
        };
        request.http = Some(facts);
        log.extend(records(&inventory, &request, Outcome::Passed, 1));
    }
    let text = suggest(&log, &Options::default()).to_yaml();
    assert!(text.chars().all(|c| c.is_ascii() || c == '…'), "{text}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("- fromEntities")), "{text}");
    let flows: Vec<Flow> = nasty[..3]
        .iter()
        .map(|path| {
            let mut flow = request.clone();
            flow.http.iter_mut().for_each(|http| (*path).clone_into(&mut http.path));
            flow
        })
        .collect();
    assert_eq!(verdicts(&inventory, &[&text], &flows), [true; 3], "{text}");

    for n in 0..2000 {
        request.http.iter_mut().for_each(|http| http.path = format!("/{}{n}", "p".repeat(1000)));
        log.extend(records(&inventory, &request, Outcome::Passed, 1));
    }
    let small = suggest(&log, &Options { max_bytes: 200_000, ..Options::default() });
    assert!(small.notes.iter().any(|note| note.contains("beyond the limit of memory")), "{:?}", small.notes);
    assert!(
        verdicts(&inventory, &[&small.to_yaml()], &flows).iter().all(|allowed| *allowed),
        "what came first is kept"
    );
}
