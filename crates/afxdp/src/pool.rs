//! The packet memory: chunks, their owners, chains of chunks, and the only way to their bytes.

use xsk_rs::Umem;
use xsk_rs::umem::frame::FrameDesc;

use crate::owner::{Owner, Slot};
use crate::sizes::CHUNK_SIZE;

/// Ends a chain.
const NONE: u32 = u32::MAX;

/// `XDP_PKT_CONTD` of if_xdp.h: the packet goes on in the next descriptor.
pub(crate) const CONTINUED: u32 = 1;

/// All chunks of one UMEM.
///
/// Invariant: a chunk whose owner is `FREE`, `USER` or `USER_REST` is in no ring, so the kernel does not touch it.
pub(crate) struct Pool {
    umem: Umem,
    /// The current descriptor of each chunk: where its packet data begin and how long they are.
    descs: Vec<FrameDesc>,
    owner: Vec<Owner>,
    /// The next chunk of the same frame.
    next: Vec<u32>,
    free: Vec<u32>,
    /// Frames in the caller's hands.
    outstanding: usize,
}

impl Pool {
    pub(crate) fn new(umem: Umem, descs: Vec<FrameDesc>) -> Self {
        let chunks = descs.len();
        // The lowest chunk is taken first, and what was freed last is taken next: it is still in the cache.
        let free = (0..chunks as u32).rev().collect();
        Self { umem, descs, owner: vec![Owner::FREE; chunks], next: vec![NONE; chunks], free, outstanding: 0 }
    }

    /// Chunks in the pool.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames in the caller's hands.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes up to `staging.len()` chunks for receiving on `slot` and leaves at least `keep` in the pool.
    pub(crate) fn take_for_fill(&mut self, slot: Slot, keep: usize, staging: &mut [FrameDesc]) -> usize {
        let count = staging.len().min(self.free.len().saturating_sub(keep));
        for place in &mut staging[..count] {
            let index = self.free.pop().expect("counted above") as usize;
            self.owner[index] = Owner::fill(slot);
            *place = self.descs[index];
        }
        count
    }

    /// Takes back chunks that a ring did not accept after all.
    pub(crate) fn untake(&mut self, staging: &[FrameDesc]) {
        for desc in staging {
            self.put(chunk_of(desc));
        }
    }

    /// Notes that the kernel handed up `desc` on `slot`. `None` if that chunk was not the kernel's to give.
    pub(crate) fn arrived(&mut self, slot: Slot, desc: &FrameDesc) -> Option<u32> {
        let index = chunk_of(desc);
        let at = index as usize;
        if *self.owner.get(at)? != Owner::fill(slot) {
            return None;
        }
        self.owner[at] = Owner::USER_REST;
        self.descs[at] = *desc;
        self.descs[at].set_options(0);
        self.next[at] = NONE;
        Some(index)
    }

    /// Appends chunk `index` to the chain that ends at `tail`.
    pub(crate) fn link(&mut self, tail: u32, index: u32) {
        self.next[tail as usize] = index;
    }

    /// Hands the chain that begins at `head` to the caller.
    pub(crate) fn hand_out(&mut self, head: u32) {
        self.owner[head as usize] = Owner::USER;
        self.outstanding += 1;
    }

    /// A fresh zeroed chunk of `len` bytes in the caller's hands.
    pub(crate) fn alloc(&mut self, len: usize) -> Option<u32> {
        let index = *self.free.last()?;
        let at = index as usize;
        // SAFETY: the chunk's owner is FREE, so it is in no ring and nobody holds a reference to it; the borrow of
        // `self` excludes others.
        let (_, mut data) = unsafe { self.umem.frame_mut(&mut self.descs[at]) };
        let mut cursor = data.cursor();
        if len > cursor.buf_len() {
            return None;
        }
        cursor.set_pos(len);
        data.contents_mut().fill(0);
        self.free.pop();
        self.descs[at].set_options(0);
        self.next[at] = NONE;
        self.hand_out(index);
        Some(index)
    }

