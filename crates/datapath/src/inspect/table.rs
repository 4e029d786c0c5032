//! The inspections of one worker: bounded, with timers and a list of those that wait for the snapshot.

use super::Plan;
use super::share::{Share, Shares};
use crate::conntrack::ConnHandle;
use crate::learn::LearnWriter;
use crate::snapshot::Snapshot;
use crate::splice::{Fresh, Held, Splice};
use crate::verify::Completion;
use core::cmp::Reverse;
use l7::{Side, dns};
use packet::{Frame, Instant, Packet, PortId};
use std::collections::{BinaryHeap, VecDeque};

/// No inspection.
pub(crate) const NONE: u32 = u32::MAX;

/// How a connection's messages are read.
pub(super) enum Protocol {
    Stream(Splice),
    Datagrams(dns::Udp),
}

/// One inspected connection.
pub(crate) struct Inspection {
    pub(super) conn: ConnHandle,
    pub(super) plan: Plan,
    pub(super) protocol: Protocol,
    /// Number of the DNS answer that waits for the snapshot.
    pub(super) asked: Option<u64>,
    /// Whether its ends were told that it is over.
    pub(super) cut: bool,
    /// Where its client and its server are.
    pub(super) ports: [PortId; 2],
    /// What was counted of it in the shares of these ports.
    pub(super) counted: [Share; 2],
    /// Whether it is on the list of those that wait for the snapshot.
    pub(super) queued: bool,
}

/// A DNS answer in a datagram that waits.
pub(super) struct Answer {
    pub(super) frame: Frame,
    pub(super) packet: Packet,
    pub(super) completion: Completion,
    pub(super) conn: ConnHandle,
    pub(super) asked: u64,
    /// When it is given up.
    pub(super) until: Instant,
}

/// What inspection holds at a time.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct InspectionLoad {
    /// Connections whose messages are read.
    pub connections: usize,
    /// Frames that wait for a decision, or behind a gap.
    pub frames: usize,
    /// Bytes kept of messages: undecided, unacknowledged, or ours to deliver.
    pub bytes: usize,
    /// DNS answers that wait for their addresses to be in force.
    pub answers: usize,
}

impl std::ops::AddAssign for InspectionLoad {
    fn add_assign(&mut self, other: Self) {
        let Self { connections, frames, bytes, answers } = other;
        self.connections += connections;
        self.frames += frames;
        self.bytes += bytes;
        self.answers += answers;
    }
}

/// Frames that were taken in and not passed on yet, all of one stream. They are passed on together, so that a message
/// that ends in the next frame of the burst does not cut this one in two. Empty between bursts.
#[derive(Default)]
pub(super) struct Turn {
    /// Where their inspection is.
    slot: u32,
    /// Who sent them.
    side: Option<Side>,
    frames: Vec<Held>,
}

impl Turn {
    /// Whether frames of another stream wait.
    pub(super) fn is_of_another(&self, slot: u32, side: Side) -> bool {
        !self.frames.is_empty() && (self.slot, self.side) != (slot, Some(side))
    }

    /// Puts a frame behind those of its stream.
    pub(super) fn push(&mut self, slot: u32, side: Side, held: Held) {
        (self.slot, self.side) = (slot, Some(side));
        self.frames.push(held);
    }

