//! Frames in, frames out: a segment is taken in, and what is decided leaves, in its own frame where that is whole.

use super::header::{self, Header, Options, Rewrite};
pub(crate) use super::stream::Held;
use super::stream::{Intake, MAX_AHEAD, MAX_HELD};
use super::{Drive, GAP, HOLD, Splice, index};
use crate::pipeline::Pipeline;
use crate::ports::Port;
use crate::snapshot::Snapshot;
use crate::verify::Completion;
use flowlog::DropReason;
use l7::{Anomaly, End, Side, Step};
use packet::emit::{self, Envelope};
use packet::{Frame, Instant, L4, Packet, PacketIo, Parsed, PortId, Tcp, TcpFlags};
use std::collections::VecDeque;

/// Longest payload of a segment of our own.
const MAX_PIECE: usize = 1400;
/// Headers in front of it.
const MAX_HEADERS: usize = 14 + 40 + 60;

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
    /// It asks whether the other end is there; with that output offset, and without its byte, so will we.
    Probe(Frame, u64),
    /// It is of no use.
    Over(Frame),
    /// It is refused.
    Refused(Frame, DropReason),
    /// It ends the connection; what of the server's was decided before still passes.
    Ended(End, Option<Held>),
}

/// The two ends' ports: where segments for the client and for the server leave.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) client: PortId,
    pub(crate) server: PortId,
}

impl Ends {
    const fn of(&self, side: Side) -> PortId {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
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
        let voice = &mut self.voices[index(side)];
        if let Some(clock) = header::timestamp(head, &packet) {
            // Segments come out of order; a clock of ours that went back would be taken for an old segment (PAWS).
            let later = |known: u32| (clock.wrapping_sub(known) as i32) > 0;
            if tcp.flags.syn() || voice.clock.is_some_and(later) {
                voice.clock = Some(clock);
            }
        }
        if tcp.flags.syn() {
            let clock = self.voices[index(side)].clock;
            return match self.synchronize(side, &tcp, clock) {
                Ok(()) => Arrival::Bare(segment),
                Err(reason) => Arrival::Refused(segment.frame, reason),
            };
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
        if tcp.payload_len == 0 && !tcp.flags.fin() {
            return self.bare(segment, start, old_acked);
        }
        if tcp.flags.rst() {
            // A reset needs no text, and nobody has judged this one.
            return Arrival::Refused(segment.frame, DropReason::InvalidTcpState);
        }
        self.payload(io, segment, start, scratch, drive)
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
            if tcp.payload_len == 1 && end == acked {
                return Arrival::Probe(frame, stream.cuts.output(start));
            }
            stream.ack_due = true;
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
                if !drive.may_hold
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
            if side == Side::Server {
                return Arrival::Ended(over, Some(held));
            }
            // The server is about to be reset: what it has is enough.
            io.release(held.frame);
            return Arrival::Ended(over, None);
        }
        Arrival::Turn(held)
    }

    /// Puts a frame behind those of its stream that were taken in before it.
    pub(crate) fn queue(&mut self, side: Side, held: Held) {
        self.streams[index(side)].held.push_back(held);
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
        if stream.ahead.is_empty() {
            stream.ahead_until = None;
            return None;
        }
        let have = stream.have();
        let at = stream.ahead.iter().position(|held| held.start <= have)?;
        let Held { frame, packet, completion, start, .. } = stream.ahead.swap_remove(at);
        let L4::Tcp(tcp) = packet.l4_header else { return Some(Arrival::Over(frame)) };
        Some(self.payload(io, Segment { side, frame, packet, tcp, completion }, start, scratch, drive))
    }

    /// The window field of segments that `side` sends.
    fn window_of(&self, side: Side) -> u16 {
        let room = self.streams[index(side.opposite())].room() >> self.voices[index(side)].shift;
        u16::try_from(room).unwrap_or(u16::MAX)
    }

    /// Whether segments that `side` sends have to be rewritten.
    fn rewrites(&self, side: Side) -> bool {
        let own = &self.streams[index(side)];
        !own.cuts.none() || !own.pending.is_empty() || !self.streams[index(side.opposite())].plain()
    }

    /// Header values of a segment that `side` sends, whose first byte has output offset `at`.
    fn numbers(&self, side: Side, at: u64) -> Rewrite {
        let base = |side: Side| self.voices[index(side)].base.unwrap_or(0);
        let other = side.opposite();
        Rewrite {
            seq: base(side).wrapping_add(at as u32),
            ack: base(other).wrapping_add(self.streams[index(other)].arrived() as u32),
            window: self.window_of(side),
        }
    }

    /// The other side is about to be told how much of its stream arrived.
    fn tell(&mut self, side: Side, window: u16) {
        let stream = &mut self.streams[index(side.opposite())];
        stream.told = stream.arrived();
        stream.told_window = window;
        stream.ack_due = false;
    }

