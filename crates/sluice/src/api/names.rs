//! Names for the numbers that the packet path writes: from one version of policy and ports, live, captured or replayed.

mod allowed;
#[cfg(test)]
pub(crate) mod tests;

use crate::config::Config;
use allowed::Allowed;
use datapath::Snapshot;
use flowlog::record::{Interface, ServiceRef, WorkloadRef, workload_of};
use flowlog::{Resolver, Workload};
use packet::{Addr, PortId};
use policy::engine::directory::WorkloadKind;
use policy::{Direction, EndpointId, Identity, Provenance, RuleId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What records say of the node itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Labels that the configuration gives it.
    pub labels: BTreeMap<String, String>,
}

impl NodeFacts {
    /// What the configuration says of the node of that name.
    #[must_use]
    pub fn new(name: &str, config: &Config) -> Self {
        Self {
            name: name.to_owned(),
            cluster: config.node.cluster.clone(),
            labels: config.node.labels.clone(),
        }
    }
}

/// What records of this node can say at all, for those who filter by it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Name of the cluster.
    pub cluster: String,
    /// Whether the node has labels.
    pub node_labels: bool,
    /// Whether any service has an address.
    pub services: bool,
    /// Whether it is known of any pod what it belongs to.
    pub workloads: bool,
}

/// Names from one version of policy and ports.
#[derive(Debug)]
pub struct Names {
    /// Policy and ports.
    pub snapshot: Arc<Snapshot>,
    /// Nanoseconds since 1970 at the worker's zero.
    origin: i128,
    node: Arc<NodeFacts>,
    /// Labels of the node, `key=value`, by key.
    node_labels: Vec<String>,
    allowed: Allowed,
}

impl Names {
    /// Names from `snapshot`, whose worker began to count at `origin`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(snapshot: &Arc<Snapshot>, origin: i128, node: &Arc<NodeFacts>) -> Self {
        let listed = snapshot.policy.directory().node_labels().iter();
        let mut labels: BTreeMap<&str, &str> = listed.map(|(key, value)| (&**key, &**value)).collect();
        labels.extend(node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let node_labels = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (snapshot, node) = (Arc::clone(snapshot), Arc::clone(node));
        Self { snapshot, origin, node, node_labels, allowed: Allowed::default() }
    }

    /// What records can say.
    #[must_use]
    pub fn known(&self) -> Known {
        let directory = self.snapshot.policy.directory();
        let belongs = |workload: &policy::engine::directory::Workload| {
            workload.kind == WorkloadKind::Pod
                && (directory.owner(&workload.namespace, &workload.name).is_some()
                    || workload_of(&workload.name).is_some())
        };
        Known {
            cluster: self.node.cluster.clone(),
            node_labels: !self.node_labels.is_empty(),
            services: directory.has_services(),
            workloads: directory.addresses().into_iter().any(|(_, workload)| belongs(workload)),
        }
    }

    /// A pod, with what it belongs to: as the inventory says it, else as its name gives it away.
    fn pod(&self, namespace: &Arc<str>, pod: &Arc<str>) -> Workload {
        let stated = self.snapshot.policy.directory().owner(namespace, pod);
        let stated =
            stated.map(|owner| WorkloadRef { name: owner.name.to_string(), kind: owner.kind.to_string() });
        let owner = stated.or_else(|| workload_of(pod));
        Workload {
            namespace: namespace.to_string(),
            pod_name: pod.to_string(),
            workloads: owner.into_iter().collect(),
            ..Workload::default()
        }
    }
}

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        let labels = self.snapshot.policy.directory().labels(identity);
        labels.map(|labels| labels.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    fn address(&self, addr: Addr) -> Option<Workload> {
        let found = self.snapshot.policy.directory().workload(addr)?;
        match found.kind {
            WorkloadKind::Pod => Some(self.pod(&found.namespace, &found.name)),
            WorkloadKind::Node | WorkloadKind::External => Some(Workload::default()),
        }
    }

    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let endpoint = self.snapshot.policy.endpoint(id)?;
        match endpoint.namespace.is_empty() {
            true => Some(Workload::default()),
            false => Some(self.pod(&endpoint.namespace, &endpoint.name)),
        }
    }

    fn rules(&self, rule: RuleId) -> Vec<Provenance> {
        self.snapshot.policy.rules.get(rule).to_vec()
    }

    fn wall_clock_offset_ns(&self) -> i128 {
        self.origin
    }

    fn node_name(&self) -> &str {
        &self.node.name
    }

    fn run_id(&self) -> u64 {
        u64::try_from(self.origin).unwrap_or_default()
    }

    fn cluster_name(&self) -> &str {
        &self.node.cluster
    }

    fn node_labels(&self) -> &[String] {
        &self.node_labels
    }

    fn service(&self, addr: Addr, protocol: u8, port: u16) -> Option<ServiceRef> {
        let (namespace, name) = self.snapshot.policy.directory().service(addr, protocol, port)?;
        Some(ServiceRef { name: name.to_string(), namespace: namespace.to_string() })
    }

    fn interface(&self, port: PortId) -> Option<Interface> {
        let port = self.snapshot.ports.get(port)?;
        Some(Interface { index: 0, name: port.name.clone() })
    }

    fn allowed_peers(&self, endpoint: EndpointId, direction: Direction) -> Vec<String> {
        self.allowed.peers(&self.snapshot.policy, endpoint, direction)
    }

    fn dns_names(&self, addr: Addr) -> Vec<String> {
        self.snapshot.policy.directory().dns_names(addr).map(ToString::to_string).collect()
    }
}
