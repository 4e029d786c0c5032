//! What a record needs to know and an event does not carry.

use super::names::PolicyMatch;
use super::parts::WorkloadRef;
use packet::Addr;
use policy::{EndpointId, Identity, Provenance, RuleId};

/// What runs behind an address or endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// Namespace; empty for what is not a pod.
    pub namespace: String,
    /// Name of the pod; empty for what is not a pod.
    pub pod_name: String,
    /// Labels with their source (`k8s:app=web`); empty: those of the identity are used.
    pub labels: Vec<String>,
    /// What owns the pod.
    pub workloads: Vec<WorkloadRef>,
}

/// Resolves numbers to names, off the hot path. Unknown numbers resolve to nothing; a record is made all the same.
pub trait Resolver {
    /// Labels of an identity, with their source.
    fn labels(&self, identity: Identity) -> Vec<String>;
    /// What has this address.
    fn address(&self, addr: Addr) -> Option<Workload>;
    /// A local endpoint.
    fn endpoint(&self, id: EndpointId) -> Option<Workload>;
    /// The rules behind a number: those that matched, or for a default deny the policies that switched it on.
    fn rules(&self, rule: RuleId) -> Vec<Provenance>;
    /// Nanoseconds since 1970 at the workers' [`Instant::ZERO`](packet::Instant::ZERO).
    fn wall_clock_offset_ns(&self) -> i128;
    /// Name of this node.
    fn node_name(&self) -> &str;
    /// Distinguishes this process's records from another's; any number that differs from run to run.
    fn run_id(&self) -> u64 {
        0
    }
    /// DNS names under which the address was looked up.
    fn dns_names(&self, addr: Addr) -> Vec<String> {
        let _ = addr;
        Vec::new()
    }
    /// What part of a policy entry matched; `None` lets the record judge by the verdict.
    fn policy_match(&self, rule: RuleId) -> Option<PolicyMatch> {
        let _ = rule;
        None
    }
}
