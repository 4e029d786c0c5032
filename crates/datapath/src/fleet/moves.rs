//! How a bucket changes hands: who begins it, and what either side does in its polls. The protocol is drawn at the head
//! of [`fleet`](super).
//!
//! ```text
//!  old owner:  Waits ──seen by all, rings drained──▶ Drains ──own queue empty──▶ Packs ──parcel sent──▶ (gone)
//!  new owner:  Awaits ──parcel──▶ Holds ──sends drained──▶ Opens ──nothing parked──▶ (ours)
//!                └──refused──▶ Refused ──moved back──▶ Waits
//! ```

use super::entry::{Entry, Phase, pack};
use super::member::{Member, PARKED, lose};
use super::steer::{BUCKETS, bucket_of};
use super::{Parcel, Shared, entry};
use crate::conntrack::{Carried, Carry};
use crate::events;
use crate::pipeline::Pipeline;
use crate::stats::Stats;
use packet::{Burst, Frame, Instant, PacketIo};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Slots of the connection table looked at per poll while a bucket is packed: some microseconds, as a burst takes.
const SLOTS_PER_POLL: u32 = 1024;

/// Why a bucket is not moved.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoveError {
    /// It is moving already, or on its way back.
    #[error("bucket {0} is moving already")]
    Moving(usize),
    /// There is no such bucket or worker.
    #[error("no bucket {bucket} or no worker {worker}")]
    Unknown {
        /// The bucket.
        bucket: usize,
        /// The worker.
        worker: usize,
    },
}

/// Moves buckets. There is one for a fleet.
#[derive(Debug)]
pub struct Mover {
    shared: Arc<Shared>,
}

impl Mover {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The worker that has a bucket, or is to have it.
    #[must_use]
    pub fn owner(&self, bucket: usize) -> Option<usize> {
        self.shared.table.get(bucket).map(|word| usize::from(entry::of(word).owner))
    }

    /// Buckets on their way.
    #[must_use]
    pub fn moving(&self) -> usize {
        self.shared.table.iter().filter(|word| entry::of(word).phase != Phase::Settled).count()
    }

    /// Begins to move a bucket; nothing happens if it is there already.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub fn begin(&mut self, bucket: usize, worker: usize) -> Result<(), MoveError> {
        let unknown = MoveError::Unknown { bucket, worker };
        let word = self.shared.table.get(bucket).ok_or(unknown)?;
        let to = u8::try_from(worker).ok().filter(|_| worker < self.shared.workers).ok_or(unknown)?;
        let now = entry::of(word);
        if now.phase != Phase::Settled {
            return Err(MoveError::Moving(bucket));
        }
        if now.owner != to {
            self.announce(bucket, now.owner, to);
        }
        Ok(())
    }

    /// Moves back what could not be moved; to be called now and then while buckets move. Answers how many go back.
    pub fn tend(&mut self) -> usize {
        let mut back = 0;
        for bucket in 0..BUCKETS {
            let Entry { owner, from, phase, .. } = entry::of(&self.shared.table[bucket]);
            if phase == Phase::Refused {
                self.announce(bucket, owner, from);
                back += 1;
            }
        }
        back
    }

    fn announce(&self, bucket: usize, from: u8, owner: u8) {
        let epoch = self.shared.epoch.0.load(Ordering::Relaxed) + 1;
        let entry = Entry { owner, from, phase: Phase::Moving, epoch };
        self.shared.table[bucket].store(pack(entry), Ordering::Release);
        self.shared.epoch.0.store(epoch, Ordering::Release);
        (0..self.shared.workers).for_each(|worker| self.shared.wake(worker));
    }
}

/// A bucket on its way, as one of its two workers sees it.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) bucket: u8,
    peer: u8,
    /// Of the move.
    epoch: u64,
    stage: Stage,
    /// What is parked.
    pub(super) queue: VecDeque<Frame>,
}

#[derive(Debug)]
enum Stage {
    Waits,
    Drains { empty: bool },
    Packs { cursor: u32, conns: Vec<Carried> },
    Awaits,
    Refused,
    Holds(Box<Parcel>),
    Opens,
}

impl Moving {
    /// The backend had no more frames.
    pub(super) fn drained(&mut self) {
        if let Stage::Drains { empty } = &mut self.stage {
            *empty = true;
        }
    }
}

