//! What survives a restart: identity numbers and established connections in one file, names from DNS in another.
//!
//! Written on clean exit and every few seconds; taken from the workers in bounded pieces, so that no packet waits for
//! it, and replaced whole, so that a crash leaves the last version. A file that cannot be read is left alone and
//! costs what it held, never the start.

mod connection;
mod names;

use super::rules::Rules;
use super::shared::Shared;
use super::worker::NodeWorker;
use crate::config::State;
use anyhow::{Context as _, Result, ensure};
use connection::SavedConnection;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use datapath::conntrack::ConnState;
use names::NamesFile;
use policy::IdentityState;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Version of the format; another one is not read.
const VERSION: u32 = 1;

/// Name of the file in the state folder.
const FILE: &str = "state.json";

/// Connections given to the workers at a time: some microseconds of their time.
const CHUNK: usize = 256;

/// Connections saved at most.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Rest after saving, in multiples of the time it took.
const IDLE_SHARE: u32 = 20;

/// Largest file that is read back.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    version: u32,
    identities: IdentityState,
    connections: Vec<SavedConnection>,
}

/// The state file.
pub struct StateFile {
    path: PathBuf,
    loaded: Option<Saved>,
    names: NamesFile,
    failed: bool,
}

impl StateFile {
    /// Reads what an earlier process left; `None` when nothing is to be kept.
    #[must_use]
    pub fn open(settings: &State) -> Option<Self> {
        if settings.dir.as_os_str().is_empty() {
            return None;
        }
        let path = settings.dir.join(FILE);
        let loaded = match read(&path) {
            Ok(saved) => saved,
            Err(error) => {
                tracing::warn!(file = %path.display(), "saved state is not used: {error:#}");
                None
            }
        };
        Some(Self { path, loaded, names: NamesFile::open(&settings.dir), failed: false })
    }

    /// Removes the files.
    ///
    /// # Errors
    /// When one exists and cannot be removed.
    pub fn remove(settings: &State) -> Result<()> {
        let removed = [std::fs::remove_file(settings.dir.join(FILE)), NamesFile::remove(&settings.dir)];
        removed.into_iter().try_for_each(|outcome| match outcome {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove saved state")
            }
            _ => Ok(()),
        })
    }

    /// Gives the engine the names from DNS back, as far as they have not ended by `now`.
    pub fn restore_names(&mut self, rules: &mut Rules, now: u64) {
        self.names.restore(rules, now);
    }

    /// Gives the engine its identity numbers back.
    pub fn restore_identities(&mut self, rules: &mut Rules) {
        if let Some(saved) = &self.loaded {
            rules.engine_mut().import_identities(&saved.identities);
        }
    }

    /// Whether there are connections to restore.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        self.loaded.as_ref().is_some_and(|saved| !saved.connections.is_empty())
    }

    /// Gives the workers their connections back, as far as both ends are still there.
    pub fn restore_connections(&mut self, shared: &Shared) {
        let Some(saved) = self.loaded.take() else { return };
        let snapshot = shared.snapshot.load_full();
        let total = saved.connections.len();
        let states: Vec<_> = saved.connections.iter().filter_map(|saved| saved.restore(&snapshot)).collect();
        let mut restored = 0;
        for chunk in states.chunks(CHUNK) {
            let chunk: Arc<[ConnState]> = chunk.into();
            let import = move |worker: &mut NodeWorker, now| {
                let own = chunk.iter().filter(|state| worker.owns(&state.key));
                let own: Vec<&ConnState> = own.collect();
                own.into_iter().filter(|state| worker.conntrack_mut().import(state, now).is_ok()).count()
            };
            match shared.workers.ask_each(import) {
                Ok(counts) => restored += counts.iter().sum::<usize>(),
                Err(error) => {
                    tracing::warn!("connections are not restored: {error:#}");
                    return;
                }
            }
        }
        tracing::info!(restored, total, "connections restored");
    }

    /// Writes the files; `last` says that there will be no other time. Failure is reported once and tried again next
    /// time.
    pub fn save(&mut self, shared: &Shared, last: bool) {
        let outcome = self.write(shared).and(self.names.save(shared, last));
        match outcome {
            Err(error) if !self.failed => {
                tracing::warn!(file = %self.path.display(), "state is not saved: {error:#}");
                self.failed = true;
            }
            Err(_) => {}
            Ok(()) => self.failed = false,
        }
    }

    fn write(&self, shared: &Shared) -> Result<()> {
        let saved = Saved {
            version: VERSION,
            identities: IdentityState::clone(&shared.identities()),
            connections: connections(shared)?,
        };
        let folder = self.path.parent().context("the state file has no folder")?;
        std::fs::create_dir_all(folder).context("make the state folder")?;
        let new = self.path.with_extension("json.new");
        let _ = std::fs::remove_file(&new);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .context("create")?;
        let mut writer = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut writer, &saved).context("write")?;
        std::io::Write::flush(&mut writer).context("write")?;
        std::fs::rename(&new, &self.path).context("replace")
    }
}

/// The thread that saves now and then.
pub struct Saver {
    thread: std::thread::JoinHandle<StateFile>,
    stop: Sender<()>,
}

impl Saver {
    /// Saves every `interval`, and less often when saving takes long.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(mut file: StateFile, shared: Arc<Shared>, interval: Duration) -> Result<Self> {
        let (stop, stopped) = bounded(1);
        let work = move || {
            let mut pause = interval;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let begun = Instant::now();
                file.save(&shared, false);
                pause = interval.max(begun.elapsed() * IDLE_SHARE);
            }
            file
        };
        let thread =
            std::thread::Builder::new().name("state".into()).spawn(work).context("start saving state")?;
        Ok(Self { thread, stop })
    }

    /// Saves a last time.
    pub fn finish(self, shared: &Shared) {
        drop(self.stop);
        if let Ok(mut file) = self.thread.join() {
            file.save(shared, true);
        }
    }
}

/// The workers' connections, as far as they are worth saving.
fn connections(shared: &Shared) -> Result<Vec<SavedConnection>> {
    let mut all = Vec::new();
    shared.workers.connections(SavedConnection::new, |piece| {
        all.extend(piece);
        Ok(if all.len() < MAX_CONNECTIONS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(all)
}

fn read(path: &std::path::Path) -> Result<Option<Saved>> {
    let size = match std::fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("look at the file"),
    };
    ensure!(size <= MAX_BYTES, "larger than {MAX_BYTES} bytes");
    let file = std::fs::File::open(path).context("open")?;
    let saved: Saved = serde_json::from_reader(std::io::BufReader::new(file)).context("read")?;
    ensure!(saved.version == VERSION, "version {} is not {VERSION}", saved.version);
    Ok(Some(saved))
}
