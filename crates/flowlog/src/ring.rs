//! The bounded hand-off from one worker to the thread that resolves names.
//!
//! One writer, one reader, no lock and no allocation after construction. The writer never waits: an event that finds
//! no room is shed and counted, so a slow reader costs log lines and never packets.
//!
//! What messages say has no fixed size and goes through a second ring, of bytes: two bytes of length and as many bytes
//! of content for every [`EventKind::Message`], in the order of the events. They are written before the event is, so
//! whoever has the event finds its content; both go or neither.

use crate::detail::{self, Detail, MAX_ENCODED};
use crate::event::{EventKind, FlowEvent, MessageVerdict};
use packet::Instant;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the length before the content of a message.
const PREFIX: usize = 2;

/// Room for the content of messages: so many bytes for each event that fits. A typical request takes 100 to 300.
const BYTES_PER_EVENT: usize = 128;

/// The most room for content that a ring gets unless told otherwise.
const MAX_CONTENT: usize = 4 << 20;

/// Makes the two ends of a ring.
#[derive(Debug)]
pub struct EventRing;

impl EventRing {
    /// A ring with room for `capacity` events (at least one), and for the content of a share of them.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "a ring is only ever held as its two ends")]
    pub fn new(capacity: usize) -> (EventWriter, EventReader) {
        Self::with_content(capacity, capacity.saturating_mul(BYTES_PER_EVENT).min(MAX_CONTENT))
    }

    /// A ring with room for `capacity` events and `bytes` of content (at least that of one message).
    #[must_use]
    pub fn with_content(capacity: usize, bytes: usize) -> (EventWriter, EventReader) {
        let (producer, consumer) = RingBuffer::new(capacity.max(1));
        let (content, contents) = RingBuffer::new(bytes.max(PREFIX + MAX_ENCODED));
        let shed = Arc::new(AtomicU64::new(0));
        let buffer = || vec![0; PREFIX + MAX_ENCODED].into_boxed_slice();
        let published = Arc::clone(&shed);
        (
            EventWriter { producer, content, buffer: buffer(), shed: 0, published, heard: None, off: false },
            EventReader { consumer, contents, buffer: buffer(), published: shed },
        )
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct EventWriter {
    producer: Producer<FlowEvent>,
    content: Producer<u8>,
    buffer: Box<[u8]>,
    shed: u64,
    published: Arc<AtomicU64>,
    heard: Option<Box<Heard>>,
    off: bool,
}

/// The first few messages since somebody began to listen, for whoever wants to know what one call brought about. Of
/// a fixed size; shed events are heard too.
#[derive(Debug, Default)]
pub struct Heard {
    messages: Vec<(FlowEvent, u16)>,
    most: usize,
    said: Vec<u8>,
    room: usize,
    judged: u32,
    refused: bool,
}

impl Heard {
    /// Room for so many messages, and so many bytes of what they say.
    #[must_use]
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self {
            messages: Vec::with_capacity(messages),
            most: messages,
            said: Vec::with_capacity(bytes),
            room: bytes,
            ..Self::default()
        }
    }

    /// Listens anew.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.said.clear();
        (self.judged, self.refused) = (0, false);
    }

    /// Those that found room, each with how many of the bytes are its.
    #[must_use]
    pub fn messages(&self) -> &[(FlowEvent, u16)] {
        &self.messages
    }

    /// What they say one after the other, for [`detail::decode`].
    #[must_use]
    pub fn said(&self) -> &[u8] {
        &self.said
    }

    /// How many there were.
    #[must_use]
    pub fn judged(&self) -> u32 {
        self.judged
    }

    /// Whether one of them was refused.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.refused
    }

    fn hear(&mut self, event: &FlowEvent, said: &[u8]) {
        let EventKind::Message { verdict, .. } = event.kind else { return };
        self.judged = self.judged.saturating_add(1);
        self.refused |= matches!(verdict, MessageVerdict::Dropped(_) | MessageVerdict::Error);
        let Ok(len) = u16::try_from(said.len()) else { return };
        if self.messages.len() < self.most && said.len() <= self.room - self.said.len() {
            self.messages.push((*event, len));
            self.said.extend_from_slice(said);
        }
    }
}

impl EventWriter {
    /// Hands nothing over from now on, and counts nothing as shed. Whoever listens still hears.
    pub fn switch_off(&mut self) {
        self.off = true;
    }

    /// Listens with `heard` from now on, or no more; what was listened with before is handed back.
    pub fn hear(&mut self, heard: Option<Box<Heard>>) -> Option<Box<Heard>> {
        std::mem::replace(&mut self.heard, heard)
    }

    /// What was heard, if anybody listens.
    pub fn heard_mut(&mut self) -> Option<&mut Heard> {
        self.heard.as_deref_mut()
    }

