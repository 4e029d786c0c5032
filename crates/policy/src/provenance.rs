//! Which rule decided: names, files and lines behind small numbers that fit into a flow event.

use std::sync::Arc;

/// Names a set of rules in the [`RuleTable`]; 0 means "no rule" (nothing is enforced, or not a policy verdict).
///
/// A number keeps its meaning for the life of the process: tables only grow, so an event may be resolved against
/// a later snapshot than the one that made it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
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
    /// Blocks of [`BLOCK`] sets, so that a snapshot shares all but the last one with its predecessor.
    blocks: Vec<Arc<Vec<Arc<[Provenance]>>>>,
}

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

    /// The rules behind `id`; empty for [`RuleId::NONE`] and unknown numbers.
    #[must_use]
    pub fn get(&self, id: RuleId) -> &[Provenance] {
        let Some(at) = (id.0 as usize).checked_sub(1) else { return &[] };
        match self.blocks.get(at / BLOCK).and_then(|block| block.get(at % BLOCK)) {
            Some(set) => set,
            None => &[],
        }
    }

    pub(crate) fn push(&mut self, set: Arc<[Provenance]>) -> RuleId {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Arc::default());
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let last = self.blocks.last_mut().map(Arc::make_mut);
        let len = last.map_or(0, |block| {
            block.push(set);
            block.len()
        });
        RuleId((before + len) as u32)
    }
}
