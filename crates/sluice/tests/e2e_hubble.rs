//! Hubble's API of a running node service, asked by an independent client: Python's gRPC, which learns the protocol
//! from the server.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice::testbed::{PodSpec, Proc, exec};
use support::{LIMIT, Lab, RELOAD, allow, eventually, lab, options};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hubble_client.py");

/// Python with gRPC; `None` where `scripts/setup.sh` could not install it.
fn python() -> Option<PathBuf> {
    let peers =
        std::env::var_os("SLUICE_PEERS").map_or_else(|| PathBuf::from("/opt/sluice-peers"), PathBuf::from);
    let python = peers.join("bin/python3");
    let probe = Command::new(&python).args(["-c", "import grpc, google.protobuf"]).status();
    if probe.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("SLUICE_REQUIRE_PRIVILEGED").is_none(),
        "this test must run here, but grpcio and protobuf are missing (scripts/setup.sh test)"
    );
    let _closed = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"SKIPPED e2e_hubble: grpcio and protobuf are missing (scripts/setup.sh test)\n",
    );
    None
}

/// A lab with a guarded server and the API on a socket.
struct Api {
    lab: Lab,
    python: PathBuf,
    socket: PathBuf,
}

impl Api {
    fn new(test: &str) -> Option<Self> {
        let python = python()?;
        let mut lab = lab(test)?;
        for name in ["client", "stranger", "server"] {
            lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
        }
        lab.echo("lab/server", "tcp", 7);
        lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
        let socket = lab.file("hubble.sock");
        // A socket that a killed process left must not be in the way.
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a stale socket"));
        let settings = format!("hubble: {{socket: {}}}\n", socket.display());
        lab.start_agent(options("drop").with_settings(&settings)).expect("the agent starts");
        Some(Self { lab, python, socket })
    }

