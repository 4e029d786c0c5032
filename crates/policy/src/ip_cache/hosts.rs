//! Host addresses in hash tables with a random seed: the addresses looked up come from the network.

use crate::identity::Identity;
use hashbrown::HashMap;

/// IPv4 hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts4 {
    map: HashMap<u32, Identity, foldhash::fast::RandomState>,
}

impl Hosts4 {
    pub(super) fn insert(&mut self, addr: u32, identity: Identity) {
        self.map.insert(addr, identity);
    }

    pub(super) fn remove(&mut self, addr: u32) {
        self.map.remove(&addr);
    }

    #[inline]
    pub(super) fn get(&self, addr: u32) -> Option<Identity> {
        self.map.get(&addr).copied()
    }
}

/// IPv6 hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts6 {
    map: HashMap<u128, Identity, foldhash::fast::RandomState>,
}

impl Hosts6 {
    pub(super) fn insert(&mut self, addr: u128, identity: Identity) {
        self.map.insert(addr, identity);
    }

    pub(super) fn remove(&mut self, addr: u128) {
        self.map.remove(&addr);
    }

    #[inline]
    pub(super) fn get(&self, addr: u128) -> Option<Identity> {
        self.map.get(&addr).copied()
    }
}
