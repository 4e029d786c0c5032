//! Counters: plain numbers owned by a worker, published to readers by copying.

use flowlog::DropReason;
use packet::PortId;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most ports a worker counts for; port numbers at or above it share the last slot.
pub const MAX_PORTS: usize = 1024;

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
    /// Per port, by number.
    pub ports: Vec<PortStats>,
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
            ports: vec![PortStats::default(); MAX_PORTS],
        }
    }
}

impl Stats {
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
    /// Nanoseconds of the worker's clock at its last poll: the heartbeat.
    pub last_poll: AtomicU64,
}

impl SharedLoad {
    /// Adds without the cost of a read-modify-write: there is one writer.
    pub fn bump(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}
