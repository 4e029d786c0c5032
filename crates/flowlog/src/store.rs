//! The last records, in memory, for one writer and several readers.
//!
//! Events are kept as they came and get their names when somebody reads them: most are overwritten unread, and under
//! load making a record of each would cost more than forwarding the packet. When the names change
//! ([`Store::set_names`]), those that were are kept for as long as there are events of their time, so a record always
//! shows who was who at its time.
//!
//! What messages say lies in one run of bytes behind the events, in their order, so that taking an event in allocates
//! nothing.
//!
//! The lock is held for a copy's worth of work: a reader copies a bounded batch and makes records of it outside.
//! A reader that falls behind by more than the ring loses the oldest records and is told how many.

use crate::detail;
use crate::drained::Drained;
use crate::event::FlowEvent;
use crate::record::{Record, Resolver};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// Records kept unless told otherwise (Hubble's default).
pub const DEFAULT_CAPACITY: usize = 4095;

/// Most records copied under the lock at once.
const BATCH: usize = 512;

/// Names of former times that are kept at most: they hold on to the policy of their time, so not many. Where more are wanted,
/// the events of the oldest are made records.
const GENERATIONS: usize = 16;

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
    /// With as many bytes of what messages say.
    Raw(FlowEvent, u16),
}

impl Slot {
    fn said(&self) -> usize {
        match self {
            Self::Made(_) => 0,
            Self::Raw(_, said) => usize::from(*said),
        }
    }

    fn made(&self, said: &[u8], seq: u64, names: Option<&Names>) -> Arc<Record> {
        match (self, names) {
            (Self::Made(record), _) => Arc::clone(record),
            (Self::Raw(event, _), names) => {
                let names: &dyn Resolver = names.map_or(&Nameless, |names| names.as_ref());
                Arc::new(Record::from_message(event, detail::decode(said).as_ref(), names, seq))
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
    /// What the messages of the raw ones say, one behind the other.
    said: VecDeque<u8>,
    /// Names, each with the number of the first record that has them; from the oldest that a raw one may need.
    names: VecDeque<(u64, Names)>,
    /// Number of the first record in `records`; numbers count all records ever pushed.
    first: u64,
    /// Events that never became records.
    lost: u64,
    closed: bool,
}

impl Inner {
    /// Makes room for so many more; what had to give way goes to `evicted`, to be freed outside of the lock.
    fn make_room(&mut self, more: usize, capacity: usize, evicted: &mut Evicted) {
        let over = (self.records.len() + more).saturating_sub(capacity).min(self.records.len());
        let mut said = 0;
        for slot in self.records.range(..over) {
            said += slot.said();
            if let Slot::Made(record) = slot {
                evicted.records.push(Arc::clone(record));
            }
        }
        self.records.drain(..over);
        self.said.drain(..said.min(self.said.len()));
        self.first += over as u64;
        self.forget_names(evicted);
    }

    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// From now on these are the names.
    fn rename(&mut self, names: Names, evicted: &mut Evicted) {
        let end = self.end();
        // Those that no record was pushed under were never needed.
        self.names.retain(|(from, _)| *from < end);
        self.forget_names(evicted);
        if self.names.len() >= GENERATIONS {
            self.make_oldest();
            self.names.pop_front();
        }
        self.names.push_back((end, names));
    }

    /// Lets go of names whose records are all gone.
    fn forget_names(&mut self, evicted: &mut Evicted) {
        while self.names.get(1).is_some_and(|(from, _)| *from <= self.first) {
            evicted.names.extend(self.names.pop_front());
        }
    }

    /// Makes records of what is raw and older than the second names.
    fn make_oldest(&mut self) {
        let until = self.names.get(1).map_or_else(|| self.end(), |(from, _)| *from);
        let said = self.said.make_contiguous();
        let mut used = 0;
        for (seq, slot) in (self.first..until).zip(self.records.iter_mut()) {
            if let Slot::Raw(_, len) = slot {
                let to = used + usize::from(*len);
                let made = slot.made(said.get(used..to).unwrap_or_default(), seq, names_at(&self.names, seq));
                *slot = Slot::Made(made);
                used = to;
            }
        }
        self.said.drain(..used.min(self.said.len()));
    }

    /// So many slots from there on, and what their messages say.
    fn copy(&self, skip: usize, most: usize) -> (Vec<Slot>, Vec<u8>) {
        let before: usize = self.records.range(..skip.min(self.records.len())).map(Slot::said).sum();
        let slots: Vec<_> = self.records.iter().skip(skip).take(most).cloned().collect();
        let wanted = slots.iter().map(Slot::said).sum::<usize>();
        let (a, b) = self.said.as_slices();
        let said = [
            a.get(before..).unwrap_or_default(),
            b.get(before.saturating_sub(a.len())..).unwrap_or_default(),
        ];
        let mut bytes = Vec::with_capacity(wanted);
        for part in said {
            let part = part.get(..wanted - bytes.len()).unwrap_or(part);
            bytes.extend_from_slice(part);
        }
        (slots, bytes)
    }
}

/// The names that the record of that number has.
fn names_at<'a, I>(names: I, seq: u64) -> Option<&'a Names>
where
    I: IntoIterator<Item = &'a (u64, Names)>,
    I::IntoIter: DoubleEndedIterator,
{
    names.into_iter().rev().find(|(from, _)| *from <= seq).map(|(_, names)| names)
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
        let mut evicted = Evicted::default();
        let mut inner = self.lock();
        inner.make_room(1, self.capacity, &mut evicted);
        inner.records.push_back(record);
        drop(inner);
        self.tell();
    }

    /// Adds events in order, as they are.
    pub fn push_events(&self, events: &Drained) {
        let mut evicted = Evicted::default();
        Room { inner: self.lock(), capacity: self.capacity }.push_events(events, &mut evicted);
        self.tell();
    }

    /// Room for events, if nobody else is at the ring just now: for those who must not wait. Readers that wait for
    /// something new learn of it by [`tell`](Self::tell).
    #[must_use]
    pub fn try_room(&self) -> Option<Room<'_>> {
        let inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Room { inner, capacity: self.capacity })
    }

