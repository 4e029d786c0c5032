//! The engine over time: reloads, bad documents, identities, incremental changes.

use packet::Addr;
use policy::document::load_inventory;
use policy::engine::{Instead, SourceFile};
use policy::fqdn::Answer;
use policy::{DenyReason, Direction, EnforcementMode, Engine, Identity, Options, Verdict};
use std::net::IpAddr;
use std::sync::Arc;

const INVENTORY: &str = r"
nodes:
- {name: n1, ips: [192.168.0.1]}
pods:
- {name: web, namespace: a, node: n1, labels: {app: web}, ips: [10.0.0.1]}
- {name: api, namespace: a, node: n1, labels: {app: api}, ips: [10.0.0.2]}
- {name: other, namespace: b, node: n2, labels: {app: other}, ips: [10.0.0.3]}
";

const WEB: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: api}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"#;

fn options() -> Options {
    Options { node_name: "n1".into(), ..Options::default() }
}

fn engine(options: Options, inventory: &str) -> Engine {
    let mut engine = Engine::new(options);
    engine.set_inventory(load_inventory(inventory, "inventory.yaml").expect("a valid inventory"));
    engine
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

/// The verdict for TCP into a pod of this node, from an address.
fn ingress(engine: &Engine, pod: &str, from: [u8; 4], port: u16) -> Verdict {
    let snapshot = engine.snapshot();
    let endpoint = engine.endpoint("a", pod).expect("an endpoint");
    endpoint.map.lookup(Direction::Ingress, snapshot.ip_cache.lookup(Addr::v4(from)), 6, port)
}

fn egress(engine: &Engine, pod: &str, to: [u8; 4], port: u16) -> Verdict {
    let snapshot = engine.snapshot();
    let endpoint = engine.endpoint("a", pod).expect("an endpoint");
    endpoint.map.lookup(Direction::Egress, snapshot.ip_cache.lookup(Addr::v4(to)), 6, port)
}

fn allowed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_))
}

const API: [u8; 4] = [10, 0, 0, 2];
const OTHER: [u8; 4] = [10, 0, 0, 3];

#[test]
fn a_policy_takes_effect_and_names_itself() {
    let mut engine = engine(options(), INVENTORY);
    assert!(allowed(ingress(&engine, "web", OTHER, 80)));
    let before = engine.snapshot().epoch;
    assert!(engine.set_policies(vec![file("p.yaml", WEB)]).is_valid());
    let snapshot = engine.snapshot();
    assert!(snapshot.epoch > before);
    assert!(allowed(ingress(&engine, "web", API, 80)));
    let Verdict::Deny(denial) = ingress(&engine, "web", OTHER, 80) else { panic!("let in") };
    assert_eq!(denial.reason, DenyReason::NoRule);
    let by: Vec<_> =
        snapshot.rules.get(denial.rule).iter().map(|p| (p.name.as_str(), p.file.as_str())).collect();
    assert_eq!(by, [("web", "p.yaml")]);
}

#[test]
fn the_same_again_changes_nothing() {
    let mut engine = engine(options(), INVENTORY);
    engine.set_policies(vec![file("p.yaml", WEB)]);
    let before = engine.snapshot();
    engine.set_policies(vec![file("p.yaml", WEB)]);
    engine.set_policies(vec![file("p.yaml", &format!("{WEB}\n"))]);
    assert_eq!(engine.snapshot().epoch, before.epoch);
}

#[test]
fn an_invalid_document_keeps_its_last_good_version() {
    let mut engine = engine(options(), INVENTORY);
    engine.set_policies(vec![file("p.yaml", WEB)]);
    for bad in [WEB.replace("toPorts", "toPort"), "a: [".to_owned(), WEB.replace("name: web,", "")] {
        let report = engine.set_policies(vec![file("p.yaml", &bad)]);
        assert!(!report.is_valid());
        assert_eq!(report.documents[0].instead, Some(Instead::LastGood), "{bad}");
        assert!(allowed(ingress(&engine, "web", API, 80)));
        assert!(!allowed(ingress(&engine, "web", OTHER, 80)));
    }
    engine.set_policies(Vec::new());
    assert!(allowed(ingress(&engine, "web", OTHER, 80)), "a file that was removed is no error");
}

