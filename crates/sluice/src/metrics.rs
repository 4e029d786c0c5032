//! Metrics of the node: what is asked of its parts, how it is written, where it is served.
//!
//! ```text
//!   sample   one look at every part        ─┐
//!   flows    counters made of events        ├─▶ page ─▶ HTTP endpoint · `sluice metrics`
//!   process  what the system says about us ─┘
//! ```

pub mod page;
pub mod plugins;
pub mod process;
pub mod sample;
pub mod server;

use crate::run::shared::Shared;
use anyhow::Result;
use flowlog::metrics::{Format, Page};
use sample::Sample;

/// Everything, in that format.
///
/// # Errors
/// When the worker does not answer.
pub fn text(shared: &Shared, format: Format) -> Result<String> {
    let sample = Sample::take(shared)?;
    // Copied, so that the thread that counts does not wait while this one writes.
    let mut flows = shared.flows.metrics().clone();
    flows.set_lost(sample.events_shed);
    let mut page = Page::new(format);
    page::write(&sample, &mut page);
    flows.write(&mut page);
    for metric in shared.flows.archive().map(crate::export::Archive::metrics).unwrap_or_default() {
        let kind =
            if metric.counts { flowlog::metrics::Kind::Counter } else { flowlog::metrics::Kind::Gauge };
        page.head(metric.name, kind, metric.help);
        for (label, value) in &metric.values {
            let label = label.as_ref().map(|(key, text)| (*key, text.as_str()));
            page.value(label.as_slice(), value);
        }
    }
    Ok(page.finish())
}
