//! Copies of the judged bytes that the receiver has not acknowledged yet: whoever sends them again must send the same
//! (first copy wins). Bytes whose content decides nothing are not kept.

use std::collections::VecDeque;

/// Bytes kept for one stream. When there is no more room, nothing further is judged until the receiver acknowledges.
pub(super) const MAX_KEPT: usize = 256 * 1024;

/// Capacity that an empty store does not give back.
const SPARE: usize = 512;

/// Judged bytes by input offset, oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Start and length of each run.
    runs: VecDeque<(u64, usize)>,
    bytes: VecDeque<u8>,
    /// Behind the last run.
    end: u64,
}

impl Kept {
    /// Whether more bytes may be judged.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < MAX_KEPT
    }

    /// Bytes kept.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Behind the last byte kept.
    pub(super) fn end(&self) -> u64 {
        if self.runs.is_empty() { 0 } else { self.end }
    }

    /// Keeps `bytes`, which start at input offset `at`, behind all others.
    pub(super) fn add(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.runs.back_mut() {
            Some((_, len)) if self.end == at => *len += bytes.len(),
            _ => self.runs.push_back((at, bytes.len())),
        }
        self.end = at + bytes.len() as u64;
        self.bytes.extend(bytes);
    }

    /// Whether `bytes`, which start at input offset `at`, agree with what is kept.
    pub(super) fn agrees(&self, at: u64, bytes: &[u8]) -> bool {
        let to = at + bytes.len() as u64;
        let mut index = 0;
        for &(start, len) in &self.runs {
            let (from, until) = (start.max(at), (start + len as u64).min(to));
            if from < until {
                let ours =
                    self.bytes.range(index + (from - start) as usize..index + (until - start) as usize);
                if !ours.eq(&bytes[(from - at) as usize..(until - at) as usize]) {
                    return false;
                }
            }
            index += len;
        }
        true
    }

    /// Forgets what lies before input offset `x`.
    pub(super) fn forget(&mut self, x: u64) {
        while let Some((start, len)) = self.runs.front_mut() {
            let gone = usize::try_from(x.saturating_sub(*start)).unwrap_or(usize::MAX).min(*len);
            self.bytes.drain(..gone);
            *start += gone as u64;
            *len -= gone;
            if *len > 0 {
                return;
            }
            self.runs.pop_front();
        }
        if self.bytes.capacity() > SPARE {
            self.bytes = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_copy_counts_until_it_is_acknowledged() {
        let mut kept = Kept::default();
        kept.add(10, b"GET /");
        kept.add(15, b"a");
        kept.add(100, b"POST");
        assert!(kept.agrees(0, &[b'x'; 10]) && kept.agrees(16, &[b'x'; 84]), "nothing is kept there");
        assert!(kept.agrees(12, b"T /a???"));
        assert!(!kept.agrees(12, b"T /b"));
        assert!(!kept.agrees(90, b"..........POSS"));
        kept.forget(14);
        assert!(kept.agrees(10, b"....") && !kept.agrees(10, b"....x") && kept.agrees(13, b"./a"));
        kept.forget(200);
        assert!(kept.agrees(100, b"xxxx") && kept.end() == 0 && kept.has_room());
    }
}
