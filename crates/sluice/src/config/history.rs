//! The history on disk: where, how long, how large.

use super::value::Span;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The history on disk.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct History {
    /// Folder of the store; empty: no history.
    pub dir: PathBuf,
    /// Most that it takes on the disk, in MiB.
    #[serde(rename = "maxSizeMiB")]
    pub max_size_mib: u32,
    /// Age at which records go.
    pub max_age: Span,
}

impl Default for History {
    fn default() -> Self {
        Self { dir: PathBuf::new(), max_size_mib: 1024, max_age: Span::secs(7 * 86_400) }
    }
}

impl History {
    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.dir.as_os_str().is_empty() && !self.dir.is_absolute() {
            return Err(("history.dir", "must be an absolute path".into()));
        }
        if u64::from(self.max_size_mib) << 20 < archive::history::MIN_BYTES {
            let least = archive::history::MIN_BYTES >> 20;
            return Err(("history.maxSizeMiB", format!("must be at least {least}")));
        }
        if self.max_age.get() < Duration::from_secs(60) {
            return Err(("history.maxAge", "must be at least 1m".into()));
        }
        Ok(())
    }
}
