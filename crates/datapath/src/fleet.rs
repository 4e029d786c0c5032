//! Several workers that share the flows of one node.
//!
//! Each [`Worker`](crate::Worker) owns its backend, connections and event ring outright. A flow, in both directions and with
//! the ICMP errors about it, belongs to one *bucket* ([`steer`]), and a bucket to one worker at a time. A worker that receives
//! a frame of a bucket that is another's hands it over, its bytes copied, through a bounded ring with one writer and one
//! reader (`mailbox`). A worker that forwards by a port whose sockets are another's does likewise ([`io`]). No worker ever
//! waits for another: a full ring costs the frame ([`DropReason::HandoverFull`](flowlog::DropReason::HandoverFull)).
//!
//! # Moving a bucket
//!
//! From the old owner `O` to the new one `N`, while frames come in at any worker `A` and from steerers `S`:
//!
//! ```text
//!   mover      table[b] = N, epoch + 1
//!   S, A       see the epoch: frames of b go to N from here on; say so, and how many were handed to O before
//!   N          sees it: frames of b are parked                        (bounded; beyond it they are lost and counted)
//!   O          goes on with b: what is in its own receive queue, and what others handed over before they saw it
//!              everybody has seen it, all of that is drained: from here on O hands frames of b to N, too
//!              takes b's connections and datagrams in fragments out of its tables, some slots a poll
//!   O ──────▶ N  the parcel: all of them as they are, sequence numbers, timers and counters included
//!   N          waits until what O sent for b by other workers' ports has left by them
//!              puts the connections into its tables, processes what it parked, in order: the bucket is its own
//! ```
//!
//! So whatever came to `O` is processed and sent before anything that came to `N`, and nobody waits. A worker reads the epoch
//! after it took frames from its queue and its rings and before it looks where they belong: a frame that was sent to it
//! because of a move never finds it unaware of that move.
//!
//! **Inspected connections do not move.** Their splices hold frames in their worker's memory. If `O` finds one in the bucket
//! (policy may ask for it at any time), the parcel says so, `O` keeps all connections, and [`Mover::tend`] moves the bucket
//! back in the same way; what `N` parked travels with its parcel.
//! [`Worker::inspected_buckets`](crate::Worker::inspected_buckets) tells before.
//!
//! # Which bucket moves
//!
//! Members count the frames of each bucket, [`Balance`] says by them which one should move, and whoever has the [`Mover`]
//! begins it. Nobody has to: buckets are dealt in turn, and stay until they are moved.
//!
//! # Limits
//!
//! Limits of a worker are its part of the node's ([`share_of`]): the sum over all workers is at most what is configured, but for
//! rounding up to one. A port whose flows all fall to one worker meets its limits at that worker's part.
//!
//! The steady state allocates nothing. Moves do.

mod balance;
pub mod io;
mod mailbox;
mod member;
mod moves;
pub mod steer;

pub use balance::{Balance, Choice, Seen};
pub use io::{FleetIo, PortOwners};
pub(crate) use member::Place;
pub use member::{Counters, Member};
pub use moves::{MoveError, Mover};
pub use steer::{BUCKETS, Steerer};

use crate::config::DatapathConfig;
use crate::conntrack::Carried;
use crate::fragments::Datagram;
use io::Wires;
use mailbox::mailbox;
use packet::PortId;
use rtrb::RingBuffer;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use steer::Notes;

/// Most workers of a fleet.
pub const MAX_WORKERS: usize = 32;

/// How a fleet is to be.
#[derive(Copy, Clone, Debug)]
pub struct Setup {
    /// Workers: one to [`MAX_WORKERS`].
    pub workers: usize,
    /// Steerers: who delivers frames by the table. None where a port belongs to a worker whatever arrives on it.
    pub steerers: usize,
    /// Bytes of each ring between two workers, for frames and 12 bytes for each; at least 72 KiB.
    pub ring_bytes: usize,
    /// Most frames that a worker may park while buckets move to it.
    pub parked: usize,
    /// Keys the hash of flows: every worker must have it.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self { workers: 1, steerers: 0, ring_bytes: 1 << 20, parked: 1024, seed: 0 }
    }
}

