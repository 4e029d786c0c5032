//! What is decided leaves, in its own frame where that is whole.

use super::arrive::{Segment, payload_of};
use super::header::{Header, Rewrite};
use super::say::{MAX_HEADERS, MAX_PIECE, piece_limit, write};
use super::stream::{Held, MAX_HELD};
use super::{HOLD, Splice, index};
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use crate::verify::Completion;
use flowlog::DropReason;
use l7::Side;
use packet::{Instant, L4, PacketIo, PortId, TcpFlags};
use std::collections::VecDeque;

/// The two ends' ports: where segments for the client and for the server leave.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) client: PortId,
    pub(crate) server: PortId,
}

impl Ends {
    pub(super) const fn of(&self, side: Side) -> PortId {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}

/// Frames of one side that were taken in and are not among those that wait yet, in order.
#[derive(Default)]
pub(crate) struct Fresh {
    pub(crate) side: Option<Side>,
    pub(crate) frames: Vec<Held>,
}

impl Pipeline {
    /// Passes on what is decided on both streams, `fresh` behind what waits already, says what is owed, and acknowledges
    /// what has to be. `may_hold`: whether frames of client and server may go on waiting; else their bytes are taken over.
    pub(crate) fn relay<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        ends: &Ends,
        fresh: &mut Fresh,
        may_hold: [bool; 2],
        now: Instant,
    ) {
        for side in [Side::Client, Side::Server] {
            let speaks = fresh.side == Some(side) && !fresh.frames.is_empty();
            if !speaks && splice.streams[index(side)].is_at_rest() {
                continue;
            }
            // What was taken over stands before what came later.
            self.say_owed(io, snapshot, splice, side, ends, now);
            self.relay_decided(io, snapshot, splice, side, ends, now);
            let stream = &mut splice.streams[index(side)];
            if stream.held.is_empty() {
                // What waits from now on begins to wait now, though the stream may never have been without undecided bytes.
                stream.hold_until = None;
            }
            if speaks {
                for held in fresh.frames.drain(..) {
                    if let Some(rest) = self.relay_held(io, snapshot, splice, side, ends, held, now) {
                        splice.queue(side, rest);
                    }
                    self.say_owed(io, snapshot, splice, side, ends, now);
                }
            } else {
                self.say_owed(io, snapshot, splice, side, ends, now);
            }
            // An end may have waited for what was put in before it.
            self.relay_decided(io, snapshot, splice, side, ends, now);
            let stream = &mut splice.streams[index(side)];
            stream.settle();
            if stream.held.is_empty() {
                // Room for frames is worth more than what an idle connection holds of it.
                if stream.held.capacity() > 0 {
                    stream.held = VecDeque::new();
                }
                // Undecided bytes whose frames are gone, because the receiver did not take what stood before them: their
                // sender would repeat what is known already, for ever.
                if !stream.pending.is_empty() && stream.taken < stream.have() {
                    stream.take_over();
                }
            } else {
                if stream.taking || stream.held.len() > MAX_HELD || !may_hold[index(side)] {
                    stream.take_over();
                    stream.held.drain(..).for_each(|held| io.release(held.frame));
                } else if stream.hold_until.is_none() {
                    stream.hold_until = Some(now + HOLD);
                }
            }
        }
        for side in [Side::Client, Side::Server] {
            let stream = &splice.streams[index(side)];
            let news = !stream.plain() && stream.arrived() > stream.told;
            if (stream.ack_due || news) && splice.voices[index(side.opposite())].base.is_some() {
                self.acknowledge(io, snapshot, splice, side.opposite(), ends);
            }
        }
    }

