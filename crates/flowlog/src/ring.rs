//! The hand-off from a worker to its readers: bounded, one writer, one reader, never waits.

use crate::event::FlowEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the two ends of a ring.
#[derive(Debug)]
pub struct EventRing;

impl EventRing {
    /// A ring of `capacity` events.
    #[must_use]
    #[allow(clippy::new_ret_no_self)]
    pub fn new(capacity: usize) -> (EventWriter, EventReader) {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        let shed = Arc::new(AtomicU64::new(0));
        (EventWriter { producer, shed: Arc::clone(&shed) }, EventReader { consumer, shed })
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct EventWriter {
    producer: rtrb::Producer<FlowEvent>,
    shed: Arc<AtomicU64>,
}

impl EventWriter {
    /// Hands an event over. When the ring is full the event is shed and counted: a slow reader never slows packets.
    #[inline]
    pub fn record(&mut self, event: FlowEvent) {
        if self.producer.push(event).is_err() {
            // One writer: a plain load and store cannot lose a count.
            let shed = self.shed.load(Ordering::Relaxed);
            self.shed.store(shed.wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct EventReader {
    consumer: rtrb::Consumer<FlowEvent>,
    shed: Arc<AtomicU64>,
}

impl EventReader {
    /// Takes at most `most` events, oldest first; answers how many there were.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(FlowEvent)) -> usize {
        let mut taken = 0;
        while taken < most {
            let Ok(event) = self.consumer.pop() else { break };
            each(event);
            taken += 1;
        }
        taken
    }

    /// Events shed since the start.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, TraceReason};

    #[test]
    fn a_full_ring_sheds_and_counts() {
        let (mut writer, mut reader) = EventRing::new(2);
        let event = FlowEvent {
            at: packet::Instant::ZERO,
            kind: EventKind::Trace { reason: TraceReason::New },
            key: packet::FlowKey::default(),
            icmp: (0, 0),
            tcp_flags: packet::TcpFlags::default(),
            is_reply: false,
            src_identity: policy::Identity::UNKNOWN,
            dst_identity: policy::Identity::UNKNOWN,
            src_endpoint: None,
            dst_endpoint: None,
            in_port: packet::PortId(0),
            len: 0,
            epoch: 0,
        };
        for len in 0..5 {
            writer.record(FlowEvent { len, ..event });
        }
        let mut lens = Vec::new();
        assert_eq!(reader.drain(usize::MAX, |e| lens.push(e.len)), 2);
        assert_eq!((lens.as_slice(), reader.shed()), ([0, 1].as_slice(), 3));
    }
}