/// A fleet that was made and not manned yet.
#[derive(Debug)]
pub struct Fleet {
    /// One for each worker.
    pub seats: Vec<Seat>,
    /// As many as were asked for.
    pub steerers: Vec<Steerer>,
    /// Moves buckets.
    pub mover: Mover,
    /// Says which port is whose.
    pub owners: PortOwners,
}

/// What makes a worker a member.
#[derive(Debug)]
pub struct Seat {
    /// For [`Worker::join`](crate::Worker::join).
    pub member: Member,
    /// For [`FleetIo::new`], where ports belong to workers.
    pub wires: Wires,
}

impl Fleet {
    /// Buckets are dealt to the workers in turn. Numbers out of range are clamped.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let workers = setup.workers.clamp(1, MAX_WORKERS);
        let shared = Arc::new(Shared::new(workers, setup.steerers, setup.seed));
        let owners = PortOwners::default();
        let (mut frames, mut sends) = (Grid::new(workers), Grid::new(workers));
        let mut parcels = Grid::new(workers);
        for from in 0..workers {
            for to in (0..workers).filter(|to| *to != from) {
                frames.put(from, to, mailbox(setup.ring_bytes));
                sends.put(from, to, mailbox(setup.ring_bytes));
                // A bucket is in at most one parcel at a time, so this is never full.
                parcels.put(from, to, RingBuffer::new(BUCKETS));
            }
        }
        let seats = (0..workers)
            .map(|me| Seat {
                member: Member::new(me, &shared, frames.of(me), parcels.of(me), setup.parked),
                wires: Wires::new(me, &shared, owners.clone(), sends.of(me)),
            })
            .collect();
        let steerers =
            (0..setup.steerers).map(|n| Steerer::new(Arc::clone(&shared), workers + n, setup.seed)).collect();
        Self { seats, steerers, mover: Mover::new(shared), owners }
    }
}

/// The part of a worker's settings when there are several.
#[must_use]
pub fn share_of(config: &DatapathConfig, workers: usize) -> DatapathConfig {
    let count = u32::try_from(workers.clamp(1, MAX_WORKERS)).unwrap_or(1);
    let part = |all: u32| if all == 0 { 0 } else { (all / count).max(1) };
    let large = |all: usize| if all == 0 { 0 } else { (all / count as usize).max(1) };
    let mut config = config.clone();
    let table = &mut config.conntrack;
    for limit in [
        &mut table.max_entries,
        &mut table.max_entries_per_port,
        &mut table.max_half_open_per_port,
        &mut config.answers_per_second,
        &mut config.drop_events_per_second,
    ] {
        *limit = part(*limit);
    }
    config.l7.max_connections = large(config.l7.max_connections);
    config.l7.max_bytes = large(config.l7.max_bytes);
    config
}

/// A value with its cache lines for itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// What workers, steerers and the mover know of each other.
struct Shared {
    workers: usize,
    /// Rises with every move.
    epoch: Apart<AtomicU64>,
    /// [`entry`] of each bucket. Read when the epoch has risen.
    table: Box<[AtomicU64]>,
    /// The epoch that each worker, and behind them each steerer, goes by.
    seen: Box<[Apart<AtomicU64>]>,
    /// Frames that a worker had handed to another when it last said what it had seen.
    handed: Box<[AtomicU64]>,
    /// Frames that a worker gave another to send by its ports, ...
    given: Box<[Apart<AtomicU64>]>,
    /// ... and those of them that left.
    left: Box<[Apart<AtomicU64>]>,
    asleep: Box<[Apart<AtomicBool>]>,
    wakers: Box<[OnceLock<Waker>]>,
    notes: Notes,
}

