//! From a dropped packet to a rule, as the README tells it: a service nobody wrote a policy for, under default deny.

mod support;

use std::fs;
use std::process::Command;

use sluice::testbed::PodSpec;
use support::{RELOAD, eventually, lab};

const DEFAULT_DENY: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: default-deny, namespace: lab}\n\
    spec: {endpointSelector: {}, ingress: [{}], egress: [{}]}\n";

/// The program under test, asked something offline; its exit code and what it said.
fn sluice(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice")).args(args).output().expect("the binary runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_dropped_connection_becomes_a_rule_and_works() {
    let Some(mut lab) = lab("a_dropped_connection_becomes_a_rule_and_works") else { return };
    for name in ["checkout", "stock", "stranger"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    lab.echo("lab/stock", "tcp", 8080);
    lab.write_policy("default-deny", DEFAULT_DENY).expect("written");
    lab.start();
    let stock = lab.pod("lab/stock").ipv4();

    // It does not connect.
    lab.silence("lab/checkout", "tcp", stock, 8080);

    // Find it.
    let dropped = lab.drops("lab/checkout", "POLICY_DENIED");
    let flow = &dropped[0]["flow"];
    assert_eq!(flow["destination"]["pod_name"], "stock");
    assert_eq!(flow["extensions"]["default_deny"]["switched_on_by"][0]["name"], "default-deny", "{flow}");

    // Understand it.
    let config = lab.agent_ref().config_dir().to_owned();
    let config = config.to_str().expect("a plain path");
    let question = [
        "policy",
        "explain",
        "--config",
        config,
        "--from",
        "lab/checkout",
        "--to",
        "lab/stock",
        "--port",
        "8080/TCP",
    ];
    let (code, words) = sluice(&question);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("default-deny") && words.contains("to change it: egress:"), "{words}");

    // Have the rule written.
    let policies = format!("{config}/policies");
    let wanted = [
        "policy",
        "suggest",
        "--include-denied",
        "--from-pod",
        "lab/checkout",
        "--to-pod",
        "lab/stock",
        "--existing",
        &policies,
    ];
    let suggested = lab.agent_ref().cli(&wanted).expect("suggest");
    assert!(suggested.ok(), "{}", suggested.text());
    let (text, file) = (suggested.stdout, format!("{policies}/checkout-to-stock.yaml"));
    assert!(text.contains("name: checkout-suggested") && text.contains("name: stock-suggested"), "{text}");
    assert!(text.contains("refused by default deny") && text.contains("port: '8080'"), "{text}");

    // Nobody but the namespace is opened, and the check agrees.
    fs::write(&file, &text).expect("written");
    let (code, words) = sluice(&["policy", "check", &policies]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("0 errors, 0 warnings"), "{words}");
    let (code, words) = sluice(&question);
    assert_eq!(code, Some(0), "{words}");

    // It works, for this client and this port only.
    eventually("the new rule is in force", RELOAD, || {
        lab.ask("lab/checkout", "tcp", stock, 8080, 100) == "ok"
    });
    lab.silence("lab/stranger", "tcp", stock, 8080);
    let allowed = [
        "observe",
        "--verdict",
        "FORWARDED",
        "--type",
        "policy-verdict",
        "--from-pod",
        "lab/checkout",
        "--last",
        "100",
    ];
    let mut found = Vec::new();
    eventually("the flow log names the new rules", RELOAD, || {
        found = lab.agent_ref().json(&allowed).expect("observe");
        let named = |key: &str, name: &str| found.iter().any(|record| record["flow"][key][0]["name"] == name);
        named("egress_allowed_by", "checkout-suggested") && named("ingress_allowed_by", "stock-suggested")
    });
    assert!(found.iter().all(|record| record["flow"]["destination"]["pod_name"] == "stock"));

    // Nothing is left to suggest.
    let again = lab.agent_ref().cli(&wanted).expect("suggest");
    assert!(
        again.ok() && again.stdout.is_empty() && again.text().contains("nothing to suggest"),
        "{}",
        again.text()
    );
}
