//! Names for numbers: what the flow log and the command line show.

use super::Map;
use crate::identity::Identity;
use crate::label::LabelSet;
use packet::Addr;
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
    pub(crate) identities: Map<Identity, LabelSet>,
    pub(crate) workloads: Map<Addr, Arc<Workload>>,
    pub(crate) dns_names: Map<Addr, Vec<Arc<str>>>,
}

impl Directory {
    /// The labels of an identity.
    #[must_use]
    pub fn labels(&self, identity: Identity) -> Option<&LabelSet> {
        self.identities.get(&identity)
    }

    /// Who has an address.
    #[must_use]
    pub fn workload(&self, addr: Addr) -> Option<&Workload> {
        self.workloads.get(&addr).map(|workload| &**workload)
    }

    /// Names that DNS answers gave for an address.
    #[must_use]
    pub fn dns_names(&self, addr: Addr) -> &[Arc<str>] {
        self.dns_names.get(&addr).map_or(&[], |names| names)
    }

    /// Every identity in use with its labels, by number.
    #[must_use]
    pub fn identities(&self) -> Vec<(Identity, &LabelSet)> {
        let mut list: Vec<_> = self.identities.iter().map(|(identity, labels)| (*identity, labels)).collect();
        list.sort_unstable_by_key(|(identity, _)| *identity);
        list
    }

    /// Every address with a workload, by address.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Addr, &Workload)> {
        let mut list: Vec<_> = self.workloads.iter().map(|(addr, workload)| (*addr, &**workload)).collect();
        list.sort_unstable_by_key(|(addr, _)| *addr);
        list
    }
}
