//! The testbed as an inventory file: namespaces, the node, and every pod with the host end of its veth pair.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;

use super::{TestBed, node};

/// The name of the node in the inventory.
pub const NODE_NAME: &str = "testbed-node";
/// The host's address towards its pods, as seen by a pod that the kubelet probes.
pub const HOST_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 244, 1, 1);
/// See [`HOST_V4`].
pub const HOST_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 1);

#[derive(Serialize)]
struct Inventory<'a> {
    namespaces: Vec<Namespace<'a>>,
    nodes: Vec<Node>,
    pods: Vec<Pod<'a>>,
}

#[derive(Serialize)]
struct Namespace<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Node {
    name: &'static str,
    ips: Vec<IpAddr>,
}

#[derive(Serialize)]
struct Pod<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    node: &'static str,
    ips: [IpAddr; 2],
    interface: &'a str,
}

/// The inventory of the pods that exist now.
pub(super) fn to_yaml(bed: &TestBed) -> Result<String> {
    let namespaces: BTreeSet<&str> = bed.pods().iter().map(|pod| pod.spec().namespace.as_str()).collect();
    let mut ips: Vec<IpAddr> = vec![HOST_V4.into(), HOST_V6.into()];
    if bed.outside().is_some() {
        ips.extend([IpAddr::from(node::NODE_V4), IpAddr::from(node::NODE_V6)]);
    }
    let inventory = Inventory {
        namespaces: namespaces.into_iter().map(|name| Namespace { name }).collect(),
        nodes: vec![Node { name: NODE_NAME, ips }],
        pods: bed
            .pods()
            .iter()
            .map(|pod| Pod {
                name: &pod.spec().name,
                namespace: &pod.spec().namespace,
                labels: pod.spec().labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
                node: NODE_NAME,
                ips: [pod.ipv4().into(), pod.ipv6().into()],
                interface: pod.interface(),
            })
            .collect(),
    };
    Ok(serde_yaml::to_string(&inventory)?)
}
