//! The web page of a running node: a connection that does not come up is found in it, explained, and allowed with the
//! policy that it suggests.

mod support;

use serde_json::Value;
use sluice::testbed::{PodSpec, exec};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;
use support::{Lab, RELOAD, eventually, lab, options};

const ADDRESS: &str = "127.0.0.1:12000";

/// Runs a program where the agent runs: its exit code and its words.
fn at_node(lab: &Lab, program: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command: Command = lab.node().command_with_host_mounts(program);
    command.args(args);
    let output = exec::run(&mut command, Duration::from_secs(20)).expect("it runs");
    (output.code, output.stdout)
}

/// A question to the page with this token: status and answer.
fn ask(lab: &Lab, token: &str, path: &str) -> (String, Value) {
    let header = format!("authorization: Bearer {token}");
    let url = format!("http://{ADDRESS}{path}");
    let (_, text) = at_node(lab, "curl", &["-sS", "-m", "15", "-w", "\n%{http_code}", "-H", &header, &url]);
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn a_denied_connection_is_found_explained_and_allowed() {
    let Some(mut lab) = lab("a_denied_connection_is_found_explained_and_allowed") else { return };
    for name in ["client", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    lab.echo("lab/server", "tcp", 7);
    lab.write_policy(
        "closed",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: closed, namespace: lab}\nspec:\n  \
         endpointSelector: {matchLabels: {app: server}}\n  ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]\n",
    )
    .expect("written");
    let served = options("drop").with_settings(&format!("ui: {{listen: \"{ADDRESS}\"}}\n"));
    lab.start_agent(served).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    lab.silence("lab/client", "tcp", server, 7);

    let dir = lab.config_dir();
    let binary = env!("CARGO_BIN_EXE_sluice");
    let (code, address) = at_node(&lab, binary, &["ui", "--config", &dir.to_string_lossy()]);
    assert_eq!(code, Some(0), "{address}");
    let token =
        address.trim().strip_prefix(&format!("http://{ADDRESS}/#token=")).expect("an address").to_owned();
    let mode = std::fs::metadata(lab.file("ui-token")).expect("the token's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ask(&lab, "not-the-right-token", "/api/flows").0, "401");

    let mut uuid = String::new();
    eventually("the flow is in the table", RELOAD, || {
        let (_, flows) = ask(&lab, &token, "/api/flows?verdict=DROPPED&from-pod=lab/client&to-port=7");
        flows["rows"][0]["uuid"].as_str().unwrap_or_default().clone_into(&mut uuid);
        !uuid.is_empty()
    });
    let (_, map) = ask(&lab, &token, "/api/map?namespace=lab");
    let edges = map["edges"].as_array().expect("edges");
    let edge = edges.iter().find(|edge| edge["id"] == "workload/lab/client|workload/lab/server|TCP/7");
    assert!(edge.is_some_and(|edge| edge["total"]["dropped"].as_u64() > Some(0)), "{map:#}");

    let (status, told) = ask(&lab, &token, &format!("/api/explain?uuid={uuid}"));
    assert_eq!((status.as_str(), told["side"].as_str()), ("200", Some("destination")), "{told:#}");
    let switched = &told["default_deny"]["switched_on_by"][0];
    assert!(switched["file"].as_str().expect("a file").ends_with("policies/closed.yaml"), "{told:#}");
    assert_eq!(told["sides_error"], "", "{told:#}");
    let sides = told["sides"].as_array().expect("sides");
    assert!(
        sides.iter().any(|side| side["direction"] == "ingress" && side["verdict"] == "denied"),
        "{told:#}"
    );

    let (status, suggested) = ask(&lab, &token, &format!("/api/suggest?uuid={uuid}"));
    assert_eq!(status, "200", "{suggested:#}");
    lab.write_policy("suggested", suggested["yaml"].as_str().expect("YAML")).expect("written");
    eventually("the suggested policy lets it through", 2 * RELOAD, || {
        lab.ask("lab/client", "tcp", server, 7, 10) == "ok"
    });
    let (_, node) = ask(&lab, &token, "/api/node");
    assert!(node.is_object() && node["error"].is_null(), "{node:#}");
}
