//! Names for frames: from one version of policy and ports, live or replayed.

use datapath::Snapshot;
use flowlog::{Resolver, Workload};
use packet::Addr;
use policy::engine::directory::WorkloadKind;
use policy::{EndpointId, Identity, Provenance, RuleId};
use std::sync::Arc;

/// Names from the policy in force, for records of the flow log's shape.
#[derive(Clone, Debug)]
pub struct Names {
    /// Policy and ports.
    pub snapshot: Arc<Snapshot>,
    /// Nanoseconds since 1970 at the worker's zero.
    pub origin: i128,
    /// Name of the node.
    pub node: Arc<str>,
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
        &self.node
    }

    fn run_id(&self) -> u64 {
        u64::try_from(self.origin).unwrap_or_default()
    }

    fn dns_names(&self, addr: Addr) -> Vec<String> {
        self.snapshot.policy.directory().dns_names(addr).map(ToString::to_string).collect()
    }
}
