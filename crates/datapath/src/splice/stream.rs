//! One direction of an inspected connection: the bytes of one sender on their way to one receiver.
//!
//! ```text
//! input offsets   0 ........ boundary ........ have
//!                 decided    | pending         | not seen, or ahead
//!                            taken: acknowledged in the receiver's name
//! ```

use super::cuts::Cuts;
use super::kept::Kept;
use super::owed::{Owed, Receiver};
use crate::verify::Completion;
use flowlog::DropReason;
use l7::inspector::MAX_UNDECIDED;
use l7::{Anomaly, End, Step};
use packet::{Frame, Instant, Packet};
use std::collections::VecDeque;

/// Frames of one stream that wait for a decision before their bytes are copied and acknowledged instead.
pub(super) const MAX_HELD: usize = 8;
/// Frames behind a gap that wait for it to be filled.
pub(super) const MAX_AHEAD: usize = 64;
/// Segment size where none was announced (RFC 9293 §3.7.1).
const DEFAULT_MSS: u16 = 536;
/// Window that is offered in the receiver's name while we take its bytes.
const TAKE_WINDOW: u64 = 32 * 1024;

/// What a side said in its SYN and says in every segment.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// Its sequence number of offset 0; unknown before its SYN.
    pub(super) base: Option<u32>,
    /// Longest segment it takes.
    pub(super) mss: u16,
    /// Shift of its window field; zero unless both sides scale.
    pub(super) shift: u8,
    pub(super) scales: Option<u8>,
    pub(super) sack: bool,
    /// Its clock, if it sends timestamps.
    pub(super) clock: Option<u32>,
}

impl Default for Voice {
    fn default() -> Self {
        Self { base: None, mss: DEFAULT_MSS, shift: 0, scales: None, sack: false, clock: None }
    }
}

/// A frame that is not passed on yet, or not wholly.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) frame: Frame,
    pub(super) packet: Packet,
    pub(super) completion: Completion,
    /// Input offset of its first byte.
    pub(super) start: u64,
    /// Input offset behind its last.
    pub(super) end: u64,
    /// Bytes before this are dealt with.
    pub(super) next: u64,
    pub(super) fin: bool,
}

impl Held {
    /// The frame, to be released.
    pub(crate) fn into_frame(self) -> Frame {
        self.frame
    }
}

/// What to do with the segment that was taken in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Intake {
    /// Pass on what is decided, hold the rest.
    Go,
    /// Pass on what is decided; the rest is known already.
    Known,
    /// Behind a gap.
    Ahead,
    /// Not acceptable.
    Refuse(DropReason),
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Everything before it is decided; may lie beyond what has come.
    pub(super) boundary: u64,
    pub(super) cuts: Cuts,
    pub(super) kept: Kept,
    pub(super) owed: Owed,
    /// Bytes behind the boundary.
    pub(super) pending: Vec<u8>,
    /// Undecided bytes before this were acknowledged in the receiver's name and are ours to deliver.
    pub(super) taken: u64,
    /// Whether undecided bytes are taken as they come.
    pub(super) taking: bool,
    /// Whether the sender was ever offered more than the receiver takes.
    pub(super) overdrawn: bool,
    /// When held frames are taken instead.
    pub(super) hold_until: Option<Instant>,
    pub(super) held: VecDeque<Held>,
    pub(super) ahead: Vec<Held>,
    /// When the frames behind a gap are given up.
    pub(super) ahead_until: Option<Instant>,
    /// Input offset behind the last byte, once its sender has ended it.
    pub(super) fin: Option<u64>,
    /// Whether the end may be passed on.
    pub(super) fin_agreed: bool,
    /// Whether the end is acknowledged in the receiver's name, which will never see it.
    pub(super) fin_taken: bool,
    /// Output before this was put on the wire.
    pub(super) sent: u64,
    /// Output before this was acknowledged.
    pub(super) acked: u64,
    /// The receiver takes nothing from this output offset on.
    pub(super) edge: u64,
    /// Input up to which the sender was told that it arrived.
    pub(super) told: u64,
    /// Window field that it was told with.
    pub(super) told_window: u16,
    /// Whether the sender is to be told again.
    pub(super) ack_due: bool,
}

impl Stream {
    /// Input offset behind the last byte that was seen in order.
    pub(super) fn have(&self) -> u64 {
        self.boundary.saturating_add(self.pending.len() as u64)
    }

    /// Whether all that ever comes passes.
    pub(super) fn open_ended(&self) -> bool {
        self.boundary == u64::MAX
    }

    /// Whether both spaces are the same and nobody was told anything in another's name.
    pub(super) fn plain(&self) -> bool {
        self.cuts.none() && self.taken <= self.boundary
    }

    /// What the sender may be told: input up to which all has arrived.
    pub(super) fn arrived(&self) -> u64 {
        let x = self.cuts.input(self.acked);
        if self.fin_taken && self.fin == Some(x) {
            return x + 1;
        }
        if x == self.boundary { x.max(self.taken) } else { x }
    }

