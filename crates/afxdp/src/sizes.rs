//! How much memory and how long the rings, from the number of ports.

/// Bytes of one chunk; also the largest the kernel takes for a UMEM in aligned mode on 4 KiB pages.
pub const CHUNK_SIZE: u32 = 4096;
/// Chunks that neither receiving nor any port's transmissions can take: bursts in hand, held frames, answers.
const RESERVE: u32 = 1024;
/// Ring length by the largest number of ports it serves. A TCP sender's burst while the worker transmits fits in
/// 2,048 (with 1,024 some percent of a bulk transfer were lost on a busy machine); each row stays within 256 MiB;
/// 256 entries are four bursts, or fifteen frames of 65,000 bytes.
const RINGS: [(u32, u32); 4] = [(4, 2048), (16, 1024), (40, 512), (124, 256)];
/// Ports that memory is reserved for; with more, they share it.
const MAX_PORTS: u32 = 250;
/// Ring length on larger nodes.
const MIN_RING: u32 = 128;

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
    /// For at most `ports` ports at a time, within 256 MiB. More still work, but then share what there is.
    #[must_use]
    pub fn for_ports(ports: usize) -> Self {
        let ports = u32::try_from(ports).unwrap_or(u32::MAX).clamp(2, MAX_PORTS);
        let ring = RINGS.iter().find(|(most, _)| ports <= *most).map_or(MIN_RING, |(_, ring)| *ring);
        Self { ring, reserve: RESERVE, chunks: 2 * ring * ports + RESERVE }
    }

    /// Of one of several workers that divide that many ports among them, all within the same memory but for the reserve.
    #[must_use]
    pub fn for_share(ports: usize, workers: usize) -> Self {
        let (all, workers) = (Self::for_ports(ports), u32::try_from(workers).unwrap_or(u32::MAX).max(1));
        let rings = (all.chunks - all.reserve) / (2 * all.ring);
        Self { chunks: 2 * all.ring * rings.div_ceil(workers) + all.reserve, ..all }
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
            let ports = (ports as u32).min(MAX_PORTS);
            assert!(sizes.chunks >= ports * 2 * sizes.ring + RESERVE, "{ports} ports: {sizes:?}");
            assert!(sizes.bytes() <= 256 << 20, "{ports} ports: {sizes:?}");
        }
    }

    #[test]
    fn a_full_node_fits_in_256_mib() {
        let sizes = Sizes::for_ports(111);
        assert!(sizes.bytes() <= 256 << 20, "{sizes:?}");
        assert!(sizes.ring >= 256, "110 pods and the host port still have rings of four bursts");
    }

    #[test]
    fn workers_divide_the_ports() {
        for ports in [16, 45, 111, 250] {
            let all = Sizes::for_ports(ports);
            assert_eq!(Sizes::for_share(ports, 1), all);
            for workers in [2, 3, 32] {
                let each = Sizes::for_share(ports, workers);
                let own = ports.div_ceil(workers) as u32;
                assert_eq!((each.ring, each.reserve), (all.ring, all.reserve));
                assert!(each.chunks >= own * 2 * each.ring + each.reserve, "{ports} by {workers}: {each:?}");
                let most = all.bytes() + workers * (RESERVE + 2 * all.ring) as usize * CHUNK_SIZE as usize;
                assert!(each.bytes() * workers <= most, "{ports} by {workers}: {each:?}");
            }
        }
    }

    #[test]
    fn two_ports_need_little() {
        assert_eq!(Sizes::for_ports(2), Sizes { ring: 2048, reserve: 1024, chunks: 9216 });
    }
}
