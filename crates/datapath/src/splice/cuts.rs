//! Where the bytes that the receiver counts differ from those that the sender counts.
//!
//! A stream has two number spaces. *Input* offsets count what the sender sent, *output* offsets what the receiver is
//! to get; both start at 0 with the first byte. Where bytes are swallowed or put in, the spaces shift against each
//! other by a [`Cut`]. Cuts are kept until the receiver has acknowledged what is behind them; what lies before the
//! oldest one is shifted by a constant.
//!
//! ```text
//! input    aaaaaaaDDDDDDDDbbbbbbb        D: swallowed, the sender is told that they arrived
//! output   aaaaaaaRRRbbbbbbb             R: put in, delivered and repeated by us
//!                 ^ one cut: removed 8, inserted 3
//! ```

use std::collections::VecDeque;

/// The most cuts that wait for the receiver's acknowledgement. A connection that needs more is ended.
pub(super) const MAX_CUTS: usize = 1024;

/// One place where bytes are missing, added, or both.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    /// First input byte that is swallowed.
    at: u64,
    /// How many input bytes are; they may still have to come.
    removed: u64,
    /// How many of those have come, in order.
    got: u64,
    /// First output byte that is put in.
    at_out: u64,
    /// How many output bytes are.
    inserted: u64,
}

impl Cut {
    /// First input byte behind it.
    const fn end(&self) -> u64 {
        self.at.saturating_add(self.removed)
    }

    /// First output byte behind it.
    const fn end_out(&self) -> u64 {
        self.at_out.saturating_add(self.inserted)
    }
}

/// The cuts of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    list: VecDeque<Cut>,
    /// Output minus input before the oldest cut in the list.
    shift: i64,
    /// Input before this must not be passed on any more: a cut that lay there is forgotten.
    floor: u64,
    /// Cuts of which bytes are still to come.
    open: usize,
}

impl Cuts {
    /// Whether input and output numbers are still the same everywhere.
    pub(super) fn none(&self) -> bool {
        self.list.is_empty() && self.shift == 0
    }

