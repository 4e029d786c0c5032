//! The last records, in memory, for one writer and several readers.
//!
//! Events are kept as they came and get their names when somebody reads them: most are overwritten unread, and under
//! load making a record of each would cost more than forwarding the packet. When the names change
//! ([`Store::set_names`]), what is still raw is resolved with the old ones first, so a record always shows who was
//! who at its time.
//!
//! The lock is held for a pointer's worth of work: a reader copies a bounded batch of `Arc`s and filters outside of it.
//! A reader that falls behind by more than the ring loses the oldest records and is told how many.

use crate::detail::Message;
use crate::event::FlowEvent;
use crate::record::{Record, Resolver};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records kept unless told otherwise (Hubble's default).
pub const DEFAULT_CAPACITY: usize = 4095;

/// Most records copied under the lock at once.
const BATCH: usize = 512;

/// A ring of records.
pub struct Store {
    inner: Mutex<Inner>,
    arrived: Condvar,
    capacity: usize,
}

/// Names for events, shared with readers.
pub type Names = Arc<dyn Resolver + Send + Sync>;

/// A record, or an event that nobody has asked for yet.
#[derive(Clone, Debug)]
enum Slot {
    Made(Arc<Record>),
    Raw(FlowEvent, Option<Arc<Message>>),
}

impl Slot {
    fn made(&self, seq: u64, names: Option<&Names>) -> Arc<Record> {
        match (self, names) {
            (Self::Made(record), _) => Arc::clone(record),
            (Self::Raw(event, message), names) => {
                let names: &dyn Resolver = names.map_or(&Nameless, |names| names.as_ref());
                Arc::new(Record::from_message(event, message.as_deref(), names, seq))
            }
        }
    }
}

/// Before the first names: numbers stay numbers.
struct Nameless;

impl Resolver for Nameless {
    fn labels(&self, _: policy::Identity) -> Vec<String> {
        Vec::new()
    }
    fn address(&self, _: packet::Addr) -> Option<crate::record::Workload> {
        None
    }
    fn endpoint(&self, _: policy::EndpointId) -> Option<crate::record::Workload> {
        None
    }
    fn rules(&self, _: policy::RuleId) -> Vec<policy::Provenance> {
        Vec::new()
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        0
    }
    fn node_name(&self) -> &str {
        ""
    }
}

#[derive(Default)]
struct Inner {
    records: VecDeque<Slot>,
    names: Option<Names>,
    /// Number of the first record in `records`; numbers count all records ever pushed.
    first: u64,
    /// Events that never became records.
    lost: u64,
    closed: bool,
}

impl Inner {
    /// Adds a slot; answers what had to give way.
    fn push(&mut self, slot: Slot, capacity: usize) -> Option<Slot> {
        let oldest = if self.records.len() >= capacity {
            self.first += 1;
            self.records.pop_front()
        } else {
            None
        };
        self.records.push_back(slot);
        oldest
    }

    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }
}

/// Where a reader stands.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor(u64);

impl Cursor {
    /// Before the record of this number; records are numbered from 0 in the order in which they came.
    #[must_use]
    pub const fn at(number: u64) -> Self {
        Self(number)
    }

    /// The number of the record that comes next.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a reader got.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records, oldest first.
    pub records: Vec<Arc<Record>>,
    /// Records that were overwritten before this reader came to them.
    pub lost: u64,
    /// Whether nothing will ever follow.
    pub closed: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Store {
    /// An empty ring for `capacity` records (at least one).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), arrived: Condvar::new(), capacity: capacity.max(1) }
    }

    /// Adds a record, pushing the oldest out when full.
    pub fn push(&self, record: Record) {
        let record = Slot::Made(Arc::new(record));
        let oldest = self.lock().push(record, self.capacity);
        self.arrived.notify_all();
        // Freeing a record is not done under the lock.
        drop(oldest);
    }

    /// Adds events in order, as they are.
    pub fn push_events(&self, events: &[FlowEvent]) {
        self.push_messages(events.iter().map(|event| (*event, None)));
    }