    /// Bytes that the sender may send behind [`Stream::arrived`].
    pub(super) fn room(&self) -> u64 {
        let room = self.cuts.place(self.edge).saturating_sub(self.arrived());
        if !self.taking {
            return room;
        }
        let spare = (MAX_UNDECIDED - self.pending.len().min(MAX_UNDECIDED)) as u64;
        room.max(spare.min(TAKE_WINDOW))
    }

    /// Output offset of a segment without bytes at input offset `start`: not beyond what is decided, and behind the end
    /// if it is.
    pub(super) fn place_of_bare(&self, start: u64) -> u64 {
        match self.fin {
            Some(fin) if self.fin_agreed && start > fin => self.cuts.output(fin) + 1,
            _ => self.cuts.output(start.min(self.boundary)),
        }
    }

    /// Whether the end has to wait for bytes that were put in before it.
    pub(super) fn fin_waits(&self) -> bool {
        self.owed.has_unsent()
    }

    /// Where passing on ends for now. Bytes beyond what the receiver takes can only come because their sender was
    /// offered more, or because others were put in before them. One byte passes all the same where the window is shut:
    /// the sender asks whether it still is (RFC 9293 §3.8.6.1), and nobody else would, if the answer that opened it was
    /// lost.
    pub(super) fn passable(&self, from: u64, to: u64) -> u64 {
        if !self.overdrawn && self.cuts.none() {
            return to;
        }
        let at = self.cuts.output(from);
        let room = self.edge.saturating_sub(at).max(u64::from(at == self.acked));
        to.min(from.saturating_add(room))
    }

    /// Takes decided bytes over that the sender was let send and the receiver does not take yet. `false`: they are left
    /// to their sender to repeat.
    pub(super) fn take_decided(&mut self, at: u64, bytes: &[u8]) -> bool {
        let next = at >= self.cuts.end() && self.cuts.output(at) >= self.sent.max(self.owed.end());
        if !next || !self.cuts.has_room(1) || !self.owed.has_room(bytes.len()) {
            return false;
        }
        let len = bytes.len() as u64;
        let out = self.cuts.add(at, len, len, len);
        self.owed.add(out, bytes);
        self.ack_due = true;
        true
    }

    /// The receiver of this stream, for what is owed to it.
    pub(super) fn receiver(&self, mss: usize) -> Receiver {
        Receiver { sent: self.sent, acked: self.acked, edge: self.edge, mss }
    }

    /// The receiver has acknowledged output up to `y` and takes `window` bytes more. `false`: what was never sent.
    pub(super) fn acknowledge(&mut self, y: u64, window: u64, bare: bool) -> bool {
        if y > self.sent {
            return false;
        }
        if y < self.acked {
            return true;
        }
        let again = y == self.acked && bare;
        let closed = self.edge <= self.acked;
        self.acked = y;
        // Receivers do not take back what they offered (RFC 9293 §3.8.6); a smaller edge comes from an older segment.
        self.edge = self.edge.max(y.saturating_add(window));
        if !self.owed.is_empty() {
            if closed {
                self.owed.rest();
            }
            if self.owed.acknowledged(y, again) {
                self.owed.hurry();
            }
        }
        self.kept.forget(self.cuts.input(y));
        self.cuts.acknowledged(y);
        true
    }