    /// Options of a segment of our own in the name of `side`.
    fn options(&self, side: Side) -> Options {
        let (ours, theirs) = (&self.voices[index(side)], &self.voices[index(side.opposite())]);
        let stream = &self.streams[index(side.opposite())];
        let number = |x: u64| theirs.base.map(|base| base.wrapping_add(x as u32));
        let block = stream.ahead.last().filter(|_| ours.sack && theirs.sack);
        let block = block.filter(|held| held.start < held.end);
        let block = block.and_then(|held| Some((number(held.start)?, number(held.end)?)));
        Options::new(ours.clock.zip(theirs.clock), block)
    }

    /// Ends the connection in our name. What was put in for the client is still said, behind the bytes of the server
    /// that were passed before, and then its stream ends in order; without such bytes it is reset. The server is reset
    /// once nothing of its own is missing: see [`Splice::is_said`].
    pub(crate) fn close(&mut self) {
        self.engine = None;
        self.waiting = false;
        self.closing = true;
        let [to_server, to_client] = &mut self.streams;
        let orderly = !to_client.owed.is_empty();
        if orderly && to_client.owed.fin().is_none() {
            let at = to_client.cuts.output(to_client.boundary);
            to_client.owed.end_at(at);
        }
        for stream in [to_server, to_client] {
            let pending = std::mem::take(&mut stream.pending);
            stream.taken = stream.taken.min(stream.boundary);
            if !stream.open_ended() {
                // Without room for one more cut its sender is told nothing, and resets by itself.
                let _ = stream.apply(Step::Swallow { len: u64::MAX }, &pending);
            }
            stream.fin_taken = true;
        }
    }

    /// Whether the client of the ending connection has everything, so that the server, which alone can repeat its own
    /// bytes, is not needed any more.
    pub(crate) fn is_said(&self) -> bool {
        let to_client = &self.streams[index(Side::Server)];
        self.given_up || to_client.owed.last_words().is_none_or(|at| to_client.acked >= at)
    }

    /// The client of the ending connection acknowledges nothing any more.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Whether the client is told in order that the connection ends.
    pub(crate) fn ends_in_order(&self) -> bool {
        self.streams[index(Side::Server)].owed.fin().is_some()
    }

    /// Every frame that waits here.
    pub(crate) fn drain_frames(&mut self) -> impl Iterator<Item = Frame> {
        self.streams.iter_mut().flat_map(|stream| {
            stream.hold_until = None;
            stream.held.drain(..).chain(stream.ahead.drain(..)).map(|held| held.frame)
        })
    }

    /// Frames that wait here.
    pub(crate) fn frames(&self) -> usize {
        self.streams.iter().map(|stream| stream.held.len() + stream.ahead.len()).sum()
    }

    /// Bytes kept for this connection on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.pending.len()).sum()
    }
}

