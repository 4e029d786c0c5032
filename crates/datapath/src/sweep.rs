//! After a policy change: every live connection is judged again, a few per poll, whether packets come or not.
//!
//! ```text
//! epoch moves → cursor = 0 → n connections per poll → revoked ones are reset both ways → done
//! ```

use crate::answer;
use crate::conntrack::ConnId;
use crate::pipeline::Pipeline;
use crate::snapshot::Snapshot;
use flowlog::DropReason;
use packet::packet::proto;
use packet::{Instant, Leg, PacketIo};

/// How far the walk over the connection table has come.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    epoch: u64,
    cursor: u32,
    running: bool,
}

impl Sweep {
    /// Connections came that may have been judged under an older epoch.
    pub(crate) fn restart(&mut self) {
        (self.cursor, self.running) = (0, true);
    }

    /// Whether every connection has been judged under the epoch last seen.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        !self.running
    }

    /// Judges the next few connections, if the epoch moved.
    pub(crate) fn run<I: PacketIo>(
        &mut self,
        pipeline: &mut Pipeline,
        io: &mut I,
        snapshot: &Snapshot,
        now: Instant,
    ) {
        if self.epoch != snapshot.epoch {
            *self = Self { epoch: snapshot.epoch, cursor: 0, running: true };
        }
        if !self.running {
            return;
        }
        for _ in 0..pipeline.config.rejudge_per_poll {
            let Some((id, next)) = pipeline.conntrack.next_from(self.cursor) else {
                self.running = false;
                return;
            };
            self.cursor = next;
            let conn = pipeline.conntrack.get(id);
            if conn.verdict.epoch == snapshot.epoch || conn.revoked() {
                continue;
            }
            if let Err(dropped) = pipeline.rejudge(id, snapshot, now)
                && dropped.reason == DropReason::Revoked
            {
                pipeline.reset_both_ways(io, id, snapshot);
            }
        }
    }
}

impl Pipeline {
    /// Tells both ends of a revoked TCP connection, so that neither waits for a time-out. The sequence numbers are
    /// those each end expects next, as far as the tracker saw; should one be stale, the end's challenge (RFC 5961
    /// §3.2) meets the tombstone and is answered exactly.
    fn reset_both_ways<I: PacketIo>(&mut self, io: &mut I, id: ConnId, snapshot: &Snapshot) {
        let conn = self.conntrack.get(id);
        if conn.key.proto != proto::TCP {
            return;
        }
        for leg in [Leg::Original, Leg::Reply] {
            let conn = self.conntrack.get(id);
            let Some(port) = snapshot.ports.get(conn.port_towards(leg)) else { continue };
            let key = if leg == Leg::Original { conn.key } else { conn.key.reversed() };
            let (seq, ack) = (conn.next_seq(leg), conn.next_seq(leg.opposite()));
            let mut buf = [0; answer::MAX_LEN];
            let len = answer::reset_flow(&mut buf, &key, seq, ack, port);
            self.send_own(io, port.id, len.and_then(|len| buf.get(..len)));
        }
    }
}
