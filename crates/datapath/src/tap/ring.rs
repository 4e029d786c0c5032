//! The bounded hand-off from the worker to who captures.
//!
//! As with flow events ([`flowlog::ring`]) one ring has entries of a fixed size and another one bytes: a frame's entry
//! is followed by those of its messages, its bytes by what those say. All of a frame goes, or nothing.

use super::{Coarse, MAX_MESSAGES, MAX_SNAPLEN, MESSAGE_BYTES, Tapped};
use flowlog::ring::Heard;
use flowlog::{FlowEvent, Message, detail};
use packet::{Instant, PortId};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ports that are counted apart; those above share the last counter.
const PORTS: usize = 1024;

/// How a tap is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Names it, so that it can be closed.
    pub id: u64,
    /// Frames that may wait for the reader.
    pub frames: usize,
    /// Bytes of those.
    pub bytes: usize,
    /// Most bytes copied of one frame.
    pub snaplen: usize,
    /// Which frames are worth a copy.
    pub coarse: Coarse,
}

/// One entry.
#[derive(Copy, Clone, Debug)]
enum Entry {
    Frame { tapped: Tapped, captured: u32, messages: u8 },
    Message { event: FlowEvent, len: u16 },
}

/// Makes both ends of a tap. All memory it will ever use is allocated here.
#[must_use]
pub fn channel(setup: Setup) -> (Box<TapWriter>, TapReader) {
    let snaplen = setup.snaplen.clamp(1, MAX_SNAPLEN);
    // What is told of one frame always fits into an empty ring.
    let (entries, taken) = RingBuffer::new(setup.frames.max(1) + MAX_MESSAGES);
    let (bytes, contents) = RingBuffer::new(setup.bytes.max(snaplen + MESSAGE_BYTES));
    let lost: Arc<[AtomicU64]> = (0..PORTS).map(|_| AtomicU64::new(0)).collect();
    let writer = TapWriter {
        id: setup.id,
        coarse: setup.coarse,
        snaplen,
        entries,
        bytes,
        lost: Arc::clone(&lost),
        lost_since: 0,
        copy: vec![0; MAX_SNAPLEN].into_boxed_slice(),
        heard: Some(Box::new(Heard::new(MAX_MESSAGES, MESSAGE_BYTES))),
    };
    (Box::new(writer), TapReader { entries: taken, bytes: contents, lost })
}

/// The worker's end.
pub struct TapWriter {
    id: u64,
    pub(super) coarse: Coarse,
    snaplen: usize,
    entries: Producer<Entry>,
    bytes: Producer<u8>,
    lost: Arc<[AtomicU64]>,
    lost_since: u64,
    /// The frame at hand; only the first tap's is used.
    pub(super) copy: Box<[u8]>,
    /// Lent to the worker's event ring by the first tap.
    pub(super) heard: Option<Box<Heard>>,
}

impl fmt::Debug for TapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapWriter").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TapWriter {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Hands over a frame and its messages, or counts the frame as lost. Never waits, never allocates.
    pub(super) fn put(&mut self, tapped: &Tapped, frame: &[u8], heard: &Heard) {
        let frame = &frame[..frame.len().min(self.snaplen)];
        let (told, said) = (heard.messages(), heard.said());
        if self.entries.slots() < 1 + told.len() || self.bytes.slots() < frame.len() + said.len() {
            return self.lose(tapped.port);
        }
        // Only this end fills the rings, so the room that was there is still there.
        let written =
            self.bytes.push_entire_slice(frame).is_ok() && self.bytes.push_entire_slice(said).is_ok();
        let tapped = Tapped { lost_before: self.lost_since, ..*tapped };
        let entry = Entry::Frame { tapped, captured: frame.len() as u32, messages: told.len() as u8 };
        if !written || self.entries.push(entry).is_err() {
            return self.lose(tapped.port);
        }
        self.lost_since = 0;
        for (event, len) in told {
            let _ = self.entries.push(Entry::Message { event: *event, len: *len });
        }
    }

    fn lose(&mut self, port: PortId) {
        self.lost_since += 1;
        self.lost[usize::from(port.0).min(PORTS - 1)].fetch_add(1, Ordering::Relaxed);
    }
}

/// The other end.
pub struct TapReader {
    entries: Consumer<Entry>,
    bytes: Consumer<u8>,
    lost: Arc<[AtomicU64]>,
}

impl fmt::Debug for TapReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapReader").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl TapReader {
    /// The oldest frame that was not taken yet: its bytes into `frame`, its messages into `messages`.
    pub fn take(
        &mut self,
        frame: &mut Vec<u8>,
        messages: &mut Vec<(FlowEvent, Message<'static>)>,
    ) -> Option<Tapped> {
        let Ok(&Entry::Frame { tapped, captured, messages: count }) = self.entries.peek() else {
            return None;
        };
        // Its messages may not be there yet.
        if self.entries.slots() < 1 + usize::from(count) {
            return None;
        }
        self.entries.pop().ok()?;
        frame.clear();
        frame.resize(captured as usize, 0);
        self.bytes.pop_entire_slice(frame).ok()?;
        messages.clear();
        for _ in 0..count {
            let Ok(Entry::Message { event, len }) = self.entries.pop() else { return None };
            let mut said = vec![0; usize::from(len)];
            self.bytes.pop_entire_slice(&mut said).ok()?;
            messages.extend(detail::decode(&said).map(|message| (event, message.into_owned())));
        }
        Some(tapped)
    }

    /// When the frame arrived that [`take`](Self::take) would answer.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        match self.entries.peek() {
            Ok(Entry::Frame { tapped, .. }) => Some(tapped.event.at),
            _ => None,
        }
    }

    /// Frames lost on all ports.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.load(Ordering::Relaxed)).sum()
    }

    /// Frames lost on one port.
    #[must_use]
    pub fn lost_on(&self, port: PortId) -> u64 {
        self.lost[usize::from(port.0).min(PORTS - 1)].load(Ordering::Relaxed)
    }

    /// Whether the worker let go of its end and nothing is left to take.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.entries.is_abandoned() && self.entries.is_empty()
    }
}
