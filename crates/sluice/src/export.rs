//! Records that leave memory: starts exporters and history, and keeps the exporters in line with their file.

use crate::config::Config;
use crate::run::files::read_text;
use anyhow::{Context as _, Result};
use archive::Metric;
use archive::export::Exporters;
use archive::export::config::FILE;
use archive::history::History;
use flowlog::Store;
use notify::{RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Largest file of exporters that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Quiet time after an event before the file is read: editors and volume updates make several.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Exporters, and the history if there is one.
#[derive(Debug)]
pub struct Archive {
    exporters: Exporters,
    history: Option<History>,
    file: PathBuf,
}

impl Archive {
    /// Starts what is configured. A wrong file of exporters is no reason not to start: it is an error in force.
    ///
    /// # Errors
    /// When the folder of the history cannot be used.
    pub fn start(config: &Config, dir: &Path, node: &str, store: &Arc<Store>) -> Result<Self> {
        let history = crate::history::start(&config.history, store)?;
        let exporters = Exporters::new(Arc::clone(store), node);
        let archive = Self { exporters, history, file: dir.join(FILE) };
        archive.reload();
        Ok(archive)
    }

    /// Reads the file of exporters again and puts it in force if it is right.
    pub fn reload(&self) {
        let text = match self.file.try_exists() {
            Ok(false) => None,
            _ => match read_text(&self.file, MAX_BYTES) {
                Ok(text) => Some(text),
                Err(error) => {
                    let error = format!("{FILE}: {error:#}");
                    tracing::error!("{error}; exporters stay as they are");
                    self.exporters.refuse(error);
                    return;
                }
            },
        };
        match self.exporters.apply(text.as_deref()) {
            Ok(()) => tracing::debug!(exporters = self.exporters.report().exporters.len(), "{FILE} in force"),
            Err(error) => tracing::error!("{FILE}:{error}; exporters stay as they are"),
        }
    }

    /// The history.
    #[must_use]
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// What is not as configured.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let history = self.history.iter().flat_map(History::errors);
        self.exporters.errors().into_iter().chain(history).collect()
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.exporters.report().metrics();
        metrics.extend(self.history.iter().flat_map(|history| history.report().metrics()));
        metrics
    }

    /// Writes what there is and ends.
    pub fn stop(&self) {
        self.exporters.stop();
        if let Some(history) = &self.history {
            history.stop();
        }
    }
}

/// Keeps an archive running and its exporters in line with their file; dropping it stops both.
#[derive(Debug)]
pub struct Running {
    archive: Arc<Archive>,
    _watcher: notify::RecommendedWatcher,
}

impl Running {
    /// Watches the folder of the file.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn watch(archive: Arc<Archive>) -> Result<Self> {
        let (ring, rung) = mpsc::channel::<()>();
        let dir = archive.file.parent().unwrap_or(Path::new("/")).to_owned();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event
                .is_ok_and(|event| event.need_rescan() || !event.kind.is_access() && is_ours(&event.paths))
            {
                // Nobody listens once the service ends.
                let _ = ring.send(());
            }
        })
        .context("watch the exporters")?;
        watcher
            .watch(&dir, RecursiveMode::NonRecursive)
            .with_context(|| format!("watch {}", dir.display()))?;
        let reloads = Arc::clone(&archive);
        let work = move || {
            while rung.recv().is_ok() {
                while rung.recv_timeout(DEBOUNCE).is_ok() {}
                reloads.reload();
            }
        };
        std::thread::Builder::new().name("exporters".into()).spawn(work).context("watch the exporters")?;
        // What changed between the first reading and the watching.
        archive.reload();
        Ok(Self { archive, _watcher: watcher })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.archive.stop();
    }
}

/// Volumes swap a link called `..data` in the place of the file.
fn is_ours(paths: &[PathBuf]) -> bool {
    let names = paths.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy()).any(|name| name == FILE || name.starts_with(".."))
}