    /// Adds events in order, as they are, messages with what they say.
    pub fn push_messages(&self, events: impl ExactSizeIterator<Item = (FlowEvent, Option<Arc<Message>>)>) {
        // What this very batch would push out again need not come in.
        let skip = events.len().saturating_sub(self.capacity);
        // Freeing is not done under the lock.
        let mut dropped = Vec::new();
        {
            let mut inner = self.lock();
            if skip > 0 {
                dropped.extend(inner.records.drain(..));
                inner.first += (dropped.len() + skip) as u64;
            }
            for (at, (event, message)) in events.enumerate() {
                if at < skip {
                    continue;
                }
                match inner.push(Slot::Raw(event, message), self.capacity) {
                    None | Some(Slot::Raw(_, None)) => {}
                    Some(slot) => dropped.push(slot),
                }
            }
        }
        self.arrived.notify_all();
    }

    /// Changes the names. Events that came before keep those they had.
    pub fn set_names(&self, names: Names) {
        let mut inner = self.lock();
        let Inner { records, names: current, first, .. } = &mut *inner;
        for (seq, slot) in (*first..).zip(records.iter_mut()) {
            if matches!(slot, Slot::Raw(..)) {
                *slot = Slot::Made(slot.made(seq, current.as_ref()));
            }
        }
        *current = Some(names);
    }

    /// Counts events that were shed before they became records.
    pub fn add_lost(&self, events: u64) {
        self.lock().lost += events;
    }

    /// Events shed so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Ends all followers once they have read what is there.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Records held now, and the most there can be.
    #[must_use]
    pub fn len_and_capacity(&self) -> (usize, usize) {
        (self.lock().records.len(), self.capacity)
    }

