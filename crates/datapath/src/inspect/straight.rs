//! The short way of an inspected segment; [`splice::straight`](crate::splice) says what it spares.

use super::Inspection;
use super::table::Protocol;
use crate::conntrack::ConnId;
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use crate::splice::{Arrival, Straight, payload_of};
use crate::verify::Completion;
use packet::{Frame, Instant, Packet, PacketIo};

/// How many inspected segments went straight on, and whether none may.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub(crate) struct ShortWay {
    pub(crate) gone: u64,
    pub(crate) closed: bool,
}

impl Pipeline {
    /// Whether segments may go straight on. They always may, but in tests.
    pub(super) fn may_go_straight(&self) -> bool {
        #[cfg(any(test, feature = "testing"))]
        return !self.short_way.closed;
        #[cfg(not(any(test, feature = "testing")))]
        true
    }

    /// Takes a segment the short way; what became of it if it did not leave.
    pub(super) fn straight<I: PacketIo>(
        &mut self,
        io: &mut I,
        snapshot: &Snapshot,
        inspection: &mut Inspection,
        at: &Straight,
        (frame, packet, completion): (Frame, &Packet, Completion),
        id: ConnId,
        now: Instant,
    ) -> Option<Arrival> {
        let Inspection { protocol: Protocol::Stream(splice), plan, asked, .. } = inspection else {
            io.release(frame);
            return None;
        };
        splice.heed(io, &frame, packet, at);
        if !splice.is_body(at) {
            // Nothing waits that way, so nobody looks whether it may.
            let read = self.drive(snapshot, plan, asked, [false; 2], id, now, |drive, scratch| {
                splice.read(at, payload_of(io, &frame, packet, scratch), drive)
            });
            match read {
                Ok(true) => {}
                Ok(false) => return Some(Arrival::Turn(splice.turn_of(at, frame, packet, completion))),
                Err(over) => {
                    let held = splice.turn_of(at, frame, packet, completion);
                    return Some(Arrival::ended(io, at.side(), over, held));
                }
            }
        }
        #[cfg(any(test, feature = "testing"))]
        (self.short_way.gone += 1);
        let ends = self.ends(id);
        self.relay_straight(io, snapshot, splice, at, (frame, packet, completion), &ends, now);
        None
    }
}
