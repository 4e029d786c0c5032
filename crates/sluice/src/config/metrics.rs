//! The Prometheus endpoint: where it is served.

use serde::{Deserialize, Serialize};

/// The Prometheus endpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Metrics {
    /// Address and port; empty: not served (the API socket answers `sluice metrics` all the same).
    pub listen: String,
}

impl Metrics {
    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}
