//! What a worker does as one of several, in the order of its poll.
//!
//! ```text
//!   begin   moves go on; what was parked and what others handed over joins the burst
//!   recv    the backend fills up the burst
//!   turn    has a move begun? then routes change here, before any frame of the burst is looked at
//!   keep    for each frame: ours, or another's (handed over), or nobody's yet (parked)
//!   flush   what was handed over becomes visible; sleeping workers that got some are woken
//! ```

use super::mailbox::{Inbox, Outbox, Taken};
use super::moves::Moving;
use super::steer::{BUCKETS, bucket_of, fragment_of};
use super::{Ends, Parcel, Shared, entry};
use crate::pipeline::{Parse, Pipeline};
use crate::stats::Stats;
use flowlog::DropReason;
use packet::{BURST_LEN, Burst, Frame, Instant, PacketIo};
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Frames of others in one burst. More than are left for our own ports: what was received once is finished first, so that
/// overload is lost where it arrives and not on the way.
const TAKEN_PER_POLL: usize = BURST_LEN / 4 * 3;

/// In the routes: frames of the bucket wait here.
pub(super) const PARKED: u8 = u8::MAX;

/// What a member did since its start.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames handed to another worker.
    pub handed: u64,
    /// Frames that other workers handed over, and for which there was a buffer.
    pub taken: u64,
    /// Frames that waited for their bucket.
    pub parked: u64,
    /// Frames lost on the way to another worker or while they waited: no room. Also counted as dropped.
    pub lost: u64,
    /// Buckets that came, also those that came back.
    pub buckets: u64,
    /// Connections that came with them.
    pub connections: u64,
    /// Moves that an inspected connection forbade.
    pub refused: u64,
}

/// Where a frame of this worker's burst belongs.
#[derive(Debug)]
pub(crate) enum Place {
    /// This worker processes it.
    Here(Frame),
    /// It was handed over, or waits until it can be.
    Elsewhere,
    /// It is another worker's, and there is no room on the way.
    Nowhere(Frame),
}

/// A worker's place in the fleet.
#[derive(Debug)]
pub struct Member {
    pub(super) me: u8,
    pub(super) shared: Arc<Shared>,
    /// Who gets the frames of a bucket. Ours alone: it changes in [`Member::turn`] and when a move says so.
    pub(super) route: Box<[u8; BUCKETS]>,
    seen: u64,
    /// Epoch of the last move of each bucket that was taken note of.
    pub(super) known: Box<[u64; BUCKETS]>,
    pub(super) to: Vec<Option<Outbox>>,
    pub(super) from: Vec<Option<Inbox>>,
    pub(super) parcels_to: Vec<Option<Producer<Box<Parcel>>>>,
    pub(super) parcels_from: Vec<Option<Consumer<Box<Parcel>>>>,
    pub(super) moving: Vec<Moving>,
    /// Frames at the head of the burst that were parked and are ours now.
    pub(super) released: usize,
    pub(super) parked: usize,
    most_parked: usize,
    /// Whose frames are taken first next time.
    turn: usize,
    pub(super) counters: Counters,
    /// Frames of each bucket that this worker processed, ...
    frames: Box<[u64; BUCKETS]>,
    /// ... and those that it handed over.
    handed: Box<[u64; BUCKETS]>,
}

impl Member {
    pub(super) fn new(
        me: usize,
        shared: &Arc<Shared>,
        frames: Ends<Outbox, Inbox>,
        parcels: Ends<Producer<Box<Parcel>>, Consumer<Box<Parcel>>>,
        most_parked: usize,
    ) -> Self {
        Self {
            me: me as u8,
            shared: Arc::clone(shared),
            route: Box::new(core::array::from_fn(|bucket| entry::of(&shared.table[bucket]).owner)),
            seen: 0,
            known: Box::new([0; BUCKETS]),
            to: frames.to,
            from: frames.from,
            parcels_to: parcels.to,
            parcels_from: parcels.from,
            moving: Vec::with_capacity(BUCKETS),
            released: 0,
            parked: 0,
            most_parked,
            turn: 0,
            counters: Counters::default(),
            frames: Box::new([0; BUCKETS]),
            handed: Box::new([0; BUCKETS]),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> usize {
        usize::from(self.me)
    }

    /// Whether flows of that hash are this worker's.
    pub(crate) fn owns(&self, hash: u64) -> bool {
        self.route[usize::from(bucket_of(hash))] == self.me
    }

    /// What it did.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Frames of each bucket that it processed since its start. Frames that belong to no bucket do not count.
    #[must_use]
    pub fn frames(&self) -> &[u64; BUCKETS] {
        &self.frames
    }

    /// Frames of each bucket that it handed to the bucket's worker since its start.
    #[must_use]
    pub fn handed(&self) -> &[u64; BUCKETS] {
        &self.handed
    }

    /// Buckets that are its own now; not those on their way to it.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.route.iter().filter(|owner| **owner == self.me).count()
    }

    /// Whether it takes part in a move, and must go on polling though nothing arrives.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// How others end this worker's sleep. Once.
    pub fn set_waker(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second one is not expected, and the first one works.
        let _ = self.shared.wakers[self.number()].set(Box::new(wake));
    }

    /// The worker is about to sleep: from here on it is woken when something is handed over. `false` if there is
    /// something already.
    #[must_use]
    pub fn rest(&self) -> bool {
        let asleep = &self.shared.asleep[self.number()].0;
        asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let nothing = self.moving.is_empty()
            && self.from.iter().flatten().all(Inbox::is_empty)
            && self.shared.epoch.0.load(Ordering::Acquire) == self.seen;
        if !nothing {
            asleep.store(false, Ordering::Relaxed);
        }
        nothing
    }

    /// The worker does not sleep any more.
    pub fn woke(&self) {
        self.shared.asleep[self.number()].0.store(false, Ordering::Relaxed);
    }

    /// Begins a poll. Answers whether connections came.
    pub(crate) fn begin<I: PacketIo>(
        &mut self,
        pipeline: &mut Pipeline,
        io: &mut I,
        burst: &mut Burst,
        now: Instant,
    ) -> bool {
        self.released = 0;
        let came = !self.moving.is_empty() && self.step(pipeline, io, burst, now);
        self.collect(&mut pipeline.stats, io, burst);
        came
    }

    /// Takes what other workers handed over.
    fn collect<I: PacketIo>(&mut self, stats: &mut Stats, io: &mut I, burst: &mut Burst) {
        let count = self.from.len();
        let mut left = TAKEN_PER_POLL.min(burst.room());
        self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
        for at in (self.turn..count).chain(0..self.turn) {
            let Some(inbox) = &mut self.from[at] else { continue };
            while left > 0 {
                match inbox.take(io) {
                    None => break,
                    Some(Taken::Lost) => lose(stats, &mut self.counters),
                    Some(Taken::Frame(frame)) => {
                        left -= 1;
                        self.counters.taken += 1;
                        if let Err(frame) = burst.push(frame) {
                            // Not reached: there was room for as many.
                            io.release(frame);
                        }
                    }
                }
            }
        }
    }

    /// The burst is complete; `drained` if the backend had no more.
    #[inline]
    pub(crate) fn turn(&mut self, drained: bool) {
        if drained && !self.moving.is_empty() {
            self.moving.iter_mut().for_each(Moving::drained);
        }
        let epoch = self.shared.epoch.0.load(Ordering::Acquire);
        if epoch != self.seen {
            self.seen = epoch;
            self.refresh(epoch);
        }
    }

    /// Whether all frames of the burst are this worker's, and none needs a second look: the rule where somebody steers.
    #[inline]
    pub(crate) fn all_ours<'a>(&self, mut parses: impl Iterator<Item = &'a Parse>) -> bool {
        self.released == 0
            && parses.all(|parse| {
                fragment_of(parse).is_none() && parse.flow.as_ref().is_none_or(|(_, hash)| self.owns(*hash))
            })
    }