    /// Hands `event` over, or counts it as shed when the ring is full. Never blocks.
    #[inline]
    pub fn record(&mut self, event: FlowEvent) {
        if self.off {
            return;
        }
        if matches!(event.kind, EventKind::Message { .. }) {
            self.put(event, 0);
        } else if self.producer.push(event).is_err() {
            self.shed_one();
        }
    }

    /// Hands over `event`, which is an [`EventKind::Message`], and what the message says; or neither, and counts it as
    /// shed, when there is no room for both. Never blocks, never allocates.
    pub fn record_message(&mut self, event: FlowEvent, detail: Detail<'_>) {
        if !matches!(event.kind, EventKind::Message { .. }) {
            // Nobody would take the content out again.
            return self.record(event);
        }
        if self.off && self.heard.is_none() {
            return;
        }
        match self.buffer.get_mut(PREFIX..).and_then(|buffer| detail::encode(detail, buffer)) {
            Some(len) => {
                if let Some(heard) = &mut self.heard {
                    heard.hear(&event, self.buffer.get(PREFIX..PREFIX + len).unwrap_or_default());
                }
                self.put(event, len);
            }
            None => self.shed_one(),
        }
    }

    /// Hands over a message whose content is the first `len` bytes of the buffer behind the prefix.
    fn put(&mut self, event: FlowEvent, len: usize) {
        if self.off {
            return;
        }
        let Ok(prefix) = u16::try_from(len) else { return self.shed_one() };
        if self.producer.is_full() {
            return self.shed_one();
        }
        self.buffer[..PREFIX].copy_from_slice(&prefix.to_le_bytes());
        // Only this end fills the ring of events, so the room that was there is still there.
        let written = self.content.push_entire_slice(&self.buffer[..PREFIX + len]).is_ok();
        if !written || self.producer.push(event).is_err() {
            self.shed_one();
        }
    }

    /// Counts an event as shed that is not worth its place.
    pub fn shed_one(&mut self) {
        self.shed += u64::from(!self.off);
        // Only this end writes, so a plain store publishes the count.
        self.published.store(self.shed, Ordering::Relaxed);
    }

    /// Events shed since the ring was made.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed
    }

    /// Whether events wait to be taken.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.producer.slots() < self.producer.buffer().capacity()
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct EventReader {
    consumer: Consumer<FlowEvent>,
    contents: Consumer<u8>,
    buffer: Box<[u8]>,
    published: Arc<AtomicU64>,
}

