//! Segments of our own: pieces of what is owed, acknowledgements and resets in an end's name, and when they are said
//! again.

use super::header::{Options, Rewrite};
use super::owed::Piece;
use super::relay::Ends;
use super::{Splice, index};
use crate::pipeline::Pipeline;
use crate::ports::Port;
use crate::snapshot::Snapshot;
use l7::{Anomaly, End, Side};
use packet::emit::{self, Envelope};
use packet::{Instant, PacketIo, TcpFlags};

/// Longest payload of a segment of our own: what Ethernet takes, so that what is left of a full segment leaves in one.
pub(super) const MAX_PIECE: usize = 1460;
/// Headers in front of it.
pub(super) const MAX_HEADERS: usize = 14 + 40 + 60;

impl Splice {
    /// The window field of segments that `side` sends.
    pub(super) fn window_of(&self, side: Side) -> u16 {
        let room = self.streams[index(side.opposite())].room() >> self.voices[index(side)].shift;
        u16::try_from(room).unwrap_or(u16::MAX)
    }

    /// Whether segments that `side` sends have to be rewritten.
    pub(super) fn rewrites(&self, side: Side) -> bool {
        let own = &self.streams[index(side)];
        !own.cuts.none() || !own.pending.is_empty() || !self.streams[index(side.opposite())].plain()
    }

    /// Header values of a segment that `side` sends, whose first byte has output offset `at`.
    pub(super) fn numbers(&self, side: Side, at: u64) -> Rewrite {
        let base = |side: Side| self.voices[index(side)].base.unwrap_or(0);
        let other = side.opposite();
        Rewrite {
            seq: base(side).wrapping_add(at as u32),
            ack: base(other).wrapping_add(self.streams[index(other)].arrived() as u32),
            window: self.window_of(side),
        }
    }

    /// The other side is about to be told how much of its stream arrived.
    pub(super) fn tell(&mut self, side: Side, window: u16) {
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
}

impl Pipeline {
    /// Sends what is owed to the receiver of `side`'s stream, as far as its window goes.
    pub(super) fn say_owed<I: PacketIo>(
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
        piece: Piece<'_>,
    ) -> u64 {
        let mut buf = [0; MAX_HEADERS + MAX_PIECE];
        let flags = TcpFlags::ACK | TcpFlags::PSH | if piece.fin { TcpFlags::FIN } else { 0 };
        let written = write(&mut buf, splice, side, port, piece.at, flags, piece.bytes);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
        let window = splice.window_of(side);
        splice.tell(side, window);
        piece.at + piece.bytes.len() as u64 + u64::from(piece.fin)
    }

    /// Sends a segment without bytes in the name of `side`, whose number is output offset `at`.
    fn say_bare<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        (side, at, flags): (Side, u64, u8),
        ends: &Ends,
    ) {
        let Some(port) = snapshot.ports.get(ends.of(side.opposite())) else { return };
        let mut buf = [0; MAX_HEADERS];
        let written = write(&mut buf, splice, side, port, at, flags, &[]);
        self.send_own(io, port.id, written.and_then(|len| buf.get(..len)));
        let window = splice.window_of(side);
        splice.tell(side, window);
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
        self.say_bare(io, snapshot, splice, (side, at, TcpFlags::ACK), ends);
    }

    /// Tells the other side in the name of `side` how much arrived.
    pub(super) fn acknowledge<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        side: Side,
        ends: &Ends,
    ) {
        let at = splice.streams[index(side)].sent;
        self.say_bare(io, snapshot, splice, (side, at, TcpFlags::ACK), ends);
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
        let at = splice.streams[index(side)].sent;
        self.say_bare(io, snapshot, splice, (side, at, TcpFlags::RST | TcpFlags::ACK), ends);
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
pub(super) fn piece_limit(splice: &Splice, side: Side, port: &Port) -> usize {
    let options = splice.options(side).as_slice().len();
    let by_port = (port.mtu as usize).saturating_sub(60 + options);
    usize::from(splice.voices[index(side.opposite())].mss)
        .saturating_sub(options)
        .min(by_port)
        .clamp(1, MAX_PIECE)
}

/// Writes a segment in the name of `side`, to leave by `port`.
pub(super) fn write(
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
