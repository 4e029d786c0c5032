//! Connections on their way from one worker's table to another's, as they are: the tracking of sequence numbers, the
//! deadline, the verdict and the counters included. Both tables have the same hash and the same clock.

use super::conn::{Conn, QueueKind};
use super::timer::{self, NIL};
use super::{ConnId, Conntrack, hashes};
use flowlog::CloseReason;

/// One connection outside of any table.
#[derive(Debug)]
pub(crate) struct Carried(Conn);

/// How far a search has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Carry {
    /// There are slots to look at.
    More,
    /// All are taken out.
    Done,
    /// One is inspected, and stays.
    Inspected,
}

impl Conntrack {
    /// Takes out the connections whose hash is wanted, from slot `cursor` on, looking at no more than `slots` slots.
    pub(crate) fn carry(
        &mut self,
        cursor: &mut u32,
        slots: &mut u32,
        wanted: impl Fn(u64) -> bool,
        out: &mut Vec<Carried>,
    ) -> Carry {
        while (*cursor as usize) < self.slab.len() {
            if *slots == 0 {
                return Carry::More;
            }
            *slots -= 1;
            let i = *cursor;
            *cursor += 1;
            let conn = &self.slab[i as usize];
            if conn.is_vacant() || !wanted(self.hasher.hash(&conn.key)) {
                continue;
            }
            if conn.is_inspected() {
                return Carry::Inspected;
            }
            out.push(self.take_out(i));
        }
        Carry::Done
    }

    fn take_out(&mut self, i: u32) -> Carried {
        let carried = Carried(self.slab[i as usize].clone());
        self.wheel.remove(&mut self.slab, i);
        self.loads.requeue(&mut self.slab, i, QueueKind::Kept);
        self.unhook(i);
        carried
    }

    /// Puts one in. Where the table is full, what may be evicted gives way; if nothing may, the connection ends.
    pub(crate) fn bring(&mut self, Carried(conn): Carried, closed: &mut impl FnMut(&Conn, CloseReason)) {
        if self.len() >= self.config.max_entries as usize {
            let victim = self.loads.victim();
            let Some(victim) = victim else {
                if !conn.revoked() {
                    closed(&conn, CloseReason::Evicted);
                }
                return;
            };
            let reason = match self.slab[victim as usize].ended_by() {
                CloseReason::TimedOut => CloseReason::Evicted,
                over => over,
            };
            self.remove(ConnId(victim), reason, closed);
        }
        let (hash, due, queue) = (self.hash(&conn.key), timer::tick_of(conn.expires()), conn.queue);
        let (in_port, i) = (conn.in_port, self.free_slot());
        let generation = self.slab[i as usize].generation.wrapping_add(1);
        self.slab[i as usize] = Conn { generation, queue: QueueKind::Kept, ..conn };
        self.index.insert(hash, i, hashes(&self.slab, &self.hasher));
        self.wheel.insert(&mut self.slab, i, due);
        self.loads.opened(in_port);
        self.loads.requeue(&mut self.slab, i, queue);
    }

    /// A slot that nothing is in.
    pub(super) fn free_slot(&mut self) -> u32 {
        let i = self.free;
        if i == NIL {
            self.slab.push(Conn::vacant());
            return (self.slab.len() - 1) as u32;
        }
        self.free = self.slab[i as usize].links.next;
        i
    }

    /// Frees the slot of an entry that neither the wheel nor a list of evictable ones holds.
    pub(super) fn unhook(&mut self, i: u32) {
        let conn = &self.slab[i as usize];
        self.loads.closed(conn.in_port);
        self.index.remove(self.hasher.hash(&conn.key), i);
        let generation = conn.generation;
        let mut vacant = Conn { generation, ..Conn::vacant() };
        vacant.links.next = self.free;
        self.slab[i as usize] = vacant;
        self.free = i;
    }
}
