//! What these tests share: a client and a server in namespace `lab`, peers by protocol, the flow log.

use crate::support::{Lab, eventually, lab};
use serde_json::Value;
use sluice::testbed::messages::{self, Speaks};
use sluice::testbed::{PodSpec, exec};
use std::io::Write;
use std::time::Duration;

/// Beyond every client's own limit.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// client and server, and the library that the test needs; `None` (said on standard error) where one of them is
/// missing.
pub(crate) fn pods(test: &str, speaks: &[Speaks]) -> Option<Lab> {
    let mut lab = lab(test)?;
    for one in speaks {
        if one.python().is_none() {
            skip(test, &one.missing());
            return None;
        }
    }
    for name in ["client", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    Some(lab)
}

/// Says that a test did not run, where the test harness does not swallow it.
pub(crate) fn skip(test: &str, why: &str) {
    let _closed = writeln!(std::io::stderr(), "SKIPPED {test}: missing {why}");
}

/// A policy that lets the client reach these ports of the server, each with its rules (`http: [...]`) or none.
pub(crate) fn policy(ports: &[(u16, &str)]) -> String {
    let mut text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: server, namespace: lab}\nspec:\n  \
                    endpointSelector: {matchLabels: {app: server}}\n  ingress:\n    \
                    - fromEndpoints: [{matchLabels: {app: client}}]\n      toPorts:\n"
        .to_owned();
    for (port, rules) in ports {
        let rules = if rules.is_empty() { String::new() } else { format!(", rules: {{{rules}}}") };
        text.push_str(&format!("        - {{ports: [{{port: \"{port}\", protocol: TCP}}]{rules}}}\n"));
    }
    text
}

/// Runs a peer in the client; its last line of JSON.
#[track_caller]
pub(crate) fn ask(lab: &Lab, speaks: Speaks, args: &[&str]) -> Value {
    let mut command = messages::peer(lab, lab.pod("lab/client"), speaks, args).expect("a peer");
    let output = exec::run(&mut command, LIMIT).expect("the peer runs");
    let line = output.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{args:?}: {}", output.text()))
}

/// The flow log's messages as `observe` prints them, from the kind of record on.
pub(crate) fn logged(lab: &Lab) -> Vec<String> {
    let argv = ["observe", "--type", "l7", "--last", "20000", "--print-policy-names"];
    let output = lab.agent_ref().cli(&argv).expect("observe");
    let kinds = ["http-request", "http-response", "kafka-request", "kafka-response", "anomaly"];
    let cut = |line: &str| {
        let at = kinds.iter().filter_map(|kind| line.find(&format!(" {kind}"))).min();
        at.map_or_else(|| line.to_owned(), |at| line[at + 1..].to_owned())
    };
    output.stdout.lines().map(cut).collect()
}

/// Asserts that a message that contains all of `words` is in the flow log soon.
#[track_caller]
pub(crate) fn expect_logged(lab: &Lab, words: &[&str]) {
    let mut all = Vec::new();
    let mut look = || {
        all = logged(lab);
        all.iter().any(|line| words.iter().all(|word| line.contains(word)))
    };
    let started = std::time::Instant::now();
    while !look() {
        if started.elapsed() > Duration::from_secs(3) {
            panic!("not in the flow log: {words:?}\n{}", all.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts that nothing that was read so far was odd.
#[track_caller]
pub(crate) fn no_anomalies(lab: &Lab) {
    let odd: Vec<String> = logged(lab).into_iter().filter(|line| line.starts_with("anomaly")).collect();
    assert_eq!(odd, Vec::<String>::new());
}

/// Responses of a kind in the flow log, as JSON.
#[track_caller]
pub(crate) fn responses(lab: &Lab, wanted: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually("the responses are logged", Duration::from_secs(3), || {
        let argv = ["observe", "--type", "l7", "--last", "20000"];
        found = lab.agent_ref().json(&argv).expect("observe");
        found.retain(|record| record["flow"]["l7"]["type"] == "RESPONSE");
        found.len() >= wanted
    });
    found
}
