//! L7 rule sets: what a message must satisfy on a connection that policy redirects to inspection.
//!
//! One [`L7RuleSet`] is the union of every rule that covers the same packets: a message passes if any rule allows
//! it and no deny condition matches it. Where a rule without L7 conditions covers them too, every message passes
//! (the connection is still inspected, and its messages are seen). Sets are compiled once and shared.

mod http;
mod kafka;
mod pattern;

pub use http::{Headers, HttpRequest};
pub use kafka::KafkaRequest;

use crate::provenance::RuleId;
use crate::rule::{HttpRule, KafkaRule, NameMatch, Sni};
use crate::verdict::{DenyReason, L7RuleSetId};
use core::fmt;
use http::{HttpRules, Reading};
use std::sync::Arc;

/// The protocol whose parser a rule set needs. The order is that of precedence where rules for several protocols
/// cover the same packets: the first one governs.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum L7Kind {
    /// HTTP/1 and HTTP/2, gRPC included.
    Http,
    /// Kafka.
    Kafka,
    /// The server name of a TLS hello.
    Tls,
    /// DNS queries.
    Dns,
}

impl fmt::Display for L7Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Kafka => "kafka",
            Self::Tls => "tls",
            Self::Dns => "dns",
        })
    }
}

/// The answer for one message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct L7Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// Whether it passes only because of audit mode.
    pub audited: bool,
    /// The rule that allowed it or whose deny condition matched; else all rules of the set, none of which allowed.
    pub rule: RuleId,
    /// Why it is denied, or would be without audit mode; `None` if a rule allows it.
    pub reason: Option<DenyReason>,
}

/// Conditions of one rule element, any one of which a message must meet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum FragmentRules {
    Http(Vec<HttpRule>),
    Dns(Vec<NameMatch>),
    Kafka(Vec<KafkaRule>),
    Tls(Vec<Sni>),
}

/// The L7 rules of one rule element.
#[derive(Debug)]
pub(crate) struct L7Fragment {
    /// The rule they stand in.
    pub(crate) rule: RuleId,
    pub(crate) rules: FragmentRules,
}

/// The union of all L7 rules that cover the same packets.
#[derive(Debug)]
pub struct L7RuleSet {
    kind: L7Kind,
    allow_all: bool,
    allow: Vec<Arc<L7Fragment>>,
    deny: Vec<Arc<L7Fragment>>,
    http_allow: HttpRules,
    http_deny: HttpRules,
    audit: bool,
    rule: RuleId,
}

impl L7RuleSet {
    pub(crate) fn new(
        kind: L7Kind,
        allow_all: bool,
        allow: Vec<Arc<L7Fragment>>,
        deny: Vec<Arc<L7Fragment>>,
        audit: bool,
        rule: RuleId,
    ) -> Self {
        let (http_allow, http_deny) = (HttpRules::new(&allow), HttpRules::new(&deny));
        Self { kind, allow_all, allow, deny, http_allow, http_deny, audit, rule }
    }

    /// Which parser must read the connection.
    #[must_use]
    pub fn kind(&self) -> L7Kind {
        self.kind
    }

