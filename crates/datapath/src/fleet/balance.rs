//! Which bucket moves where, by the frames of each since the last time. Knows neither clock nor workers: who has both asks
//! now and then, and begins what it is told.
//!
//! The busiest worker gives, the least busy one takes, one bucket at a time: that which leaves the larger of the two with
//! the least. Nothing moves
//!
//! - while the busiest has little to do: nobody would notice;
//! - unless it has more than 1.25 times the mean: what is about even stays as it is;
//! - if it is no use: a bucket that is most of a worker's load stays, and the next busiest worker may give.
//!
//! A bucket that moved, or could not, rests; the more often, the longer.

use super::{BUCKETS, MAX_WORKERS};
use core::time::Duration;
use packet::Instant;

/// The busiest worker has more than 5/4 of the mean.
const UNEVEN: (u64, u64) = (5, 4);

/// How long a bucket rests at first, ...
const REST: Duration = Duration::from_secs(8);

/// ... and at most: twice as long each time, unless it was left alone for as long again.
const LONGEST_REST: Duration = Duration::from_secs(256);

/// Chooses. One for a fleet.
#[derive(Debug)]
pub struct Balance {
    workers: usize,
    least: u64,
    rests: Box<[Rest; BUCKETS]>,
}

/// What happened since the last time.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The worker of each bucket.
    pub owners: [usize; BUCKETS],
    /// Frames of each bucket.
    pub frames: [u64; BUCKETS],
    /// Buckets that must not move.
    pub stay: [bool; BUCKETS],
    /// What else each worker had to do and keeps, in frames.
    pub other: Vec<u64>,
}

/// A bucket that should move.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The bucket.
    pub bucket: usize,
    /// Its worker, ...
    pub from: usize,
    /// ... and the one that it should move to.
    pub to: usize,
    /// Its frames.
    pub frames: u64,
    /// What the two workers had to do, in frames, with the bucket where it is.
    pub loads: [u64; 2],
    /// The same of all workers.
    pub all: u64,
}

#[derive(Copy, Clone, Debug)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Balance {
    /// For so many workers. Nothing moves while the busiest has less than `least` to do.
    #[must_use]
    pub fn new(workers: usize, least: u64) -> Self {
        let rest = Rest { until: Instant::ZERO, length: Duration::ZERO };
        Self { workers: workers.min(MAX_WORKERS), least, rests: Box::new([rest; BUCKETS]) }
    }

    /// The bucket that should move, if one should.
    #[must_use]
    pub fn choose(&self, seen: &Seen, now: Instant) -> Option<Choice> {
        let Seen { owners, frames, stay, other } = seen;
        let mut loads = other.clone();
        loads.resize(self.workers, 0);
        for (owner, frames) in owners.iter().zip(frames) {
            if let Some(load) = loads.get_mut(*owner) {
                *load += frames;
            }
        }
        let all = loads.iter().sum::<u64>();
        // Half of what a bucket has on average.
        let worth = (frames.iter().sum::<u64>() / (2 * BUCKETS as u64)).max(1);
        // The least busy one first.
        let mut others: Vec<(u64, usize)> = loads.into_iter().zip(0..).collect();
        others.sort_unstable();
        while let Some(from) = others.pop()
            && let Some(to) = others.first()
        {
            let count = others.len() as u64 + 1;
            let sum = others.iter().map(|(load, _)| load).sum::<u64>() + from.0;
            if from.0 < self.least || from.0 * UNEVEN.1 * count <= sum * UNEVEN.0 {
                return None;
            }
            let may = |bucket: &usize| {
                owners[*bucket] == from.1 && !stay[*bucket] && self.rests[*bucket].until <= now
            };
            let larger = |bucket: &usize| from.0.saturating_sub(frames[*bucket]).max(to.0 + frames[*bucket]);
            if let Some(bucket) = (0..BUCKETS).filter(may).min_by_key(larger)
                && larger(&bucket) + worth <= from.0
            {
                let (loads, frames) = ([from.0, to.0], frames[bucket]);
                return Some(Choice { bucket, from: from.1, to: to.1, frames, loads, all });
            }
        }
        None
    }

    /// A bucket begins to move, or cannot: it is not chosen for a while. Nothing changes while it rests already.
    pub fn rest(&mut self, bucket: usize, now: Instant) {
        let Some(rest) = self.rests.get_mut(bucket).filter(|rest| rest.until <= now) else { return };
        let often = now < rest.until + rest.length;
        rest.length = if often { (rest.length * 2).min(LONGEST_REST) } else { REST };
        rest.until = now + rest.length;
    }
}

#[cfg(test)]
mod tests;
