//! The short way of an inspected segment, which nearly every one goes: it is the next of its stream, nothing waits or is
//! owed on either side, and both sides count alike. What the long way does to such a segment comes down to what stands
//! here: what it acknowledges is noted, the protocol sees its bytes unless they are a body's, and it leaves as it came.
//! Whatever turns out otherwise goes on on the long way.

use super::stream::{Held, Stream};
use super::{Drive, Ends, Splice, header, index, near};
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use crate::verify::Completion;
use flowlog::DropReason;
use l7::inspector::MAX_UNDECIDED;
use l7::{End, Side};
use packet::{Frame, Instant, Packet, PacketIo, Tcp, TcpFlags};

/// A segment that may go straight on, and its place.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Straight {
    side: Side,
    tcp: Tcp,
    /// Offset of its first byte, in both spaces.
    start: u64,
    /// Offset behind its last byte.
    end: u64,
    /// What it acknowledges of the other stream.
    acked: u64,
}

impl Straight {
    /// Who sent it.
    pub(crate) fn side(&self) -> Side {
        self.side
    }
}

impl Stream {
    /// Whether its two spaces are the same, nothing of it waits or is to be said, and it goes on.
    fn is_straight(&self) -> bool {
        self.plain()
            && self.is_at_rest()
            && !self.overdrawn
            && !self.ack_due
            && self.fin.is_none()
            && self.ahead.is_empty()
            && self.ahead_until.is_none()
    }
}

impl Splice {
    fn is_straight(&self) -> bool {
        !self.closing && !self.waiting && !self.stalled && self.streams.iter().all(Stream::is_straight)
    }

    /// Whether a segment of `side` may go straight on. Nothing is changed.
    pub(crate) fn straight(&self, side: Side, tcp: &Tcp) -> Option<Straight> {
        const ODD: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::URG;
        if tcp.flags.0 & (ODD | TcpFlags::ACK) != TcpFlags::ACK || tcp.payload_len == 0 || !self.is_straight()
        {
            return None;
        }
        let (own, other) = (&self.streams[index(side)], &self.streams[index(side.opposite())]);
        let acked = near(tcp.ack, self.voices[index(side.opposite())].base?, other.acked)?;
        let start = near(tcp.seq, self.voices[index(side)].base?, own.acked)?;
        let end = start + u64::from(tcp.payload_len);
        let body = end <= own.boundary && start >= own.kept.end().max(own.acked);
        let next =
            start == own.boundary && self.engine.is_some() && tcp.payload_len as usize <= MAX_UNDECIDED;
        (acked <= other.sent && (body || next)).then_some(Straight { side, tcp: *tcp, start, end, acked })
    }

    /// Notes what a segment says beside its bytes: the sender's clock, and what the sender has and takes.
    pub(crate) fn heed<I: PacketIo>(&mut self, io: &I, frame: &Frame, packet: &Packet, at: &Straight) {
        let Straight { side, tcp, acked, .. } = *at;
        self.set_clock(side, header::timestamp(io.bytes(frame), packet), false);
        let window = u64::from(tcp.window) << self.voices[index(side)].shift;
        self.streams[index(side.opposite())].acknowledge(acked, window, false);
    }

    /// Whether the bytes are a body's: decided, and of any content.
    pub(crate) fn is_body(&self, at: &Straight) -> bool {
        at.end <= self.streams[index(at.side)].boundary
    }

    /// Puts the bytes before the protocol. Whether they go straight on.
    pub(crate) fn read(&mut self, at: &Straight, payload: &[u8], drive: &mut Drive<'_>) -> Result<bool, End> {
        self.drive(at.side, payload, drive)?;
        Ok(self.is_body(at) && self.is_straight())
    }

    /// The segment as the long way takes it.
    pub(crate) fn turn_of(
        &self,
        at: &Straight,
        frame: Frame,
        packet: &Packet,
        completion: Completion,
    ) -> Held {
        let Straight { start, end, .. } = *at;
        let acked = self.streams[index(at.side)].acked;
        Held { frame, packet: *packet, completion, start, end, next: start.max(acked.min(end)), fin: false }
    }
}

impl Pipeline {
    /// Passes a segment on as it came.
    pub(crate) fn relay_straight<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        splice: &mut Splice,
        at: &Straight,
        (frame, packet, completion): (Frame, &Packet, Completion),
        ends: &Ends,
        now: Instant,
    ) {
        let out = ends.of(at.side.opposite());
        let stream = &mut splice.streams[index(at.side)];
        stream.sent = stream.sent.max(at.end);
        if snapshot.ports.get(out).is_some_and(|port| packet.ip_len() > port.mtu) {
            let reason = DropReason::FragmentationNeeded.into();
            return self.drop_packet(io, snapshot, frame, packet, reason, now);
        }
        splice.tell(at.side, at.tcp.window);
        self.forward(io, snapshot, frame, packet, out, completion, now);
    }
}
