//! One socket on the packet path: receive, refill, transmit, take back.

use std::os::fd::RawFd;

use packet::{Burst, Frame, PortId};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, TxQueue};

use crate::owner::Slot;
use crate::pool::Pool;
use crate::socket::{PortSocket, SocketMode};
use crate::sys::{self, Kick};

/// Descriptors moved at a time.
pub(crate) const BATCH: usize = 32;
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
    pub(crate) id: PortId,
    pub(crate) slot: Slot,
    pub(crate) fd: RawFd,
    pub(crate) rx: RxQueue,
    pub(crate) tx: TxQueue,
    pub(crate) fill: FillQueue,
    pub(crate) comp: CompQueue,
    pub(crate) mode: SocketMode,
    pub(crate) copies_tx: bool,
    ring: u32,
    /// Chunks that the kernel holds for receiving (FILL ring, RX ring).
    pub(crate) filled: u32,
    /// Chunks accepted for transmission and not completed.
    pub(crate) in_flight: u32,
    /// Accepted, not yet in the TX ring.
    pub(crate) pending: Vec<FrameDesc>,
    /// The TX ring holds descriptors that the kernel has not taken.
    pub(crate) unsent: bool,
    /// Flushes to sit out before the next attempt.
    skip: u32,
    backoff: u8,
    /// The beginning of a packet whose end has not arrived.
    pub(crate) partial: Option<Partial>,
    /// The socket is no longer bound.
    pub(crate) dead: bool,
    staging: [FrameDesc; BATCH],
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
}

/// What receiving came to.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Descriptors taken; as many as asked for means that there may be more.
    pub(crate) descs: usize,
}

impl Port {
    pub(crate) fn new(socket: PortSocket, slot: Slot, ring: u32) -> Self {
        Self {
            id: socket.port,
            slot,
            fd: socket.fd,
            rx: socket.rx,
            tx: socket.tx,
            fill: socket.fill,
            comp: socket.comp,
            mode: socket.mode,
            copies_tx: socket.copies_tx,
            ring,
            filled: 0,
            in_flight: 0,
            pending: Vec::with_capacity(ring as usize),
            unsent: false,
            skip: 0,
            backoff: 0,
            partial: None,
            dead: false,
            staging: [FrameDesc::default(); BATCH],
        }
    }

    /// Adds up to `room` arrived frames to `burst` and gives the kernel new chunks.
    #[inline]
    pub(crate) fn receive(&mut self, pool: &mut Pool, burst: &mut Burst, room: usize) -> Received {
        let mut received = Received::default();
        let want = room.min(BATCH);
        // SAFETY: the ring belongs to the UMEM of `pool`; `arrived` checks each descriptor before it is used.
        received.descs = unsafe { self.rx.consume(&mut self.staging[..want]) };
        if received.descs > 0 {
            self.take_in(pool, burst, &mut received);
        }
        if self.filled + BATCH as u32 <= self.ring {
            self.refill(pool);
        }
        received
    }

    fn take_in(&mut self, pool: &mut Pool, burst: &mut Burst, received: &mut Received) {
        for at in 0..received.descs {
            let desc = self.staging[at];
            let Some(index) = pool.arrived(self.slot, &desc) else {
                // The kernel gave us a chunk that it did not have. Whatever broke, stop here.
                self.dead = true;
                continue;
            };
            self.filled = self.filled.saturating_sub(1);
            let len = desc.lengths().data() as u32;
            let mut packet = match self.partial.take() {
                None => Partial { head: index, tail: index, len: 0 },
                Some(partial) => {
                    pool.link(partial.tail, index);
                    Partial { tail: index, ..partial }
                }
            };
            packet.len += len;
            if desc.has_more_frames() {
                self.partial = Some(packet);
                continue;
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
    }

    /// Gives the kernel chunks up to this port's quota, as far as the pool has them.
    pub(crate) fn refill(&mut self, pool: &mut Pool) {
        while self.filled < self.ring && !self.dead {
            let want = (self.ring - self.filled).min(BATCH as u32) as usize;
            let got = pool.take_for_fill(self.slot, KEEP, &mut self.staging[..want]);
            if got == 0 {
                break;
            }
            // SAFETY: the chunks were FREE and are marked as this slot's, so they are in no other ring and nobody
            // reads them until `arrived`.
            let put = unsafe { self.fill.produce(&self.staging[..got]) };
            if put == 0 {
                pool.untake(&self.staging[..got]);
                break;
            }
            self.filled += put as u32;
        }
        if self.fill.needs_wakeup() {
            sys::wake_rx(self.fd);
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
        while self.in_flight > 0 {
            // SAFETY: the ring belongs to the UMEM of `pool`; `completed` checks each descriptor.
            let count = unsafe { self.comp.consume(&mut self.staging) };
            for desc in &self.staging[..count] {
                if pool.completed(self.slot, desc) {
                    self.in_flight -= 1;
                } else {
                    self.dead = true;
                }
            }
            if count < BATCH {
                break;
            }
        }
    }

    /// Moves pending descriptors into the TX ring and tells the kernel, unless this port is sitting out.
    pub(crate) fn transmit(&mut self, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        if !self.pending.is_empty() {
            // SAFETY: the chunks are this slot's (Tx), so nobody touches them until `completed`. Whole packets only:
            // `send` appends complete chains, and produce takes all or nothing.
            if unsafe { self.tx.produce(&self.pending) } > 0 {
                self.pending.clear();
                self.unsent = true;
            }
        }
        if !self.unsent || self.dead {
            return sent;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return sent;
        }
        let mut free = self.tx.nb_free_exact();
        // Every turn but the last moves at least one frame, so the ring length bounds them.
        for _ in 0..=self.ring {
            sent.calls += 1;
            let answer = sys::kick(self.fd);
            let now = self.tx.nb_free_exact();
            let moved = now > free;
            free = now;
            self.unsent = free < self.ring;
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
