//! Ports in memory: for tests, fuzzing, benches and captures.
//!
//! A slab of equal buffers; a frame longer than one is a chain of them, as with AF_XDP multi-buffer. Every buffer has
//! an owner byte that is checked at each use in every build: a handle that outlived its frame panics. All tables
//! have their size from the start: after it, only [`MemIo::take_sent`] allocates.

use std::collections::VecDeque;

use super::{IoError, IoStats, PacketIo};
use crate::checksum::{Sum, finish};
use crate::frame::{Burst, ChecksumRequest, Frame, PortId};
use crate::packet::proto;
use crate::udp;

/// Least buffer size: [`PacketIo::bytes`] promises 1,500 bytes of IP and their Ethernet header.
const MIN_BUFFER_SIZE: usize = 2_048;

/// Frames taken from a port before the next one has its turn, as from a socket's ring.
const BATCH: usize = 32;

/// End of a chain.
const NONE: u32 = u32::MAX;

/// Sizes and behaviour of a [`MemIo`].
#[derive(Copy, Clone, Debug)]
pub struct MemConfig {
    /// Ports, numbered from zero.
    pub ports: u16,
    /// Buffers in the slab.
    pub buffers: usize,
    /// Bytes of each buffer (at least 2,048).
    pub buffer_size: usize,
    /// Frames that a port takes between two flushes; more are handed back by `send`.
    pub tx_capacity: usize,
    /// What becomes of frames that were flushed.
    pub sent: Sent,
}

impl Default for MemConfig {
    fn default() -> Self {
        Self { ports: 2, buffers: 1_024, buffer_size: 4_096, tx_capacity: 256, sent: Sent::Keep }
    }
}

/// What becomes of frames that were flushed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Kept until [`MemIo::take_sent`]; their buffers stay in use.
    Keep,
    /// Counted and recycled at once.
    Discard,
    /// Put back on the port they arrived on, with their first bytes (up to 128) as they were injected: an endless
    /// supply for benches, without copying payload. Frames from `alloc` are recycled.
    Refill,
}

/// Bytes of each frame that [`Sent::Refill`] restores: all headers.
const RESTORED: usize = 128;

/// Who may touch a buffer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Owner {
    Free,
    Caller,
    Rx,
    Tx,
    Sent,
    /// A later buffer of a chain; it belongs to whoever owns the first.
    Chained,
}

#[derive(Copy, Clone)]
struct Buffer {
    owner: Owner,
    /// Came in by `inject`, not `alloc`.
    injected: bool,
    /// Bytes in this buffer.
    len: u32,
    /// Bytes in the whole chain (first buffer only).
    total: u32,
    /// The port it was injected on (first buffer only).
    origin: PortId,
    next: u32,
}

struct Port {
    rx: VecDeque<u32>,
    tx: VecDeque<(u32, Option<ChecksumRequest>)>,
    sent: VecDeque<u32>,
}

/// A [`PacketIo`] over plain memory.
pub struct MemIo {
    config: MemConfig,
    slab: Vec<u8>,
    buffers: Vec<Buffer>,
    /// Heads of injected frames, for [`Sent::Refill`].
    originals: Vec<u8>,
    free: Vec<u32>,
    ports: Vec<Port>,
    /// The port that `recv` serves first next time.
    turn: usize,
    outstanding: usize,
    stats: IoStats,
}

impl MemIo {
    /// Ports and buffers as `config` says.
    ///
    /// # Panics
    /// If a buffer is smaller than 2,048 bytes or there are more than 2^31 buffers.
    #[must_use]
    pub fn new(config: MemConfig) -> Self {
        assert!(config.buffer_size >= MIN_BUFFER_SIZE, "the first buffer must hold all headers");
        let count = u32::try_from(config.buffers).ok().filter(|n| *n < 1 << 31).expect("buffer count fits");
        let blank =
            Buffer { owner: Owner::Free, injected: false, len: 0, total: 0, origin: PortId(0), next: NONE };
        let port = || Port {
            rx: VecDeque::with_capacity(config.buffers),
            tx: VecDeque::with_capacity(config.tx_capacity),
            sent: VecDeque::with_capacity(config.buffers),
        };
        let restored = if config.sent == Sent::Refill { RESTORED } else { 0 };
        Self {
            slab: vec![0; config.buffers * config.buffer_size],
            buffers: vec![blank; config.buffers],
            originals: vec![0; config.buffers * restored],
            free: (0..count).rev().collect(),
            ports: (0..config.ports).map(|_| port()).collect(),
            turn: 0,
            outstanding: 0,
            stats: IoStats::default(),
            config,
        }
    }

