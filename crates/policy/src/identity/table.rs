//! Numbers for label sets: the same labels always get the same number, across restarts too.

use super::{Identity, well_known};
use crate::label::{Label, LabelSet};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Last identity of the cluster-local range.
const LAST_CLUSTER: u32 = 65_535;
/// Last identity of the node-local range.
const LAST_NODE_LOCAL: u32 = 0x01ff_ffff;

/// What survives a restart: every number handed out and its labels.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityState {
    /// Numbers with their labels as text, ascending.
    pub identities: Vec<(u32, Vec<String>)>,
}

/// Which range a number comes from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// 256–65535, for pods.
    Cluster,
    /// From 16777217, for addresses outside.
    NodeLocal,
}

/// Label sets and their numbers. A number that is no longer used stays with its labels until its range is full.
#[derive(Clone, Debug)]
pub(crate) struct IdentityTable {
    by_labels: Map<LabelSet, Identity>,
    by_number: Map<Identity, LabelSet>,
    next_cluster: u32,
    next_local: u32,
}

impl Default for IdentityTable {
    fn default() -> Self {
        let mut table = Self {
            by_labels: Map::default(),
            by_number: Map::default(),
            next_cluster: Identity::FIRST_CLUSTER.0,
            next_local: Identity::FIRST_NODE_LOCAL.0,
        };
        for number in 1..=10 {
            let identity = Identity(number);
            let mut names: Vec<&str> = identity.reserved_name().into_iter().collect();
            if identity == Identity::KUBE_APISERVER {
                names.push("remote-node");
            }
            table.set(identity, names.into_iter().map(Label::reserved).collect());
        }
        table
    }
}

impl IdentityTable {
    /// Restores numbers; entries outside both ranges, and labels seen twice, are left out.
    pub(crate) fn import(&mut self, state: &IdentityState) {
        for (number, labels) in &state.identities {
            let labels: LabelSet = labels.iter().map(|text| Label::parse(text)).collect();
            let cluster = (Identity::FIRST_CLUSTER.0..=LAST_CLUSTER).contains(number);
            let local = (Identity::FIRST_NODE_LOCAL.0..=LAST_NODE_LOCAL).contains(number);
            let known =
                self.by_labels.contains_key(&labels) || self.by_number.contains_key(&Identity(*number));
            if known || !(cluster || local) {
                continue;
            }
            if cluster {
                self.next_cluster = self.next_cluster.max(number + 1);
            } else {
                self.next_local = self.next_local.max(number + 1);
            }
            self.set(Identity(*number), labels);
        }
    }

    pub(crate) fn export(&self) -> IdentityState {
        let mut identities: Vec<(u32, Vec<String>)> = self
            .by_number
            .iter()
            .filter(|(identity, _)| identity.0 >= Identity::FIRST_CLUSTER.0)
            .map(|(identity, labels)| (identity.0, labels.iter().map(ToString::to_string).collect()))
            .collect();
        identities.sort_unstable();
        IdentityState { identities }
    }

    /// The number of these labels, a new one if they have none; `None` when the range is used up.
    pub(crate) fn allocate(&mut self, labels: &LabelSet, scope: Scope) -> Option<Identity> {
        if let Some(&identity) = self.by_labels.get(labels) {
            return Some(identity);
        }
        let well_known = (scope == Scope::Cluster).then(|| well_known::number(labels)).flatten();
        if let Some(identity) = well_known.filter(|identity| !self.by_number.contains_key(identity)) {
            self.set(identity, labels.clone());
            return Some(identity);
        }
        let (next, last) = match scope {
            Scope::Cluster => (&mut self.next_cluster, LAST_CLUSTER),
            Scope::NodeLocal => (&mut self.next_local, LAST_NODE_LOCAL),
        };
        while *next <= last && self.by_number.contains_key(&Identity(*next)) {
            *next += 1;
        }
        if *next > last {
            return None;
        }
        let identity = Identity(*next);
        *next += 1;
        self.set(identity, labels.clone());
        Some(identity)
    }

    /// Forgets every allocated number that `used` does not hold; the lowest free ones are given next.
    pub(crate) fn compact(&mut self, used: impl Fn(Identity) -> bool) {
        self.by_number.retain(|identity, _| identity.0 < Identity::FIRST_CLUSTER.0 || used(*identity));
        self.by_labels.retain(|_, identity| identity.0 < Identity::FIRST_CLUSTER.0 || used(*identity));
        self.next_cluster = Identity::FIRST_CLUSTER.0;
        self.next_local = Identity::FIRST_NODE_LOCAL.0;
    }

    /// Forgets a number. It is given out again only after all others of its range.
    pub(crate) fn forget(&mut self, identity: Identity) {
        if let Some(labels) = self.by_number.remove(&identity) {
            self.by_labels.remove(&labels);
        }
    }

    /// Gives a reserved number other labels (the node's own, where it serves the Kubernetes API).
    pub(crate) fn set(&mut self, identity: Identity, labels: LabelSet) {
        if let Some(old) = self.by_number.insert(identity, labels.clone()) {
            self.by_labels.remove(&old);
        }
        self.by_labels.insert(labels, identity);
    }

    pub(crate) fn labels(&self, identity: Identity) -> Option<&LabelSet> {
        self.by_number.get(&identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> LabelSet {
        LabelSet::new([Label::parse(text)])
    }

    #[test]
    fn numbers_survive_a_restart() {
        let mut before = IdentityTable::default();
        let web = before.allocate(&labels("k8s:app=web"), Scope::Cluster);
        let net = before.allocate(&labels("cidr:2001:db8::/32"), Scope::NodeLocal);
        assert_eq!((web, net), (Some(Identity(256)), Some(Identity(16_777_217))));
        let mut after = IdentityTable::default();
        after.import(&before.export());
        assert_eq!(after.allocate(&labels("k8s:app=new"), Scope::Cluster), Some(Identity(257)));
        assert_eq!(after.allocate(&labels("k8s:app=web"), Scope::Cluster), web);
        assert_eq!(after.allocate(&labels("cidr:2001:db8::/32"), Scope::NodeLocal), net);
    }

    #[test]
    fn a_foreign_or_repeated_number_is_not_restored() {
        let mut table = IdentityTable::default();
        let own = |text: &str| vec![text.to_owned()];
        table.import(&IdentityState {
            identities: vec![
                (1, own("k8s:a=1")),
                (70_000, own("k8s:b=1")),
                (300, own("k8s:c=1")),
                (301, own("k8s:c=1")),
            ],
        });
        assert_eq!(table.labels(Identity::HOST), Some(&labels("reserved:host")));
        assert_eq!(table.labels(Identity(70_000)), None);
        assert_eq!(table.labels(Identity(301)), None);
        assert_eq!(table.allocate(&labels("k8s:c=1"), Scope::Cluster), Some(Identity(300)));
    }

    #[test]
    fn a_full_range_says_so_and_can_be_compacted() {
        let mut table = IdentityTable::default();
        for n in 256..=LAST_CLUSTER {
            assert!(table.allocate(&labels(&format!("k8s:n={n}")), Scope::Cluster).is_some());
        }
        assert_eq!(table.allocate(&labels("k8s:n=more"), Scope::Cluster), None);
        table.compact(|identity| identity.0 < 1_000 || identity.0 == LAST_CLUSTER);
        assert_eq!(table.allocate(&labels("k8s:n=more"), Scope::Cluster), Some(Identity(1_000)));
    }
}
