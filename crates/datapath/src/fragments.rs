//! Which flow a later fragment belongs to: the first one brings the ports, the others only an identification.
//!
//! Nothing is reassembled. The first fragment (whose flow was allowed) leaves a note under (source, destination,
//! identification, protocol); later ones follow it if they fit. Refused are fragments without a first one, overlaps
//! with bytes seen before (RFC 5722, here for both families), and bytes behind the last fragment; one
//! such contradiction condemns the rest of the datagram. Bounded in all, per source, in time and in pieces.

use crate::conntrack::hash::FlowHasher;
use flowlog::DropReason;
use hashbrown::HashTable;
use packet::{Addr, FlowKey, Fragment, Instant, Packet};
use std::collections::VecDeque;

/// Most datagrams in pieces at once (Cilium: `bpf-fragments-map-max`).
const MAX_DATAGRAMS: usize = 8192;
/// Most of them from one source.
const MAX_PER_SOURCE: u16 = 1024;
/// Seconds that a receiver waits for the missing pieces (Linux: `ipfrag_time`).
const LIFETIME_SECS: u64 = 30;
/// Most separate byte ranges of one datagram: pieces that arrive in order make one.
const MAX_RANGES: usize = 8;
/// Most datagrams forgotten in one call of [`FragmentTable::expire`].
const EXPIRE_PER_CALL: usize = 64;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct DatagramKey {
    src: Addr,
    dst: Addr,
    id: u32,
    proto: u8,
}

/// A datagram of which not all fragments were seen.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Datagram {
    name: DatagramKey,
    flow: FlowKey,
    created: Instant,
    ranges: [(u32, u32); MAX_RANGES],
    len: u8,
    /// Where the datagram ends, once its last fragment was seen.
    total: Option<u32>,
    broken: bool,
}

/// Datagrams of which not all fragments were seen.
#[derive(Debug)]
pub struct FragmentTable {
    hasher: FlowHasher,
    datagrams: HashTable<Datagram>,
    /// In order of age.
    ages: VecDeque<(Instant, DatagramKey)>,
    sources: HashTable<(Addr, u16)>,
}

impl FragmentTable {
    /// An empty table with its memory reserved. `seed` is secret and random: senders choose the identifications.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: FlowHasher::new(seed),
            datagrams: HashTable::with_capacity(MAX_DATAGRAMS),
            ages: VecDeque::with_capacity(MAX_DATAGRAMS),
            sources: HashTable::with_capacity(MAX_DATAGRAMS),
        }
    }

    /// Number of datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Notes the flow of a first fragment that was allowed. Packets that are no fragments pass.
    ///
    /// # Errors
    /// `FragmentInconsistent` for another first fragment of a datagram that is already known, `FragmentTableFull`.
    pub fn first(&mut self, packet: &Packet, key: FlowKey, now: Instant) -> Result<(), DropReason> {
        let Some(fragment) = packet.fragment else { return Ok(()) };
        self.expire(now);
        let name = name(packet, fragment);
        if let Some(known) = self.find(&name) {
            known.broken = true;
            return Err(DropReason::FragmentInconsistent);
        }
        let hasher = &self.hasher;
        let of_source = hash_of_source(hasher, packet.src);
        let source = self.sources.find_mut(of_source, |(addr, _)| *addr == packet.src);
        let count = source.as_ref().map_or(0, |source| source.1);
        // Every datagram has one note of age, so this bounds them all.
        if self.ages.len() >= MAX_DATAGRAMS || count >= MAX_PER_SOURCE {
            return Err(DropReason::FragmentTableFull);
        }
        let mut datagram = Datagram {
            name,
            flow: key,
            created: now,
            ranges: [(0, 0); MAX_RANGES],
            len: 0,
            total: None,
            broken: false,
        };
        datagram.add(span(packet, fragment), fragment.more)?;
        match source {
            Some(source) => source.1 += 1,
            None => {
                let again = |(addr, _): &(Addr, u16)| hash_of_source(hasher, *addr);
                self.sources.insert_unique(of_source, (packet.src, 1), again);
            }
        }
        self.datagrams.insert_unique(name.hash(hasher), datagram, |datagram| datagram.name.hash(hasher));
        self.ages.push_back((now, name));
        Ok(())
    }

    fn find(&mut self, name: &DatagramKey) -> Option<&mut Datagram> {
        self.datagrams.find_mut(name.hash(&self.hasher), |datagram| datagram.name == *name)
    }

    /// The flow of a later fragment.
    ///
    /// # Errors
    /// `FragmentUnknown` without a first fragment, `FragmentInconsistent` if it contradicts what was seen.
    pub fn later(&mut self, packet: &Packet, now: Instant) -> Result<FlowKey, DropReason> {
        let fragment = packet.fragment.ok_or(DropReason::FragmentUnknown)?;
        let known = self.find(&name(packet, fragment)).ok_or(DropReason::FragmentUnknown)?;
        if now.saturating_since(known.created).as_secs() >= LIFETIME_SECS {
            return Err(DropReason::FragmentUnknown);
        }
        if known.broken {
            return Err(DropReason::FragmentInconsistent);
        }
        match known.add(span(packet, fragment), fragment.more) {
            Ok(()) => Ok(known.flow),
            Err(reason) => {
                known.broken = true;
                Err(reason)
            }
        }
    }

    /// Takes out the datagrams whose flow is wanted, with their notes of age and their place in the limits.
    pub(crate) fn carry(&mut self, wanted: impl Fn(&FlowKey) -> bool) -> Vec<Datagram> {
        let Self { hasher, datagrams, ages, sources } = self;
        let taken: Vec<Datagram> = datagrams.extract_if(|datagram| wanted(&datagram.flow)).collect();
        if !taken.is_empty() {
            ages.retain(|(_, name)| datagrams.find(name.hash(hasher), |d| d.name == *name).is_some());
        }
        taken.iter().for_each(|datagram| forget_one_of(sources, hasher, datagram.name.src));
        taken
    }

    /// Puts one in that was taken out of another table; without room it is forgotten.
    pub(crate) fn bring(&mut self, datagram: Datagram, now: Instant) {
        self.expire(now);
        let old = now.saturating_since(datagram.created).as_secs() >= LIFETIME_SECS;
        if old || self.ages.len() >= MAX_DATAGRAMS || self.find(&datagram.name).is_some() {
            return;
        }
        let (hasher, src) = (&self.hasher, datagram.name.src);
        let of_source = hash_of_source(hasher, src);
        match self.sources.find_mut(of_source, |(addr, _)| *addr == src) {
            Some(source) => source.1 = source.1.saturating_add(1),
            None => {
                let again = |(addr, _): &(Addr, u16)| hash_of_source(hasher, *addr);
                self.sources.insert_unique(of_source, (src, 1), again);
            }
        }
        let name = datagram.name;
        self.datagrams.insert_unique(name.hash(hasher), datagram, |datagram| datagram.name.hash(hasher));
        self.ages.push_back((now, name));
    }

    /// Forgets what is too old, a fixed number in one call.
    pub fn expire(&mut self, now: Instant) {
        for _ in 0..EXPIRE_PER_CALL {
            let Some(&(created, name)) = self.ages.front() else { return };
            if now.saturating_since(created).as_secs() < LIFETIME_SECS {
                return;
            }
            self.ages.pop_front();
            let hash = name.hash(&self.hasher);
            if let Ok(entry) = self.datagrams.find_entry(hash, |datagram| datagram.name == name) {
                entry.remove();
            }
            forget_one_of(&mut self.sources, &self.hasher, name.src);
        }
    }
}

