//! What the workers have done, asked from each and summed up.

use crate::run::shared::Shared;
use anyhow::Result;
use datapath::fleet::{BUCKETS, Counters, Member};
use datapath::stats::Stats;
use datapath::worker::InspectionLoad;
use packet::IoStats;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the workers say about themselves.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Pipeline counters, summed up.
    pub stats: Stats,
    /// Backend counters, summed up.
    pub io: IoStats,
    /// Connections tracked now.
    pub connections: usize,
    /// What inspection holds.
    pub inspection: InspectionLoad,
    /// The most connections and undecided bytes that it may hold.
    pub inspection_max: (usize, usize),
    /// Chunks of packet memory: free, never used again, all.
    pub chunks: (usize, usize, usize),
    /// What each worker has done for the others, and how busy it is.
    pub workers: Vec<WorkerReport>,
}

/// One worker.
#[derive(Copy, Clone, Debug, Default)]
pub struct WorkerReport {
    /// Connections tracked now.
    pub connections: usize,
    /// Frames handed over and taken; nothing where it is the only one.
    pub handover: Counters,
    /// Buckets of flows that are its own.
    pub buckets: usize,
    /// Polls that found frames, polls that found none, sleeps, wakeups.
    pub polls: [u64; 4],
    /// Nanoseconds slept.
    pub slept: u64,
}

/// Asks the workers.
///
/// # Errors
/// When one does not answer.
pub fn report(shared: &Shared) -> Result<Report> {
    let parts = shared.workers.ask_each(|worker, _| {
        let (io, l7) = (worker.io().inner(), &worker.config().l7);
        let own = WorkerReport {
            connections: worker.conntrack().len(),
            handover: worker.member().map(Member::counters).unwrap_or_default(),
            buckets: worker.member().map_or(BUCKETS, Member::buckets),
            ..WorkerReport::default()
        };
        Report {
            stats: worker.stats().clone(),
            io: packet::PacketIo::stats(worker.io()),
            connections: worker.conntrack().len(),
            inspection: worker.inspection(),
            inspection_max: (l7.max_connections, l7.max_bytes),
            chunks: (io.free_chunks(), io.lost_chunks(), io.sizes().chunks as usize),
            workers: vec![own],
        }
    })?;
    let mut sum = Report::default();
    for (part, link) in parts.into_iter().zip(shared.workers.iter()) {
        sum.stats.merge(&part.stats);
        sum.io += part.io;
        sum.connections += part.connections;
        sum.inspection += part.inspection;
        let ((a, b), (c, d)) = (sum.inspection_max, part.inspection_max);
        sum.inspection_max = (a + c, b + d);
        let ((free, lost, all), more) = (sum.chunks, part.chunks);
        sum.chunks = (free + more.0, lost + more.1, all + more.2);
        let (load, number) = (link.load(), |counter: &AtomicU64| counter.load(Ordering::Relaxed));
        sum.workers.extend(part.workers.into_iter().map(|own| WorkerReport {
            polls: [&load.busy_polls, &load.idle_polls, &load.sleeps, &load.wakeups].map(number),
            slept: number(&load.slept_nanos),
            ..own
        }));
    }
    Ok(sum)
}
