//! What the page asks of the node service.

use flowlog::Record;
use flowlog::api::Past;
use flowlog::record::Rule;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Answers what flow records alone do not say. Calls may take long; they come from threads of their own, few at a time.
pub trait Node: Send + Sync {
    /// Health of the node, as `sluice status -o json` has it.
    fn status(&self) -> Value;

    /// Both sides of a flow, rule by rule.
    ///
    /// # Errors
    /// Why it cannot be explained, for people.
    fn explain(&self, record: &Record) -> Result<Vec<SideExplanation>, String>;

    /// Policy documents (YAML) that allow these flows.
    ///
    /// # Errors
    /// Why there are none, for people.
    fn suggest(&self, flows: &[Arc<Record>]) -> Result<String, String>;

    /// Records beyond those in memory, where somebody keeps them.
    fn past(&self) -> Option<&dyn Past> {
        None
    }
}

/// One side of a flow and what its policy says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SideExplanation {
    /// `ingress` or `egress`.
    pub direction: String,
    /// Who is protected: `namespace/name`.
    pub subject: String,
    /// `allowed`, `denied` or `audited`.
    pub verdict: String,
    /// The rules behind it.
    pub decided_by: Vec<Rule>,
    /// Every rule that speaks about this direction of the subject.
    pub considered: Vec<Considered>,
    /// What to change for the opposite answer.
    pub change: String,
}

/// A rule that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Considered {
    /// Where it stands.
    pub rule: Rule,
    /// Whether it covers the flow.
    pub matches: bool,
    /// How it fits, in words.
    pub outcome: String,
}