    /// Puts bytes into as many buffers as they need, the first of which is `owner`'s; `None` if there are not as many.
    fn store(&mut self, port: PortId, parts: [&[u8]; 2], owner: Owner) -> Option<u32> {
        let (size, border) = (self.config.buffer_size, parts[0].len());
        let len = border + parts[1].len();
        let need = len.div_ceil(size).max(1);
        let total = u32::try_from(len).ok().filter(|_| need <= self.free.len())?;
        let mut next = NONE;
        // From the last piece to the first, so that each knows its successor.
        for piece in (0..need).rev() {
            let Some(index) = self.free.pop() else { unreachable!("counted above") };
            let (from, to) = (piece * size, len.min((piece + 1) * size));
            let head = &parts[0][from.min(border)..to.min(border)];
            let tail = &parts[1][from.saturating_sub(border)..to.saturating_sub(border)];
            let at = index as usize * size;
            let (first, second) = self.slab[at..at + to - from].split_at_mut(head.len());
            first.copy_from_slice(head);
            second.copy_from_slice(tail);
            self.buffers[index as usize] = Buffer {
                owner: if piece == 0 { owner } else { Owner::Chained },
                injected: owner == Owner::Rx,
                len: (to - from) as u32,
                total,
                origin: port,
                next,
            };
            next = index;
        }
        Some(next)
    }

    /// Lets a frame arrive on `port`. `false`, counted as lost, if the port does not exist or memory is short.
    pub fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let known = usize::from(port.0) < self.ports.len();
        let Some(next) = known.then(|| self.store(port, [bytes, &[]], Owner::Rx)).flatten() else {
            self.stats.rx_lost += 1;
            return false;
        };
        if self.config.sent == Sent::Refill {
            let head = &bytes[..bytes.len().min(RESTORED)];
            let at = next as usize * RESTORED;
            self.originals[at..at + head.len()].copy_from_slice(head);
        }
        self.ports[usize::from(port.0)].rx.push_back(next);
        true
    }

    /// Takes the frames that left by `port`, in order, and frees their buffers.
    pub fn take_sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.take_sent_with(port, |pieces| frames.push(pieces.concat()));
        frames
    }

    /// The same without collecting: `each` sees the buffers of one frame after the other.
    pub(crate) fn take_sent_with(&mut self, port: PortId, mut each: impl FnMut(&[&[u8]])) {
        while let Some(index) = self.ports.get_mut(usize::from(port.0)).and_then(|p| p.sent.pop_front()) {
            let pieces: Vec<&[u8]> = self.chain(index).map(|i| self.piece(i)).collect();
            each(&pieces);
            self.recycle(index);
        }
    }

    /// Frames that wait to be received on `port`.
    #[must_use]
    pub fn waiting(&self, port: PortId) -> usize {
        self.ports.get(usize::from(port.0)).map_or(0, |p| p.rx.len())
    }

    /// Buffers that nobody uses.
    #[must_use]
    pub fn free_buffers(&self) -> usize {
        self.free.len()
    }

    /// Panics unless the frame is the caller's.
    #[inline]
    fn check(&self, frame: &Frame) -> usize {
        let index = frame.index() as usize;
        let owner = self.buffers.get(index).map(|b| b.owner);
        assert!(owner == Some(Owner::Caller), "stale frame handle: {frame:?} belongs to {owner:?}");
        index
    }

    fn chain(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let after = |i: u32| Some(self.buffers[i as usize].next).filter(|n| *n != NONE);
        core::iter::successors(Some(first), move |i| after(*i))
    }

    #[inline]
    fn piece(&self, index: u32) -> &[u8] {
        let at = index as usize * self.config.buffer_size;
        &self.slab[at..at + self.buffers[index as usize].len as usize]
    }

    fn recycle(&mut self, first: u32) {
        let mut index = first;
        while index != NONE {
            let buffer = &mut self.buffers[index as usize];
            buffer.owner = Owner::Free;
            let next = core::mem::replace(&mut buffer.next, NONE);
            self.free.push(index);
            index = next;
        }
    }

    /// What a device would do for [`ChecksumRequest`]: sum to the end of the frame.
    fn complete(&mut self, first: u32, request: ChecksumRequest) {
        let mut total = Sum::default();
        let mut skip = usize::from(request.start);
        for index in self.chain(first) {
            let piece = self.piece(index);
            let from = skip.min(piece.len());
            skip -= from;
            total.add(&piece[from..]);
        }
        let l4_proto = if request.offset == udp::CHECKSUM_OFFSET { proto::UDP } else { proto::TCP };
        let field = finish(total.folded(), l4_proto).to_be_bytes();
        let at = usize::from(request.start) + usize::from(request.offset);
        let len = self.buffers[first as usize].len as usize;
        let base = first as usize * self.config.buffer_size;
        if let Some(slot) = self.slab[base..base + len].get_mut(at..at + 2) {
            slot.copy_from_slice(&field);
        }
    }

    /// Ends the transmission of one frame.
    fn deliver(&mut self, port: usize, index: u32) {
        let buffer = self.buffers[index as usize];
        match self.config.sent {
            Sent::Keep => {
                self.buffers[index as usize].owner = Owner::Sent;
                self.ports[port].sent.push_back(index);
            }
            Sent::Refill if buffer.injected => {
                let len = (buffer.len as usize).min(RESTORED);
                let to = index as usize * self.config.buffer_size;
                let from = index as usize * RESTORED;
                self.slab[to..to + len].copy_from_slice(&self.originals[from..from + len]);
                self.buffers[index as usize].owner = Owner::Rx;
                self.ports[usize::from(buffer.origin.0)].rx.push_back(index);
            }
            Sent::Refill | Sent::Discard => self.recycle(index),
        }
    }
}