#[test]
fn an_invalid_document_at_the_start_quarantines_whom_it_selects() {
    let mut engine = engine(options(), INVENTORY);
    let report = engine.set_policies(vec![file("p.yaml", &WEB.replace("toPorts", "toPort"))]);
    assert_eq!(report.documents[0].instead, Some(Instead::Quarantine));
    for verdict in [ingress(&engine, "web", API, 80), egress(&engine, "web", OTHER, 1)] {
        assert!(matches!(verdict, Verdict::Deny(d) if d.reason == DenyReason::InvalidPolicy), "{verdict:?}");
    }
    assert!(allowed(ingress(&engine, "api", OTHER, 80)), "not selected");
    let report = engine.set_policies(vec![file("p.yaml", &WEB.replace("toPorts", "toProts"))]);
    assert_eq!(report.documents[0].instead, Some(Instead::Quarantine), "still invalid, still held");
    engine.set_policies(vec![file("p.yaml", WEB)]);
    assert!(allowed(ingress(&engine, "web", API, 80)));
}

#[test]
fn a_cidr_group_lost_at_the_start_quarantines_whom_it_protected() {
    let mut engine = engine(options(), INVENTORY);
    let deny = WEB
        .replace("ingress", "ingressDeny")
        .replace("fromEndpoints: [{matchLabels: {app: api}}]", "fromCIDRSet: [{cidrGroupRef: bad}]");
    let deny = format!("{deny}  enableDefaultDeny: {{ingress: false}}\n");
    let group = "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: bad}\nspec: {externalCIDRs: [1.1.1.1/77]}\n";
    let report = engine.set_policies(vec![file("g.yaml", group), file("p.yaml", &deny)]);
    assert!(report.documents[1].status.accepted() && !report.documents[0].status.accepted());
    assert!(!allowed(ingress(&engine, "web", [1, 1, 1, 1], 80)));
    assert!(allowed(ingress(&engine, "api", [1, 1, 1, 1], 80)));
    engine.set_policies(vec![file("g.yaml", &group.replace("/77", "/32")), file("p.yaml", &deny)]);
    assert!(!allowed(ingress(&engine, "web", [1, 1, 1, 1], 80)));
    assert!(allowed(ingress(&engine, "web", [1, 1, 1, 2], 80)));
}

#[test]
fn text_that_is_no_yaml_at_the_start_quarantines_everyone() {
    let mut engine = engine(options(), INVENTORY);
    engine.set_policies(vec![file("p.yaml", "a: [")]);
    for pod in ["web", "api"] {
        assert!(!allowed(ingress(&engine, pod, OTHER, 80)));
    }
}

#[test]
fn a_new_invalid_document_leaves_what_was_in_force() {
    let mut engine = engine(options(), INVENTORY);
    engine.set_policies(vec![file("p.yaml", WEB)]);
    let report =
        engine.set_policies(vec![file("p.yaml", WEB), file("q.yaml", &WEB.replace("toPorts", "toPort"))]);
    assert_eq!(report.documents[1].instead, Some(Instead::Nothing));
    assert!(allowed(ingress(&engine, "web", API, 80)));
}

#[test]
fn endpoint_numbers_and_identities_stay() {
    let mut engine = engine(options(), INVENTORY);
    let web = engine.endpoint("a", "web").expect("web");
    let more = format!(
        "{INVENTORY}- {{name: aaa, namespace: a, node: n1, labels: {{app: aaa}}, ips: [10.0.0.9]}}\n"
    );
    engine.set_inventory(load_inventory(&more, "inventory.yaml").expect("valid"));
    let again = engine.endpoint("a", "web").expect("web");
    assert_eq!((web.id, web.identity), (again.id, again.identity));
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.endpoint(web.id).map(|e| &*e.name), Some("web"));
    let host = engine.endpoint("", "n1").expect("the host is an endpoint");
    assert_eq!(host.identity, Identity::HOST);

    let mut restarted = Engine::new(options());
    restarted.import_identities(&engine.export_identities());
    let reordered = more.replace("name: web,", "name: zzz,").replace("app: aaa", "app: zzz");
    restarted.set_inventory(load_inventory(&reordered, "inventory.yaml").expect("valid"));
    assert_eq!(restarted.endpoint("a", "zzz").map(|e| e.identity), Some(web.identity));
}