    /// Wakes readers that wait for something new.
    pub fn tell(&self) {
        self.arrived.notify_all();
    }

    /// Changes the names. Events that came before keep those they had.
    pub fn set_names(&self, names: Names) {
        let mut evicted = Evicted::default();
        self.lock().rename(names, &mut evicted);
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
        let (slots, said) = inner.copy(skip, BATCH);
        let end = start + slots.len() as u64;
        let names: Vec<_> = inner.names.iter().filter(|(from, _)| *from < end).cloned().collect();
        let closed = inner.closed;
        drop(inner);
        cursor.0 = end;
        let mut rest = &said[..];
        let records = (start..).zip(&slots).map(|(seq, slot)| {
            let (said, behind) = rest.split_at_checked(slot.said()).unwrap_or_default();
            rest = behind;
            slot.made(said, seq, names_at(&names, seq))
        });
        Batch { records: records.collect(), lost, closed }
    }

    /// A writer that panicked leaves a ring that is still whole: every step keeps it so.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What had to give way. Freeing it takes its time (names hold on to the policy of theirs), so it is not done under the
/// lock, and by whoever has time for it.
#[derive(Default)]
pub struct Evicted {
    records: Vec<Arc<Record>>,
    names: Vec<(u64, Names)>,
}

impl std::fmt::Debug for Evicted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evicted").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// The ring, for one who adds events while all others are kept out.
pub struct Room<'a> {
    inner: MutexGuard<'a, Inner>,
    capacity: usize,
}

