//! Names for numbers: what the flow log and the command line show.

mod services;

use super::Map;
use crate::fqdn::shards::Shards;
use crate::identity::Identity;
use crate::inventory::{Inventory, Owner, PlainLabels};
use crate::label::LabelSet;
use packet::Addr;
use services::Services;
use std::sync::Arc;

/// Who has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Which sort of workload.
    pub kind: WorkloadKind,
    /// Namespace of a pod; empty otherwise.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The node it runs on; for a node itself its name; empty outside the cluster.
    pub node: Arc<str>,
    /// Security labels.
    pub labels: LabelSet,
    /// Its identity.
    pub identity: Identity,
}

/// Sorts of workloads.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum WorkloadKind {
    /// A pod.
    Pod,
    /// A node.
    Node,
    /// A named peer outside the cluster.
    External,
}

/// Identities and addresses in use, with names.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub(crate) identities: Arc<Map<Identity, LabelSet>>,
    pub(crate) workloads: Arc<Map<Addr, Arc<Workload>>>,
    /// Names that the inventory gives.
    pub(crate) dns_names: Arc<Map<Addr, Vec<Arc<str>>>>,
    /// Identities of addresses from DNS answers, with the number of these addresses.
    pub(crate) learnt: Shards<Identity, (u32, LabelSet)>,
    /// Names that DNS answers gave, the latest last.
    pub(crate) names: Shards<Addr, Arc<Vec<Arc<str>>>>,
    /// What no rule looks at.
    pub(crate) shown: Arc<Shown>,
}

/// What the inventory says for people only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    services: Services,
    /// What pods belong to, by namespace and name.
    owners: Map<(Arc<str>, Arc<str>), Owner>,
    /// Of this node.
    node_labels: PlainLabels,
}

impl Shown {
    pub(crate) fn new(inventory: &Inventory, node: &str) -> Self {
        let owner = |pod: &crate::inventory::Pod| {
            let name = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
            Some((name, pod.workload.clone()?))
        };
        let nodes = inventory.nodes.iter().filter(|listed| *listed.name == *node);
        Self {
            services: Services::new(&inventory.services),
            owners: inventory.pods.iter().filter_map(owner).collect(),
            node_labels: nodes.flat_map(|node| node.labels.iter().cloned()).collect(),
        }
    }
}

/// Names shown of one address: behind a large provider's there may be thousands.
const MAX_SHOWN: usize = 16;

impl Directory {
    /// The labels of an identity.
    #[must_use]
    pub fn labels(&self, identity: Identity) -> Option<&LabelSet> {
        self.identities.get(&identity).or_else(|| self.learnt.get(&identity).map(|(_, labels)| labels))
    }

    /// Who has an address.
    #[must_use]
    pub fn workload(&self, addr: Addr) -> Option<&Workload> {
        self.workloads.get(&addr).map(|workload| &**workload)
    }

    /// Whether a pod or a node has an address, so that no DNS answer gives it another identity.
    #[must_use]
    pub(crate) fn is_managed(&self, addr: Addr) -> bool {
        self.workload(addr).is_some_and(|workload| workload.kind != WorkloadKind::External)
    }

    /// Names of an address: those of the inventory, then those that DNS answers gave, the latest first; no more than a
    /// reader can use.
    pub fn dns_names(&self, addr: Addr) -> impl Iterator<Item = &Arc<str>> {
        let listed = self.dns_names.get(&addr).into_iter().flatten();
        let learnt = self.names.get(&addr).into_iter().flat_map(|names| names.iter().rev());
        listed.chain(learnt).take(MAX_SHOWN)
    }

    /// Namespace and name of the service that has this virtual address and, of several, this port of this protocol.
    /// The addresses of its backends are not its own.
    #[must_use]
    pub fn service(&self, addr: Addr, protocol: u8, port: u16) -> Option<(&Arc<str>, &Arc<str>)> {
        self.shown.services.get(addr, protocol, port)
    }

    /// Whether any service has an address.
    #[must_use]
    pub fn has_services(&self) -> bool {
        !self.shown.services.is_empty()
    }

    /// What a pod belongs to, where the inventory says it.
    #[must_use]
    pub fn owner(&self, namespace: &Arc<str>, pod: &Arc<str>) -> Option<&Owner> {
        self.shown.owners.get(&(Arc::clone(namespace), Arc::clone(pod)))
    }

    /// Labels of this node.
    #[must_use]
    pub fn node_labels(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.shown.node_labels
    }

    /// Every identity in use with its labels, by number.
    #[must_use]
    pub fn identities(&self) -> Vec<(Identity, &LabelSet)> {
        let learnt = self.learnt.iter().filter(|(identity, _)| !self.identities.contains_key(*identity));
        let learnt = learnt.map(|(identity, (_, labels))| (identity, labels));
        let mut list: Vec<_> =
            self.identities.iter().chain(learnt).map(|(id, labels)| (*id, labels)).collect();
        list.sort_unstable_by_key(|(identity, _)| *identity);
        list
    }

    /// Pods with an address whose labels have a number of this node only, because the cluster's range is used up.
    #[must_use]
    pub fn pods_beyond_range(&self) -> usize {
        let beyond = |workload: &&Arc<Workload>| {
            workload.kind == WorkloadKind::Pod && super::population::beyond_range(workload.identity)
        };
        let pods = self.workloads.values().filter(beyond);
        pods.map(|pod| (&pod.namespace, &pod.name)).collect::<super::Set<_>>().len()
    }

    /// Every address with a workload, by address.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Addr, &Workload)> {
        let mut list: Vec<_> = self.workloads.iter().map(|(addr, workload)| (*addr, &**workload)).collect();
        list.sort_unstable_by_key(|(addr, _)| *addr);
        list
    }
}