    /// Whether there is room for `more`.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.list.len() + more <= MAX_CUTS
    }

    /// Input offset behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.list.back().map_or(self.floor, Cut::end)
    }

    /// Input before this was acknowledged by the receiver, and its place in the output is forgotten.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// The output offset of input byte `x`; of a swallowed byte, where it would have stood.
    pub(super) fn output(&self, x: u64) -> u64 {
        if self.list.is_empty() {
            return x.saturating_add_signed(self.shift);
        }
        match self.last(|cut| cut.at <= x) {
            Some(cut) if x >= cut.end() => cut.end_out().saturating_add(x - cut.end()),
            Some(cut) => cut.at_out,
            None => x.saturating_add_signed(self.shift),
        }
    }

    /// The last cut for which `holds`, which must hold for all before it.
    fn last(&self, holds: impl Fn(&Cut) -> bool) -> Option<&Cut> {
        // Nearly all questions are about what is behind every cut.
        match self.list.back() {
            Some(cut) if holds(cut) => Some(cut),
            _ => self.list.partition_point(holds).checked_sub(1).and_then(|at| self.list.get(at)),
        }
    }

    /// The input byte up to which the sender may be told that all has arrived, when the receiver has acknowledged
    /// everything before output byte `y`.
    pub(super) fn input(&self, y: u64) -> u64 {
        if self.open > 0 {
            // What has not come cannot be acknowledged, nor what follows it.
            let missing = self.list.iter().find(|cut| cut.got < cut.removed);
            if let Some(cut) = missing.filter(|cut| y >= cut.at_out) {
                return cut.at + cut.got;
            }
        }
        self.place(y)
    }

    /// The input byte up to which the sender may send when the receiver takes nothing from output byte `y` on: bytes
    /// that are swallowed need no room, bytes that were put in take some.
    pub(super) fn place(&self, y: u64) -> u64 {
        if self.list.is_empty() {
            return y.saturating_add_signed(-self.shift);
        }
        match self.last(|cut| cut.at_out <= y) {
            Some(cut) => cut.end().saturating_add(y.saturating_sub(cut.end_out())),
            None => y.saturating_add_signed(-self.shift),
        }
    }

    /// Swallows `removed` input bytes from `at`, of which `got` have come, and puts `inserted` output bytes in their
    /// place. `at` must not lie before any earlier cut's end. Answers the first output byte put in.
    pub(super) fn add(&mut self, at: u64, removed: u64, got: u64, inserted: u64) -> u64 {
        self.open += usize::from(got < removed);
        if let Some(last) = self.list.back_mut()
            && last.end() == at
            && (last.got == last.removed)
        {
            let first = last.end_out();
            last.removed = last.removed.saturating_add(removed);
            last.got = last.got.saturating_add(got);
            last.inserted = last.inserted.saturating_add(inserted);
            return first;
        }
        let at_out = self.output(at);
        self.list.push_back(Cut { at, removed, got, at_out, inserted });
        at_out
    }

    /// Notes that input `from..to` has come; answers whether a swallowed byte that was missing is among it.
    pub(super) fn receive(&mut self, from: u64, to: u64) -> bool {
        let mut new = false;
        if self.open == 0 {
            return new;
        }
        for cut in self.list.iter_mut().rev() {
            if cut.end() <= from {
                break;
            }
            let next = cut.at + cut.got;
            if from <= next && next < to && cut.got < cut.removed {
                cut.got = (to - cut.at).min(cut.removed);
                self.open -= usize::from(cut.got == cut.removed);
                new = true;
            }
        }
        new
    }

    /// Forgets the cuts behind which the receiver has acknowledged everything before output byte `y`.
    pub(super) fn acknowledged(&mut self, y: u64) {
        while let Some(cut) = self.list.front() {
            if y < cut.end_out() || cut.got < cut.removed {
                return;
            }
            self.floor = cut.end();
            self.shift = (cut.end_out() as i64).wrapping_sub(cut.end() as i64);
            self.list.pop_front();
        }
        if self.list.capacity() > 16 {
            self.list = VecDeque::new();
        }
    }

    /// The part of input `from..to` that stands first and is passed on as one piece: `None` if there is none. The
    /// search goes on behind it.
    pub(super) fn passed(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let (mut from, mut end) = (from.max(self.floor), to);
        if self.list.is_empty() {
            return (from < end).then_some((from, end));
        }
        let behind = |cut: &Cut| cut.end() < from || (cut.end() == from && cut.at < from);
        let first = match self.list.back() {
            Some(cut) if !behind(cut) => self.list.partition_point(behind),
            _ => self.list.len(),
        };
        for cut in self.list.range(first..) {
            if cut.at <= from && from < cut.end() {
                from = cut.end();
            } else if cut.at > from {
                end = end.min(cut.at);
                break;
            }
        }
        (from < end).then_some((from, end))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn swallowed_bytes_are_acknowledged_once_all_before_them_is() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.add(10, 5, 5, 3), 10);
        assert_eq!(
            (cuts.input(9), cuts.input(10), cuts.input(12), cuts.input(13), cuts.input(14)),
            (9, 15, 15, 15, 16)
        );
        assert_eq!((cuts.place(9), cuts.place(11), cuts.place(20)), (9, 15, 22), "room behind a window");
        assert_eq!((cuts.output(9), cuts.output(10), cuts.output(14), cuts.output(15)), (9, 10, 10, 13));
    }

    #[test]
    fn bytes_to_be_swallowed_are_acknowledged_as_they_come() {
        let mut cuts = Cuts::default();
        cuts.add(10, 100, 4, 0);
        assert_eq!(cuts.input(10), 14);
        assert!(!cuts.receive(20, 30), "a gap");
        assert!(cuts.receive(12, 30));
        assert_eq!(cuts.input(10), 30);
        assert!(!cuts.receive(12, 30), "again");
        cuts.acknowledged(10);
        assert_eq!(cuts.len(), 1, "still open");
        assert!(cuts.receive(30, 200));
        assert_eq!(cuts.input(10), 110);
        cuts.acknowledged(10);
        assert_eq!((cuts.len(), cuts.floor(), cuts.output(110), cuts.input(11)), (0, 110, 10, 111));
    }

    #[test]
    fn pieces_are_what_is_not_swallowed() {
        let mut cuts = Cuts::default();
        cuts.add(10, 5, 5, 0);
        cuts.add(20, 0, 0, 7);
        let mut pieces = Vec::new();
        let mut from = 0;
        while let Some((a, b)) = cuts.passed(from, 30) {
            pieces.push((a, b));
            from = b;
        }
        assert_eq!(pieces, [(0, 10), (15, 20), (20, 30)]);
        assert_eq!(cuts.passed(11, 15), None);
    }

    proptest! {
        /// Against a list of bytes: each input byte passed or not, each output byte passed or put in.
        #[test]
        fn numbers_agree_with_a_list_of_bytes(parts in prop::collection::vec((1_u64..20, 0_u64..20, 0_u64..20), 1..12)) {
            let mut cuts = Cuts::default();
            let (mut output, mut x) = (Vec::new(), 0_u64);
            for (pass, removed, inserted) in parts {
                output.extend((x..x + pass).map(Some));
                x += pass;
                cuts.add(x, removed, removed, inserted);
                output.extend((0..inserted).map(|_| None));
                x += removed;
            }
            output.extend((x..x + 5).map(Some));
            for (y, byte) in (0..).zip(&output) {
                if let Some(x) = byte {
                    prop_assert_eq!(cuts.output(*x), y);
                    let next = output.get(y as usize + 1);
                    if let Some(Some(next)) = next && *next == x + 1 {
                        prop_assert_eq!(cuts.input(y + 1), x + 1);
                    }
                }
            }
            let mut passed = Vec::new();
            let mut from = 0;
            while let Some((a, b)) = cuts.passed(from, x + 5) {
                passed.extend(a..b);
                from = b;
            }
            let expected: Vec<u64> = output.iter().copied().flatten().collect();
            prop_assert_eq!(passed, expected);
        }
    }
}
