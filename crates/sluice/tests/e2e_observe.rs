//! `sluice observe` on a running node: names that people wrote down, and what the node service did.

mod support;

use serde_json::{Value, json};
use sluice::testbed::{PodSpec, Proc, servers};
use support::{LIMIT, Lab, RELOAD, allow, eventually, lab};

/// Address of a service that nothing on this node translates.
const VIRTUAL: &str = "10.96.0.10";

/// Records that these flags find.
#[track_caller]
fn flows(lab: &Lab, flags: &str) -> Vec<Value> {
    let argv: Vec<&str> = "observe --last 1000".split(' ').chain(flags.split_whitespace()).collect();
    let found = lab.agent_ref().json(&argv).expect("observe");
    found.into_iter().map(|mut record| record["flow"].take()).collect()
}

/// What a command says on both streams.
#[track_caller]
fn said(lab: &Lab, line: &str) -> (bool, String) {
    let argv: Vec<&str> = line.split_whitespace().collect();
    let output = lab.agent_ref().cli(&argv).expect("it runs");
    (output.ok(), output.text())
}

/// Adds to what the inventory says: labels of the node, a workload, a service.
fn name_things(lab: &Lab) {
    let path = lab.config_dir().join("inventory/cluster.yaml");
    let text = std::fs::read_to_string(&path).expect("the inventory");
    let mut inventory: Value = serde_yaml::from_str(&text).expect("YAML");
    inventory["nodes"][0]["labels"] = json!({ "zone": "a" });
    let pods = inventory["pods"].as_array_mut().expect("pods");
    let client = pods.iter_mut().find(|pod| pod["name"] == "client").expect("the client");
    client["workload"] = json!({ "kind": "Rollout", "name": "shop" });
    inventory["services"] = json!([{
        "name": "api", "namespace": "lab", "selector": { "app": "server" }, "ips": [VIRTUAL],
        "ports": [{ "port": 80, "targetPort": 7 }],
    }]);
    std::fs::write(&path, serde_yaml::to_string(&inventory).expect("YAML")).expect("written");
}

