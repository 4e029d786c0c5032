//! Precedence: which of the rules that cover one peer, protocol and port decide.
//!
//! Deny before redirect before allow, at any specificity; among redirects the parser decides (HTTP, Kafka, TLS,
//! DNS). What the winners of one rank say is united. A rule that asks for something we cannot honour ranks between
//! deny and redirect, so that a plain rule beside it never makes it weaker.

use super::sets::{L7SetKey, RuleSets};
use crate::l7::L7Kind;
use crate::map::ClassPorts;
use crate::provenance::RuleId;
use crate::verdict::{Denial, DenyReason, L7RuleSetId, Permit, Verdict};

/// What a rule says about the packets that it covers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Effect {
    /// May pass.
    Allow,
    /// May pass if the numbered L7 fragment (or another one that covers it) allows the message.
    Redirect(L7Kind, u32),
    /// May pass if this very set allows the message; only from hand-written maps.
    Fixed(L7RuleSetId),
    /// May not pass.
    Deny,
    /// Messages that the numbered fragment matches may not pass.
    DenyL7(L7Kind, u32),
    /// Would be allowed, under a condition that we cannot check.
    Unsupported,
}

/// One rule's share in one class of peers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Contribution {
    /// Bits of `ProtoSlot`.
    pub(crate) protos: u8,
    /// First and last port it covers.
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// What it says.
    pub(crate) effect: Effect,
    /// Number of its provenance.
    pub(crate) rule: Option<u32>,
    /// Whether its policy is in audit mode.
    pub(crate) audit: bool,
    /// Whether it names ports at all; the DNS rules of a port are only united with rules that name that port.
    pub(crate) exact: bool,
}

/// Merges contributions for one endpoint and direction.
pub(crate) struct Merger<'a> {
    /// Whether unmatched packets are denied.
    enforced: bool,
    /// As if the policies in audit mode were in force.
    trial: Option<bool>,
    audited: bool,
    no_rule: RuleId,
    sets: &'a mut RuleSets,
}

impl<'a> Merger<'a> {
    /// For an endpoint whose default deny was switched on by `switched_on`; `audited` turns every denial into an
    /// audited permit.
    pub(crate) fn new(switched_on: &[u32], enforced: bool, audited: bool, sets: &'a mut RuleSets) -> Self {
        let no_rule = sets.set(switched_on);
        Self { enforced, trial: None, audited, no_rule, sets }
    }

    /// Also compares with the verdict as if the policies in audit mode were in force; `enforced` says whether they
    /// would switch default deny on, and what differs is marked as audited.
    pub(crate) fn with_trial(mut self, enforced: bool) -> Self {
        self.trial = Some(enforced);
        self
    }

    /// The tables of a class of peers that exactly `lines` apply to.
    pub(crate) fn class(&mut self, lines: &[&Contribution]) -> ClassPorts {
        std::array::from_fn(|slot| self.table(lines, 1 << slot))
    }

