//! From a flow's hash to the number of its entry, in a hash table that grows with the connections.
//!
//! A table with room for all connections that there may be is megabytes long, and its buckets are taken at random: each of a
//! thousand connections has two cache lines of it for itself, one of control bytes and one with its number, as many as it has
//! of its own. In a table of two to four times as many buckets as entries four to eight share the one and sixteen to
//! thirty-two the other. So the index begins small and goes on in a table twice as large when a half is taken.
//!
//! Nobody waits for that: entries move a few at a time, in the order of their numbers, and until the last one has moved both
//! tables are asked. All tables are made at the start, so that no connection allocates; one that is empty is given back. The
//! index never shrinks: what many connections have made large stays as it is.

use hashbrown::HashTable;

/// Entries of the first table.
const LEAST: usize = 1_024;

/// Numbers looked at for each entry that is put in, and for each call of [`Index::go_on`]. Two were enough: a table is left
/// with as many numbers as the next one takes new entries before it is left, too.
const STEP: u32 = 8;

/// A table, and how many entries it takes before a larger one does.
#[derive(Debug)]
struct Stage {
    table: HashTable<u32>,
    entries: usize,
}

impl Stage {
    /// Half as much room again: at most 4/7 full, so erased slots become empty ones and are not left as tombstones.
    fn new(entries: usize) -> Self {
        Self { table: HashTable::with_capacity(entries + entries / 2), entries }
    }
}

/// The index. Whoever calls knows the hash of each entry by its number.
#[derive(Debug)]
pub(super) struct Index {
    now: Stage,
    /// What has not moved yet from the table before.
    former: HashTable<u32>,
    /// Numbers below it are not in `former`.
    next: u32,
    /// The larger ones, the largest first.
    larger: Vec<Stage>,
}

impl Index {
    /// Room for `max` entries.
    pub(super) fn new(max: usize) -> Self {
        let sizes = core::iter::successors(Some(max), |size| Some(size / 2).filter(|_| *size > LEAST));
        let mut larger: Vec<Stage> = sizes.map(Stage::new).collect();
        let now = larger.pop().unwrap_or_else(|| Stage::new(max));
        Self { now, former: HashTable::new(), next: 0, larger }
    }

    /// Number of entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.now.table.len() + self.former.len()
    }

    /// The first entry of that hash of which `read` makes something, and what it makes.
    #[inline(always)]
    pub(super) fn find<T>(&self, hash: u64, read: impl Fn(u32) -> Option<T>) -> Option<(u32, T)> {
        let found = find_in(&self.now.table, hash, &read);
        if found.is_none() && !self.former.is_empty() {
            return self.find_former(hash, read);
        }
        found
    }

    /// Apart, so that what [`find`](Self::find) reads does not go through memory.
    #[cold]
    #[inline(never)]
    fn find_former<T>(&self, hash: u64, read: impl Fn(u32) -> Option<T>) -> Option<(u32, T)> {
        find_in(&self.former, hash, &read)
    }

    /// Puts in an entry that is not there.
    pub(super) fn insert(&mut self, hash: u64, i: u32, hash_of: impl Fn(u32) -> Option<u64>) {
        self.go_on(&hash_of);
        if self.len() >= self.now.entries {
            self.grow(&hash_of);
        }
        // There is room, so that nothing is hashed again.
        self.now.table.insert_unique(hash, i, |&j| hash_of(j).unwrap_or_default());
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, i: u32) {
        for table in [&mut self.now.table, &mut self.former] {
            if let Ok(entry) = table.find_entry(hash, |&j| j == i) {
                entry.remove();
                return;
            }
        }
    }

    /// Moves some of the entries that have not moved yet. `hash_of` answers `None` beyond the last number.
    #[inline]
    pub(super) fn go_on(&mut self, hash_of: &impl Fn(u32) -> Option<u64>) {
        if !self.former.is_empty() {
            self.move_some(hash_of);
        }
    }

    #[cold]
    fn move_some(&mut self, hash_of: &impl Fn(u32) -> Option<u64>) {
        for i in self.next..self.next.saturating_add(STEP) {
            let Some(hash) = hash_of(i) else { break };
            if let Ok(entry) = self.former.find_entry(hash, |&j| j == i) {
                entry.remove();
                self.now.table.insert_unique(hash, i, |&j| hash_of(j).unwrap_or_default());
            }
        }
        self.next = self.next.saturating_add(STEP);
        if self.former.is_empty() {
            self.former = HashTable::new();
        }
    }

    /// Buckets of the largest table.
    #[cfg(test)]
    pub(super) fn most_buckets(&self) -> usize {
        self.larger.first().unwrap_or(&self.now).table.num_buckets()
    }

    /// Goes on in the next table, if there is one.
    #[cold]
    fn grow(&mut self, hash_of: &impl Fn(u32) -> Option<u64>) {
        let Some(larger) = self.larger.pop() else { return };
        // Over long ago, see `STEP`.
        while !self.former.is_empty() && hash_of(self.next).is_some() {
            self.move_some(hash_of);
        }
        debug_assert!(self.former.is_empty(), "each entry has a number, and each number was looked at");
        self.former = core::mem::replace(&mut self.now, larger).table;
        self.next = 0;
    }
}