#[test]
fn filters_find_flows_by_the_names_of_the_inventory() {
    let Some(mut lab) = lab("filters_find_flows_by_the_names_of_the_inventory") else { return };
    for name in ["client", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    lab.echo("lab/server", "tcp", 7);
    lab.start();

    let asked =
        "observe --to-service lab/api --node-label zone=a --workload shop --cluster west --to-service web";
    let (ok, text) = said(&lab, asked);
    assert!(ok, "{text}");
    for flag in ["--to-service lab/api", "--node-label zone=a", "--workload shop", "--cluster west"] {
        assert_eq!(text.matches(&format!("{flag} finds nothing here: ")).count(), 1, "{flag}: {text}");
    }
    assert_eq!(text.matches("finds nothing").count(), 4, "{text}");
    assert_eq!(said(&lab, &format!("{asked} -s")), (true, String::new()));

    name_things(&lab);
    eventually("the names are known", RELOAD, || {
        !said(&lab, "observe --to-service lab/api --node-label zone=a --workload shop").1.contains("nothing")
    });
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    let ended = lab.ask("lab/client", "tcp", VIRTUAL, 80, 100);
    assert_ne!(ended, "ok", "nothing translates it");
    eventually("a flow to the service", RELOAD, || !flows(&lab, "--to-service lab/api").is_empty());

    for flow in flows(&lab, "--to-service lab/a --from-pod lab/client") {
        assert_eq!(flow["destination_service"], json!({ "name": "api", "namespace": "lab" }), "{flow}");
        assert_eq!(flow["IP"]["destination"], VIRTUAL, "{flow}");
    }
    assert_eq!(flows(&lab, "--to-service api"), [Value::Null; 0], "that is in namespace default");
    assert_eq!(flows(&lab, "--from-service lab/api --to-port 80"), [Value::Null; 0]);
    let to_backend = flows(&lab, "--to-pod lab/server --to-port 7");
    assert!(!to_backend.is_empty());
    assert!(to_backend.iter().all(|flow| flow["destination_service"].is_null()), "{to_backend:?}");
    let (_, compact) = said(&lab, "observe --to-service lab/api --last 1");
    assert!(compact.contains(" -> lab/api:80 (world"), "{compact}");

    let by_owner = flows(&lab, "--from-workload Rollout/shop");
    assert!(!by_owner.is_empty());
    for flow in &by_owner {
        assert_eq!(flow["source"]["pod_name"], "client", "{flow}");
        assert_eq!(flow["source"]["workloads"], json!([{ "name": "shop", "kind": "Rollout" }]), "{flow}");
        assert_eq!(flow["node_labels"], json!(["zone=a"]), "{flow}");
    }
    assert_eq!(flows(&lab, "--from-workload Deployment/shop"), [Value::Null; 0]);
    assert_eq!(flows(&lab, "--node-label zone=b"), [Value::Null; 0]);
    assert!(flows(&lab, "--node-label zone=a").len() >= by_owner.len());
    assert_eq!(flows(&lab, "--cluster west"), [Value::Null; 0]);
    let in_cluster = flows(&lab, "--from-cluster def* --to-cluster default");
    assert!(!in_cluster.is_empty());
    for flow in in_cluster {
        assert_eq!(flow["destination"]["cluster_name"], "default", "{flow}");
        assert_ne!(flow["IP"]["destination"], VIRTUAL, "what is no pod is in no cluster: {flow}");
    }
}

/// What the client may: ask kube-dns, and talk to one name.
const NAMES: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: names, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}]
      toPorts: [{ports: [{port: \"53\", protocol: ANY}], rules: {dns: [{matchPattern: \"*\"}]}}]
    - toFQDNs: [{matchName: api.stripe.test}]
";

#[test]
fn agent_events_tell_of_pods_policies_and_names() {
    let Some(mut lab) = lab("agent_events_tell_of_pods_policies_and_names") else { return };
    lab.add_pod(PodSpec::new("lab", "client", "app=client")).expect("a pod");
    lab.add_pod(PodSpec::new("kube-system", "kube-dns", "k8s-app=kube-dns")).expect("a pod");
    let records =
        ["--host-record=api.stripe.test,198.51.100.2,60", "--host-record=other.test,198.51.100.3,60"];
    servers::start_dns_with(&mut lab, "kube-system/kube-dns", &records).expect("dnsmasq");
    lab.write_policy("names", NAMES).expect("written");
    lab.start();

    let (ok, all) = said(&lab, "observe agent-events --all");
    assert!(
        ok && all.lines().next().is_some_and(|line| line.contains(": AGENT_STARTED (start time: ")),
        "{all}"
    );
    let policy = "(labels: [k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy,\
                  k8s:io.cilium.k8s.policy.name=names,k8s:io.cilium.k8s.policy.namespace=lab], revision: ";
    assert!(all.contains(&format!(": POLICY_UPDATED {policy}")), "{all}");
    assert!(all.contains(", namespace: lab, pod name: client)"), "{all}");
    assert!(!all.contains("IPCACHE"), "the addresses of the start are not news: {all}");

    let mut follow =
        lab.agent_ref().command(&["observe", "agent-events", "--follow", "--last", "1", "-o", "json"]);
    let mut follower = Proc::spawn("follow", &mut follow, &lab.file("follow.log")).expect("it starts");
    eventually("the last event", RELOAD, || !follower.log().is_empty());
    let server = lab.pod("kube-system/kube-dns").ipv4();
    for name in ["other.test", "api.stripe.test"] {
        let (_, answer) = lab.run("lab/client", &format!("dig +short +time=2 +tries=1 @{server} {name} A"));
        assert!(answer.contains("198.51.100."), "{name}: {answer}");
    }
    let told = |follower: &Proc, kind: &str| -> Vec<Value> {
        let lines = follower.log();
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.map(|mut line| line["agent_event"].take()).filter(|event| event["type"] == kind).collect()
    };
    eventually("what DNS taught", RELOAD, || !told(&follower, "IPCACHE_UPSERTED").is_empty());
    let upserted = told(&follower, "IPCACHE_UPSERTED");
    assert_eq!(upserted.len(), 1, "no rule is about the other: {upserted:?}");
    assert_eq!(upserted[0]["ipcache_update"]["cidr"], "198.51.100.2/32");
    let identity = upserted[0]["ipcache_update"]["identity"].to_string();
    let (_, listed) = said(&lab, "ip list");
    let line = listed.lines().find(|line| line.contains("198.51.100.2")).expect("it is listed");
    assert!(line.split_whitespace().any(|word| word == identity), "{line}: {identity}");

    // With the rule goes the identity.
    lab.write_policy("names", &allow("names", "app=client", "app=client", 7)).expect("written");
    eventually("the end of it", RELOAD, || !told(&follower, "IPCACHE_DELETED").is_empty());
    assert_eq!(told(&follower, "IPCACHE_DELETED")[0]["ipcache_update"]["cidr"], "198.51.100.2/32");
    assert_eq!(told(&follower, "POLICY_UPDATED").len(), 1);
    follower.signal(nix::sys::signal::Signal::SIGINT);
    assert!(follower.wait(LIMIT).is_some());

    let (_, dict) = said(&lab, "observe agent-events --last 2 -o dict --print-node-name");
    assert_eq!(dict.matches("\n------------\n").count(), 1, "{dict}");
    assert!(dict.contains("\n       NODE: testbed-node\n       TYPE: "), "{dict}");
    let (ok, refused) = said(&lab, "observe agent-events --pod lab/client");
    assert!(!ok && refused.contains("--pod is about flows"), "{refused}");
    let (ok, none) = said(&lab, "observe debug-events");
    assert!(!ok && none.contains("there are no debug events"), "{none}");
}
