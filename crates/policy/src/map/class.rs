//! What one class of peers gets, in one cache line.
//!
//! A lookup among many entries costs what it misses in the caches, so a class carries its most telling port table
//! itself, verdicts included, if that is small; then peer and class are the only lines that are touched. The other
//! protocols of a class mostly share the table of a default deny, which is always at hand.

use super::table::{PROTOS, ProtoSlot};
use crate::provenance::RuleId;
use crate::verdict::{Denial, DenyReason, L7RuleSetId, Permit, Verdict};

/// Ranges of ports that a class carries itself.
const INLINE: usize = 4;

/// A class of peers: 64 bytes.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Class {
    /// Of the table carried here: the verdict from port 0, and from each of `starts`.
    answers: [Packed; INLINE],
    /// Number of the table of each protocol.
    pub(super) tables: [u32; PROTOS],
    /// Ascending; what is not needed is the last port, with the same answer as before.
    starts: [u16; INLINE - 1],
    /// Protocols whose table is carried here.
    carried: u8,
}

impl Class {
    /// `ranges` are those of the tables, by protocol.
    pub(super) fn new(tables: [u32; PROTOS], ranges: &[Vec<(u16, Verdict)>; PROTOS]) -> Self {
        let mut class =
            Self { answers: [Packed(0); INLINE], tables, starts: [u16::MAX; INLINE - 1], carried: 0 };
        let common = tables[ProtoSlot::OTHER.0];
        let telling = (0..PROTOS).filter(|slot| tables[*slot] != common).chain([ProtoSlot::OTHER.0]);
        for slot in telling {
            if let Some((answers, starts)) = pack(&ranges[slot]) {
                (class.answers, class.starts) = (answers, starts);
                let same = (0..PROTOS).filter(|other| tables[*other] == tables[slot]);
                class.carried = same.fold(0, |bits, slot| bits | ProtoSlot(slot).bit());
                break;
            }
        }
        class
    }

    /// The verdict, if the class carries the table of that protocol.
    #[inline]
    pub(super) fn carried(&self, slot: ProtoSlot, port: u16) -> Option<Verdict> {
        if self.carried & slot.bit() == 0 {
            return None;
        }
        let at: usize = self.starts.iter().map(|start| usize::from(*start <= port)).sum();
        self.answers.get(at).map(|answer| answer.verdict())
    }
}

/// A table, if it is small and its verdicts can be packed.
fn pack(ranges: &[(u16, Verdict)]) -> Option<([Packed; INLINE], [u16; INLINE - 1])> {
    let mut last = Packed::new(ranges.first()?.1)?;
    let (mut answers, mut starts) = ([last; INLINE], [u16::MAX; INLINE - 1]);
    let mut before = ranges.first()?.1;
    let mut used = 0;
    for &(start, verdict) in ranges.iter().skip(1).filter(|(start, _)| *start > 0) {
        if verdict == before {
            continue;
        }
        before = verdict;
        last = Packed::new(verdict)?;
        *starts.get_mut(used)? = start;
        used += 1;
        answers.get_mut(used..)?.fill(last);
    }
    Some((answers, starts))
}

/// A verdict in eight bytes: the set of rules, 24 bits of the L7 rule set's number and one, and what it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Packed(u64);

const L7_BITS: u32 = 24;
const L7_SHIFT: u32 = 32;
const WHAT_SHIFT: u32 = L7_SHIFT + L7_BITS;
const ALLOW: u64 = 0;
const AUDIT: u64 = 1;
const REASONS: [DenyReason; 4] =
    [DenyReason::NoRule, DenyReason::DenyRule, DenyReason::Unsupported, DenyReason::InvalidPolicy];

impl Packed {
    /// None if the number of the L7 rule set is too large.
    fn new(verdict: Verdict) -> Option<Self> {
        let (rule, l7, what) = match verdict {
            Verdict::Allow(permit) => {
                let l7 = permit.l7().map_or(Some(0), |set| set.0.checked_add(1))?;
                (permit.rule(), l7, if permit.audited() { AUDIT } else { ALLOW })
            }
            Verdict::Deny(denial) => {
                let reason = REASONS.iter().position(|reason| *reason == denial.reason)?;
                (denial.rule, 0, AUDIT + 1 + reason as u64)
            }
        };
        if l7 >> L7_BITS != 0 {
            return None;
        }
        Some(Self(u64::from(rule.0) | u64::from(l7) << L7_SHIFT | what << WHAT_SHIFT))
    }

    #[inline]
    fn verdict(self) -> Verdict {
        let rule = RuleId(self.0 as u32);
        let l7 = (self.0 >> L7_SHIFT) as u32 & ((1 << L7_BITS) - 1);
        match self.0 >> WHAT_SHIFT {
            what @ (ALLOW | AUDIT) => {
                Verdict::Allow(Permit::new(rule, l7.checked_sub(1).map(L7RuleSetId), what == AUDIT))
            }
            what => {
                let reason = REASONS.get((what - AUDIT - 1) as usize);
                Verdict::Deny(Denial { reason: reason.copied().unwrap_or(DenyReason::NoRule), rule })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_cache_line() {
        assert_eq!((size_of::<Class>(), align_of::<Class>()), (64, 64));
    }

    #[test]
    fn verdicts_survive_packing() {
        let permit = |l7, audited| Verdict::Allow(Permit::new(RuleId(u32::MAX), l7, audited));
        let mut all: Vec<Verdict> =
            REASONS.map(|reason| Verdict::Deny(Denial { reason, rule: RuleId(7) })).into();
        for l7 in [None, Some(L7RuleSetId(0)), Some(L7RuleSetId((1 << L7_BITS) - 2))] {
            all.extend([permit(l7, false), permit(l7, true)]);
        }
        for verdict in all {
            assert_eq!(Packed::new(verdict).map(Packed::verdict), Some(verdict));
        }
        assert_eq!(Packed::new(permit(Some(L7RuleSetId((1 << L7_BITS) - 1)), false)), None);
        assert_eq!(Packed::new(permit(Some(L7RuleSetId(u32::MAX)), false)), None);
    }

    #[test]
    fn a_small_table_is_carried_up_to_the_last_port() {
        let verdict = |rule| Verdict::Allow(Permit::new(RuleId(rule), None, false));
        let table = |starts: &[u16]| -> Vec<(u16, Verdict)> {
            (1..).zip(starts).map(|(rule, start)| (*start, verdict(rule))).collect()
        };
        let tables = |tcp: Vec<(u16, Verdict)>| {
            std::array::from_fn(|slot| if slot == 0 { tcp.clone() } else { table(&[0]) })
        };
        for starts in [&[0][..], &[0, 80], &[0, 80, 81], &[0, 1, 2, u16::MAX], &[0, u16::MAX]] {
            let class = Class::new([1, 0, 0, 0, 0, 0], &tables(table(starts)));
            for port in [0, 1, 2, 79, 80, 81, 82, u16::MAX - 1, u16::MAX] {
                let expected = starts.iter().filter(|start| **start <= port).count() as u32;
                assert_eq!(class.carried(ProtoSlot::TCP, port), Some(verdict(expected)), "{starts:?} {port}");
                assert_eq!(class.carried(ProtoSlot::UDP, port), None);
            }
        }
        let large = Class::new([1, 0, 0, 0, 0, 0], &tables(table(&[0, 1, 2, 3, 4])));
        assert_eq!(large.carried(ProtoSlot::TCP, 80), None);
        assert_eq!(large.carried(ProtoSlot::UDP, 80), Some(verdict(1)), "the next table that fits");
    }
}
