//! Hubble's gRPC API: where it is served.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Hubble's gRPC API.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Hubble {
    /// Path of the Unix socket; empty: none.
    pub socket: PathBuf,
}

impl Hubble {
    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}
