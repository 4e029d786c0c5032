//! A segment is taken in: what it acknowledges, where its bytes belong, and what the protocol says to them.

use super::header;
use super::stream::{Held, Intake, MAX_AHEAD};
use super::{Drive, GAP, Splice, index};
use crate::verify::Completion;
use flowlog::DropReason;
use l7::{End, Side};
use packet::{Frame, L4, Packet, PacketIo, Tcp};

/// A segment of an inspected connection.
pub(crate) struct Segment {
    pub(crate) side: Side,
    pub(crate) frame: Frame,
    pub(crate) packet: Packet,
    pub(crate) tcp: Tcp,
    pub(crate) completion: Completion,
}

/// What became of a segment that was taken in.
pub(crate) enum Arrival {
    /// It takes its turn in its stream.
    Turn(Held),
    /// It waits behind a gap.
    Waits,
    /// It has no bytes and can be passed on at once.
    Bare(Segment),
    /// It asks whether the other end is there, or takes something; with that output offset, and without its byte, so
    /// will we.
    Probe(Frame, u64),
    /// It is of no use.
    Over(Frame),
    /// It is refused.
    Refused(Frame, DropReason),
    /// It ends the connection; what of the server's was decided before still passes.
    Ended(End, Option<Held>),
}

impl Arrival {
    /// The protocol ends the connection at a segment of `side`.
    pub(crate) fn ended<I: PacketIo>(io: &mut I, side: Side, over: End, held: Held) -> Self {
        if side == Side::Server {
            return Self::Ended(over, Some(held));
        }
        // The server is about to be reset: what it has is enough.
        io.release(held.frame);
        Self::Ended(over, None)
    }
}

impl Splice {
    /// Takes a segment in: learns what it acknowledges and puts its bytes before the protocol. Nothing leaves yet.
    pub(crate) fn arrive<I: PacketIo>(
        &mut self,
        io: &mut I,
        segment: Segment,
        scratch: &mut Vec<u8>,
        drive: &mut Drive<'_>,
    ) -> Arrival {
        let Segment { side, tcp, packet, .. } = segment;
        let head = io.bytes(&segment.frame);
        self.set_clock(side, header::timestamp(head, &packet), tcp.flags.syn());
        if tcp.flags.syn() {
            let clock = self.voices[index(side)].clock;
            return match self.synchronize(side, &tcp, clock) {
                Ok(()) => Arrival::Bare(segment),
                Err(reason) => Arrival::Refused(segment.frame, reason),
            };
        }
        let speaks = tcp.payload_len > 0 || tcp.flags.fin();
        if speaks && self.voices.iter().any(|voice| voice.base.is_none()) {
            // Only who forgot nothing of an older connection answers a SYN without one of its own. Bytes that we take for
            // the first ones would be the rest of a message there.
            return Arrival::Refused(segment.frame, DropReason::InvalidTcpState);
        }
        let old_acked = self.streams[index(side.opposite())].acked;
        if tcp.flags.ack() && !self.acknowledge(side, &tcp) {
            return Arrival::Refused(segment.frame, DropReason::InvalidTcpState);
        }
        if let Err(over) = self.unstall(side, drive) {
            io.release(segment.frame);
            return Arrival::Ended(over, None);
        }
        let Some(start) = self.place_of(side, &tcp) else {
            // A keep-alive probe in front of the first byte.
            return if self.streams.iter().all(super::Stream::plain) && tcp.payload_len <= 1 {
                Arrival::Bare(segment)
            } else {
                self.streams[index(side)].ack_due = true;
                Arrival::Over(segment.frame)
            };
        };
        if !speaks {
            return self.bare(segment, start, old_acked);
        }
        if tcp.flags.rst() {
            // A reset needs no text, and nobody has judged this one.
            return Arrival::Refused(segment.frame, DropReason::InvalidTcpState);
        }
        self.payload(io, segment, start, scratch, drive)
    }

    /// Notes a sender's clock, if its segment tells it.
    pub(super) fn set_clock(&mut self, side: Side, clock: Option<u32>, syn: bool) {
        let (voice, Some(clock)) = (&mut self.voices[index(side)], clock) else { return };
        // Segments come out of order; a clock of ours that went back would be taken for an old segment (PAWS).
        let later = |known: u32| (clock.wrapping_sub(known) as i32) > 0;
        if syn || voice.clock.is_some_and(later) {
            voice.clock = Some(clock);
        }
    }

    fn acknowledge(&mut self, side: Side, tcp: &Tcp) -> bool {
        let Some(y) = self.acknowledged_by(side, tcp) else { return true };
        let window = u64::from(tcp.window) << self.voices[index(side)].shift;
        let bare = tcp.payload_len == 0 && !tcp.flags.fin();
        self.streams[index(side.opposite())].acknowledge(y, window, bare)
    }

