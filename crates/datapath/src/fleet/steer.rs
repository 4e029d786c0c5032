//! Which worker a frame belongs to.
//!
//! ```text
//! flow hash (both directions alike) ─▶ 256 buckets ─▶ table: bucket → worker
//! ICMP error   ─▶ the flow it is about
//! fragment     ─▶ the first one brings the ports and leaves a note, later ones find it
//! ARP, neighbour discovery, unreadable ─▶ nobody in particular: whoever received it
//! ```
//!
//! Notes of fragments are shared by all workers. There is a fixed number of them; a datagram that hashes onto the note of
//! another takes its place, and later fragments of that one are refused as unknown. Fragments of one datagram must come to
//! one worker or one steerer in their order, as every driver delivers them.

use super::{Shared, entry};
use crate::conntrack::hash::FlowHasher;
use crate::pipeline::Parse;
use packet::{FlowKey, Fragment, Packet, Parsed, icmp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts that flows are divided into: what moves between workers moves by the part.
pub const BUCKETS: usize = 256;

/// Datagrams in fragments that are known at a time, at most: 128 KiB.
const NOTES: usize = 1 << 14;

/// The bucket of a flow's hash. Its bits are those that neither choose a group of the connection table (the low ones)
/// nor are the tag in it (the highest seven): a worker's table is filled evenly though it has some buckets only.
#[inline]
pub(crate) const fn bucket_of(hash: u64) -> u8 {
    (hash >> 48) as u8
}

/// Whether a frame is a fragment, first or later.
#[inline]
pub(super) fn fragment_of(parse: &Parse) -> Option<(&Packet, Fragment)> {
    match &parse.parsed {
        Ok(Parsed::Ip(packet)) => packet.fragment.map(|fragment| (packet, fragment)),
        _ => None,
    }
}

/// Buckets of datagrams of which the first fragment was seen.
#[derive(Debug)]
pub(super) struct Notes {
    hasher: FlowHasher,
    notes: Box<[AtomicU64]>,
}

impl Notes {
    pub(super) fn new(seed: u64) -> Self {
        Self { hasher: FlowHasher::new(!seed), notes: (0..NOTES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The bucket of a fragment: of its own flow for the first, as noted for the others.
    #[cold]
    pub(super) fn bucket(&self, packet: &Packet, fragment: Fragment, flow: Option<u64>) -> Option<u8> {
        let name = self.name(packet, fragment);
        let note = self.notes.get(name as usize % NOTES)?;
        if let Some(hash) = flow {
            let bucket = bucket_of(hash);
            note.store(name & !0xff | u64::from(bucket), Ordering::Release);
            return Some(bucket);
        }
        let noted = note.load(Ordering::Acquire);
        (noted & !0xff == name & !0xff && noted != 0).then_some(noted as u8)
    }

    /// A keyed name of the datagram. The hash takes both directions for one, which datagrams are not.
    fn name(&self, packet: &Packet, fragment: Fragment) -> u64 {
        let key = FlowKey {
            src: packet.src,
            dst: packet.dst,
            src_port: (fragment.id >> 16) as u16,
            dst_port: fragment.id as u16,
            proto: packet.proto,
        };
        let forth = packet.src <= packet.dst;
        // The low byte gives way to the bucket.
        let name = self.hasher.hash(&key).rotate_left(8);
        if forth { name } else { name.rotate_left(32) ^ 0x5851_f42d_4c95_7f2d }
    }
}

/// Says where frames go before any worker has them: what the indirection table of a network card does.
///
/// Whoever delivers frames has one, and calls [`refresh`](Self::refresh) from time to time: a move waits for all of them.
#[derive(Debug)]
pub struct Steerer {
    shared: Arc<Shared>,
    slot: usize,
    hasher: FlowHasher,
    table: [u8; BUCKETS],
    seen: u64,
}

impl Steerer {
    pub(super) fn new(shared: Arc<Shared>, slot: usize, seed: u64) -> Self {
        let table = core::array::from_fn(|bucket| entry::of(&shared.table[bucket]).owner);
        Self { shared, slot, hasher: FlowHasher::new(seed), table, seen: 0 }
    }

    /// Takes note of moves. What was steered before must be where its worker receives it.
    #[inline]
    pub fn refresh(&mut self) {
        let epoch = self.shared.epoch.0.load(Ordering::Acquire);
        if epoch == self.seen {
            return;
        }
        self.seen = epoch;
        for (to, entry) in self.table.iter_mut().zip(self.shared.table.iter()) {
            let entry = entry::of(entry);
            if entry.epoch <= epoch {
                *to = entry.owner;
            }
        }
        self.shared.seen[self.slot].0.store(epoch, Ordering::Release);
    }

    /// The bucket of a frame, if it belongs to one.
    #[must_use]
    pub fn bucket_of(&self, frame: &[u8]) -> Option<usize> {
        let parsed = packet::parse(frame, frame.len()).ok()?;
        let Parsed::Ip(packet) = &parsed else { return None };
        let flow = if packet.is_icmp_error() { icmp::about(frame, packet) } else { packet.flow_key() };
        let hash = flow.map(|key| self.hasher.hash(&key));
        let bucket = match packet.fragment {
            Some(fragment) => self.shared.notes.bucket(packet, fragment, hash)?,
            None => bucket_of(hash?),
        };
        Some(usize::from(bucket))
    }

    /// The worker that a frame is for; any will do for one without a bucket, and the first gets it.
    #[must_use]
    pub fn worker_of(&self, frame: &[u8]) -> usize {
        self.bucket_of(frame).map_or(0, |bucket| usize::from(self.table[bucket]))
    }
}
