//! Takes events out of the workers' rings: they are counted, and kept as they are.
//!
//! The flow log's thread does so every few milliseconds. A worker that finds no frame helps with a few at a time: what
//! it takes, no thread has to be woken for, on a CPU that pods want to have. It never waits for whoever else is at the
//! log, and what takes longer (new names, freeing what had to give way) it leaves to the thread, and so it does with
//! waking readers, unless it took many.

use super::Flows;
use crate::api::names::{Names, NodeFacts};
use crate::run::clock::Clock;
use datapath::SharedSnapshot;
use flowlog::metrics::Metrics;
use flowlog::store::Evicted;
use flowlog::{Drained, EventReader, detail};
use std::sync::Arc;
use std::time::Duration;

/// Events taken from a worker's ring at a time.
pub(super) const BATCH: usize = 1024;

/// Events that a worker takes at a time, ...
const SOME: usize = 8;

/// ... if they take no longer than this together: a frame that comes meanwhile waits for so long.
const LONGEST: Duration = Duration::from_micros(4);

/// Events that a worker takes at most before it wakes those who read them: a system call.
const MOST_UNTOLD: usize = 512;

/// Whoever holds it takes events.
pub(super) struct Taker {
    readers: Vec<EventReader>,
    log: Flows,
    snapshot: SharedSnapshot,
    node: Arc<NodeFacts>,
    clock: Clock,
    batch: Drained,
    known: Option<Arc<Names>>,
    /// What gave way to events that a worker took.
    evicted: Evicted,
    /// Events that a worker took since readers were last told, ...
    untold: usize,
    /// ... and how many they are told of at once, so that they read them before others push these out.
    tell_at: usize,
}

/// What the thread found.
pub(super) struct Taken {
    /// Events that it took.
    pub(super) events: usize,
    /// The names that are in force.
    pub(super) names: Arc<Names>,
    /// Nothing will ever follow.
    pub(super) ended: bool,
}

impl Taker {
    pub(super) fn new(
        readers: Vec<EventReader>,
        log: Flows,
        snapshot: SharedSnapshot,
        node: Arc<NodeFacts>,
        clock: Clock,
    ) -> Self {
        let (_, capacity) = log.store.len_and_capacity();
        Self {
            tell_at: (capacity / 8).clamp(1, MOST_UNTOLD),
            readers,
            log,
            snapshot,
            node,
            clock,
            batch: Drained::with_capacity(BATCH),
            known: None,
            evicted: Evicted::default(),
            untold: 0,
        }
    }

    /// Takes what there is, up to [`BATCH`] of each worker: the thread's look.
    pub(super) fn take(&mut self) -> Taken {
        let waiting: usize = self.readers.iter().map(EventReader::waiting).sum();
        let shed: u64 = self.readers.iter().map(EventReader::shed).sum();
        self.log.note_ring(waiting, shed);
        for reader in &mut self.readers {
            reader.drain_messages(BATCH, |event, said| self.batch.push(event, said));
        }
        if self.readers.len() > 1 {
            self.batch.sort_by_time();
        }
        // After what they wrote under it.
        let names = self.names();
        let events = self.batch.len();
        if events > 0 {
            count(&mut self.log.metrics(), &self.batch, &names);
            self.log.store.push_events(&self.batch);
            self.batch.clear();
        } else if self.untold > 0 {
            self.log.store.tell();
        }
        self.untold = 0;
        self.evicted = Evicted::default();
        let ended = events == 0 && self.readers.iter().all(EventReader::is_abandoned);
        Taken { events, names, ended }
    }

    /// Takes a few, in the order of their times, if it is at once: a worker's help. Answers whether there were any.
    pub(super) fn help(&mut self) -> bool {
        let current = self.snapshot.load();
        let Some(names) = self.known.as_ref().filter(|names| Arc::ptr_eq(&names.snapshot, &current)) else {
            return false;
        };
        let (Some(mut metrics), Some(room)) = (self.log.try_metrics(), self.log.store.try_room()) else {
            return false;
        };
        let begun = self.clock.now();
        for _ in 0..SOME {
            let waiting = self.readers.iter_mut().filter_map(|reader| Some((reader.next_at()?, reader)));
            let Some((_, reader)) = waiting.min_by_key(|(at, _)| *at) else { break };
            reader.drain_messages(1, |event, said| {
                metrics.count(&event, detail::decode(said).as_ref(), &**names);
                self.batch.push(event, said);
            });
            if self.clock.now().saturating_since(begun) > LONGEST {
                break;
            }
        }
        let taken = self.batch.len();
        room.push_events(&self.batch, &mut self.evicted);
        self.batch.clear();
        self.untold += taken;
        if self.untold >= self.tell_at {
            self.untold = 0;
            self.log.store.tell();
        }
        taken > 0
    }

    /// The names of the policy in force.
    fn names(&mut self) -> Arc<Names> {
        let current = self.snapshot.load();
        match &self.known {
            Some(names) if Arc::ptr_eq(&names.snapshot, &current) => Arc::clone(names),
            _ => {
                let names = Names::new(&current, self.clock.started_at.as_nanosecond(), &self.node);
                let names = Arc::clone(self.known.insert(Arc::new(names)));
                self.log.store.set_names(Arc::clone(&names) as _);
                self.log.metrics().renamed();
                names
            }
        }
    }
}

