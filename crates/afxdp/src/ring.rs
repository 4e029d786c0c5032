//! The four rings that a socket shares with the kernel: one side writes, the other reads.
//!
//! Each ring is a table of `entries` values (a power of two) and two counters that only grow, modulo 2^32. We are the
//! producer of FILL and TX and the consumer of RX and COMPLETION. The kernel's counter is read once for a batch, ours is
//! written once for a batch; an idle poll is a single load.
//!
//! What the kernel's counters say is never trusted with memory: every access to the table is taken modulo its length,
//! which was checked against the mapping when the ring was made.

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{Mapping, Plain};

/// `XDP_RING_NEED_WAKEUP` of if_xdp.h.
const NEED_WAKEUP: u32 = 1;

/// `struct xdp_desc` of if_xdp.h: packet bytes at `addr`, counted from the beginning of the memory.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(crate) struct Desc {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

// SAFETY: three integers, 16 bytes without padding.
unsafe impl Plain for Desc {}

/// `struct xdp_ring_offset` of if_xdp.h: where the parts of a ring lie in its mapping.
#[derive(Copy, Clone, Default, Debug)]
#[repr(C)]
pub(crate) struct Offsets {
    pub(crate) producer: u64,
    pub(crate) consumer: u64,
    pub(crate) desc: u64,
    pub(crate) flags: u64,
}

/// A mapped ring with the parts of it checked to lie inside.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    table: NonNull<T>,
    entries: u32,
    // What the pointers point into.
    _mapping: Mapping,
    _values: PhantomData<T>,
}

// SAFETY: the pointers are into the mapping that the value owns, and nothing in it belongs to a thread.
unsafe impl<T: Plain + Send> Send for Shared<T> {}

impl<T: Plain> Shared<T> {
    fn new(mapping: Mapping, offsets: &Offsets, entries: u32) -> io::Result<Self> {
        let nonsense =
            || io::Error::new(io::ErrorKind::InvalidData, "the kernel's ring layout makes no sense");
        let place = |offset: u64, size: usize, align: usize| -> io::Result<NonNull<u8>> {
            let offset = usize::try_from(offset).map_err(|_| nonsense())?;
            let fits = offset.checked_add(size).is_some_and(|end| end <= mapping.len());
            if !fits || !offset.is_multiple_of(align) {
                return Err(nonsense());
            }
            // SAFETY: `offset` lies in the mapping.
            Ok(unsafe { mapping.start().add(offset) })
        };
        if !entries.is_power_of_two() {
            return Err(nonsense());
        }
        let counter = |offset| place(offset, size_of::<AtomicU32>(), align_of::<AtomicU32>());
        let table = place(offsets.desc, entries as usize * size_of::<T>(), align_of::<T>())?;
        Ok(Self {
            producer: counter(offsets.producer)?.cast(),
            consumer: counter(offsets.consumer)?.cast(),
            flags: counter(offsets.flags)?.cast(),
            table: table.cast(),
            entries,
            _mapping: mapping,
            _values: PhantomData,
        })
    }

    #[inline]
    fn counter(&self, of: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: aligned and inside the mapping (checked by `new`), which lives as long as `self`; the kernel accesses it
        // as an atomic word, too.
        unsafe { of.as_ref() }
    }

    #[inline]
    fn entry(&self, at: u32) -> NonNull<T> {
        // SAFETY: below `entries`, and `new` has checked that so many lie in the mapping.
        unsafe { self.table.add((at & (self.entries - 1)) as usize) }
    }
}

/// The side of a ring that we write.
pub(crate) struct Producer<T> {
    shared: Shared<T>,
    /// The next entry to write.
    next: u32,
    /// Entries before this one are the reader's.
    published: u32,
}

impl<T: Plain> Producer<T> {
    pub(crate) fn new(mapping: Mapping, offsets: &Offsets, entries: u32) -> io::Result<Self> {
        let shared = Shared::new(mapping, offsets, entries)?;
        let next = shared.counter(shared.producer).load(Ordering::Relaxed);
        Ok(Self { shared, next, published: next })
    }

    /// Writes an entry, which the reader does not see before [`publish`](Self::publish). The caller counts how many
    /// entries are under way; one too many overwrites the oldest.
    #[inline]
    pub(crate) fn put(&mut self, value: T) {
        // SAFETY: in the mapping (`entry`) and aligned; the kernel reads it only once it is published.
        unsafe { self.shared.entry(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
    }

    /// Hands over what was written. `false` when there was nothing.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        if self.published == self.next {
            return false;
        }
        self.published = self.next;
        self.shared.counter(self.shared.producer).store(self.next, Ordering::Release);
        true
    }

    /// Published entries that the reader has not taken.
    #[inline]
    pub(crate) fn unread(&self) -> u32 {
        let taken = self.shared.counter(self.shared.consumer).load(Ordering::Acquire);
        self.published.wrapping_sub(taken).min(self.shared.entries)
    }

    /// Written entries that the reader has not taken, published or not.
    pub(crate) fn waiting(&self) -> u32 {
        self.unread() + self.next.wrapping_sub(self.published)
    }

    /// The values of those, for when nobody will read them any more.
    pub(crate) fn waiting_values(&self) -> impl Iterator<Item = T> {
        let first = self.next.wrapping_sub(self.waiting());
        // SAFETY: in the mapping (`entry`), and every bit pattern is a value.
        (0..self.waiting()).map(move |at| unsafe { self.shared.entry(first.wrapping_add(at)).read() })
    }