impl PacketIo for MemIo {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        let ports = self.ports.len();
        let mut idle = 0;
        // A batch from each port in turn, until the burst is full or a whole round found nothing.
        while burst.room() > 0 && idle < ports {
            let port = self.turn;
            self.turn = if port + 1 == ports { 0 } else { port + 1 };
            let rx = &mut self.ports[port].rx;
            let count = rx.len().min(burst.room()).min(BATCH);
            if count == 0 {
                idle += 1;
                continue;
            }
            idle = 0;
            for index in rx.drain(..count) {
                let buffer = &mut self.buffers[index as usize];
                buffer.owner = Owner::Caller;
                self.stats.rx_bytes += u64::from(buffer.total);
                let pushed = burst.push(Frame::new(index, buffer.total, PortId(port as u16)));
                debug_assert!(pushed.is_ok(), "room was there");
            }
            self.outstanding += count;
            self.stats.rx_frames += count as u64;
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.check(frame);
        self.piece(frame.index())
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let index = self.check(frame);
        let at = index * self.config.buffer_size;
        &mut self.slab[at..at + self.buffers[index].len as usize]
    }

    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8])) {
        self.check(frame);
        for index in self.chain(frame.index()) {
            each(self.piece(index));
        }
    }

    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame> {
        let fits = len <= self.config.buffer_size;
        let Some(index) = fits.then(|| self.free.pop()).flatten() else {
            self.stats.alloc_failed += 1;
            return None;
        };
        let total = len as u32;
        self.buffers[index as usize] =
            Buffer { owner: Owner::Caller, injected: false, len: total, total, origin: port, next: NONE };
        let at = index as usize * self.config.buffer_size;
        self.slab[at..at + len].fill(0);
        self.outstanding += 1;
        Some(Frame::new(index, total, port))
    }

    fn copy_in(&mut self, port: PortId, parts: [&[u8]; 2]) -> Option<Frame> {
        let Some(index) = self.store(port, parts, Owner::Caller) else {
            self.stats.alloc_failed += 1;
            return None;
        };
        self.outstanding += 1;
        Some(Frame::new(index, self.buffers[index as usize].total, port))
    }

    #[inline]
    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let index = self.check(&frame);
        let tx = self.ports.get_mut(usize::from(port.0)).map(|p| &mut p.tx);
        let Some(tx) = tx.filter(|tx| tx.len() < self.config.tx_capacity) else {
            self.stats.tx_refused += 1;
            return Err(frame);
        };
        tx.push_back((frame.index(), frame.checksum_request()));
        self.buffers[index].owner = Owner::Tx;
        self.outstanding -= 1;
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.check(&frame);
        self.outstanding -= 1;
        self.recycle(frame.index());
    }

    fn flush(&mut self) -> Result<(), IoError> {
        for port in 0..self.ports.len() {
            if self.ports[port].tx.is_empty() {
                continue;
            }
            self.stats.wakeups += 1;
            let mut tx = core::mem::take(&mut self.ports[port].tx);
            for (index, request) in tx.drain(..) {
                if let Some(request) = request {
                    self.complete(index, request);
                }
                self.deliver(port, index);
            }
            self.ports[port].tx = tx;
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn stats(&self) -> IoStats {
        self.stats
    }
}

#[cfg(test)]
mod tests;