    /// Counts the frames of a burst that are [all this worker's](Self::all_ours).
    #[inline(never)]
    pub(crate) fn count<'a>(&mut self, parses: impl Iterator<Item = &'a Parse>) {
        for (_, hash) in parses.filter_map(|parse| parse.flow.as_ref()) {
            self.frames[usize::from(bucket_of(*hash))] += 1;
        }
    }

    /// Gives back a frame that this worker is to process, or that found no room on its way to another.
    #[inline]
    pub(crate) fn keep<I: PacketIo>(&mut self, io: &mut I, frame: Frame, parse: &Parse) -> Place {
        let hash = parse.flow.as_ref().map(|(_, hash)| *hash);
        let bucket = match (fragment_of(parse), hash) {
            (None, Some(hash)) => bucket_of(hash),
            (None, None) => return Place::Here(self.first_in_line(frame)),
            (Some((packet, fragment)), hash) => match self.shared.notes.bucket(packet, fragment, hash) {
                Some(bucket) => bucket,
                None => return Place::Here(self.first_in_line(frame)),
            },
        };
        if self.route[usize::from(bucket)] == self.me {
            self.frames[usize::from(bucket)] += 1;
            return Place::Here(self.first_in_line(frame));
        }
        self.pass_on(io, frame, bucket)
    }

    #[inline]
    fn first_in_line(&mut self, frame: Frame) -> Frame {
        self.released = self.released.saturating_sub(1);
        frame
    }

    /// Parks the frame or hands it over, unless it was parked before and its turn has come.
    #[inline(never)]
    fn pass_on<I: PacketIo>(&mut self, io: &mut I, frame: Frame, bucket: u8) -> Place {
        if self.released > 0 {
            self.released -= 1;
            self.frames[usize::from(bucket)] += 1;
            return Place::Here(frame);
        }
        let to = self.route[usize::from(bucket)];
        if to == PARKED {
            if let Some(moving) = self.moving.iter_mut().find(|moving| moving.bucket == bucket)
                && self.parked < self.most_parked
            {
                self.parked += 1;
                self.counters.parked += 1;
                moving.queue.push_back(frame);
                return Place::Elsewhere;
            }
        } else {
            let outbox = self.to.get_mut(usize::from(to)).and_then(Option::as_mut);
            let port = frame.port();
            if outbox.is_some_and(|outbox| outbox.put(io, &frame, port)) {
                self.counters.handed += 1;
                self.handed[usize::from(bucket)] += 1;
                io.release(frame);
                return Place::Elsewhere;
            }
        }
        self.counters.lost += 1;
        Place::Nowhere(frame)
    }

    /// Ends a poll.
    #[inline]
    pub(crate) fn flush(&mut self) {
        for (to, outbox) in self.to.iter_mut().enumerate() {
            if outbox.as_mut().is_some_and(Outbox::flush) {
                self.shared.wake(to);
            }
        }
    }

    /// Says which moves it has seen, and what it handed over before.
    pub(super) fn tell_seen(&self, epoch: u64) {
        for (to, outbox) in self.to.iter().enumerate() {
            let count = outbox.as_ref().map_or(0, |outbox| outbox.count);
            self.shared.handed[self.shared.between(self.number(), to)].store(count, Ordering::Relaxed);
        }
        self.shared.seen[self.number()].0.store(epoch, Ordering::Release);
    }
}

/// A frame that nobody has any more.
pub(super) fn lose(stats: &mut Stats, counters: &mut Counters) {
    counters.lost += 1;
    stats.dropped[DropReason::HandoverFull.index()] += 1;
}
