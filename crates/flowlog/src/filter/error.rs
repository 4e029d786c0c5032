//! What is wrong with a filter.

/// A filter that cannot be honoured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a value of that flag.
    #[error("invalid value {value:?} for --{flag}")]
    Value {
        /// The flag, without dashes.
        flag: String,
        /// What was given.
        value: String,
    },
    /// Flags that contradict each other.
    #[error("filters --{0} and --{1} cannot be combined")]
    Conflict(String, String),
    /// No such flag.
    #[error("unknown filter --{0}")]
    Unknown(String),
    /// A field of Hubble's that we cannot honour.
    #[error("the filter {field} is not supported; {instead}")]
    Unsupported {
        /// The field by its name in JSON.
        field: &'static str,
        /// What to use.
        instead: &'static str,
    },
    /// Not a filter's JSON.
    #[error("{0}")]
    Json(String),
    /// Beyond [`MAX_ENTRIES`](super::MAX_ENTRIES).
    #[error("too many filters")]
    TooMany,
}

impl FilterError {
    pub(super) fn value(flag: &str, value: &str) -> Self {
        Self::Value { flag: flag.to_owned(), value: value.to_owned() }
    }
}
