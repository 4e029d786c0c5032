//! Which records an observer sees: Hubble's `FlowFilter`, its JSON and its logic.
//!
//! Within one filter every field that is set must match (AND); within one field any value may (OR). A record passes if
//! any filter of the allow list matches (or the list is empty) and none of the deny list does. Filters come from
//! clients, so a field that we do not know is an error and not an open door.

mod build;
mod matching;
mod message;

pub use build::{FilterBuilder, FilterError, TypeArgument};

use crate::record::{IpVersion, Record, TcpFlagSet, TrafficDirection, Verdict};
use serde::{Deserialize, Serialize};

/// Longest list in a filter, and most filters in a list: far above what people type, and bounds the work a client can
/// ask for per record.
pub const MAX_ENTRIES: usize = 256;

/// One filter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Record names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uuid: Vec<String>,
    /// Source address or CIDR.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ip: Vec<String>,
    /// Source pod, `namespace/prefix`; `namespace/` is all of it, `/prefix` any namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_pod: Vec<String>,
    /// Label selector on the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_label: Vec<String>,
    /// Destination address or CIDR.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ip: Vec<String>,
    /// Destination pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_pod: Vec<String>,
    /// Label selector on the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_label: Vec<String>,
    /// Verdicts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<Verdict>,
    /// Names of drop reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_reason_desc: Vec<String>,
    /// Kinds of event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_type: Vec<EventTypeFilter>,
    /// Protocol names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<String>,
    /// Source ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_port: Vec<String>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_port: Vec<String>,
    /// Replies or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reply: Vec<bool>,
    /// Identities of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_identity: Vec<u32>,
    /// Identities of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_identity: Vec<u32>,
    /// Sets of TCP flags; all flags of one set must be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp_flags: Vec<TcpFlagSet>,
    /// Nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_name: Vec<String>,
    /// IP versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_version: Vec<IpVersion>,
    /// Directions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic_direction: Vec<TrafficDirection>,
    /// DNS names of the source; `*` is any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_fqdn: Vec<String>,
    /// DNS names of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_fqdn: Vec<String>,
    /// Regular expressions on the name asked for over DNS, the final dot included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_query: Vec<String>,
    /// HTTP status codes: `404`, or `5+` for all that start so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_status_code: Vec<String>,
    /// HTTP methods, in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_method: Vec<String>,
    /// Regular expressions on the path, without the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_path: Vec<String>,
    /// Regular expressions on the whole URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_url: Vec<String>,
    /// Header fields that were kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_header: Vec<HeaderFilter>,
}

/// A header field with exactly this value.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderFilter {
    /// Name, in any case.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A kind of event, perhaps with a sub-type.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventTypeFilter {
    /// See [`message_type`](crate::record::message_type).
    #[serde(rename = "type")]
    pub kind: i32,
    /// Whether the sub-type counts.
    pub match_sub_type: bool,
    /// The sub-type.
    pub sub_type: i32,
}

/// What to show and what to hide.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filters {
    /// A record must match one of these; an empty list matches everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowlist: Vec<FlowFilter>,
    /// A record that matches one of these is hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denylist: Vec<FlowFilter>,
}

/// Filters made ready to run: selectors, networks and ports parsed once.
#[derive(Clone, Debug, Default)]
pub struct CompiledFilters {
    allow: Vec<matching::Compiled>,
    deny: Vec<matching::Compiled>,
}

impl Filters {
    /// Checks every value and makes the filters ready to run.
    ///
    /// # Errors
    ///
    /// A value that cannot be read, or more than [`MAX_ENTRIES`] of them.
    pub fn compile(&self) -> Result<CompiledFilters, FilterError> {
        if self.allowlist.len() > MAX_ENTRIES || self.denylist.len() > MAX_ENTRIES {
            return Err(FilterError::TooMany);
        }
        let both = self.allowlist.iter().chain(&self.denylist);
        if both.map(message::count_expressions).sum::<usize>() > message::MAX_EXPRESSIONS {
            return Err(FilterError::TooMany);
        }
        let compile =
            |list: &[FlowFilter]| list.iter().map(matching::Compiled::new).collect::<Result<Vec<_>, _>>();
        Ok(CompiledFilters { allow: compile(&self.allowlist)?, deny: compile(&self.denylist)? })
    }
}

impl CompiledFilters {
    /// Whether the observer sees `record`.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|f| f.matches(record)))
            && !self.deny.iter().any(|f| f.matches(record))
    }
}

#[cfg(test)]
mod tests;
