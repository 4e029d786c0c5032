//! What the inventory and the configuration say, in records.

use super::*;
use flowlog::{EventKind, FlowEvent, Record, TraceReason};
use packet::{FlowKey, Instant, TcpFlags};
use policy::engine::{Engine, Options};
use serde_json::{Value, json};

pub(crate) const INVENTORY: &str = "\
nodes:
- {name: n1, ips: [192.168.0.1], labels: {zone: a, role: worker}}
- {name: n2, ips: [192.168.0.2], labels: {zone: b}}
pods:
- {name: web-1, namespace: shop, node: n1, labels: {app: web}, ips: [10.0.0.1], workload: {kind: Rollout, name: web}}
- {name: api-7d9c5b8f6-x2x4z, namespace: shop, node: n2, labels: {app: api}, ips: [10.0.0.2]}
- {name: batch-x, namespace: shop, node: n2, ips: [10.0.0.3], workload: {kind: CronJob, name: batch}}
services:
- {name: api, namespace: shop, ips: [10.96.0.10], selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
";

pub(crate) fn names(inventory: &str, labels: &[(&str, &str)]) -> Names {
    let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
    engine.set_inventory(policy::document::load_inventory(inventory, "i.yaml").expect("valid"));
    let snapshot = Arc::new(Snapshot { policy: engine.snapshot(), ..Snapshot::default() });
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let node = NodeFacts { name: "n1".into(), cluster: "east".into(), labels };
    Names::new(&snapshot, 0, &Arc::new(node))
}

/// The first packet of a connection from the local pod.
pub(crate) fn event(names: &Names, dst: [u8; 4], dst_port: u16) -> FlowEvent {
    let endpoint = names.snapshot.policy.endpoints.iter().flatten().find(|e| &*e.name == "web-1");
    FlowEvent {
        at: Instant::from_nanos(1),
        kind: EventKind::Trace { reason: TraceReason::New },
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4(dst),
            src_port: 40000,
            dst_port,
            proto: 6,
        },
        icmp: (0, 0),
        tcp_flags: TcpFlags(TcpFlags::SYN),
        is_reply: false,
        src_identity: Identity::UNKNOWN,
        dst_identity: Identity::UNKNOWN,
        src_endpoint: Some(endpoint.expect("a local pod").id),
        dst_endpoint: None,
        in_port: PortId(1),
        len: 60,
        epoch: 1,
    }
}

fn record(names: &Names, dst: [u8; 4], dst_port: u16) -> Value {
    serde_json::to_value(Record::from_event(&event(names, dst, dst_port), names, 0)).expect("JSON")
}

#[test]
fn a_record_names_service_workloads_cluster_and_the_labels_of_the_node() {
    let names = names(INVENTORY, &[("zone", "eu-1"), ("rack", "7")]);
    let to_service = record(&names, [10, 96, 0, 10], 80);
    assert_eq!(to_service["destination_service"], json!({"name": "api", "namespace": "shop"}));
    assert_eq!(to_service["source_service"], Value::Null, "web has no service");
    assert_eq!(to_service["destination"]["cluster_name"], Value::Null, "what is no pod is in no cluster");
    assert_eq!(to_service["node_labels"], json!(["rack=7", "role=worker", "zone=eu-1"]));
    assert_eq!(to_service["source"]["cluster_name"], "east");
    assert_eq!(to_service["source"]["workloads"], json!([{"name": "web", "kind": "Rollout"}]), "an endpoint");
    let to_backend = record(&names, [10, 0, 0, 2], 8080);
    assert_eq!(to_backend["destination_service"], Value::Null, "a backend's address is not the service's");
    assert_eq!(to_backend["destination"]["cluster_name"], "east");
    let guessed = json!([{"name": "api", "kind": "Deployment"}]);
    assert_eq!(to_backend["destination"]["workloads"], guessed, "judged by its name");
    let known = names.address(Addr::v4([10, 0, 0, 2])).expect("a pod").workloads;
    assert_eq!(serde_json::to_value(known).expect("JSON"), guessed, "for metrics too");
    let stated = record(&names, [10, 0, 0, 3], 8080);
    assert_eq!(
        stated["destination"]["workloads"],
        json!([{"name": "batch", "kind": "CronJob"}]),
        "elsewhere"
    );
}

#[test]
fn what_filters_can_match_is_told() {
    let full = names(INVENTORY, &[]).known();
    assert_eq!(full, Known { cluster: "east".into(), node_labels: true, services: true, workloads: true });
    let empty = names("pods: [{name: frontend, namespace: shop, node: n1, ips: [10.0.0.1]}]\n", &[]).known();
    let nothing = Known { cluster: "east".into(), node_labels: false, services: false, workloads: false };
    assert_eq!(empty, nothing);
    let judged = names("pods: [{name: db-0, namespace: shop, node: n1, ips: [10.0.0.1]}]\n", &[]).known();
    assert_eq!(judged, Known { workloads: true, ..nothing });
    assert!(names("{}", &[("zone", "a")]).known().node_labels);
}
