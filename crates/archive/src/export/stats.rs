//! Counters of exporters.

use crate::metric::Metric;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one exporter.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Lines that reached the target.
    pub(super) written: AtomicU64,
    /// Records that were gone from memory before this exporter came to them.
    pub(super) lost: AtomicU64,
    /// Attempts that the target refused.
    pub(super) failed: AtomicU64,
    /// Lines that the target will never take.
    pub(super) refused: AtomicU64,
    /// Whether it works towards its target (not ended, not stopped).
    pub(super) active: AtomicBool,
    /// What keeps lines from going on.
    error: Mutex<Option<String>>,
}

/// Counters of one exporter at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Whether it is active: not past its `end`.
    pub active: bool,
    /// Lines that reached the target.
    pub written: u64,
    /// Records that were gone from memory before this exporter came to them.
    pub lost: u64,
    /// Attempts that the target refused.
    pub failed: u64,
    /// Lines that the target will never take, as a datagram that is too long.
    pub refused: u64,
    /// What keeps lines from going on, if anything does.
    pub error: Option<String>,
}

impl Stats {
    pub(super) fn snapshot(&self, name: &str) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            name: name.to_owned(),
            active: self.active.load(Ordering::Relaxed),
            written: read(&self.written),
            lost: read(&self.lost),
            failed: read(&self.failed),
            refused: read(&self.refused),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Says or takes back what is wrong; answers whether that is new.
    pub(super) fn set_error(&self, error: Option<String>) -> bool {
        let mut current = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *current != error;
        *current = error;
        new
    }
}

/// What the set of exporters says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Each exporter, by name.
    pub exporters: Vec<Snapshot>,
    /// Exporters started, changed and stopped by a new file.
    pub reconfigurations: [u64; 3],
    /// A number that changes with the file in force.
    pub config_hash: u64,
    /// When that file was put in force, in seconds since 1970; 0 before the first.
    pub config_last_applied: i64,
}

impl Report {
    /// As metrics: Hubble's of dynamic exporters, and ours.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let active = self.exporters.iter().filter(|exporter| exporter.active).count() as u64;
        let inactive = self.exporters.len() as u64 - active;
        let of_each = |name, help, counts: bool, value: fn(&Snapshot) -> u64| {
            let values = self.exporters.iter().map(|e| (Some(("name", e.name.clone())), value(e))).collect();
            Metric { name, help, counts, values }
        };
        let labelled = |name, help, counts, label: &'static str, values: &[(&str, u64)]| Metric {
            name,
            help,
            counts,
            values: values.iter().map(|(text, value)| (Some((label, (*text).to_owned())), *value)).collect(),
        };
        let [added, updated, removed] = self.reconfigurations;
        let applied = u64::try_from(self.config_last_applied).unwrap_or(0);
        vec![
            labelled(
                "hubble_dynamic_exporter_exporters_total",
                "Exporters by status.",
                false,
                "status",
                &[("active", active), ("inactive", inactive)],
            ),
            of_each(
                "hubble_dynamic_exporter_up",
                "Whether an exporter is active and its target takes lines.",
                false,
                |e| u64::from(e.active && e.error.is_none()),
            ),
            labelled(
                "hubble_dynamic_exporter_reconfigurations_total",
                "Exporters changed by a new file.",
                true,
                "op",
                &[("add", added), ("update", updated), ("remove", removed)],
            ),
            Metric::gauge(
                "hubble_dynamic_exporter_config_hash",
                "Number of the file in force.",
                self.config_hash,
            ),
            Metric::gauge(
                "hubble_dynamic_exporter_config_last_applied",
                "When the file was put in force, in seconds since 1970.",
                applied,
            ),
            of_each("sluice_exporter_records_total", "Records written.", true, |e| e.written),
            of_each(
                "sluice_exporter_lost_records_total",
                "Records gone before the exporter came to them.",
                true,
                |e| e.lost,
            ),
            of_each("sluice_exporter_failures_total", "Attempts that the target refused.", true, |e| {
                e.failed
            }),
            of_each(
                "sluice_exporter_refused_records_total",
                "Records that the target never takes.",
                true,
                |e| e.refused,
            ),
        ]
    }
}
