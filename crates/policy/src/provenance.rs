//! Which rule decided: names, files and lines behind small numbers that fit into a flow event.

use std::sync::Arc;

/// Names a set of rules in the [`RuleTable`]; 0 means "no rule" (nothing is enforced, or not a policy verdict).
///
/// A number is never given twice, so an event may be resolved against a later snapshot than the one that made it. What
/// no map names any more is still known for a while: until two sweeps later, with as many new sets between them as were
/// in use.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RuleId(pub u32);

impl RuleId {
    /// No rule.
    pub const NONE: Self = Self(0);
}

/// Where a rule stands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Provenance {
    /// `CiliumNetworkPolicy`, `NetworkPolicy`, …
    pub kind: String,
    /// Namespace, empty for clusterwide policies.
    pub namespace: String,
    /// Name of the policy.
    pub name: String,
    /// File as given to the loader.
    pub file: String,
    /// Line of the rule in that file, from 1.
    pub line: u32,
}

/// What each [`RuleId`] stands for: the rules that together made an entry (an allow may come from several), or,
/// for a default deny, the policies that switched it on.
#[derive(Clone, Debug, Default)]
pub struct RuleTable {
    /// Blocks of at most [`BLOCK`] sets, ascending by number, so that a snapshot shares all but the last one with its
    /// predecessor.
    blocks: Vec<Arc<Vec<Set>>>,
    /// The last number given out.
    last: u32,
}

/// A set of rules and its number.
type Set = (RuleId, Arc<[Provenance]>);

/// Sets per block of a [`RuleTable`].
const BLOCK: usize = 1024;

impl RuleTable {
    /// Builds a table whose `n`-th set is `RuleId(n + 1)`.
    #[must_use]
    pub fn new(sets: Vec<Arc<[Provenance]>>) -> Self {
        let mut table = Self::default();
        for set in sets {
            table.push(set);
        }
        table
    }

    /// The rules behind `id`; empty for [`RuleId::NONE`] and for numbers that nothing uses any more.
    #[must_use]
    pub fn get(&self, id: RuleId) -> &[Provenance] {
        let after = self.blocks.partition_point(|block| block.first().is_some_and(|(first, _)| *first <= id));
        let Some(block) = after.checked_sub(1).and_then(|at| self.blocks.get(at)) else { return &[] };
        match block.binary_search_by_key(&id, |(number, _)| *number) {
            Ok(at) => block.get(at).map_or(&[], |(_, set)| set),
            Err(_) => &[],
        }
    }

    /// How many sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Adds a set. Once four thousand million numbers are used up, a set has none: what it names is not told.
    pub(crate) fn push(&mut self, set: Arc<[Provenance]>) -> RuleId {
        let Some(number) = self.last.checked_add(1) else { return RuleId::NONE };
        self.last = number;
        if self.blocks.last().is_none_or(|block| block.len() >= BLOCK) {
            self.blocks.push(Arc::default());
        }
        if let Some(block) = self.blocks.last_mut() {
            Arc::make_mut(block).push((RuleId(number), set));
        }
        RuleId(number)
    }

    /// Forgets the sets that `kept` does not hold; their numbers are not given again.
    pub(crate) fn retain(&mut self, kept: impl Fn(RuleId) -> bool) {
        let sets: Vec<Set> =
            self.blocks.iter().flat_map(|block| block.iter()).filter(|(id, _)| kept(*id)).cloned().collect();
        self.blocks = sets.chunks(BLOCK).map(|block| Arc::new(block.to_vec())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(line: u32) -> Arc<[Provenance]> {
        let text = String::new;
        [Provenance { kind: text(), namespace: text(), name: text(), file: text(), line }].into()
    }

    #[test]
    fn numbers_keep_their_meaning_and_are_not_given_again() {
        let mut table = RuleTable::new((0..3_000).map(rule).collect());
        let before = table.clone();
        table.retain(|id| id.0 % 100 == 0);
        assert_eq!((table.len(), before.len()), (30, 3_000));
        assert_eq!(table.get(RuleId(700))[0].line, 699);
        assert!(table.get(RuleId(701)).is_empty() && table.get(RuleId::NONE).is_empty());
        assert_eq!(before.get(RuleId(701))[0].line, 700, "older snapshots know what they knew");
        assert_eq!(table.push(rule(7)), RuleId(3_001));
        assert_eq!(table.get(RuleId(3_001))[0].line, 7);
        assert!(table.get(RuleId(3_002)).is_empty());
        table.retain(|_| false);
        assert!(table.is_empty() && table.get(RuleId(1)).is_empty());
    }
}
