//! What a record needs to know and an event does not carry.

use super::names::PolicyMatch;
use super::parts::{Interface, ServiceRef, WorkloadRef};
use packet::{Addr, PortId};
use policy::{Direction, EndpointId, Identity, Provenance, RuleId};

/// What runs behind an address or endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// Namespace; empty for what is not a pod.
    pub namespace: String,
    /// Name of the pod; empty for what is not a pod.
    pub pod_name: String,
    /// Labels with their source (`k8s:app=web`); empty: those of the identity are used.
    pub labels: Vec<String>,
    /// What owns the pod; empty: judged by the pod's name.
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
    /// Cluster of the pods; empty: not said.
    fn cluster_name(&self) -> &str {
        ""
    }
    /// Labels of this node, `key=value`.
    fn node_labels(&self) -> &[String] {
        &[]
    }
    /// The interface behind a port.
    fn interface(&self, port: PortId) -> Option<Interface> {
        let _ = port;
        None
    }
    /// The service that has this virtual address; protocol and port tell services apart that share it.
    fn service(&self, addr: Addr, protocol: u8, port: u16) -> Option<ServiceRef> {
        let _ = (addr, protocol, port);
        None
    }
    /// Whom the endpoint's policies allow in that direction, in words, a few of them: what a default deny would have let
    /// pass.
    fn allowed_peers(&self, endpoint: EndpointId, direction: Direction) -> Vec<String> {
        let _ = (endpoint, direction);
        Vec::new()
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

/// Letters and digits of the names that Kubernetes makes up.
const MADE_UP: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of the last part of a pod's made-up name.
const SUFFIX: usize = 5;

/// Lengths of the hash of a pod template, which stands before it.
const HASH: std::ops::RangeInclusive<usize> = 8..=10;

/// Longest ordinal of a stateful pod that is taken for one.
const ORDINAL: usize = 4;

/// The owner of a pod, as far as its name gives it away: `web-7d9c5b8f6-x2x4z` belongs to the Deployment `web`,
/// `db-0` to the StatefulSet `db`. Hubble asks the pod's owner references; the inventory may say the owner too.
#[must_use]
pub fn workload_of(pod: &str) -> Option<WorkloadRef> {
    let workload = |name: &str, kind: &str| WorkloadRef { name: name.to_owned(), kind: kind.to_owned() };
    let made_up = |text: &str| text.bytes().all(|b| MADE_UP.contains(&b));
    let (rest, last) = pod.rsplit_once('-').filter(|(rest, _)| !rest.is_empty())?;
    if (1..=ORDINAL).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_digit()) {
        return Some(workload(rest, "StatefulSet"));
    }
    let (name, hash) = rest.rsplit_once('-').filter(|(name, _)| !name.is_empty())?;
    let deployment = last.len() == SUFFIX && made_up(last) && HASH.contains(&hash.len()) && made_up(hash);
    deployment.then(|| workload(name, "Deployment"))
}

#[cfg(test)]
mod tests {
    use super::workload_of;

    #[test]
    fn owners_by_the_names_of_pods() {
        for (pod, owner) in [
            ("web-7d9c5b8f6-x2x4z", Some(("Deployment", "web"))),
            ("payments-api-5f6d7c8b9d-2kqpw", Some(("Deployment", "payments-api"))),
            ("db-0", Some(("StatefulSet", "db"))),
            ("kafka-broker-12", Some(("StatefulSet", "kafka-broker"))),
            ("frontend", None),
            ("api-server", None),
            ("web-7d9c5b8f6-x2x4", None),
            ("web-7d9c5b8f6-aeiou", None),
            ("agent-x2x4z", None),
            ("job-20251121", None),
            ("-0", None),
            ("-7d9c5b8f6-x2x4z", None),
            ("", None),
        ] {
            let found = workload_of(pod);
            assert_eq!(found.as_ref().map(|w| (w.kind.as_str(), w.name.as_str())), owner, "{pod}");
        }
    }
}