fn count(metrics: &mut Metrics, events: &Drained, names: &Names) {
    for (event, said) in events.iter() {
        metrics.count(event, detail::decode(said).as_ref(), names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowlog::{EventKind, EventRing, EventWriter, FlowEvent, TraceReason};
    use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
    use policy::Identity;

    fn event(at: u64) -> FlowEvent {
        let (src, dst) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        FlowEvent {
            at: Instant::from_nanos(at),
            kind: EventKind::Trace { reason: TraceReason::New },
            key: FlowKey { src, dst, src_port: 40_000, dst_port: 80, proto: 6 },
            icmp: (0, 0),
            tcp_flags: TcpFlags(TcpFlags::SYN),
            is_reply: false,
            src_identity: Identity(1001),
            dst_identity: Identity(1002),
            src_endpoint: None,
            dst_endpoint: None,
            in_port: PortId(1),
            len: 60,
            epoch: 1,
        }
    }

    fn taker(workers: usize) -> (Taker, Vec<EventWriter>) {
        let (writers, readers) = (0..workers).map(|_| EventRing::new(64)).unzip();
        let node = Arc::new(NodeFacts::default());
        let log = Flows::new(&crate::config::FlowLog::default());
        (Taker::new(readers, log, SharedSnapshot::default(), node, Clock::start()), writers)
    }

    /// Times of the records, oldest first.
    fn times(taker: &Taker) -> Vec<u32> {
        let started = taker.clock.started_at.as_nanosecond();
        let batch = taker.log.store.read(&mut taker.log.store.oldest());
        let since =
            |record: &Arc<flowlog::Record>| record.time.as_ref().expect("a time").0.as_nanosecond() - started;
        batch.records.iter().map(|record| u32::try_from(since(record)).expect("short")).collect()
    }

    #[test]
    fn a_worker_takes_what_the_thread_would_in_the_same_order() {
        let (mut taker, mut writers) = taker(2);
        assert!(!taker.help(), "names are the thread's to look up");
        taker.take();
        assert!(!taker.help(), "there is nothing");
        for at in [1, 4, 5] {
            writers[0].record(event(at));
        }
        for at in [2, 3, 4, 6] {
            writers[1].record(event(at));
        }
        while taker.help() {}
        assert_eq!(times(&taker), [1, 2, 3, 4, 4, 5, 6]);
        assert!(writers.iter().all(|writer| !writer.has_waiting()));
        let counted = taker.log.metrics().to_text();
        assert!(counted.contains("hubble_flows_processed_total") && counted.contains("\"} 7\n"), "{counted}");
        assert_eq!(taker.take().events, 0);
    }

    #[test]
    fn a_worker_takes_a_few_at_a_time_and_waits_for_nobody() {
        let (mut taker, mut writers) = taker(1);
        taker.take();
        (0..20).for_each(|at| writers[0].record(event(at)));
        let log = taker.log.clone();
        let scrape = log.metrics();
        assert!(!taker.help(), "somebody reads the metrics");
        drop(scrape);
        let reading = log.store.try_room().expect("nobody is there");
        assert!(!taker.help(), "somebody is at the records");
        drop(reading);
        assert_eq!(log.store.total(), 0);
        assert!(taker.help());
        assert!((1..=SOME as u64).contains(&log.store.total()));
        taker.snapshot.store(Arc::new(datapath::Snapshot { epoch: 2, ..datapath::Snapshot::default() }));
        let before = log.store.total();
        assert!(!taker.help(), "names have changed");
        assert_eq!(taker.take().events as u64, 20 - before, "the thread takes the rest");
        assert!(times(&taker).is_sorted());
    }

    /// Takes what waits, also if the reader is at the records just then.
    fn help(taker: &mut Taker) {
        while !taker.help() {
            std::thread::yield_now();
        }
    }

    /// Whether a reader that waits for records has some soon after `act`.
    fn is_told(
        mut taker: Taker,
        writer: &mut EventWriter,
        act: impl Fn(&mut Taker, &mut EventWriter),
    ) -> bool {
        taker.take();
        let store = Arc::clone(&taker.log.store);
        let mut cursor = store.newest();
        let begun = std::time::Instant::now();
        let reader =
            std::thread::spawn(move || store.wait(&mut cursor, Duration::from_secs(60)).records.len());
        // By then it waits.
        std::thread::sleep(Duration::from_millis(100));
        act(&mut taker, writer);
        let found = reader.join().expect("ends");
        found > 0 && begun.elapsed() < Duration::from_secs(30)
    }

    #[test]
    fn whoever_waits_for_records_is_told_of_those_that_a_worker_took() {
        let (taker, mut writers) = self::taker(1);
        assert!(
            is_told(taker, &mut writers[0], |taker, writer| {
                writer.record(event(1));
                help(taker);
                taker.take();
            }),
            "at the thread's next look"
        );
        let (taker, mut writers) = self::taker(1);
        assert!(
            is_told(taker, &mut writers[0], |taker, writer| {
                for at in 0..MOST_UNTOLD as u64 {
                    writer.record(event(at));
                    help(taker);
                }
            }),
            "before so many came that they push others out"
        );
    }
}
