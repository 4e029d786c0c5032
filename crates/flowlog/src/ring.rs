//! The bounded hand-off from one worker to the thread that resolves names.
//!
//! One writer, one reader, no lock and no allocation after construction. The writer never waits: an event that finds
//! no room is shed and counted, so a slow reader costs log lines and never packets.

use crate::event::FlowEvent;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the two ends of a ring.
#[derive(Debug)]
pub struct EventRing;

impl EventRing {
    /// A ring with room for `capacity` events (at least one).
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "a ring is only ever held as its two ends")]
    pub fn new(capacity: usize) -> (EventWriter, EventReader) {
        let (producer, consumer) = RingBuffer::new(capacity.max(1));
        let shed = Arc::new(AtomicU64::new(0));
        (
            EventWriter { producer, shed: 0, published: Arc::clone(&shed) },
            EventReader { consumer, published: shed },
        )
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct EventWriter {
    producer: Producer<FlowEvent>,
    shed: u64,
    published: Arc<AtomicU64>,
}

impl EventWriter {
    /// Hands `event` over, or counts it as shed when the ring is full. Never blocks.
    #[inline]
    pub fn record(&mut self, event: FlowEvent) {
        if self.producer.push(event).is_err() {
            self.shed_one();
        }
    }

    /// Counts an event as shed that is not worth its place.
    pub fn shed_one(&mut self) {
        self.shed += 1;
        // Only this end writes, so a plain store publishes the count.
        self.published.store(self.shed, Ordering::Relaxed);
    }

    /// Events shed since the ring was made.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct EventReader {
    consumer: Consumer<FlowEvent>,
    published: Arc<AtomicU64>,
}

impl EventReader {
    /// Takes up to `max` events, oldest first, and answers how many there were.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(FlowEvent)) -> usize {
        for taken in 0..max {
            match self.consumer.pop() {
                Ok(event) => each(event),
                Err(rtrb::PopError::Empty) => return taken,
            }
        }
        max
    }

    /// Events shed by the writer since the ring was made.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
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
