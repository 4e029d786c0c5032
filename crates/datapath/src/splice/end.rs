//! The end of a connection in our name: what is still said, to whom, and when it is over.

use super::stream::Stream;
use super::{Splice, index};
use crate::inspect::Share;
use l7::{Side, Step};
use packet::Frame;

impl Splice {
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

    /// What is kept for the client and for the server: for its sender what is undecided or was not acknowledged, and
    /// for the client also what is ours to deliver, because it is made of what it asked.
    pub(crate) fn keeps(&self) -> [Share; 2] {
        let [up, down] = &self.streams;
        let owed = up.owed.len() + down.owed.len();
        let of = |stream: &Stream| Share {
            frames: stream.held.len() + stream.ahead.len(),
            bytes: stream.pending.len() + stream.kept.len(),
        };
        let (client, server) = (of(up), of(down));
        [Share { bytes: client.bytes + owed, ..client }, server]
    }
}
