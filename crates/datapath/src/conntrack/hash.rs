//! The hash of a flow: keyed, the same for both of its directions.
//!
//! Whoever sends packets chooses the keys, so the hash must not let him choose the buckets. A flow is a vector of 64-bit
//! words m, the key a vector of 128-bit words k, and the hash
//!
//! ```text
//! h = (k0 + k1*m1 + k2*m2 + ... mod 2^128) >> 64      then      (h ^ h >> 32) * a, its low half ^ its high half
//! ```
//!
//! The sum is the multilinear family of Carter and Wegman in the form of Lemire and Kaser ("Strongly universal string
//! hashing is fast", The Computer Journal 57, 2014): for random k and any two flows chosen beforehand, each pair of values
//! is equally likely, so whatever bits the table takes as bucket and tag, two flows share n of them with probability
//! 2^-n. Flows of both families lie in one vector space: IPv4 fills two coordinates, IPv6 five others. The multiplication
//! behind it adds 2^-64 to that and breaks the linearity: without it, ports that count upwards would fall on a lattice,
//! which some keys fold into few buckets.
//!
//! What this is not: a pseudo-random function. SipHash-1-3, which stood here before, is (nearly) one and cost 25 to 36 ns
//! of a budget of 100; this costs about 3. The difference is open to somebody who can *observe* hashes. He cannot read
//! them: they never leave the worker. He could time his packets and learn that two of his flows probe the same group; that
//! is a difference of some nanoseconds behind a queue, a burst of 64 and a scheduler, repeated for every bit he wants. If
//! he succeeds, what he gains is bounded: the table is at most 4/7 full, a port holds at most its share of it, half of what
//! he could collide is evicted by his own limit on half-open flows, and the seed is drawn anew at each start. The 64 bits of seed are expanded by splitmix64, so the guarantee is that of 64 random bits, not of 1024.

use packet::FlowKey;

/// The key of the hash.
#[derive(Copy, Clone)]
pub(crate) struct FlowHasher {
    offset: u128,
    v4: [u128; 2],
    v6: [u128; 5],
    last: u64,
}

impl core::fmt::Debug for FlowHasher {
    /// Says nothing about the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FlowHasher")
    }
}

impl FlowHasher {
    /// Expands one secret (splitmix64).
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut word = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut wide = || u128::from(word()) << 64 | u128::from(word());
        Self {
            offset: wide(),
            v4: core::array::from_fn(|_| wide()),
            v6: core::array::from_fn(|_| wide()),
            last: word() | 1,
        }
    }

    /// The hash of `key` and of `key.reversed()`.
    #[inline(always)]
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        let proto = u64::from(key.proto);
        let sum = match (key.src.as_v4(), key.dst.as_v4()) {
            (Some(src), Some(dst)) => {
                let a = u64::from(src) << 16 | u64::from(key.src_port);
                let b = u64::from(dst) << 16 | u64::from(key.dst_port);
                self.sum(&self.v4, &[a.min(b), a.max(b) | proto << 48])
            }
            _ => {
                let (low, _) = key.canonical();
                let ports = u64::from(low.src_port) << 16 | u64::from(low.dst_port);
                let halves = |addr: packet::Addr| [(addr.0 >> 64) as u64, addr.0 as u64];
                let ([a, b], [c, d]) = (halves(low.src), halves(low.dst));
                self.sum(&self.v6, &[a, b, c, d, ports << 8 | proto])
            }
        };
        let product = u128::from(sum ^ sum >> 32) * u128::from(self.last);
        product as u64 ^ (product >> 64) as u64
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, keys: &[u128; N], words: &[u64; N]) -> u64 {
        let mut sum = self.offset;
        for (key, word) in keys.iter().zip(words) {
            sum = sum.wrapping_add(key.wrapping_mul(u128::from(*word)));
        }
        (sum >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Addr;

    fn v4(src: u32, src_port: u16, dst: u32, dst_port: u16) -> FlowKey {
        let addr = |bits: u32| Addr::v4(bits.to_be_bytes());
        FlowKey { src: addr(src), dst: addr(dst), src_port, dst_port, proto: 6 }
    }

    #[test]
    fn both_directions_hash_alike_and_seeds_differ() {
        let four = v4(0x0a00_0001, 4000, 0x0a00_0002, 80);
        let six = FlowKey { src: Addr(1 << 120 | 7), dst: Addr(1 << 120 | 9), ..four };
        let mixed = FlowKey { dst: four.dst, ..six };
        let hasher = FlowHasher::new(7);
        for key in [four, six, mixed] {
            assert_eq!(hasher.hash(&key), hasher.hash(&key.reversed()));
            assert_ne!(hasher.hash(&key), FlowHasher::new(8).hash(&key));
            assert_ne!(hasher.hash(&key), hasher.hash(&FlowKey { proto: 17, ..key }));
            assert_ne!(hasher.hash(&key), hasher.hash(&FlowKey { src_port: 4001, ..key }));
            assert_ne!(hasher.hash(&key), hasher.hash(&FlowKey { src_port: 80, dst_port: 4000, ..key }));
        }
        assert_ne!(hasher.hash(&four), hasher.hash(&six));
    }

    /// Key sets as clients and scanners make them, under many seeds: the fullest of 4096 buckets, taken from either end of
    /// the hash, holds about what chance gives (mean 16, and for a Poisson variable 60 has odds of 1e-16).
    #[test]
    fn patterns_spread_over_buckets() {
        let sets: [fn(u32) -> FlowKey; 5] = [
            |i| v4(0x0a00_0001, i as u16, 0x0a00_0002, 80),
            |i| v4(0x0a00_0000 + i, 4000, 0x0a64_0002, 80),
            |i| v4(0x0a00_0001, 4000, 0x0a00_0000 + (i << 8), 80),
            |i| v4(0x0a00_0000 + (i & 0xff), (i >> 8) as u16, 0x0b00_0000, 80),
            |i| FlowKey { src: Addr(0xfd << 120 | u128::from(i)), ..v4(0, 1, 2, 3) },
        ];
        for seed in 0..50 {
            let hasher = FlowHasher::new(seed);
            for (n, set) in sets.iter().enumerate() {
                let mut buckets = [[0u32; 4096]; 2];
                for i in 0..1 << 16 {
                    let hash = hasher.hash(&set(i));
                    buckets[0][(hash & 4095) as usize] += 1;
                    buckets[1][(hash >> 52) as usize] += 1;
                }
                let fullest = buckets.as_flattened().iter().max();
                assert!(fullest < Some(&60), "seed {seed}, set {n}: {fullest:?}");
            }
        }
    }
}
