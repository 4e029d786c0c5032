//! The hash of a flow: SipHash-1-3 over the canonical five-tuple, keyed by the worker's seed.
//!
//! Whoever sends packets chooses the keys, so the hash must not let him choose the buckets: a keyed pseudo-random
//! function does, at some nanoseconds more than an unkeyed mixer. Both directions of a flow have one hash.

use packet::FlowKey;

/// Keys of the hash.
#[derive(Copy, Clone, Debug)]
pub(super) struct FlowHasher {
    k0: u64,
    k1: u64,
}

impl FlowHasher {
    /// Derives both keys from one secret (splitmix64, two steps).
    pub(super) const fn new(seed: u64) -> Self {
        Self { k0: mix(seed.wrapping_add(GAMMA)), k1: mix(seed.wrapping_add(GAMMA.wrapping_mul(2))) }
    }

    /// The hash of `key` and of `key.reversed()`.
    #[inline]
    pub(super) fn hash(&self, key: &FlowKey) -> u64 {
        let (key, _) = key.canonical();
        let ports = u64::from(key.src_port) << 16 | u64::from(key.dst_port);
        // The family in the last word keeps the two shapes apart, which the length does in the general function.
        let last = ports << 8 | u64::from(key.proto);
        let mut state = Sip::new(self.k0, self.k1);
        match (key.src.as_v4(), key.dst.as_v4()) {
            (Some(src), Some(dst)) => {
                state.absorb(u64::from(src) << 32 | u64::from(dst));
                state.absorb(4 << 56 | last);
            }
            _ => {
                state.absorb((key.src.0 >> 64) as u64);
                state.absorb(key.src.0 as u64);
                state.absorb((key.dst.0 >> 64) as u64);
                state.absorb(key.dst.0 as u64);
                state.absorb(6 << 56 | last);
            }
        }
        state.finish()
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The state of SipHash (Aumasson and Bernstein, 2012): one round a word, three to finish.
struct Sip {
    v: [u64; 4],
}

impl Sip {
    #[inline]
    const fn new(k0: u64, k1: u64) -> Self {
        // "somepseudorandomlygeneratedbytes", the constants of the function.
        Self {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.v[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.v;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Addr;
    use std::hash::Hasher;

    #[test]
    fn rounds_are_those_of_the_standard_library() {
        // DefaultHasher::new() is SipHash-1-3 with both keys zero; its last block holds the length.
        let mut theirs = std::hash::DefaultHasher::new();
        let mut ours = Sip::new(0, 0);
        for word in [1u64, 0x0123_4567_89ab_cdef, u64::MAX] {
            theirs.write_u64(word);
            ours.absorb(word);
        }
        ours.absorb(24 << 56);
        assert_eq!(ours.finish(), theirs.finish());
    }

    #[test]
    fn both_directions_hash_alike_and_seeds_differ() {
        let v4 = FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 4000,
            dst_port: 80,
            proto: 6,
        };
        let v6 = FlowKey { src: Addr(1 << 120 | 7), dst: Addr(1 << 120 | 9), ..v4 };
        let hasher = FlowHasher::new(7);
        for key in [v4, v6] {
            assert_eq!(hasher.hash(&key), hasher.hash(&key.reversed()));
            assert_ne!(hasher.hash(&key), FlowHasher::new(8).hash(&key));
        }
        assert_ne!(hasher.hash(&v4), hasher.hash(&v6));
    }
}
