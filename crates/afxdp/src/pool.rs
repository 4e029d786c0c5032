//! The packet memory: chunks, their owners, chains of chunks, and the only way to their bytes.

use std::sync::Arc;

use packet::ChecksumRequest;

use crate::owner::{Owner, Slot};
use crate::ring::{Desc, Producer};
use crate::sizes::CHUNK_SIZE;
use crate::sys::Mapping;
use crate::xsk::{CONTINUED, METADATA, TXMD_CHECKSUM, WITH_METADATA};

/// Ends a chain.
const NONE: u32 = u32::MAX;
/// Where the packet begins in a chunk of our own, as the kernel does it (`XDP_PACKET_HEADROOM`): room for metadata.
const HEADROOM: u16 = 256;

/// What is known of a chunk.
#[derive(Copy, Clone)]
struct Chunk {
    /// The next chunk of the same frame.
    next: u32,
    /// Where the packet's bytes begin in the chunk, and how many there are; together at most `CHUNK_SIZE`.
    start: u16,
    len: u16,
    owner: Owner,
    /// Descriptor options of the first chunk on the way out.
    options: u16,
}

/// All chunks of one UMEM.
///
/// Invariants: a chunk whose owner is `FREE`, `USER`, `USER_REST` or `HELD` is in no ring, so the kernel does not touch it; the
/// memory has `chunks.len()` chunks of `CHUNK_SIZE`.
pub(crate) struct Pool {
    memory: Arc<Mapping>,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// Frames in the caller's hands.
    outstanding: usize,
}

impl Pool {
    pub(crate) fn new(memory: Arc<Mapping>) -> Self {
        let count = memory.len() / CHUNK_SIZE as usize;
        let unused = Chunk { next: NONE, start: HEADROOM, len: 0, owner: Owner::FREE, options: 0 };
        // The lowest chunk is taken first, and what was freed last is taken next: it is still in the cache.
        let free = (0..count as u32).rev().collect();
        Self { memory, chunks: vec![unused; count], free, outstanding: 0 }
    }

    /// Chunks in the pool.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames in the caller's hands.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes up to `want` chunks into the FILL ring of `slot` and leaves at least `keep` in the pool. Answers how many.
    #[inline]
    pub(crate) fn fill(&mut self, slot: Slot, want: u32, keep: usize, ring: &mut Producer<u64>) -> u32 {
        let count = (want as usize).min(self.free.len().saturating_sub(keep));
        for index in self.free.drain(self.free.len() - count..).rev() {
            self.chunks[index as usize].owner = Owner::fill(slot);
            ring.put(u64::from(index) * u64::from(CHUNK_SIZE));
        }
        ring.publish();
        count as u32
    }

    /// Notes that the kernel handed up `desc` on `slot`. `None` if that chunk was not the kernel's to give, or the bytes
    /// do not lie in it with room for metadata before them.
    #[inline]
    pub(crate) fn arrived(&mut self, slot: Slot, desc: Desc) -> Option<u32> {
        let index = chunk_of(desc.addr);
        let chunk = self.chunks.get_mut(index as usize)?;
        let start = (desc.addr % u64::from(CHUNK_SIZE)) as u32;
        let fits = start >= METADATA as u32 && (1..=CHUNK_SIZE - start).contains(&desc.len);
        if chunk.owner != Owner::fill(slot) || !fits {
            return None;
        }
        prefetch(self.memory.start().as_ptr().wrapping_add(desc.addr as usize));
        *chunk = Chunk {
            next: NONE,
            start: start as u16,
            len: desc.len as u16,
            owner: Owner::USER_REST,
            options: 0,
        };
        Some(index)
    }

    /// Appends chunk `index` to the chain that ends at `tail`.
    pub(crate) fn link(&mut self, tail: u32, index: u32) {
        self.chunks[tail as usize].next = index;
    }

    /// Hands the chain that begins at `head` to the caller.
    pub(crate) fn hand_out(&mut self, head: u32) {
        self.chunks[head as usize].owner = Owner::USER;
        self.outstanding += 1;
    }

    /// A fresh zeroed chunk of `len` bytes in the caller's hands.
    pub(crate) fn alloc(&mut self, len: usize) -> Option<u32> {
        let len = u16::try_from(len).ok().filter(|len| *len <= CHUNK_SIZE as u16 - HEADROOM)?;
        let index = self.free.pop()?;
        self.chunks[index as usize] =
            Chunk { next: NONE, start: HEADROOM, len, owner: Owner::USER, options: 0 };
        self.outstanding += 1;
        self.bytes_mut(index).fill(0);
        Some(index)
    }

