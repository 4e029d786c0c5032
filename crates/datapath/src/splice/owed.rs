//! Bytes that we put into a stream ourselves, and so have to deliver ourselves: sent within the receiver's window,
//! sent again until acknowledged, given up after a stated number of tries.

use core::time::Duration;
use packet::Instant;
use std::collections::VecDeque;

/// First time-out for an acknowledgement (Linux: `TCP_RTO_MIN`).
const FIRST_RTO: Duration = Duration::from_millis(200);
/// Longest one.
const MAX_RTO: Duration = Duration::from_secs(8);
/// Transmissions without any progress after which the receiver counts as gone (about 40 seconds).
const MAX_TRIES: u32 = 9;
/// Bytes owed to one receiver at a time. Whoever makes us owe more without taking any is cut off.
pub(super) const MAX_OWED: usize = 512 * 1024;
/// Acknowledgements of the same byte that count as a loss (RFC 5681 §3.2).
const DUPLICATES: u8 = 3;

/// A run of them.
#[derive(Debug)]
struct Run {
    /// Output offset of the first.
    at: u64,
    bytes: Vec<u8>,
    /// How many were sent at least once.
    sent: usize,
}

impl Run {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

/// What is owed to one receiver.
#[derive(Debug, Default)]
pub(super) struct Owed {
    runs: VecDeque<Run>,
    len: usize,
    /// We end the stream behind this output offset.
    fin: Option<u64>,
    fin_sent: bool,
    fin_acknowledged: bool,
    /// When the oldest unacknowledged byte is sent again.
    due: Option<Instant>,
    tries: u32,
    duplicates: u8,
    /// The timer was set for a loss that acknowledgements showed; at most once until there is progress.
    hurried: bool,
    was_hurried: bool,
}

/// A segment to send.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece<'a> {
    /// Output offset of the first byte.
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
    /// Whether the stream ends behind it.
    pub(super) fin: bool,
}

/// The receiver as far as sending to it goes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Receiver {
    /// Everything before this output offset was put on the wire once.
    pub(super) sent: u64,
    /// Everything before this was acknowledged.
    pub(super) acked: u64,
    /// It takes nothing from this offset on.
    pub(super) edge: u64,
    /// Longest payload.
    pub(super) mss: usize,
}

