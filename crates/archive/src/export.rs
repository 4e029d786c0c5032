//! Exporters: records as JSON lines in files, on standard output, at a syslog receiver.
//!
//! ```text
//!             ┌─▶ reader ─ filters ─ redaction ─ mask ─▶ file ─ rotated ─ compressed
//!  flow log ──┼─▶ reader ─ …                           ─▶ stdout
//!             └─▶ reader ─ …                           ─▶ syslog
//! ```
//!
//! Each exporter is a reader of the flow log like any other, on a thread of its own. One whose target is slow or full
//! keeps what it has and tries again; it loses what the flow log overwrites meanwhile, counts it, and holds nobody up.
//! A new file is put in force as a whole or not at all, and exporters that it leaves as they were go on undisturbed.

pub mod config;
mod file;
mod line;
mod redact;
mod stats;
mod syslog;
mod target;
#[cfg(test)]
mod tests;
mod worker;

pub use config::{ConfigError, ExportConfig};
pub use file::{FileOptions, RotatingFile};
pub use line::{Lines, Render, RenderError};
pub use redact::REDACTED;
pub use stats::{Report, Snapshot};
pub use target::Target;

use config::{FlowLog, Redact};
use flowlog::Store;
use flowlog::store::Cursor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use worker::{Setup, Worker};

/// How long an exporter that is asked to end may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// All exporters of a node.
#[derive(Debug)]
pub struct Exporters {
    store: Arc<Store>,
    node: String,
    /// Held while exporters are changed, which may take as long as their targets do.
    changing: Mutex<()>,
    /// Held for moments: who asks how things are does not wait for targets.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: BTreeMap<String, Running>,
    reconfigurations: [u64; 3],
    config_hash: u64,
    last_applied: i64,
    /// What is wrong with the newest file.
    error: Option<String>,
}

#[derive(Debug)]
struct Running {
    settings: (FlowLog, Redact),
    worker: Worker,
}

impl Exporters {
    /// None yet. `node` names this node to syslog receivers.
    #[must_use]
    pub fn new(store: Arc<Store>, node: &str) -> Self {
        Self { store, node: node.to_owned(), changing: Mutex::default(), inner: Mutex::default() }
    }

    /// Puts the text of a file in force; `None` where there is no file.
    ///
    /// # Errors
    ///
    /// What is wrong with it; then everything stays as it was.
    pub fn apply(&self, text: Option<&str>) -> Result<(), ConfigError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let config = match ExportConfig::parse(text.unwrap_or_default()) {
            Ok(config) => config,
            Err(error) => {
                self.lock().error = Some(format!("{}:{error}", config::FILE));
                return Err(error);
            }
        };
        let mut inner = self.lock();
        // The first exporters also get what came before them; later ones begin with what comes.
        let begin = if inner.last_applied == 0 { self.store.oldest() } else { self.store.newest() };
        inner.error = None;
        inner.config_hash = hash(text.unwrap_or_default());
        inner.last_applied = jiff::Timestamp::now().as_second();
        let stale: Vec<String> = inner
            .running
            .iter()
            .filter(|(name, running)| {
                let wanted = config.flow_logs.iter().find(|log| log.name.as_str() == **name);
                wanted.is_none_or(|log| running.settings != settings(&config, log))
            })
            .map(|(name, _)| name.clone())
            .collect();
        let stopped: Vec<_> =
            stale.into_iter().filter_map(|name| inner.running.remove_entry(&name)).collect();
        let new: Vec<&FlowLog> =
            config.flow_logs.iter().filter(|log| !inner.running.contains_key(log.name.as_str())).collect();
        drop(inner);
        // All are asked before any is waited for.
        stopped.iter().for_each(|(_, running)| running.worker.ask());
        let mut left: BTreeMap<String, Option<Cursor>> =
            stopped.into_iter().map(|(name, running)| (name, running.worker.finish(PATIENCE))).collect();
        for log in new {
            let name = log.name.as_str();
            // One that was changed goes on where it was.
            let (op, from) = match left.remove(name) {
                Some(cursor) => (1, cursor.unwrap_or(begin)),
                None => (0, begin),
            };
            let started = self.start(&config, log, from);
            let mut inner = self.lock();
            match started {
                Ok(worker) => {
                    let running = Running { settings: settings(&config, log), worker };
                    inner.running.insert(name.to_owned(), running);
                    inner.reconfigurations[op] += 1;
                }
                Err(error) => inner.error = Some(format!("exporter {name}: {error}")),
            }
        }
        self.lock().reconfigurations[2] += left.len() as u64;
        Ok(())
    }

    fn start(&self, config: &ExportConfig, log: &FlowLog, from: Cursor) -> std::io::Result<Worker> {
        let target: Box<dyn Target> = match (&log.file_path, &log.syslog) {
            (Some(config::Target::File(path)), _) => Box::new(RotatingFile::new(FileOptions {
                path: path.clone(),
                max_bytes: u64::from(log.file_max_size_mb) * 1_000_000,
                max_backups: log.file_max_backups as usize,
                compress: log.file_compress,
            })),
            (None, Some(receiver)) => Box::new(syslog::SyslogTarget::new(receiver, &self.node)),
            (Some(config::Target::Stdout), _) | (None, None) => Box::new(target::Stdout::default()),
        };
        Worker::start(Setup {
            name: log.name.to_string(),
            store: Arc::clone(&self.store),
            from,
            render: Render::new(config, log).map_err(std::io::Error::other)?,
            target,
            end: log.end.map(|end| end.0),
        })
    }

    /// Notes that there is a file which cannot be read; what is in force stays.
    pub fn refuse(&self, error: String) {
        self.lock().error = Some(error);
    }

    /// What is not as it should be, for people: the file first, then exporters whose target refuses lines.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let inner = self.lock();
        let file = inner.error.iter().cloned();
        let exporters = inner.running.iter().filter_map(|(name, running)| {
            let error = running.worker.stats().snapshot(name).error?;
            Some(format!("exporter {name}: {error}"))
        });
        file.chain(exporters).collect()
    }

    /// Counters.
    #[must_use]
    pub fn report(&self) -> Report {
        let inner = self.lock();
        Report {
            exporters: inner
                .running
                .iter()
                .map(|(name, running)| running.worker.stats().snapshot(name))
                .collect(),
            reconfigurations: inner.reconfigurations,
            config_hash: inner.config_hash,
            config_last_applied: inner.last_applied,
        }
    }

    /// Ends all exporters once they have written what there is.
    pub fn stop(&self) {
        let running = std::mem::take(&mut self.lock().running);
        running.values().for_each(|running| running.worker.ask());
        for running in running.into_values() {
            // One that hangs is left behind.
            let _ = running.worker.finish(PATIENCE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.stop();
    }
}

fn settings(config: &ExportConfig, log: &FlowLog) -> (FlowLog, Redact) {
    (log.clone(), log.redact.as_ref().unwrap_or(&config.redact).clone())
}

/// The same for the same text, on every machine; 48 bits, which Prometheus' numbers hold exactly.
fn hash(text: &str) -> u64 {
    let (head, tail) = text.as_bytes().split_at(text.len() / 2);
    u64::from(crc32c::crc32c(head)) << 16 ^ u64::from(crc32c::crc32c(tail))
}
