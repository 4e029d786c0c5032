//! IPv4 prefixes shorter than a host, cut into disjoint ranges.
//!
//! The upper 16 bits of an address lead to the ranges that begin in its /16, which are searched by bisection: at
//! most 16 steps, in practice two or three.

use crate::identity::Identity;

/// Ranges below which the whole list is searched without an index: an index is 256 KiB.
const INDEXED_FROM: usize = 64;

/// Disjoint ranges in ascending order; the first begins at 0.0.0.0.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges4 {
    starts: Vec<u32>,
    /// Identity of each range; 0 where no prefix covers it.
    identities: Vec<Identity>,
    /// For each /16 the number of the range that holds its first address, and one more at the end.
    index: Vec<u32>,
}

impl Ranges4 {
    /// From `(network, length, identity)`; of equal prefixes the last one counts.
    pub(super) fn new(mut prefixes: Vec<(u32, u8, Identity)>) -> Self {
        if prefixes.is_empty() {
            return Self::default();
        }
        // Outer prefixes before those inside them; the sort is stable, so the last of equal ones stays last.
        prefixes.sort_by_key(|&(network, bits, _)| (network, bits));
        let mut ranges = Self { starts: vec![0], identities: vec![Identity::UNKNOWN], index: Vec::new() };
        let mut open: Vec<(u32, Identity)> = Vec::new();
        for (network, bits, identity) in prefixes {
            let last = network | (u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0));
            ranges.close(&mut open, network);
            ranges.begin(network, identity);
            open.push((last, identity));
        }
        ranges.close(&mut open, u32::MAX);
        ranges.build_index();
        ranges
    }

    /// Ends the open prefixes that end before `next`, innermost first.
    fn close(&mut self, open: &mut Vec<(u32, Identity)>, next: u32) {
        while let Some(&(last, _)) = open.last() {
            if last >= next {
                return;
            }
            open.pop();
            let outer = open.last().map_or(Identity::UNKNOWN, |&(_, identity)| identity);
            self.begin(last + 1, outer);
        }
    }

    fn begin(&mut self, start: u32, identity: Identity) {
        match (self.starts.last(), self.identities.last_mut()) {
            (Some(&last), Some(current)) if last == start => *current = identity,
            _ => {
                self.starts.push(start);
                self.identities.push(identity);
            }
        }
    }

    fn build_index(&mut self) {
        self.starts.shrink_to_fit();
        self.identities.shrink_to_fit();
        if self.starts.len() < INDEXED_FROM {
            return;
        }
        let mut at = 0;
        self.index = Vec::with_capacity((1 << 16) + 1);
        for high in 0..1u32 << 16 {
            while self.starts.get(at + 1).is_some_and(|&start| start <= high << 16) {
                at += 1;
            }
            self.index.push(at as u32);
        }
        self.index.push(self.starts.len() as u32 - 1);
    }

    #[inline]
    pub(super) fn get(&self, addr: u32) -> Option<Identity> {
        let high = (addr >> 16) as usize;
        let (from, to) = match (self.index.get(high), self.index.get(high + 1)) {
            (Some(&from), Some(&to)) => (from as usize, to as usize + 1),
            _ => (0, self.starts.len()),
        };
        let within = self.starts.get(from..to)?.partition_point(|&start| start <= addr);
        let identity = *self.identities.get((from + within).checked_sub(1)?)?;
        (identity != Identity::UNKNOWN).then_some(identity)
    }
}
