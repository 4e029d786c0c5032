//! Evidence: how often, from when to when, and a few examples; in memory that does not grow with the traffic.

use flowlog::record::Time;
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

/// Examples that are kept: the smallest, so that the order of the records does not matter.
const EXAMPLES: usize = 3;
/// Different texts up to which they are counted.
const COUNTED: usize = 1000;
/// Longest example, in bytes; longer ones are cut.
const MAX_EXAMPLE: usize = 120;

/// A few of many texts, and how many different ones there were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Few {
    examples: BTreeSet<String>,
    hashes: BTreeSet<u64>,
}

impl Few {
    /// Whether it takes more memory now.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let new = self.hashes.len() < COUNTED && self.hashes.insert(hasher.finish());
        let mut end = text.len().min(MAX_EXAMPLE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.examples.insert(text[..end].to_owned());
        if self.examples.len() > EXAMPLES {
            self.examples.pop_last();
        }
        new
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.examples.extend(other.examples.iter().cloned());
        while self.examples.len() > EXAMPLES {
            self.examples.pop_last();
        }
        for hash in &other.hashes {
            if self.hashes.len() < COUNTED {
                self.hashes.insert(*hash);
            }
        }
    }

    pub(crate) fn examples(&self) -> impl Iterator<Item = &str> {
        self.examples.iter().map(String::as_str)
    }

    /// How many different ones, in words.
    pub(crate) fn count(&self) -> String {
        if self.hashes.len() < COUNTED { self.hashes.len().to_string() } else { format!("{COUNTED} or more") }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// All of them, where there are so few.
    pub(crate) fn list(&self) -> String {
        let list = self.examples().collect::<Vec<_>>().join(", ");
        if self.len() > self.examples.len() { format!("{list}, … ({})", self.count()) } else { list }
    }
}

/// What speaks for a rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Evidence {
    /// Records.
    pub(crate) records: u64,
    /// Those of them that policy denied and audit mode let pass.
    pub(crate) audited: u64,
    /// Those of them that default deny refused.
    pub(crate) denied: u64,
    pub(crate) first: Option<Time>,
    pub(crate) last: Option<Time>,
    /// Pods or addresses on the other side.
    pub(crate) peers: Few,
}

impl Evidence {
    pub(crate) fn at(&mut self, time: Option<Time>) {
        self.records = self.records.saturating_add(1);
        self.first = [self.first, time].into_iter().flatten().min();
        self.last = self.last.max(time);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.audited = self.audited.saturating_add(other.audited);
        self.denied = self.denied.saturating_add(other.denied);
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.peers.merge(&other.peers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_memory_is_bounded() {
        let (mut up, mut down) = (Few::default(), Few::default());
        for n in 0..5000 {
            up.add(&format!("{n:04}"));
            down.add(&format!("{:04}", 4999 - n));
        }
        assert!(up.examples().eq(["0000", "0001", "0002"]) && down.examples().eq(up.examples()));
        assert_eq!((up.count(), up.len()), ("1000 or more".to_owned(), COUNTED));
        assert_eq!(up.list(), "0000, 0001, 0002, … (1000 or more)");
        let mut long = Few::default();
        long.add(&"é".repeat(500));
        assert_eq!(long.list().len(), MAX_EXAMPLE);
    }
}