    fn relay_decided<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
        now: Instant,
    ) {
        let i = index(side);
        for _ in 0..splice.streams[i].held.len() {
            let Some(held) = splice.streams[i].held.pop_front() else { return };
            if let Some(rest) = self.relay_held(io, snapshot, splice, side, ends, held, now) {
                splice.streams[i].held.push_back(rest);
            }
        }
    }

    /// Passes on what of a frame is decided; answers the frame if there is more to come.
    fn relay_held<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
        mut held: Held,
        now: Instant,
    ) -> Option<Held> {
        let i = index(side);
        let stream = &splice.streams[i];
        let upto = held.end.min(stream.boundary);
        let with_fin = held.fin && stream.fin_agreed && !stream.fin_taken;
        let whole = stream.cuts.passed(held.start, held.end) == Some((held.start, held.end))
            && stream.passable(held.start, held.end) == held.end;
        let L4::Tcp(tcp) = held.packet.l4_header else {
            io.release(held.frame);
            return None;
        };
        // Nothing was put in between the last byte and the end.
        let ends_here = !with_fin
            || stream.cuts.output(held.end) == stream.cuts.output(held.start) + (held.end - held.start);
        let untrimmed = held.end - held.start == u64::from(tcp.payload_len);
        if whole
            && ends_here
            && untrimmed
            && held.next == held.start
            && upto == held.end
            && held.fin == with_fin
        {
            let at = stream.cuts.output(held.start);
            let segment =
                Segment { side, frame: held.frame, packet: held.packet, tcp, completion: held.completion };
            self.relay_whole(io, snapshot, splice, segment, at, ends, now);
            let stream = &mut splice.streams[i];
            stream.sent = stream.sent.max(at + (held.end - held.start) + u64::from(with_fin));
            return None;
        }
        while let Some((from, to)) = splice.streams[i].cuts.passed(held.next, upto) {
            let until = splice.streams[i].passable(from, to);
            let fin = with_fin && ends_here && until == held.end;
            if from < until {
                self.relay_piece(io, snapshot, splice, side, ends, &held, (from, until), fin);
            }
            if until < to && !self.take_piece(io, splice, side, &held, (until, to)) {
                io.release(held.frame);
                return None;
            }
            held.next = to;
            held.fin &= !fin;
        }
        held.next = upto.max(held.next);
        if held.next < held.end {
            return Some(held);
        }
        if held.fin && with_fin {
            if splice.streams[i].fin_waits() {
                return Some(held);
            }
            self.relay_piece(io, snapshot, splice, side, ends, &held, (held.end, held.end), true);
        } else if held.fin
            && !splice.streams[i].fin_agreed
            && splice.streams[i].fin == Some(held.end)
            && !splice.closing
        {
            return Some(held);
        }
        io.release(held.frame);
        None
    }

    /// Takes over a part of a frame's bytes that the receiver does not take yet.
    fn take_piece<I: PacketIo>(
        &mut self,
        io: &I,
        splice: &mut Splice,
        side: Side,
        held: &Held,
        (from, to): (u64, u64),
    ) -> bool {
        let scratch = &mut self.inspections.scratch;
        let payload = payload_of(io, &held.frame, &held.packet, scratch);
        let part = payload.get((from - held.start) as usize..(to - held.start) as usize);
        part.is_some_and(|bytes| splice.streams[index(side)].take_decided(from, bytes))
    }

    /// Passes a frame on as it is, with its numbers translated.
    pub(crate) fn relay_whole<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        segment: Segment,
        at: u64,
        ends: &Ends,
        now: Instant,
    ) {
        let Segment { side, mut frame, packet, tcp, completion } = segment;
        let out = ends.of(side.opposite());
        if snapshot.ports.get(out).is_some_and(|port| packet.ip_len() > port.mtu) {
            // Before the numbers are changed: the sender has to recognise its own segment in what it is told.
            let reason = DropReason::FragmentationNeeded.into();
            return self.drop_packet(io, snapshot, frame, &packet, reason, now);
        }
        let rewrites = splice.rewrites(side);
        let urgent = tcp.flags.0 & TcpFlags::URG != 0;
        let mut window = tcp.window;
        if rewrites || urgent || tcp.flags.syn() {
            let new = splice.numbers(side, at);
            let other = &splice.streams[index(side.opposite())];
            let base = splice.voices[index(side.opposite())].base;
            let partial = completion != Completion::None;
            if let Some(mut header) = Header::new(io.bytes_mut(&mut frame), &packet, partial) {
                if tcp.flags.syn() {
                    header.keep_plain_options();
                } else if rewrites {
                    header.rewrite(&Rewrite { ack: if tcp.flags.ack() { new.ack } else { tcp.ack }, ..new });
                    window = new.window;
                    header.translate_sack(|edge| {
                        let y = super::near(edge, base?, other.acked).filter(|&y| y <= other.sent)?;
                        let x = other.cuts.input(y);
                        (x >= other.cuts.floor()).then(|| base.map(|base| base.wrapping_add(x as u32)))?
                    });
                }
                if urgent {
                    header.clear_urgent();
                }
            }
        }
        if tcp.flags.ack() {
            splice.tell(side, window);
        }
        self.forward(io, snapshot, frame, &packet, out, completion, now);
    }

    /// A bare segment goes on.
    pub(crate) fn relay_bare<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        segment: Segment,
        ends: &Ends,
        now: Instant,
    ) {
        let side = segment.side;
        let stream = &splice.streams[index(side)];
        let at = match splice.place_of(side, &segment.tcp) {
            Some(start) => stream.place_of_bare(start),
            None => stream.cuts.output(0).wrapping_sub(1),
        };
        if segment.tcp.flags.syn() {
            return self.relay_whole(io, snapshot, splice, segment, at, ends, now);
        }
        if segment.tcp.flags.rst() {
            splice.drain_frames().for_each(|frame| io.release(frame));
        }
        self.relay_whole(io, snapshot, splice, segment, at, ends, now);
    }

    /// Sends a part of a frame's bytes in segments of our own.
    fn relay_piece<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
        held: &Held,
        (from, to): (u64, u64),
        fin: bool,
    ) {
        let mut scratch = std::mem::take(&mut self.inspections.scratch);
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let limit = piece_limit(splice, side, port);
        let mut at = splice.streams[index(side)].cuts.output(from);
        let mut from = from;
        loop {
            let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(limit);
            let mut buf = [0; MAX_HEADERS + MAX_PIECE];
            let payload = payload_of(io, &held.frame, &held.packet, &mut scratch);
            let skip = (from - held.start) as usize;
            let Some(bytes) = payload.get(skip..skip + len) else { break };
            let last = from + len as u64 == to;
            let flags = TcpFlags::ACK
                | if last { TcpFlags::PSH } else { 0 }
                | if last && fin { TcpFlags::FIN } else { 0 };
            let written = write(&mut buf, splice, side, port, at, flags, bytes);
            self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
            at += len as u64;
            from += len as u64;
            if last {
                let stream = &mut splice.streams[index(side)];
                stream.sent = stream.sent.max(at + u64::from(fin));
                break;
            }
        }
        let window = splice.window_of(side);
        splice.tell(side, window);
        self.inspections.scratch = scratch;
    }
}