#[inline(always)]
fn find_in<T>(table: &HashTable<u32>, hash: u64, read: &impl Fn(u32) -> Option<T>) -> Option<(u32, T)> {
    let mut made = None;
    let found = table.find(hash, |&i| {
        made = read(i);
        made.is_some()
    })?;
    Some((*found, made?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Entries by number, as the slab has them: a number's hash is that of its last entry.
    #[derive(Default)]
    struct Slab {
        hashes: Vec<u64>,
        free: Vec<u32>,
        live: BTreeMap<u32, u64>,
    }

    impl Slab {
        fn put(&mut self, index: &mut Index, hash: u64) -> u32 {
            let i = self.free.pop().unwrap_or(self.hashes.len() as u32);
            self.hashes.resize(self.hashes.len().max(i as usize + 1), 0);
            self.hashes[i as usize] = hash;
            index.insert(hash, i, |j| self.hashes.get(j as usize).copied());
            self.live.insert(i, hash);
            i
        }

        fn take(&mut self, index: &mut Index, i: u32) {
            if let Some(hash) = self.live.remove(&i) {
                index.remove(hash, i);
                self.free.push(i);
            }
        }

        fn check(&self, index: &Index) {
            assert_eq!(index.len(), self.live.len());
            for (i, hash) in &self.live {
                assert_eq!(index.find(*hash, |j| (j == *i).then_some(())), Some((*i, ())), "{i} of {hash:x}");
            }
        }
    }

    /// Far apart, as the table wants them.
    fn hash_of(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ n
    }

    #[test]
    fn grows_step_by_step_up_to_the_last_table_and_allocates_no_other() {
        let (mut index, mut slab) = (Index::new(10_000), Slab::default());
        let capacities: Vec<usize> = index.larger.iter().map(|stage| stage.table.capacity()).collect();
        assert_eq!(
            capacities,
            [14_336 * 2, 14_336, 14_336 / 2, 14_336 / 4],
            "of 10,000, 5,000, 2,500 and 1,250"
        );
        let mut two = 0;
        for n in 0..10_000 {
            slab.put(&mut index, hash_of(n));
            two += u32::from(!index.former.is_empty());
            for n in [0, n] {
                let is_n = |i: u32| (u64::from(i) == n).then_some(());
                assert_eq!(index.find(hash_of(n), is_n), Some((n as u32, ())));
            }
        }
        slab.check(&index);
        assert!((1_000..2_000).contains(&two), "an eighth of four tables' entries: {two}");
        assert!(index.larger.is_empty() && index.former.capacity() == 0, "what was left is given back");
        let buckets = index.now.table.num_buckets();
        for n in 0..100_000 {
            slab.take(&mut index, n % 10_000);
            slab.put(&mut index, hash_of(u64::from(n) << 20));
        }
        assert_eq!(index.now.table.num_buckets(), buckets, "nobody made it anew");
        slab.check(&index);
    }

    #[test]
    fn what_moves_is_found_and_can_be_taken_out_and_the_rest_moves_by_itself() {
        let (mut index, mut slab) = (Index::new(4_096), Slab::default());
        for n in 0..1_025 {
            slab.put(&mut index, hash_of(n));
        }
        assert_eq!(index.former.len(), 1_024, "the first of the next table");
        for i in [0, 1_000, 1_024] {
            slab.take(&mut index, i);
        }
        slab.check(&index);
        for left in (0..1_022_usize).rev().step_by(STEP as usize) {
            let before = index.former.len();
            index.go_on(&|j| slab.hashes.get(j as usize).copied());
            assert!(before - index.former.len() <= STEP as usize, "{left}");
            slab.check(&index);
        }
        assert!(index.former.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn holds_what_was_put_in_and_not_taken_out(
            steps in prop::collection::vec((0..4_u8, any::<u32>()), 1..200),
            max in 2_000..6_000_usize,
            alike in 1..u64::MAX,
        ) {
            let (mut index, mut slab) = (Index::new(max), Slab::default());
            let mut n = 0;
            for (kind, at) in steps {
                match kind {
                    // Many at a time, so that tables are left; some share their hash.
                    0 | 1 => {
                        for _ in 0..(at % 64).min((max - slab.live.len()) as u32) {
                            n += 1;
                            slab.put(&mut index, hash_of(n % alike));
                        }
                    }
                    2 => {
                        for k in 0..at % 48 {
                            let number = at.wrapping_add(k * 7) % (slab.hashes.len() as u32 + 1);
                            slab.take(&mut index, number);
                        }
                    }
                    _ => index.go_on(&|j| slab.hashes.get(j as usize).copied()),
                }
                prop_assert_eq!(index.len(), slab.live.len());
            }
            slab.check(&index);
        }
    }
}