    /// These bytes in as many chunks as they need, at most `most`, in the caller's hands.
    pub(crate) fn copy_in(&mut self, mut parts: [&[u8]; 2], most: usize) -> Option<u32> {
        const ROOM: usize = CHUNK_SIZE as usize - HEADROOM as usize;
        let len = parts[0].len() + parts[1].len();
        let count = len.div_ceil(ROOM).max(1);
        if count > most || count > self.free.len() {
            return None;
        }
        let (mut head, mut tail, mut left) = (NONE, NONE, len);
        for _ in 0..count {
            let index = self.free.pop()?;
            let len = left.min(ROOM);
            left -= len;
            self.chunks[index as usize] =
                Chunk { next: NONE, start: HEADROOM, len: len as u16, owner: Owner::USER, options: 0 };
            let mut room = self.bytes_mut(index);
            for part in &mut parts {
                let (now, later) = part.split_at(room.len().min(part.len()));
                let (place, rest) = room.split_at_mut(now.len());
                place.copy_from_slice(now);
                (*part, room) = (later, rest);
            }
            if tail == NONE {
                head = index;
            } else {
                self.chunks[index as usize].owner = Owner::USER_REST;
                self.link(tail, index);
            }
            tail = index;
        }
        self.outstanding += 1;
        Some(head)
    }

    /// The first buffer of a frame.
    ///
    /// # Panics
    /// When the caller does not own it.
    #[inline]
    pub(crate) fn bytes(&self, head: u32) -> &[u8] {
        self.check(head);
        self.data(head)
    }