    /// A segment without bytes: acknowledgements, probes, resets.
    fn bare(&mut self, segment: Segment, start: u64, old_acked: u64) -> Arrival {
        let side = segment.side;
        if segment.tcp.flags.rst() {
            return Arrival::Bare(segment);
        }
        let stream = &mut self.streams[index(side)];
        if !stream.plain() && start < stream.arrived() {
            // A keep-alive probe about bytes that the receiver may never have seen: we know that they arrived.
            let out = stream.cuts.output(start.min(stream.boundary));
            if out >= stream.acked || stream.fin_taken {
                stream.ack_due = true;
                return Arrival::Over(segment.frame);
            }
        }
        let other = &self.streams[index(side.opposite())];
        let news = other.plain()
            || other.arrived() != other.told
            || self.window_of(side) != other.told_window
            || other.acked == old_acked;
        // About nothing but bytes that are ours: the other side never sent them.
        if news { Arrival::Bare(segment) } else { Arrival::Over(segment.frame) }
    }

    fn payload<I: PacketIo>(
        &mut self,
        io: &mut I,
        segment: Segment,
        start: u64,
        scratch: &mut Vec<u8>,
        drive: &mut Drive<'_>,
    ) -> Arrival {
        let Segment { side, frame, packet, tcp, completion } = segment;
        let i = index(side);
        let end = start + u64::from(tcp.payload_len);
        let stream = &mut self.streams[i];
        let acked = stream.cuts.input(stream.acked);
        if end + u64::from(tcp.flags.fin()) <= acked {
            // Nothing that the receiver would look at. It is not passed on, since nobody compares it any more.
            // Just before what the receiver expects, so that it answers.
            let asked = stream.acked.wrapping_sub(1);
            if tcp.payload_len == 1 && end == acked {
                return Arrival::Probe(frame, asked);
            }
            stream.ack_due = true;
            if stream.edge <= stream.acked {
                // Its window is shut as far as is known here; what opened it may have been lost.
                return Arrival::Probe(frame, asked);
            }
            return Arrival::Over(frame);
        }
        let mut held = Held {
            frame,
            packet,
            completion,
            start,
            end,
            next: start.max(acked.min(end)),
            fin: tcp.flags.fin(),
        };
        let stream = &mut self.streams[i];
        let plain_body = end <= stream.boundary && start >= stream.kept.end() && stream.cuts.none();
        if plain_body && !held.fin && stream.fin.is_none() {
            return Arrival::Turn(held);
        }
        let payload = payload_of(io, &held.frame, &packet, scratch);
        let (intake, new) = stream.take_in(start, payload, held.fin);
        match intake {
            Intake::Refuse(reason) => return Arrival::Refused(held.frame, reason),
            Intake::Ahead => {
                stream.ack_due = true;
                if !drive.may_hold[i]
                    || stream.ahead.len() >= MAX_AHEAD
                    || stream.ahead.iter().any(|other| other.start == start)
                {
                    return Arrival::Refused(held.frame, DropReason::L7Backpressure);
                }
                stream.ahead.push(held);
                stream.ahead_until.get_or_insert(drive.now + GAP);
                return Arrival::Waits;
            }
            Intake::Known => {
                held.end = end.min(stream.boundary).max(start);
                held.fin &= held.end == end;
            }
            Intake::Go => {}
        }
        if (!new.is_empty() || stream.at_end())
            && let Err(over) = self.drive(side, new, drive)
        {
            return Arrival::ended(io, side, over, held);
        }
        Arrival::Turn(held)
    }

    /// Puts a frame behind those of its stream that were taken in before it.
    pub(crate) fn queue(&mut self, side: Side, held: Held) {
        self.streams[index(side)].held.push_back(held);
    }

    /// Whether frames of `side` wait behind a gap.
    pub(crate) fn has_late(&mut self, side: Side) -> bool {
        let stream = &mut self.streams[index(side)];
        if stream.ahead.is_empty() {
            stream.ahead_until = None;
        }
        !stream.ahead.is_empty()
    }

    /// The next frame that waited behind a gap, if the gap is filled; goes through [`Splice::arrive`]'s second half.
    pub(crate) fn arrive_late<I: PacketIo>(
        &mut self,
        io: &mut I,
        side: Side,
        scratch: &mut Vec<u8>,
        drive: &mut Drive<'_>,
    ) -> Option<Arrival> {
        let stream = &mut self.streams[index(side)];
        let have = stream.have();
        let at = stream.ahead.iter().position(|held| held.start <= have)?;
        let Held { frame, packet, completion, start, .. } = stream.ahead.swap_remove(at);
        let L4::Tcp(tcp) = packet.l4_header else { return Some(Arrival::Over(frame)) };
        Some(self.payload(io, Segment { side, frame, packet, tcp, completion }, start, scratch, drive))
    }
}

/// The payload in one piece: where it lies, or gathered in `scratch`.
pub(crate) fn payload_of<'a, I: PacketIo>(
    io: &'a I,
    frame: &Frame,
    packet: &Packet,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    let (from, to) = (usize::from(packet.payload), packet.end as usize);
    let head = io.bytes(frame);
    if to <= head.len() {
        return head.get(from..to).unwrap_or_default();
    }
    scratch.clear();
    io.for_each_buffer(frame, &mut |bytes| scratch.extend_from_slice(bytes));
    scratch.get(from..to).unwrap_or_default()
}
