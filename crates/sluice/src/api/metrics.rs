//! Metrics for the API socket: what the endpoint serves, in Prometheus' text format.

use crate::run::shared::Shared;
use anyhow::Result;
use flowlog::metrics::Format;

/// All metrics of the node.
///
/// # Errors
/// When the worker does not answer.
pub fn text(shared: &Shared) -> Result<String> {
    crate::metrics::text(shared, Format::Text)
}
