//! What DNS answers teach: the hand-off from a worker to the control thread.
//!
//! An answer that gives an address an identity of its own must not reach the pod before the identity is in force. The
//! worker hands it over under a number and holds the answer until [`Snapshot::learnt`](crate::Snapshot::learnt) has
//! reached that number. The ring is bounded; what finds no room is not learnt, and the answer waits for the pod to ask
//! again.

use core::net::IpAddr;
use packet::Instant;
use policy::EndpointId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Learnt {
    /// Its number: one more than that of the answer before it.
    pub seq: u64,
    /// The local endpoint that asked.
    pub endpoint: Option<EndpointId>,
    /// Name asked for, lower-case, without the final dot.
    pub name: Box<str>,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// Names on the way to them.
    pub cnames: Box<[Box<str>]>,
    /// Seconds that it holds.
    pub ttl: u32,
    /// When it was seen.
    pub at: Instant,
}

/// Makes both ends for one worker, with room for `capacity` answers.
#[must_use]
pub fn channel(capacity: usize) -> (LearnWriter, LearnReader) {
    let (producer, consumer) = RingBuffer::new(capacity.max(1));
    (LearnWriter { producer, seq: 0, wake: None }, LearnReader { consumer })
}

/// The worker's end.
pub struct LearnWriter {
    producer: Producer<Learnt>,
    seq: u64,
    wake: Option<Box<dyn Fn() + Send>>,
}

impl fmt::Debug for LearnWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearnWriter").field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl LearnWriter {
    /// The same, calling `wake` whenever an answer was handed over: once for each, never for other packets.
    #[must_use]
    pub fn waking(self, wake: impl Fn() + Send + 'static) -> Self {
        Self { wake: Some(Box::new(wake)), ..self }
    }

    /// Hands an answer over and answers its number; `None` when there is no room.
    pub fn tell(&mut self, make: impl FnOnce(u64) -> Learnt) -> Option<u64> {
        if self.producer.is_full() {
            return None;
        }
        self.seq += 1;
        self.producer.push(make(self.seq)).ok()?;
        if let Some(wake) = &self.wake {
            wake();
        }
        Some(self.seq)
    }
}

/// The control thread's end.
#[derive(Debug)]
pub struct LearnReader {
    consumer: Consumer<Learnt>,
}

impl LearnReader {
    /// The oldest answer that was not taken yet.
    pub fn take(&mut self) -> Option<Learnt> {
        self.consumer.pop().ok()
    }

    /// Whether there is something to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn answer(seq: u64) -> Learnt {
        Learnt {
            seq,
            endpoint: None,
            name: "a.example".into(),
            addresses: Box::default(),
            cnames: Box::default(),
            ttl: 60,
            at: Instant::ZERO,
        }
    }

    #[test]
    fn what_finds_no_room_has_no_number_and_wakes_nobody() {
        let woken = Arc::new(AtomicUsize::new(0));
        let (writer, mut reader) = channel(2);
        let count = Arc::clone(&woken);
        let mut writer = writer.waking(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!([writer.tell(answer), writer.tell(answer), writer.tell(answer)], [Some(1), Some(2), None]);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert_eq!(reader.take().map(|learnt| learnt.seq), Some(1));
        assert_eq!(writer.tell(answer), Some(3), "numbers have no gaps");
        assert_eq!([reader.take(), reader.take()].map(|learnt| learnt.map(|l| l.seq)), [Some(2), Some(3)]);
        assert!(reader.is_empty() && reader.take().is_none());
    }
}