impl Member {
    /// Takes note of the moves up to `epoch`.
    #[cold]
    pub(super) fn refresh(&mut self, epoch: u64) {
        for bucket in 0..BUCKETS {
            let entry = entry::of(&self.shared.table[bucket]);
            // A later one counts when its epoch is seen: whoever is told of it must not meet somebody who is not.
            let news = entry.epoch > self.known[bucket] && entry.epoch <= epoch;
            if entry.phase != Phase::Moving || !news {
                continue;
            }
            self.known[bucket] = entry.epoch;
            let known = self.moving.iter_mut().find(|moving| usize::from(moving.bucket) == bucket);
            match known {
                // What was refused goes back; what is parked stays so until it goes.
                Some(moving) => (moving.epoch, moving.stage) = (entry.epoch, Stage::Waits),
                None if entry.from == self.me => {
                    self.take_part(bucket, entry.owner, entry.epoch, Stage::Waits)
                }
                None if entry.owner == self.me => {
                    self.route[bucket] = PARKED;
                    self.take_part(bucket, entry.from, entry.epoch, Stage::Awaits);
                }
                None => self.route[bucket] = entry.owner,
            }
        }
        self.tell_seen(epoch);
    }

    fn take_part(&mut self, bucket: usize, peer: u8, epoch: u64, stage: Stage) {
        self.moving.push(Moving { bucket: bucket as u8, peer, epoch, stage, queue: VecDeque::new() });
    }

    /// Goes on with every move. Answers whether connections came.
    #[cold]
    pub(super) fn step<I: PacketIo>(
        &mut self,
        pipeline: &mut Pipeline,
        io: &mut I,
        burst: &mut Burst,
        now: Instant,
    ) -> bool {
        self.receive_parcels();
        let mut came = false;
        let mut slots = SLOTS_PER_POLL;
        for at in (0..self.moving.len()).rev() {
            // Taken out while it is at work; put back unless its part is over.
            let mut moving = self.moving.swap_remove(at);
            let over = match moving.stage {
                Stage::Waits | Stage::Drains { .. } | Stage::Packs { .. } => {
                    self.give(&mut moving, pipeline, io, &mut slots, now)
                }
                Stage::Awaits | Stage::Refused => false,
                Stage::Holds(_) | Stage::Opens => self.open(&mut moving, pipeline, io, burst, now, &mut came),
            };
            if !over {
                self.moving.push(moving);
            }
        }
        came
    }

    fn receive_parcels(&mut self) {
        for parcels in self.parcels_from.iter_mut().flatten() {
            while let Ok(parcel) = parcels.pop() {
                let Some(moving) = self.moving.iter_mut().find(|moving| moving.bucket == parcel.bucket)
                else {
                    continue;
                };
                if parcel.refused {
                    moving.stage = Stage::Refused;
                    self.counters.refused += 1;
                    let entry = Entry {
                        owner: self.me,
                        from: moving.peer,
                        phase: Phase::Refused,
                        epoch: moving.epoch,
                    };
                    self.shared.table[usize::from(moving.bucket)].store(pack(entry), Ordering::Release);
                } else {
                    moving.stage = Stage::Holds(parcel);
                }
            }
        }
    }

    /// The old owner's part. Answers whether it is over.
    fn give<I: PacketIo>(
        &mut self,
        moving: &mut Moving,
        pipeline: &mut Pipeline,
        io: &mut I,
        slots: &mut u32,
        now: Instant,
    ) -> bool {
        if matches!(moving.stage, Stage::Waits) && self.is_seen_and_drained(moving.epoch) {
            // Only what steerers deliver comes to somebody else from now on.
            let empty = self.shared.seen.len() == self.shared.workers;
            moving.stage = Stage::Drains { empty };
        } else if let Stage::Drains { empty: false } = moving.stage {
            return false;
        }
        if let Stage::Drains { empty: true } = moving.stage {
            self.route[usize::from(moving.bucket)] = moving.peer;
            moving.stage = Stage::Packs { cursor: 0, conns: Vec::new() };
        }
        let Stage::Packs { cursor, conns } = &mut moving.stage else { return false };
        let bucket = moving.bucket;
        let refused = match pipeline.conntrack.carry(cursor, slots, |hash| bucket_of(hash) == bucket, conns) {
            Carry::More => return false,
            Carry::Done => false,
            Carry::Inspected => {
                conns.drain(..).for_each(|conn| pipeline.bring(conn, now));
                true
            }
        };
        let conns = core::mem::take(conns);
        let Pipeline { fragments, conntrack, .. } = pipeline;
        let datagrams = if refused {
            Vec::new()
        } else {
            fragments.carry(|key| bucket_of(conntrack.hash(key)) == bucket)
        };
        self.parked -= moving.queue.len();
        let frames = moving
            .queue
            .drain(..)
            .map(|frame| {
                let mut bytes = Vec::with_capacity(frame.len());
                io.for_each_buffer(&frame, &mut |part| bytes.extend_from_slice(part));
                let port = frame.port();
                io.release(frame);
                (port, bytes)
            })
            .collect();
        let between =
            |to| self.shared.given[self.shared.between(self.number(), to)].0.load(Ordering::Relaxed);
        let given = (0..self.shared.workers).map(between).collect();
        let parcel = Box::new(Parcel { bucket, refused, conns, datagrams, frames, given });
        let peer = usize::from(moving.peer);
        if let Some(Some(parcels)) = self.parcels_to.get_mut(peer) {
            // There is a place for each bucket.
            let pushed = parcels.push(parcel);
            debug_assert!(pushed.is_ok(), "a bucket is in one parcel at a time");
        }
        self.shared.wake(peer);
        true
    }

