//! A tap on the packet path: copies of frames, each with the decision that was taken on it.
//!
//! ```text
//!   arrives ──▶ copied ──▶ decide ──▶ act ──▶ copy + decision ──ring──▶ whoever captures
//! ```
//!
//! A frame is seen as it arrived, before its headers are changed. Frames made here are seen as they leave. A tap is
//! opened and closed between two polls; while none is open the packet path pays one branch for a frame. While one is,
//! frames are copied into rings that were made beforehand: nothing is allocated, nobody is waited for, and what finds
//! no room is lost to that tap and counted.

mod ring;
mod watch;

pub use ring::{Setup, TapReader, TapWriter, channel};

use crate::conntrack::State;
use flowlog::ring::{EventWriter, Heard};
use flowlog::{DropReason, FlowEvent};
use packet::{Addr, Frame, Instant, PortId};
use policy::RuleId;

/// Taps that may be open at a time: each copies every frame it wants once more.
pub const MAX_TAPS: usize = 4;

/// Longest part of a frame that is copied: the largest frame that backends know.
pub const MAX_SNAPLEN: usize = packet::io::pcap::MAX_FRAME_LEN;

/// Messages that are told with one frame. More are judged, and only counted.
pub const MAX_MESSAGES: usize = 4;

/// Room for what those messages say.
const MESSAGE_BYTES: usize = 2 * flowlog::detail::MAX_ENCODED;

/// What became of a frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It went on.
    Forwarded,
    /// It waits: for the rest of its message, for what came before it, or for what it teaches to be in force.
    Held,
    /// Its bytes were taken over, and it ended here: they are sent in frames of our own, or not at all.
    Taken,
    /// It was answered here (ARP, neighbour discovery), or is of no interest to anybody.
    Local,
    /// It was made here.
    Generated,
    /// It was dropped.
    Dropped(DropReason),
}

/// All that is said about one frame beside its bytes.
#[derive(Copy, Clone, Debug)]
pub struct Tapped {
    /// Time, flow, identities, and the decision as the flow log would tell it.
    pub event: FlowEvent,
    /// Port on which it arrived; for one made here, the port by which it leaves.
    pub port: PortId,
    /// Port by which it leaves.
    pub out: Option<PortId>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its length in bytes.
    pub len: u32,
    /// The rules that its connection is allowed by: egress of the source, ingress of the destination, in the direction
    /// of the connection's first packet.
    pub rules: [RuleId; 2],
    /// Whether audit mode let the connection pass.
    pub audited: bool,
    /// Whether the connection's messages are read.
    pub inspected: bool,
    /// State of its connection after the frame was tracked.
    pub state: Option<State>,
    /// Messages that were judged while it was handled, those told and others.
    pub messages: u32,
    /// Frames that this tap lost since the one before.
    pub lost_before: u64,
}

/// Which frames are worth a copy: what can be told without names. Exact filters are run by who reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coarse {
    /// Only those of these ports; all if empty.
    pub ports: Vec<PortId>,
    /// Only those from or to one of these addresses; all if empty.
    pub addrs: Vec<Addr>,
    /// Only those that were dropped, or carry a message that was refused.
    pub dropped: bool,
    /// Also those made here.
    pub generated: bool,
}

impl Coarse {
    fn wants(&self, port: PortId, ends: Option<(Addr, Addr)>) -> bool {
        (self.ports.is_empty() || self.ports.contains(&port))
            && (self.addrs.is_empty()
                || ends.is_some_and(|(a, b)| self.addrs.contains(&a) || self.addrs.contains(&b)))
    }
}

/// The frame at hand.
#[derive(Copy, Clone, Debug)]
struct Pending {
    /// Names the frame.
    index: u32,
    port: PortId,
    ends: Option<(Addr, Addr)>,
    /// Bytes of it that were copied.
    copied: usize,
    /// Filled once it is decided.
    decided: Option<Tapped>,
}

/// The taps of one worker.
#[derive(Debug)]
pub(crate) struct Taps {
    /// Never more than [`MAX_TAPS`], for which there is room from the start.
    #[expect(clippy::vec_box, reason = "a tap goes back as it came, without being moved on the packet path")]
    list: Vec<Box<TapWriter>>,
    pending: Option<Pending>,
    now: Instant,
}