type Waker = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(workers: usize, steerers: usize, seed: u64) -> Self {
        fn some<T: Default>(count: usize) -> Box<[T]> {
            (0..count).map(|_| T::default()).collect()
        }
        let dealt = |bucket| {
            let owner = (bucket % workers) as u8;
            AtomicU64::new(entry::pack(entry::Entry {
                owner,
                from: owner,
                phase: entry::Phase::Settled,
                epoch: 0,
            }))
        };
        Self {
            workers,
            epoch: Apart::default(),
            table: (0..BUCKETS).map(dealt).collect(),
            seen: some(workers + steerers),
            handed: some(workers * workers),
            given: some(workers * workers),
            left: some(workers * workers),
            asleep: some(workers),
            wakers: (0..workers).map(|_| OnceLock::new()).collect(),
            notes: Notes::new(seed),
        }
    }

    /// Index of what is between two workers.
    const fn between(&self, from: usize, to: usize) -> usize {
        from * self.workers + to
    }

    /// Ends the sleep of a worker, if it sleeps. Whatever it is to find was stored before.
    fn wake(&self, worker: usize) {
        // Pairs with the fence of `Member::rest`: either we see that it sleeps, or it sees what we stored.
        fence(Ordering::SeqCst);
        let asleep = &self.asleep[worker].0;
        if asleep.load(Ordering::Relaxed)
            && asleep.swap(false, Ordering::Relaxed)
            && let Some(wake) = self.wakers[worker].get()
        {
            wake();
        }
    }
}

/// Everything of a bucket that changes hands.
#[derive(Debug)]
struct Parcel {
    bucket: u8,
    /// The old owner keeps the connections: one of them is inspected.
    refused: bool,
    conns: Vec<Carried>,
    datagrams: Vec<Datagram>,
    /// Frames that the old owner had parked, in order.
    frames: Vec<(PortId, Vec<u8>)>,
    /// Frames that it had given each worker to send.
    given: Vec<u64>,
}

/// The state of a bucket in one word.
mod entry {
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub(super) enum Phase {
        /// The owner has it.
        Settled,
        /// On its way.
        Moving,
        /// It has to go back.
        Refused,
    }

    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub(super) struct Entry {
        pub(super) owner: u8,
        pub(super) from: u8,
        pub(super) phase: Phase,
        /// Of the move that made it.
        pub(super) epoch: u64,
    }

    pub(super) const fn pack(entry: Entry) -> u64 {
        entry.epoch << 24 | (entry.phase as u64) << 16 | (entry.from as u64) << 8 | entry.owner as u64
    }

    pub(super) fn of(word: &AtomicU64) -> Entry {
        let word = word.load(Ordering::Acquire);
        let phase = match word >> 16 & 0xff {
            0 => Phase::Settled,
            1 => Phase::Moving,
            _ => Phase::Refused,
        };
        Entry { owner: word as u8, from: (word >> 8) as u8, phase, epoch: word >> 24 }
    }
}

/// Both ends of what is between any two workers, until they are dealt out.
struct Grid<W, R> {
    workers: usize,
    writers: Vec<Option<W>>,
    readers: Vec<Option<R>>,
}

/// One worker's ends: towards each other worker, and from each.
struct Ends<W, R> {
    to: Vec<Option<W>>,
    from: Vec<Option<R>>,
}

impl<W, R> Grid<W, R> {
    fn new(workers: usize) -> Self {
        let none = workers * workers;
        Self {
            workers,
            writers: (0..none).map(|_| None).collect(),
            readers: (0..none).map(|_| None).collect(),
        }
    }

    fn put(&mut self, from: usize, to: usize, (writer, reader): (W, R)) {
        let at = from * self.workers + to;
        self.writers[at] = Some(writer);
        self.readers[at] = Some(reader);
    }

    fn of(&mut self, me: usize) -> Ends<W, R> {
        let n = self.workers;
        Ends {
            to: (0..n).map(|to| self.writers[me * n + to].take()).collect(),
            from: (0..n).map(|from| self.readers[from * n + me].take()).collect(),
        }
    }
}