impl Pipeline {
    /// Passes on what is decided on both streams, `fresh` behind what waits already, says what is owed, and acknowledges
    /// what has to be. `may_hold`: whether frames may go on waiting; else their bytes are taken over.
    pub(crate) fn relay<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        ends: &Ends,
        mut fresh: Option<(Side, Held)>,
        may_hold: bool,
        now: Instant,
    ) {
        for side in [Side::Client, Side::Server] {
            // What was taken over stands before what came later.
            self.say_owed(io, snapshot, splice, side, ends, now);
            self.relay_decided(io, snapshot, splice, side, ends, now);
            if let Some((_, held)) = fresh.take_if(|(of, _)| *of == side)
                && let Some(rest) = self.relay_held(io, snapshot, splice, side, ends, held, now)
            {
                splice.queue(side, rest);
            }
            self.say_owed(io, snapshot, splice, side, ends, now);
            // An end may have waited for what was put in before it.
            self.relay_decided(io, snapshot, splice, side, ends, now);
            let stream = &mut splice.streams[index(side)];
            stream.settle();
            if stream.held.is_empty() {
                // Room for frames is worth more than what an idle connection holds of it.
                if stream.held.capacity() > 0 {
                    stream.held = VecDeque::new();
                }
                if stream.taking && stream.taken < stream.have() {
                    stream.take_over();
                }
            } else {
                if stream.taking || stream.held.len() > MAX_HELD || !may_hold {
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
            return self.drop_frame(io, snapshot, frame, Some(&Parsed::Ip(packet)), reason, now);
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
        let parsed = Parsed::Ip(packet);
        self.forward(io, snapshot, frame, (Some(&parsed), &packet), out, completion, now);
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

    /// Sends what is owed to the receiver of `side`'s stream, as far as its window goes.
    fn say_owed<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
        now: Instant,
    ) {
        let i = index(side);
        if splice.streams[i].owed.is_empty() {
            return;
        }
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let limit = piece_limit(splice, side, port);
        loop {
            let mut owed = std::mem::take(&mut splice.streams[i].owed);
            let to = splice.streams[i].receiver(limit);
            let piece = owed.next(&to);
            let sent = piece.map(|piece| self.say(io, splice, side, port, piece));
            splice.streams[i].owed = owed;
            let Some(sent) = sent else { break };
            splice.streams[i].sent = splice.streams[i].sent.max(sent);
        }
        splice.streams[i].owed.watch(now);
    }

    /// Sends one owed piece; answers the output offset behind it.
    fn say<I: PacketIo>(
        &mut self,
        io: &mut I,
        splice: &mut Splice,
        side: Side,
        port: &Port,
        piece: super::owed::Piece<'_>,
    ) -> u64 {
        let mut buf = [0; MAX_HEADERS + MAX_PIECE];
        let flags = TcpFlags::ACK | TcpFlags::PSH | if piece.fin { TcpFlags::FIN } else { 0 };
        let written = write(&mut buf, splice, side, port, piece.at, flags, piece.bytes);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
        let window = splice.window_of(side);
        splice.tell(side, window);
        piece.at + piece.bytes.len() as u64 + u64::from(piece.fin)
    }

    /// Asks the other end in the name of `side` whether it is there.
    pub(crate) fn probe<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        (side, at): (Side, u64),
        ends: &Ends,
    ) {
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let mut buf = [0; MAX_HEADERS];
        let written = write(&mut buf, splice, side, port, at, TcpFlags::ACK, &[]);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
    }

    /// Tells the other side in the name of `side` how much arrived.
    fn acknowledge<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
    ) {
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let mut buf = [0; MAX_HEADERS];
        let at = splice.streams[index(side)].sent;
        let written = write(&mut buf, splice, side, port, at, TcpFlags::ACK, &[]);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
        let window = splice.window_of(side);
        splice.tell(side, window);
    }

    /// Resets the end that receives `side`'s stream, with the number that it expects next.
    pub(crate) fn reset_end<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
    ) {
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let mut buf = [0; MAX_HEADERS];
        let at = splice.streams[index(side)].sent;
        let written = write(&mut buf, splice, side, port, at, TcpFlags::RST | TcpFlags::ACK, &[]);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
    }

    /// Timers of a splice: frames held for too long, bytes not acknowledged for too long. Why it is to end is answered,
    /// if it is.
    pub(crate) fn splice_timers<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        ends: &Ends,
        now: Instant,
    ) -> Option<End> {
        for side in [Side::Client, Side::Server] {
            let stream = &mut splice.streams[index(side)];
            if stream.hold_until.is_some_and(|until| until <= now) {
                stream.take_over();
                stream.held.drain(..).for_each(|held| io.release(held.frame));
            }
            if stream.ahead_until.is_some_and(|until| until <= now) {
                stream.ahead_until = None;
                stream.ahead.drain(..).for_each(|held| io.release(held.frame));
            }
            if stream.owed.due().is_some_and(|due| due <= now) {
                let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { continue };
                let limit = piece_limit(splice, side, port);
                let stream = &mut splice.streams[index(side)];
                let mut owed = std::mem::take(&mut stream.owed);
                let to = stream.receiver(limit);
                let alive = match owed.again(&to) {
                    Some(piece) => {
                        let sent = self.say(io, splice, side, port, piece);
                        let stream = &mut splice.streams[index(side)];
                        stream.sent = stream.sent.max(sent);
                        owed.expired(now)
                    }
                    None => {
                        owed.rest();
                        owed.watch(now);
                        true
                    }
                };
                splice.streams[index(side)].owed = owed;
                if !alive {
                    return Some(End::Anomaly(Anomaly::Unacknowledged));
                }
            }
        }
        None
    }
}

/// The longest payload of segments to the receiver of `side`'s stream.
fn piece_limit(splice: &Splice, side: Side, port: &Port) -> usize {
    let options = splice.options(side).as_slice().len();
    let by_port = (port.mtu as usize).saturating_sub(60 + options);
    usize::from(splice.voices[index(side.opposite())].mss)
        .saturating_sub(options)
        .min(by_port)
        .clamp(1, MAX_PIECE)
}

/// Writes a segment in the name of `side`, to leave by `port`.
fn write(
    buf: &mut [u8],
    splice: &Splice,
    side: Side,
    port: &Port,
    at: u64,
    flags: u8,
    payload: &[u8],
) -> Option<usize> {
    let key = if side == Side::Client { splice.key } else { splice.key.reversed() };
    let envelope = Envelope {
        eth_src: port.mac,
        eth_dst: port.peer_mac,
        src: key.src,
        dst: key.dst,
        ttl: emit::DEFAULT_TTL,
        traffic_class: 0,
    };
    let Rewrite { seq, ack, window } = splice.numbers(side, at);
    let (src_port, dst_port) = (key.src_port, key.dst_port);
    let segment = emit::Segment { src_port, dst_port, seq, ack, flags: TcpFlags(flags), window };
    emit::tcp(buf, &envelope, &segment, splice.options(side).as_slice(), payload)
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