    /// Whether denied messages are let pass and marked.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        self.audit
    }

    /// Whether every message passes that no deny condition matches.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.allow_all
    }

    /// May this request pass? What a rule allows only after header fields were changed (`mismatch: ADD`, `DELETE` or
    /// `REPLACE`) is denied as [`DenyReason::Unsupported`], unless another rule allows it: fields are not changed.
    #[must_use]
    pub fn http(&self, request: &HttpRequest<'_>) -> L7Decision {
        let decision = self.http_by(request, Reading::Allow);
        match decision.reason {
            Some(DenyReason::NoRule) => match self.http_allow.find(request, Reading::AllowRewritten) {
                Some(rule) => L7Decision { rule, reason: Some(DenyReason::Unsupported), ..decision },
                None => decision,
            },
            _ => decision,
        }
    }

    /// The same for who does change header fields, as Cilium does.
    #[must_use]
    pub fn http_rewritten(&self, request: &HttpRequest<'_>) -> L7Decision {
        self.http_by(request, Reading::AllowRewritten)
    }

    fn http_by(&self, request: &HttpRequest<'_>, reading: Reading) -> L7Decision {
        if self.kind != L7Kind::Http {
            return self.foreign();
        }
        self.answer(self.http_deny.find(request, Reading::Deny), self.http_allow.find(request, reading))
    }

    /// May this question be asked? `name` in any case, with or without the final dot.
    #[must_use]
    pub fn dns(&self, name: &str) -> L7Decision {
        self.by_fragment(
            L7Kind::Dns,
            |rules| matches!(rules, FragmentRules::Dns(list) if list.iter().any(|rule| rule.matches(name))),
        )
    }

    /// May a connection with this server name be made? `None`: the hello carries no name.
    #[must_use]
    pub fn tls(&self, server_name: Option<&str>) -> L7Decision {
        self.by_fragment(L7Kind::Tls, |rules| match (rules, server_name) {
            (FragmentRules::Tls(list), Some(name)) => list.iter().any(|rule| rule.matches(name)),
            _ => false,
        })
    }

    /// May this request pass? With several topics each one must be allowed, by whichever rule.
    #[must_use]
    pub fn kafka(&self, request: &KafkaRequest<'_>) -> L7Decision {
        if self.kind != L7Kind::Kafka {
            return self.foreign();
        }
        self.answer(kafka::denied(&self.deny, request), kafka::allowed(&self.allow, request))
    }

    /// A message of a protocol that is not the one that governs.
    fn foreign(&self) -> L7Decision {
        let reason = Some(DenyReason::NoRule);
        L7Decision { allowed: self.audit, audited: self.audit, rule: self.rule, reason }
    }

    fn by_fragment(&self, kind: L7Kind, matches: impl Fn(&FragmentRules) -> bool) -> L7Decision {
        if self.kind != kind {
            return self.foreign();
        }
        let find = |list: &[Arc<L7Fragment>]| list.iter().find(|one| matches(&one.rules)).map(|one| one.rule);
        self.answer(find(&self.deny), find(&self.allow))
    }

    fn answer(&self, denied: Option<RuleId>, allowed: Option<RuleId>) -> L7Decision {
        let allow_all = self.allow_all.then_some(self.rule);
        let (reason, rule) = match (denied, allowed.or(allow_all)) {
            (Some(rule), _) => (Some(DenyReason::DenyRule), rule),
            (None, Some(rule)) => (None, rule),
            (None, None) => (Some(DenyReason::NoRule), self.rule),
        };
        let (allowed, audited) = (reason.is_none() || self.audit, reason.is_some() && self.audit);
        L7Decision { allowed, audited, rule, reason }
    }
}

/// The L7 rule sets of a snapshot. A number is never given twice; the set behind it is gone from later snapshots once
/// no map names it, and who still holds such a number must have the connection judged again.
#[derive(Clone, Debug, Default)]
pub struct L7Table {
    /// Ascending by number.
    sets: Vec<(L7RuleSetId, Arc<L7RuleSet>)>,
    next: u32,
}

impl L7Table {
    /// The set with that number.
    #[must_use]
    pub fn get(&self, id: L7RuleSetId) -> Option<&L7RuleSet> {
        let at = self.sets.binary_search_by_key(&id.0, |(number, _)| number.0).ok()?;
        self.sets.get(at).map(|(_, set)| &**set)
    }

    /// How many sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(crate) fn push(&mut self, set: L7RuleSet) -> L7RuleSetId {
        let id = L7RuleSetId(self.next);
        self.next += 1;
        self.sets.push((id, Arc::new(set)));
        id
    }

    pub(crate) fn retain(&mut self, used: impl Fn(L7RuleSetId) -> bool) {
        self.sets.retain(|(id, _)| used(*id));
        self.sets.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