impl Datagram {
    /// Notes bytes `start..end`, which must be new.
    fn add(&mut self, (start, end): (u32, u32), more: bool) -> Result<(), DropReason> {
        let ranges = &mut self.ranges[..usize::from(self.len)];
        let overlap = ranges.iter().any(|&(a, b)| start < b && a < end);
        let beyond = match self.total {
            Some(total) => end > total || !more,
            None => !more && ranges.iter().any(|&(_, b)| b > end),
        };
        if overlap || beyond || start >= end {
            return Err(DropReason::FragmentInconsistent);
        }
        if !more {
            self.total = Some(end);
        }
        if let Some(before) = ranges.iter_mut().find(|range| range.1 == start) {
            before.1 = end;
        } else if let Some(behind) = ranges.iter_mut().find(|range| range.0 == end) {
            behind.0 = start;
        } else if let Some(slot) = self.ranges.get_mut(usize::from(self.len)) {
            *slot = (start, end);
            self.len += 1;
        } else {
            // More holes than any sender makes by reordering.
            return Err(DropReason::FragmentInconsistent);
        }
        Ok(())
    }
}

impl DatagramKey {
    /// As the hash of a flow with the identification for ports. It does not tell source from destination, which
    /// costs a comparison where two hosts send each other fragments with one identification.
    fn hash(&self, hasher: &FlowHasher) -> u64 {
        let (src_port, dst_port) = ((self.id >> 16) as u16, self.id as u16);
        hasher.hash(&FlowKey { src: self.src, dst: self.dst, src_port, dst_port, proto: self.proto })
    }
}

fn hash_of_source(hasher: &FlowHasher, src: Addr) -> u64 {
    hasher.hash(&FlowKey { src, dst: src, ..FlowKey::default() })
}

/// Counts one datagram less of a source.
fn forget_one_of(sources: &mut HashTable<(Addr, u16)>, hasher: &FlowHasher, src: Addr) {
    if let Ok(mut entry) = sources.find_entry(hash_of_source(hasher, src), |(addr, _)| *addr == src) {
        entry.get_mut().1 -= 1;
        if entry.get().1 == 0 {
            entry.remove();
        }
    }
}

fn name(packet: &Packet, fragment: Fragment) -> DatagramKey {
    DatagramKey { src: packet.src, dst: packet.dst, id: fragment.id, proto: packet.proto }
}

fn span(packet: &Packet, fragment: Fragment) -> (u32, u32) {
    let start = u32::from(fragment.offset);
    (start, start + packet.end.saturating_sub(u32::from(packet.l4)))
}

#[cfg(test)]
mod tests;
