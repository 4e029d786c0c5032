//! L7 rule sets: what a message must satisfy on a connection that policy redirects to inspection.

use crate::provenance::RuleId;
use crate::verdict::L7RuleSetId;
use core::fmt;
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

/// The L7 rules of one rule element.
#[derive(Debug)]
pub(crate) struct L7Fragment {
    /// The rule they stand in.
    pub(crate) rule: RuleId,
}

/// The union of all L7 rules that cover the same packets.
#[derive(Debug)]
pub struct L7RuleSet {
    kind: L7Kind,
    allow_all: bool,
    allow: Vec<Arc<L7Fragment>>,
    deny: Vec<Arc<L7Fragment>>,
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
        Self { kind, allow_all, allow, deny, audit, rule }
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
}

/// The L7 rule sets of a snapshot. A number keeps its meaning for the life of the process.
#[derive(Clone, Debug, Default)]
pub struct L7Table {
    sets: Vec<Arc<L7RuleSet>>,
}

impl L7Table {
    /// The set with that number.
    #[must_use]
    pub fn get(&self, id: L7RuleSetId) -> Option<&L7RuleSet> {
        self.sets.get(id.0 as usize).map(|set| &**set)
    }

    pub(crate) fn push(&mut self, set: L7RuleSet) -> L7RuleSetId {
        self.sets.push(Arc::new(set));
        L7RuleSetId(self.sets.len() as u32 - 1)
    }
}