    /// Where the inspection of the waiting frames is, if some wait.
    pub(super) fn slot(&self) -> Option<u32> {
        (!self.frames.is_empty()).then_some(self.slot)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The frames, to be [given back](Self::give_back) empty, and who sent them.
    pub(super) fn take(&mut self) -> Fresh {
        Fresh { side: self.side, frames: std::mem::take(&mut self.frames) }
    }

    /// Keeps the room for frames.
    pub(super) fn give_back(&mut self, room: Vec<Held>) {
        debug_assert!(room.is_empty(), "all were passed on");
        self.frames = room;
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Inspections {
    slots: Vec<Option<Box<Inspection>>>,
    free: Vec<u32>,
    live: usize,
    limit: usize,
    pub(super) timers: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Those whose protocol waits for the snapshot.
    pub(super) waiting: Vec<u32>,
    pub(super) answers: VecDeque<Answer>,
    /// Epoch and number of the last DNS answer of the snapshot that the waiting ones have seen.
    pub(super) seen: (u64, u64),
    /// Where DNS answers are told.
    pub(super) learn: Option<LearnWriter>,
    /// What protocols say, to the client and to the server; reused.
    pub(super) said: [Vec<u8>; 2],
    /// Payloads of frames in several buffers; reused.
    pub(crate) scratch: Vec<u8>,
    /// What is kept for whom.
    pub(super) shares: Shares,
    /// What waits for the next frame of the burst.
    pub(super) turn: Turn,
}

impl Inspections {
    /// A table for at most `limit` connections.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Sets where DNS answers are told.
    pub(crate) fn set_learning(&mut self, learn: LearnWriter) {
        self.learn = Some(learn);
    }

    /// The number of the last DNS answer of this worker that is in force.
    pub(super) fn learnt(&self, snapshot: &Snapshot) -> u64 {
        self.learn.as_ref().map_or(0, |learn| snapshot.learnt.of(learn.worker()))
    }

    /// What they hold.
    pub(crate) fn load(&self) -> InspectionLoad {
        let Share { frames, bytes } = self.shares.total();
        InspectionLoad { connections: self.live, frames, bytes, answers: self.answers.len() }
    }

    /// Adds one; `None` when the table is full.
    pub(super) fn insert(&mut self, inspection: Inspection) -> Option<u32> {
        if self.live >= self.limit {
            return None;
        }
        self.live += 1;
        let inspection = Some(Box::new(inspection));
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = inspection;
            return Some(slot);
        }
        self.slots.push(inspection);
        Some((self.slots.len() - 1) as u32)
    }

    /// The one in that slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&Inspection> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The one in that slot.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Inspection> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The connections in `count` slots from `from` on, and where to go on, if there are more.
    pub(crate) fn conns(
        &self,
        from: usize,
        count: usize,
    ) -> (impl Iterator<Item = ConnHandle>, Option<usize>) {
        let behind = from.saturating_add(count);
        let piece = self.slots.iter().skip(from).take(count).flatten().map(|inspection| inspection.conn);
        (piece, (behind < self.slots.len()).then_some(behind))
    }

    /// Takes the one in that slot out, to be [put back](Self::put_back).
    pub(super) fn take(&mut self, slot: u32) -> Option<Box<Inspection>> {
        self.slots.get_mut(slot as usize)?.take()
    }

    /// Puts it back and counts what it keeps.
    pub(super) fn put_back(&mut self, slot: u32, mut inspection: Box<Inspection>) {
        let counted = match &inspection.protocol {
            Protocol::Stream(splice) => splice.keeps(),
            Protocol::Datagrams(_) => [Share::default(); 2],
        };
        self.count(&inspection, counted);
        inspection.counted = counted;
        self.slots[slot as usize] = Some(inspection);
    }

    fn count(&mut self, inspection: &Inspection, now: [Share; 2]) {
        for ((port, before), after) in inspection.ports.into_iter().zip(inspection.counted).zip(now) {
            self.shares.replace(port, before, after);
        }
    }

    /// Ends one whose connection is gone; answers it, with the frames that wait in it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Inspection>> {
        let inspection = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.live -= 1;
        self.count(&inspection, [Share::default(); 2]);
        Some(inspection)
    }

    /// The splice of that connection, if it has one.
    pub(crate) fn splice(&self, slot: u32) -> Option<&Splice> {
        match &self.get(slot)?.protocol {
            Protocol::Stream(splice) => Some(splice),
            Protocol::Datagrams(_) => None,
        }
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let answer = self.answers.front().map(|answer| answer.until);
        [timer, answer].into_iter().flatten().min()
    }
}
