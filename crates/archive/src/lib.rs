//! Flow records that leave memory: exporters, and the history on disk.
//!
//! Both read the flow log like any other reader, each on a thread of its own. One that is slow loses records and
//! counts them; neither can hold up the worker or the flow log.

#![forbid(unsafe_code)]

pub mod export;
pub mod history;
mod metric;

pub use metric::{Metric, to_text};