#[test]
fn a_pod_that_joins_is_let_in_by_the_rules_that_are_there() {
    let mut engine = engine(options(), INVENTORY);
    let rule = WEB.replace("{matchLabels: {app: api}}", "{matchExpressions: [{key: app, operator: Exists}]}");
    engine.set_policies(vec![file("p.yaml", &rule)]);
    let joined = format!(
        "{INVENTORY}- {{name: new, namespace: a, node: n2, labels: {{app: new}}, ips: [10.0.0.7]}}\n"
    );
    assert!(!allowed(ingress(&engine, "web", [10, 0, 0, 7], 80)));
    engine.set_inventory(load_inventory(&joined, "inventory.yaml").expect("valid"));
    assert!(allowed(ingress(&engine, "web", [10, 0, 0, 7], 80)));
    assert!(!allowed(ingress(&engine, "web", [10, 0, 0, 7], 81)));
    engine.set_inventory(load_inventory(INVENTORY, "inventory.yaml").expect("valid"));
    assert!(!allowed(ingress(&engine, "web", [10, 0, 0, 7], 80)), "the address is world again");
}

#[test]
fn names_learnt_from_dns_open_and_expire() {
    let mut engine = engine(options(), INVENTORY);
    let rule = WEB.replace("ingress", "egress").replace(
        "fromEndpoints: [{matchLabels: {app: api}}]",
        "toFQDNs: [{matchPattern: \"*.example.com\"}]",
    );
    engine.set_policies(vec![file("p.yaml", &rule)]);
    let addr: IpAddr = [1, 2, 3, 4].into();
    assert!(!allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
    let snapshot = engine.snapshot();
    assert!(snapshot.fqdn_wanted("www.example.com") && !snapshot.fqdn_wanted("www.example.org"));
    assert!(!snapshot.fqdn_in_force("www.example.com", &[addr]));
    assert!(snapshot.fqdn_in_force("www.example.org", &[addr]), "no rule is about it");
    learn(&mut engine, "WWW.example.com.", addr, 30, 100);
    assert!(allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
    assert!(!allowed(egress(&engine, "web", [1, 2, 3, 5], 80)));
    let snapshot = engine.snapshot();
    assert!(snapshot.fqdn_in_force("www.example.com", &[addr]));
    assert!(!snapshot.fqdn_in_force("www.example.com", &[addr, [1, 2, 3, 5].into()]));
    assert!(!snapshot.fqdn_in_force("ftp.example.com", &[addr]), "told of another name only");
    let labels = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let identity = snapshot.identity(addr.into());
        snapshot.directory().labels(identity).map(ToString::to_string).unwrap_or_default()
    };
    assert!(labels(&engine).contains("fqdn:*.example.com"), "{}", labels(&engine));
    let before = engine.snapshot();
    assert!(engine.expire_fqdns(129).is_empty());
    assert!(Arc::ptr_eq(&before, &engine.snapshot()), "nothing expired, nothing is published");
    assert!(engine.snapshot().fqdn_in_force("www.example.com", &[addr]));

    let epoch = engine.snapshot().epoch;
    assert!(engine.expire_fqdns(130).is_empty(), "grace begins");
    assert!(allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
    assert!(!engine.snapshot().fqdn_in_force("www.example.com", &[addr]), "it may go at any time");
    assert_eq!(engine.snapshot().epoch, epoch, "no verdict changed");
    assert_eq!(engine.expire_fqdns(250), [addr.into()]);
    engine.settle_fqdns(&[addr.into()], |_| true, 250);
    assert!(engine.expire_fqdns(369).is_empty(), "a connection keeps it");
    assert_eq!(engine.expire_fqdns(370), [addr.into()]);
    assert!(allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
    let identity = engine.snapshot().identity(addr.into());
    engine.settle_fqdns(&[addr.into()], |_| false, 370);
    assert!(!allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
    assert_eq!(engine.snapshot().identity(addr.into()), Identity::WORLD_IPV4);
    assert_eq!(engine.snapshot().directory().labels(identity), None, "nobody has it any more");
    learn(&mut engine, "www.example.org", addr, 30, 400);
    assert!(!allowed(egress(&engine, "web", [1, 2, 3, 4], 80)));
}

fn learn(engine: &mut Engine, name: &str, addr: IpAddr, ttl: u32, now: u64) {
    let answer = Answer { name, addresses: &[addr], cnames: &[], ttl, endpoint: None };
    engine.learn_fqdns([answer], now);
}

#[test]
fn modes_of_enforcement() {
    let always = engine(Options { enforcement: EnforcementMode::Always, ..options() }, INVENTORY);
    assert!(!allowed(ingress(&always, "api", OTHER, 80)) && !allowed(egress(&always, "api", OTHER, 80)));
    assert!(allowed(ingress(&always, "api", [192, 168, 0, 1], 80)), "its own node");
    let mut never = engine(Options { enforcement: EnforcementMode::Never, ..options() }, INVENTORY);
    never.set_policies(vec![file("p.yaml", WEB)]);
    assert!(allowed(ingress(&never, "web", OTHER, 80)));
}

#[test]
fn audit_globally_by_namespace_by_endpoint_and_by_policy() {
    let audits = [
        Options { audit: true, ..options() },
        Options { audit_namespaces: vec!["a".into()], ..options() },
        Options { audit_endpoints: vec!["a/web".into()], ..options() },
    ];
    for options in audits {
        let mut engine = engine(options, INVENTORY);
        engine.set_policies(vec![file("p.yaml", WEB)]);
        let verdict = ingress(&engine, "web", OTHER, 80);
        assert!(matches!(verdict, Verdict::Allow(permit) if permit.audited()), "{verdict:?}");
        assert!(matches!(ingress(&engine, "web", API, 80), Verdict::Allow(permit) if !permit.audited()));
    }
    let mut engine = engine(options(), INVENTORY);
    let annotated = WEB.replace("namespace: a}", "namespace: a, annotations: {sluice.io/audit: \"true\"}}");
    engine.set_policies(vec![file("p.yaml", &annotated)]);
    assert!(matches!(ingress(&engine, "web", OTHER, 80), Verdict::Allow(permit) if permit.audited()));
    let strict = WEB.replace("name: web,", "name: strict,").replace("\"80\"", "\"81\"");
    engine.set_policies(vec![file("p.yaml", &annotated), file("q.yaml", &strict)]);
    assert!(!allowed(ingress(&engine, "web", API, 80)), "a policy on trial opens nothing");
    assert!(matches!(ingress(&engine, "web", API, 81), Verdict::Allow(permit) if !permit.audited()));
}

#[test]
fn what_cannot_be_honoured_is_denied_and_says_so() {
    let mut engine = engine(options(), INVENTORY);
    let auth = WEB.replace("    toPorts", "    authentication: {mode: required}\n    toPorts");
    assert!(engine.set_policies(vec![file("p.yaml", &auth)]).is_valid());
    let verdict = ingress(&engine, "web", API, 80);
    assert!(matches!(verdict, Verdict::Deny(d) if d.reason == DenyReason::Unsupported), "{verdict:?}");
    engine.set_policies(vec![
        file("p.yaml", &auth),
        file("q.yaml", &WEB.replace("name: web,", "name: plain,")),
    ]);
    assert!(!allowed(ingress(&engine, "web", API, 80)), "a plain rule beside it does not lift the condition");
}

#[test]
fn empty_lists_as_configured() {
    let text = WEB
        .split("  ingress")
        .next()
        .map(|head| format!("{head}  ingress: []\n  egress:\n  - toEntities: [all]\n"));
    let text = text.expect("a head");
    let mut deny = engine(options(), INVENTORY);
    assert!(deny.set_policies(vec![file("p.yaml", &text)]).is_valid());
    assert!(!allowed(ingress(&deny, "web", OTHER, 80)));
    let nothing = Options { empty_list: policy::document::EmptyList::Nothing, ..options() };
    let mut nothing = engine(nothing, INVENTORY);
    assert!(nothing.set_policies(vec![file("p.yaml", &text)]).is_valid());
    assert!(allowed(ingress(&nothing, "web", OTHER, 80)));
}

#[test]
fn an_explanation_names_the_rules_and_what_is_missing() {
    let mut engine = engine(options(), INVENTORY);
    engine.set_policies(vec![file("p.yaml", WEB)]);
    let other = engine.pod_identity("b", "other").expect("a pod");
    let flow = policy::conformance::Flow { port: 80, ..Default::default() };
    let denied = engine.explain(Direction::Ingress, ("a", "web"), other, 6, &flow).expect("an endpoint");
    assert_eq!(denied.considered.len(), 1);
    let rule = &denied.considered[0];
    assert!(!rule.peer && rule.port && !rule.matches() && !rule.deny);
    assert!(
        denied.change.contains("k8s:app\": \"other") && denied.change.contains("\"80\""),
        "{}",
        denied.change
    );
    let added =
        format!("{WEB}  - {}\n", denied.change.trim_start_matches("ingress: [").trim_end_matches(']'));
    engine.set_policies(vec![file("p.yaml", &added)]);
    let after = engine.explain(Direction::Ingress, ("a", "web"), other, 6, &flow).expect("an endpoint");
    assert!(allowed(after.verdict), "what it says to add is what it takes: {added}");
    assert_eq!(after.considered.iter().filter(|rule| rule.matches()).count(), 1);
    assert!(
        engine.explain(Direction::Ingress, ("b", "other"), other, 6, &flow).is_none(),
        "not on this node"
    );
}

#[test]
fn the_dns_servers_have_their_well_known_number() {
    let inventory = "
pods:
- {name: dns, namespace: kube-system, node: n1, serviceAccount: coredns, labels: {k8s-app: kube-dns, pod-template-hash: x}}
- {name: web, namespace: a, node: n1, labels: {app: web}}
";
    let engine = engine(options(), inventory);
    assert_eq!(engine.pod_identity("kube-system", "dns"), Some(Identity(112)));
    assert_eq!(engine.pod_identity("a", "web"), Some(Identity(256)));
}

#[test]
fn l7_rules_that_nothing_names_are_freed() {
    let mut engine = engine(options(), INVENTORY);
    let path = |n: usize| {
        let port = "toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]";
        let rules = port.replace("}]}]", &format!("}}], rules: {{http: [{{path: /v{n}/.*}}]}}}}]"));
        file("p.yaml", &WEB.replace(port, &rules))
    };
    let mut last = None;
    for n in 0..1_000 {
        assert!(engine.set_policies(vec![path(n)]).is_valid());
        let Verdict::Allow(permit) = ingress(&engine, "web", API, 80) else { panic!("round {n}") };
        let id = permit.l7().expect("inspected");
        assert!(engine.snapshot().l7.get(id).is_some(), "round {n}");
        assert_ne!(last.replace(id), Some(id), "a number is never given twice");
        assert!(engine.snapshot().l7.len() < 200, "round {n}: {}", engine.snapshot().l7.len());
    }
}

/// 65,280 numbers: the pods beyond them are counted and share no number with a pod that has other labels.
#[test]
fn a_cluster_with_too_many_identities_says_so() {
    let mut inventory = load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory");
    let one = inventory.pods[0].clone();
    let pods = |range: std::ops::Range<u32>| {
        range.map(|n| {
            let name: std::sync::Arc<str> = format!("p{n}").into();
            let labels = vec![("nr".into(), std::sync::Arc::clone(&name))];
            policy::inventory::Pod { name, labels, ips: Vec::new(), node: "n2".into(), ..one.clone() }
        })
    };
    let mut engine = Engine::new(options());
    inventory.pods = pods(0..65_300).collect();
    engine.set_inventory(inventory.clone());
    assert_eq!(engine.pods_beyond_range(), 20);
    inventory.pods = pods(10..65_300).collect();
    engine.set_inventory(inventory.clone());
    assert_eq!(engine.pods_beyond_range(), 10, "numbers that became free are given out");
    inventory.pods = pods(10..65_400).rev().collect();
    engine.set_inventory(inventory.clone());
    assert_eq!(engine.pods_beyond_range(), 110);
    let mut seen = std::collections::HashSet::new();
    for pod in &inventory.pods {
        let identity = engine.pod_identity(&pod.namespace, &pod.name).expect("known");
        assert!(seen.insert(identity), "{identity} twice");
    }
    let local = seen.iter().filter(|identity| **identity >= Identity::FIRST_NODE_LOCAL);
    assert_eq!(local.count(), 110);
}

/// A pod for which no number was left does not escape a rule about its labels, nor does it profit from one about others.
#[test]
fn a_pod_beyond_the_range_is_still_denied_by_its_labels() {
    let mut inventory = load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory");
    let one = inventory.pods[0].clone();
    inventory.pods.extend((0..65_400).map(|n| {
        let name: std::sync::Arc<str> = format!("p{n}").into();
        let labels = vec![("nr".into(), std::sync::Arc::clone(&name))];
        policy::inventory::Pod { name, labels, ips: Vec::new(), node: "n2".into(), ..one.clone() }
    }));
    let mut engine = Engine::new(options());
    engine.set_inventory(inventory);
    let text = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n  \
                endpointSelector: {matchLabels: {app: web}}\n  \
                ingress:\n  - fromEntities: [cluster]\n  - fromEndpoints: [{matchExpressions: [{key: nr, operator: NotIn, values: [p65399]}]}]\n  \
                ingressDeny: [{fromEndpoints: [{matchLabels: {nr: p65398}}]}]\n";
    assert!(engine.set_policies(vec![file("p.yaml", text)]).is_valid());
    let asked = |engine: &Engine, peer| {
        let web = engine.endpoint("a", "web").expect("an endpoint");
        web.map.lookup(Direction::Ingress, peer, 6, 80)
    };
    let beyond = |engine: &Engine, n: u32| engine.pod_identity("a", &format!("p{n}")).expect("a pod");
    assert!(
        beyond(&engine, 65_398) >= Identity::FIRST_NODE_LOCAL
            && beyond(&engine, 65_397) >= Identity::FIRST_NODE_LOCAL
    );
    assert!(!allowed(asked(&engine, beyond(&engine, 65_398))));
    assert!(allowed(asked(&engine, beyond(&engine, 65_397))));
    let text = text.replace("  - fromEntities: [cluster]\n", "");
    assert!(engine.set_policies(vec![file("p.yaml", &text)]).is_valid());
    assert!(!allowed(asked(&engine, engine.pod_identity("a", "p65399").expect("a pod"))));
}

#[test]
fn addresses_are_labelled_with_the_groups_around_them() {
    let mut engine = engine(options(), INVENTORY);
    let group = |labels: &str| {
        file(
            "g.yaml",
            &format!(
                "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {{name: partners, labels: {{{labels}}}}}\nspec: {{externalCIDRs: [203.0.113.0/24]}}\n"
            ),
        )
    };
    let rule = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: a}\nspec:\n  \
                endpointSelector: {}\n  egress:\n  - toCIDRSet: [{cidrGroupRef: partners}]\n  - toCIDR: [203.0.113.7/32]\n";
    let labels = |engine: &Engine| -> Vec<String> {
        let snapshot = engine.snapshot();
        let identity = snapshot.identity(packet::Addr::v4([203, 0, 113, 7]));
        snapshot.directory().labels(identity).into_iter().flatten().map(ToString::to_string).collect()
    };
    assert!(engine.set_policies(vec![group("kind: shop"), file("p.yaml", rule)]).is_valid());
    let named = "cidrgroup:io.cilium.policy.cidrgroupname/partners";
    let before = labels(&engine);
    assert!(before.iter().any(|label| label == named), "{before:?}");
    assert!(before.iter().any(|label| label == "cidrgroup:kind=shop"), "{before:?}");
    assert!(engine.set_policies(vec![group("kind: bank"), file("p.yaml", rule)]).is_valid());
    let after = labels(&engine);
    assert!(after.iter().any(|label| label == "cidrgroup:kind=bank"), "{after:?}");
    assert!(
        engine
            .set_policies(vec![file(
                "p.yaml",
                &rule.replace("  - toCIDRSet: [{cidrGroupRef: partners}]\n", "")
            )])
            .is_valid()
    );
    assert!(!labels(&engine).iter().any(|label| label.starts_with("cidrgroup:")));
}
