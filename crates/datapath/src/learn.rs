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
    (LearnWriter { producer, seq: 0 }, LearnReader { consumer })
}

/// The worker's end.
#[derive(Debug)]
pub struct LearnWriter {
    producer: Producer<Learnt>,
    seq: u64,
}

impl LearnWriter {
    /// Hands an answer over and answers its number; `None` when there is no room.
    pub fn tell(&mut self, make: impl FnOnce(u64) -> Learnt) -> Option<u64> {
        if self.producer.is_full() {
            return None;
        }
        self.seq += 1;
        self.producer.push(make(self.seq)).ok()?;
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
