//! The last records, resolved once for all browsers.

use flowlog::Record;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records kept: at about 2 KB each some 8 MB.
pub(crate) const CAPACITY: usize = 4096;

/// A ring of numbered records.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    records: VecDeque<Arc<Record>>,
    /// Number of the first one.
    first: u64,
}

impl Recent {
    pub(crate) fn push(&mut self, record: Arc<Record>) {
        if self.records.len() == CAPACITY {
            self.records.pop_front();
            self.first += 1;
        }
        self.records.push_back(record);
    }

    /// The number that the next record gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Records from number `seq` on, oldest first, and how many of those asked for are gone.
    pub(crate) fn since(&self, seq: u64) -> (Vec<(u64, Arc<Record>)>, u64) {
        let lost = self.first.saturating_sub(seq);
        let start = seq.max(self.first);
        let skip = usize::try_from(start - self.first).unwrap_or(usize::MAX);
        let numbered = (start..).zip(self.records.iter().skip(skip));
        (numbered.map(|(seq, record)| (seq, Arc::clone(record))).collect(), lost)
    }

    pub(crate) fn find(&self, uuid: &str) -> Option<Arc<Record>> {
        self.records.iter().rev().find(|record| record.uuid == uuid).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: usize) -> Arc<Record> {
        Arc::new(Record { uuid: n.to_string(), ..Record::default() })
    }

    #[test]
    fn the_oldest_give_way_and_readers_are_told() {
        let mut recent = Recent::default();
        for n in 0..CAPACITY + 3 {
            recent.push(record(n));
        }
        assert_eq!(recent.end(), CAPACITY as u64 + 3);
        let (all, lost) = recent.since(0);
        assert_eq!((all.len(), lost, all[0].0), (CAPACITY, 3, 3));
        let (last, lost) = recent.since(CAPACITY as u64 + 2);
        assert_eq!((last.len(), lost, last[0].1.uuid.as_str()), (1, 0, "4098"));
        assert_eq!(recent.since(recent.end()), (Vec::new(), 0));
        assert!(recent.find("2").is_none());
        assert_eq!(recent.find("3").map(|r| r.uuid.clone()).as_deref(), Some("3"));
    }
}
