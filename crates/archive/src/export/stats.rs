//! Counters of exporters, and their text for Prometheus.

use std::fmt::Write as _;
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
    /// Prometheus' text format: Hubble's metrics of dynamic exporters, and ours.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = String::new();
        let head = |page: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let active = self.exporters.iter().filter(|exporter| exporter.active).count();
        let name = "hubble_dynamic_exporter_exporters_total";
        head(&mut page, name, "gauge", "Exporters by status");
        for (status, count) in [("active", active), ("inactive", self.exporters.len() - active)] {
            let _ = writeln!(page, "{name}{{status=\"{status}\"}} {count}");
        }
        let name = "hubble_dynamic_exporter_up";
        head(&mut page, name, "gauge", "Whether an exporter is active and its target takes lines");
        for exporter in &self.exporters {
            let up = u8::from(exporter.active && exporter.error.is_none());
            // Names are checked when the file is read: nothing in them needs escaping.
            let _ = writeln!(page, "{name}{{name=\"{}\"}} {up}", exporter.name);
        }
        let name = "hubble_dynamic_exporter_reconfigurations_total";
        head(&mut page, name, "counter", "Exporters changed by a new file");
        for (op, count) in ["add", "update", "remove"].into_iter().zip(self.reconfigurations) {
            let _ = writeln!(page, "{name}{{op=\"{op}\"}} {count}");
        }
        let name = "hubble_dynamic_exporter_config_hash";
        head(&mut page, name, "gauge", "Number of the file in force");
        let _ = writeln!(page, "{name} {}", self.config_hash);
        let name = "hubble_dynamic_exporter_config_last_applied";
        head(&mut page, name, "gauge", "When the file was put in force, in seconds since 1970");
        let _ = writeln!(page, "{name} {}", self.config_last_applied);
        let counters: [(&str, &str, fn(&Snapshot) -> u64); 4] = [
            ("sluice_exporter_records_total", "Records written", |s| s.written),
            ("sluice_exporter_lost_records_total", "Records gone before the exporter came to them", |s| {
                s.lost
            }),
            ("sluice_exporter_failures_total", "Attempts that the target refused", |s| s.failed),
            ("sluice_exporter_refused_records_total", "Records that the target never takes", |s| s.refused),
        ];
        for (name, help, value) in counters {
            head(&mut page, name, "counter", help);
            for exporter in &self.exporters {
                let _ = writeln!(page, "{name}{{name=\"{}\"}} {}", exporter.name, value(exporter));
            }
        }
        page
    }
}
