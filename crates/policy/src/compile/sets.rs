//! Numbers for rule sets and L7 rule sets: equal sets get the same number, and a number is never used again.

use crate::l7::{FragmentRules, L7Fragment, L7Kind, L7RuleSet, L7Table};
use crate::provenance::{Provenance, RuleId, RuleTable};
use crate::verdict::L7RuleSetId;
use hashbrown::HashMap;
use std::sync::Arc;

/// Rules listed behind one [`RuleId`]; an entry that more rules agree on lists the first ones, so that a table that
/// only grows stays small.
const MAX_RULES_PER_SET: usize = 64;

/// L7 sets and fragments together below which nothing is swept.
const SWEEP_FROM: usize = 128;

/// New sets of rules and provenances together after which the old ones are swept, besides as many as are in use.
const SWEEP_RULES_FROM: usize = 4096;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What an L7 rule set is made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct L7SetKey {
    pub(crate) kind: L7Kind,
    /// Some rule without L7 conditions covers the same packets.
    pub(crate) allow_all: bool,
    /// Fragment numbers, ascending.
    pub(crate) allow: Vec<u32>,
    pub(crate) deny: Vec<u32>,
    /// Denied messages are let pass and marked.
    pub(crate) audit: bool,
}

/// Interned provenances, rule sets and L7 rule sets.
#[derive(Debug, Default)]
pub(crate) struct RuleSets {
    provenances: Map<u32, Provenance>,
    provenance_ids: Map<Provenance, u32>,
    next_provenance: u32,
    set_ids: Map<Box<[u32]>, RuleId>,
    table: RuleTable,
    fragments: Map<u32, Arc<L7Fragment>>,
    fragment_ids: Map<(FragmentRules, u32), u32>,
    next_fragment: u32,
    l7_ids: Map<(L7SetKey, RuleId), L7RuleSetId>,
    l7: L7Table,
    /// Sets and fragments that the last sweep left.
    kept: usize,
    /// Sets of rules that the last sweep found in nobody's use: the next one forgets them.
    retired: hashbrown::HashSet<RuleId, foldhash::fast::RandomState>,
    /// Sets of rules and provenances that the last sweep found in use.
    rules_used: usize,
    /// New ones since.
    rules_new: usize,
}

impl RuleSets {
    pub(crate) fn provenances(&mut self, of: &[Provenance]) -> Vec<u32> {
        of.iter().map(|provenance| self.provenance(provenance)).collect()
    }

    pub(crate) fn provenance(&mut self, provenance: &Provenance) -> u32 {
        if let Some(&id) = self.provenance_ids.get(provenance) {
            return id;
        }
        let id = self.next_provenance;
        self.next_provenance += 1;
        self.rules_new += 1;
        self.provenances.insert(id, provenance.clone());
        self.provenance_ids.insert(provenance.clone(), id);
        id
    }

    /// The number of a set of provenances, given in any order.
    pub(crate) fn set(&mut self, provenances: &[u32]) -> RuleId {
        if provenances.is_empty() {
            return RuleId::NONE;
        }
        let mut key = provenances.to_vec();
        key.sort_unstable();
        key.dedup();
        key.truncate(MAX_RULES_PER_SET);
        if let Some(&id) = self.set_ids.get(&key[..]) {
            return id;
        }
        let set = key.iter().filter_map(|id| self.provenances.get(id).cloned()).collect();
        let id = self.table.push(set);
        self.rules_new += 1;
        self.set_ids.insert(key.into(), id);
        id
    }

    /// The number of the L7 rules of one element, which stands at `rule`.
    pub(crate) fn fragment(&mut self, rules: FragmentRules, rule: u32) -> u32 {
        if let Some(&id) = self.fragment_ids.get(&(rules.clone(), rule)) {
            return id;
        }
        let id = self.next_fragment;
        self.next_fragment += 1;
        let fragment = L7Fragment { rule: self.set(&[rule]), rules: rules.clone() };
        self.fragments.insert(id, Arc::new(fragment));
        self.fragment_ids.insert((rules, rule), id);
        id
    }

    pub(crate) fn l7_set(&mut self, key: L7SetKey, rule: RuleId) -> L7RuleSetId {
        if let Some(&id) = self.l7_ids.get(&(key.clone(), rule)) {
            return id;
        }
        let resolve = |ids: &[u32]| ids.iter().filter_map(|id| self.fragments.get(id).cloned()).collect();
        let set =
            L7RuleSet::new(key.kind, key.allow_all, resolve(&key.allow), resolve(&key.deny), key.audit, rule);
        let id = self.l7.push(set);
        self.l7_ids.insert((key, rule), id);
        id
    }

    /// Whether L7 sets and fragments have grown so much since the last sweep that another one pays.
    pub(crate) fn sweep_is_due(&self) -> bool {
        self.l7.len() + self.fragments.len() > 2 * self.kept + SWEEP_FROM
    }

    /// Forgets the L7 sets and fragments that nothing uses any more; their numbers are not given again.
    pub(crate) fn sweep(&mut self, sets: impl Fn(L7RuleSetId) -> bool, fragments: impl Fn(u32) -> bool) {
        self.l7.retain(&sets);
        self.l7_ids.retain(|_, id| sets(*id));
        self.fragments.retain(|id, _| fragments(*id));
        self.fragment_ids.retain(|_, id| fragments(*id));
        self.kept = self.l7.len() + self.fragments.len();
    }

    /// The same for sets of rules and provenances.
    pub(crate) fn rules_sweep_is_due(&self) -> bool {
        self.rules_new > self.rules_used + SWEEP_RULES_FROM
    }

    /// Forgets the sets of rules that were not `used` at the last sweep either, and the provenances that are neither
    /// `named` by a rule in force nor in a set. L7 sets and fragments must have been swept before.
    pub(crate) fn sweep_rules(&mut self, used: impl Fn(RuleId) -> bool, named: impl Fn(u32) -> bool) {
        let of_fragments = self.fragments.values().map(|fragment| fragment.rule);
        let in_use: hashbrown::HashSet<RuleId, foldhash::fast::RandomState> =
            of_fragments.chain(self.l7_ids.keys().map(|(_, rule)| *rule)).collect();
        let used = |id: RuleId| used(id) || in_use.contains(&id);
        let retired = std::mem::take(&mut self.retired);
        let kept = |id: RuleId| used(id) || !retired.contains(&id);
        self.set_ids.retain(|_, id| kept(*id));
        self.table.retain(kept);
        self.retired = self.set_ids.values().copied().filter(|id| !used(*id)).collect();
        let of_sets: hashbrown::HashSet<u32, foldhash::fast::RandomState> =
            self.set_ids.keys().flatten().copied().collect();
        let of_fragments: hashbrown::HashSet<u32, foldhash::fast::RandomState> =
            self.fragment_ids.keys().map(|(_, rule)| *rule).collect();
        let known = |id: &u32| named(*id) || of_sets.contains(id) || of_fragments.contains(id);
        self.provenances.retain(|id, _| known(id));
        self.provenance_ids.retain(|_, id| known(id));
        self.set_ids.shrink_to_fit();
        self.provenances.shrink_to_fit();
        self.provenance_ids.shrink_to_fit();
        self.rules_used = self.table.len() - self.retired.len() + self.provenances.len();
        self.rules_new = 0;
    }

    pub(crate) fn table(&self) -> RuleTable {
        self.table.clone()
    }

    pub(crate) fn l7_table(&self) -> L7Table {
        self.l7.clone()
    }
}
