//! How much memory and how long the rings, from the number of ports.

/// Bytes of one chunk; also the largest the kernel takes for a UMEM in aligned mode on 4 KiB pages.
pub const CHUNK_SIZE: u32 = 4096;
/// Chunks that neither receiving nor any port's transmissions can take: bursts in hand, held frames, answers.
const RESERVE: u32 = 1024;
/// Longest ring: what one port needs to ride out a scheduling gap at full rate.
const MAX_RING: u32 = 1024;
/// Shortest ring: two bursts, or seven frames of 65,000 bytes.
const MIN_RING: u32 = 128;
/// Ring entries of all ports together in one direction: 110 ports then fit in 256 MiB.
const RING_BUDGET: u32 = 32 << 10;

/// Ring lengths and memory of one worker.
///
/// Every port may hold `ring` chunks for receiving and `ring` chunks in transmission; with `reserve` on top, the
/// memory covers the worst case of all ports at once, so no port can starve another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Entries of each of a port's four rings; also its fill quota and its cap of frames in transmission.
    pub ring: u32,
    /// Chunks beyond what rings can take.
    pub reserve: u32,
    /// Chunks in all.
    pub chunks: u32,
}

impl Sizes {
    /// For at most `ports` ports at a time. More still work, but then share what there is.
    #[must_use]
    pub fn for_ports(ports: usize) -> Self {
        let ports = u32::try_from(ports).unwrap_or(u32::MAX).clamp(1, RING_BUDGET / MIN_RING);
        let share = RING_BUDGET / ports;
        let ring = (1 << share.ilog2()).clamp(MIN_RING, MAX_RING);
        Self { ring, reserve: RESERVE, chunks: 2 * ring * ports.max(2) + RESERVE }
    }

    /// Bytes of packet memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks as usize * CHUNK_SIZE as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_and_memory_covers_the_worst_case() {
        for ports in 0..=300 {
            let sizes = Sizes::for_ports(ports);
            assert!(sizes.ring.is_power_of_two());
            let ports = (ports as u32).clamp(1, RING_BUDGET / MIN_RING);
            assert!(sizes.chunks >= ports * 2 * sizes.ring + RESERVE, "{ports} ports: {sizes:?}");
        }
    }

    #[test]
    fn a_full_node_fits_in_256_mib() {
        let sizes = Sizes::for_ports(111);
        assert!(sizes.bytes() <= 256 << 20, "{sizes:?}");
        assert!(sizes.ring >= 256, "110 pods and the host port still have rings of four bursts");
    }

    #[test]
    fn two_ports_need_little() {
        assert_eq!(Sizes::for_ports(2), Sizes { ring: 1024, reserve: 1024, chunks: 5120 });
    }
}