    fn command(&self, method: &str, request: &Value, count: Option<usize>) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(CLIENT)
            .arg(format!("unix://{}", self.socket.display()))
            .arg(method)
            .arg(request.to_string());
        command.args(count.map(|count| count.to_string()));
        command
    }

    /// All responses.
    #[track_caller]
    fn call(&self, method: &str, request: &Value) -> Vec<Value> {
        let output = exec::check(&mut self.command(method, request, None), LIMIT).expect("the client runs");
        lines(&output.stdout)
    }

    #[track_caller]
    fn observer(&self, method: &str, request: &Value) -> Vec<Value> {
        self.call(&format!("observer.Observer/{method}"), request)
    }

    /// The one response.
    #[track_caller]
    fn one(&self, method: &str, request: &Value) -> Value {
        let mut answers = self.observer(method, request);
        assert_eq!(answers.len(), 1, "{method}: {answers:?}");
        answers.remove(0)
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn uuids(answers: &[Value]) -> Vec<&str> {
    answers.iter().filter_map(|answer| answer["flow"]["uuid"].as_str()).collect()
}

#[test]
fn an_independent_client_lists_filters_and_follows() {
    let Some(api) = Api::new("an_independent_client_lists_filters_and_follows") else { return };
    let server = api.lab.pod("lab/server").ipv4();
    let mode = std::fs::metadata(&api.socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // All of this happens behind the system call filter, without the capabilities that were given up.
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", api.lab.agent_ref().pid())).expect("status");
    assert!(status.contains("\nSeccomp:\t2\n"), "{status}");

    api.lab.answers("lab/client", "tcp", server, 7);
    api.lab.silence("lab/stranger", "tcp", server, 7);
    api.lab.drops("lab/stranger", "POLICY_DENIED");

    // What was refused, and by which policy's default deny.
    let denied = json!({
        "number": 100,
        "whitelist": [{ "verdict": ["DROPPED"], "source_pod": ["lab/stranger"] }],
    });
    let answers = api.observer("GetFlows", &denied);
    assert!(!answers.is_empty());
    for answer in &answers {
        let flow = &answer["flow"];
        assert_eq!(flow["drop_reason_desc"], "POLICY_DENIED", "{answer}");
        assert_eq!(flow["destination"]["pod_name"], "server", "{answer}");
        assert_eq!(flow["l4"]["TCP"]["destination_port"], 7, "{answer}");
        assert_eq!(flow["IP"]["destination"], server.to_string(), "{answer}");
        let extensions = flow["extensions"]["value"].as_str().expect("a StringValue");
        let extensions: Value = serde_json::from_str(extensions).expect("JSON in it");
        assert_eq!(extensions["default_deny"]["switched_on_by"][0]["name"], "server", "{extensions}");
    }
    // The same records as the node's own command shows.
    let own = ["observe", "--verdict", "DROPPED", "--from-pod", "lab/stranger", "--last", "100"];
    let own = api.lab.agent_ref().json(&own).expect("observe");
    let first = uuids(&answers);
    assert_eq!(first, &uuids(&own)[..first.len()]);

    // The other way round: all but those, from the oldest on, with a mask.
    let others = json!({
        "number": 3, "first": true, "blacklist": [{ "verdict": ["DROPPED"] }],
        "field_mask": "verdict,source.podName",
    });
    let answers = api.observer("GetFlows", &others);
    assert_eq!(answers.len(), 3);
    for answer in &answers {
        let flow = answer["flow"].as_object().expect("a flow");
        assert!(flow.keys().all(|key| key == "verdict" || key == "source"), "{answer}");
        assert_ne!(flow["verdict"], "DROPPED");
        assert_eq!(answer["node_name"], api.one("GetNodes", &json!({}))["nodes"][0]["name"]);
    }

    // Following: nothing from before, everything from then on.
    let follow = json!({ "follow": true, "whitelist": [{ "source_pod": ["lab/client"], "event_type": [{ "type": 5 }] }] });
    let mut command = api.command("observer.Observer/GetFlows", &follow, Some(2));
    let mut following =
        Proc::spawn("follow", &mut command, &api.lab.file("follow.log")).expect("the client starts");
    eventually("both connections are seen by a follower", Duration::from_secs(20), || {
        api.lab.answers("lab/client", "tcp", server, 7);
        !following.is_running()
    });
    let seen = lines(&following.log());
    assert_eq!(seen.len(), 2, "{seen:?}");
    for answer in &seen {
        assert_eq!(
            (&answer["flow"]["verdict"], &answer["flow"]["Type"]),
            (&json!("FORWARDED"), &json!("L3_L4"))
        );
        assert_eq!(answer["flow"]["ingress_allowed_by"][0]["name"], "server", "{answer}");
    }
}

#[test]
fn the_server_tells_about_itself() {
    let Some(api) = Api::new("the_server_tells_about_itself") else { return };
    let server = api.lab.pod("lab/server").ipv4();
    api.lab.answers("lab/client", "tcp", server, 7);
    eventually("a record", RELOAD, || {
        api.one("ServerStatus", &json!({}))["seen_flows"].as_str().is_some_and(|seen| seen != "0")
    });
    let status = api.one("ServerStatus", &json!({}));
    assert_eq!((&status["max_flows"], &status["num_connected_nodes"]), (&json!("4095"), &json!(1)));
    assert!(status["version"].as_str().is_some_and(|version| version.starts_with("sluice ")), "{status}");
    assert!(status["uptime_ns"].as_str().and_then(|ns| ns.parse::<u64>().ok()) > Some(0), "{status}");

    let health = api.call("grpc.health.v1.Health/Check", &json!({ "service": "observer.Observer" }));
    assert_eq!(health, [json!({ "status": "SERVING" })]);
    let nodes = api.one("GetNodes", &json!({}));
    let node = &nodes["nodes"][0];
    assert_eq!((&node["state"], &node["max_flows"]), (&json!("NODE_CONNECTED"), &json!("4095")));
    assert_eq!(node["address"], format!("unix://{}", api.socket.display()));
    let namespaces = api.one("GetNamespaces", &json!({}));
    let expected = json!({ "namespaces": [{ "cluster": "default", "namespace": "lab" }] });
    assert_eq!(namespaces, expected);

    // What it does not have, and what it does not understand, it says.
    let error = api.one("GetDebugEvents", &json!({}));
    assert_eq!(error["code"], "UNIMPLEMENTED");
    for (request, word) in [
        (json!({ "whitelist": [{ "experimental": { "cel_expression": ["true"] } }] }), "cel_expression"),
        (json!({ "blacklist": [{ "source_ip": ["nonsense"] }] }), "nonsense"),
        (json!({ "first": true, "follow": true }), "follow"),
        (json!({ "field_mask": "sauce" }), "sauce"),
    ] {
        let error = api.one("GetFlows", &request);
        assert_eq!(error["code"], "INVALID_ARGUMENT", "{request}: {error}");
        assert!(error["details"].as_str().is_some_and(|text| text.contains(word)), "{request}: {error}");
    }
}

#[test]
fn the_control_threads_deeds_are_agent_events() {
    let Some(mut api) = Api::new("the_control_threads_deeds_are_agent_events") else { return };
    let events = |api: &Api| {
        let answers = api.observer("GetAgentEvents", &json!({}));
        answers.into_iter().map(|mut answer| answer["agent_event"].take()).collect::<Vec<_>>()
    };
    let of = |events: &[Value], kind: &str| {
        events.iter().filter(|event| event["type"] == kind).cloned().collect::<Vec<_>>()
    };
    let at_start = events(&api);
    assert_eq!(at_start[0]["type"], "AGENT_STARTED", "{at_start:?}");
    let policies = of(&at_start, "POLICY_UPDATED");
    assert_eq!(policies.len(), 1, "{at_start:?}");
    assert_eq!(
        policies[0]["policy_update"]["labels"],
        json!([
            "k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy",
            "k8s:io.cilium.k8s.policy.name=server",
            "k8s:io.cilium.k8s.policy.namespace=lab",
        ])
    );
    let created = of(&at_start, "ENDPOINT_CREATED");
    let mut pods: Vec<_> =
        created.iter().filter_map(|event| event["endpoint_update"]["pod_name"].as_str()).collect();
    pods.retain(|pod| ["client", "server", "stranger"].contains(pod));
    assert_eq!(pods.len(), 3, "{at_start:?}");

    // A pod goes, a pod comes, the policy changes.
    let address = api.lab.pod("lab/stranger").ipv4();
    api.lab.remove_pod("lab/stranger").expect("removed");
    api.lab.write_inventory().expect("written");
    let deleted = |api: &Api| of(&events(api), "ENDPOINT_DELETED");
    eventually("the endpoint's end", RELOAD, || !deleted(&api).is_empty());
    assert_eq!(deleted(&api)[0]["endpoint_update"]["pod_name"], "stranger");
    let gone = of(&events(&api), "IPCACHE_DELETED");
    assert!(gone.iter().any(|event| event["ipcache_update"]["cidr"] == format!("{address}/32")), "{gone:?}");
    api.lab.add_pod(PodSpec::new("lab", "guest", "app=client")).expect("a pod");
    api.lab.write_inventory().expect("written");
    let address = api.lab.pod("lab/guest").ipv4();
    let upserted = |api: &Api| of(&events(api), "IPCACHE_UPSERTED");
    eventually("the new address", RELOAD, || !upserted(&api).is_empty());
    let new = upserted(&api);
    assert!(
        new.iter().any(|event| event["ipcache_update"]["cidr"] == format!("{address}/32")
            && event["ipcache_update"]["pod_name"] == "guest"),
        "{new:?}"
    );
    api.lab.write_policy("server", &allow("server", "app=client", "app=server", 8)).expect("written");
    eventually("the policy's change", RELOAD, || of(&events(&api), "POLICY_UPDATED").len() == 2);
}