impl Owed {
    /// Bytes owed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && (self.fin.is_none() || self.fin_acknowledged)
    }

    /// Whether some of it was never sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.runs.iter().any(|run| run.sent < run.bytes.len())
    }

    /// Output offset behind the last byte owed.
    pub(super) fn end(&self) -> u64 {
        self.runs.back().map_or(0, Run::end)
    }

    /// Whether one more run of `len` bytes is within the limit.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.len + len <= MAX_OWED
    }

    /// Adds bytes at output offset `at`, behind all earlier ones.
    pub(super) fn add(&mut self, at: u64, bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(last) = self.runs.back_mut()
            && last.end() == at
        {
            last.bytes.extend_from_slice(bytes);
            return;
        }
        self.runs.push_back(Run { at, bytes: bytes.to_vec(), sent: 0 });
    }

    /// Ends the stream behind output offset `at`.
    pub(super) fn end_at(&mut self, at: u64) {
        self.fin = Some(at);
    }

    /// Where we ended the stream.
    pub(super) fn fin(&self) -> Option<u64> {
        self.fin
    }

    /// Where the bytes begin behind which we ended the stream, if we did: from there on all is ours.
    pub(super) fn last_words(&self) -> Option<u64> {
        let fin = self.fin?;
        Some(self.runs.back().filter(|run| run.end() == fin).map_or(fin, |run| run.at))
    }

    /// Takes note that everything before `acked` has arrived; `again`: an acknowledgement that says nothing new.
    /// Answers whether the oldest byte is to be sent again at once.
    pub(super) fn acknowledged(&mut self, acked: u64, again: bool) -> bool {
        let mut progress = false;
        while let Some(run) = self.runs.front() {
            if run.end() > acked {
                break;
            }
            self.len -= run.bytes.len();
            self.runs.pop_front();
            progress = true;
        }
        if self.runs.is_empty() {
            self.runs = VecDeque::new();
        }
        self.fin_acknowledged |= self.fin_sent && self.fin.is_some_and(|at| acked > at);
        let waiting = self.oldest(acked).is_some();
        if progress || !again {
            (self.tries, self.duplicates) = (0, 0);
            (self.hurried, self.was_hurried) = (false, false);
            self.due = None;
            return false;
        }
        if waiting {
            self.duplicates = self.duplicates.saturating_add(1);
        }
        waiting && self.duplicates >= DUPLICATES && !self.was_hurried
    }

    /// The first byte that was sent and not acknowledged, if the receiver has all before it.
    fn oldest(&self, acked: u64) -> Option<u64> {
        let run = self.runs.front();
        match run {
            Some(run) if run.at <= acked && run.sent > 0 => Some(acked),
            None if self.fin_sent && self.fin == Some(acked) => Some(acked),
            _ => None,
        }
    }

    /// The next piece that was not sent yet and may be.
    pub(super) fn next(&mut self, to: &Receiver) -> Option<Piece<'_>> {
        let fin = self.fin;
        let index = self.runs.iter().position(|run| run.sent < run.bytes.len());
        let Some(index) = index else {
            let at = fin.filter(|&at| !self.fin_sent && to.sent >= at)?;
            self.fin_sent = true;
            return Some(Piece { at, bytes: &[], fin: true });
        };
        let run = &mut self.runs[index];
        let at = run.at + run.sent as u64;
        if to.sent < at || to.edge <= at {
            return None;
        }
        let room = usize::try_from(to.edge - at).unwrap_or(usize::MAX);
        let len = (run.bytes.len() - run.sent).min(to.mss).min(room);
        let from = run.sent;
        run.sent += len;
        let last = fin == Some(at + len as u64);
        self.fin_sent |= last;
        Some(Piece { at, bytes: &run.bytes[from..from + len], fin: last })
    }

    /// The oldest piece, to be sent again; past the window's edge one byte of it, as a probe.
    pub(super) fn again(&self, to: &Receiver) -> Option<Piece<'_>> {
        let Some(run) = self.runs.front() else {
            return self.fin.filter(|_| self.fin_sent).map(|at| Piece { at, bytes: &[], fin: true });
        };
        if to.acked < run.at {
            // What comes before is its sender's to repeat: it says nothing about the receiver.
            return None;
        }
        let from =
            usize::try_from(to.acked.saturating_sub(run.at)).unwrap_or(usize::MAX).min(run.bytes.len());
        let at = run.at + from as u64;
        let room = usize::try_from(to.edge.saturating_sub(at)).unwrap_or(usize::MAX).max(1);
        let len = (run.bytes.len() - from).min(to.mss).min(room);
        let fin = self.fin == Some(at + len as u64);
        Some(Piece { at, bytes: &run.bytes[from..from + len], fin })
    }

    /// When to call [`Owed::expired`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Starts the clock, if something is owed and it does not run.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.due.is_none() && !self.is_empty() {
            let rto = FIRST_RTO.saturating_mul(1 << self.tries.min(10)).min(MAX_RTO);
            self.due = Some(now + rto);
        }
    }

    /// The time is up: `false` if it was the last time.
    #[must_use]
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        self.tries += u32::from(!std::mem::take(&mut self.hurried));
        self.due = None;
        self.watch(now);
        self.tries < MAX_TRIES
    }

    /// The oldest piece is to be sent again at the next opportunity.
    pub(super) fn hurry(&mut self) {
        (self.hurried, self.was_hurried) = (true, true);
        self.due = Some(Instant::ZERO);
    }

    /// Stops the clock: what is owed waits for bytes that others have to send first.
    pub(super) fn rest(&mut self) {
        (self.due, self.tries) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Receiver = Receiver { sent: 10, acked: 10, edge: 1000, mss: 4 };

    fn sent(owed: &mut Owed, to: Receiver) -> Vec<(u64, Vec<u8>, bool)> {
        let mut to = to;
        let mut seen = Vec::new();
        while let Some(piece) = owed.next(&to) {
            seen.push((piece.at, piece.bytes.to_vec(), piece.fin));
            to.sent = to.sent.max(piece.at + piece.bytes.len() as u64);
        }
        seen
    }

    #[test]
    fn sends_in_pieces_within_the_window_and_ends_the_stream() {
        let mut owed = Owed::default();
        owed.add(10, b"abcdef");
        owed.end_at(16);
        assert!(sent(&mut owed, Receiver { sent: 9, ..ALL }).is_empty(), "bytes before it are still to come");
        assert_eq!(sent(&mut owed, Receiver { edge: 13, ..ALL }), [(10, b"abc".to_vec(), false)]);
        assert_eq!(sent(&mut owed, Receiver { sent: 13, ..ALL }), [(13, b"def".to_vec(), true)]);
        assert!(!owed.acknowledged(16, false));
        assert_eq!(owed.again(&Receiver { acked: 16, ..ALL }), Some(Piece { at: 16, bytes: b"", fin: true }));
        assert!(!owed.is_empty());
        assert!(!owed.acknowledged(17, false) && owed.is_empty());
    }

    #[test]
    fn sends_again_from_the_first_byte_that_is_missing() {
        let mut owed = Owed::default();
        owed.add(10, b"abcdef");
        assert_eq!(sent(&mut owed, ALL).len(), 2);
        owed.watch(Instant::ZERO);
        assert_eq!(owed.due(), Some(Instant::ZERO + FIRST_RTO));
        assert!(!owed.acknowledged(12, false));
        assert_eq!(owed.again(&Receiver { acked: 12, ..ALL }).map(|p| p.bytes), Some(&b"cdef"[..]));
        assert_eq!(
            owed.again(&Receiver { acked: 12, edge: 12, ..ALL }).map(|p| p.bytes),
            Some(&b"c"[..]),
            "a probe"
        );
        for _ in 0..DUPLICATES - 1 {
            assert!(!owed.acknowledged(12, true));
        }
        assert!(owed.acknowledged(12, true), "three acknowledgements of the same byte");
        assert!((1..MAX_TRIES).all(|_| owed.expired(Instant::ZERO)));
        assert!(!owed.expired(Instant::ZERO), "given up");
    }
}
