//! Which records an observer sees: Hubble's `FlowFilter`, its JSON and its logic.
//!
//! Within one filter every field that is set must match (AND); within one field any value may (OR). A record passes if
//! any filter of the allow list matches (or the list is empty) and none of the deny list does. Filters come from
//! clients, so a field that we do not know is an error and not an open door.

mod build;
mod error;
mod flow_filter;
mod json;
mod matching;
mod message;
mod pattern;
mod peer;
mod protocol;

pub use build::{FilterBuilder, TypeArgument};
pub use error::FilterError;
pub use flow_filter::{EventTypeFilter, Experimental, FlowFilter, HeaderFilter, InterfaceFilter};

use crate::record::Record;
use serde::{Deserialize, Serialize};

/// Longest list in a filter, and most filters in a list: far above what people type, and bounds the work a client can
/// ask for per record.
pub const MAX_ENTRIES: usize = 256;

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

impl TryFrom<(Vec<FlowFilter>, Vec<FlowFilter>)> for Filters {
    type Error = FilterError;

    fn try_from((allow, deny): (Vec<FlowFilter>, Vec<FlowFilter>)) -> Result<Self, FilterError> {
        Self::from_lists(allow, deny)
    }
}

/// Filters made ready to run: selectors, networks and ports parsed once.
#[derive(Clone, Debug, Default)]
pub struct CompiledFilters {
    allow: Vec<matching::Compiled>,
    deny: Vec<matching::Compiled>,
}

impl Filters {
    /// Filters from lists, checked.
    ///
    /// # Errors
    ///
    /// A field that is not one we can honour or a value that cannot be read, by name: nothing is ignored.
    pub fn from_lists(allow: Vec<FlowFilter>, deny: Vec<FlowFilter>) -> Result<Self, FilterError> {
        let filters = Self { allowlist: allow, denylist: deny };
        filters.compile()?;
        Ok(filters)
    }

    /// Whether everything is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allowlist.is_empty() && self.denylist.is_empty()
    }

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
