//! One socket on the packet path: receive, refill, transmit, take back.

use std::os::fd::{AsRawFd, RawFd};

use packet::{Burst, Frame, PortId};

use crate::bulk::Bulk;
use crate::owner::Slot;
use crate::pool::Pool;
use crate::socket::{Lease, PortSocket, SocketMode};
use crate::sys::{self, Kick};
use crate::xsk::{CONTINUED, Xsk};

/// Descriptors moved at a time.
pub(crate) const BATCH: u32 = 32;
/// Chunks that refilling leaves in the pool, so that answers can always be made.
const KEEP: usize = 64;
/// Longest pause between attempts on a port that takes nothing: 2^6 flushes, or milliseconds when asleep.
const MAX_BACKOFF: u8 = 6;
/// Buffers of one packet: the linear part and MAX_SKB_FRAGS.
pub(crate) const MAX_CHAIN: usize = 18;

/// A socket and what is on its way through it.
///
/// Invariants: `filled` and `in_flight` never exceed the ring length, so no ring, the completion ring included,
/// can overflow.
pub(crate) struct Port {
    pub(crate) xsk: Xsk,
    pub(crate) id: PortId,
    pub(crate) slot: Slot,
    /// The socket is no longer bound.
    pub(crate) dead: bool,
    /// The TX ring holds descriptors that the kernel has not taken.
    pub(crate) unsent: bool,
    /// The port is in the list of those to be flushed.
    pub(crate) listed: bool,
    /// Whoever sleeps is woken by this socket.
    pub(crate) watched: bool,
    /// The kernel completes checksums that are asked for in transmit metadata.
    pub(crate) sums: bool,
    backoff: u8,
    ring: u32,
    /// Frames that have passed since the socket is watched.
    pub(crate) passed: u32,
    /// Chunks that the kernel holds for receiving (FILL ring, RX ring).
    pub(crate) filled: u32,
    /// Chunks accepted for transmission and not completed.
    pub(crate) in_flight: u32,
    /// Flushes to sit out before the next attempt.
    skip: u32,
    /// The beginning of a packet whose end has not arrived.
    pub(crate) partial: Option<Partial>,
    pub(crate) mode: SocketMode,
    pub(crate) copies_tx: bool,
    /// Joins segments, where the kernel takes them so.
    bulk: Option<Bulk>,
    // Last: the queue is free when the socket is closed.
    _lease: Lease,
}

/// A packet of several buffers, not complete yet.
#[derive(Copy, Clone)]
pub(crate) struct Partial {
    pub(crate) head: u32,
    tail: u32,
    len: u32,
}

/// What transmitting came to.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) calls: u64,
    pub(crate) lost: u64,
    /// Frames that left as part of a larger one.
    pub(crate) joined: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.lost += other.lost;
        self.joined += other.joined;
    }
}

/// What receiving came to.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// There may be more.
    pub(crate) more: bool,
}

