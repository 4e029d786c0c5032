//! Names for the numbers that the packet path writes: from one version of policy and ports, live, captured or replayed.

mod allowed;

use crate::config::Config;
use allowed::Allowed;
use datapath::Snapshot;
use flowlog::record::Interface;
use flowlog::{Resolver, Workload};
use packet::{Addr, PortId};
use policy::engine::directory::WorkloadKind;
use policy::{Direction, EndpointId, Identity, Provenance, RuleId};
use std::sync::Arc;

/// What records say of the node itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Name of its cluster.
    pub cluster: String,
}

impl NodeFacts {
    /// What the configuration says of the node of that name.
    #[must_use]
    pub fn new(name: &str, config: &Config) -> Self {
        Self { name: name.to_owned(), cluster: config.node.cluster.clone() }
    }
}

/// Names from one version of policy and ports.
#[derive(Debug)]
pub struct Names {
    /// Policy and ports.
    pub snapshot: Arc<Snapshot>,
    /// Nanoseconds since 1970 at the worker's zero.
    origin: i128,
    node: Arc<NodeFacts>,
    allowed: Allowed,
}

impl Names {
    /// Names from `snapshot`, whose worker began to count at `origin`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(snapshot: &Arc<Snapshot>, origin: i128, node: &Arc<NodeFacts>) -> Self {
        let (snapshot, node) = (Arc::clone(snapshot), Arc::clone(node));
        Self { snapshot, origin, node, allowed: Allowed::default() }
    }
}

impl Resolver for Names {
    fn labels(&self, identity: Identity) -> Vec<String> {
        let labels = self.snapshot.policy.directory().labels(identity);
        labels.map(|labels| labels.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    fn address(&self, addr: Addr) -> Option<Workload> {
        let found = self.snapshot.policy.directory().workload(addr)?;
        let pod = found.kind == WorkloadKind::Pod;
        Some(Workload {
            namespace: if pod { found.namespace.to_string() } else { String::new() },
            pod_name: if pod { found.name.to_string() } else { String::new() },
            ..Workload::default()
        })
    }

    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let endpoint = self.snapshot.policy.endpoint(id)?;
        Some(Workload {
            namespace: endpoint.namespace.to_string(),
            pod_name: if endpoint.namespace.is_empty() { String::new() } else { endpoint.name.to_string() },
            ..Workload::default()
        })
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
