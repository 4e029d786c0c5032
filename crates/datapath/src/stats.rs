//! Counters: plain numbers owned by a worker, published to readers by copying.

use flowlog::DropReason;
use packet::{Frame, PortId};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most ports a worker counts for; port numbers at or above it share the last slot.
pub const MAX_PORTS: usize = 1024;

/// Observations by powers of two: slot `k` has those of at most `2^k`, the last slot all larger ones too.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Log2<const N: usize> {
    counts: [u64; N],
    sum: u64,
}

impl<const N: usize> Default for Log2<N> {
    fn default() -> Self {
        Self { counts: [0; N], sum: 0 }
    }
}

impl<const N: usize> Log2<N> {
    /// Adds `times` observations of `value`.
    #[inline]
    pub fn observe(&mut self, value: u64, times: u64) {
        let slot = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        if let Some(count) = self.counts.get_mut(slot.min(N.saturating_sub(1))) {
            *count += times;
        }
        self.sum = self.sum.wrapping_add(value.wrapping_mul(times));
    }

    /// Adds those of another.
    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Observations in each slot.
    #[must_use]
    pub const fn counts(&self) -> &[u64; N] {
        &self.counts
    }

    /// What was observed, summed up.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

/// Bursts that found frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct BurstStats {
    /// Frames in each: slots for 1 to 64.
    pub frames: Log2<7>,
    /// Nanoseconds that a burst took from before it was received until it was sent, of those that were timed.
    pub nanos: Log2<31>,
    /// The same divided by the burst's frames, once for each frame.
    pub frame_nanos: Log2<31>,
}

impl BurstStats {
    /// A burst was timed.
    pub fn timed(&mut self, frames: usize, nanos: u64) {
        let frames = frames.max(1) as u64;
        self.nanos.observe(nanos, 1);
        self.frame_nanos.observe(nanos / frames, frames);
    }
}

/// Frames and bytes of one port.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Frames that arrived.
    pub rx_frames: u64,
    /// Bytes that arrived.
    pub rx_bytes: u64,
    /// Frames put on the wire.
    pub tx_frames: u64,
    /// Bytes put on the wire.
    pub tx_bytes: u64,
    /// Frames from this port that were dropped.
    pub dropped: u64,
}

impl PortStats {
    /// One more frame arrived.
    #[inline(always)]
    pub(crate) fn arrived(&mut self, frame: &Frame) {
        self.rx_frames += 1;
        self.rx_bytes += frame.len() as u64;
    }
}

/// What a worker has done since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Frames that entered the pipeline.
    pub received: u64,
    /// Frames that were sent on.
    pub forwarded: u64,
    /// Frames consumed by an answer of our own (ARP, neighbour discovery) or by design (probes for us).
    pub answered: u64,
    /// Frames dropped, by [`DropReason::index`].
    pub dropped: [u64; DropReason::COUNT],
    /// Connections created.
    pub connections_opened: u64,
    /// Connections ended.
    pub connections_closed: u64,
    /// Connections judged again after a policy change.
    pub rejudged: u64,
    /// Frames made here: ICMP errors, resets, ARP and neighbour answers.
    pub generated: u64,
    /// How many frames came at a time, and how long they took.
    pub bursts: BurstStats,
    /// Per port, by number.
    pub ports: Box<[PortStats; MAX_PORTS]>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: 0,
            forwarded: 0,
            answered: 0,
            dropped: [0; DropReason::COUNT],
            connections_opened: 0,
            connections_closed: 0,
            rejudged: 0,
            generated: 0,
            bursts: BurstStats::default(),
            ports: Box::new([PortStats::default(); MAX_PORTS]),
        }
    }
}

impl Stats {
    /// Adds what another worker has done.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            received,
            forwarded,
            answered,
            dropped,
            connections_opened,
            connections_closed,
            rejudged,
            generated,
            bursts,
            ports,
        } = other;
        self.received += received;
        self.forwarded += forwarded;
        self.answered += answered;
        self.dropped.iter_mut().zip(dropped).for_each(|(count, more)| *count += more);
        self.connections_opened += connections_opened;
        self.connections_closed += connections_closed;
        self.rejudged += rejudged;
        self.generated += generated;
        self.bursts.frames.merge(&bursts.frames);
        self.bursts.nanos.merge(&bursts.nanos);
        self.bursts.frame_nanos.merge(&bursts.frame_nanos);
        for (port, more) in self.ports.iter_mut().zip(ports.iter()) {
            port.rx_frames += more.rx_frames;
            port.rx_bytes += more.rx_bytes;
            port.tx_frames += more.tx_frames;
            port.tx_bytes += more.tx_bytes;
            port.dropped += more.dropped;
        }
    }

    /// The counters of one port.
    pub fn port(&mut self, id: PortId) -> &mut PortStats {
        let slot = usize::from(id.0).min(MAX_PORTS - 1);
        &mut self.ports[slot]
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Frames dropped for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason.index()]
    }
}

/// What a poll did and how busy the worker is; read by the control thread while the worker runs.
#[derive(Debug, Default)]
pub struct SharedLoad {
    /// Polls that found frames.
    pub busy_polls: AtomicU64,
    /// Polls that found none.
    pub idle_polls: AtomicU64,
    /// Times the worker went to sleep.
    pub sleeps: AtomicU64,
    /// Times that something ended its sleep before the time was up.
    pub wakeups: AtomicU64,
    /// Nanoseconds it slept.
    pub slept_nanos: AtomicU64,
    /// Nanoseconds of the worker's clock at its last poll: the heartbeat.
    pub last_poll: AtomicU64,
}

impl SharedLoad {
    /// Adds without the cost of a read-modify-write: there is one writer.
    pub fn bump(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    /// The same for more than one.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_add_up() {
        let mut one = Stats { received: 1, forwarded: 2, answered: 3, rejudged: 4, ..Stats::default() };
        (one.connections_opened, one.connections_closed, one.generated) = (5, 6, 7);
        one.dropped[DropReason::HandoverFull.index()] = 8;
        one.bursts.frames.observe(9, 1);
        one.bursts.timed(2, 10);
        *one.port(PortId(3)) =
            PortStats { rx_frames: 11, rx_bytes: 12, tx_frames: 13, tx_bytes: 14, dropped: 15 };
        let mut sum = Stats::default();
        sum.merge(&one);
        assert_eq!(sum, one, "nothing is left out");
        sum.merge(&one);
        assert_eq!((sum.received, sum.dropped_total(), sum.bursts.nanos.sum()), (2, 16, 20));
        assert_eq!((sum.port(PortId(3)).dropped, sum.bursts.frames.counts()[4]), (30, 2));
    }

    #[test]
    fn powers_of_two_are_upper_bounds() {
        let mut log = Log2::<4>::default();
        for value in [0, 1, 2, 3, 4, 5, 8, 9, u64::MAX] {
            log.observe(value, 1);
        }
        assert_eq!(log.counts(), &[2, 1, 2, 4], "at most 1, 2, 4, and the rest");
        let mut bursts = BurstStats::default();
        bursts.timed(64, 6_400);
        bursts.timed(0, 3);
        assert_eq!((bursts.nanos.sum(), bursts.frame_nanos.sum()), (6_403, 6_403));
        assert_eq!((bursts.nanos.counts()[13], bursts.frame_nanos.counts()[7]), (1, 64));
        assert_eq!(bursts.frame_nanos.counts().iter().sum::<u64>(), 65);
    }
}