impl EventReader {
    /// Takes up to `max` events, oldest first, without what messages say; answers how many there were.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(FlowEvent)) -> usize {
        self.take(max, |reader, event| {
            if matches!(event.kind, EventKind::Message { .. }) {
                reader.content();
            }
            each(event);
        })
    }

    /// Takes up to `max` events, oldest first, each with what its message says for [`detail::decode`]: nothing for what is
    /// no message, and for one that says nothing. Answers how many there were.
    pub fn drain_messages(&mut self, max: usize, mut each: impl FnMut(FlowEvent, &[u8])) -> usize {
        self.take(max, |reader, event| match event.kind {
            EventKind::Message { .. } => each(event, reader.content().unwrap_or_default()),
            _ => each(event, &[]),
        })
    }

    fn take(&mut self, max: usize, mut each: impl FnMut(&mut Self, FlowEvent)) -> usize {
        for taken in 0..max {
            match self.consumer.pop() {
                Ok(event) => each(self, event),
                Err(rtrb::PopError::Empty) => return taken,
            }
        }
        max
    }

    /// The content that is next in the ring of bytes; `None` if there is none.
    fn content(&mut self) -> Option<&[u8]> {
        let mut prefix = [0; PREFIX];
        self.contents.pop_entire_slice(&mut prefix).ok()?;
        let buffer = self.buffer.get_mut(..usize::from(u16::from_le_bytes(prefix)))?;
        self.contents.pop_entire_slice(buffer).ok()?;
        (!buffer.is_empty()).then_some(buffer)
    }

    /// Events shed by the writer since the ring was made.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Events that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// When the next event was that waits to be taken.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.consumer.peek().ok().map(|event| event.at)
    }

    /// Whether the worker dropped its end.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use l7::http::{HttpRequest, Version};

    #[test]
    fn an_event_stays_small() {
        assert_eq!(size_of::<FlowEvent>(), 136);
    }

    #[test]
    fn sheds_and_counts_when_full() {
        let (mut writer, mut reader) = EventRing::new(2);
        for len in 0..5 {
            writer.record(FlowEvent { len, ..event() });
        }
        assert_eq!((writer.shed(), reader.shed()), (3, 3));
        let mut seen = Vec::new();
        assert_eq!(reader.drain(1, |e| seen.push(e.len)), 1);
        assert_eq!(reader.drain(9, |e| seen.push(e.len)), 1);
        assert_eq!(reader.drain(9, |_| ()), 0);
        assert_eq!(seen, [0, 1], "the oldest are kept, the newest shed");
        writer.record(event());
        assert_eq!((reader.drain(9, |_| ()), reader.shed()), (1, 3));
        drop(writer);
        assert!(reader.is_abandoned());
    }

    #[test]
    fn switched_off_it_says_nothing_and_still_lets_hear() {
        let (mut writer, mut reader) = EventRing::new(2);
        writer.switch_off();
        let verdict = MessageVerdict::Forwarded;
        let kind = EventKind::Message { verdict, direction: None, rule: policy::RuleId::NONE };
        let said = FlowEvent { kind, ..event() };
        let _ = writer.hear(Some(Box::new(Heard::new(4, 1024))));
        for _ in 0..3 {
            writer.record(event());
            writer.record(said);
            writer.record_message(said, Detail::HttpRequest(&message(b"GET")));
        }
        assert_eq!(writer.heard_mut().map(|heard| heard.messages().len()), Some(3));
        assert_eq!((reader.drain(9, |_| ()), reader.shed(), writer.shed()), (0, 0, 0));
    }

    fn message(method: &'static [u8]) -> HttpRequest<'static> {
        HttpRequest {
            version: Version::Http11,
            method,
            path: b"/",
            normal_path: b"/",
            host: b"api",
            headers: &[],
            stream: 0,
        }
    }

    fn methods(reader: &mut EventReader) -> Vec<Option<String>> {
        let mut seen = Vec::new();
        reader.drain_messages(usize::MAX, |_, said| {
            seen.push(match detail::decode(said) {
                Some(detail::Message::HttpRequest { method, .. }) => Some(method.into_owned()),
                other => other.map(|m| format!("{m:?}")),
            });
        });
        seen
    }

    #[test]
    fn each_message_has_its_own_content() {
        let (mut writer, mut reader) = EventRing::new(8);
        let kind = EventKind::Message {
            verdict: crate::MessageVerdict::Forwarded,
            direction: None,
            rule: policy::RuleId::NONE,
        };
        let said = FlowEvent { kind, ..event() };
        let get = Detail::HttpRequest(&message(b"GET"));
        writer.record(event());
        writer.record_message(said, get);
        writer.record(said);
        writer.record_message(event(), get);
        writer.record_message(said, Detail::HttpRequest(&message(b"PUT")));
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(methods(&mut reader), [None, text("GET"), None, None, text("PUT")]);
        // Contents that nobody wants are taken out all the same.
        writer.record_message(said, get);
        assert_eq!(reader.drain(9, |_| ()), 1);
        writer.record_message(said, Detail::HttpRequest(&message(b"POST")));
        assert_eq!(methods(&mut reader), [text("POST")]);
    }

    #[test]
    fn event_and_content_go_together_or_not_at_all() {
        let kind = EventKind::Message {
            verdict: crate::MessageVerdict::Forwarded,
            direction: None,
            rule: policy::RuleId::NONE,
        };
        let said = FlowEvent { kind, ..event() };
        let long = [b'x'; 2048];
        let request = HttpRequest { path: &long, ..message(b"GET") };
        // Room for three such contents and many events.
        let (mut writer, mut reader) = EventRing::with_content(64, 8194);
        for round in 1..=100 {
            for _ in 0..5 {
                writer.record_message(said, Detail::HttpRequest(&request));
            }
            writer.record(event());
            assert_eq!(writer.shed(), round * 2);
            let seen = methods(&mut reader);
            assert_eq!(seen.iter().filter(|m| m.as_deref() == Some("GET")).count(), 3);
            assert_eq!(seen.last(), Some(&None), "room for a small event is left");
        }
        // Room for contents and for two events.
        let (mut writer, mut reader) = EventRing::new(2);
        for _ in 0..3 {
            (0..4).for_each(|_| writer.record_message(said, Detail::HttpRequest(&message(b"GET"))));
            assert_eq!(methods(&mut reader).len(), 2);
        }
        assert_eq!(writer.shed(), 6);
    }

    #[test]
    fn two_threads_account_for_every_event() {
        let (mut writer, mut reader) = EventRing::new(64);
        let worker = std::thread::spawn(move || {
            for _ in 0..10_000 {
                writer.record(event());
            }
        });
        let mut taken = 0;
        while !reader.is_abandoned() {
            taken += reader.drain(64, |_| ());
        }
        worker.join().expect("worker");
        taken += reader.drain(usize::MAX, |_| ());
        assert_eq!(taken as u64 + reader.shed(), 10_000);
    }
}
