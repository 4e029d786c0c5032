//! Records of flows as this node's log and Hubble write them, and what the engine says of policies.
#![allow(dead_code, unreachable_pub, reason = "each test binary includes it and uses a part of it")]

use flowlog::Record;
use policy::conformance::{Flow, Offline};
use policy::document::{self, load};
use policy::engine::{Options, SourceFile};
use policy::inventory::{Inventory, Pod};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What became of a flow in the log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Passed,
    DefaultDeny,
    DenyRule,
}

fn pod<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a Pod> {
    let (namespace, name) = name.strip_prefix("pod/")?.split_once('/')?;
    inventory.pods.iter().find(|pod| *pod.namespace == *namespace && *pod.name == *name)
}

/// An end of a flow, its address, and the DNS names of that.
fn end(inventory: &Inventory, name: &str) -> (Value, String, Vec<String>) {
    if let Some(found) = pod(inventory, name) {
        let mut labels: Vec<String> =
            found.labels.iter().map(|(key, value)| format!("k8s:{key}={value}")).collect();
        labels.push(format!("k8s:io.kubernetes.pod.namespace={}", found.namespace));
        labels.push("k8s:io.cilium.k8s.policy.cluster=default".to_owned());
        let number = inventory.pods.iter().position(|pod| std::ptr::eq(pod, found)).unwrap_or(0);
        let end = json!({"ID": number + 1, "identity": 300 + number, "namespace": *found.namespace, "pod_name": *found.name, "labels": labels});
        return (end, found.ips[0].to_string(), Vec::new());
    }
    if let Some(external) =
        inventory.external.iter().find(|external| name == format!("ext/{}", external.name))
    {
        let (identity, labels) = match external.kube_api_server {
            true => (16_777_300, vec!["reserved:kube-apiserver", "reserved:world"]),
            false => (2, vec!["reserved:world"]),
        };
        let names = external.dns_names.iter().map(ToString::to_string).collect();
        return (json!({"identity": identity, "labels": labels}), external.ip.to_string(), names);
    }
    let node = inventory.nodes.iter().position(|node| name == format!("node/{}", node.name)).expect("a node");
    let (identity, label) = if node == 0 { (1, "reserved:host") } else { (6, "reserved:remote-node") };
    let ip: IpAddr = inventory.nodes[node].ips[0];
    (json!({"identity": identity, "labels": [label]}), ip.to_string(), Vec::new())
}