    /// The first buffer of a frame, to be changed.
    ///
    /// # Panics
    /// When the caller does not own it.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, head: u32) -> &mut [u8] {
        self.check(head);
        let Chunk { start, len, .. } = self.chunks[head as usize];
        // SAFETY: `start + len` is at most CHUNK_SIZE, so the bytes lie in the chunk and in the memory. The owner is USER
        // (checked above), so the chunk is in no ring and the kernel does not touch it; the exclusive borrow of `self`
        // excludes every other path to it.
        unsafe { std::slice::from_raw_parts_mut(self.place(head, usize::from(start)), usize::from(len)) }
    }

    /// Writes before a frame what asks the kernel to complete its checksum. `false` if the field does not lie in the
    /// first buffer.
    ///
    /// # Panics
    /// When the caller does not own it.
    #[inline]
    pub(crate) fn ask_for_checksum(&mut self, head: u32, request: ChecksumRequest) -> bool {
        self.check(head);
        let Chunk { start, len, .. } = self.chunks[head as usize];
        let end = u32::from(request.start) + u32::from(request.offset) + 2;
        if usize::from(start) < METADATA || end > u32::from(len) {
            return false;
        }
        // struct xsk_tx_metadata: flags, then csum_start and csum_offset of the union's request.
        let mut metadata = [0u8; METADATA];
        metadata[..8].copy_from_slice(&TXMD_CHECKSUM.to_ne_bytes());
        metadata[8..10].copy_from_slice(&request.start.to_ne_bytes());
        metadata[10..12].copy_from_slice(&request.offset.to_ne_bytes());
        // SAFETY: `start` is at least METADATA, so the bytes before it lie in the same chunk, which is the caller's as in
        // `bytes_mut`.
        let place = unsafe {
            std::slice::from_raw_parts_mut(self.place(head, usize::from(start) - METADATA), METADATA)
        };
        place.copy_from_slice(&metadata);
        self.chunks[head as usize].options = WITH_METADATA as u16;
        true
    }

    /// Every buffer of a frame in order.
    ///
    /// # Panics
    /// When the caller does not own it.
    pub(crate) fn buffers(&self, head: u32) -> impl Iterator<Item = &[u8]> {
        self.check(head);
        self.chain(head).map(|index| self.data(index))
    }

    /// Chunks of a frame.
    #[inline]
    pub(crate) fn chunks(&self, head: u32) -> usize {
        self.chain(head).count()
    }

    /// Moves a frame from the caller to `slot`'s transmissions and its descriptors to the TX ring.
    ///
    /// # Panics
    /// When the caller does not own it.
    #[inline]
    pub(crate) fn give_to_tx(&mut self, head: u32, slot: Slot, ring: &mut Producer<Desc>) {
        self.hold(head);
        self.give_held_to_tx(head, slot, ring);
    }

    /// Takes a frame from the caller that is to be transmitted later.
    ///
    /// # Panics
    /// When the caller does not own it.
    #[inline]
    pub(crate) fn hold(&mut self, head: u32) {
        self.check(head);
        self.outstanding -= 1;
        self.chunks[head as usize].owner = Owner::HELD;
    }

    /// Every buffer of a frame that was held, in order.
    ///
    /// # Panics
    /// When it was not.
    pub(crate) fn held_buffers(&self, head: u32) -> impl Iterator<Item = &[u8]> {
        self.check_held(head);
        self.chain(head).map(|index| self.data(index))
    }

    /// Returns a frame that was held to the pool.
    ///
    /// # Panics
    /// When it was not.
    pub(crate) fn put_held(&mut self, head: u32) {
        self.check_held(head);
        self.put_chain(head);
    }

    /// Moves a frame that was held to `slot`'s transmissions and its descriptors to the TX ring.
    ///
    /// # Panics
    /// When it was not.
    #[inline]
    pub(crate) fn give_held_to_tx(&mut self, head: u32, slot: Slot, ring: &mut Producer<Desc>) {
        self.check_held(head);
        let mut index = head;
        while index != NONE {
            let chunk = &mut self.chunks[index as usize];
            chunk.owner = Owner::tx(slot);
            let addr = u64::from(index) * u64::from(CHUNK_SIZE) + u64::from(chunk.start);
            let more = if chunk.next == NONE { 0 } else { CONTINUED };
            ring.put(Desc { addr, len: u32::from(chunk.len), options: u32::from(chunk.options) | more });
            index = chunk.next;
        }
    }

    /// Takes back a chunk that `slot` completed. `false` if it was not in transmission there.
    #[inline]
    pub(crate) fn completed(&mut self, slot: Slot, addr: u64) -> bool {
        let index = chunk_of(addr);
        if self.chunks.get(index as usize).map(|chunk| chunk.owner) != Some(Owner::tx(slot)) {
            return false;
        }
        self.put(index);
        true
    }

    /// Takes back a frame from the caller.
    ///
    /// # Panics
    /// When the caller does not own it.
    pub(crate) fn release(&mut self, head: u32) {
        self.check(head);
        self.outstanding -= 1;
        self.put_chain(head);
    }

    /// Returns a chain to the pool, whoever had it.
    pub(crate) fn put_chain(&mut self, head: u32) {
        let mut index = head;
        while index != NONE {
            let next = self.chunks[index as usize].next;
            self.put(index);
            index = next;
        }
    }

    /// Takes back everything that `slot` held; with `lose_tx`, what was in transmission is never used again.
    /// Answers how many chunks were lost that way.
    pub(crate) fn reclaim(&mut self, slot: Slot, lose_tx: bool) -> usize {
        let mut lost = 0;
        for at in 0..self.chunks.len() {
            let owner = &mut self.chunks[at].owner;
            if !owner.is_kernel(slot) {
                continue;
            }
            if lose_tx && *owner == Owner::tx(slot) {
                *owner = Owner::LOST;
                lost += 1;
            } else {
                self.put(at as u32);
            }
        }
        lost
    }

    #[inline]
    fn put(&mut self, index: u32) {
        self.chunks[index as usize].owner = Owner::FREE;
        self.free.push(index);
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(head), |index| {
            Some(self.chunks[*index as usize].next).filter(|next| *next != NONE)
        })
    }

    /// The one gate to the bytes.
    #[inline]
    fn check(&self, head: u32) {
        let owner = self.chunks[head as usize].owner;
        assert!(owner == Owner::USER, "chunk {head} belongs to {owner:?}, not to the caller");
    }

    #[inline]
    fn check_held(&self, head: u32) {
        let owner = self.chunks[head as usize].owner;
        assert!(owner == Owner::HELD, "chunk {head} belongs to {owner:?} and is not held");
    }

    #[inline]
    fn data(&self, index: u32) -> &[u8] {
        let Chunk { start, len, .. } = self.chunks[index as usize];
        // SAFETY: `start + len` is at most CHUNK_SIZE, so the bytes lie in the chunk and in the memory. Callers have
        // checked that the chunk, or the head of the chain it is in, is the caller's or held, so it is in no ring and the kernel
        // does not write to it; mutable access needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.place(index, usize::from(start)), usize::from(len)) }
    }

    /// The address of byte `offset` of a chunk.
    #[inline]
    fn place(&self, index: u32, offset: usize) -> *mut u8 {
        debug_assert!(offset < CHUNK_SIZE as usize);
        // SAFETY: `index` is that of a chunk (it was used as such by every caller) and `offset` lies in one.
        unsafe { self.memory.start().as_ptr().add(index as usize * CHUNK_SIZE as usize + offset) }
    }
}

/// The chunk that an address lies in; one beyond all chunks where there is none.
#[inline]
fn chunk_of(addr: u64) -> u32 {
    u32::try_from(addr / u64::from(CHUNK_SIZE)).unwrap_or(NONE)
}

/// Brings a packet's headers nearer while its descriptor is still being looked at: another core has written them.
#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; no address is wrong.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