    /// Takes in the segment with input `start..`, up to the point where its new bytes are to be judged. Answers what
    /// to do with the frame and which of the bytes are new.
    pub(super) fn take_in<'a>(&mut self, start: u64, payload: &'a [u8], fin: bool) -> (Intake, &'a [u8]) {
        let end = start + payload.len() as u64;
        let refuse = |reason| (Intake::Refuse(reason), &payload[..0]);
        if self.fin_agreed && !fin && self.fin == Some(start) && end == start + 1 {
            // A keep-alive probe in the place of the end.
            self.ack_due = true;
            return (Intake::Known, &payload[..0]);
        }
        if !self.may_end(end, fin) {
            return refuse(DropReason::InvalidTcpState);
        }
        if start < self.kept.end() && !self.kept.agrees(start, payload) {
            return refuse(DropReason::L7(Anomaly::SegmentOverlapDiffers));
        }
        if !self.cuts.none() {
            // What was swallowed before may come again because the sender does not know that it arrived.
            self.ack_due |= self.cuts.receive(start, end.min(self.boundary)) || start < self.arrived();
        }
        let have = self.have();
        if end > self.boundary && start > have {
            let out = self.cuts.output(self.boundary).saturating_add(start - self.boundary);
            let takes = out <= self.edge || self.taking;
            return if takes { (Intake::Ahead, &payload[..0]) } else { refuse(DropReason::InvalidTcpState) };
        }
        if fin {
            self.fin = Some(end);
        }
        if end <= self.boundary {
            return (Intake::Go, &payload[..0]);
        }
        let known = &payload[(self.boundary.saturating_sub(start) as usize).min(payload.len())..];
        let (old, new) = known.split_at((have - start.max(self.boundary)).min(known.len() as u64) as usize);
        let at = (start.max(self.boundary) - self.boundary) as usize;
        // Asked first because it is nearly always so, and comparing nothing is not free.
        if !old.is_empty() && self.pending.get(at..at + old.len()) != Some(old) {
            return refuse(DropReason::L7(Anomaly::SegmentOverlapDiffers));
        }
        if new.is_empty() {
            self.ack_due |= self.taken > start;
            return (Intake::Known, new);
        }
        if self.pending.len() + new.len() > MAX_UNDECIDED {
            return refuse(DropReason::L7Backpressure);
        }
        (Intake::Go, new)
    }

    /// A stream ends once, behind all of its bytes.
    fn may_end(&self, end: u64, fin: bool) -> bool {
        match self.fin {
            Some(at) => end <= at && (!fin || end == at),
            None if fin => {
                let behind = !self.pending.is_empty() && end < self.have();
                !behind && end >= self.cuts.input(self.acked)
            }
            None => true,
        }
    }

    /// Whether whatever a protocol decides next finds room. Where it does not, the receiver has to acknowledge first.
    pub(super) fn has_room(&self) -> bool {
        self.cuts.has_room(4) && self.owed.has_room(MAX_UNDECIDED) && self.kept.has_room()
    }

    /// Applies a step about `hand`, the bytes behind the boundary; answers how many of them are decided.
    pub(super) fn apply(&mut self, step: Step, hand: &[u8]) -> Result<usize, End> {
        let full = Err(End::Anomaly(Anomaly::SegmentOverflow));
        let (len, swallow) = match step {
            Step::Pass { counted, free } => {
                let Some(counted_bytes) = hand.get(..counted) else { return full };
                let len = (counted as u64).saturating_add(free);
                let ours = self.taken.min(self.boundary.saturating_add(len)).saturating_sub(self.boundary);
                let ours_len = (ours as usize).min(hand.len());
                if ours_len > 0 {
                    if !self.cuts.has_room(1) || !self.owed.has_room(ours_len) {
                        return full;
                    }
                    let at = self.cuts.add(self.boundary, ours, ours, ours);
                    self.owed.add(at, &hand[..ours_len]);
                }
                let from = ours_len.min(counted);
                self.kept.add(self.boundary + from as u64, &counted_bytes[from..]);
                (len, false)
            }
            Step::Swallow { len } => (len, true),
            Step::NeedMore | Step::Wait | Step::End(_) => return Ok(0),
        };
        if len == 0 {
            return Ok(0);
        }
        let decided = len.min(hand.len() as u64);
        if swallow {
            if !self.cuts.has_room(1) {
                return full;
            }
            self.cuts.add(self.boundary, len, decided, 0);
            self.ack_due = true;
        }
        self.boundary = self.boundary.saturating_add(len);
        Ok(decided as usize)
    }

    /// Puts bytes into the stream at its boundary.
    pub(super) fn insert(&mut self, bytes: &[u8]) -> Result<(), End> {
        let over = self.open_ended() || self.fin_agreed || self.owed.fin().is_some();
        if bytes.is_empty() || over {
            return Ok(());
        }
        if !self.cuts.has_room(1) || !self.owed.has_room(bytes.len()) {
            return Err(End::Anomaly(Anomaly::SegmentOverflow));
        }
        let at = self.cuts.add(self.boundary, 0, 0, bytes.len() as u64);
        self.owed.add(at, bytes);
        Ok(())
    }

    /// Whether the sender's end has been reached and is to be put before the protocol.
    pub(super) fn at_end(&self) -> bool {
        self.fin.is_some_and(|at| !self.fin_agreed && self.have() >= at)
    }

    /// The end passes; undecided bytes before it do not.
    pub(super) fn agree_end(&mut self) {
        if !self.pending.is_empty() && self.cuts.has_room(1) {
            let len = self.pending.len() as u64;
            self.cuts.add(self.boundary, len, len, 0);
            self.boundary += len;
            self.pending = Vec::new();
        }
        self.fin_agreed = true;
    }

    /// Undecided bytes are ours from now on: their frames can go and the sender is told that they arrived.
    pub(super) fn take_over(&mut self) {
        (self.taking, self.overdrawn) = (true, true);
        self.taken = self.have();
        self.ack_due = true;
        self.hold_until = None;
    }

    /// Whether nothing waits, nothing is owed and nothing is undecided: there is nothing to pass on and nothing to let go.
    pub(super) fn is_at_rest(&self) -> bool {
        self.owed.is_empty()
            && self.held.capacity() == 0
            && self.pending.capacity() == 0
            && self.hold_until.is_none()
            && !self.taking
    }

    /// Nothing is undecided any more.
    pub(super) fn settle(&mut self) {
        if self.pending.is_empty() {
            self.taking = false;
            self.hold_until = None;
            if self.pending.capacity() > 0 {
                self.pending = Vec::new();
            }
        }
    }
}
