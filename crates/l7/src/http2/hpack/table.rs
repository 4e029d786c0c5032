//! The dynamic table of RFC 7541 §2.3.2: entries in the order they came, the oldest go first.
//!
//! The octets of all entries lie behind one another, name before value, in a buffer that is moved down when its end
//! is reached, so each entry is one slice and each octet is moved a bounded number of times.

use std::collections::VecDeque;

use super::FIELD_OVERHEAD;

/// One entry.
#[derive(Copy, Clone, Debug)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
}

impl Entry {
    fn size(self) -> usize {
        self.name as usize + self.value as usize + FIELD_OVERHEAD
    }
}

/// A dynamic table. Holds at most twice its maximum size in octets.
#[derive(Debug)]
pub(super) struct Table {
    octets: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

impl Table {
    pub(super) fn new(max_size: u32) -> Self {
        Self { octets: Vec::new(), entries: VecDeque::new(), size: 0, max_size: max_size as usize }
    }

    /// Its maximum size, which the encoder chose.
    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    /// RFC 7541 §4.3.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    /// Octets of the entry `age` entries before the newest, and how many of them are the name.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], usize)> {
        let at = self.entries.len().checked_sub(age + 1)?;
        let entry = self.entries.get(at)?;
        let start = entry.start as usize;
        let name = entry.name as usize;
        Some((self.octets.get(start..start + name + entry.value as usize)?, name))
    }

    /// Adds an entry. One larger than the table empties it (§4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let octets = name.len() + value.len();
        let size = octets + FIELD_OVERHEAD;
        let Some(room) = self.max_size.checked_sub(size) else {
            self.evict(0);
            return;
        };
        self.evict(room);
        if self.octets.len() + octets > 2 * self.max_size {
            self.move_down();
        }
        let start = self.octets.len() as u32;
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        self.entries.push_back(Entry { start, name: name.len() as u32, value: value.len() as u32 });
        self.size += size;
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of entries and their size, for tests.
    #[cfg(test)]
    pub(super) fn extent(&self) -> (usize, usize) {
        (self.entries.len(), self.size)
    }

    fn evict(&mut self, room: usize) {
        while self.size > room {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.octets.clear();
        }
    }

    /// Moves what is still in use to the start of the buffer.
    fn move_down(&mut self) {
        let start = self.entries.front().map_or(self.octets.len() as u32, |oldest| oldest.start);
        self.octets.drain(..start as usize);
        for entry in &mut self.entries {
            entry.start -= start;
        }
    }
}
