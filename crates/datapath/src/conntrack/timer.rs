//! A hierarchical timer wheel whose lists run through the connection slab.
//!
//! Four levels of 256 slots over 32-bit ticks of 2^27 ns (134 ms): 18 years, no allocation, 12 bytes an entry.
//! An entry lies on the level of the highest digit (base 256) in which its tick differs from the wheel's, so the
//! slot of that digit lies ahead, and is spread over lower levels when the wheel arrives there.
//!
//! Timers are lazy: putting a deadline off only writes `due`; the entry stays where it is and is moved when the
//! wheel finds it. Invariant: no entry lies in a slot that comes after its `due`.

use packet::Instant;

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// log2 of the nanoseconds of one tick.
const TICK_SHIFT: u32 = 27;
const LEVELS: usize = 4;
const SLOTS: usize = 256;
/// In `Timer::prev`: the entry is the first of the slot whose number the other bits hold.
const FIRST: u32 = 1 << 31;
/// Most empty ticks walked over in one call: 34 s of time in well under a microsecond.
const TICKS_PER_CALL: u32 = 256;

/// Neighbours of one entry in its slot.
#[derive(Copy, Clone, Debug)]
pub(super) struct Timer {
    prev: u32,
    next: u32,
}

impl Timer {
    /// Belongs to no slot.
    pub(super) const IDLE: Self = Self { prev: NIL, next: NIL };
}

/// Where the entries live. Deadlines lie apart from the links, because every packet writes the one and few touch the other.
pub(super) trait Nodes {
    /// The links of entry `i`.
    fn timer(&mut self, i: u32) -> &mut Timer;

    /// The tick at which entry `i` is due.
    fn due(&mut self, i: u32) -> &mut u32;
}

/// The wheel. Every tick before `current` is done; `current` itself stays open until the next one comes, so that what is
/// due at once is not a tick late.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: Box<[u32]>,
    current: u32,
    len: u32,
}

/// What one call of [`Wheel::next_due`] and its successors may still do.
#[derive(Debug)]
pub(super) struct Work {
    entries: usize,
    ticks: u32,
}

impl Work {
    /// Touch at most `entries` entries.
    pub(super) const fn new(entries: usize) -> Self {
        Self { entries, ticks: TICKS_PER_CALL }
    }
}

/// The tick that `at` falls into.
pub(super) const fn tick_of(at: Instant) -> u32 {
    clamp(at.as_nanos() >> TICK_SHIFT)
}

/// The first tick that begins at or after `at`, so that nothing is due early.
pub(super) const fn tick_after(at: Instant) -> u32 {
    clamp(at.as_nanos().div_ceil(1 << TICK_SHIFT))
}

/// The start of a tick.
pub(super) const fn start_of(tick: u32) -> Instant {
    Instant::from_nanos((tick as u64) << TICK_SHIFT)
}

const fn clamp(tick: u64) -> u32 {
    if tick < u32::MAX as u64 { tick as u32 } else { u32::MAX }
}

impl Wheel {
    /// An empty wheel.
    pub(super) fn new() -> Self {
        Self { heads: vec![NIL; LEVELS * SLOTS].into_boxed_slice(), current: 0, len: 0 }
    }

    /// Adds entry `i`, which is in no slot, due at tick `due`.
    pub(super) fn insert(&mut self, nodes: &mut impl Nodes, i: u32, due: u32) {
        *nodes.due(i) = due;
        self.link(nodes, i, due);
        self.len += 1;
    }

    /// Sets the deadline of entry `i`. Later ones cost one write.
    #[inline]
    pub(super) fn reschedule(&mut self, nodes: &mut impl Nodes, i: u32, due: u32) {
        let earlier = due < core::mem::replace(nodes.due(i), due);
        if earlier {
            self.unlink(nodes, i);
            self.link(nodes, i, due);
        }
    }

    /// Takes entry `i` out.
    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, i: u32) {
        self.unlink(nodes, i);
        self.len -= 1;
    }

    /// Takes out and answers an entry that is due at tick `now`; `None` when there is none, or no work is left.
    pub(super) fn next_due(&mut self, nodes: &mut impl Nodes, now: u32, work: &mut Work) -> Option<u32> {
        if self.len == 0 {
            self.current = self.current.max(now);
            return None;
        }
        while self.current <= now {
            if let Some(i) = self.first_here() {
                if work.entries == 0 {
                    return None;
                }
                work.entries -= 1;
                self.unlink(nodes, i);
                let due = *nodes.due(i);
                if due <= self.current {
                    self.len -= 1;
                    return Some(i);
                }
                self.link(nodes, i, due);
                continue;
            }
            if self.current == now || work.ticks == 0 {
                return None;
            }
            work.ticks -= 1;
            self.current += 1;
        }
        None
    }

    /// An entry of the slots that belong to the current tick: of every level at whose slot the wheel just arrived.
    fn first_here(&self) -> Option<u32> {
        let mut level = 0;
        loop {
            let digit = digit(self.current, level);
            let head = self.heads[level * SLOTS + digit];
            if head != NIL {
                return Some(head);
            }
            level += 1;
            if digit != 0 || level == LEVELS {
                return None;
            }
        }
    }

    fn link(&mut self, nodes: &mut impl Nodes, i: u32, due: u32) {
        let due = due.max(self.current);
        let differs = due ^ self.current;
        let level = if differs == 0 { 0 } else { (differs.ilog2() / 8) as usize };
        let slot = level * SLOTS + digit(due, level);
        let next = self.heads[slot];
        self.heads[slot] = i;
        let timer = nodes.timer(i);
        timer.prev = FIRST | slot as u32;
        timer.next = next;
        if next != NIL {
            nodes.timer(next).prev = i;
        }
    }

    fn unlink(&mut self, nodes: &mut impl Nodes, i: u32) {
        let Timer { prev, next } = *nodes.timer(i);
        if prev & FIRST != 0 {
            self.heads[(prev & !FIRST) as usize] = next;
        } else {
            nodes.timer(prev).next = next;
        }
        if next != NIL {
            nodes.timer(next).prev = prev;
        }
    }
}

const fn digit(tick: u32, level: usize) -> usize {
    (tick >> (8 * level)) as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests;