impl std::fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Room<'_> {
    /// Adds events in order, as they are. What had to give way is added to `evicted`, for the caller to free.
    pub fn push_events(mut self, events: &Drained, evicted: &mut Evicted) {
        let events = events.iter();
        // What this very batch would push out again need not come in.
        let skip = events.len().saturating_sub(self.capacity);
        self.inner.make_room(events.len() - skip, self.capacity, evicted);
        if skip > 0 {
            self.inner.first += skip as u64;
            self.inner.forget_names(evicted);
        }
        let Inner { records, said: all, .. } = &mut *self.inner;
        records.extend(events.skip(skip).map(|(event, said)| {
            // One that is too long for its length says nothing; a ring has none.
            let (len, said) = u16::try_from(said.len()).map_or((0, &[][..]), |len| (len, said));
            all.extend(said);
            Slot::Raw(*event, len)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Names as Known, event, message_event};

    fn events(list: &[FlowEvent]) -> Drained {
        let mut drained = Drained::default();
        list.iter().for_each(|event| drained.push(*event, &[]));
        drained
    }

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
        let store = Store::new(3);
        store.push_events(&events(&[event()]));
        store.set_names(Arc::new(Known));
        store.push_events(&events(&[event(), event()]));
        let batch = store.read(&mut store.oldest());
        let pods: Vec<_> =
            batch.records.iter().map(|r| r.source.as_ref().map(|s| s.pod_name.clone())).collect();
        assert_eq!(pods[0].as_deref(), Some(""), "there were no names yet");
        assert_ne!(pods[1].as_deref(), Some(""));
        let uuids: std::collections::HashSet<_> = batch.records.iter().map(|r| r.uuid.clone()).collect();
        assert_eq!(uuids.len(), 3);
        // A batch longer than the ring leaves its end, and counts as a whole.
        store.push_events(&events(&[event(); 10]));
        assert_eq!((store.len_and_capacity(), store.total()), ((3, 3), 13));
    }

    /// A hello to each of these servers.
    fn hellos(servers: &[String]) -> Drained {
        let mut drained = Drained::default();
        for server in servers {
            let hello = l7::tls::TlsHello { server_name: Some(server), encrypted: false };
            let mut buffer = [0; 1024];
            let len = detail::encode(detail::Detail::TlsHello(&hello), &mut buffer).expect("has room");
            drained.push(message_event(crate::MessageVerdict::Forwarded, false), &buffer[..len]);
        }
        drained
    }

    fn texts(records: &[Arc<Record>]) -> Vec<&str> {
        records.iter().map(|r| r.summary.as_str()).collect()
    }

    #[test]
    fn messages_keep_what_they_say_until_somebody_asks() {
        let store = Store::new(3);
        store.push_events(&hellos(&["first".into()]));
        let raw = |store: &Store| store.lock().said.len();
        assert_ne!(raw(&store), 0, "not made a record");
        store.set_names(Arc::new(Known));
        assert_ne!(raw(&store), 0, "not even for other names");
        store.push_events(&events(&[event()]));
        store.push_events(&hellos(&["second".into()]));
        let all = store.read(&mut store.oldest()).records;
        assert_eq!(texts(&all), ["TLS ClientHello first", "TCP Flags: SYN", "TLS ClientHello second"]);
        // A batch longer than the ring leaves its end.
        store.push_events(&hellos(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| n.to_string())));
        let all = store.read(&mut store.oldest()).records;
        assert_eq!(texts(&all), ["TLS ClientHello 7", "TLS ClientHello 8", "TLS ClientHello 9"]);
    }

    /// Names that say which they are.
    struct Numbered(usize);

    impl Resolver for Numbered {
        fn address(&self, _: packet::Addr) -> Option<crate::record::Workload> {
            Some(crate::record::Workload { pod_name: self.0.to_string(), ..Default::default() })
        }
        fn labels(&self, identity: policy::Identity) -> Vec<String> {
            Nameless.labels(identity)
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

    #[test]
    fn however_often_names_change_each_record_has_those_of_its_time() {
        for (capacity, events_each) in [(1000, 3), (1000, 30), (50, 3), (50, 70)] {
            let store = Store::new(capacity);
            let mut expected = Vec::new();
            for generation in 0..4 * GENERATIONS {
                store.set_names(Arc::new(Numbered(generation)));
                for n in 0..generation % events_each {
                    store.push_events(&match n % 2 {
                        0 => events(&[event()]),
                        _ => hellos(&[generation.to_string()]),
                    });
                    expected.push((generation.to_string(), n % 2 == 1));
                }
                assert!(store.lock().names.len() <= GENERATIONS);
            }
            let raw = store.lock().records.iter().filter(|slot| matches!(slot, Slot::Raw(..))).count();
            assert_ne!(raw, 0, "the newest are not made records");
            let mut cursor = store.oldest();
            let kept = &expected[usize::try_from(cursor.number()).expect("small")..];
            let mut records = Vec::new();
            while records.len() < kept.len() {
                records.extend(store.read(&mut cursor).records);
            }
            for (record, (generation, hello)) in records.iter().zip(kept) {
                let pod = record.source.as_ref().map(|source| source.pod_name.as_str());
                assert_eq!(pod, Some(generation.as_str()));
                let text = format!("TLS ClientHello {generation}");
                assert_eq!(record.summary == text, *hello, "{}", record.summary);
            }
            let said: usize = store.lock().records.iter().map(Slot::said).sum();
            assert_eq!(store.lock().said.len(), said, "nothing is left of what was made a record");
        }
        let store = Store::new(4);
        (0..10).for_each(|n| store.set_names(Arc::new(Numbered(n))));
        assert_eq!(store.lock().names.len(), 1, "names without records are not kept");
    }

    #[test]
    fn what_messages_say_stays_with_them_however_the_ring_turns() {
        let store = Store::new(5);
        store.set_names(Arc::new(Known));
        for n in 0..200_usize {
            match n % 3 {
                0 => store.push_events(&events(&[event()])),
                1 => store.push_events(&hellos(&[n.to_string().repeat(n % 7)])),
                _ => store.push(record(1)),
            }
            if n == 100 {
                store.set_names(Arc::new(Known));
            }
            for skip in 0..5_usize {
                let mut cursor = store.last(5 - skip as u64);
                let first = usize::try_from(cursor.number()).expect("small");
                let records = store.read(&mut cursor).records;
                assert_eq!(records.len(), (n + 1 - first).min(5));
                for (n, text) in (first..).zip(texts(&records)) {
                    let expected = match n % 3 {
                        0 => "TCP Flags: SYN".to_owned(),
                        1 => format!("TLS ClientHello {}", n.to_string().repeat(n % 7)),
                        _ => String::new(),
                    };
                    assert_eq!(text, expected, "record {n}");
                }
            }
        }
        let kept: usize = store.lock().records.iter().map(Slot::said).sum();
        assert_eq!(store.lock().said.len(), kept, "nothing is left of what went");
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
