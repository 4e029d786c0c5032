//! Metrics as values: whoever serves them knows the format.

use std::fmt::Write as _;

/// One metric and its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name; of a counter with its `_total`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Whether it only grows.
    pub counts: bool,
    /// Values, each with a label if there are several. Labels hold nothing that needs escaping.
    pub values: Vec<(Option<(&'static str, String)>, u64)>,
}

impl Metric {
    pub(crate) fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, counts: true, values: vec![(None, value)] }
    }

    pub(crate) fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, counts: false, values: vec![(None, value)] }
    }
}

/// Prometheus' text format.
#[must_use]
pub fn to_text(metrics: &[Metric]) -> String {
    let mut page = String::new();
    for Metric { name, help, counts, values } in metrics {
        let kind = if *counts { "counter" } else { "gauge" };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (label, value) in values {
            let _ = match label {
                Some((key, text)) => writeln!(page, "{name}{{{key}=\"{text}\"}} {value}"),
                None => writeln!(page, "{name} {value}"),
            };
        }
    }
    page
}