    /// Whether the driver asks to be woken.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.shared.counter(self.shared.flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

/// The side of a ring that we read.
pub(crate) struct Consumer<T> {
    shared: Shared<T>,
    /// The next entry to read.
    next: u32,
}

impl<T: Plain> Consumer<T> {
    pub(crate) fn new(mapping: Mapping, offsets: &Offsets, entries: u32) -> io::Result<Self> {
        let shared = Shared::new(mapping, offsets, entries)?;
        let next = shared.counter(shared.consumer).load(Ordering::Relaxed);
        Ok(Self { shared, next })
    }

    /// Entries that can be read.
    #[inline]
    pub(crate) fn available(&self) -> u32 {
        let written = self.shared.counter(self.shared.producer).load(Ordering::Acquire);
        written.wrapping_sub(self.next).min(self.shared.entries)
    }

    /// The entry `at` places after the next one. Only those that [`available`](Self::available) counted mean anything.
    #[inline]
    pub(crate) fn get(&self, at: u32) -> T {
        // SAFETY: in the mapping (`entry`) and aligned, and every bit pattern is a value.
        unsafe { self.shared.entry(self.next.wrapping_add(at)).read() }
    }

    /// Gives `count` places back to the writer.
    #[inline]
    pub(crate) fn advance(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
        self.shared.counter(self.shared.consumer).store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memfd;
    use std::os::fd::AsRawFd;

    const ENTRIES: u32 = 8;
    const LAYOUT: Offsets = Offsets { producer: 0, consumer: 64, flags: 128, desc: 192 };

    /// Both ends of one ring whose counters begin at `start`.
    fn ring(start: u32) -> (Producer<u64>, Consumer<u64>) {
        let file = memfd(4096).expect("memory");
        let map = || Mapping::shared(file.as_raw_fd(), 4096, 0).expect("mapping");
        let (a, b) = (map(), map());
        for offset in [LAYOUT.producer, LAYOUT.consumer] {
            // SAFETY: in the mapping and aligned; nobody else knows it yet.
            unsafe { a.start().add(offset as usize).cast::<u32>().write(start) };
        }
        (Producer::new(a, &LAYOUT, ENTRIES).expect("ring"), Consumer::new(b, &LAYOUT, ENTRIES).expect("ring"))
    }

    fn take(consumer: &mut Consumer<u64>) -> Vec<u64> {
        let values = (0..consumer.available()).map(|at| consumer.get(at)).collect();
        consumer.advance(consumer.available());
        values
    }

    #[test]
    fn what_is_published_arrives_in_order_also_where_counters_wrap() {
        for start in [0, 5, u32::MAX - 3] {
            let (mut producer, mut consumer) = ring(start);
            let mut expected = 0u64..;
            for round in 0..40 {
                let count = round % (u64::from(ENTRIES) + 1);
                let sent: Vec<u64> = expected.by_ref().take(count as usize).collect();
                sent.iter().for_each(|value| producer.put(*value));
                assert_eq!(consumer.available(), 0, "not before it is published");
                assert_eq!((producer.unread(), producer.waiting()), (0, count as u32));
                assert_eq!(producer.waiting_values().collect::<Vec<_>>(), sent);
                assert_eq!(producer.publish(), count > 0);
                assert_eq!(producer.unread(), count as u32);
                assert_eq!(take(&mut consumer), sent);
                assert_eq!((producer.unread(), consumer.available()), (0, 0));
            }
        }
    }

    #[test]
    fn counters_that_make_no_sense_stay_within_the_ring() {
        let (producer, consumer) = ring(7);
        for nonsense in [0, 6, 16, 1 << 31, u32::MAX] {
            producer.shared.counter(producer.shared.consumer).store(nonsense, Ordering::Release);
            producer.shared.counter(producer.shared.producer).store(nonsense, Ordering::Release);
            assert!(producer.unread() <= ENTRIES && consumer.available() <= ENTRIES, "{nonsense}");
            let values: Vec<u64> = (0..consumer.available()).map(|at| consumer.get(at)).collect();
            assert!(values.iter().all(|value| *value == 0));
        }
    }

    #[test]
    fn a_layout_that_reaches_beyond_the_mapping_is_refused() {
        let with = |offsets: Offsets, entries| {
            let file = memfd(4096).expect("memory");
            Producer::<u64>::new(
                Mapping::shared(file.as_raw_fd(), 4096, 0).expect("mapping"),
                &offsets,
                entries,
            )
        };
        assert!(with(LAYOUT, ENTRIES).is_ok());
        assert!(with(LAYOUT, 512).is_err(), "the table");
        assert!(with(LAYOUT, 7).is_err(), "no power of two");
        assert!(with(Offsets { producer: 4096, ..LAYOUT }, ENTRIES).is_err());
        assert!(with(Offsets { consumer: 2, ..LAYOUT }, ENTRIES).is_err(), "crooked");
        assert!(with(Offsets { flags: u64::MAX, ..LAYOUT }, ENTRIES).is_err());
        assert!(with(Offsets { desc: 4092, ..LAYOUT }, ENTRIES).is_err());
    }
}
