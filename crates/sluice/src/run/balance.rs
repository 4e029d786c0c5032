//! Moves flows from busy workers to others, a bucket at a time.
//!
//! ```text
//!   once a second:  frames of each bucket, from each worker ─▶ Balance ─▶ does an inspected connection forbid it? ─▶ begin
//!   while it moves: tend, every few milliseconds
//! ```
//!
//! What a worker has to do is frames that it processes, and frames that it takes from and puts on its ports, which are its
//! own wherever the flows are. A bucket whose frames arrive by its worker's own ports stays: elsewhere they would be copied
//! there and back, which is as much work as their processing.
//!
//! Part of the control thread. Whatever fails leaves the buckets where they are.

use super::clock::Clock;
use super::heartbeat;
use super::workers::Workers;
use anyhow::Result;
use datapath::fleet::{BUCKETS, Balance, Choice, Member, Seen};
use std::time::{Duration, Instant};

/// How often workers are asked.
const LOOK: Duration = Duration::from_secs(1);

/// What a worker has to do between two looks, in frames, from which on it may give some away: less than 1 % of a CPU's
/// time.
const LEAST: u64 = 10_000;

/// One frame in so many of a bucket comes by another worker's ports, or the bucket stays.
const HANDED: u64 = 8;

/// How often a move is looked at: frames of what must go back wait as long.
const TEND: Duration = Duration::from_millis(5);

/// Inspected connections looked at between two polls of a worker: some microseconds of its time.
const CHUNK: usize = 256;

/// The control thread's part of moving buckets.
pub struct Balancer {
    workers: Workers,
    clock: Clock,
    balance: Balance,
    /// What each worker said at the last look, unless that failed.
    before: Option<Vec<Counts>>,
    looked: Instant,
    failed: bool,
}

/// Frames of a worker since its start.
struct Counts {
    /// Of each bucket: those that it processed, and those that it handed over.
    buckets: Box<[[u64; 2]; BUCKETS]>,
    /// In and out by its ports.
    ports: u64,
}

impl Balancer {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(workers: Workers, clock: Clock) -> Self {
        let balance = Balance::new(workers.count(), LEAST);
        Self { workers, clock, balance, before: None, looked: Instant::now(), failed: false }
    }

    /// How soon to call [`tick`](Self::tick) again while something moves.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        (self.workers.moving() > 0).then_some(TEND)
    }

    /// Goes on with a move, or looks whether there should be one.
    pub fn tick(&mut self) {
        if self.workers.moving() > 0 {
            if let Some(mut mover) = self.workers.mover() {
                mover.tend();
            }
        } else if self.workers.count() > 1 && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            let outcome = self.look();
            if let Err(error) = &outcome {
                self.before = None;
                if !self.failed {
                    tracing::warn!("flows are not moved between workers: {error:#}");
                }
            }
            self.failed = outcome.is_err();
        }
    }

    /// Waits until nothing moves.
    pub fn settle(&self) {
        if !self.workers.settle() {
            tracing::warn!("flows are on their way between workers and do not arrive");
        }
    }

    fn look(&mut self) -> Result<()> {
        // Who hangs would keep this thread waiting.
        if !heartbeat::is_alive(&self.workers, &self.clock, LOOK) {
            self.before = None;
            return Ok(());
        }
        let counts = self.counts()?;
        let seen =
            self.before.as_ref().zip(self.owners()).map(|(before, owners)| since(before, &counts, owners));
        self.before = Some(counts);
        let Some(seen) = seen else { return Ok(()) };
        // Each time there is one less that could give.
        for _ in 0..self.workers.count() {
            let now = self.clock.now();
            let Some(choice) = self.balance.choose(&seen, now) else { return Ok(()) };
            let inspected = self.inspected(choice.from)?;
            if !inspected.contains(&choice.bucket) {
                return self.begin(choice);
            }
            inspected.into_iter().for_each(|bucket| self.balance.rest(bucket, now));
        }
        Ok(())
    }

    fn begin(&mut self, choice: Choice) -> Result<()> {
        let Some(mut mover) = self.workers.mover() else { return Ok(()) };
        let Choice { bucket, from, to, frames, loads, all } = choice;
        mover.begin(bucket, to)?;
        self.balance.rest(bucket, self.clock.now());
        let percent = |part: u64| part as f64 * 100.0 / all as f64;
        tracing::debug!(
            "bucket {bucket} moves from worker {from} to worker {to}: they have {:.0} % and {:.0} % of the work, {:.1} % is its frames",
            percent(loads[0]),
            percent(loads[1]),
            percent(frames)
        );
        Ok(())
    }

    fn counts(&self) -> Result<Vec<Counts>> {
        self.workers.ask_each(|worker, _| {
            let of = |member: &Member, bucket: usize| [member.frames()[bucket], member.handed()[bucket]];
            let buckets =
                core::array::from_fn(|bucket| worker.member().map_or([0; 2], |member| of(member, bucket)));
            Counts { buckets: Box::new(buckets), ports: worker.io().inner().frames().iter().sum() }
        })
    }

    /// The worker of each bucket; `None` while somebody walks over the connections.
    fn owners(&self) -> Option<[usize; BUCKETS]> {
        let mover = self.workers.mover()?;
        Some(core::array::from_fn(|bucket| mover.owner(bucket).unwrap_or_default()))
    }

    /// Buckets of a worker that stay because of an inspected connection.
    fn inspected(&self, worker: usize) -> Result<Vec<usize>> {
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (piece, next) =
                self.workers.one(worker).ask(move |worker, _| worker.inspected_buckets(at, CHUNK))?;
            all.extend(piece);
            from = next;
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

/// What was done between two looks.
fn since(before: &[Counts], now: &[Counts], owners: [usize; BUCKETS]) -> Seen {
    let (mut frames, mut handed, mut other) = ([0; BUCKETS], [0; BUCKETS], Vec::new());
    for (now, before) in now.iter().zip(before) {
        for (bucket, (now, before)) in now.buckets.iter().zip(&*before.buckets).enumerate() {
            frames[bucket] += now[0].saturating_sub(before[0]);
            handed[bucket] += now[1].saturating_sub(before[1]);
        }
        other.push(now.ports.saturating_sub(before.ports));
    }
    let stay = core::array::from_fn(|bucket| handed[bucket].saturating_mul(HANDED) < frames[bucket]);
    Seen { owners, frames, stay, other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(buckets: &[(usize, [u64; 2])], ports: u64) -> Counts {
        let mut counts = Counts { buckets: Box::new([[0; 2]; BUCKETS]), ports };
        buckets.iter().for_each(|(bucket, frames)| counts.buckets[*bucket] = *frames);
        counts
    }

    #[test]
    fn what_was_done_is_the_difference_and_what_is_at_home_stays() {
        let before = [counts(&[(0, [10, 0]), (1, [0, 5])], 100), counts(&[(1, [50, 0])], 1_000)];
        // Bucket 0 has 80 frames, of which ten were handed over; bucket 1 has moved, and as many were handed either way.
        let now = [
            counts(&[(0, [90, 0]), (1, [40, 10])], 250),
            counts(&[(0, [0, 10]), (1, [91, 5]), (2, [7, 0])], 1_000),
        ];
        let Seen { owners, frames, stay, other } = since(&before, &now, [3; BUCKETS]);
        assert_eq!((owners[..4].to_vec(), &other[..]), (vec![3; 4], &[150, 0][..]));
        assert_eq!((&frames[..4], frames.iter().sum::<u64>()), (&[80, 81, 7, 0][..], 168));
        assert_eq!(stay[..4], [false, true, true, false], "an eighth may");
    }
}
