//! IPv6 prefixes shorter than a host: one hash table per length in use, longest first.

use crate::identity::Identity;
use hashbrown::HashMap;

/// Tables by length, descending; at most 128.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefixes6 {
    lengths: Vec<Length>,
}

#[derive(Clone, Debug)]
struct Length {
    bits: u8,
    mask: u128,
    map: HashMap<u128, Identity, foldhash::fast::RandomState>,
}

impl Prefixes6 {
    pub(super) fn insert(&mut self, network: u128, bits: u8, identity: Identity) {
        let at = self.lengths.partition_point(|length| length.bits > bits);
        if self.lengths.get(at).is_none_or(|length| length.bits != bits) {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            self.lengths.insert(at, Length { bits, mask, map: HashMap::default() });
        }
        self.lengths[at].map.insert(network, identity);
    }

    #[inline]
    pub(super) fn get(&self, addr: u128) -> Option<Identity> {
        self.lengths.iter().find_map(|length| length.map.get(&(addr & length.mask)).copied())
    }
}
