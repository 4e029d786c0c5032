//! The history on disk: where, how long, how large.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The history on disk.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct History {
    /// Folder of the store; empty: no history.
    pub dir: PathBuf,
}

impl History {
    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}
