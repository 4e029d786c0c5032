//! A hash table in pieces that versions share: a change copies the piece it falls into, not the table.
//!
//! The keys come from DNS answers, so the hash has a random seed.

use hashbrown::HashTable;
use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

/// Pieces; of 100,000 entries each holds some 800.
const SHARDS: usize = 128;

/// Bits of the hash that choose the piece: neither those that choose the bucket nor those kept as its tag.
const SHARD_SHIFT: u32 = 40;

type Shard<K, V> = HashTable<(K, V)>;

/// A map whose copies are cheap and share what did not change since.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    hasher: foldhash::fast::RandomState,
    shards: Arc<[Arc<Shard<K, V>>; SHARDS]>,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty: Arc<Shard<K, V>> = Arc::default();
        let shards = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
        Self { hasher: foldhash::fast::RandomState::default(), shards, len: 0 }
    }
}

fn place(hash: u64) -> usize {
    (hash >> SHARD_SHIFT) as usize % SHARDS
}

impl<K: Clone + Eq + Hash, V: Clone> Shards<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.shards[place(hash)].find(hash, |(own, _)| own.borrow() == key).map(|(_, value)| value)
    }

    /// The value to be changed; the piece around it is copied if another version still has it.
    pub(crate) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.shards[place(hash)].find(hash, |(own, _)| own.borrow() == key)?;
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[place(hash)]);
        shard.find_mut(hash, |(own, _)| own.borrow() == key).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let hash = self.hasher.hash_one(&key);
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[place(hash)]);
        match shard.find_mut(hash, |(own, _)| *own == key) {
            Some(entry) => entry.1 = value,
            None => {
                let hasher = &self.hasher;
                shard.insert_unique(hash, (key, value), |(own, _)| hasher.hash_one(own));
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.shards[place(hash)].find(hash, |(own, _)| own.borrow() == key)?;
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[place(hash)]);
        let entry = shard.find_entry(hash, |(own, _)| own.borrow() == key).ok()?;
        self.len -= 1;
        Some(entry.remove().0.1)
    }

    /// Entries in pieces that `other` does not share: all in which the two differ, and some in which they do not.
    pub(crate) fn apart<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a K, &'a V)> {
        let pieces = self.shards.iter().zip(other.shards.iter());
        let own = pieces.filter(|(own, other)| !Arc::ptr_eq(own, other)).flat_map(|(own, _)| own.iter());
        own.map(|(key, value)| (key, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn versions_are_maps_that_do_not_see_each_other(
            changes in proptest::collection::vec((0..300_u32, proptest::option::of(0..9_u8)), 0..400),
        ) {
            let (mut shards, mut model) = (Shards::default(), BTreeMap::new());
            let mut versions = Vec::new();
            for (at, (key, value)) in changes.into_iter().enumerate() {
                match value {
                    Some(value) => {
                        shards.insert(key, value);
                        model.insert(key, value);
                    }
                    None => prop_assert_eq!(shards.remove(&key), model.remove(&key)),
                }
                if at % 7 == 0 {
                    versions.push((shards.clone(), model.clone()));
                }
            }
            let latest = shards.clone();
            prop_assert_eq!(latest.apart(&shards).count(), 0);
            versions.push((shards, model));
            for (shards, model) in versions {
                prop_assert_eq!(shards.len(), model.len());
                let apart: BTreeMap<u32, u8> = shards.apart(&latest).map(|(key, value)| (*key, *value)).collect();
                let same = |key, value| latest.get(key) == Some(value) || apart.get(key) == Some(value);
                prop_assert!(model.iter().all(|(key, value)| same(key, value)));
                prop_assert!(apart.iter().all(|(key, value)| model.get(key) == Some(value)));
                let all: BTreeMap<u32, u8> = shards.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert!((0..300).all(|key| shards.get(&key) == model.get(&key)));
            }
        }
    }
}