/// The records of one connection, with its replies.
pub fn records(inventory: &Inventory, flow: &Flow, outcome: Outcome, second: u64) -> Vec<Record> {
    let (source, from, source_names) = end(inventory, &flow.src);
    let (destination, to, names) = end(inventory, &flow.dst);
    let l4 = |forward: bool| {
        let ports = if forward { (40_000, flow.port) } else { (flow.port, 40_000) };
        let ports = json!({"source_port": ports.0, "destination_port": ports.1});
        match flow.proto.as_str() {
            "ICMP" => json!({"ICMPv4": {"type": flow.port}}),
            "ICMPv6" => json!({"ICMPv6": {"type": flow.port}}),
            proto => json!({proto: ports}),
        }
    };
    let time = format!("2025-11-21T10:{:02}:{:02}Z", second / 60 % 60, second % 60);
    let forward = json!({
        "time": time, "IP": {"source": from, "destination": to}, "l4": l4(true), "source": source, "destination": destination,
        "source_names": source_names, "destination_names": names,
    });
    let with = |base: &Value, more: Value| {
        let mut all = base.as_object().expect("an object").clone();
        all.extend(more.as_object().expect("an object").clone());
        serde_json::from_value(Value::Object(all)).expect("a record")
    };
    let local = |name: &str| pod(inventory, name).is_some();
    let mut found: Vec<Record> = Vec::new();
    let dropped = match outcome {
        Outcome::Passed => None,
        Outcome::DefaultDeny => Some("POLICY_DENIED"),
        Outcome::DenyRule => Some("POLICY_DENY"),
    };
    if let Some(reason) = dropped {
        let direction = if local(&flow.dst) { "INGRESS" } else { "EGRESS" };
        for kind in [1, 5] {
            found.push(with(&forward, json!({
                "verdict": "DROPPED", "drop_reason_desc": reason, "event_type": {"type": kind}, "traffic_direction": direction,
            })));
        }
        return found;
    }
    for (name, direction) in [(&flow.src, "EGRESS"), (&flow.dst, "INGRESS")] {
        if local(name) {
            found.push(with(&forward, json!({
                "verdict": "FORWARDED", "event_type": {"type": 5}, "traffic_direction": direction, "is_reply": false,
            })));
        }
    }
    let point = if local(&flow.dst) { 0 } else { 3 };
    found.push(with(
        &forward,
        json!({"verdict": "FORWARDED", "event_type": {"type": 4, "sub_type": point}, "is_reply": false}),
    ));
    let reply = json!({
        "time": time, "IP": {"source": to, "destination": from}, "l4": l4(false), "source": destination, "destination": source,
        "source_names": names, "destination_names": source_names,
    });
    found.push(with(
        &reply,
        json!({"verdict": "FORWARDED", "event_type": {"type": 4, "sub_type": 0}, "is_reply": true}),
    ));
    if flow.has_message() {
        let extensions = json!({
            "kafka_client_id": flow.kafka.as_ref().map(|kafka| kafka.client_id.clone()).unwrap_or_default(),
            "kafka_topics": flow.kafka.as_ref().map(|kafka| kafka.topics.clone()).filter(|topics| topics.len() > 1).unwrap_or_default(),
            "tls": flow.tls.as_ref().map(|tls| json!({"server_name": tls.server_name.clone().unwrap_or_default()})),
        });
        let message = |kind: &str| {
            let http = flow
                .http
                .as_ref()
                .map(|http| json!({"method": http.method, "url": format!("http://host{}", http.path)}));
            let dns = flow.dns.as_ref().map(|dns| json!({"query": format!("{}.", dns.name)}));
            let kafka = flow.kafka.as_ref().map(|kafka| {
                let names = ["produce", "fetch", "offsets", "metadata"];
                json!({"api_key": names[kafka.api_key as usize], "topic": kafka.topics.first()})
            });
            let mut l7 = json!({"type": kind});
            for (key, value) in [("http", http), ("dns", dns), ("kafka", kafka)] {
                if let Some(value) = value {
                    l7[key] = value;
                }
            }
            json!({"Type": "L7", "verdict": "FORWARDED", "event_type": {"type": 129}, "is_reply": kind == "RESPONSE", "l7": l7, "extensions": extensions})
        };
        found.push(with(&forward, message("REQUEST")));
        found.push(with(&reply, message("RESPONSE")));
    }
    found
}

/// The records of flows that all had the same outcome.
pub fn all_records(inventory: &Inventory, flows: &[Flow], outcome: Outcome) -> Vec<Record> {
    (0..).zip(flows).flat_map(|(second, flow)| records(inventory, flow, outcome, second)).collect()
}

/// Whether policies allow each flow. They must be valid, and nothing may be said against them.
#[track_caller]
pub fn verdicts(inventory: &Inventory, policies: &[&str], flows: &[Flow]) -> Vec<bool> {
    let mut read = Vec::new();
    for text in policies {
        let loaded = load(text, "suggested.yaml", &document::Options::default());
        let said: Vec<String> = loaded.diagnostics().map(ToString::to_string).collect();
        assert!(loaded.is_valid() && said.is_empty(), "{said:?}\n{text}");
        read.extend(loaded.policies);
    }
    let said: Vec<String> =
        policy::lint::lint(&read, &[], Some(inventory)).iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{said:?}\n{policies:?}");
    let file = |(number, text): (usize, &&str)| SourceFile {
        path: format!("{number}.yaml"),
        text: (*text).to_owned(),
    };
    let files: Vec<SourceFile> = policies.iter().enumerate().map(file).collect();
    let offline = Offline::new(inventory, &files, &Options::default());
    let verdicts = offline.verdicts(flows).expect("all ends exist");
    verdicts.verdicts.iter().map(|line| line.verdict == "allowed").collect()
}