    /// The first buffer of a frame.
    ///
    /// # Panics
    /// When the caller does not own it.
    pub(crate) fn bytes(&self, head: u32) -> &[u8] {
        self.check(head);
        self.data(head)
    }

    /// The first buffer of a frame, to be changed.
    ///
    /// # Panics
    /// When the caller does not own it.
    pub(crate) fn bytes_mut(&mut self, head: u32) -> &mut [u8] {
        self.check(head);
        let at = head as usize;
        // SAFETY: the owner is USER (checked above), so the chunk is in no ring and the kernel does not touch it; the
        // exclusive borrow of `self` excludes every other path to it.
        let (_, mut data) = unsafe { self.umem.frame_mut(&mut self.descs[at]) };
        let bytes = data.contents_mut();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the same bytes, for as long as `self` is exclusively borrowed instead of only as long as the
        // borrowed descriptor; the mapping lives as long as `self.umem`.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
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
    pub(crate) fn chunks(&self, head: u32) -> usize {
        self.chain(head).count()
    }

    /// Moves a frame from the caller to `slot`'s transmissions and appends its descriptors to `pending`.
    ///
    /// # Panics
    /// When the caller does not own it.
    pub(crate) fn give_to_tx(&mut self, head: u32, slot: Slot, pending: &mut Vec<FrameDesc>) {
        self.check(head);
        self.outstanding -= 1;
        let mut index = head;
        while index != NONE {
            let at = index as usize;
            self.owner[at] = Owner::tx(slot);
            let mut desc = self.descs[at];
            index = self.next[at];
            if index != NONE {
                desc.set_options(CONTINUED);
            }
            pending.push(desc);
        }
    }

    /// Takes back a chunk that `slot` completed. `false` if it was not in transmission there.
    pub(crate) fn completed(&mut self, slot: Slot, desc: &FrameDesc) -> bool {
        let index = chunk_of(desc);
        if self.owner.get(index as usize) != Some(&Owner::tx(slot)) {
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
            let next = self.next[index as usize];
            self.put(index);
            index = next;
        }
    }

    /// Takes back everything that `slot` held; with `lose_tx`, what was in transmission is never used again.
    /// Answers how many chunks were lost that way.
    pub(crate) fn reclaim(&mut self, slot: Slot, lose_tx: bool) -> usize {
        let mut lost = 0;
        for at in 0..self.owner.len() {
            if !self.owner[at].is_kernel(slot) {
                continue;
            }
            if lose_tx && self.owner[at] == Owner::tx(slot) {
                self.owner[at] = Owner::LOST;
                lost += 1;
            } else {
                self.put(at as u32);
            }
        }
        lost
    }

    fn put(&mut self, index: u32) {
        let at = index as usize;
        self.owner[at] = Owner::FREE;
        self.next[at] = NONE;
        self.free.push(index);
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(head), |index| {
            Some(self.next[*index as usize]).filter(|next| *next != NONE)
        })
    }

    /// The one gate to the bytes.
    #[inline]
    fn check(&self, head: u32) {
        let owner = self.owner[head as usize];
        assert!(owner == Owner::USER, "chunk {head} belongs to {owner:?}, not to the caller");
    }

    fn data(&self, index: u32) -> &[u8] {
        // SAFETY: callers have checked that the chunk, or the head of the chain it is in, is the caller's, so it is
        // in no ring and the kernel does not write to it; mutable access needs `&mut self`. The descriptor was
        // made by the UMEM or written by the kernel for this very chunk, so it lies in the mapping.
        unsafe { self.umem.data(&self.descs[index as usize]) }.contents()
    }
}

/// The chunk that a descriptor lies in.
pub(crate) fn chunk_of(desc: &FrameDesc) -> u32 {
    (desc.addr() / CHUNK_SIZE as usize) as u32
}