    /// Whether everybody goes by the move, and everything is here that was handed to us before.
    fn is_seen_and_drained(&self, epoch: u64) -> bool {
        let (me, workers) = (self.number(), self.shared.workers);
        // Steerers stand behind the workers.
        self.shared.seen.iter().enumerate().filter(|(who, _)| *who != me).all(|(who, seen)| {
            let drained = || match self.from.get(who) {
                Some(Some(inbox)) if who < workers => {
                    inbox.count >= self.shared.handed[self.shared.between(who, me)].load(Ordering::Relaxed)
                }
                _ => true,
            };
            seen.0.load(Ordering::Acquire) >= epoch && drained()
        })
    }

    /// The new owner's part once the parcel is there. Answers whether it is over.
    fn open<I: PacketIo>(
        &mut self,
        moving: &mut Moving,
        pipeline: &mut Pipeline,
        io: &mut I,
        burst: &mut Burst,
        now: Instant,
        came: &mut bool,
    ) -> bool {
        if let Stage::Holds(parcel) = &mut moving.stage {
            let (shared, peer) = (&self.shared, usize::from(moving.peer));
            let left = |to| shared.left[shared.between(peer, to)].0.load(Ordering::Acquire);
            if parcel.given.iter().enumerate().any(|(to, given)| left(to) < *given) {
                return false;
            }
            *came = true;
            self.counters.buckets += 1;
            self.counters.connections += parcel.conns.len() as u64;
            parcel.conns.drain(..).for_each(|conn| pipeline.bring(conn, now));
            parcel.datagrams.drain(..).for_each(|datagram| pipeline.fragments.bring(datagram, now));
            // Before what is parked here, in the order in which they were parked there.
            let frames = core::mem::take(&mut parcel.frames);
            self.readmit(moving, frames, io, &mut pipeline.stats);
            moving.stage = Stage::Opens;
        }
        while burst.room() > 0 {
            let Some(frame) = moving.queue.pop_front() else {
                let bucket = usize::from(moving.bucket);
                self.route[bucket] = self.me;
                let entry =
                    Entry { owner: self.me, from: self.me, phase: Phase::Settled, epoch: moving.epoch };
                self.shared.table[bucket].store(pack(entry), Ordering::Release);
                return true;
            };
            self.parked -= 1;
            match burst.push(frame) {
                Ok(()) => self.released += 1,
                Err(frame) => io.release(frame),
            }
        }
        false
    }

    fn readmit<I: PacketIo>(
        &mut self,
        moving: &mut Moving,
        frames: Vec<(packet::PortId, Vec<u8>)>,
        io: &mut I,
        stats: &mut Stats,
    ) {
        for (port, bytes) in frames.into_iter().rev() {
            match io.copy_in(port, [&bytes, &[]]) {
                Some(frame) => {
                    self.parked += 1;
                    moving.queue.push_front(frame);
                }
                None => lose(stats, &mut self.counters),
            }
        }
    }
}

impl Pipeline {
    /// Puts a connection in that was another worker's.
    fn bring(&mut self, conn: Carried, now: Instant) {
        let Self { conntrack, events, stats, .. } = self;
        conntrack.bring(conn, &mut |conn, reason| {
            stats.connections_closed += 1;
            events.record(events::closed(conn, reason, now));
        });
    }
}