    fn table(&mut self, lines: &[&Contribution], proto: u8) -> Vec<(u16, Verdict)> {
        let covering: Vec<&Contribution> = lines
            .iter()
            .copied()
            .filter(|line| line.protos & proto != 0 && line.first <= line.last)
            .collect();
        let mut bounds: Vec<u32> = vec![0];
        bounds.extend(covering.iter().flat_map(|l| [u32::from(l.first), u32::from(l.last) + 1]));
        bounds.sort_unstable();
        bounds.dedup();
        let mut starting = covering;
        starting.sort_by_key(|line| line.first);
        let mut starting = starting.into_iter().peekable();
        let mut active: Vec<&Contribution> = Vec::new();
        let mut ranges: Vec<(u16, Verdict)> = Vec::with_capacity(bounds.len());
        for start in bounds.into_iter().filter_map(|bound| u16::try_from(bound).ok()) {
            active.retain(|line| line.last >= start);
            while let Some(line) = starting.next_if(|line| line.first <= start) {
                active.push(line);
            }
            let verdict = self.decide(&active);
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((start, verdict));
            }
        }
        ranges
    }

    /// The verdict where exactly `active` apply.
    fn decide(&mut self, active: &[&Contribution]) -> Verdict {
        let Some(trial_enforced) = self.trial else {
            let verdict = self.in_force(active, self.enforced, self.audited);
            return if self.audited { self.audit(verdict) } else { verdict };
        };
        let binding: Vec<&Contribution> = active.iter().copied().filter(|line| !line.audit).collect();
        let now = self.in_force(&binding, self.enforced, self.audited);
        if self.audited {
            let then = self.in_force(active, trial_enforced, true);
            return self.audit(then);
        }
        let Verdict::Allow(permit) = now else { return now };
        match self.in_force(active, trial_enforced, true) {
            Verdict::Deny(denial) => Verdict::Allow(Permit::new(denial.rule, permit.l7(), true)),
            Verdict::Allow(then) if permit.l7().is_none() => {
                Verdict::Allow(Permit::new(permit.rule(), then.l7(), false))
            }
            Verdict::Allow(_) => now,
        }
    }

    fn audit(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Deny(denial) => Verdict::Allow(Permit::new(denial.rule, None, true)),
            allowed @ Verdict::Allow(_) => allowed,
        }
    }

    fn in_force(&mut self, active: &[&Contribution], enforced: bool, audit_l7: bool) -> Verdict {
        let named = |wanted: &dyn Fn(&Effect) -> bool| -> Vec<u32> {
            active.iter().filter(|line| wanted(&line.effect)).filter_map(|line| line.rule).collect()
        };
        if active.iter().any(|line| line.effect == Effect::Deny) {
            let rule = self.sets.set(&named(&|effect| *effect == Effect::Deny));
            return Verdict::Deny(Denial { reason: DenyReason::DenyRule, rule });
        }
        if active.iter().any(|line| line.effect == Effect::Unsupported) {
            let rule = self.sets.set(&named(&|effect| *effect == Effect::Unsupported));
            return Verdict::Deny(Denial { reason: DenyReason::Unsupported, rule });
        }
        let allowed_anyway = !enforced || active.iter().any(|line| line.effect == Effect::Allow);
        let redirects = active.iter().filter_map(|line| line.effect.l7_kind());
        let conditions = active.iter().filter_map(|line| line.effect.deny_l7_kind());
        let permitted = allowed_anyway
            || active.iter().any(|line| matches!(line.effect, Effect::Redirect(..) | Effect::Fixed(_)));
        if !permitted {
            return Verdict::Deny(Denial { reason: DenyReason::NoRule, rule: self.no_rule });
        }
        if let Some(kind) = redirects.chain(conditions).min() {
            return self.redirect(active, kind, enforced, audit_l7);
        }
        if let Some(set) = active.iter().find_map(|line| line.effect.fixed()) {
            let rule = self.sets.set(&named(&|effect| effect.fixed().is_some()));
            return Verdict::Allow(Permit::new(rule, Some(set), false));
        }
        let rule = self.sets.set(&named(&|effect| *effect == Effect::Allow));
        Verdict::Allow(Permit::new(rule, None, false))
    }

    /// Unites the L7 rules of `kind` with what lets every message pass.
    fn redirect(&mut self, active: &[&Contribution], kind: L7Kind, enforced: bool, audit: bool) -> Verdict {
        let mut key = L7SetKey { kind, allow_all: !enforced, allow: Vec::new(), deny: Vec::new(), audit };
        let mut rules = Vec::new();
        for line in active {
            match line.effect {
                Effect::Redirect(of, fragment) if of == kind => {
                    key.allow.push(fragment);
                    rules.extend(line.rule);
                }
                Effect::DenyL7(of, fragment) if of == kind => key.deny.push(fragment),
                Effect::Allow => {
                    let united = kind != L7Kind::Dns || line.exact;
                    key.allow_all |= united;
                    if united {
                        rules.extend(line.rule);
                    }
                }
                _ => {}
            }
        }
        key.allow.sort_unstable();
        key.allow.dedup();
        key.deny.sort_unstable();
        key.deny.dedup();
        let rule = self.sets.set(&rules);
        let set = self.sets.l7_set(key, rule);
        Verdict::Allow(Permit::new(rule, Some(set), false))
    }
}

impl Effect {
    /// The number of the L7 fragment that it holds.
    pub(crate) fn fragment(&self) -> Option<u32> {
        match self {
            Self::Redirect(_, fragment) | Self::DenyL7(_, fragment) => Some(*fragment),
            Self::Allow | Self::Fixed(_) | Self::Deny | Self::Unsupported => None,
        }
    }

    fn l7_kind(&self) -> Option<L7Kind> {
        match self {
            Self::Redirect(kind, _) => Some(*kind),
            _ => None,
        }
    }

    fn deny_l7_kind(&self) -> Option<L7Kind> {
        match self {
            Self::DenyL7(kind, _) => Some(*kind),
            _ => None,
        }
    }

    fn fixed(&self) -> Option<L7RuleSetId> {
        match self {
            Self::Fixed(set) => Some(*set),
            _ => None,
        }
    }
}