impl Default for Taps {
    fn default() -> Self {
        Self { list: Vec::with_capacity(MAX_TAPS), pending: None, now: Instant::ZERO }
    }
}

impl Taps {
    /// Whether there are any.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        !self.list.is_empty()
    }

    /// Opens one more; hands it back if there are too many.
    pub(crate) fn add(
        &mut self,
        mut tap: Box<TapWriter>,
        events: &mut EventWriter,
    ) -> Result<(), Box<TapWriter>> {
        if self.list.len() >= MAX_TAPS {
            return Err(tap);
        }
        if !self.is_on() {
            events.hear(tap.heard.take());
        }
        self.list.push(tap);
        Ok(())
    }

    /// Closes one. All its memory goes with it, so that it is given back elsewhere.
    pub(crate) fn remove(&mut self, id: u64, events: &mut EventWriter) -> Option<Box<TapWriter>> {
        let at = self.list.iter().position(|tap| tap.id() == id)?;
        let mut tap = self.list.swap_remove(at);
        if !self.is_on() {
            tap.heard = events.hear(None);
        }
        Some(tap)
    }

    /// It is now `now`.
    pub(crate) fn clock(&mut self, now: Instant) {
        self.now = now;
    }

    /// Copies a frame that arrived, if any tap may want it.
    fn begin(&mut self, frame: &Frame, ends: Option<(Addr, Addr)>, copy: impl FnOnce(&mut [u8]) -> usize) {
        let port = frame.port();
        self.pending = None;
        if !self.list.iter().any(|tap| tap.coarse.wants(port, ends)) {
            return;
        }
        let Some(first) = self.list.first_mut() else { return };
        let copied = copy(&mut first.copy);
        self.pending = Some(Pending { index: frame.index(), port, ends, copied, decided: None });
    }

    /// Takes note of what was decided about the frame at hand.
    fn decided(&mut self, tapped: Tapped) {
        if let Some(pending) = &mut self.pending {
            pending.decided = Some(tapped);
        }
    }

    /// A frame is dropped. It need not be the one at hand: that may have brought the end of another.
    pub(crate) fn dropped(&mut self, frame: &Frame, reason: DropReason, event: FlowEvent) {
        let at_hand = self.pending.as_mut().filter(|p| p.index == frame.index() && p.port == frame.port());
        if let Some(tapped) = at_hand.and_then(|pending| pending.decided.as_mut()) {
            tapped.event = event;
            tapped.outcome = Outcome::Dropped(reason);
            tapped.out = None;
        }
    }

    /// The frame at hand was handled, and this is what messages it brought said: hands it to the taps that want it.
    fn end(&mut self, heard: &Heard, outcome: impl FnOnce(&Tapped) -> Outcome) {
        let Some(pending) = self.pending.take() else { return };
        let Some(mut tapped) = pending.decided else { return };
        if !matches!(tapped.outcome, Outcome::Dropped(_)) {
            tapped.outcome = outcome(&tapped);
        }
        tapped.messages = heard.judged();
        let refused = heard.refused() || matches!(tapped.outcome, Outcome::Dropped(_));
        let ends = pending.ends;
        let wants = |coarse: &Coarse| coarse.wants(tapped.port, ends) && (refused || !coarse.dropped);
        self.put(&tapped, pending.copied, heard, wants);
    }

    /// A frame made here leaves.
    fn generated(&mut self, tapped: &Tapped, bytes: &[u8]) {
        let ends = Some((tapped.event.key.src, tapped.event.key.dst));
        let nothing = Heard::default();
        for tap in &mut self.list {
            if tap.coarse.generated && !tap.coarse.dropped && tap.coarse.wants(tapped.port, ends) {
                tap.put(tapped, bytes, &nothing);
            }
        }
    }

    fn put(&mut self, tapped: &Tapped, copied: usize, heard: &Heard, wants: impl Fn(&Coarse) -> bool) {
        let Some(first) = self.list.first_mut() else { return };
        let copy = std::mem::take(&mut first.copy);
        for tap in self.list.iter_mut().filter(|tap| wants(&tap.coarse)) {
            tap.put(tapped, &copy[..copied], heard);
        }
        if let Some(first) = self.list.first_mut() {
            first.copy = copy;
        }
    }
}
