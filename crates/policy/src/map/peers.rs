//! Peer identity → class: a flat open-addressing table of eight-byte slots.
//!
//! Identities are numbers we hand out, so no one can aim at collisions and a multiplicative hash suffices. At most
//! four fifths of the slots are taken, as memory costs more than a longer search; a slot with peer 0 is free, because 0
//! is not a peer.

use crate::identity::Identity;

/// 2^32 divided by the golden ratio (Knuth, TAOCP vol. 3 §6.4).
const GOLDEN: u32 = 0x9e37_79b9;

#[derive(Copy, Clone, Debug, Default)]
struct Slot {
    peer: u32,
    class: u32,
}

/// Classes of the peers that have one of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerTable {
    slots: Vec<Slot>,
    len: usize,
    shift: u32,
}

impl PeerTable {
    pub(crate) fn with_capacity(peers: usize) -> Self {
        if peers == 0 {
            return Self::default();
        }
        let slots = (peers * 5 / 4 + 1).next_power_of_two().max(4);
        Self { slots: vec![Slot::default(); slots], len: 0, shift: 32 - slots.trailing_zeros() }
    }

    /// The class of `peer`; 0, the class of all others, if it has none of its own.
    #[inline]
    pub(crate) fn class(&self, peer: Identity) -> u32 {
        if self.slots.is_empty() {
            return 0;
        }
        let mask = self.slots.len() - 1;
        let mut at = (peer.0.wrapping_mul(GOLDEN) >> self.shift) as usize;
        loop {
            let slot = self.slots[at & mask];
            if slot.peer == peer.0 || slot.peer == 0 {
                return slot.class;
            }
            at += 1;
        }
    }

    /// Puts `peer` into `class`; identity 0 is no peer and is ignored.
    pub(crate) fn insert(&mut self, peer: Identity, class: u32) {
        if peer.0 == 0 {
            return;
        }
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            let mut larger = Self::with_capacity((self.len + 1).max(self.slots.len()));
            for slot in self.slots.iter().filter(|slot| slot.peer != 0) {
                larger.insert(Identity(slot.peer), slot.class);
            }
            *self = larger;
        }
        let mask = self.slots.len() - 1;
        let mut at = (peer.0.wrapping_mul(GOLDEN) >> self.shift) as usize;
        while self.slots[at & mask].peer != 0 && self.slots[at & mask].peer != peer.0 {
            at += 1;
        }
        let slot = &mut self.slots[at & mask];
        self.len += usize::from(slot.peer == 0);
        *slot = Slot { peer: peer.0, class };
    }

    /// The same table without some peers, given in ascending order.
    pub(crate) fn without(&self, gone: &[Identity]) -> Self {
        let mut table = Self::with_capacity(self.len);
        for slot in self
            .slots
            .iter()
            .filter(|slot| slot.class != 0 && gone.binary_search(&Identity(slot.peer)).is_err())
        {
            table.insert(Identity(slot.peer), slot.class);
        }
        table
    }

    /// Peers and their classes, by number.
    pub(crate) fn sorted(&self) -> Vec<(Identity, u32)> {
        let mut peers: Vec<_> =
            self.slots.iter().filter(|s| s.peer != 0).map(|s| (Identity(s.peer), s.class)).collect();
        peers.sort_unstable();
        peers
    }

    pub(crate) fn heap_size(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}
