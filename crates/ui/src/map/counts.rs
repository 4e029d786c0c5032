//! Counters by verdict, over all time and over the last minute.

use flowlog::record::Verdict;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Length of one slot of the short-term counters.
const SLOT: Duration = Duration::from_secs(10);

/// Slots in the short term, which is a minute.
const SLOTS: u64 = 6;

/// Records by verdict.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Passed on.
    pub forwarded: u64,
    /// Passed on under inspection.
    pub redirected: u64,
    /// Refused.
    pub dropped: u64,
    /// Denied, let pass by audit mode.
    pub audit: u64,
    /// Failed.
    pub error: u64,
}

impl Counts {
    /// Counts one record; observations without a verdict do not count. Answers whether it did.
    pub fn add(&mut self, verdict: Verdict) -> bool {
        let counter = match verdict {
            Verdict::Forwarded => &mut self.forwarded,
            Verdict::Redirected => &mut self.redirected,
            Verdict::Dropped => &mut self.dropped,
            Verdict::Audit => &mut self.audit,
            Verdict::Error => &mut self.error,
            _ => return false,
        };
        *counter += 1;
        true
    }

    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.forwarded + self.redirected + self.dropped + self.audit + self.error
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            forwarded: self.forwarded + other.forwarded,
            redirected: self.redirected + other.redirected,
            dropped: self.dropped + other.dropped,
            audit: self.audit + other.audit,
            error: self.error + other.error,
        }
    }
}

/// Number of the slot that a time is in.
pub(super) fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

/// The last minute.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Window {
    slots: [Counts; SLOTS as usize],
    newest: u64,
}

impl Window {
    pub(super) fn add(&mut self, verdict: Verdict, slot: u64) {
        self.advance(slot);
        self.slots[(self.newest % SLOTS) as usize].add(verdict);
    }

    /// Moves on to `slot`; answers whether that changed the sum.
    pub(super) fn advance(&mut self, slot: u64) -> bool {
        let before = self.sum();
        for _ in 0..slot.saturating_sub(self.newest).min(SLOTS) {
            self.newest += 1;
            self.slots[(self.newest % SLOTS) as usize] = Counts::default();
        }
        self.newest = self.newest.max(slot);
        before != self.sum()
    }

    pub(super) fn sum(&self) -> Counts {
        self.slots.iter().fold(Counts::default(), |sum, slot| sum.plus(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_moves_on() {
        let mut window = Window::default();
        window.add(Verdict::Forwarded, 0);
        window.add(Verdict::Dropped, 3);
        assert_eq!(window.sum(), Counts { forwarded: 1, dropped: 1, ..Counts::default() });
        assert!(!window.advance(5));
        assert!(window.advance(6));
        assert_eq!(window.sum(), Counts { dropped: 1, ..Counts::default() });
        assert!(window.advance(1_000_000));
        assert_eq!(window.sum(), Counts::default());
        window.add(Verdict::Audit, 1_000_000);
        // A clock that goes back must not lose or double anything.
        window.add(Verdict::Audit, 999_999);
        assert_eq!(window.sum().audit, 2);
    }

    #[test]
    fn only_verdicts_count() {
        let mut counts = Counts::default();
        for verdict in Verdict::ALL {
            counts.add(*verdict);
        }
        assert_eq!(counts, Counts { forwarded: 1, redirected: 1, dropped: 1, audit: 1, error: 1 });
        assert_eq!(counts.sum(), 5);
    }
}
