//! What DNS answers teach: the hand-off from a worker to the control thread.
//!
//! An answer that gives an address an identity of its own must not reach the pod before the identity is in force. The
//! worker hands it over under a number and holds the answer until [`Snapshot::learnt`](crate::Snapshot::learnt) has
//! reached that number. Each worker has numbers of its own ([`Marks`]). The ring is bounded; what finds no room is not learnt, and the answer waits for the pod to ask
//! again.

use crate::fleet::MAX_WORKERS;
use core::net::IpAddr;
use packet::Instant;
use policy::EndpointId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;

/// Which answers are in force: those of each worker up to a number.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks([u64; MAX_WORKERS]);

impl Marks {
    /// The number of the last answer of that worker.
    #[must_use]
    pub fn of(&self, worker: usize) -> u64 {
        self.0.get(worker).copied().unwrap_or(0)
    }

    /// That answer and all before it are in force.
    pub fn reach(&mut self, learnt: &Learnt) {
        if let Some(mark) = self.0.get_mut(learnt.worker) {
            *mark = learnt.seq;
        }
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Learnt {
    /// The worker that saw it.
    pub worker: usize,
    /// Its number: one more than that of the answer before it of this worker.
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
    let (writer, consumer) = lane(0, capacity);
    (writer, LearnReader { lanes: vec![consumer], turn: 0 })
}

/// The same for several workers, each with room for `capacity` answers; one reader for all of them.
#[must_use]
pub fn channels(workers: usize, capacity: usize) -> (Vec<LearnWriter>, LearnReader) {
    let (writers, lanes) = (0..workers.clamp(1, MAX_WORKERS)).map(|worker| lane(worker, capacity)).unzip();
    (writers, LearnReader { lanes, turn: 0 })
}

fn lane(worker: usize, capacity: usize) -> (LearnWriter, Consumer<Learnt>) {
    let (producer, consumer) = RingBuffer::new(capacity.max(1));
    (LearnWriter { worker, producer, seq: 0, wake: None }, consumer)
}

/// The worker's end.
pub struct LearnWriter {
    worker: usize,
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

    /// The number of the worker that it belongs to.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Hands an answer over, made from worker and number, and answers its number; `None` when there is no room.
    pub fn tell(&mut self, make: impl FnOnce(usize, u64) -> Learnt) -> Option<u64> {
        if self.producer.is_full() {
            return None;
        }
        self.seq += 1;
        self.producer.push(make(self.worker, self.seq)).ok()?;
        if let Some(wake) = &self.wake {
            wake();
        }
        Some(self.seq)
    }
}

/// The control thread's end.
#[derive(Debug)]
pub struct LearnReader {
    /// One for each worker.
    lanes: Vec<Consumer<Learnt>>,
    /// Which is looked at first next time, so that none waits for another's flood.
    turn: usize,
}

impl LearnReader {
    /// The oldest answer of a worker that was not taken yet; the workers take turns.
    pub fn take(&mut self) -> Option<Learnt> {
        let count = self.lanes.len();
        let found = (0..count).map(|step| (self.turn + step) % count).find_map(|at| {
            let learnt = self.lanes.get_mut(at)?.pop().ok()?;
            Some((at, learnt))
        });
        let (at, learnt) = found?;
        self.turn = at + 1;
        Some(learnt)
    }

    /// Whether there is something to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(Consumer::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn answer(worker: usize, seq: u64) -> Learnt {
        Learnt {
            worker,
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

    #[test]
    fn workers_have_numbers_of_their_own_and_take_turns() {
        let (mut writers, mut reader) = channels(3, 4);
        for worker in [0, 0, 0, 2] {
            assert!(writers[worker].tell(answer).is_some());
        }
        let mut marks = Marks::default();
        let order: Vec<_> = std::iter::from_fn(|| reader.take())
            .inspect(|learnt| marks.reach(learnt))
            .map(|learnt| (learnt.worker, learnt.seq))
            .collect();
        assert_eq!(order, [(0, 1), (2, 1), (0, 2), (0, 3)], "who floods does not keep others waiting");
        assert_eq!([0, 1, 2, MAX_WORKERS].map(|worker| marks.of(worker)), [3, 0, 1, 0]);
        assert!(reader.is_empty());
    }
}