impl Port {
    pub(crate) fn new(socket: PortSocket, slot: Slot, ring: u32) -> Self {
        Self {
            xsk: socket.xsk,
            id: socket.port,
            slot,
            dead: false,
            unsent: false,
            listed: false,
            watched: false,
            sums: socket.sums,
            backoff: 0,
            ring,
            passed: 0,
            filled: 0,
            in_flight: 0,
            skip: 0,
            partial: None,
            mode: socket.mode,
            copies_tx: socket.copies_tx,
            bulk: socket.bulk,
            _lease: socket.lease,
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.xsk.as_raw_fd()
    }

    /// Adds up to `room` arrived frames to `burst` and gives the kernel new chunks.
    #[inline]
    pub(crate) fn receive(&mut self, pool: &mut Pool, burst: &mut Burst, room: usize) -> Received {
        let available = self.xsk.rx.available();
        if available == 0 {
            if self.filled + BATCH <= self.ring {
                self.refill(pool);
            }
            return Received::default();
        }
        let take = available.min(BATCH).min(room as u32);
        let mut received = Received { more: available > take, ..Received::default() };
        for at in 0..take {
            self.take_in(at, pool, burst, &mut received);
        }
        self.xsk.rx.advance(take);
        // Counters that make no sense shall not keep the caller busy.
        received.more &= !self.dead;
        if self.filled + BATCH <= self.ring {
            self.refill(pool);
        }
        received
    }

    #[inline]
    fn take_in(&mut self, at: u32, pool: &mut Pool, burst: &mut Burst, received: &mut Received) {
        let desc = self.xsk.rx.get(at);
        let Some(index) = pool.arrived(self.slot, desc) else {
            // The kernel gave us a chunk that it did not have. Whatever broke, stop here.
            self.dead = true;
            return;
        };
        self.filled = self.filled.saturating_sub(1);
        let mut packet = match self.partial.take() {
            None => Partial { head: index, tail: index, len: 0 },
            Some(partial) => {
                pool.link(partial.tail, index);
                Partial { tail: index, ..partial }
            }
        };
        packet.len += desc.len;
        if desc.options & CONTINUED != 0 {
            self.partial = Some(packet);
            return;
        }
        pool.hand_out(packet.head);
        received.frames += 1;
        received.bytes += u64::from(packet.len);
        if let Err(frame) = burst.push(Frame::new(packet.head, packet.len, self.id)) {
            // Cannot be: we asked for no more descriptors than there was room for frames.
            pool.release(frame.index());
            received.frames -= 1;
        }
    }

    /// Gives the kernel chunks up to this port's quota, as far as the pool has them.
    pub(crate) fn refill(&mut self, pool: &mut Pool) {
        if !self.dead {
            self.filled += pool.fill(self.slot, self.ring - self.filled, KEEP, &mut self.xsk.fill);
        }
        if self.xsk.fill.needs_wakeup() {
            sys::wake_rx(self.fd());
        }
    }

    /// Whether a frame of `chunks` buffers fits.
    #[inline]
    pub(crate) fn has_room(&self, chunks: usize) -> bool {
        !self.dead && self.in_flight as usize + chunks <= self.ring as usize
    }

    /// Takes completed chunks back.
    #[inline]
    pub(crate) fn reap(&mut self, pool: &mut Pool) {
        let count = self.xsk.completion.available();
        if count == 0 {
            return;
        }
        for at in 0..count {
            if pool.completed(self.slot, self.xsk.completion.get(at)) {
                self.in_flight -= 1;
            } else {
                self.dead = true;
            }
        }
        self.xsk.completion.advance(count);
    }

    /// Takes a frame of `chunks` buffers from the caller, which leaves at the next flush at the latest. Its checksum must be
    /// complete, or asked for in its metadata too.
    #[inline]
    pub(crate) fn accept(&mut self, pool: &mut Pool, frame: &Frame, chunks: usize) -> Sent {
        self.in_flight += chunks as u32;
        self.passed = self.passed.wrapping_add(1);
        let mut sent = Sent::default();
        if let Some(bulk) = &mut self.bulk {
            if bulk.extend(pool, frame, chunks) {
                return sent;
            }
            if bulk.is_waiting() {
                sent = self.settle(pool);
            }
            // Settling may have been the last refusal.
            if self.bulk.as_mut().is_some_and(|bulk| bulk.begin(pool, frame, chunks)) {
                return sent;
            }
        }
        pool.give_to_tx(frame.index(), self.slot, &mut self.xsk.tx);
        sent
    }

    /// Lets go of the segments that wait for others: as one packet, or into the TX ring.
    fn settle(&mut self, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        let Some(mut bulk) = self.bulk.take_if(|bulk| bulk.is_waiting()) else { return sent };
        if bulk.is_worth_it() {
            // What came before goes before.
            sent = self.transmit(pool);
            if !self.unsent && !self.dead {
                sent.calls += 1;
                if bulk.transmit(pool) {
                    let (frames, chunks) = bulk.take();
                    frames.for_each(|head| {
                        pool.put_held(head);
                        sent.joined += 1;
                    });
                    self.in_flight -= chunks;
                }
            }
        }
        for head in bulk.take().0 {
            pool.give_held_to_tx(head, self.slot, &mut self.xsk.tx);
        }
        self.bulk = Some(bulk).filter(|bulk| !bulk.is_hopeless());
        sent
    }

    /// Gives up the segments that wait for others. Answers how many.
    pub(crate) fn abandon(&mut self, pool: &mut Pool) -> u64 {
        let Some(bulk) = &mut self.bulk else { return 0 };
        let (frames, chunks) = bulk.take();
        let count = frames.map(|head| pool.put_held(head)).count();
        self.in_flight -= chunks;
        count as u64
    }

    /// Transmits all that waits, unless this port is sitting out.
    #[inline]
    pub(crate) fn flush(&mut self, pool: &mut Pool) -> Sent {
        let mut sent = match &self.bulk {
            Some(bulk) if bulk.is_waiting() => self.settle(pool),
            _ => Sent::default(),
        };
        sent += self.transmit(pool);
        sent
    }

    /// Publishes the descriptors that wait and tells the kernel, unless this port is sitting out.
    fn transmit(&mut self, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        // Whole packets only: `send` adds complete chains.
        self.unsent |= self.xsk.tx.publish();
        if !self.unsent || self.dead {
            return sent;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return sent;
        }
        let mut unread = self.xsk.tx.unread();
        // Every turn but the last moves at least one frame, so the ring length bounds them.
        for _ in 0..=self.ring {
            sent.calls += 1;
            let answer = sys::kick(self.fd());
            let now = self.xsk.tx.unread();
            let moved = now < unread;
            unread = now;
            self.unsent = unread > 0;
            match answer {
                Kick::Dropped => sent.lost += 1,
                Kick::Gone => {
                    self.dead = true;
                    return sent;
                }
                Kick::Down => {
                    self.back_off();
                    return sent;
                }
                Kick::Done | Kick::Again if !moved => {
                    if self.unsent {
                        self.back_off();
                    }
                    return sent;
                }
                Kick::Done | Kick::Again => {}
            }
            if !self.unsent {
                break;
            }
            // The completion ring may be what is full.
            self.reap(pool);
        }
        self.backoff = 0;
        sent
    }

    fn back_off(&mut self) {
        self.skip = 1 << self.backoff;
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
    }

    /// Entries of each ring.
    pub(crate) fn ring(&self) -> u32 {
        self.ring
    }

    /// Milliseconds after which a port that would not take its frames is to be tried again.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        (self.unsent && !self.dead).then(|| 1 << self.backoff.saturating_sub(1))
    }

    /// Time has passed: try at the next flush.
    pub(crate) fn retry_now(&mut self) {
        self.skip = 0;
    }
}
