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

/// Numbers that may be known beside those in use before the others are forgotten.
const SPARE: usize = 4096;

/// Label sets and their numbers. A number that is no longer used stays with its labels until its range is full or the
/// table has grown too large; it is given to other labels only after all others of its range.
#[derive(Clone, Debug)]
pub(crate) struct IdentityTable {
    by_labels: Map<LabelSet, Identity>,
    by_number: Map<Identity, LabelSet>,
    cluster: Range,
    local: Range,
}

/// The numbers of one scope.
#[derive(Clone, Debug)]
struct Range {
    first: u32,
    last: u32,
    /// Where to look for a free one first.
    next: u32,
    /// How many are given out.
    taken: u32,
}

impl Range {
    const fn new(first: u32, last: u32) -> Self {
        Self { first, last, next: first, taken: 0 }
    }

    const fn contains(&self, identity: Identity) -> bool {
        self.first <= identity.0 && identity.0 <= self.last
    }

    /// A number that is not in use, if there is one.
    fn free(&mut self, is_taken: impl Fn(Identity) -> bool) -> Option<Identity> {
        if self.taken > self.last - self.first {
            return None;
        }
        for _ in self.first..=self.last {
            let identity = Identity(self.next);
            self.next = if self.next >= self.last { self.first } else { self.next + 1 };
            if !is_taken(identity) {
                return Some(identity);
            }
        }
        None
    }
}

impl Default for IdentityTable {
    fn default() -> Self {
        let mut table = Self {
            by_labels: Map::default(),
            by_number: Map::default(),
            cluster: Range::new(Identity::FIRST_CLUSTER.0, LAST_CLUSTER),
            local: Range::new(Identity::FIRST_NODE_LOCAL.0, LAST_NODE_LOCAL),
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
            let identity = Identity(*number);
            let known = self.by_labels.contains_key(&labels) || self.by_number.contains_key(&identity);
            let Some(range) = self.range(identity).filter(|_| !known) else { continue };
            range.next = if *number >= range.last { range.first } else { range.next.max(number + 1) };
            self.set(identity, labels);
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
        let known = self.by_labels.get(labels).copied();
        // Labels that had to take a number of the node may get one of the cluster later.
        if let Some(identity) = known.filter(|id| scope == Scope::NodeLocal || !self.local.contains(*id)) {
            return Some(identity);
        }
        let well_known = (scope == Scope::Cluster).then(|| well_known::number(labels)).flatten();
        if let Some(identity) = well_known.filter(|identity| !self.by_number.contains_key(identity)) {
            self.set(identity, labels.clone());
            return Some(identity);
        }
        let range = match scope {
            Scope::Cluster => &mut self.cluster,
            Scope::NodeLocal => &mut self.local,
        };
        let identity = range.free(|identity| self.by_number.contains_key(&identity))?;
        self.set(identity, labels.clone());
        Some(identity)
    }

    /// Whether so many numbers are known, of which `used` are in use, that the others should be forgotten.
    pub(crate) fn is_large(&self, used: usize) -> bool {
        self.by_number.len() > 2 * used + SPARE
    }

    /// Forgets every allocated number that `used` does not hold.
    pub(crate) fn compact(&mut self, used: impl Fn(Identity) -> bool) {
        let kept = |identity: &Identity| identity.0 < Identity::FIRST_CLUSTER.0 || used(*identity);
        self.by_number.retain(|identity, _| kept(identity));
        self.by_labels.retain(|_, identity| kept(identity));
        for range in [&mut self.cluster, &mut self.local] {
            let taken = self.by_number.keys().filter(|identity| range.contains(**identity)).count();
            range.taken = u32::try_from(taken).unwrap_or(u32::MAX);
        }
    }

    fn range(&mut self, identity: Identity) -> Option<&mut Range> {
        [&mut self.cluster, &mut self.local].into_iter().find(|range| range.contains(identity))
    }

    /// Forgets a number. It is given out again only after all others of its range.
    pub(crate) fn forget(&mut self, identity: Identity) {
        if let Some(labels) = self.by_number.remove(&identity) {
            self.by_labels.remove(&labels);
            if let Some(range) = self.range(identity) {
                range.taken -= 1;
            }
        }
    }

    /// Gives a reserved number other labels (the node's own, where it serves the Kubernetes API).
    pub(crate) fn set(&mut self, identity: Identity, labels: LabelSet) {
        match self.by_number.insert(identity, labels.clone()) {
            Some(old) => {
                self.by_labels.remove(&old);
            }
            None => {
                if let Some(range) = self.range(identity) {
                    range.taken += 1;
                }
            }
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

    #[test]
    fn labels_without_a_number_of_the_cluster_get_one_later() {
        let mut table = IdentityTable::default();
        let late = labels("k8s:n=late");
        let local = table.allocate(&late, Scope::NodeLocal);
        assert_eq!(local, Some(Identity(16_777_217)));
        assert_eq!(table.allocate(&late, Scope::Cluster), Some(Identity(256)));
        assert_eq!(table.allocate(&late, Scope::NodeLocal), Some(Identity(256)));
    }

    #[test]
    fn a_number_that_became_free_is_given_last() {
        let mut table = IdentityTable::default();
        for n in 0..100 {
            table.allocate(&labels(&format!("cidr:10.0.{n}.0/24")), Scope::NodeLocal);
        }
        table.forget(Identity(16_777_217));
        assert_eq!(table.local.taken, 99);
        table.compact(|_| false);
        let next = table.allocate(&labels("cidr:10.1.0.0/24"), Scope::NodeLocal);
        assert_eq!(next, Some(Identity(16_777_217 + 100)), "who still holds the old one must not mean this");
        assert!(!table.is_large(10) && table.local.taken == 1);
    }
}
