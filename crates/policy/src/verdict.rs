//! The answer to "may this packet pass", with its proof and its provenance.

use crate::provenance::RuleId;

/// Names a compiled set of L7 rules in the snapshot.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct L7RuleSetId(pub u32);

/// One side's answer.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// May pass (subject to L7 rules, if the permit names some).
    Allow(Permit),
    /// May not.
    Deny(Denial),
}

/// Proof that a rule, or the absence of enforcement, allowed something. Only the policy map makes one.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permit {
    rule: RuleId,
    l7: Option<L7RuleSetId>,
    audited: bool,
}

impl Permit {
    pub(crate) const fn new(rule: RuleId, l7: Option<L7RuleSetId>, audited: bool) -> Self {
        Self { rule, l7, audited }
    }

    /// The rules that allowed it; [`RuleId::NONE`] where that direction is not enforced. For an audited permit, the
    /// rules that would have denied it.
    #[must_use]
    pub const fn rule(self) -> RuleId {
        self.rule
    }

    /// L7 rules that every message must also satisfy.
    #[must_use]
    pub const fn l7(self) -> Option<L7RuleSetId> {
        self.l7
    }

    /// Whether audit mode let pass what policy denies.
    #[must_use]
    pub const fn audited(self) -> bool {
        self.audited
    }
}

/// Why it may not pass.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Denial {
    /// Kind of denial.
    pub reason: DenyReason,
    /// The deny rule, or the policies that switched default deny on.
    pub rule: RuleId,
}

/// Kinds of denial. Each is a drop reason of its own.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DenyReason {
    /// Default deny: no rule allows it (Hubble: `POLICY_DENIED`).
    NoRule,
    /// A deny rule matches (Hubble: `POLICY_DENY`).
    DenyRule,
    /// A rule that would allow it asks for something that is not done here (mutual authentication, TLS termination, a
    /// custom listener, groups of a cloud provider, header values from secrets), or its messages would have to be
    /// inspected where that is not possible. Denied even where a plain rule allows the same, as the condition was
    /// meant to hold (Hubble: `AUTH_REQUIRED`).
    Unsupported,
    /// A policy that selects this endpoint could not be read, so everything is denied.
    InvalidPolicy,
}
