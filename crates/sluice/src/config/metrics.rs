//! Metrics: where they are served, and which are made of flows.

use flowlog::metrics::{DEFAULT_MAX_SERIES, MetricsConfig, config::DEFAULT};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Metrics.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Metrics {
    /// Address and port; empty: not served (the API socket answers `sluice metrics` all the same).
    pub listen: String,
    /// Series that each metric about flows may have.
    pub max_series: usize,
    /// Metrics with Hubble's names.
    pub hubble: HubbleMetrics,
}

/// Metrics with Hubble's names.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HubbleMetrics {
    /// Plugins with their options, as Cilium's `hubble.metrics.enabled` has them.
    pub enabled: Vec<String>,
}

impl Default for HubbleMetrics {
    fn default() -> Self {
        Self { enabled: DEFAULT.map(str::to_owned).to_vec() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: String::new(), max_series: DEFAULT_MAX_SERIES, hubble: HubbleMetrics::default() }
    }
}

impl Metrics {
    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.listen.is_empty() && self.address().is_none() {
            let written = &self.listen;
            return Err((
                "metrics.listen",
                format!("`{written}` is no address and port; write one as in 127.0.0.1:9965 or [::1]:9965"),
            ));
        }
        if !(16..=1_000_000).contains(&self.max_series) {
            return Err(("metrics.maxSeries", "must be from 16 to 1000000".into()));
        }
        let plugins = MetricsConfig::parse(&self.hubble.enabled);
        plugins.map(|_| ()).map_err(|error| ("metrics.hubble.enabled", error.to_string()))
    }
}