    /// Records ever pushed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().end()
    }

    /// Before the oldest record.
    #[must_use]
    pub fn oldest(&self) -> Cursor {
        Cursor(self.lock().first)
    }

    /// After the newest record.
    #[must_use]
    pub fn newest(&self) -> Cursor {
        Cursor(self.lock().end())
    }

    /// Before the newest `records`, or the oldest if there are fewer.
    #[must_use]
    pub fn last(&self, records: u64) -> Cursor {
        let inner = self.lock();
        Cursor(inner.end().saturating_sub(records).max(inner.first))
    }

    /// Reads on from `cursor`, a bounded number of records at once; an empty batch means there is nothing new.
    #[must_use]
    pub fn read(&self, cursor: &mut Cursor) -> Batch {
        Self::batch(self.lock(), cursor)
    }

    /// Like [`read`](Self::read), but waits up to `timeout` for something new.
    #[must_use]
    pub fn wait(&self, cursor: &mut Cursor, timeout: Duration) -> Batch {
        let waited = self
            .arrived
            .wait_timeout_while(self.lock(), timeout, |inner| inner.end() <= cursor.0 && !inner.closed);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Self::batch(inner, cursor)
    }

    /// Copies under the lock, resolves outside of it.
    fn batch(inner: MutexGuard<'_, Inner>, cursor: &mut Cursor) -> Batch {
        let lost = inner.first.saturating_sub(cursor.0);
        let start = cursor.0.max(inner.first);
        let skip = usize::try_from(start - inner.first).unwrap_or(usize::MAX);
        let slots: Vec<_> = inner.records.iter().skip(skip).take(BATCH).cloned().collect();
        let (names, closed) = (inner.names.clone(), inner.closed);
        drop(inner);
        cursor.0 = start + slots.len() as u64;
        let records = (start..).zip(&slots).map(|(seq, slot)| slot.made(seq, names.as_ref())).collect();
        Batch { records, lost, closed }
    }

    /// A writer that panicked leaves a ring that is still whole: every step keeps it so.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> Record {
        Record { drop_reason: n, ..Record::default() }
    }

    fn numbers(batch: &Batch) -> Vec<u32> {
        batch.records.iter().map(|r| r.drop_reason).collect()
    }

    #[test]
    fn wraps_and_tells_a_slow_reader_what_it_lost() {
        let store = Store::new(3);
        let mut cursor = store.oldest();
        (0..2).for_each(|n| store.push(record(n)));
        assert_eq!(numbers(&store.read(&mut cursor)), [0, 1]);
        (2..8).for_each(|n| store.push(record(n)));
        let batch = store.read(&mut cursor);
        assert_eq!((numbers(&batch), batch.lost), (vec![5, 6, 7], 3));
        assert!(store.read(&mut cursor).records.is_empty());
        assert_eq!((store.len_and_capacity(), store.total()), ((3, 3), 8));
        assert_eq!(numbers(&store.read(&mut store.last(2))), [6, 7]);
        assert_eq!((store.last(9), store.last(0)), (store.oldest(), store.newest()));
    }

    #[test]
    fn events_are_numbered_and_named_by_the_names_of_their_time() {
        use crate::testing::{Names as Known, event};
        let store = Store::new(3);
        store.push_events(&[event()]);
        store.set_names(Arc::new(Known));
        store.push_events(&[event(), event()]);
        let batch = store.read(&mut store.oldest());
        let pods: Vec<_> =
            batch.records.iter().map(|r| r.source.as_ref().map(|s| s.pod_name.clone())).collect();
        assert_eq!(pods[0].as_deref(), Some(""), "there were no names yet");
        assert_ne!(pods[1].as_deref(), Some(""));
        let uuids: std::collections::HashSet<_> = batch.records.iter().map(|r| r.uuid.clone()).collect();
        assert_eq!(uuids.len(), 3);
        // A batch longer than the ring leaves its end, and counts as a whole.
        store.push_events(&[event(); 10]);
        assert_eq!((store.len_and_capacity(), store.total()), ((3, 3), 13));
    }

    #[test]
    fn messages_keep_what_they_say_until_somebody_asks() {
        use crate::testing::{Names as Known, event, message_event};
        let store = Store::new(3);
        let kind = crate::MessageVerdict::Forwarded;
        let said =
            |name: &str| Arc::new(Message::TlsHello { server_name: Some(name.into()), encrypted: false });
        let first = said("first");
        store.push_messages([(message_event(kind, false), Some(Arc::clone(&first)))].into_iter());
        assert_eq!(Arc::strong_count(&first), 2, "not copied, not made a record");
        store.set_names(Arc::new(Known));
        assert_eq!(Arc::strong_count(&first), 1, "made a record with the names of its time");
        let second = [(event(), None), (message_event(kind, false), Some(said("second")))];
        store.push_messages(second.into_iter());
        let texts = |store: &Store| {
            let records = store.read(&mut store.oldest()).records;
            records.iter().map(|r| r.summary.clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&store), ["TLS ClientHello first", "TCP Flags: SYN", "TLS ClientHello second"]);
        // A batch longer than the ring leaves its end.
        let many = (0..10).map(|n| (message_event(kind, false), Some(said(&n.to_string()))));
        store.push_messages(many.collect::<Vec<_>>().into_iter());
        assert_eq!(texts(&store), ["TLS ClientHello 7", "TLS ClientHello 8", "TLS ClientHello 9"]);
    }

    #[test]
    fn a_follower_sees_each_record_once_and_ends_at_close() {
        let store = Arc::new(Store::new(10_000));
        let mut cursor = store.newest();
        let writer = Arc::clone(&store);
        let handle = std::thread::spawn(move || {
            (0..5_000).for_each(|n| writer.push(record(n)));
            writer.close();
        });
        let mut seen = Vec::new();
        loop {
            let batch = store.wait(&mut cursor, Duration::from_secs(5));
            assert_eq!(batch.lost, 0);
            seen.extend(numbers(&batch));
            if batch.closed && batch.records.is_empty() {
                break;
            }
        }
        handle.join().expect("writer");
        assert!(seen.into_iter().eq(0..5_000));
    }
}
